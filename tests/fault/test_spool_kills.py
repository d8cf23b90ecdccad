"""A process is killed while events are spooled: the next one delivers them, then its ring, once and without a gap."""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

import cra
from cra.storage.sqlite import SqliteStorage
from tests.support.away import AwayStorage
from tests.support.crashes import ATLAS

RESOLVES = 3_000


def store_at(path: Path) -> AwayStorage:
    return AwayStorage(SqliteStorage(path), spool_bytes=2**26, name="away:sqlite")


def child(path: Path, said: int, *, hangs: bool) -> None:
    """Resolve while the store is away, until killed; say the session, then how much is spooled."""
    store = store_at(path)
    resolver = cra.Resolver(store, ring=path.with_name("rings"))
    resolver.load_atlas(ATLAS)
    session = resolver.create_session("doomed", "work")
    session.resolve("a lamp")
    resolver.flush()
    (store.hang if hangs else store.go_away)()
    for _ in range(RESOLVES):
        session.resolve("a lamp")
    while not resolver.stats().recorder.backends[0].spooled:
        time.sleep(0.01)
    session.resolve("the last")
    spooled = resolver.stats().recorder.backends[0].spooled
    os.write(said, f"{session.session_id} {spooled} \n".encode())
    signal.pause()


def kill_one(path: Path, *, hangs: bool) -> tuple[str, int]:
    listening, said = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            child(path, said, hangs=hangs)
        finally:
            os._exit(1)
    os.close(said)
    assert select.select([listening], [], [], 60)[0], "the child says nothing"
    session_id, spooled, _ = os.read(listening, 100).decode().split(" ")
    os.close(listening)
    os.kill(process, signal.SIGKILL)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return session_id, int(spooled)


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_what_was_spooled_when_the_process_was_killed_is_stored_by_the_next_one(tmp_path: Path, hangs: bool) -> None:
    """Every resolution, once, in a chain that verifies; after a start that the store refuses, which changes
    nothing."""
    path = tmp_path / "audit.db"
    session_id, spooled = kill_one(path, hangs=hangs)
    assert spooled > 0, "nothing was spooled: the kill came to nothing"
    files = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "rings").iterdir()}
    assert any(name.endswith(".spool") for name in files)
    assert {0o600} == set(files.values())
    before = sorted(files)
    away = store_at(path)
    away.go_away()
    with pytest.raises(cra.StorageError, match="the store is away"):
        cra.Resolver(away, ring=tmp_path / "rings")
    away.backend.close()
    assert before == sorted(file.name for file in (tmp_path / "rings").iterdir())
    store = store_at(path)
    with cra.Resolver(store, ring=tmp_path / "rings") as resolver:
        (found,) = [e.payload for e in resolver.trace(resolver.session_id) if e.event_type == "runtime.recovered"]
        events = resolver.trace(session_id)
    store.backend.close()
    assert found["spooled"] >= spooled
    assert 0 == found["unreadable"]
    assert found["torn"] <= 1  # what was being written to the spool then: it is in the ring
    verdict = cra.verify_chain(events)
    assert verdict.valid, verdict
    completed = [event.payload["resolution_id"] for event in events if event.event_type == "carp.resolution.completed"]
    assert RESOLVES + 2 == len(completed) == len(set(completed))
    assert "session.ended" == events[-1].event_type
    assert [] == list((tmp_path / "rings").iterdir())
    with closing(sqlite3.connect(path)) as database:
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()
