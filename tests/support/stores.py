"""Stores of every kind on disk, and processes that were killed while they recorded into one."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Any

import cra
from cra.errors import StorageError
from cra.storage.journal.backend import JournalStorage
from cra.storage.jsonl import JsonlStorage
from cra.storage.jsonl_days import DailyJsonlStorage
from cra.storage.sqlite import SqliteStorage
from cra.testing.traces import make_trace
from tests.support.crashes import ATLAS, Stopping

RESOLVES = 50


class StoppingJournal(JournalStorage):
    """Takes nothing any more once it is `stopped`."""

    stopped = False

    def append_records(self, frames: bytes) -> None:
        if self.stopped:
            raise StorageError("stopped")
        super().append_records(frames)


class StoppingSqlite(SqliteStorage):
    """Takes nothing any more once it is `stopped`."""

    stopped = False

    def append(self, batch: Any) -> None:
        if self.stopped:
            raise StorageError("stopped")
        super().append(batch)


STOPPING: dict[str, Any] = {"journal": StoppingJournal, "sqlite": StoppingSqlite, "jsonl": Stopping}
PLAIN: dict[str, Any] = {
    "journal": JournalStorage,
    "sqlite": SqliteStorage,
    "jsonl": JsonlStorage,
    "days": DailyJsonlStorage,
}


def kill(kind: str, path: Path, *, stored: bool = True) -> str:
    """Kill a process that has recorded resolves of a session, which wait in its ring; what came before is stored, or not even
    that. Returns the session's id."""
    listening, said = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            storage = STOPPING[kind](path)
            storage.stopped = not stored
            resolver = cra.Resolver(storage)
            resolver.load_atlas(ATLAS)
            session = resolver.create_session("bot", "work")
            if stored:
                session.resolve("a lamp")
                resolver.flush()
            storage.stopped = True
            for _ in range(RESOLVES):
                session.resolve("a lamp")
            os.write(said, session.session_id.encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(said)
    assert select.select([listening], [], [], 60)[0], "the child says nothing"
    session_id = os.read(listening, 36).decode()
    os.close(listening)
    os.kill(child, signal.SIGKILL)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return session_id


def written(kind: str, path: Path, sessions: int = 3, end: bool = True) -> None:
    """A store that was closed, with sessions of two or three events."""
    storage = PLAIN[kind](path)
    types = [("session.started", {}), ("a.b", {}), *([("session.ended", {})] if end else [])]
    for number in range(1, sessions + 1):
        storage.append(make_trace(types, session=number))
    storage.close()


def mix_in(folder: Path, sessions: int = 1) -> None:
    """Put the files of a `jsonl:` store into a folder, as somebody may who moves files."""
    other = folder.with_name("moved")
    written("jsonl", other, sessions=sessions)
    for file in other.iterdir():
        file.rename(folder / file.name)
    other.rmdir()
