"""`cra atlas test`: run the policy tests of an atlas, and say which policies and conditions none of them touches.

The tests run in memory, on a virtual clock; nothing is executed and nothing is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cra.cli.options import Json
from cra.cli.terminal import Cell, say, say_indented, say_json, say_table, working
from cra.testing.policies.coverage import Coverage
from cra.testing.policies.run import Report, run_policy_tests


def run_tests(
    path: Annotated[
        Path, typer.Argument(help="The folder of an atlas, or one file NAME.policy.yaml (.yml, .json).", exists=True)
    ],
    require_coverage: Annotated[
        float | None,
        typer.Option(
            help="Also fail where the tests touch less than this much of policies and conditions.",
            metavar="PERCENT",
            min=0,
            max=100,
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Run the policy tests in an atlas's tests/ folder: exit code 0 when all pass, 1 when one fails, 2 when there is none."""
    with working("running policy tests"):
        report = run_policy_tests(path)
    covered = require_coverage is None or report.coverage.percent >= require_coverage
    if as_json:
        say_json(_document(report, require_coverage, report.passed and covered))
    else:
        _say_results(report)
        _say_coverage(report.coverage)
        if not covered:
            say(
                f"the tests touch {report.coverage.percent:.1f} %, less than the {require_coverage:g} % required",
                "bold red",
            )
    return int(not (report.passed and covered))


def _document(report: Report, required: float | None, passed: bool) -> dict[str, Any]:
    return {
        "passed": passed,
        "tests": [
            {"file": each.file, "name": each.name, "passed": each.passed, "problems": list(each.problems)}
            for each in report.results
        ],
        "coverage": report.coverage.to_dict() | {"required": required},
    }


def _say_results(report: Report) -> None:
    failed = [each for each in report.results if not each.passed]
    say(
        f"{len(report.results) - len(failed)} of {len(report.results)} policy tests passed",
        "bold red" if failed else "bold green",
    )
    say_table(
        "Tests",
        ("result", "file", "test"),
        [
            (Cell("passed", "green") if each.passed else Cell("FAILED", "bold red"), Path(each.file).name, each.name)
            for each in report.results
        ],
    )
    for each in failed:
        say()
        say(f"FAILED: {each.name} ({each.file})", "bold red")
        for problem in each.problems:
            for line in problem.splitlines():
                say_indented(line)


def _say_coverage(coverage: Coverage) -> None:
    counted = [policy for policy in coverage.policies if not policy.shadow]
    deciding = [policy for policy in counted if policy.decided]
    sides = [(condition, held) for condition in coverage.conditions for held in (True, False)]
    seen = [(condition, held) for condition, held in sides if (condition.held if held else condition.failed)]
    say()
    say(
        f"touched: {coverage.percent:.1f} %: {len(deciding)} of {len(counted)} policies decided what a test expects,"
        f" {len(seen)} of {len(sides)} outcomes of conditions were met"
    )
    rows: list[tuple[str, str]] = [
        (policy.policy_id, "decides nothing that a test expects") for policy in counted if not policy.decided
    ]
    for condition in coverage.conditions:
        missing = [word for word, count in (("held", condition.held), ("failed", condition.failed)) if not count]
        if missing:
            rows.append(
                (condition.policy_id, f"the condition {condition.condition} never {' and never '.join(missing)}")
            )
    if rows:
        say_table("Not touched by any test", ("policy", "what"), rows)
    shadows = [policy.policy_id for policy in coverage.policies if policy.shadow]
    if shadows:
        say(f"in shadow mode, so not counted: {', '.join(shadows)}")
