"""`cra bench`: what it measures for whom, what it prints, and that a budget is held."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.bench.report import FORMAT

Run = Callable[..., Any]
FEW = ("--count", "1000")


def test_json_is_one_document(run: Run, golden: Path) -> None:
    """The machine, the implementation, the rows with their buckets, and no budget where none was given."""
    done = run("bench", "--atlas", golden / "atlas.json", *FEW, "--json")
    report = json.loads(done.out)
    assert (0, FORMAT, cra.implementation()) == (done.code, report["format"], report["implementation"])
    rows = {row["name"]: row for row in report["rows"]}
    assert ["timer", "resolve", "resolve cold", "execute", "record"] == list(rows)
    assert 1000 == rows["resolve"]["count"] == sum(count for _, count in rows["resolve"]["buckets"])
    assert rows["resolve"]["p50"] <= rows["resolve"]["p99"] <= rows["resolve"]["p99.9"] <= rows["resolve"]["worst"]
    assert (None, True, 1) == tuple([report["budget"][k] for k in ("ns", "within")] + [len(report["budget"]["tries"])])
    assert 0 < report["figures"]["events verified a second"]


def test_people_get_tables_and_a_histogram(run: Run) -> None:
    """Without an atlas it measures the published example."""
    done = run("bench", *FEW, "--budget", "10s")
    assert 0 == done.code
    assert "atlas com.cra.conformance.simple" in done.out
    assert "How long a resolve takes" in done.out
    assert "100.000%" in done.out
    assert "try 1: p50" in done.out
    assert "is below the budget of 10.0 s" in done.out


def test_a_missed_budget_is_exit_code_1_after_every_try(run: Run) -> None:
    """No resolve takes less than 1 ns; each try is told."""
    done = run("bench", *FEW, "--budget", "1ns", "--tries", "2", "--json")
    budget = json.loads(done.out)["budget"]
    assert (1, False, 2) == (done.code, budget["within"], len(budget["tries"]))
    assert "is not below the budget of 1 ns" in run("bench", *FEW, "--budget", "1ns", "--tries", "1").out


def test_goals_of_a_file_are_asked(run: Run, tmp_path: Path) -> None:
    """A line each, or a list with the arguments of a resolve."""
    lines, listed = tmp_path / "goals.txt", tmp_path / "goals.json"
    lines.write_text("Close issues\n\nOpen issues\n")
    listed.write_text('["Close issues", {"goal": "Open them", "risk_tier": "high", "agent_id": "bot"}]')
    for path in (lines, listed):
        asked = json.loads(run("bench", *FEW, "--goals", path, "--json").out)["questions"]
        assert {"count": 2, "source": str(path), "left_out": 0} == asked


def test_goals_of_a_trace_are_asked(run: Run, trace_file: Path) -> None:
    """What was resolved in it, whoever wrote it."""
    asked = json.loads(run("bench", *FEW, "--trace", trace_file, "--json").out)["questions"]
    assert (1, str(trace_file)) == (asked["count"], asked["source"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "has no goals"),
        ("{}", "has no goals"),
        ("[", "cannot be read as goals"),
        ("[7]", "goal 1: neither text nor an object"),
        ('[{"goal": ""}]', "goal 1: /goal"),
        ('["x", {"goal": "y", "colour": 1}]', "goal 2: unknown members: colour"),
        ('[{"goal": "y", "agent_id": 7}]', "the agent's id is no text"),
    ],
)
def test_what_is_no_goal_is_exit_code_2(run: Run, tmp_path: Path, text: str, said: str) -> None:
    """One line that names the place."""
    path = tmp_path / "goals.json"
    path.write_text(text)
    done = run("bench", *FEW, "--goals", path)
    assert (2, 1) == (done.code, len(done.err.splitlines()))
    assert said in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "fast"], "is no duration"),
        (["--budget", "0us"], "is no duration"),
        (["--default-decision", "maybe"], "expected allow or deny"),
        (["--goals", __file__, "--trace", __file__], "either --goals or --trace"),
        (["--agent", "a", "--trace", __file__], "a trace names its agents"),
        (["--count", "1"], "1000"),
    ],
)
def test_wrong_calls(run: Run, arguments: list[str], said: str) -> None:
    """Exit code 2, and one line."""
    done = run("bench", *arguments)
    assert (2, 1) == (done.code, len(done.err.splitlines()))
    assert said in done.err


def test_an_action_under_a_limit_is_not_spent(run: Run, tmp_path: Path) -> None:
    """Where nothing can be executed again and again, execute is left out, and it is said."""
    atlas = {
        "atlas_version": "1.0",
        "atlas_id": "com.example.limited",
        "version": "1.0.0",
        "name": "Limited",
        "description": "One action",
        "actions": [{"action_id": "a.b", "name": "B", "description": "b"}],
        "policies": [
            {"policy_id": "all", "type": "allow", "actions": ["*"]},
            {"policy_id": "two", "type": "rate_limit", "parameters": {"max_calls": 2, "window_seconds": 60}},
        ],
    }
    path = tmp_path / "atlas.json"
    path.write_text(json.dumps(atlas))
    done = run("bench", "--atlas", path, *FEW, "--json")
    report = json.loads(done.out)
    assert "execute" not in [row["name"] for row in report["rows"]]
    assert "execute was not measured" in report["notes"][0]
