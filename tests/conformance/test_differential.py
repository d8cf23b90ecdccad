"""The differential run: small, over whole responses, and able to fail. docs/conformance.md, Differential."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from conformance.differential import campaign, tiny
from conformance.differential.__main__ import main
from conformance.differential.answers import digest, shown, typed
from conformance.differential.episode import Episode
from conformance.differential.generators import GENERATORS
from conformance.differential.minimise import minimise
from conformance.differential.twins import NoTwins, Twins
from conformance.differential.values import decode, mutated, value
from cra.conformance.process import AdapterFailure
from tests.support.twins import BUILT

built = pytest.mark.skipif(not BUILT, reason="cra has no compiled half here")
CASES = 3_000
RESOLVE = {"do": "resolve", "slot": "a"}
SMALL = Episode(
    {},
    [
        [
            {"do": "load_atlas", "manifest": tiny._manifest("com.example.tiny", [{"policy_id": "p", "type": "deny"}])},
            {"do": "create_session", "slot": "a"},
            RESOLVE,
            RESOLVE,
        ]
    ],
)


@pytest.fixture(scope="module")
def twins() -> Iterator[Twins]:
    """Both processes."""
    with Twins() as pair:
        yield pair


@built
def test_no_difference(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A few thousand cases of all generators, other ones in each run; the seed is in the output."""
    status = main(["--cases", str(CASES), "--seed", str(seed), "--jobs", "1"])
    said = capsys.readouterr()
    assert 0 == status, said.out + said.err
    assert f"{CASES} cases, 0 disagreements" in said.out
    assert f"seed {seed}" in said.out


@built
@pytest.mark.parametrize("name", sorted(campaign.kept()) or ["none"])
def test_what_was_found_is_gone(name: str, twins: Twins) -> None:
    """Every disagreement that was ever kept: both say the same today."""
    if name == "none":
        pytest.skip("no disagreement was kept yet")
    compiled, pure = twins.answers(campaign.kept()[name])
    assert compiled == pure


# Would a difference be noticed?


@built
@pytest.mark.parametrize(
    ("mutant", "generator"),
    [
        ("globs-ignore-case", "wild"),
        ("keys-by-utf-16", "wild"),
        ("parent-as-null", "wild"),
        ("windows-a-moment-too-long", "wild"),
        ("denials-ignored", "tiny"),
        ("allow-first", "tiny"),
        ("requests-lower-the-tier", "tiny"),
        ("windows-include-their-end", "tiny"),
        ("unknown-holds-for-all", "typed"),
        ("parents-ignored", "typed"),
    ],
)
def test_a_broken_twin_is_found(mutant: str, generator: str) -> None:
    """A reference with one thing wrong disagrees within a few thousand cases, at some operation, with two different answers."""
    report = campaign.run(6_000, 1, [generator], 1, mutant=mutant, most_found=1, patience=0)
    answers = report.found[0]["answers"]
    assert answers["compiled"] != answers["pure"]


@built
def test_a_difference_is_made_small_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an episode of hundreds of operations what is needed is left, it is written down, and the run fails."""
    report = campaign.run(128, 1, ["tiny"], 1, mutant="denials-ignored", most_found=1, patience=20)
    found = report.found[0]
    operations = [operation["do"] for case in found["cases"] for operation in case]
    assert {"load_atlas", "create_session"} <= set(operations)
    assert len(operations) <= 5
    path = campaign.keep(found, tmp_path)
    assert path == campaign.keep(found, tmp_path)
    kept = campaign.kept(tmp_path)[path.name]
    with Twins("denials-ignored") as broken:
        assert campaign.differs(broken, kept)
    status = main(
        ["--cases", "128", "--seed", "1", "--generator", "tiny", "--jobs", "1", "--mutant", "denials-ignored"]
    )
    assert 1 == status
    assert "DIFFERENT" in capsys.readouterr().out


@built
def test_a_process_that_dies_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened to it is its answer, and both answer again afterwards."""
    with Twins() as twins:
        _, pure = twins._twins
        ask = pure.ask

        def die(operation: str, question: Any, timeout: float) -> Any:
            assert pure._adapter is not None
            pure._adapter._process.kill()
            return ask(operation, question, timeout)

        monkeypatch.setattr(pure, "ask", die)
        answered, epitaph = twins.answers(SMALL)
        assert 5 == len(answered)
        assert epitaph[0].startswith("crash: ")
        monkeypatch.undo()
        assert not campaign.differs(twins, SMALL)


