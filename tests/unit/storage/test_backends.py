"""What every backend that can be read promises, on all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError
from cra.storage.base import StorageBackend
from cra.storage.journal.backend import JournalStorage
from cra.storage.jsonl import JsonlStorage
from cra.storage.memory import MemoryStorage
from cra.storage.null import NullStorage


@pytest.fixture(params=["memory", "jsonl", "journal"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageBackend]:
    """Each backend that keeps events, empty."""
    make: dict[str, Callable[[], StorageBackend]] = {
        "memory": MemoryStorage,
        "jsonl": lambda: JsonlStorage(tmp_path / "store"),
        "journal": lambda: JournalStorage(tmp_path / "store"),
    }
    made = make[request.param]()
    yield made
    made.close()


@pytest.mark.parametrize("kind", [MemoryStorage, NullStorage, JsonlStorage, JournalStorage])
def test_every_backend_has_the_methods_of_the_protocol(kind: Any) -> None:
    """`StorageBackend` is what a third party implements; ours do."""
    made = kind.__new__(kind)
    made.name = "any"
    assert isinstance(made, StorageBackend)


def test_events_come_back_as_they_were_given(backend: StorageBackend, sessions: Any) -> None:
    """Equal, in order, per session, whatever the payload holds."""
    payload = {"text": 'ä"\n\u2028😀', "n": 2**64 - 1, "x": 0.1, "deep": [[{"a": None}], True], "zero": -0.0}
    first, second = sessions.events(0, 3, **payload), sessions.events(1, 2)
    backend.append([first[0], second[0], first[1]])
    backend.append([second[1], first[2]])
    assert first == list(backend.events(sessions.id(0)))
    assert second == list(backend.events(sessions.id(1)))
    assert [sessions.id(0), sessions.id(1)] == backend.sessions()


def test_after_and_types_select(backend: StorageBackend, sessions: Any) -> None:
    """`after` is the last sequence that is not wanted, `types` an exact set."""
    events = sessions.events(0, 3) + sessions.end(0)
    backend.append(events)
    session_id = sessions.id(0)
    assert events[2:] == list(backend.events(session_id, after=1))
    assert events[3:] == list(backend.events(session_id, types=["session.ended"]))
    assert [] == list(backend.events(session_id, after=3, types=["session.ended"]))
    assert [] == list(backend.events(session_id, types=[]))


def test_an_unknown_session_has_no_events(backend: StorageBackend, sessions: Any) -> None:
    """It is empty everywhere, and no error."""
    unknown = sessions.id(7)
    assert [] == list(backend.events(unknown))
    assert [] == backend.last(unknown, 3)
    assert (0, 0, 0) == (backend.count(unknown), backend.count(), backend.delete_session(unknown))
    assert [] == backend.sessions()


@pytest.mark.parametrize("n", [-1, 0, 1, 2, 3, 10])
def test_last_gives_the_end_of_a_session(n: int, backend: StorageBackend, sessions: Any) -> None:
    """At most `n` events, in order; none for 0 and below."""
    events = sessions.events(0, 3)
    backend.append(events)
    assert (events[-n:] if n > 0 else []) == backend.last(sessions.id(0), n)


def test_count_and_delete(backend: StorageBackend, sessions: Any) -> None:
    """A deleted session is gone, the others stay; one of its events that comes later is stored as it is."""
    backend.append(sessions.events(0, 3) + sessions.events(1, 2))
    assert (5, 3, 2) == (backend.count(), backend.count(sessions.id(0)), backend.count(sessions.id(1)))
    if isinstance(backend, JournalStorage):
        with pytest.raises(StorageError, match="of which no session can be taken out without breaking it"):
            backend.delete_session(sessions.id(0))
        assert 5 == backend.count()
        return
    assert 3 == backend.delete_session(sessions.id(0))
    assert (2, 0) == (backend.count(), backend.count(sessions.id(0)))
    assert [sessions.id(1)] == backend.sessions()
    later = sessions.events(0)
    backend.append(later)
    assert later == list(backend.events(sessions.id(0)))


def test_reading_sees_the_events_of_the_moment(backend: StorageBackend, sessions: Any) -> None:
    """An iterator that was begun ends where the session ended then."""
    events = sessions.events(0, 3)
    backend.append(events)
    reading = backend.events(sessions.id(0))
    assert events[0] == next(reading)
    backend.append(sessions.events(0, 2))
    assert events[1:] == list(reading)


def test_reading_while_writing_gives_a_prefix(backend: StorageBackend, sessions: Any) -> None:
    """Readers in other threads always see whole events without gaps."""
    events = sessions.events(0, 200)
    backend.append(events[:1])
    done = threading.Event()
    wrong: list[Any] = []

    def read() -> None:
        while not done.is_set():
            seen = list(backend.events(sessions.id(0)))
            if seen != events[: len(seen)]:
                wrong.append(seen)

    reader = threading.Thread(target=read)
    reader.start()
    for event in events[1:]:
        backend.append([event])
    done.set()
    reader.join()
    assert [] == wrong


def test_closing_twice_is_harmless_and_what_was_stored_can_be_read(backend: StorageBackend, sessions: Any) -> None:
    """A runtime may be closed before its trace is looked at."""
    events = sessions.events(0, 3)
    backend.append(events)
    backend.close()
    backend.close()
    assert events == list(backend.events(sessions.id(0)))


def test_a_healthy_backend_says_so(backend: StorageBackend, sessions: Any) -> None:
    """`health` names the backend and is ok; a plain flush always works."""
    backend.append(sessions.events(0))
    backend.flush(durable=False)
    assert (backend.name, True) == (backend.health().name, backend.health().ok)
