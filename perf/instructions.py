"""Instructions per operation, counted by callgrind: `python -m perf.instructions [--only NAME …] [--baseline FILE]`.

A count hardly depends on the machine's load, and shows a change of a percent where wall time shows nothing. Only the calling
thread is counted; what the worker does is in no count. All cases run in one process for each implementation, with a fixed hash
seed; a system call that nothing else makes (`getsid`) tells callgrind where a case begins and ends, so that starting up and
warming up are in no count. valgrind shows programs a processor of its own: what it counts is the portable SHA-256, and not the
one that runs.

A baseline holds for one build of Python on one platform (`key`). Exit status: 0 nothing has grown by more than the tolerance; 1
something has; 2 the call was wrong; 3 the baseline has no counts for this key, which are then printed; without valgrind 1 where
the environment variable `CI` is set, else 0.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cra
from cra.hotpath import Ring
from perf.cases import BOTH, GOAL, GOLDEN, ROOT, github_without_limits, resolve
from perf.one import environment

TOLERANCE = 0.02
WARM, COUNT = 200, 1_000
UNKNOWN_KEY = 3
MARK = "getsid"
INSTALL = "install it: apt-get install valgrind"
BASELINE = ROOT / "perf/instructions.json"
Counts = dict[str, dict[str, int]]
"""Instructions per operation, by case and implementation."""
Work = Callable[[int], object]


def _resolver(atlas: Path | dict[str, Any] = GOLDEN) -> cra.Resolver:
    resolver = cra.Resolver(storage="null:")
    resolver.load_atlas(atlas)
    return resolver


def _resolves(github: bool) -> Work:
    resolver = _resolver(github_without_limits() if github else GOLDEN)
    session = resolver.create_session(agent_id="bench", goal=GOAL)
    return lambda count: resolve(session, count)


def _records() -> Work:
    put, data = Ring(8 * 2**20).put, bytes(150)

    def work(count: int) -> None:
        for _ in range(count):
            put(data)

    return work


def _executions() -> Work:
    resolver = _resolver()
    resolver.register("resource.list", dict, inline=True)
    session = resolver.create_session(agent_id="bench", goal=GOAL)
    resolution = session.resolve(GOAL)

    def work(count: int) -> None:
        for _ in range(count):
            session.execute("resource.list", {}, resolution=resolution)

    return work


def _sessions() -> Work:
    resolver = _resolver()

    def work(count: int) -> None:
        for _ in range(count):
            resolver.create_session(agent_id="bench", goal=GOAL).end()

    return work


# Each gets everything ready, and gives what does the work.
CASES: dict[str, Callable[[], Work]] = {
    "resolve 5": lambda: _resolves(github=False),
    "resolve 117": lambda: _resolves(github=True),
    "record": _records,
    "execute inline": _executions,
    "session": _sessions,
}


def play(names: Sequence[str]) -> None:
    """What is counted, in a process under callgrind: each case between two marks. It does not come back."""
    works = [CASES[name]() for name in names]
    for work in works:
        work(WARM)
        os.getsid(0)
        work(COUNT)
        os.getsid(0)
    os._exit(0)  # how long closing waits for the worker is no part of a count


def interpreter() -> str:
    """The program that runs this. Raises `RuntimeError` for a script, whose shell would be counted in its place."""
    with open(sys.executable, "rb") as file:
        if file.read(2) == b"#!":
            raise RuntimeError(f"{sys.executable} is a script (a pyenv shim?); run this with the interpreter itself")
    return sys.executable


def measure(names: Sequence[str], implementation: str) -> dict[str, int]:
    """Instructions per operation of the main thread, by case. Raises `RuntimeError`."""
    with tempfile.TemporaryDirectory() as folder:
        tool = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--dump-before={MARK}"]
        tool.append(f"--callgrind-out-file={folder}/out")
        command = [*tool, interpreter(), "-m", "perf.instructions", "--play", *names]
        environ = environment(implementation) | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the cases ({implementation}) failed under valgrind:\n{done.stderr}")
        found = {}
        for position, name in enumerate(names, 1):
            profile = Path(folder, f"out.{2 * position}-01")
            if not profile.exists():
                raise RuntimeError(f"callgrind has seen no {MARK} after {name}: the C library has none that it knows")
            found[name] = round(total(profile.read_text()) / COUNT)
        return found


def total(profile: str) -> int:
    """The instructions in what callgrind writes for a thread. Raises `RuntimeError` where it says none."""
    found = re.search(r"^(?:totals|summary): (\d+)$", profile, re.MULTILINE)
    if found is None:
        raise RuntimeError("callgrind's file has no totals")
    return int(found.group(1))


def table(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The counts as lines of Markdown."""
    lines = ["| instructions per operation | compiled | reference | times |", "|---|--:|--:|--:|"]
    for name, by in counts.items():
        cells = [f"{by[one]:,}" if one in by else "–" for one in BOTH]
        ratio = f"{by['pure'] / by['compiled']:.1f}" if len(by) == len(BOTH) else "–"
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio} |")
    return lines


