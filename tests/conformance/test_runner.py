"""The runner: whatever an adapter does, each case gets its status, and the run comes to an end."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cra.conformance.cases import Case
from cra.conformance.runner import GIVE_UP_AFTER, NoAdapter, Report, run

ADAPTERS = str(Path(__file__).with_name("adapters.py"))


def command(way: str, *more: str) -> list[str]:
    """The command line of an adapter that misbehaves in this way."""
    return [sys.executable, ADAPTERS, way, *more]


def case(name: str, **question: Any) -> Case:
    """A case that expects a match."""
    return Case(f"globs/{name}", "globs", "CARP-Core", "", "", "glob", question, {"matches": True})


FINE, BAD = case("fine", fine=True), case("bad")


def statuses(report: Report) -> list[str]:
    """The statuses of the cases, in order."""
    return [result.status for result in report.results]


@pytest.mark.parametrize(
    ("way", "error", "details"),
    [
        ("crash", "crash", "exit status 3); it said: out of cheese"),
        ("garbage", "garbage", "no JSON"),
        ("deep", "garbage", "no JSON that can be read"),
        ("number", "garbage", "has not the id"),
        ("other-id", "garbage", "has not the id"),
        ("empty", "garbage", "neither result nor failure"),
        ("refuse", "refused", "I cannot fly"),
        ("flood", "garbage", "longer than"),
    ],
)
def test_no_proper_answer_costs_one_case(way: str, error: str, details: str) -> None:
    """A crash, nonsense or a refusal is an `error` that says what happened; the cases after it run as if it had not."""
    report = run([FINE, BAD, FINE], command(way), timeout=20)
    assert ["passed", "error", "passed"] == statuses(report)
    assert error == report.results[1].error
    assert details in report.results[1].details[0]
    assert not report.passed


def test_an_answer_that_is_too_deep_to_be_compared_costs_one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the interpreter reads deeper than it compares."""

    def sink(answer: object) -> list[str]:
        raise RecursionError

    monkeypatch.setattr("cra.conformance.runner.schema_faults", sink)
    report = run([FINE], command("wrong"), timeout=20)
    assert ["error"] == statuses(report)
    assert ["the answer is nested too deeply to be compared"] == report.results[0].details


@pytest.mark.parametrize("way", ["hang", "deaf"])
def test_a_hanging_adapter_is_killed(way: str) -> None:
    """No answer within the timeout is an `error`; the process is killed with what it started, and the next case gets another."""
    started = time.monotonic()
    report = run([FINE, BAD, FINE], command(way), timeout=5)
    assert ["passed", "error", "passed"] == statuses(report)
    assert "timeout" == report.results[1].error
    assert time.monotonic() - started < 60


def test_an_adapter_that_does_not_read_is_killed() -> None:
    """A question larger than the pipe, to a process that reads nothing more, does not block the runner."""
    report = run([case("long", text="x" * 2**20), case("long-too", text="x" * 2**20)], command("hang"), timeout=2)
    assert ["error", "error"] == statuses(report)


def test_a_wrong_answer_fails() -> None:
    """Another answer is a failure that names the place, what was expected, and what came."""
    report = run([FINE, BAD], command("wrong"))
    assert ["passed", "failed"] == statuses(report)
    assert ["/matches: True was expected, not False"] == report.results[1].details
    assert {"cases": 2, "passed": 1, "failed": 1, "error": 0} == report.totals


def test_it_gives_up(tmp_path: Path) -> None:
    """An adapter that fails again and again is not started for ever; what is left is reported as not run."""
    log = tmp_path / "log"
    report = run([BAD] * (GIVE_UP_AFTER + 3), command("crash", str(log)))
    errors = [result.error for result in report.results]
    assert ["crash"] * GIVE_UP_AFTER + ["given up"] * 3 == errors
    assert GIVE_UP_AFTER == len(log.read_text().splitlines())


def test_refusals_do_not_make_it_give_up() -> None:
    """An adapter that refuses is alive: the process stays, and so does the run."""
    report = run([BAD] * (GIVE_UP_AFTER + 1) + [FINE], command("refuse"))
    assert ["error"] * (GIVE_UP_AFTER + 1) + ["passed"] == statuses(report)


def test_stop_at_first() -> None:
    """With `stop_at_first` the first case that does not pass is the last."""
    assert ["passed", "failed"] == statuses(run([FINE, BAD, FINE], command("wrong"), stop_at_first=True))


@pytest.mark.parametrize("adapter", [["/nonexistent/adapter"], [sys.executable, "-c", "pass"], command("stranger")])
def test_what_is_no_adapter(adapter: list[str]) -> None:
    """A command that does not start, says nothing, or speaks another protocol is an error before any case."""
    with pytest.raises(NoAdapter, match="adapter"):
        run([FINE], adapter)


def test_a_silent_adapter_is_none() -> None:
    """The handshake has the timeout of a case."""
    with pytest.raises(NoAdapter, match="no handshake"):
        run([FINE], command("silent"), timeout=1)


def test_nothing_run_is_not_passed() -> None:
    """A run without cases has proved nothing."""
    assert not run([], command("wrong")).passed


def test_the_result_is_machine_readable() -> None:
    """The result has the implementation, its version, the level, the totals, and every case with status, time, error, details."""
    report = json.loads(json.dumps(run([FINE, BAD], command("wrong"), level="CARP-Core").to_dict()))
    assert ("stub", "7", "CARP-Core", False) == tuple(
        report[k] for k in ("implementation", "version", "level", "passed")
    )
    assert {"cases": 2, "passed": 1, "failed": 1, "error": 0} == report["totals"]
    assert ["id", "group", "level", "status", "duration_ms", "error", "details"] == list(report["cases"][0])
