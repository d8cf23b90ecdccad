"""The memory backend's bound: what is let go, what never is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cra.errors import StorageError
from cra.storage.memory import MemoryStorage

SMALL = 576  # bytes that an event without payload takes, about


def test_ended_sessions_are_let_go_first_ended_first(sessions: Any) -> None:
    """When the store is full the session that ended first goes, and is counted; open ones stay."""
    batches = [sessions.events(0, 2) + sessions.events(1, 2) + sessions.events(2, 2), sessions.end(1), sessions.end(0)]
    whole = MemoryStorage()
    for batch in batches:
        whole.append(batch)
    backend = MemoryStorage(max_bytes=whole._size)
    for batch in batches:
        backend.append(batch)
    assert 3 == len(backend.sessions())
    backend.append(sessions.events(3, 1))
    assert [sessions.id(0), sessions.id(2), sessions.id(3)] == backend.sessions()
    assert (1, 3) == (backend.evicted_sessions, backend.evicted_events)
    assert "3 events were let go, 1 ended sessions among them" == backend.health().details[1]
    backend.append(sessions.events(3, 4))
    assert [sessions.id(2), sessions.id(3)] == backend.sessions()


def test_open_sessions_lose_their_oldest_events_last(sessions: Any) -> None:
    """Ended sessions go first; then the largest open one loses its beginning, and what is left is its end."""
    backend = MemoryStorage(max_bytes=6_000)
    kept = sessions.events(0, 5)
    backend.append(kept)
    backend.append(sessions.events(1, 1) + sessions.end(1))
    more = sessions.events(0, 10)
    backend.append(more)
    left = list(backend.events(sessions.id(0)))
    assert 0 == backend.count(sessions.id(1))
    assert 0 < len(left) < 15
    assert (kept + more)[-len(left) :] == left
    assert (1, 17 - len(left)) == (backend.evicted_sessions, backend.evicted_events)


def test_a_reader_is_not_disturbed_by_what_is_let_go(sessions: Any) -> None:
    """An iterator shows the session as it was when it was asked for."""
    backend = MemoryStorage(max_bytes=6_000)
    first = sessions.events(0, 5)
    backend.append(first)
    reading = backend.events(sessions.id(0))
    backend.append(sessions.events(0, 10))
    assert first == list(reading)


def test_one_batch_larger_than_the_store_leaves_its_end(sessions: Any) -> None:
    """The bound holds whatever comes at once."""
    backend = MemoryStorage(max_bytes=3_000)
    batch = sessions.events(0, 50)
    backend.append(batch)
    left = list(backend.events(sessions.id(0)))
    assert batch[-len(left) :] == left
    assert backend._size <= 3_000


def test_a_batch_of_sessions_that_end_in_it_never_blocks(sessions: Any) -> None:
    """More short sessions than fit, in one batch: the last ones stay, the rest is counted."""
    backend = MemoryStorage(max_bytes=5_000)
    batch = [event for n in range(20) for event in sessions.events(n) + sessions.end(n)]
    backend.append(batch)
    assert 40 == backend.count() + backend.evicted_events
    assert 0 < backend.count() < 40
    assert [sessions.id(19)] == backend.sessions()[-1:]


def test_a_flush_cannot_be_durable() -> None:
    """Memory does not survive the process."""
    with pytest.raises(StorageError, match="does not survive the process and cannot be durable; use jsonl: or sqlite:"):
        MemoryStorage().flush(durable=True)


def test_a_session_deleted_while_open_and_ended_later_is_let_go_like_any(sessions: Any) -> None:
    """Deleting forgets the size as well."""
    backend = MemoryStorage(max_bytes=4 * SMALL)
    for _ in range(10):
        backend.append(sessions.events(0, 3))
        assert 3 == backend.delete_session(sessions.id(0))
    backend.append(sessions.end(0))
    backend.append(sessions.events(1, 4))
    assert [sessions.id(1)] == backend.sessions()


BOUND = 6_000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.booleans()), max_size=40))
def test_the_bound_holds_and_every_event_is_accounted_for(
    new_sessions: Callable[[], Any], steps: list[tuple[int, int, bool]]
) -> None:
    """stored = held + evicted, the size never exceeds the bound, and what is held of an open session is its end."""
    sessions, backend = new_sessions(), MemoryStorage(max_bytes=BOUND)
    given_events: dict[int, list[Any]] = {}
    stored = generation = 0
    for session, count, end in steps:
        number = session + 10 * generation
        batch = sessions.events(number, count) + (sessions.end(number) if end else [])
        backend.append(batch)
        stored += len(batch)
        given_events.setdefault(number, []).extend(batch)
        if end:
            del given_events[number]
            generation += 1
        assert backend._size <= BOUND
        assert stored == backend.count() + backend.evicted_events
        for open_session, events in given_events.items():
            held = list(backend.events(sessions.id(open_session)))
            assert events[len(events) - len(held) :] == held


def test_the_estimate_is_on_the_high_side_and_not_absurd(sessions: Any) -> None:
    """Counted bytes are at least what the interpreter needs, and at most three times that."""
    backend = MemoryStorage()
    tracemalloc.start()
    try:
        for n in range(50):
            backend.append(sessions.events(0, 20, text=f"value {n}", items=[n, {"deep": [n + 0.5]}]))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used <= backend._size * 1.1 <= 3.3 * used