def key() -> str:
    """What a baseline holds for: this build of the interpreter, on this platform."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    how = [name for name, option in (("pgo", "--enable-optimizations"), ("lto", "--with-lto")) if option in options]
    build = ", ".join([platform.python_compiler(), *how])
    return f"{platform.python_implementation()} {platform.python_version()} [{build}] {sysconfig.get_platform()}"


def grown(counts: Mapping[str, Mapping[str, int]], baseline: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What has grown beyond the tolerance, or cannot be compared, a sentence each."""
    found = []
    for name, by in counts.items():
        for one, count in by.items():
            before = baseline.get(name, {}).get(one)
            if not before and one == "compiled":  # the reference is held where the baseline has it
                found.append(f"{name} ({one}): {count:,} instructions, and the baseline has none; --update-baseline")
            elif before and count > before * (1 + TOLERANCE):
                found.append(f"{name} ({one}): {count:,} instructions, {count / before - 1:.1%} more than {before:,}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m perf.instructions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--implementation", choices=BOTH, action="append", help="only this one")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="fail where a count is 2 %% above the one in it")
    parser.add_argument("--update-baseline", action="store_true", help="write the counts there instead")
    parser.add_argument("--play", nargs="+", metavar="NAME", help="what is counted; used by this program itself")
    options = parser.parse_args()
    if options.play:
        play(options.play)
    if options.update_baseline and not options.baseline:
        parser.error("--update-baseline needs --baseline FILE")
    if shutil.which("valgrind") is None:
        print(f"valgrind is not on this machine, so no instructions were counted; {INSTALL}", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)
    counts: Counts = {name: {} for name in options.only}
    for one in options.implementation or BOTH:
        for name, count in measure(options.only, one).items():
            counts[name][one] = count
    print(key())
    print("\n".join(table(counts)))
    if options.baseline:
        sys.exit(judge(counts, options.baseline, update=options.update_baseline))


def judge(counts: Counts, path: Path, *, update: bool) -> int:
    """Compare with the baseline in this file, or write it there: the exit status."""
    known = json.loads(path.read_text()) if path.exists() else {}
    if update:
        before = known.get(key(), {})
        known[key()] = before | {name: before.get(name, {}) | by for name, by in counts.items()}
        path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
        return 0
    if key() not in known:
        print(f"{path.name} has no counts for {key()}; make them with --update-baseline. It has: {', '.join(known)}")
        print(json.dumps({key(): counts}, indent=2, sort_keys=True))
        return UNKNOWN_KEY
    found = grown(counts, known[key()])
    print("\n".join(found) or f"nothing has grown by more than {TOLERANCE:.0%}")
    return 1 if found else 0


if __name__ == "__main__":
    main()
