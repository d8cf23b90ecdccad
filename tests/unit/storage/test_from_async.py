"""Backends with coroutines: where they run, what their callers see. The contract over one is in test_backends."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.storage.base import StorageHealth
from cra.storage.from_async import _PAGE_EVENTS, FromAsync
from cra.storage.open import open_storage
from cra.trace.event import Event
from tests.support.storage import AsyncMemory

WAIT = 60.0


def test_a_resolver_takes_one_like_any(tmp_path: Any) -> None:
    """Alone or in a list, from a thread or from a running loop; its trace verifies and everything is stored."""
    mine = AsyncMemory()

    async def work() -> str:
        with cra.Resolver(["memory:", mine], tracing="immediate") as resolver:
            with resolver.create_session("bot", "work") as session:
                session.resolve("Look around")
            await resolver.aflush()
            return session.session_id

    session_id = asyncio.run(work())
    events = list(mine.memory.events(session_id))
    assert ("session.started", "session.ended") == (events[0].event_type, events[-1].event_type)
    assert cra.verify_chain(events).valid


def test_what_was_recorded_is_read_back_through_the_adapter() -> None:
    """Deferred, with reading from several pages."""
    with cra.Resolver(AsyncMemory()) as resolver:
        with resolver.create_session("bot", "work") as session:
            for _ in range(_PAGE_EVENTS):
                session.resolve("Look around")
        trace = resolver.trace(session.session_id)
    assert len(trace) > 2 * _PAGE_EVENTS
    assert cra.verify_chain(trace).valid


def test_all_calls_are_on_one_loop_which_ends_with_close(sessions: Any) -> None:
    """Whatever thread they come from; no thread is left, and none begins before the first call."""
    before, mine = threading.active_count(), AsyncMemory()
    (backend,) = open_storage(mine)
    assert before == threading.active_count()
    callers = [threading.Thread(target=backend.append, args=(sessions.events(n),)) for n in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(WAIT)
    assert 4 == backend.count()
    (loop,) = mine.loops
    backend.close()
    backend.close()
    assert (before, True) == (threading.active_count(), loop.is_closed())


def test_closing_what_was_never_used_closes_it() -> None:
    """The backend is told all the same."""
    mine = AsyncMemory()
    FromAsync(mine).close()
    assert mine.memory._closed


def test_a_closed_one_refuses_everything_but_health(sessions: Any) -> None:
    """Nothing is awaited that nobody would run."""
    (backend,) = open_storage(AsyncMemory())
    backend.append(sessions.events(0))
    backend.close()
    session_id = sessions.id(0)
    for call in (
        lambda: backend.append(sessions.events(0)),
        lambda: list(backend.events(session_id)),
        lambda: backend.sessions(),
        lambda: backend.last(session_id, 1),
        lambda: backend.count(),
        lambda: backend.delete_session(session_id),
        lambda: backend.flush(durable=False),
    ):
        with pytest.raises(StorageError, match="storage 'async-memory:' is closed; open it again"):
            call()
    assert (
        StorageHealth("async-memory:", False, ("storage 'async-memory:' is closed; open it again",)) == backend.health()
    )


def test_a_reading_that_is_left_ends_on_the_loop(sessions: Any) -> None:
    """Its generator is closed there, also where it is collected after the backend was closed."""
    ended = threading.Event()

    class Noting(AsyncMemory):
        async def events(
            self, session_id: str, *, after: int = -1, types: Collection[str] | None = None
        ) -> AsyncIterator[Event]:
            try:
                async for event in super().events(session_id, after=after, types=types):
                    yield event
            finally:
                await asyncio.sleep(0)
                ended.set()

    (backend,) = open_storage(Noting())
    backend.append(sessions.events(0, _PAGE_EVENTS + 1))
    reading = backend.events(sessions.id(0))
    next(reading)
    del reading
    gc.collect()
    assert ended.wait(WAIT)
    late = backend.events(sessions.id(0))
    next(late)
    backend.close()
    del late
    gc.collect()


def test_what_still_runs_when_it_is_closed_is_told(sessions: Any) -> None:
    """A call that the backend would never answer ends with a `StorageError`."""
    started = threading.Event()

    class Hanging(AsyncMemory):
        async def append(self, batch: Sequence[Event]) -> None:
            started.set()
            await asyncio.Event().wait()

    (backend,) = open_storage(Hanging())
    told: list[BaseException] = []

    def append() -> None:
        try:
            backend.append(sessions.events(0))
        except StorageError as error:
            told.append(error)

    caller = threading.Thread(target=append, daemon=True)
    caller.start()
    assert started.wait(WAIT)
    backend.close()
    caller.join(WAIT)
    assert ["storage 'async-memory:' was closed meanwhile; open it again"] == list(map(str, told))


def test_errors_are_those_of_the_backend(sessions: Any) -> None:
    """`append` raises what the coroutine raises, health says it, and a close that fails ends the thread."""
    before = threading.active_count()

    class Failing(AsyncMemory):
        async def append(self, batch: Sequence[Event]) -> None:
            raise StorageError("full")

        async def health(self) -> StorageHealth:
            raise ValueError("ill")

        async def close(self) -> None:
            raise StorageError("cannot be closed")

    (backend,) = open_storage(Failing())
    with pytest.raises(StorageError, match="full"):
        backend.append(sessions.events(0))
    assert StorageHealth("async-memory:", False, ("ill",)) == backend.health()
    with pytest.raises(StorageError, match="cannot be closed"):
        backend.close()
    backend.close()
    assert before == threading.active_count()


def test_the_same_one_twice_is_refused() -> None:
    """As with any backend, and no thread is begun."""
    mine, before = AsyncMemory(), threading.active_count()
    with pytest.raises(StorageError, match="storage 'async-memory:' is given twice"):
        open_storage([mine, "memory:", mine])
    assert before == threading.active_count()
