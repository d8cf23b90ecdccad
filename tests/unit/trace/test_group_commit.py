"""Many threads that wait for `durable` share an fsync, and each of them has one that began after its records were stored."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from tests.support.crashes import ATLAS
from tests.support.stores import PLAIN

STORES = ("journal", "jsonl", "sqlite")
THREADS = 16
Work = Callable[[cra.Resolver, cra.Session], object]


class Watched:
    """A store whose durable flushes are counted; each may be held up, until something is so, and may be told what it covers."""

    def __init__(self, kind: str, path: Path) -> None:
        self.store: Any = PLAIN[kind](path)
        self.flushes = 0
        self.hold: Callable[[], None] = lambda: None
        self.covered: dict[str, int] = {}
        self._flush = self.store.flush
        self.store.flush = self.flush

    def flush(self, durable: bool) -> None:
        if not durable:
            self._flush(False)
            return
        self.flushes += 1
        covers = {session: self.store.count(session) for session in self.store.sessions()}
        self.hold()
        self._flush(True)
        self.covered = covers


@contextmanager
def watched(kind: str, folder: Path, **options: Any) -> Iterator[tuple[Watched, cra.Resolver, list[cra.Session]]]:
    """A resolver over such a store, with a session for each thread, all of it durable so far and not counted."""
    store = Watched(kind, folder / "store")
    resolver = cra.Resolver(store.store, **options)
    try:
        resolver.load_atlas(ATLAS)
        resolver.register("a.do0", dict)
        sessions = [resolver.create_session("bot", "work") for _ in range(THREADS)]
        resolver.flush("durable")
        store.flushes = 0
        yield store, resolver, sessions
    finally:
        with suppress(StorageError):  # where it was made to fail
            resolver.close()


def at_once(resolver: cra.Resolver, sessions: list[cra.Session], work: Work) -> list[BaseException]:
    """Have a thread for each session do the work; what was raised."""
    raised: list[BaseException] = []

    def run(session: cra.Session) -> None:
        try:
            work(resolver, session)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    return raised


def until_waiting(resolver: cra.Resolver, count: int) -> None:
    """Wait until as many threads wait for `durable`."""
    deadline = time.monotonic() + 60
    while len(resolver._runtime.recorder._drain.durable._wanted) < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def resolve_durably(resolver: cra.Resolver, session: cra.Session) -> None:
    session.resolve("a lamp")
    resolver.flush("durable")


def execute_durably(_: cra.Resolver, session: cra.Session) -> None:
    session.execute("a.do0", {}, resolution=session.resolve("a lamp"))


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize(
    ("work", "options"),
    [(resolve_durably, {}), (execute_durably, {"fail_closed": True, "durability": "durable"})],
    ids=["flush", "execute"],
)
def test_who_comes_while_one_is_synced_shares_the_next(
    kind: str, work: Work, options: dict[str, Any], tmp_path: Path
) -> None:
    """The first fsync is held up until all others wait: one more serves those that it does not cover."""
    with watched(kind, tmp_path, **options) as (store, resolver, sessions):
        held: list[bool] = []

        def hold() -> None:
            if not held:
                held.append(True)
                until_waiting(resolver, THREADS)

        store.hold = hold
        assert [] == at_once(resolver, sessions, work)
        assert held
        assert store.flushes in (1, 2)


def test_the_calls_of_the_disk_are_shared_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the threads wait for is one fsync of the segment, not one each."""
    synced: list[str] = []
    real = os.fsync
    with watched("journal", tmp_path) as (store, resolver, sessions):
        monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), real(file)))
        store.hold = lambda: until_waiting(resolver, THREADS) if store.flushes == 1 else None
        assert [] == at_once(resolver, sessions, resolve_durably)
        segments = [path for path in synced if path.endswith(".segment")]
    assert len(segments) in (1, 2)


@pytest.mark.parametrize("kind", STORES)
def test_an_fsync_covers_whom_it_serves(kind: str, tmp_path: Path) -> None:
    """Whoever returns from a flush finds what he recorded in the store as it was when that fsync began; and they are few."""
    rounds = 15
    with watched(kind, tmp_path) as (store, resolver, sessions):
        before = {session.session_id: store.store.count(session.session_id) for session in sessions}
        events = len(resolver.trace(sessions[0].session_id))
        sessions[0].resolve("a lamp")
        per_resolve = len(resolver.trace(sessions[0].session_id)) - events
        before[sessions[0].session_id] += per_resolve

        def work(resolver: cra.Resolver, session: cra.Session) -> None:
            for number in range(1, rounds + 1):
                resolve_durably(resolver, session)
                covered = store.covered[session.session_id]
                assert covered >= before[session.session_id] + number * per_resolve

        store.flushes = 0
        assert [] == at_once(resolver, sessions, work)
        assert store.flushes < THREADS * rounds / 2


@pytest.mark.parametrize("kind", ["journal", "jsonl"])
def test_an_fsync_that_fails_fails_all_who_wait_for_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that it is durable: neither who waits, nor who came while it failed, nor who comes later."""

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch, watched(kind, tmp_path) as (store, resolver, sessions):
        patch.setattr(os, "fsync", refuse)
        store.hold = lambda: until_waiting(resolver, THREADS) if store.flushes == 1 else None
        raised = at_once(resolver, sessions, resolve_durably)
        assert THREADS == len(raised)
        assert all(isinstance(error, StorageError) and "an fsync failed" in str(error) for error in raised), raised
        patch.undo()
        with pytest.raises(StorageError, match="an fsync failed"):
            resolver.flush("durable")
        with pytest.raises(StorageError, match="an fsync failed"):
            resolve_durably(resolver, sessions[0])
