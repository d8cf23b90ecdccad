"""What the recorder's tests share: a storage whose moods the test chooses, and small records."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from cra.hotpath import Ring, canonical_json
from cra.ids import format_uuid
from cra.storage.memory import MemoryStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace.event import Event
from cra.trace.record import EventsRecord, SessionHeader
from cra.trace.recorder import Recorder

SECONDS = 60.0  # how long a test waits for another thread before it gives up


class MoodyStorage(MemoryStorage):
    """A store that waits, fails and counts as the test tells it to."""

    durable = True

    def __init__(self, name: str = "moody:") -> None:
        super().__init__()
        self.name = name
        self.error: Exception | None = None
        self.flush_error: Exception | None = None
        self.attempts = 0
        self.attempted = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.flushes: list[bool] = []
        self.closed = False

    def append(self, batch: Sequence[Event]) -> None:
        self.attempts += 1
        self.attempted.release()
        assert self.open.wait(SECONDS)
        if self.error is not None:
            raise self.error
        super().append(batch)

    def flush(self, durable: bool) -> None:
        self.flushes.append(durable)
        if self.flush_error is not None:
            raise self.flush_error

    def close(self) -> None:
        self.closed = True

    def wait_for_attempt(self) -> None:
        """Return once `append` was called, once per call."""
        assert self.attempted.acquire(timeout=SECONDS)


@pytest.fixture
def moody() -> MoodyStorage:
    """A storage that does what the test says."""
    return MoodyStorage()


@pytest.fixture
def moody_storage() -> type[MoodyStorage]:
    """For tests that need several."""
    return MoodyStorage


@pytest.fixture
def header() -> Callable[[int], SessionHeader]:
    """The header of session number n."""

    def make(number: int) -> SessionHeader:
        base = SeededIds(number).draw(1_767_268_800_000)
        return SessionHeader(format_uuid(base), format_uuid(base + 1), format_uuid(base + 2))

    return make


@pytest.fixture
def record(header: Callable[[int], SessionHeader]) -> Callable[..., EventsRecord]:
    """A record of one event (or of `events`) in a session, told apart by `n`."""
    ids, clock = SeededIds(7), VirtualClock()

    def make(
        n: int = 0,
        *,
        session: int = 1,
        droppable: bool = False,
        event_type: str = "action.requested",
        payload: dict[str, Any] | None = None,
    ) -> EventsRecord:
        now = clock.now_ns()
        content = {"n": n} if payload is None else payload
        events = ((event_type, canonical_json(content)),)
        return EventsRecord(header(session), ids.draw(now // 10**6), now, events, droppable=droppable)

    return make


@pytest.fixture
def make_recorder(header: Callable[[int], SessionHeader]) -> Iterator[Callable[..., Recorder]]:
    """A recorder over the given backends, with a ring of `ring_bytes`; all are closed at the end of the test."""
    made: list[tuple[Recorder, tuple[Any, ...]]] = []

    def make(*backends: Any, runtime: SessionHeader | None = None, ring_bytes: int = 2**20, **options: Any) -> Recorder:
        recorder = Recorder(
            backends,
            ring=Ring(ring_bytes),
            clock=VirtualClock(),
            ids=SeededIds(99),
            runtime=runtime,
            **options,
        )
        made.append((recorder, backends))
        return recorder

    yield make
    for recorder, backends in made:
        for backend in backends:
            if isinstance(backend, MoodyStorage):
                backend.error = None
                backend.open.set()
        recorder.close()
