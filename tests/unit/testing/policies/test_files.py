"""Where policy tests are found, how their files are read, and that an atlas does not notice them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.atlas.importers.folder import write_atlas_folder
from cra.atlas.importers.mcp import import_mcp
from cra.errors import AtlasLoadError, AtlasNotFound, InvalidPolicyTest
from cra.testing.policies.files import find_policy_tests, read_policy_file
from cra.testing.policies.run import run_policy_tests

Make = Callable[..., Path]
TEST: dict[str, Any] = {"expect": {"decision": "deny"}}
YAML = "policy_tests: 1\ntests:\n- name: one\n  expect: {decision: deny}\n"
EXAMPLES = Path(__file__).parents[4] / "examples"


def test_all_files_are_found_in_order(atlas_with: Make) -> None:
    """YAML and JSON, in folders of their own too; what is no YAML and no JSON is none of them."""
    folder = atlas_with(TEST, name="b.policy.json")
    inner = folder / "tests" / "more"
    inner.mkdir()
    for path in ("a.policy.yaml", "c.policy.yml", "more/d.policy.yaml", "more/data.json", "README.md"):
        (folder / "tests" / path).write_text(YAML)
    expected = ["a.policy.yaml", "b.policy.json", "c.policy.yml", "more/d.policy.yaml"]
    assert expected == [str(path.relative_to(folder / "tests")) for path in find_policy_tests(folder)]
    assert 4 == len(run_policy_tests(folder).results)
    assert [inner / "d.policy.yaml"] == find_policy_tests(inner / "d.policy.yaml")


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a.json"])
def test_a_file_that_would_not_run_is_an_error(atlas_with: Make, name: str) -> None:
    """Nobody believes in tests that do not run."""
    folder = atlas_with(TEST)
    (folder / "tests" / name).write_text(YAML)
    with pytest.raises(InvalidPolicyTest, match=rf"{name} would not run; name it a\.policy\.{name[2:]}"):
        find_policy_tests(folder)


def test_no_tests_are_an_error(atlas_with: Make, tmp_path: Path) -> None:
    """An atlas without tests, a folder without an atlas, a file of another kind."""
    folder = atlas_with(TEST)
    (folder / "tests" / "one.policy.json").unlink()
    with pytest.raises(InvalidPolicyTest, match=r"there are no policy tests: .*tests has no file NAME\.policy\.yaml"):
        find_policy_tests(folder)
    (folder / "tests").rmdir()
    with pytest.raises(InvalidPolicyTest, match="there are no policy tests"):
        find_policy_tests(folder)
    with pytest.raises(InvalidPolicyTest, match=r"has no atlas\.json"):
        find_policy_tests(tmp_path)
    with pytest.raises(InvalidPolicyTest, match="is no folder of an atlas and no file of tests"):
        find_policy_tests(folder / "atlas.json")


BROKEN = {
    "a.policy.json": ('{"policy_tests": 1, "policy_tests": 1}', "no strict JSON: the key 'policy_tests' occurs twice"),
    "b.policy.json": (YAML, "no strict JSON: not JSON: Expecting value at line 1 column 1"),
    "c.policy.yaml": ("policy_tests: 1\npolicy_tests: 1\n", "the key 'policy_tests' occurs twice in one mapping at line 2"),
    "d.policy.yaml": ("policy_tests: [", "neither JSON nor YAML: "),
    "e.policy.yaml": (YAML.replace("expect:", "expects:"), "/tests/0: object contains unknown field `expects`"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_with_the_place(atlas_with: Make, name: str) -> None:
    """One clear error: what is wrong, where, in which file."""
    text, expected = BROKEN[name]
    path = atlas_with(TEST) / "tests" / name
    path.write_text(text)
    with pytest.raises(InvalidPolicyTest) as raised:
        read_policy_file(path)
    assert raised.value.message.startswith(expected)
    assert raised.value.message.endswith(f"(in {path})")


def test_what_cannot_be_read_is_an_error(atlas_with: Make, tmp_path: Path) -> None:
    """A file that is not there, a pipe, a file without end."""
    with pytest.raises(AtlasLoadError, match=r"cannot read .*No such file"):
        read_policy_file(tmp_path / "x.policy.yaml")
    pipe = tmp_path / "y.policy.yaml"
    os.mkfifo(pipe)
    with pytest.raises(InvalidPolicyTest, match="is not a regular file"):
        read_policy_file(pipe)
    large = tmp_path / "z.policy.yaml"
    large.write_bytes(b"# " + b"x" * 2**20)
    with pytest.raises(InvalidPolicyTest, match="is larger than 1 MB"):
        read_policy_file(large)


def test_the_atlas_is_the_folder_above_or_the_one_named(atlas_with: Make, tmp_path: Path) -> None:
    """However deep the file is in `tests/`; `atlas` is relative to the file; one that is not there is an error."""
    folder = atlas_with(TEST)
    deep = folder / "tests" / "more" / "a.policy.yaml"
    deep.parent.mkdir()
    deep.write_text(YAML)
    assert str(folder) == read_policy_file(deep).atlas.source
    elsewhere = tmp_path / "b.policy.yaml"
    elsewhere.write_text(YAML + "atlas: atlas\n")
    assert str(folder) == read_policy_file(elsewhere).atlas.source
    elsewhere.write_text(YAML + "atlas: nowhere\n")
    with pytest.raises(AtlasNotFound):
        read_policy_file(elsewhere)


def test_an_atlas_does_not_notice_its_tests(atlas_with: Make) -> None:
    """The folder is no part of the atlas: same digest, no finding, whatever is in it."""
    folder = atlas_with(TEST)
    before = cra.load_atlas(folder)
    findings = cra.lint_atlas(before)
    (folder / "tests" / "broken.policy.yaml").write_text("][")
    (folder / "tests" / "one.policy.json").unlink()
    after = cra.load_atlas(folder)
    assert (before.digest, findings) == (after.digest, cra.lint_atlas(after))


@pytest.mark.parametrize("name", ["github", "support"])
def test_the_examples_pass_and_leave_nothing_untouched(name: str) -> None:
    """The committed tests of the example atlases decide everything that there is."""
    report = run_policy_tests(EXAMPLES / name / "atlas")
    assert [] == [result for result in report.results if not result.passed]
    assert 100.0 == report.coverage.percent


TOOLS = {
    "all": {"find": {"readOnlyHint": True}, "delete_it": {"readOnlyHint": True}, "put": {}, "drop": {"destructiveHint": True}},
    "reads": {"find": {"readOnlyHint": True}},
    "writes": {"put": {}},
    "destroys": {"drop": {"destructiveHint": True}},
}  # fmt: skip


@pytest.mark.parametrize("name", TOOLS)
def test_an_import_starts_with_tests_that_pass(tmp_path: Path, name: str) -> None:
    """What the starter policies come to, whichever of them there are; every enforced one decides something."""
    tools = [
        {"name": tool, "inputSchema": {"type": "object"}, "annotations": hints} for tool, hints in TOOLS[name].items()
    ]
    report = run_policy_tests(write_atlas_folder(import_mcp(tools, "com.example.store"), tmp_path / "store"))
    assert [] == [problem for result in report.results for problem in result.problems]
    assert 100.0 == report.coverage.percent
