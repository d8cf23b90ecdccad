"""`cra conformance`: what it prints and how it ends, for adapters that conform, that do not, and that are none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cra

Run = Callable[..., Any]
ADAPTERS = Path(__file__).parents[1] / "conformance" / "adapters.py"


def adapter(way: str) -> str:
    """The command line of an adapter that misbehaves in this way."""
    return f"{sys.executable} {ADAPTERS} {way}"


def test_json_is_one_document_about_this_implementation(run: Run) -> None:
    """Without --impl the implementation that runs here answers, and the result says which."""
    done = run("conformance", "run", "--group", "golden", "--json")
    report = json.loads(done.out)
    assert (0, True, f"cra ({cra.implementation()})") == (done.code, report["passed"], report["implementation"])
    assert {"cases": 3, "passed": 3, "failed": 0, "error": 0} == report["totals"]


def test_people_get_a_row_for_each_group(run: Run) -> None:
    """With passed, failed, and without an answer; and the totals."""
    done = run("conformance", "run", "--level", "CRA-Minimal", "--group", "golden", "--group", "globs")
    assert 0 == done.code
    rows = {line.split()[0]: line.split()[1:4] for line in done.out.splitlines() if line.startswith(("go", "glob"))}
    assert {"golden": ["3", "0", "0"], "globs": ["52", "0", "0"]} == rows
    assert "55 cases: 55 passed, 0 failed, 0 without an answer" in done.out


def test_a_wrong_answer_is_exit_code_1(run: Run) -> None:
    """With the case, and what was expected."""
    done = run("conformance", "run", "--impl", adapter("wrong"), "--case", "globs/01")
    assert 1 == done.code
    assert "/matches: True was expected, not False" in done.out
    assert "1 cases: 0 passed, 1 failed, 0 without an answer" in done.out


@pytest.mark.parametrize(("way", "what"), [("hang", "timeout"), ("crash", "crash"), ("garbage", "garbage")])
def test_no_proper_answer_is_exit_code_1(run: Run, way: str, what: str) -> None:
    """An adapter that hangs, dies or prints rubbish has not passed; the run ends all the same."""
    done = run("conformance", "run", "--impl", adapter(way), "--case", "globs/01", "--timeout", "5", "--json")
    report = json.loads(done.out)
    assert (1, what) == (done.code, report["cases"][0]["error"])


@pytest.mark.parametrize("impl", ["/nonexistent/adapter", "false", adapter("stranger")])
def test_what_is_no_adapter_is_exit_code_3(run: Run, impl: str) -> None:
    """One line, and with --json one document."""
    done = run("conformance", "run", "--impl", impl, "--case", "globs/01", "--json")
    assert (3, "NO_ADAPTER") == (done.code, json.loads(done.out)["error"]["code"])
    assert 1 == len(done.err.splitlines())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--group", "flying"], "there is no group flying"),
        (["--case", "globs/999"], "there is no case globs/999"),
        (["--group", "globs", "--level", "TRACE-Core"], "none of these cases"),
        (["--level", "None"], "expected one of CARP-Core"),
        (["--timeout", "0"], "between 0 and 3600"),
        (["--impl", "'"], "no command line"),
        (["--impl", ""], "no command line"),
    ],
)
def test_wrong_calls(run: Run, arguments: list[str], said: str) -> None:
    """What selects nothing, or names nothing, is exit code 2 and one line."""
    done = run("conformance", "run", *arguments)
    assert (2, 1) == (done.code, len(done.err.splitlines()))
    assert said in done.err


def test_list_has_whole_cases_for_programs(run: Run) -> None:
    """An implementer needs no checkout to see what is asked and what is expected."""
    assert "globs/01" in run("conformance", "list", "--group", "globs").out
    (case,) = json.loads(run("conformance", "list", "--case", "globs/01", "--json").out)["cases"]
    assert {"pattern": "ticket.*", "text": "ticket.a.b"} == case["input"]
    assert {"matches": True} == case["expected"]
