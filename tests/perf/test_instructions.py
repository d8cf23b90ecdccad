"""What is made of callgrind's counts, and what happens where there is no valgrind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from perf import instructions


def test_the_total_of_a_thread_is_read() -> None:
    """From either line in which callgrind writes it; a file without one is an error."""
    assert 1234 == instructions.total("events: Ir\nfn=(1)\n0 12\ntotals: 1234\n")
    with pytest.raises(RuntimeError, match="no totals"):
        instructions.total("events: Ir\n")


def test_only_growth_beyond_the_tolerance_is_told() -> None:
    """2 % is not."""
    baseline = {"record": {"compiled": 1_000, "pure": 1_000}}
    assert [] == instructions.grown({"record": {"compiled": 1_020, "pure": 1}}, baseline)
    (found,) = instructions.grown({"record": {"compiled": 1_021}}, baseline)
    assert "record (compiled): 1,021 instructions, 2.1% more than 1,000" == found


@pytest.mark.parametrize("baseline", [{}, {"session": {"compiled": 9}}, {"record": {"pure": 9}}])
def test_a_baseline_that_has_no_count_holds_nothing(baseline: dict[str, dict[str, int]]) -> None:
    """It is told, or a baseline that lost its counts would let everything pass."""
    (found,) = instructions.grown({"record": {"compiled": 1_021}}, baseline)
    assert "record (compiled): 1,021 instructions, and the baseline has none; --update-baseline" == found


def test_a_table_has_a_row_per_case() -> None:
    """With the ratio where both were counted."""
    rows = instructions.table({"record": {"compiled": 500, "pure": 2_000}, "session": {"compiled": 7_000}})
    assert ["| record | 500 | 2,000 | 4.0 |", "| session | 7,000 | – | – |"] == rows[2:]


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_without_valgrind_it_says_so(
    ci: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """And fails in CI only."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(sys, "argv", ["perf.instructions"])
    with pytest.raises(SystemExit) as ended:
        instructions.main()
    assert status == ended.value.code
    assert "apt-get install valgrind" in capsys.readouterr().err


def test_a_script_in_place_of_the_interpreter_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its shell would be counted."""
    shim = tmp_path / "python"
    shim.write_text('#!/bin/sh\nexec python3 "$@"\n')
    monkeypatch.setattr(sys, "executable", str(shim))
    with pytest.raises(RuntimeError, match="is a script"):
        instructions.interpreter()


def test_a_baseline_is_kept_for_each_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Written for this interpreter, held to it, and of another one nothing is known: then the counts are in the output."""
    path = tmp_path / "baseline.json"
    counts = {"record": {"compiled": 1_000}}
    assert instructions.UNKNOWN_KEY == instructions.judge(counts, path, update=False)
    said = capsys.readouterr().out
    assert "has no counts for" in said
    assert {instructions.key(): counts} == json.loads(said[said.index("{") :])
    path.write_text(json.dumps({"another Python": {"record": {"compiled": 1}}}))
    assert 0 == instructions.judge(counts, path, update=True)
    assert 0 == instructions.judge({"record": {"compiled": 1_020}}, path, update=False)
    assert 1 == instructions.judge({"record": {"compiled": 1_021}}, path, update=False)
    assert {"another Python", instructions.key()} == set(json.loads(path.read_text()))


def test_an_update_of_some_cases_keeps_the_others(tmp_path: Path) -> None:
    """One implementation at a time, or one case."""
    path = tmp_path / "baseline.json"
    instructions.judge({"record": {"compiled": 1}, "session": {"compiled": 5}}, path, update=True)
    instructions.judge({"record": {"pure": 2}}, path, update=True)
    expected = {"record": {"compiled": 1, "pure": 2}, "session": {"compiled": 5}}
    assert {instructions.key(): expected} == json.loads(path.read_text())
