"""Kill a process that records, again and again, and see that nothing is missing.

`python -m tests.fault.kills [--kills N] [--store sqlite]`. Each child opens a resolver over `jsonl:`, `journal:` or `sqlite:`,
its ring on disk, resolves and executes as fast as it can, and says over a pipe which resolutions were returned to it. It is
killed (SIGKILL) at a random moment. The next resolver in the same folder recovers: every resolution that was said is in the
trace, once, each chain verifies and is complete, and sessions are closed. Prints what it did; exit code 1 when something is
missing or when no kill did what it is for.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import cra
from cra.storage.journal.verify import verify_journal

GOLDEN = Path(__file__).parents[1] / "data/golden/simple-resolve/atlas.json"
GOAL = "Manage resources in the test environment, however often the process dies"
ID_BYTES = 37


def child(url: str, said: int) -> None:
    """Resolve until killed; tell of every resolution after it was returned."""
    resolver = cra.Resolver(storage=url)
    resolver.load_atlas(GOLDEN)
    resolver.register("resource.list", dict, inline=True)
    session = resolver.create_session(agent_id="doomed", goal=GOAL)
    os.write(said, session.session_id.encode() + b"\n")
    number = 0
    while True:
        resolution = session.resolve(f"{GOAL}: {number}")
        os.write(said, resolution.resolution_id.encode() + b"\n")
        number += 1
        if number % 16 == 0:
            session.execute("resource.list", {}, resolution=resolution)


def kill_one(url: str, rng: random.Random) -> tuple[str, list[str]]:
    """Start a child, let it live for a random while, and kill it. Its session and the resolutions that it said it has."""
    listening, said = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(listening)
            child(url, said)
        finally:
            os._exit(1)
    os.close(said)
    text = b""
    deadline: float | None = None
    while True:
        wait = 30.0 if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([listening], [], [], wait)
        if ready:
            text += os.read(listening, 2**20)
        if deadline is None and b"\n" in text:
            deadline = time.monotonic() + rng.random() ** 2 * 0.05
        if deadline is None or time.monotonic() >= deadline:
            break
    os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    assert signal.SIGKILL == status, f"the child ended by itself: {status}"
    while more := os.read(listening, 2**20):
        text += more
    os.close(listening)
    session, *resolutions = [line.decode() for line in text.split(b"\n") if len(line) == ID_BYTES - 1]
    return session, resolutions


def check(folder: Path, url: str, session: str, resolutions: list[str], totals: dict[str, int]) -> None:
    """Recover, and hold the trace against what was said."""
    with cra.Resolver(storage=url) as resolver:
        (recovered,) = [e.payload for e in resolver.trace(resolver.session_id) if e.event_type == "runtime.recovered"]
        events = resolver.trace(session)
    verdict = cra.verify_chain(events)
    assert verdict.valid, verdict
    assert "session.ended" == events[-1].event_type, events[-1]
    completed = [e.payload["resolution_id"] for e in events if e.event_type == "carp.resolution.completed"]
    traced = set(completed)
    assert len(completed) == len(traced), "a resolution is there twice"
    missing = [each for each in resolutions if each not in traced]
    assert not missing, f"{len(missing)} of {len(resolutions)} resolutions are missing: {missing[:3]}"
    started = {e.span_id for e in events if e.event_type == "action.approved"}
    closed = [e for e in events if e.event_type in ("action.executed", "action.failed")]
    assert len(started) == len(closed), "an execution was not closed once"
    totals["acknowledged"] += len(resolutions)
    totals["events"] += len(events)
    for name in ("records", "torn", "executions", "unreadable"):
        totals[name] += recovered[name]
    totals["with records waiting"] += recovered["records"] > 0
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(folder / "trace")) as database:
            verdicts = database.execute("PRAGMA integrity_check").fetchall()
        assert [("ok",)] == verdicts, verdicts
    else:
        torn = [name for name in os.listdir(folder / "trace") if name.endswith(".torn")]
        totals["within a line of the file"] += bool(torn)
    assert [] == os.listdir(folder / "trace.ring"), "the ring was not removed"
    if url.startswith("journal:"):
        faults = verify_journal(folder / "trace").faults
        assert not faults, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--store", choices=("jsonl", "journal", "sqlite"), default="jsonl")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    totals: dict[str, Any] = dict.fromkeys(
        ("acknowledged", "events", "records", "torn", "executions", "unreadable", "with records waiting"), 0
    )
    totals["within a line of the file"] = 0
    for number in range(options.kills):
        folder = Path(tempfile.mkdtemp(prefix="cra-kills-"))
        url = f"{options.store}:///{folder}/trace"
        try:
            session, resolutions = kill_one(url, rng)
            check(folder, url, session, resolutions, totals)
        except AssertionError as error:
            print(f"kill {number} of seed {options.seed}, {folder}: {error}", file=sys.stderr)
            return 1
        shutil.rmtree(folder)
    summary = {
        "implementation": cra.implementation(),
        "store": options.store,
        "kills": options.kills,
        "seed": options.seed,
        **totals,
    }
    print(json.dumps(summary))
    return 0 if totals["with records waiting"] else 1


if __name__ == "__main__":
    sys.exit(main())
