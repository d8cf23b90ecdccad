"""What a storage backend promises, as tests that anybody's own backend can be run through with pytest.

A test module subclasses `StorageContract` and says how its backend is opened; pytest runs every rule of
`cra.StorageBackend` against it. Nothing here imports pytest. docs/storage.md has an example.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain, groupby, zip_longest
from typing import Any, ClassVar
from unittest import SkipTest

from msgspec.structs import replace

from cra.errors import CRAError, StorageError
from cra.hotpath import verify_chain
from cra.storage.base import AsyncStorageBackend, StorageBackend, StorageHealth
from cra.storage.open import open_storage
from cra.testing.traces import make_trace
from cra.trace.batch import Batch, Run
from cra.trace.event import Event
from cra.trace.jsonl import dump_line

WAIT_SECONDS = 60.0
"""How long a test waits for a thread before it fails."""

_RICH = {"text": 'ä"\n\\\u2028😀\x00', "n": 2**53 - 1, "x": 0.1, "deep": [[{"a": None}], True], "zero": -0.0, "": ""}
_LARGE = "x" * 200_000


class StorageContract:
    """The rules of `StorageBackend`, a test each. Subclass it as `Test…` and write `open`.

    `persistent` says that `open`, called again in the same test, opens what was stored before; `bounded`, that the backend may
    hold less than 8 MB. What `readable` and `durable` of the backend say is tested as well.
    """

    persistent: ClassVar[bool] = True
    bounded: ClassVar[bool] = False

    def open(self) -> StorageBackend | AsyncStorageBackend:
        """Open the backend: empty when it is called first in a test. It is closed when the test is over."""
        raise NotImplementedError

    def failing(self, backend: StorageBackend) -> AbstractContextManager[object]:
        """While it is entered, appending 4 MB fails, as on a full disk. Where there is no such thing, its test is skipped."""
        raise SkipTest("the backend's test does not say how it fails")

    # --- what pytest calls ---

    def setup_method(self) -> None:
        """Before each test."""
        self._opened: list[StorageBackend] = []

    def teardown_method(self) -> None:
        """After each test."""
        while self._opened:
            self._opened.pop().close()

    # --- the protocol ---

    def test_it_has_every_part_of_the_protocol(self) -> None:
        """Attributes and methods are there, and of the right types."""
        backend = self._open()
        _check("it is a StorageBackend", True, isinstance(backend, StorageBackend))
        _check("`name` is a text", True, isinstance(backend.name, str) and backend.name != "")
        _check("`durable` and `readable` are bools", (bool, bool), (type(backend.durable), type(backend.readable)))

    # --- append ---

    def test_events_come_back_as_they_were_given(self) -> None:
        """Each the same to the byte, in order, whatever its payload holds, and the chain verifies."""
        backend, events = self._open_readable(), _trace(1, 5, **_RICH)
        backend.append(events[:1])
        backend.append(events[1:])
        found = list(backend.events(_id(events)))
        _check("events are what was appended, in order", events, found)
        _check("their lines are the same bytes", list(map(dump_line, events)), list(map(dump_line, found)))
        _check("the chain verifies", True, verify_chain(found).valid)

    def test_a_batch_of_lines_is_stored_like_a_list(self) -> None:
        """What the recorder appends is a `Batch`; what recovery appends may be a list of events."""
        backend, first, second = self._open_readable(), _trace(1, 4, **_RICH), _trace(2, 4, **_RICH)
        for events, form in ((first, list), (second, _batch)):
            backend.append(form(events[:3]))
            backend.append(form(events[3:]))
        for events in (first, second):
            _check("events are what was appended", events, list(backend.events(_id(events))))

    def test_sessions_may_be_interleaved_in_a_batch(self) -> None:
        """A batch has the events of many sessions in any order; each session keeps its own."""
        backend = self._open_readable()
        traces = [_trace(number, length) for number, length in ((1, 7), (2, 3), (3, 5))]
        mixed = [event for events in zip_longest(*traces) for event in events if event is not None]
        backend.append(_batch(mixed[:6]))
        backend.append(mixed[6:])
        for events in traces:
            _check("a session's events are its own, in order", events, list(backend.events(_id(events))))
        _check("`sessions` is oldest first", list(map(_id, traces)), backend.sessions())

    def test_an_empty_batch_changes_nothing(self) -> None:
        """Nothing to store is no error."""
        backend = self._open_readable()
        backend.append([])
        _check("there are no sessions and no events", ([], 0), (backend.sessions(), backend.count()))

    def test_a_batch_is_stored_whole_or_not_at_all(self) -> None:
        """An event that cannot be stored, the last of three sessions', leaves nothing of its batch."""
        backend = self._open_readable()
        before, other, (begin, end) = _trace(1, 3), _trace(2, 2), _trace(3, 2)
        backend.append(before[:1])
        batch = [*before[1:], *other, begin, replace(end, payload={"x": float("nan")})]  # which is no JSON
        try:
            backend.append(batch)
            stored = len(batch)
        except CRAError:
            stored = 0
        _check("all events of the batch are stored, or none", 1 + stored, backend.count())

    def test_a_refused_batch_is_taken_when_it_comes_again(self) -> None:
        """A failure stores nothing and is a `StorageError`; afterwards the backend goes on."""
        backend = self._open_readable()
        before, large = _trace(1, 3), _trace(2, 20, text=_LARGE)
        backend.append(before[:2])
        batch = _batch([before[2], *large])
        with self.failing(backend):
            _check_error("append", lambda: backend.append(batch))
        found = (backend.count(), list(backend.events(_id(before))), list(backend.events(_id(large))))
        _check("nothing of a refused batch is stored", (2, before[:2], []), found)
        backend.append(batch)
        for events in (before, large):
            _check("the batch is there once", events, list(backend.events(_id(events))))

    def test_events_may_be_large(self) -> None:
        """A batch of 4 MB, and events of 200 kB, are nothing special."""
        if self.bounded:
            raise SkipTest("the backend is bounded")
        backend, events = self._open_readable(), _trace(1, 20, text=_LARGE)
        backend.append(_batch(events))
        _check("events are what was appended", events, list(backend.events(_id(events))))

    # --- reading ---

    def test_after_and_types_select(self) -> None:
        """`after` is the last sequence that is not wanted, `types` the exact types that are."""
        backend, events = self._open_readable(), _trace(1, 6)
        backend.append(events)
        for after in (-1, 0, 3, 5, 99):
            _check(f"after={after}", events[after + 1 :], list(backend.events(_id(events), after=after)))
        for types in (
            [],
            ["action.requested"],
            {"action.requested", "session.started"},
            ("action", "%", "session.ended"),
        ):
            wanted = [event for event in events if event.event_type in types]
            _check(f"types={types}", wanted, list(backend.events(_id(events), types=types)))
        found = list(backend.events(_id(events), after=2, types=["action.requested"]))
        _check("both together", [event for event in events[3:] if event.event_type == "action.requested"], found)

    def test_reading_sees_the_events_of_the_moment(self) -> None:
        """An iterator that was begun ends where the session ended then."""
        backend, events = self._open_readable(), _trace(1, 6)
        backend.append(events[:3])
        reading = iter(backend.events(_id(events)))
        begun = [next(reading)]
        backend.append(events[3:])
        _check("what was appended later is not seen", events[:3], begun + list(reading))

    def test_an_iterator_may_be_left_unfinished(self) -> None:
        """Who reads the first event only holds nobody up."""
        backend, events = self._open_readable(), _trace(1, 6)
        backend.append(events[:3])
        unfinished = iter(backend.events(_id(events)))
        next(unfinished)
        backend.append(events[3:])
        backend.flush(False)
        _check("the session goes on", events, list(backend.events(_id(events))))
        _check("the session is deleted", 6, backend.delete_session(_id(events)))
        del unfinished

    def test_reading_while_appending_gives_a_prefix(self) -> None:
        """Readers in other threads see whole events without gaps, however far the writer is."""
        backend, events = self._open_readable(), _trace(1, 200)
        batches = iter([events[:1], *([event] for event in events[1:])])
        backend.append(next(batches))
        readers = [_Reader(backend, events) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            for batch in batches:
                backend.append(batch)
        finally:
            for reader in readers:
                reader.finish()
        for reader in readers:
            _check("what a reader saw was a beginning of the session", [], reader.wrong)
            _check("a reader was not refused", None, reader.error)

    def test_sessions_are_oldest_first(self) -> None:
        """In the order in which they began, each once."""
        backend, traces = self._open_readable(), [_trace(number, 3) for number in range(1, 13)]
        for events in traces:
            backend.append(events[:1])
        for events in reversed(traces):
            backend.append(events[1:])
        _check("`sessions` is oldest first", list(map(_id, traces)), backend.sessions())

    def test_last_gives_the_end_of_a_session(self) -> None:
        """At most `n` events, in order; none for 0 and below."""
        backend, events, other = self._open_readable(), _trace(1, 5), _trace(2, 5)
        backend.append(_batch([*chain(*zip(events, other))]))
        for n in (-1, 0, 1, 2, 5, 9):
            _check(f"last({n})", events[-n:] if n > 0 else [], backend.last(_id(events), n))

    def test_count_and_delete(self) -> None:
        """Counts are of a session, or of all; a deleted session is gone, the others stay."""
        backend, first, second = self._open_readable(), _trace(1, 4), _trace(2, 2)
        backend.append([*first[:3], *second])
        _check("counts", (5, 3, 2), (backend.count(), backend.count(_id(first)), backend.count(_id(second))))
        _check("`delete_session` returns how many there were", 3, backend.delete_session(_id(first)))
        _check("counts", (2, 0, 2), (backend.count(), backend.count(_id(first)), backend.count(_id(second))))
        _check("the others are left", [_id(second)], backend.sessions())
        _check("the others are unchanged", second, list(backend.events(_id(second))))
        _check("nothing is there to be deleted again", 0, backend.delete_session(_id(first)))
        backend.append(first[3:])
        _check("what comes later is stored as it is", first[3:], list(backend.events(_id(first))))

    def test_an_unknown_session_is_empty(self) -> None:
        """Everywhere, and no error."""
        backend, events, unknown = self._open_readable(), _trace(1, 2), _id(_trace(2, 1))
        backend.append(events)
        found = (list(backend.events(unknown)), backend.last(unknown, 3), backend.count(unknown))
        _check("there are no events", ([], [], 0), found)
        _check("there is nothing to delete", (0, 2), (backend.delete_session(unknown), backend.count()))
        _check("it is not among the sessions", [_id(events)], backend.sessions())

    def test_what_cannot_be_read_says_so(self) -> None:
        """A backend that is not `readable` takes events, and raises `StorageError` wherever it is read."""
        backend, events = self._open(), _trace(1, 2)
        if backend.readable:
            raise SkipTest("the backend can be read")
        backend.append(events)
        session_id = _id(events)
        reads: dict[str, Callable[[], object]] = {
            "events": lambda: list(backend.events(session_id)),
            "sessions": backend.sessions,
            "last": lambda: backend.last(session_id, 1),
            "count": backend.count,
            "delete_session": lambda: backend.delete_session(session_id),
        }
        for name, read in reads.items():
            _check_error(name, read)

    # --- flush, health, close, reopen ---

    def test_a_flush_makes_durable_what_it_can(self) -> None:
        """A plain flush always works; a durable one where `durable` says so, and is a `StorageError` elsewhere."""
        backend = self._open()
        backend.flush(False)
        backend.append(_trace(1, 3))
        backend.flush(False)
        for _ in range(2):
            if backend.durable:
                backend.flush(True)
            else:
                _check_error("flush(True)", lambda: backend.flush(True))

    def test_health_never_raises(self) -> None:
        """A backend that works is `ok`, under its own name; one that is closed can be asked as well."""
        backend = self._open()
        backend.append(_trace(1, 3))
        health = backend.health()
        _check("health is that of this backend", (backend.name, True), (health.name, health.ok))
        _check("details are sentences", {str} if health.details else set(), set(map(type, health.details)))
        backend.close()
        _check("health is a StorageHealth when closed", StorageHealth, type(backend.health()))

    def test_close_may_be_repeated(self) -> None:
        """After it, writing is a `StorageError`, and reading gives what was stored or is one, too."""
        backend, events = self._open_readable(), _trace(1, 4)
        backend.append(events[:3])
        backend.close()
        backend.close()
        _check_error("append to what is closed", lambda: backend.append(events[3:]))
        _check_error("flush(True) of what is closed", lambda: backend.flush(True))
        _check_error("delete_session in what is closed", lambda: backend.delete_session(_id(events)))
        try:
            found = list(backend.events(_id(events)))
        except StorageError:
            return
        _check("what was stored is what is read", events[:3], found)

    def test_what_is_opened_again_has_everything(self) -> None:
        """Events, their order and that of the sessions outlive the backend, and sessions go on where they were."""
        if not self.persistent:
            raise SkipTest("the backend is not persistent")
        first = self._open_readable()
        traces = [_trace(number, 6, **_RICH) for number in (1, 2, 3)]
        first.append(_batch([event for events in traces for event in events[:4]]))
        first.flush(first.durable)
        first.close()
        again = self._open_readable()
        _check("the sessions are those of before", (list(map(_id, traces)), 12), (again.sessions(), again.count()))
        again.append([event for events in traces for event in events[4:]])
        for events in traces:
            found = list(again.events(_id(events)))
            _check("events are what was appended", events, found)
            _check("the chain verifies", True, verify_chain(found).valid)

    # --- helpers ---

    def _open(self) -> StorageBackend:
        (backend,) = open_storage(
            self.open()
        )  # as a Resolver does: behind an adapter, where its methods are coroutines
        self._opened.append(backend)
        return backend

    def _open_readable(self) -> StorageBackend:
        backend = self._open()
        if not backend.readable:
            raise SkipTest("the backend cannot be read")
        return backend


class _Reader(threading.Thread):
    """Reads a session again and again until told to finish; `wrong` are the readings that were no beginning of it."""

    def __init__(self, backend: StorageBackend, events: Sequence[Event]) -> None:
        super().__init__(daemon=True)
        self._backend = backend
        self._events = events
        self._finish = threading.Event()
        self.wrong: list[list[Event]] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for seen in self._readings():
                if seen != self._events[: len(seen)]:
                    self.wrong.append(seen)
        except Exception as error:
            self.error = error

    def _readings(self) -> Iterator[list[Event]]:
        session_id = _id(self._events)
        finished = False
        while not finished:
            finished = self._finish.is_set()  # once more after the last append
            yield list(self._backend.events(session_id))
            last = self._backend.last(session_id, 3)
            begin = last[0].sequence if last else 0
            _check("last(3) gives as many events, or all, that follow each other", True, 1 <= len(last) <= 3)
            _check("last(3) gives a part of the session", self._events[begin : begin + len(last)], last)

    def finish(self) -> None:
        self._finish.set()
        self.join(WAIT_SECONDS)
        _check(f"a reader is done after {WAIT_SECONDS:.0f} s", False, self.is_alive())


def _trace(session: int, length: int, **payload: Any) -> list[Event]:
    """A session's events, its number in the payload of each; of types that differ from one to the next."""
    types = ("action.requested", "action.denied", "carp.request.received")
    contents = ((types[number % 3], {**payload, "number": number}) for number in range(length - 1))
    return make_trace([("session.started", {"session": session}), *contents], session=session)


def _id(events: Sequence[Event]) -> str:
    return events[0].session_id


def _batch(events: Sequence[Event]) -> Batch:
    """Events as the recorder hands them over."""
    runs: list[Run] = []
    data = b""
    for session_id, group in groupby(events, lambda event: event.session_id):
        lines = [dump_line(event) for event in group]
        runs.append((session_id, sum(map(len, lines)), len(lines)))
        data += b"".join(lines)
    return Batch(data, runs, 0)


def _check(rule: str, expected: object, actual: object) -> None:
    """Like `assert expected == actual`: the assertions of an installed package are not explained by pytest, and can be off."""
    if expected != actual:
        raise AssertionError(f"{rule}\nexpected: {_short(expected)}\nfound:    {_short(actual)}")


def _check_error(what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except StorageError as error:
        _check("the error is a sentence", True, bool(error.message))
    else:
        raise AssertionError(f"{what}: no StorageError was raised")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 2_000 else f"{text[:1_000]} … {text[-1_000:]}"
