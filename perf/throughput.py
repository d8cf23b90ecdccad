"""Throughput cases: how much of something in a second, and what stays flat while it goes on. A case returns figures by name."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cra
from perf.latency import GITHUB, GOAL, GOLDEN, runtime, session_of

Figures = dict[str, Any]
Case = Callable[[int], Figures]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[name] = function
        return function

    return register


def _records(session: cra.Session, count: int) -> None:
    resolve = session.resolve
    for _ in range(count):
        resolve(GOAL)


def _worker(storage: str, atlas: Path) -> Case:
    def run(count: int) -> Figures:
        with tempfile.TemporaryDirectory() as folder, runtime(atlas, storage.format(folder=folder)) as resolver:
            session = session_of(resolver)
            before = resolver.stats().recorder.events_recorded
            started = time.perf_counter()
            _records(session, count)
            resolver.flush()
            elapsed = time.perf_counter() - started
            events = resolver.stats().recorder.events_recorded - before
        return {"events/s": events / elapsed, "resolves/s": count / elapsed, "events": events}

    run.__doc__ = f"resolves as fast as they go, until every event is in `{storage.split('{')[0]}`"
    return run


CASES["worker, discarded"] = _worker("null:", GOLDEN)
CASES["worker, discarded, 117"] = _worker("null:", GITHUB)
CASES["worker, memory"] = _worker("memory:", GOLDEN)
CASES["worker, jsonl"] = _worker("jsonl:///{folder}/trace", GOLDEN)


@case("verify_file")
def verify_file(count: int) -> Figures:
    """`cra.verify_file`: the trace of one session, and of 100 sessions interleaved"""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, sessions in (("one session", 1), ("100 sessions", 100)):
            path = Path(folder) / f"{sessions}.jsonl"
            with cra.Resolver(storage=f"jsonl:///{folder}/{sessions}") as resolver:
                resolver.load_atlas(GOLDEN)
                opened = [resolver.create_session(agent_id="bench", goal=GOAL) for _ in range(sessions)]
                for n in range(count // 4):
                    opened[n % sessions].resolve(GOAL)
                resolver.flush()
                with path.open("wb") as file:
                    for session in opened:
                        file.write((Path(folder) / str(sessions) / f"{session.session_id}.trace.jsonl").read_bytes())
            best = 0.0
            for _ in range(3):
                started = time.perf_counter()
                result = cra.verify_file(path)
                best = max(best, result.event_count / (time.perf_counter() - started))
                assert result.valid, result
            figures[f"events/s, {name}"] = best
    return figures


@case("import")
def import_time(count: int) -> Figures:
    """`import cra` in a fresh interpreter, less an interpreter that imports nothing"""

    with tempfile.TemporaryDirectory() as cache:
        # As after an installation: compiled to bytecode once, whatever the environment says.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache

        def run(code: str) -> float:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            return (time.perf_counter() - started) * 1000

        runs = 20
        return {"ms": min(run("import cra") for _ in range(runs)) - min(run("pass") for _ in range(runs))}


@case("memory")
def memory(count: int) -> Figures:
    """resident memory over `count` × 100 resolves and `count` sessions opened and closed, in MB"""
    points: list[tuple[int, float]] = []
    with runtime() as resolver:
        session = session_of(resolver)
        for step in range(20):
            _records(session, count * 5)
            for _ in range(count // 20):
                resolver.create_session(agent_id="bench", goal=GOAL).end()
            resolver.flush()
            points.append((step + 1, resident_mb()))
    return {"MB after a quarter": points[4][1], "MB in the end": points[-1][1], "points": points}


def resident_mb() -> float:
    """What the process has in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
