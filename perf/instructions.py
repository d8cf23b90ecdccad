"""Instructions per operation, counted by callgrind: `python -m perf.instructions [--only NAME …] [--baseline FILE]`.

A count hardly depends on the machine's load, and shows a change of a percent where wall time shows nothing. Only the calling
thread is counted; what the worker does is in no count. A case runs twice, with more work the second time, and the difference is
told: what starting up takes cancels. valgrind shows programs a processor of its own: what it counts is the portable SHA-256, and
not the one that runs.

Without valgrind there are no counts, which it says; it is an error only where the environment variable `CI` is set.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cra
from cra.hotpath import Ring
from perf.cases import BOTH, GOAL, GOLDEN, ROOT, github_without_limits, resolve
from perf.one import environment

TOLERANCE = 0.02
WARM, LESS, MORE = 200, 500, 2_500
INSTALL = "install it: apt-get install valgrind"
Counts = dict[str, dict[str, int]]
"""Instructions per operation, by case and implementation."""


def _resolver(atlas: Path | dict[str, Any] = GOLDEN) -> cra.Resolver:
    resolver = cra.Resolver(storage="null:")
    resolver.load_atlas(atlas)
    return resolver


def _resolves(count: int, github: bool) -> object:
    resolver = _resolver(github_without_limits() if github else GOLDEN)
    session = resolver.create_session(agent_id="bench", goal=GOAL)
    resolve(session, WARM + count)
    return resolver


def _records(count: int) -> object:
    ring = Ring(8 * 2**20)
    put, data = ring.put, bytes(150)
    for _ in range(WARM + count):
        put(data)
    return ring


def _executions(count: int) -> object:
    resolver = _resolver()
    resolver.register("resource.list", dict, inline=True)
    session = resolver.create_session(agent_id="bench", goal=GOAL)
    resolution = session.resolve(GOAL)
    for _ in range(WARM + count):
        session.execute("resource.list", {}, resolution=resolution)
    return resolver


def _sessions(count: int) -> object:
    resolver = _resolver()
    for _ in range(WARM + count):
        resolver.create_session(agent_id="bench", goal=GOAL).end()
    return resolver


# Each returns what must not be closed before the count is taken.
CASES: dict[str, Callable[[int], object]] = {
    "resolve 5": lambda count: _resolves(count, github=False),
    "resolve 117": lambda count: _resolves(count, github=True),
    "record": _records,
    "execute inline": _executions,
    "session": _sessions,
}


def interpreter() -> str:
    """The program that runs this. Raises `RuntimeError` for a script, whose shell would be counted in its place."""
    with open(sys.executable, "rb") as file:
        if file.read(2) == b"#!":
            raise RuntimeError(f"{sys.executable} is a script (a pyenv shim?); run this with the interpreter itself")
    return sys.executable


def count_run(name: str, implementation: str, count: int) -> int:
    """The instructions of the main thread of one run under callgrind."""
    with tempfile.TemporaryDirectory() as folder:
        tool = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={folder}/out"]
        command = [*tool, interpreter(), "-m", "perf.instructions", "--run", name, str(count)]
        environ = environment(implementation) | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} ({implementation}) failed under valgrind:\n{done.stderr}")
        return total(Path(folder, "out-01").read_text())


def total(profile: str) -> int:
    """The instructions in what callgrind writes for a thread. Raises `RuntimeError` where it says none."""
    found = re.search(r"^(?:totals|summary): (\d+)$", profile, re.MULTILINE)
    if found is None:
        raise RuntimeError("callgrind's file has no totals")
    return int(found.group(1))


def measure(name: str, implementation: str) -> int:
    """Instructions per operation."""
    less, more = (count_run(name, implementation, count) for count in (LESS, MORE))
    return round((more - less) / (MORE - LESS))


def table(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The counts as lines of Markdown."""
    lines = ["| instructions per operation | compiled | reference | times |", "|---|--:|--:|--:|"]
    for name, by in counts.items():
        cells = [f"{by[one]:,}" if one in by else "–" for one in BOTH]
        ratio = f"{by['pure'] / by['compiled']:.1f}" if len(by) == len(BOTH) else "–"
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio} |")
    return lines


def key() -> str:
    """What a baseline holds for: this interpreter, on this platform."""
    return f"{platform.python_implementation()} {platform.python_version()} {sysconfig.get_platform()}"


def grown(counts: Mapping[str, Mapping[str, int]], baseline: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What has grown beyond the tolerance, a sentence each."""
    return [
        f"{name} ({one}): {count:,} instructions, {count / baseline[name][one] - 1:.1%} more than {baseline[name][one]:,}"
        for name, by in counts.items()
        for one, count in by.items()
        if one in baseline.get(name, {}) and count > baseline[name][one] * (1 + TOLERANCE)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m perf.instructions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--implementation", choices=BOTH, action="append", help="only this one")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="fail where a count is 2 %% above the one in it")
    parser.add_argument("--update-baseline", action="store_true", help="write the counts there instead")
    parser.add_argument(
        "--run", nargs=2, metavar=("NAME", "COUNT"), help="what is counted; used by this program itself"
    )
    options = parser.parse_args()
    if options.run:
        _ = CASES[options.run[0]](int(options.run[1]))
        os._exit(0)  # how long closing waits for the worker is no part of a count
    if options.update_baseline and not options.baseline:
        parser.error("--update-baseline needs --baseline FILE")
    if shutil.which("valgrind") is None:
        print(f"valgrind is not on this machine, so no instructions were counted; {INSTALL}", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)
    counts: Counts = {}
    for name in options.only:
        print(name, file=sys.stderr, flush=True)
        counts[name] = {one: measure(name, one) for one in options.implementation or BOTH}
    print(key())
    print("\n".join(table(counts)))
    if options.baseline:
        known = json.loads(options.baseline.read_text()) if options.baseline.exists() else {}
        if options.update_baseline:
            known[key()] = known.get(key(), {}) | counts
            options.baseline.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
        elif key() not in known:
            sys.exit(f"{options.baseline} has no counts for {key()}; make them with --update-baseline")
        elif found := grown(counts, known[key()]):
            sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
