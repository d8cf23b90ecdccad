"""What is done to each store while its system calls fail: a runtime's two lives, and the recovery of what two killed ones left.

A `Life` does one thing at a time and says what it was promised: `recorded` (and of which session), `executed`, `ended`, and the
levels `stored` and `durable`, which hold for everything said before. Everything that a disk may refuse is asked for again, as a
caller would. The worker is held back while something is recorded, so that every run makes the same calls. What is said begins
with the name of the life, "repair" for one that only repairs.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cra
from cra.errors import StorageError
from cra.storage import sqlite
from cra.storage.base import StorageBackend
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.names import SEGMENT, segments
from cra.storage.journal.retention import Retention
from cra.storage.journal.series import Rotation
from cra.storage.jsonl import JsonlStorage
from cra.storage.sqlite import SqliteStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace import recorder
from cra.trace.repair import repair
from tests.fault.calls import Said, Say, perform
from tests.support.crashes import ATLAS, file_of

STORES = ("journal", "jsonl", "sqlite")
ATTEMPTS = 3
_RING_BYTES = 64 * 1024  # each made of two writes
_SEGMENT_BYTES = 3_000
_CHECKPOINT_BYTES = 20_000
_OPEN_FILES = 2
_KEPT_SECONDS = 60
_LONG = " and more of it" * 60
TOUCHED = {
    ("journal", "work"): (".segment", ".zst", ".index", ".gone", ".lock", ".ring", ".defs"),
    ("journal", "recovery"): (".segment", ".segment.torn", ".zst", ".lock", ".ring", ".defs"),
    ("journal", "repair"): (".segment", ".segment.torn", ".lock", ".ring", ".defs"),
    ("jsonl", "work"): (".trace.jsonl", ".writing-", ".ring", ".defs"),
    ("jsonl", "recovery"): (".trace.jsonl", ".jsonl.torn", ".ring", ".defs"),
    ("jsonl", "repair"): (".trace.jsonl", ".jsonl.torn", ".ring", ".defs"),
    ("sqlite", "work"): ("/trace>", "-wal", "-shm", ".ring", ".defs"),
    ("sqlite", "recovery"): ("/trace>", "-wal", "-shm", ".ring", ".defs"),
    ("sqlite", "repair"): ("/trace>", "-wal", "-shm", ".ring", ".defs"),
}
"""The kinds of files that each part has to make calls on, or it is not what it is for."""
T = TypeVar("T")


class QuietJournal(JournalStorage):
    """A journal whose keeper comes when it is called, with `keep`, and not when it likes."""

    def keep(self) -> None:
        """What the keeper does: retention, then compression. What fails is tried again the next time."""
        self._keep()

    def _wake_keeper(self) -> None:
        pass


def open_store(kind: str, folder: Path, clock: VirtualClock) -> StorageBackend:
    """A store of this kind in a folder, small in everything, so that little work makes all of its calls."""
    if kind == "journal":
        rotation, retention = Rotation(max_bytes=_SEGMENT_BYTES), Retention(max_seconds=_KEPT_SECONDS)
        return QuietJournal(folder / "trace", rotation=rotation, retention=retention, compress=True, clock=clock)
    if kind == "jsonl":
        return JsonlStorage(folder / "trace", max_open=_OPEN_FILES)
    return SqliteStorage(folder / "trace")


class Life:
    """A runtime over a store of this kind in a folder, which says what it was promised. `seed` is of its ids."""

    def __init__(self, kind: str, folder: Path, say: Say, seed: int, clock: VirtualClock, **options: Any) -> None:
        self._say = say
        self._name = str(seed)
        recorder.DEFAULT_RING_BYTES = _RING_BYTES
        vars(sqlite)["CHECKPOINT_BYTES"] = _CHECKPOINT_BYTES
        ids = SeededIds(seed)

        def start() -> cra.Resolver:
            self.store = open_store(kind, folder, clock)
            return cra.Resolver(self.store, clock=clock, ids=ids, **options)

        resolver = self.ask("start", start)
        if resolver is None:
            raise RuntimeError("it cannot be opened after one fault")
        self.resolver = resolver
        self.say("opened")
        self._drain = resolver._runtime.recorder._drain
        self._is_held = False
        self._inside: Callable[[], object] = dict
        self.reach("stored")
        self._before = (self.ask("count", self.store.count) or 0) - self._stored
        self.hold()
        self.ask("load", lambda: resolver.load_atlas(ATLAS))
        resolver.register("a.do0", dict, inline=True)
        resolver.register("a.do1", self._run_inside, inline=True)

    def say(self, *words: object) -> None:
        """Say it as this life."""
        self._say(self._name, *words)

    def ask(self, what: str, function: Callable[[], T]) -> T | None:
        """Call it again where the store refuses, as one who means it; None where it goes on refusing."""
        for _ in range(ATTEMPTS):
            try:
                return function()
            except StorageError as error:
                self.say("refused", what, error.message)
        return None

    def hold(self) -> None:
        """Keep the worker from storing, so that what is recorded from here on is stored at once."""
        if not self._is_held:
            self._drain.busy.acquire()
            self._is_held = True

    def let_go(self) -> None:
        """Have the worker store again."""
        if self._is_held:
            self._is_held = False
            self._drain.busy.release()

    def session(self) -> cra.Session:
        """A new session."""
        self.hold()
        session = self.ask("create", lambda: self.resolver.create_session("bot", "work"))
        assert session is not None
        self.say("begun", session.session_id)
        return session

    def resolve(self, session: cra.Session, text: str = "a lamp") -> cra.Resolution | None:
        """Resolve, and say which resolution was returned."""
        self.hold()
        resolution = self.ask("resolve", lambda: session.resolve(text))
        if resolution is not None:
            self.say("recorded", session.session_id, resolution.resolution_id)
        return resolution

    def execute(self, session: cra.Session, inside: Callable[[], object] | None = None, *, waits: bool = False) -> None:
        """Resolve and execute; while the execution runs, do what is `inside`. `waits`: until its own record is safe."""
        resolution = self.resolve(session)
        if resolution is None:
            return
        if waits:
            self.reach("stored")
        self._inside = inside or dict
        action = "a.do1" if inside else "a.do0"

        def execute() -> bool:
            session.execute(action, {}, resolution=resolution)
            return True

        if self.ask("execute", execute):
            self.say("executed", session.session_id, resolution.resolution_id)

    def end(self, session: cra.Session) -> None:
        """End a session."""

        def end() -> bool:
            session.end()
            return True

        self.hold()
        if self.ask("end", end):
            self.say("ended", session.session_id)

    def reach(self, level: str) -> None:
        """Flush, and say that the level is reached. Then nothing waits."""

        def flush() -> bool:
            self.let_go()
            self.resolver.flush(level)  # type: ignore[arg-type]
            return True

        if not self.ask(level, flush):
            return
        self.say(level)
        stats = self.resolver.stats().recorder
        assert (0, 0) == (stats.records_waiting, stats.records_lost), stats
        for backend in stats.backends:
            assert (stats.events_recorded, 0, 0) == (backend.stored, backend.waiting, backend.lost), stats

    def count(self) -> None:
        """Hold what the recorder says is stored against what the store has."""
        found = self.ask("count", self.store.count)
        assert found is None or found == self._before + self._stored, (found, self._before, self._stored)

    def read(self, session: cra.Session) -> None:
        """Read a session, which takes indexes."""
        self.reach("stored")
        self.ask("read", lambda: self.resolver.trace(session.session_id) and None)

    def keep(self) -> None:
        """What a journal does in the background."""
        if isinstance(self.store, QuietJournal):
            self.store.keep()

    def close(self) -> None:
        """End it, and say whether everything was stored."""
        self.reach("stored")
        self.hold()
        recorder = self.resolver._runtime.recorder
        close = recorder.close

        def let_go_and_close(timeout: float | None = 5.0) -> None:
            self.let_go()
            close(timeout)

        vars(recorder)["close"] = let_go_and_close
        try:
            self.resolver.close()
            self.say("closed")
        except StorageError as error:
            self.say("refused", "close", error.message)

    @property
    def _stored(self) -> int:
        (backend,) = self.resolver.stats().recorder.backends
        return int(backend.stored)

    def _run_inside(self) -> dict[str, Any]:
        self._inside()
        self.hold()
        return {}


def work(kind: str, folder: Path, say: Say) -> None:
    """Two lives after one another: sessions side by side, executions, segments that fill up, retention, compression, a reopen."""
    clock = VirtualClock()
    life = Life(kind, folder, say, 1, clock)
    first, second = life.session(), life.session()
    for _ in range(3):
        life.resolve(first)
        life.resolve(second)
    life.execute(first)
    life.reach("stored")

    def inside() -> None:
        life.resolve(second)
        life.reach("stored")
        life.reach("durable")

    life.execute(second, inside)
    life.end(first)
    life.reach("stored")
    life.count()
    for _ in range(6):
        life.resolve(second, "a lamp" + _LONG)
        life.reach("stored")
    life.reach("durable")
    life.read(second)
    life.keep()
    life.say("old")  # from here on, retention may take what was said before
    clock.advance(2 * _KEPT_SECONDS)
    third = life.session()
    life.execute(third)
    life.reach("durable")
    life.keep()
    life.resolve(second)
    life.resolve(third)
    life.read(second)
    life.close()
    life = Life(kind, folder, say, 2, clock, fail_closed=True, durability="durable")
    last = life.session()
    life.reach("stored")
    life.execute(last, waits=True)
    life.reach("stored")
    life.read(last)
    life.resolve(last)
    life.close()


def recover(kind: str, folder: Path, say: Say) -> None:
    """A runtime opens what others left, and works there."""
    life = Life(kind, folder, say, 11, VirtualClock())
    session = life.session()
    life.execute(session)
    life.reach("durable")
    life.count()
    life.read(session)
    life.keep()
    life.close()


def mend(kind: str, folder: Path, say: Say) -> None:
    """What others left is repaired without a runtime."""
    ids = SeededIds(21)
    for _ in range(ATTEMPTS):
        try:
            done = repair(folder / "trace", None, VirtualClock(), ids)
        except StorageError as error:
            say("repair", "refused", error.message)
            continue
        if not done.refused:
            say("repair", "repaired")
            return
        say("repair", "refused", done.refused)


def die(kind: str, folder: Path, say: Say) -> None:
    """Two runtimes side by side that are killed: an execution is running in one, and what both recorded waits in their rings."""
    clock = VirtualClock()
    life = Life(kind, folder, say, 31, clock)
    open_one, over, other = life.session(), life.session(), life.session()
    for _ in range(4):
        life.resolve(open_one, "a lamp" + _LONG)
        life.reach("stored")
    life.end(over)
    life.reach("durable")
    life.read(open_one)
    life.keep()
    life.resolve(other)
    life.reach("stored")

    def inside() -> None:
        life.reach("stored")
        child = os.fork()
        if child == 0:
            die_beside()
        os.waitpid(child, 0)
        for session in (open_one, other):
            life.resolve(session, "the last")
        life.end(other)
        os.kill(os.getpid(), signal.SIGKILL)

    def die_beside() -> None:
        beside = Life(kind, folder, say, 32, clock)
        session = beside.session()
        beside.resolve(session)
        beside.reach("stored")
        beside.resolve(session)
        os.kill(os.getpid(), signal.SIGKILL)

    life.execute(open_one, inside)


def leave(kind: str, folder: Path) -> list[Said]:
    """Make what killed runtimes leave, each kind of file with a torn end. What they said."""
    run = perform(lambda say: die(kind, folder, say))
    assert -signal.SIGKILL == run.status, run
    if kind == "journal":
        tails = [files[-1].path for files in segments(folder / "trace").values() if files[-1].path.suffix == SEGMENT]
        assert len(tails) == 2, tails
    elif kind == "jsonl":
        tails = [file_of(folder / "trace", words[2]) for words in run.said if words[1] == "begun"][:2]
    else:
        tails = [folder / "trace-wal"]
    for path in tails:
        with path.open("ab") as file:
            file.write(b'{"trace_version"')
    return run.said


def copy(template: Path, folder: Path) -> None:
    """What was left, for one more to open."""
    shutil.copytree(template, folder, symlinks=True)
