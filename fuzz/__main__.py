"""`python -m fuzz`: campaigns over all fuzz targets, and what belongs to them. docs/fuzzing.md.

Exit status: 0 no crash; 1 there were some; 2 the call was wrong; 3 something is missing: Atheris, clang.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cra.fuzzing.native import SENTENCES, instrumentation
from cra.fuzzing.registry import NAMES
from cra.fuzzing.replay import files_of, replay
from cra.fuzzing.run import NoEngine
from fuzz import corpora, oss
from fuzz.build import CannotBuild, build, built
from fuzz.campaign import Campaign
from fuzz.report import write_report

DEFAULT_FOLDER: Final = Path("fuzz-out", "campaign")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = _parser().parse_args(arguments)
    try:
        found: int = options.act(options)
    except (NoEngine, CannotBuild) as problem:
        print(problem, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name: str, act: object, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(act=act)
        return made

    def targets(to: argparse.ArgumentParser) -> None:
        to.add_argument("--target", action="append", choices=NAMES, help="only this one; may be repeated")

    campaign = command("campaign", _campaign, "fuzz every target in turn; goes on where the campaign in its folder was")
    targets(campaign)
    campaign.add_argument("--hours", type=_hours, required=True, help="how long, in all")
    jobs = os.cpu_count() or 1
    campaign.add_argument(
        "--jobs", type=int, default=jobs, choices=range(1, 257), metavar="M", help="targets at a time"
    )
    campaign.add_argument("--slice", type=_seconds, default=300, metavar="SECONDS", help="how long a target's turn is")
    campaign.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    campaign.add_argument(
        "--plain", action="store_true", help="with the compiled half as it is, not an instrumented one"
    )

    smoke = command("smoke", _smoke, "fuzz every target for some seconds: the gate's look whether all is well")
    targets(smoke)
    smoke.add_argument("--seconds", type=int, default=3, choices=range(1, 3601), metavar="N", help="for each target")
    smoke.add_argument("--jobs", type=int, default=jobs, choices=range(1, 257), metavar="M", help="targets at a time")
    smoke.add_argument("--plain", action="store_true", help="with the compiled half as it is, not an instrumented one")

    report = command("report", _report, "write the report of a campaign, finished or not")
    report.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)

    making = command("build", _build, "make a copy of the package whose compiled half is instrumented")
    making.add_argument("--sanitizer", choices=("address", "none"), default="address")

    replaying = command("replay", _replay, "put the committed corpora to their targets; no Atheris is needed")
    targets(replaying)

    minimise = command(
        "minimise", _minimise, "take into the committed corpora what a campaign found, and drop what adds nothing"
    )
    targets(minimise)
    minimise.add_argument(
        "--most", type=int, default=2000, metavar="N", help="look at so many inputs a target, the smallest"
    )
    minimise.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="a folder with a folder for each target")

    export = command(
        "export", _export, "write fuzzers, dictionaries and corpora as OSS-Fuzz and ClusterFuzzLite want them"
    )
    export.add_argument("folder", type=Path)
    return parser


def _hours(text: str) -> float:
    value = float(text)
    if not 0 < value <= 24 * 365:
        raise argparse.ArgumentTypeError("more than 0 hours, at most a year")
    return value


def _seconds(text: str) -> int:
    value = int(text)
    if not 5 <= value <= 86_400:
        raise argparse.ArgumentTypeError("from 5 seconds to a day")
    return value


def _campaign(options: argparse.Namespace) -> int:
    targets = options.target or list(NAMES)
    package = None if options.plain else built()
    if package is None and not options.plain:
        try:
            package, _ = build()
        except CannotBuild as problem:
            print(f"{problem}\nthe compiled half is not instrumented in this campaign", file=sys.stderr)
    campaign = Campaign(options.folder, package)
    campaign.begin(targets, options.hours, options.jobs)
    try:
        crashes = campaign.run(targets, options.jobs, lambda line: print(line, flush=True), options.slice)
    finally:
        print(write_report(options.folder, campaign.history(), campaign.crashes()))
    if not any(entry.executions for entry in campaign.history()):
        print("nothing was fuzzed: there was no time for it; give more --hours", file=sys.stderr)
        return 2
    return int(bool(crashes))


def _smoke(options: argparse.Namespace) -> int:
    targets = options.target or list(NAMES)
    package = None if options.plain else built()
    print(SENTENCES[instrumentation(package)], flush=True)
    folder = Path("fuzz-out", "smoke")
    shutil.rmtree(folder, ignore_errors=True)
    campaign = Campaign(folder, package)
    campaign.begin(targets, options.seconds * len(targets) / 3600 / options.jobs, options.jobs)
    crashes = campaign.run(targets, options.jobs, lambda line: print(line, flush=True))
    for crash in crashes:
        print(
            f"{crash.target}: {crash.summary}\n    cra fuzz {crash.target} --reproduce {crash.input}", file=sys.stderr
        )
    history = campaign.history()
    executions = sum(entry.executions for entry in history)
    print(f"{len({entry.target for entry in history})} targets, {executions} executions, {len(crashes)} crashes")
    return int(bool(crashes))


def _report(options: argparse.Namespace) -> int:
    campaign = Campaign(options.folder)
    if not campaign.history():
        print(f"there is no campaign in {options.folder}", file=sys.stderr)
        return 2
    crashes = campaign.crashes()
    print(write_report(options.folder, campaign.history(), crashes))
    return int(bool(crashes))


def _build(options: argparse.Namespace) -> int:
    folder, kind = build(options.sanitizer)
    print(f"{folder}: {kind}")
    return 0


def _replay(options: argparse.Namespace) -> int:
    failed = total = 0
    empty: list[str] = []
    for target in options.target or NAMES:
        files = files_of([corpora.corpus(target)]) if corpora.corpus(target).is_dir() else []
        outcomes = list(replay(target, files))
        for each in (each for each in outcomes if not each.passed):
            failed += 1
            print(f"{each.input} fails:\n{each.problem}", file=sys.stderr)
        total += len(outcomes)
        if not outcomes:
            empty.append(target)
        print(f"{target:15} {len(outcomes):4} inputs, {sum(each.taken for each in outcomes):4} taken", flush=True)
    print(f"{total} inputs, {failed} failed")
    if empty:
        print(
            f"no inputs are committed for {', '.join(empty)}; make some with: python -m fuzz minimise", file=sys.stderr
        )
    return int(bool(failed or empty))


def _minimise(options: argparse.Namespace) -> int:
    if not options.folder.is_dir():  # or a misspelt one would cost the committed inputs
        print(f"there is no campaign in {options.folder}", file=sys.stderr)
        return 2
    for target in options.target or NAMES:
        place = options.folder / target / "corpus"
        found = [Path(path) for path in files_of([place])] if place.is_dir() else []
        kept = corpora.minimise(target, found, options.most)
        print(f"{target:15} {kept:4} inputs of {len(found)}", flush=True)
    size = corpora.total_bytes()
    print(f"{size} bytes in all")
    return int(size > corpora.MAX_BYTES)


def _export(options: argparse.Namespace) -> int:
    for line in oss.export(options.folder):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
