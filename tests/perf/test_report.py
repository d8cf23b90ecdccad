"""The tables of perf/README.md: what is in a row, which run is shown, and what the gate makes of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from perf import gate, one, report
from perf.suite import CASES


def latency(p50: float, tail: float = 40_000) -> dict[str, Any]:
    """What a run of a latency case gives."""
    return {"latency": {"p50": p50, "p99": 2 * p50, "p99.9": tail, "worst": 2 * tail, "count": 1_000}}


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (75.4, "75 ns"),
        (999, "999 ns"),
        (1_000, "1.0 µs"),
        (43_210, "43 µs"),
        (4.1e6, "4.1 ms"),
        (2e9, "2.0 s"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(nanoseconds: float, text: str) -> None:
    """Two digits or three."""
    assert text == report.duration(nanoseconds)


def test_a_row_has_both_implementations_and_how_much_faster_one_is() -> None:
    """In one order, whatever order they were measured in."""
    rows = report.table({"timer": {"pure": latency(900), "compiled": latency(300)}})
    text = CASES["timer"].text
    assert f"| {text} | 300 ns | 600 ns | 40 µs | 80 µs | 900 ns | 1.8 µs | 40 µs | 80 µs | 3.0 |" == rows[-1]
    assert 1 == len({row.count("|") for row in rows})


def test_what_was_not_measured_has_a_dash() -> None:
    """An implementation that was not asked for, and a ratio without it."""
    (row,) = report.table({"timer": {"compiled": latency(300)}})[2:]
    assert row.endswith("| 80 µs | – | – | – | – | – |")


def test_a_rate_and_a_cost_have_their_ratio_the_right_way_round() -> None:
    """More than 1 where the compiled implementation is better; memory has none."""
    rows = report.table(
        {
            "worker memory": {"compiled": {"figures": {"events/s": 900.0}}, "pure": {"figures": {"events/s": 300.0}}},
            "import": {"compiled": {"figures": {"ms": 20.0}}, "pure": {"figures": {"ms": 30.0}}},
            "memory resolves": {
                "compiled": {"figures": {"MB in the end": 50.0}},
                "pure": {"figures": {"MB in the end": 40.0}},
            },
        }
    )
    assert ["| 900 | 300 | 3.0 |", "| 20.0 | 30.0 | 1.5 |", "| 50.0 | 40.0 | – |"] == [
        row[row.index(unit) + len(unit) + 1 :] for row, unit in zip(rows[2:], ("events/s", "ms", "end"))
    ]


def test_what_a_limit_adds_follows_from_three_rows() -> None:
    """The first limit alone, and each of five."""
    rows = {f"resolve {number} limits": {"compiled": latency(p50)} for number, p50 in ((0, 300), (1, 500), (5, 1_300))}
    assert report.table(rows)[-1].endswith("200 ns (compiled, the first), 200 ns (compiled, each of five).")


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("timer", latency(300), latency(301)),
        ("worker memory", {"figures": {"events/s": 2.0}}, {"figures": {"events/s": 1.0}}),
        ("import", {"figures": {"ms": 1.0}}, {"figures": {"ms": 2.0}}),
    ],
)
def test_the_best_run_is_shown(name: str, better: dict[str, Any], worse: dict[str, Any]) -> None:
    """By the median, the rate, or the cost; the first of two that are equal."""
    case = CASES[name]
    assert report.better(case, better, None)
    assert report.better(case, better, worse)
    assert not report.better(case, worse, better)
    assert not report.better(case, better, better)


def medians(
    compiled: int = 210,
    github: int = 260,
    idle: int = 430,
    pure: int = 6_600,
    timed: int = 210,
    one_limit: int = 350,
    five_limits: int = 790,
) -> gate.Medians:
    """What the gate looks at; as they are in README.md."""
    names = {
        "resolve 117": github,
        "resolve idle": idle,
        "resolve timed": timed,
        "resolve 1 limits": one_limit,
        "resolve 5 limits": five_limits,
    }
    return {place: pure if place[1] == "pure" else names.get(place[0], compiled) for place in gate.NEEDED}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"timed": 231}, None),
        ({"timed": 232}, "timed / untimed"),
        ({"one_limit": 399}, None),
        ({"one_limit": 400}, "1 limit / none"),
        ({"five_limits": 1_155}, None),
        ({"five_limits": 1_156}, "5 limits / none"),
        ({"compiled": 1_000, "pure": 10_000, "idle": 800}, None),
        ({"compiled": 1_001, "pure": 10_000, "idle": 801}, "compiled / reference"),
        ({"github": 315}, None),
        ({"github": 316}, "117 / 5 actions"),
        ({"idle": 168}, None),
        ({"idle": 167}, "busy / idle worker"),
        ({"timed": float("nan")}, "timed / untimed"),
        ({"timed": 0}, "timed / untimed"),
    ],
)
def test_the_gate_holds_ratios(changes: dict[str, Any], fault: str | None) -> None:
    """On each bound and beyond it; what was not measured holds nothing."""
    found = gate.faults(medians(**changes))
    assert [fault] == [each.split(" is ")[0] for each in found] if fault else [] == found


@pytest.mark.parametrize("good", [0, 1, 2, None])
def test_one_good_try_of_three_passes_the_gate(
    good: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It measures again after a bad one only, and its last line is the one that counts."""
    tries = [medians() if number == good else medians(github=9_000) for number in range(3)]
    again: list[gate.Medians] = []

    def measured() -> gate.Medians:
        again.append(tries[len(again) + 1])
        return again[-1]

    file = tmp_path / "bench.json"
    results: dict[str, Any] = {}
    for (name, by), median in tries[0].items():
        results.setdefault(name, {})[by] = {"latency": {"p50": median}}
    file.write_text(json.dumps({"results": results}))
    monkeypatch.setattr(gate, "measured", measured)
    monkeypatch.setattr(sys, "argv", ["perf.gate", str(file)])
    if good is None:
        with pytest.raises(SystemExit, match="1"):
            gate.main()
    else:
        gate.main()
    lines = capsys.readouterr().out.splitlines()
    assert (2 if good is None else good) + 1 == len(lines) == len(again) + 1
    assert ("more than 1.5" in lines[-1]) is (good is None)


def test_a_run_is_of_the_implementation_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this process runs and its environment says; a case that fails is an error with its reason."""
    monkeypatch.setenv("CRA_REQUIRE_COMPILED", "1")
    result = one.run("timer", "pure", 100)
    assert ("pure", 100) == (result["implementation"], result["latency"]["count"])
    assert 100 == sum(count for _, count in result["buckets"])
    with pytest.raises(RuntimeError, match=r"no such case \(pure\) failed(.|\n)*KeyError"):
        one.run("no such case", "pure", 1)
