"""A store that fails, or Ctrl-C while it is written to: nothing is there twice, and nothing is left open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError, TraceBackpressure
from cra.reference.chain import verify_chain
from cra.storage.from_async import FromAsync
from cra.storage.journal.backend import JournalStorage
from cra.storage.memory import MemoryStorage
from cra.testing import VirtualClock
from cra.testing.traces import make_trace
from cra.trace.outbox import Outbox
from cra.trace.record import EventsRecord
from cra.trace.recorder import Recorder
from cra.trace.subscribe import Broadcaster
from tests.support.away import SECONDS, AwayStorage

Make = Callable[..., Recorder]
MakeRecord = Callable[..., EventsRecord]
APPROVED = {
    "atlas_version": "1.0",
    "atlas_id": "com.example.a",
    "version": "1.0.0",
    "name": "A",
    "description": "A",
    "actions": [{"action_id": "a.b", "name": "B", "description": "B"}],
    "policies": [
        {"policy_id": "all", "type": "allow", "actions": ["a.b"]},
        {"policy_id": "ask", "type": "require_approval", "actions": ["a.b"]},
    ],
}


class Interrupted(MemoryStorage):
    """Ctrl-C comes when `append` has stored `after` events of a batch, once."""

    after: int | None = None

    def append(self, batch: Sequence[Any]) -> None:
        after, self.after = self.after, None
        super().append(batch if after is None else batch[:after])
        if after is not None:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_a_batch_whose_append_was_interrupted_is_stored_once(after: int) -> None:
    """Whatever the store had taken of it by then: it is asked."""
    from cra.trace.batch import Batch
    from cra.trace.jsonl import dump_line

    events = [*make_trace([("a.b", {}), ("a.c", {})], session=1), *make_trace([("a.b", {}), ("a.c", {})], session=2)]
    lines = [dump_line(event) for event in events]
    ids = [events[0].session_id, events[2].session_id]
    runs = [(ids[n], sum(map(len, lines[2 * n : 2 * n + 2])), 2) for n in (0, 1)]
    store = Interrupted()
    outbox = Outbox([store], Broadcaster())
    outbox.add(Batch(b"".join(lines), runs, 10))
    store.after = after
    with pytest.raises(KeyboardInterrupt):
        outbox.deliver()
    assert outbox.deliver() is None
    assert 4 == store.count() == outbox.stats(closed=False)[0].stored
    assert 10 == outbox.position
    for session_id in ids:
        assert [0, 1] == [event.sequence for event in store.events(session_id)]


def test_a_journal_that_is_given_the_same_frames_again_has_them_once(tmp_path: Path) -> None:
    """Who gave them was interrupted, and does not know that they are there."""
    with cra.Resolver(storage=(journal := JournalStorage(tmp_path)), tracing="immediate") as resolver:
        append = journal.append_records

        def interrupted(frames: bytes) -> None:
            append(frames)
            journal.append_records = append  # type: ignore[method-assign]
            raise KeyboardInterrupt

        journal.append_records = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            resolver.create_session("bot", "work")
        session = resolver.create_session("bot", "work")
        traces = [resolver.trace(session_id) for session_id in journal.sessions()]
        assert session.session_id in journal.sessions()
    for trace in traces:
        assert verify_chain(trace).valid
        assert 1 == sum(event.event_type == "session.started" for event in trace)


def test_a_session_that_a_failing_store_did_not_let_begin_has_an_end() -> None:
    """Immediate: its start is kept and stored later, so its end is, too, and nobody has the session."""
    store = AwayStorage(spool_bytes=0)
    resolver = cra.Resolver(store, tracing="immediate")
    put = resolver._runtime.recorder.queue.put

    def away_from_now_on(record: Any) -> None:
        put(record)
        store.go_away()

    resolver._runtime.recorder.queue.put = away_from_now_on  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="the store is away"):
        resolver.create_session("bot", "work")
    resolver._runtime.recorder.queue.put = put  # type: ignore[method-assign]
    store.come_back()
    assert 0 == resolver.stats().sessions_active
    resolver.close()
    (session_id,) = set(store.sessions()) - {resolver.session_id}
    assert ["session.started", "session.ended"] == [event.event_type for event in store.events(session_id)]


def test_an_approval_that_expires_while_the_store_fails_expires_once() -> None:
    """Immediate: the event is kept and stored later; it is not recorded again."""
    store, clock = AwayStorage(spool_bytes=0), VirtualClock()
    resolver = cra.Resolver(store, tracing="immediate", clock=clock, idle_seconds=10**6, life_seconds=10**6)
    resolver.load_atlas(APPROVED)
    session = resolver.create_session("bot", "work")
    resolution = session.resolve("go")
    session.request_approval(resolution.decision.approval_id or "")
    clock.advance(90_000)
    put = resolver._runtime.recorder.queue.put

    def away_from_now_on(record: Any) -> None:
        put(record)
        store.go_away()

    resolver._runtime.recorder.queue.put = away_from_now_on  # type: ignore[method-assign]
    with pytest.raises(StorageError):
        resolver._runtime.expire_approvals()
    resolver._runtime.recorder.queue.put = put  # type: ignore[method-assign]
    store.come_back()
    resolver._runtime.expire_approvals()
    resolver.close()
    types = [event.event_type for event in store.events(session.session_id)]
    assert 1 == types.count("approval.expired")


def test_every_child_ends_with_its_parent_though_one_cannot() -> None:
    """What keeps one from ending is raised, once the others have ended."""
    resolver = cra.Resolver()
    parent = resolver.create_session("bot", "work")
    children = [resolver.create_session("bot", "part", parent=parent) for _ in range(3)]

    def refuse(*_: Any) -> None:
        raise TraceBackpressure("full")

    children[0].end = refuse  # type: ignore[method-assign]
    with pytest.raises(TraceBackpressure):
        parent.end()
    assert ["active", "ended", "ended"] == [child.status for child in children]
    del children[0].end
    resolver.close()
    assert "ended" == children[0].status


def test_an_append_that_nobody_waits_for_any_more_ends_before_the_next_begins() -> None:
    """Ctrl-C cancels the call, which may take a while to end: the next waits for that."""

    class Slow:
        name, durable, readable = "slow:", False, True

        def __init__(self) -> None:
            self.running = self.most = 0
            self.begun = threading.Event()

        async def append(self, batch: Any) -> None:
            self.running += 1
            self.most = max(self.most, self.running)
            self.begun.set()
            try:
                await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)  # such as a connection that is given back
                raise
            finally:
                self.running -= 1

        async def close(self) -> None:
            pass

    backend = Slow()
    adapted: Any = FromAsync(backend)  # type: ignore[arg-type]
    future = asyncio.run_coroutine_threadsafe(adapted._append([]), adapted._start())
    assert backend.begun.wait(SECONDS)
    future.cancel()  # as `_wait` does when it is interrupted
    adapted.append([])
    adapted.close()
    assert (1, 0) == (backend.most, backend.running)