@built
def test_two_that_fail_alike_do_not_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """What neither answers was not compared."""

    def refuse(*_: Any) -> Any:
        raise AdapterFailure("refused", "the same")

    with Twins() as twins:
        for twin in twins._twins:
            monkeypatch.setattr(twin, "ask", refuse)
        compiled, pure = twins.ask("digests", [])
        assert ("refused: the same (compiled)", "refused: the same (pure)") == (compiled, pure)
        assert campaign.differs(twins, SMALL)


@built
def test_a_run_that_compares_nothing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Where all was skipped; and no less than nothing can be."""
    assert 2 == main(["--cases", "100", "--jobs", "1", "--skip", "100000"])
    assert "nothing was compared" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--cases", "100", "--skip", "-1"])
    assert "at least 0" in capsys.readouterr().err


def test_one_implementation_alone_is_no_comparison(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reference against itself would never differ: that run fails, and says why."""
    from conformance.differential import twins

    monkeypatch.setattr(twins, "COMPILED", twins.PURE)
    with pytest.raises(NoTwins, match="the processes run pure and pure"):
        Twins()
    assert 3 == main(["--cases", "10"])
    assert "no two implementations" in capsys.readouterr().err


def test_a_process_that_does_not_start_is_no_comparison() -> None:
    """An unknown mutant ends the process before it says a word."""
    with pytest.raises(NoTwins, match="did not start"):
        Twins("no-such-mutant")


# The generators


@pytest.mark.parametrize("name", GENERATORS)
def test_episodes_depend_on_seed_and_number_alone(name: str) -> None:
    """Made twice they are the same, with another seed or number they are not; all of it is JSON."""
    make = GENERATORS[name].make
    once = make(1, 2, 12)
    assert 12 == len(once.cases)
    assert shown(once) == shown(make(1, 2, 12))
    assert shown(once) == shown(Episode.from_json(json.loads(json.dumps(once.to_json()))))
    assert shown(once) != shown(make(2, 2, 12))
    assert shown(once) != shown(make(1, 3, 12))


def test_the_tiny_space_is_visited_whole() -> None:
    """Every set of policies in every place under every default for every session, whatever the seed."""
    generator = GENERATORS["tiny"]
    assert generator.space is not None
    works = list(campaign.plan(10**9, ["tiny"]))
    assert generator.space == sum(work.size for work in works)
    seen = set()
    for work in works:
        episode = generator.make(12345, work.number, work.size)
        loaded: list[str] = []
        before = ""
        for operation in episode.operations():
            if operation["do"] == "load_atlas":
                loaded = [*(loaded if before == "load_atlas" else []), json.dumps(operation["manifest"])]
            elif operation["do"] == "create_session":
                seen.add(hash((episode.options["default_decision"], *loaded, operation["slot"])))
            before = operation["do"]
    assert generator.space == len(seen)


@pytest.mark.parametrize(
    ("cases", "generators"), [(1, ["wild"]), (1_000, list(GENERATORS)), (30_000, list(GENERATORS))]
)
def test_a_plan_has_the_cases_that_were_asked_for(cases: int, generators: list[str]) -> None:
    """None less and none more, and no episode twice."""
    works = list(campaign.plan(cases, generators))
    assert cases == sum(work.size for work in works)
    assert len(works) == len({(work.generator, work.number) for work in works})


def test_wild_values_can_be_kept_in_a_file(seed: int) -> None:
    """What a generated value stands for is the same before and after JSON."""
    rng = Random(seed)
    for _ in range(500):
        made = value(rng, 4, oddities=True)
        again = json.loads(json.dumps(made))
        assert shown(typed(decode(made))) == shown(typed(decode(again)))


