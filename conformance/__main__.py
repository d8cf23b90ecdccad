"""`python -m conformance`: run the suite against an implementation, or list its cases. docs/conformance.md.

Exit status: 0 every case passed; 1 some did not; 2 the call was wrong (nothing selected included); 3 the adapter is none.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence

from conformance.cases import LEVELS, Case, load_cases, select
from conformance.runner import NoAdapter, Report, Result, run

OWN_ADAPTER = (sys.executable, "-m", "conformance.adapter")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = _parser().parse_args(arguments)
    every = load_cases()
    unknown = sorted(set(options.group) - {case.group for case in every})
    if unknown:
        print(f"there is no group {', '.join(unknown)}; see: python -m conformance list", file=sys.stderr)
        return 2
    cases = select(every, options.level, options.group)
    if not cases:
        print(f"no case of these groups belongs to level {options.level}", file=sys.stderr)
        return 2
    if options.command == "list":
        _list(cases)
        return 0
    try:
        command = shlex.split(options.impl) if options.impl else OWN_ADAPTER
    except ValueError as error:
        print(f"--impl is no command line: {error}", file=sys.stderr)
        return 2
    progress = None if options.json else _show_failure
    try:
        report = run(cases, command, level=options.level, timeout=options.timeout, progress=progress)
    except NoAdapter as error:
        print(error, file=sys.stderr)
        return 3
    if options.json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        _table(report)
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in (("run", "put the cases to an adapter"), ("list", "show the groups and their cases")):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("--level", choices=LEVELS, default="CRA-Full", help="the level to certify")
        command.add_argument("--group", action="append", default=[], help="only this group; may be repeated")
        if name == "run":
            command.add_argument(
                "--impl", metavar="CMD", help="the adapter's command line; default: this project's own"
            )
            command.add_argument("--timeout", type=_seconds, default=10.0, help="seconds for each case")
            command.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError("between 0 and 3600 seconds")
    return value


def _show_failure(result: Result) -> None:
    """Print a case that did not pass as soon as it is known."""
    if result.status != "passed":
        print(f"{result.status.upper()} {result.id} ({result.error})")
        for line in result.details:
            print(f"    {line}")


def _table(report: Report) -> None:
    groups: dict[str, list[Result]] = {}
    for result in report.results:
        groups.setdefault(result.group, []).append(result)
    print(f"{report.implementation} {report.version}, level {report.level}")
    for name, results in groups.items():
        passed = sum(result.status == "passed" for result in results)
        print(f"  {name:<22} {passed:>4} of {len(results):>4}   {sum(r.duration_ms for r in results):>9.1f} ms")
    totals = report.totals
    print(
        f"{totals['cases']} cases: {totals['passed']} passed, {totals['failed']} failed, {totals['error']} without an answer,"
        f" {report.duration_ms / 1000:.1f} s"
    )


def _list(cases: Sequence[Case]) -> None:
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    for name, members in groups.items():
        print(f"{name} ({len(members)})")
        for case in members:
            print(f"  {case.id:<48} {case.level:<12} {case.sentence}")


if __name__ == "__main__":
    sys.exit(main())
