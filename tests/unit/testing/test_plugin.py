"""The pytest plugin, as a project of its own uses it: in a run of pytest of its own, with every warning an error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.decisions import manifest, rule

pytest_plugins = ["pytester"]

ATLAS = manifest("a.read", "a.wipe", rules=[rule("reads", "allow", "a.read")])
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Runs pytest in a folder with an atlas, on a module with this text."""
    pytester.makeini(
        "[pytest]\nfilterwarnings = error\naddopts = --strict-markers --strict-config -p no:cacheprovider\n"
    )
    (pytester.path / "atlas.json").write_text(json.dumps(ATLAS))

    def run_module(text: str, *options: str) -> pytest.RunResult:
        if text:
            pytester.makepyfile(test_it=text)
        return pytester.runpytest_subprocess(*options)

    return run_module


def test_the_plugin_is_there_and_imports_nothing(run: Run) -> None:
    """It is found without being asked for, and imports no part of cra until it is used; without it the run works as well."""
    code = """
        import sys
        def test_nothing_is_imported():
            assert "pytest_cra" in sys.modules
            assert not [name for name in sys.modules if name == "cra" or name.startswith("cra.")]
    """
    run(code).assert_outcomes(passed=1)
    run("def test_it(): pass", "-p", "no:cra").assert_outcomes(passed=1)


def test_fixtures(run: Run) -> None:
    """A resolver in memory on a virtual clock, with ids that repeat, closed at the end; a session; atlases by a marker."""
    code = """
        import cra, pytest
        from cra.testing import assert_allowed, assert_denied
        seen = []

        @pytest.mark.cra("atlas.json", default_decision="allow")
        @pytest.mark.parametrize("number", [1, 2])
        def test_marked(cra_resolver, cra_session, virtual_clock, number):
            seen.append((cra_resolver, cra_session.session_id))
            before = virtual_clock.now_ns()
            virtual_clock.advance(4000)
            assert 4000 * 10**9 == virtual_clock.now_ns() - before
            with pytest.raises(cra.SessionExpired):
                cra_session.resolve("x")
            assert_allowed(cra_resolver.create_session("bot", "x"), "a.wipe", by="default")

        def test_they_repeat_and_are_closed():
            (one, first), (two, second) = seen
            assert one is not two
            assert first == second
            with pytest.raises(cra.SessionAlreadyEnded):
                one.create_session("bot", "x")

        def test_bare(cra_resolver):
            assert [] == cra_resolver.list_atlases()

        class TestOverridden:
            @pytest.fixture
            def cra_atlases(self):
                return [cra.load_atlas("atlas.json")]

            @pytest.fixture
            def cra_resolver_options(self):
                return {"ttl_seconds": 5}

            def test_overridden(self, cra_session):
                assert_denied(cra_session, "a.wipe", by="default")
                assert 5 == cra_session.resolve("x").ttl_seconds
    """
    run(code).assert_outcomes(passed=5)


GOLDEN = """
    import pytest

    @pytest.mark.cra("atlas.json")
    @pytest.mark.parametrize("goal", ["Read: it"])
    def test_reads(cra_session, cra_resolver, golden_trace, goal):
        cra_session.resolve(goal)
        cra_session.end()
        golden_trace(cra_session)
        golden_trace(cra_resolver.trace(cra_session.session_id), name="again")
"""


def test_golden_traces(run: Run, pytester: pytest.Pytester) -> None:
    """Missing ones fail; `--update-golden` writes them; from then on they are compared, and a difference is readable."""
    missing = run(GOLDEN)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(
        ["*there is no golden trace *test_reads-Read-it.trace.jsonl; make it with --update-golden*"]
    )
    assert not (pytester.path / "golden").exists()

    written = run("", "--update-golden")
    written.assert_outcomes(passed=1)
    written.stdout.fnmatch_lines(["golden trace written: *test_reads-Read-it*", "golden trace written: *again*"])
    files = sorted(path.name for path in (pytester.path / "golden" / "test_it").iterdir())
    assert ["again.trace.jsonl", "test_reads-Read-it.trace.jsonl"] == files

    same = run("")
    same.assert_outcomes(passed=1)
    same.stdout.no_fnmatch_line("golden trace written*")
    (pytester.path / "atlas.json").write_text(json.dumps(ATLAS | {"policies": []}))
    different = run("")
    different.assert_outcomes(failed=1)
    different.stdout.fnmatch_lines(
        [
            "*the trace is not the golden one, *",
            '*policy_id of event 2, policy.evaluated: "reads" was expected, not "default"*',
            '*result of event 2, policy.evaluated: "allow" was expected, not "deny"*',
        ]
    )


