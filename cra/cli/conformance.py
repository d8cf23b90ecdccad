"""`cra conformance`: put the cases of the protocols to an implementation, or show them. docs/conformance.md.

The suite itself is `cra.conformance`; here is what is said of it. It writes no file.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from cra.cli.options import Json
from cra.cli.terminal import Cell, say, say_json, say_table, working
from cra.conformance.cases import LEVELS, Case, load_cases, select
from cra.conformance.runner import Report, Result
from cra.conformance.runner import run as run_cases

OWN_ADAPTER = (sys.executable, "-m", "cra.conformance.adapter")
MAX_SHOWN = 20
MAX_DETAILS = 3
MAX_DETAIL = 300
MAX_SECONDS = 3600.0

app = typer.Typer(help="Does an implementation do what the protocols say? Run the cases, or list them.")

_Level = Annotated[str, typer.Option(help="The level to certify.", metavar="|".join(LEVELS))]
_Groups = Annotated[
    list[str] | None, typer.Option("--group", help="Only the cases of this group. May be repeated.", metavar="GROUP")
]
_Ids = Annotated[list[str] | None, typer.Option("--case", help="Only this case. May be repeated.", metavar="ID")]


@app.command()
def run(
    impl: Annotated[
        str | None,
        typer.Option(
            help="The adapter's command line; without it this implementation, as it runs here.", metavar="CMD"
        ),
    ] = None,
    level: _Level = "CRA-Full",
    group: _Groups = None,
    case: _Ids = None,
    timeout: Annotated[float, typer.Option(help="Seconds for each case.", metavar="SECONDS")] = 10.0,
    as_json: Json = False,
) -> int:
    """Put the cases to an adapter: exit code 0 when all pass, 1 when one does not, 3 when there is no adapter."""
    if not 0 < timeout <= MAX_SECONDS:
        raise typer.BadParameter(f"between 0 and {MAX_SECONDS:g} seconds", param_hint="--timeout")
    cases = _selected(level, group, case)
    command = OWN_ADAPTER if impl is None else _command(impl)
    done = 0
    with working(f"{len(cases)} cases") as show:

        def count(_: Result) -> None:
            nonlocal done
            done += 1
            show(done, len(cases))

        report = run_cases(cases, command, level=level, timeout=timeout, progress=count)
    if as_json:
        chosen = {"groups": group, "cases": case} if group or case else None
        say_json({**report.to_dict(), "selection": chosen})
    else:
        _show(report)
    return int(not report.passed)


@app.command("list")
def list_cases(level: _Level = "CRA-Full", group: _Groups = None, case: _Ids = None, as_json: Json = False) -> int:
    """Show the cases, each with the sentence that it follows from; --json has their inputs and expectations, too."""
    cases = _selected(level, group, case)
    if as_json:
        say_json({"cases": [asdict(each) for each in cases]})
        return 0
    groups: dict[str, list[Case]] = {}
    for each in cases:
        groups.setdefault(each.group, []).append(each)
    for name, members in groups.items():
        rows = [(each.id, each.level, each.section, each.sentence) for each in members]
        say_table(f"{name} ({len(members)})", ("case", "level", "section", "says"), rows, folded=2)
    return 0


def _selected(level: str, groups: Sequence[str] | None, ids: Sequence[str] | None) -> list[Case]:
    """The cases that were asked for; a wrong call where a name is unknown or nothing is left."""
    if level not in LEVELS:
        raise typer.BadParameter(f"expected one of {', '.join(LEVELS)}", param_hint="--level")
    every = load_cases()
    for option, given, known in (
        ("--group", groups, {each.group for each in every}),
        ("--case", ids, {each.id for each in every}),
    ):
        if unknown := sorted(set(given or ()) - known):
            raise typer.BadParameter(
                f"there is no {option[2:]} {', '.join(unknown)}; see: cra conformance list", param_hint=option
            )
    cases = select(every, level, groups or (), ids or ())
    if not cases:
        what = "is in one of these groups and belongs" if groups and ids else "belongs"
        raise typer.BadParameter(f"none of these cases {what} to the level {level}", param_hint="--level")
    return cases


def _command(impl: str) -> list[str]:
    try:
        command = shlex.split(impl)
    except ValueError as error:
        raise typer.BadParameter(f"no command line: {error}", param_hint="--impl") from None
    if not command:
        raise typer.BadParameter("no command line: it is empty", param_hint="--impl")
    return command


def _show(report: Report) -> None:
    groups: dict[str, list[Result]] = {}
    for result in report.results:
        groups.setdefault(result.group, []).append(result)
    rows: list[tuple[object, ...]] = []
    for name, results in groups.items():
        passed, failed, error = (_count(results, status) for status in ("passed", "failed", "error"))
        rows.append(
            (
                name,
                Cell(passed, "green" if passed == len(results) else ""),
                Cell(failed, "bold red" if failed else "dim"),
                Cell(error, "bold red" if error else "dim"),
                f"{sum(each.duration_ms for each in results):.1f}",
            )
        )
    columns = ("group", "passed", "failed", "no answer", "ms")
    say_table(f"{report.implementation} {report.version}, level {report.level}", columns, rows, numbers=columns[1:])
    bad = [result for result in report.results if result.status != "passed"]
    if bad:
        rows = [
            (each.id, each.error, "; ".join(detail[:MAX_DETAIL] for detail in each.details[:MAX_DETAILS]))
            for each in bad[:MAX_SHOWN]
        ]
        more = f", the first {MAX_SHOWN}; --json has all" if len(bad) > MAX_SHOWN else ""
        say_table(f"Not passed ({len(bad)}{more})", ("case", "what", "details"), rows)
    totals = report.totals
    say()
    say(
        f"{totals['cases']} cases: {totals['passed']} passed, {totals['failed']} failed, {totals['error']} without an answer,"
        f" {report.duration_ms / 1000:.1f} s",
        "bold green" if report.passed else "bold red",
    )


def _count(results: Sequence[Result], status: str) -> int:
    return sum(result.status == status for result in results)
