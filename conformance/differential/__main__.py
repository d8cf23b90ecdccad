"""`python -m conformance.differential`: compare the compiled implementation with the reference.

On SIGINT or SIGTERM it ends the episodes that it is at, and reports what was done; `--skip` goes on from there.

Exit status: 0 no difference; 1 there were some, which are written to conformance/differential/found; 2 the call was wrong;
3 there are no two implementations here; 130 interrupted, and no difference until then. docs/conformance.md, Differential.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from conformance.differential.campaign import FOUND, MOST_FOUND, Report, keep, run
from conformance.differential.generators import GENERATORS
from conformance.differential.twins import NoTwins
from conformance.mutants import MUTANTS

_EVERY_SECONDS = 10.0
_EXIT_INTERRUPTED = 130
_SHOWN = 12
"""Operations of a disagreement that are printed, the last ones; the file has all."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = _parser().parse_args(arguments)
    generators = list(GENERATORS) if options.generator == "all" else [options.generator]
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    progress = None if options.json else _progress(options.cases)
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    if not options.json:
        print(f"seed {seed}: {options.cases} cases, {options.jobs} pairs of processes", flush=True)
    try:
        report = run(
            options.cases,
            seed,
            generators,
            options.jobs,
            mutant=options.mutant,
            progress=progress,
            tell=lambda found: _tell(
                found, None if options.mutant else options.found, sys.stderr if options.json else None
            ),
            skip=options.skip,
            stop=stop,
            most_found=1 if options.mutant else MOST_FOUND,  # one is enough to show that it is noticed
        )
    except NoTwins as error:
        print(error, file=sys.stderr)
        return 3
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if options.json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        _show(report)
    if report.found:
        return 1
    if report.interrupted:
        return _EXIT_INTERRUPTED
    if not report.cases:
        print("nothing was compared: --skip leaves out all episodes that so many cases have", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conformance.differential", description=__doc__)
    parser.add_argument("--cases", type=_positive, default=30_000, help="how many; default: 30000")
    parser.add_argument("--seed", type=int, help="default: a new one, which is printed")
    parser.add_argument("--generator", choices=[*GENERATORS, "all"], default="all")
    parser.add_argument(
        "--jobs", type=_positive, default=os.cpu_count() or 1, help="pairs of processes; default: processors"
    )
    parser.add_argument(
        "--skip", type=_not_negative, default=0, help="episodes that an interrupted run with this seed has done"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")
    parser.add_argument("--found", type=Path, default=FOUND, help="the folder for disagreements")
    parser.add_argument(
        "--mutant",
        choices=MUTANTS,
        metavar="NAME",
        help="break the reference on purpose (conformance/mutants): the run has to fail",
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("at least 0")
    return value


def _progress(cases: int) -> Callable[[Report], None]:
    said = time.monotonic()

    def show(report: Report) -> None:
        nonlocal said
        if time.monotonic() - said > _EVERY_SECONDS:
            said = time.monotonic()
            print(f"  {report.cases} of {cases}, {report.rate:.0f}/s, {len(report.found)} disagreements", flush=True)

    return show


def _tell(found: dict[str, Any], folder: Path | None, file: TextIO | None) -> None:
    """Write a disagreement down where there is a folder for it, and print it at once: a long run may not come to its end."""
    operations = [operation for case in found["cases"] for operation in case]
    print(f"DIFFERENT {json.dumps(found['origin'])}, made small to {len(operations)} operations:", file=file)
    for operation in operations[-_SHOWN:]:
        print(f"    {json.dumps(operation)[:300]}", file=file)
    answers = found["answers"]
    print(f"  at {json.dumps(answers['operation'])[:200]}", file=file)
    print(f"  compiled: {answers['compiled']!a}", file=file)
    print(f"  pure:     {answers['pure']!a} {answers.get('note', '')}", file=file)
    if folder is not None:
        print(f"written to {keep(found, folder)}", file=file, flush=True)


def _show(report: Report) -> None:
    print(f"cra {report.version}; compiled here: {', '.join(report.compiled)}")
    for name, tally in report.tallies.items():
        if tally.cases:
            print(
                f"  {name:<6} {tally.cases:>9} cases in {tally.episodes:>6} episodes, {tally.rate:>6.0f}/s for each pair"
            )
    print(
        f"{report.cases} cases, {len(report.found)} disagreements, {report.rate:.0f} cases/s, {report.seconds:.1f} s,"
        f" seed {report.seed}"
    )
    if report.interrupted:
        print(f"interrupted; go on with: --seed {report.seed} --skip {report.next_episode} and the same other options")


if __name__ == "__main__":
    sys.exit(main())