def test_golden_traces_have_names_of_their_own(run: Run) -> None:
    """No file is compared with twice in a test; a name is no path; a session of another resolver has no trace here."""
    code = """
        import cra, pytest

        def test_names(cra_session, golden_trace):
            cra_session.resolve("x")
            with pytest.raises(ValueError, match="letters, digits"):
                golden_trace(cra_session, name="../x")
            golden_trace(cra_session)
            with pytest.raises(ValueError, match="already; give the second one a name="):
                golden_trace(cra_session)

        def test_others(golden_trace):
            with cra.Resolver() as resolver, pytest.raises(cra.SessionNotFound):
                golden_trace(resolver.create_session("bot", "x"))
    """
    run(code, "--update-golden").assert_outcomes(passed=2)


def test_a_golden_trace_is_of_one_test(run: Run, pytester: pytest.Pytester) -> None:
    """Tests of one name in two classes have two; values that make one name of two are told, and a name= helps."""
    code = """
        import pytest

        class TestA:
            def test_it(self, cra_session, golden_trace):
                cra_session.resolve("x")
                golden_trace(cra_session)

        class TestB:
            def test_it(self, cra_session, golden_trace):
                golden_trace(cra_session)

        @pytest.mark.parametrize("value", ["a b", "a/b"])
        def test_values(value, cra_session, golden_trace):
            golden_trace(cra_session)
    """
    done = run(code, "--update-golden")
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.fnmatch_lines(
        ["*'test_values-a-b' is that of *test_values[[]a b[]] already; give one of them a name=*"]
    )
    files = sorted(path.name.removesuffix(".trace.jsonl") for path in (pytester.path / "golden" / "test_it").iterdir())
    assert ["TestA.test_it", "TestB.test_it", "test_values-a-b"] == files


def test_an_option_of_that_name_stays_with_whoever_has_it(run: Run, pytester: pytest.Pytester) -> None:
    """A plugin that was there first keeps its `--update-golden`."""
    (pytester.path / "other.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--update-golden', action='store_true', help='theirs')\n"
    )
    pytester.syspathinsert()
    run(
        "def test_it(request): assert request.config.getoption('update_golden')", "-p", "other", "--update-golden"
    ).assert_outcomes(passed=1)


def policy_file(folder: Path, *tests: dict[str, Any]) -> None:
    """`tests/it.policy.json` in the folder of the atlas."""
    (folder / "tests").mkdir()
    (folder / "tests" / "it.policy.json").write_text(json.dumps({"policy_tests": 1, "tests": tests}))


def test_policy_tests_are_collected(run: Run, pytester: pytest.Pytester) -> None:
    """Each is a test with its own result; a failure says what decided, without a traceback."""
    policy_file(
        pytester.path,
        {"name": "Reading is allowed", "expect": {"allowed": ["a.read"]}},
        {"name": "Wiping is", "expect": {"allowed": ["a.wipe"], "denied": {"a.read": "default"}}},
    )
    result = run("", "-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "tests/it.policy.json::Reading is allowed PASSED*",
            "tests/it.policy.json::Wiping is FAILED*",
            "*policy test: Wiping is*",
            "a.wipe: allowed was expected; it is denied by default (Denied by policy)",
            "a.read: denied by default was expected; it is allowed by reads",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*runtest*")


def test_a_file_that_is_no_test_is_an_error(run: Run, pytester: pytest.Pytester) -> None:
    """With its place, and no traceback."""
    policy_file(pytester.path)
    result = run("")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*/tests: expected `array` of length >= 1; see docs/testing-atlases.md (in *it.policy.json)*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_coverage_sees_every_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the plugin imported before coverage starts would be missing from what is measured: there is nothing."""
    pytest.importorskip("pytest_cov")
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)  # what is measured there is nothing of a measuring that this test is part of
    result = run(
        """
        def test_it(cra_session):
            cra_session.resolve("x")
        """,
        "--cov=cra.testing",
        "--cov-report=term-missing",
    )
    result.assert_outcomes(passed=1)
    line = next(
        line for line in result.outlines if "testing/__init__.py" in line or "testing" + "\\__init__.py" in line
    )
    assert " 1-" not in line
    assert "0%" != line.split()[3]
