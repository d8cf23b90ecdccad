"""Every fuzz target: it is well-formed, and its seeds and the committed corpus are answered by every implementation there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cra.fuzzing.registry import MODULES, NAMES, all_targets, find_target
from cra.fuzzing.replay import files_of, replay
from cra.fuzzing.target import dictionary
from fuzz import corpora

_LONGEST_TOKEN = 64  # of libFuzzer's; what is longer it passes over in silence
_SEEDS = {name: list(find_target(name).seeds()) for name in NAMES}


def test_every_module_of_a_target_is_registered() -> None:
    """By the name that the target has."""
    folder = Path(corpora.ROOT, "cra", "fuzzing", "targets")
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == {module.rpartition(".")[2] for module in MODULES.values()}
    assert list(NAMES) == sorted(target.name for target in all_targets())


@pytest.mark.parametrize("name", NAMES)
def test_a_target_is_well_formed(name: str) -> None:
    """Seeds fit into an input, tokens into a dictionary, and both are there once."""
    target, seeds = find_target(name), _SEEDS[name]
    assert seeds
    assert max(map(len, seeds)) <= target.max_bytes
    assert len(seeds) == len(set(seeds))
    assert all(0 < len(token) <= _LONGEST_TOKEN for token in target.tokens)
    assert len(target.tokens) == len(set(target.tokens)) == dictionary(target).count("\n")
    assert (
        target.about[0].islower()
        or target.about.split()[0].isupper()
        or target.about.startswith(("CARP", "JSON", "OpenAPI"))
    )


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_corpus_are_answered(name: str, tmp_path: Path) -> None:
    """Nothing is raised that the door does not document, both implementations say the same, in bounded time; some are taken."""
    for number, seed in enumerate(_SEEDS[name]):
        (tmp_path / f"seed-{number:02}").write_bytes(seed)
    files = files_of([tmp_path, *([corpora.corpus(name)] if corpora.corpus(name).is_dir() else [])])
    outcomes = list(replay(name, files))
    assert [] == [f"{each.input}: {each.problem}" for each in outcomes if not each.passed]
    assert files == [each.input for each in outcomes]
    assert any(each.taken for each in outcomes)


def test_the_corpora_are_small_and_each_input_is_what_its_name_says() -> None:
    """What somebody changed by hand is no input that a minimisation kept."""
    assert corpora.total_bytes() <= corpora.MAX_BYTES
    assert {path.name for path in corpora.FOLDER.iterdir()} <= set(NAMES)
    for name in NAMES:
        assert corpora.inputs(name), f"{name} has no corpus"
        for path in corpora.inputs(name):
            assert path.name == corpora.name_of(path.read_bytes())
