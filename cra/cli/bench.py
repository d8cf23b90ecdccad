"""`cra bench`: how long a resolve takes on this machine, for one's own atlases and goals, and whether that is within a budget.

The measuring is `cra.bench`; here is what is said of it. It writes no file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import cra
from cra.atlas.manifest import Atlas
from cra.bench.asks import AGENT, Questions, from_atlases, from_file, from_traces
from cra.bench.histogram import Histogram, bound
from cra.bench.machine import duration, parse_duration
from cra.bench.report import Report
from cra.bench.run import bench as run_bench
from cra.cli.options import Json
from cra.cli.resolve import DEFAULT_DECISIONS, load_each
from cra.cli.terminal import Cell, say, say_json, say_table, working

COUNTS = {"compiled": 100_000, "pure": 10_000}
LEAST_COUNT = 1_000
MOST_COUNT = 10_000_000
MOST_TRIES = 20
BAR_WIDTH = 48
PER_LINE = 2
"""Buckets that share a line of the histogram: a line is a quarter wider than the one before."""
COLUMNS = ("p50", "p99", "p99.9", "worst", "count")


def bench(
    atlas: Annotated[
        list[Path] | None,
        typer.Option(help="An atlas: folder or manifest file; may be repeated. Default: an example.", metavar="PATH"),
    ] = None,
    goals: Annotated[
        Path | None,
        typer.Option(help="What to ask: a goal a line, or a .json list.", metavar="FILE", exists=True, dir_okay=False),
    ] = None,
    trace: Annotated[
        list[Path] | None,
        typer.Option(
            help="Ask what was asked in this trace; may be repeated.", metavar="FILE", exists=True, dir_okay=False
        ),
    ] = None,
    agent: Annotated[str | None, typer.Option(help=f"Who asks, where nothing else says it; default: {AGENT}.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="What p99.9 of a resolve has to be below, such as 50us.", metavar="DURATION")
    ] = None,
    tries: Annotated[
        int, typer.Option(help="How often to measure before a budget is missed.", min=1, max=MOST_TRIES)
    ] = 3,
    count: Annotated[
        int | None,
        typer.Option(
            help="Resolves in a try; default: 100,000, or 10,000 of the reference.", min=LEAST_COUNT, max=MOST_COUNT
        ),
    ] = None,
    default_decision: Annotated[
        str, typer.Option(help="For actions that no policy matches.", metavar="|".join(DEFAULT_DECISIONS))
    ] = "deny",
    as_json: Json = False,
) -> int:
    """Measure resolve, execute, record and verify, call by call: exit code 1 when the budget is missed in every try.

    The budget is for p99.9 of a resolve, the timer's own cost included.
    """
    if default_decision not in DEFAULT_DECISIONS:
        raise typer.BadParameter(f"expected {' or '.join(DEFAULT_DECISIONS)}", param_hint="--default-decision")
    if goals is not None and trace:
        raise typer.BadParameter("give either --goals or --trace")
    if agent is not None and trace:
        raise typer.BadParameter("a trace names its agents itself: leave it out", param_hint="--agent")
    try:
        budget_ns = None if budget is None else parse_duration(budget)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--budget") from None
    atlases = load_each(atlas) if atlas else [_example()]
    questions = _questions(atlases, goals, trace, agent or AGENT)
    with working("measuring") as show:
        report = run_bench(
            atlases,
            questions,
            count=count or COUNTS[cra.implementation()],
            budget_ns=budget_ns,
            tries=tries if budget_ns is not None else 1,
            default_decision=default_decision,
            progress=show,
        )
    if as_json:
        say_json(report.to_dict())
    else:
        _show(report)
    return int(not report.within_budget)


def _example() -> Atlas:
    """The published golden atlas, five actions, as the cases of the suite have it."""
    from cra.conformance.cases import load_cases, select

    golden = select(load_cases(), groups=["golden"])[0]
    return cra.load_atlas(golden.input["atlases"][0]["manifest"])


def _questions(atlases: list[Atlas], goals: Path | None, trace: list[Path] | None, agent: str) -> Questions:
    if goals is not None:
        return from_file(goals, agent)
    return from_traces(trace) if trace else from_atlases(atlases, agent)


def _show(report: Report) -> None:
    where = report.machine
    say(f"cra {where['cra']} ({report.implementation}), {where['python']}, {where['system']}", "bold")
    say(f"{where['cpu']}, {where['cores']} cores")
    for atlas in report.atlases:
        say(f"atlas {atlas['atlas_id']} {atlas['version']}: {atlas['actions']} actions")
    asked = report.questions
    more = f", {asked['left_out']} more were left out" if asked["left_out"] else ""
    say(f"{asked['count']} goals from {asked['source']}{more}")
    rows = []
    for row in report.rows:
        found = row.histogram.summary()
        rows.append((row.name, *(duration(found[name]) for name in COLUMNS[:-1]), f"{found['count']:,}", row.text))
    say_table("Call by call", ("what", *COLUMNS, ""), rows, numbers=COLUMNS)
    say_table(
        "Figures",
        ("what", "value"),
        [(name, f"{value:,}") for name, value in report.figures.items()],
        numbers=("value",),
    )
    resolve = next(row for row in report.rows if row.name == "resolve")
    say_table(
        "How long a resolve takes (bars are logarithmic)",
        ("from", "calls", "within", ""),
        [
            (duration(start), f"{calls:,}", f"{share:.3%}", Cell(bar, "cyan"))
            for start, calls, share, bar in _bars(resolve.histogram)
        ],
        numbers=("from", "calls", "within"),
        folded=0,
    )
    for note in report.notes:
        say(note, "yellow")
    if report.budget_ns is not None:
        _show_budget(report, report.budget_ns)


def _show_budget(report: Report, budget_ns: int) -> None:
    for number, found in enumerate(report.tries, 1):
        within = found["p99.9"] < budget_ns
        say(
            f"try {number}: p50 {duration(found['p50'])}, p99.9 {duration(found['p99.9'])}, worst {duration(found['worst'])}: "
            + ("within" if within else "over"),
            "" if within else "yellow",
        )
    verdict = "is below" if report.within_budget else "is not below"
    best = min(found["p99.9"] for found in report.tries)
    say(
        f"p99.9 of resolve, {duration(best)}, {verdict} the budget of {duration(budget_ns)}",
        "bold green" if report.within_budget else "bold red",
    )


def _bars(histogram: Histogram) -> list[tuple[float, int, float, str]]:
    """A line for some buckets together: where they begin (ns), how many calls, the share up to their end, and a bar."""
    lines: dict[int, int] = {}
    for number, calls in histogram.buckets.items():
        lines[number // PER_LINE] = lines.get(number // PER_LINE, 0) + calls
    mark = "█" if (sys.stdout.encoding or "").lower().replace("-", "") == "utf8" else "#"
    longest = max(calls.bit_length() for calls in lines.values())
    done, found = 0, []
    for line in sorted(lines):
        done += lines[line]
        bar = mark * max(1, lines[line].bit_length() * BAR_WIDTH // longest)
        found.append((bound(line * PER_LINE), lines[line], done / len(histogram.times), bar))
    return found
