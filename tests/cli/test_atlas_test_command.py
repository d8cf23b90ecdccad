"""`cra atlas test`: results, what no test touches, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.decisions import manifest, rule

ROOT = Path(__file__).parents[2]
PASSES = {"name": "Reading is allowed", "expect": {"allowed": {"a.read": "reads"}}}
FAILS = {"name": "Wiping is allowed", "expect": {"allowed": ["a.wipe"]}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An atlas without tests: two policies that count, one in shadow mode."""
    rules = [
        rule("reads", "allow", "a.read"),
        rule("never", "deny", "a.wipe", conditions={"risk_tiers": ["high"], "agents": ["bot"]}),
        rule("later", "allow", "a.wipe", mode="shadow"),
    ]
    (tmp_path / "atlas.json").write_text(json.dumps(manifest("a.read", "a.wipe", rules=rules)))
    return tmp_path


def write(folder: Path, *tests: dict[str, Any]) -> None:
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests" / "it.policy.json").write_text(json.dumps({"policy_tests": 1, "tests": tests}))


def test_passing_tests_are_listed_with_what_they_leave_untouched(run, folder):
    """Exit code 0; policies that decide nothing, sides of conditions that were never met, shadow policies."""
    write(folder, PASSES, {"name": "In calm water", "expect": {"denied": {"a.wipe": "default"}}})
    result = run("atlas", "test", folder)
    assert (0, "") == (result.code, result.err)
    lines = result.out.splitlines()
    assert "2 of 2 policy tests passed" == lines[0]
    assert "passed  it.policy.json  Reading is allowed" in lines
    summary = "touched: 50.0 %: 1 of 2 policies decided what a test expects, 2 of 4 outcomes of conditions were met"
    assert summary in lines
    at = lines.index("Not touched by any test")
    assert [
        "policy  what",
        "never   decides nothing that a test expects",
        "never   the condition risk_tiers never held",
        "never   the condition agents never held",
    ] == lines[at + 1 : at + 5]
    assert "in shadow mode, so not counted: later" == lines[-1]


def test_a_failing_test_is_exit_code_1(run, folder):
    """With what was expected, what was found, and the policies about it."""
    write(folder, PASSES, FAILS)
    result = run("atlas", "test", folder)
    assert (1, "") == (result.code, result.err)
    assert "1 of 2 policy tests passed" in result.out
    assert "FAILED  it.policy.json  Wiping is allowed" in result.out
    assert f"FAILED: Wiping is allowed ({folder / 'tests' / 'it.policy.json'})" in result.out
    assert "    a.wipe: allowed was expected; it is denied by default (Denied by policy)\n" in result.out
    assert "never (deny): does not match: risk_tiers" in result.out


def test_json_has_every_test_and_the_coverage(run, folder):
    """One document: tests with their problems, policies, conditions, the percentage."""
    write(folder, PASSES, FAILS)
    result = run("atlas", "test", folder, "--json")
    assert 1 == result.code
    document = json.loads(result.out)
    assert ["passed", "tests", "coverage"] == list(document)
    assert document["passed"] is False
    passed, failed = document["tests"]
    file = str(folder / "tests" / "it.policy.json")
    assert {"file": file, "name": "Reading is allowed", "passed": True, "problems": []} == passed
    assert (False, 1) == (failed["passed"], len(failed["problems"]))
    coverage = document["coverage"]
    assert ["percent", "policies", "conditions", "required"] == list(coverage)
    assert {"atlas_id", "policy_id", "type", "shadow", "decided"} == set(coverage["policies"][0])
    assert {"atlas_id", "policy_id", "condition", "held", "failed"} == set(coverage["conditions"][0])
    assert coverage["required"] is None


def test_coverage_can_be_required(run, folder):
    """Below it the answer is no; here it is a half."""
    write(folder, PASSES, {"name": "In calm water", "expect": {"denied": ["a.wipe"]}})
    assert 0 == run("atlas", "test", folder, "--require-coverage", "50").code
    result = run("atlas", "test", folder, "--require-coverage", "51")
    assert 1 == result.code
    assert "the tests touch 50.0 %, less than the 51 % required" == result.out.splitlines()[-1]
    document = json.loads(run("atlas", "test", folder, "--require-coverage", "51", "--json").out)
    assert (False, 51.0) == (document["passed"], document["coverage"]["required"])
    assert 2 == run("atlas", "test", folder, "--require-coverage", "101").code


def test_one_file_can_be_run(run, folder):
    """Its atlas is the folder above `tests/`."""
    write(folder, PASSES)
    assert 0 == run("atlas", "test", folder / "tests" / "it.policy.json").code


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("it.policy.json", '{"policy_tests": 1, "tests": []}', "/tests: expected `array` of length >= 1"),
        ("it.policy.yaml", "policy_tests: 1\ntest: []\n", "field `test`"),
        ("it.yaml", "policy_tests: 1\n", "would not run; name it it.policy.yaml"),
        ("README", "", "there are no policy tests"),
    ],
)
def test_what_is_no_test_is_a_wrong_call(run, folder, name, text, expected):
    """Exit code 2 and one line: a file that is broken, one that would not run, no file at all."""
    (folder / "tests").mkdir()
    (folder / "tests" / name).write_text(text)
    result = run("atlas", "test", folder)
    assert (2, "", 1) == (result.code, result.out, len(result.err.splitlines()))
    assert expected in result.err


def test_a_broken_atlas_is_a_wrong_call(run, folder):
    """There is nothing to test; `validate` has the answer to whether it is valid."""
    write(folder, PASSES)
    (folder / "atlas.json").write_text("{}")
    result = run("atlas", "test", folder)
    assert (2, "", 1) == (result.code, result.out, len(result.err.splitlines()))


@pytest.mark.parametrize("example", ["github", "support"])
def test_the_examples_pass(run, example):
    """With everything touched, as their authors would gate them."""
    assert 0 == run("atlas", "test", ROOT / "examples" / example / "atlas", "--require-coverage", "100").code


def test_an_imported_atlas_comes_with_tests(run, tmp_path):
    """`import` says how to run them, and they pass."""
    out = tmp_path / "new"
    result = run(
        "atlas",
        "import",
        "mcp",
        ROOT / "examples" / "github" / "tools.json",
        "--id",
        "com.example.github",
        "--out",
        out,
    )
    assert 0 == result.code
    assert f"then: cra atlas test {out}" in result.out
    assert 0 == run("atlas", "test", out, "--require-coverage", "100").code
