"""How much of something in a second, what it costs where call by call makes no sense, and what stays flat while it goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import cra
from cra.hotpath import feed_lines
from cra.reference.grammar import find_dialect
from cra.storage.journal.backend import JournalStorage
from cra.trace.verify import FileVerifier
from perf.cases import GITHUB, GOAL, GOLDEN, ROOT, Figures, Points, figures, resolve, runtime, session_of

CHUNK_BYTES = 2**20
MEMORY_STEPS = 40


def _worker(name: str, text: str, storage: str, atlas: Path) -> None:
    @figures(name, text, best=max)
    def run(count: int) -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            found = _stored(storage.format(folder=folder), atlas, count)
            if storage.startswith(("journal:", "jsonl:")):
                found["bytes a resolve"] = _size(Path(folder, "trace")) / count
        return found


def _stored(storage: str, atlas: Path, count: int) -> Figures:
    """Resolves without a pause until they are stored."""
    with runtime(atlas, storage) as resolver:
        session = session_of(resolver)
        before = resolver.stats().recorder.events_recorded
        started = time.perf_counter()
        resolve(session, count)
        resolver.flush()
        elapsed = time.perf_counter() - started
        events = resolver.stats().recorder.events_recorded - before
    return {"events/s": events / elapsed, "resolves/s": count / elapsed}


_worker(
    "worker discarded", "resolves without a pause until their events are made, sealed and discarded", "null:", GOLDEN
)
_worker("worker discarded 117", "the same, GitHub atlas: 122 events a resolve", "null:", GITHUB)
_worker("worker memory", "the same, golden atlas, until they are in `memory:`", "memory:", GOLDEN)
_worker("worker jsonl", "the same, until they are in `jsonl:`", "jsonl:///{folder}/trace", GOLDEN)
_worker("worker sqlite", "the same, until they are in `sqlite:`", "sqlite:///{folder}/audit.db", GOLDEN)


@figures("worker postgresql", "the same, until they are in `postgresql:`, a server of its own, fsync on", best=max)
def worker_postgresql(count: int) -> Figures:
    """Without a server on this machine there are no figures, and standard error says why."""
    from tests.support.postgres import Server, ServerMissing

    try:
        server = Server()
    except ServerMissing as error:
        print(f"worker postgresql: {error}", file=sys.stderr)
        return {}
    try:
        server.start()
        return _stored(server.url(), GOLDEN, count)
    finally:
        server.remove()


_worker("worker journal", "the same, until their records are in `journal:`", "journal:///{folder}/trace", GOLDEN)


def _durable(kind: str, storage: str, threads: int) -> None:
    @figures(
        f"durable {kind} {threads}",
        f'a resolve and `flush("durable")`, into `{kind}:`, from {threads} thread{"s" * (threads > 1)}',
        best=max,
    )
    def run(count: int) -> Figures:
        each = max(20, count // 1_000)
        with tempfile.TemporaryDirectory() as folder, runtime(GOLDEN, storage.format(folder=folder)) as resolver:
            sessions = [session_of(resolver) for _ in range(threads)]
            (backend,) = resolver._backends
            calls = _count_flushes(backend)

            def work(session: cra.Session) -> None:
                for _ in range(each):
                    session.resolve(GOAL)
                    resolver.flush("durable")

            workers = [threading.Thread(target=work, args=(session,)) for session in sessions]
            started = time.perf_counter()
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            elapsed = time.perf_counter() - started
        return {"durable flushes/s": threads * each / elapsed, "flushes a commit": threads * each / len(calls)}


def _count_flushes(backend: Any) -> list[bool]:
    """Has a backend note every flush that is durable: each is an fsync, or a few."""
    calls: list[bool] = []
    flush = backend.flush

    def note(durable: bool) -> None:
        if durable:
            calls.append(True)
        flush(durable)

    backend.flush = note
    return calls


for _kind, _storage in (
    ("journal", "journal:///{folder}/trace"),
    ("jsonl", "jsonl:///{folder}/trace"),
    ("sqlite", "sqlite:///{folder}/audit.db"),
):
    for _threads in (1, 16):
        _durable(_kind, _storage, _threads)


def _size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


@figures(
    "journal read one session", "the events of one session out of 1,000 in `journal:`, as a reader gets them", best=max
)
def read_one_session(count: int) -> Figures:
    sessions = 1_000
    with tempfile.TemporaryDirectory() as folder:
        with runtime(GOLDEN, f"journal:///{folder}/trace") as resolver:
            opened = [resolver.create_session(agent_id="bench", goal=GOAL) for _ in range(sessions)]
            for number in range(max(count, sessions)):
                opened[number % sessions].resolve(GOAL)
        for index in Path(folder, "trace").glob("*.index"):
            index.unlink()
        journal = JournalStorage(f"{folder}/trace")
        started = time.perf_counter()
        journal.sessions()  # makes the indexes
        indexed = time.perf_counter() - started
        one = opened[sessions // 2].session_id
        started = time.perf_counter()
        events = sum(1 for _ in journal.events(one))
        elapsed = time.perf_counter() - started
        journal.close()
    return {"events/s": events / elapsed, "ms": elapsed * 1000, "ms to make the index": indexed * 1000}


@figures("verify one session", "`cra.verify_file`, the trace of one session", best=max)
def verify_one_session(count: int) -> Figures:
    return _verify(count, 1)


@figures("verify 100 sessions", "the same, 100 sessions interleaved line by line", best=max)
def verify_many_sessions(count: int) -> Figures:
    return _verify(count, 100)


def _verify(count: int, sessions: int) -> Figures:
    threads = [1, 2] if cra.implementation() == "compiled" and (os.cpu_count() or 1) > 1 else [1]
    found: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_trace(Path(folder), count // 4, sessions)
        for number in threads:
            found[f"events/s, {number} thread{'s' * (number > 1)}"] = max(_verified(path, number) for _ in range(3))
    return found


def write_trace(folder: Path, resolves: int, sessions: int) -> Path:
    """A trace file of so many resolves and sessions, a line of each in turn."""
    with cra.Resolver(storage=f"jsonl:///{folder}/sessions") as resolver:
        resolver.load_atlas(GOLDEN)
        opened = [resolver.create_session(agent_id="bench", goal=GOAL) for _ in range(sessions)]
        for number in range(resolves):
            opened[number % sessions].resolve(GOAL)
        resolver.flush()
    path = folder / "all.trace.jsonl"
    files = [(folder / "sessions" / f"{one.session_id}.trace.jsonl").read_bytes().splitlines(True) for one in opened]
    path.write_bytes(b"".join(line for lines in zip_longest(*files, fillvalue=b"") for line in lines))
    return path


def _verified(path: Path, threads: int) -> float:
    """Events of this file verified in a second, as `cra.verify_file` does it, which takes as many threads as there are cores."""
    verifier = FileVerifier(find_dialect("trace-1.0"))
    with path.open("rb") as file:
        started = time.perf_counter()
        _feed(file, verifier, threads)
        result = verifier.result()
        elapsed = time.perf_counter() - started
    if not result.valid:
        raise RuntimeError(f"{path} is not valid: {result.message}")
    return result.event_count / elapsed


def _feed(file: BinaryIO, verifier: FileVerifier, threads: int) -> None:
    if cra.implementation() == "compiled":
        compiled: Any = import_module("cra._speedups")
        compiled._feed_lines(file, verifier, threads, CHUNK_BYTES)
    else:
        feed_lines(file, verifier)


@figures("record in C", "`cra_ring_put` of 150 bytes, no Python in it", implementations=("compiled",))
def record_in_c(count: int) -> Figures:
    """Compiled here and now with the flags of `setup.py`; without a C compiler there are no figures."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/ring_put"
        sources = [ROOT / "perf/ring_put.c", *sorted((ROOT / "cra/_kernel").glob("*.c"))]
        flags = ["-std=c11", "-O3", "-pthread", f"-I{ROOT / 'cra/_kernel'}", "-o", program]
        subprocess.run([compiler, *flags, *sources], check=True)
        done = subprocess.run([program, str(max(1, count // 1_000))], check=True, capture_output=True, text=True)
    return {"ns": float(done.stdout)}


@figures("import", "`import cra` in a fresh interpreter, less an interpreter that imports nothing")
def import_time(count: int) -> Figures:
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


def _memory(name: str, text: str, work: Callable[[cra.Resolver, cra.Session, int], int]) -> None:
    @figures(name, text, long=True)
    def run(count: int) -> dict[str, Figures | Points]:
        points: Points = []
        with runtime() as resolver:
            session, done = session_of(resolver), 0
            for _ in range(MEMORY_STEPS):
                done += work(resolver, session, count)
                resolver.flush()
                points.append((done, resident_mb()))
        quarter = points[MEMORY_STEPS // 4 - 1][1]
        return {"figures": {"MB after a quarter": quarter, "MB in the end": points[-1][1]}, "points": points}


def _resolves(resolver: cra.Resolver, session: cra.Session, count: int) -> int:
    number = count * 100 // MEMORY_STEPS
    resolve(session, number)
    return number


def _sessions(resolver: cra.Resolver, session: cra.Session, count: int) -> int:
    number = count // MEMORY_STEPS
    for _ in range(number):
        with resolver.create_session(agent_id="bench", goal=GOAL) as one:
            one.resolve(GOAL)
    return number


_memory("memory resolves", "resident memory over 10 million resolves (reference: 1 million)", _resolves)
_memory("memory sessions", "resident memory over 100,000 sessions opened and ended (reference: 10,000)", _sessions)


def resident_mb() -> float:
    """What the process has in memory (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmRSS")
