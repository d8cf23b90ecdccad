"""Data folders of processes that died: what recovery, the doctor and the command line are tried on."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.storage.jsonl import JsonlStorage
from cra.testing import SeededIds, VirtualClock

ATLAS: dict[str, Any] = {
    "atlas_version": "1.0",
    "atlas_id": "com.example.a",
    "version": "1.0.0",
    "name": "A",
    "description": "A",
    "actions": [{"action_id": f"a.do{n}", "name": "Do", "description": "Do"} for n in range(3)],
    "policies": [{"policy_id": "all", "type": "allow", "actions": ["a.do0", "a.do1"]}],
    "context_blocks": [
        {"context_id": "x", "name": "X", "content": "x", "keywords": ["lamp"]},
        {"context_id": "y", "name": "Y", "content": "y"},
    ],
}


def die(resolver: cra.Resolver) -> None:
    """Let go of a resolver as a killed process does: without a word, its ring where it is."""
    recorder = resolver._runtime.recorder
    assert recorder._worker is not None
    recorder._worker.stop()
    recorder._worker.join(60)
    recorder.queue.state = "forked"  # nothing enters any more, and nobody stores it
    assert recorder._file is not None
    recorder._file.leave()
    for backend in resolver._backends:
        backend.close()


class Stopping(JsonlStorage):
    """Takes nothing any more once it is `stopped`, as if the worker had died there."""

    stopped = False

    def append(self, batch: Any) -> None:
        if self.stopped:
            raise StorageError("stopped")
        super().append(batch)


def open_work(folder: Path, seed: int = 1, **options: Any) -> tuple[cra.Resolver, cra.Session]:
    """A resolver over a store in `folder`, with a session that is open and everything before this stored."""
    resolver = cra.Resolver(Stopping(folder), clock=VirtualClock(), ids=SeededIds(seed), **options)
    resolver.load_atlas(ATLAS)
    resolver.register("a.do0", dict)
    session = resolver.create_session("bot", "work")
    session.execute("a.do0", {}, resolution=session.resolve("a lamp"))
    resolver.flush()
    return resolver, session


def crash(folder: Path, seed: int = 1, **options: Any) -> str:
    """A process dies in the middle of an execution, which is recorded, as is the resolve before it, and not stored: two records
    of its session. Returns the session's id."""
    resolver, session = open_work(folder, seed, **options)
    (storage,) = resolver._backends
    assert isinstance(storage, Stopping)
    storage.stopped = True
    resolver.register("a.do1", lambda: die(resolver), inline=True)
    with pytest.raises(cra.InternalError):
        session.execute("a.do1", {}, resolution=session.resolve("the last"))
    return session.session_id


def file_of(folder: Path, session_id: str) -> Path:
    """The file of a session in a store."""
    return folder / f"{session_id}.trace.jsonl"


def contents(*folders: Path) -> dict[str, Any]:
    """Everything in folders, by path: its kind, when it was last changed, and its bytes where it has some, and not too many."""
    found: dict[str, Any] = {}
    for path in (each for folder in folders for each in [folder, *folder.rglob("*")]):
        status = path.lstat()
        is_read = stat.S_ISREG(status.st_mode) and status.st_size < 2**24
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_size, path.read_bytes() if is_read else None)
    return found