def test_a_mutation_leaves_the_original_alone(seed: int) -> None:
    """It is a copy with something else in it."""
    rng = Random(seed)
    document = {"a": [1, {"b": "text"}], "c": None}
    kept = json.dumps(document)
    others = [mutated(rng, document) for _ in range(100)]
    assert kept == json.dumps(document)
    assert sum(json.dumps(other) != kept for other in others) > 80


# Answers and their digests


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ([1], (1,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ("1", 1),
        (b"a", "a"),
        ("\ud800", "?"),
    ],
)
def test_a_digest_sees_types_and_order(one: object, other: object) -> None:
    """What a caller could tell apart has another digest."""
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


def test_a_digest_sees_every_line() -> None:
    """The lines of a trace are part of the answer."""
    assert digest(None, [b"a", b"b"]) != digest(None, [b"a", b"c"])


def test_subclasses_show_in_an_answer() -> None:
    """A str of another type is not the same answer as a str."""

    class Text(str):
        __slots__ = ()

    assert typed(["a"]) != typed([Text("a")])


# Making small


def test_minimising_keeps_what_matters() -> None:
    """Of forty operations the two that matter, without options, and with no more in them than it takes."""
    noise = [{"do": "noise", "n": number} for number in range(38)]
    important = [{"do": "first", "value": {"x": [1, 2, 3], "y": "needle in hay"}}, {"do": "second"}]
    operations = [*noise[:10], important[0], *noise[10:30], important[1], *noise[30:]]

    def differs(episode: Episode) -> bool:
        found = list(episode.operations())
        first = next((index for index, each in enumerate(found) if "needle" in str(each.get("value"))), None)
        return first is not None and any(each["do"] == "second" for each in found[first:])

    small = minimise(Episode({"option": 1}, [operations[:5], operations[5:]]), differs)
    assert [{"do": "first", "value": {"y": "needle"}}, {"do": "second"}] == list(small.operations())
    assert {} == small.options


def test_minimising_ends_in_time() -> None:
    """Without time left the episode stays as it is."""
    assert SMALL == minimise(SMALL, lambda _: True, seconds=0)


def test_a_plan_is_made_as_it_is_taken() -> None:
    """Ten million cases are planned at once, each generator in its share all along, and no case twice."""
    works = list(islice(campaign.plan(10_000_000, ["wild", "typed", "tiny"]), 1_000))
    assert len(works) == len({(work.generator, work.number) for work in works})
    assert {"wild", "typed", "tiny"} == {work.generator for work in works}
    assert 5_000 == sum(work.size for work in campaign.plan(5_000, ["wild", "typed", "tiny"]))


@built
def test_an_interrupted_run_says_what_it_did_and_another_goes_on() -> None:
    """It ends what it is at, counts it, and the rest is what is left: together they are one whole run."""
    stop = threading.Event()
    first = campaign.run(2_000, 7, ["tiny", "wild"], 1, stop=stop, progress=lambda report: stop.set())
    assert first.interrupted
    assert 0 < first.cases < 2_000
    rest = campaign.run(2_000, 7, ["tiny", "wild"], 1, skip=first.next_episode)
    assert not rest.interrupted
    assert (2_000, []) == (first.cases + rest.cases, first.found + rest.found)


@built
def test_a_signal_ends_a_run_cleanly() -> None:
    """SIGTERM: the counts so far, how to go on, and exit status 130."""
    command = [sys.executable, "-m", "conformance.differential", "--cases", "10000000", "--seed", "3", "--jobs", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "seed 3" in process.stdout.readline()
        process.terminate()
        said, _ = process.communicate(timeout=300)
    assert 130 == process.returncode
    assert re.search(r"^\d+ cases, 0 disagreements", said, re.MULTILINE)
    assert re.search(r"^interrupted; go on with: --seed 3 --skip \d+", said, re.MULTILINE)
