"""Sealed events on their way to the backends: who has got how far, what waits, what is tried again.

The recorder adds a batch once it is chained and calls `deliver` from one place at a time. Every backend has its own lane, so
that one that fails holds up none of the others and nobody is given a batch twice; a batch is published to subscribers once all
of them have it. A batch is never changed, split or reordered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from cra.errors import StorageError
from cra.storage.base import StorageBackend
from cra.storage.null import NullStorage
from cra.timing.clock import NS_PER_SECOND, SystemClock
from cra.trace.batch import Batch
from cra.trace.subscribe import Broadcaster

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


class BackendStats(msgspec.Struct, frozen=True):
    """Events of one backend: `stored` by it, `waiting` for it, and `lost`, which it will never get."""

    name: str
    stored: int
    waiting: int
    lost: int


class _Lane:
    """One backend and the batches that wait for it."""

    def __init__(self, backend: StorageBackend) -> None:
        self.backend = backend
        self.waiting: deque[Batch] = deque()
        self.stored = 0
        self.position = 0
        self.error: Exception | None = None
        self.pause = 0.0
        self._retry_at = 0

    def deliver(self, force: bool) -> bool:
        """Append what waits, oldest first; False if an attempt failed. After that, nothing is tried until due, or forced."""
        while self.waiting:
            if self.error is not None and not force and SystemClock.monotonic_ns() < self._retry_at:
                return True
            try:
                self.backend.append(self.waiting[0])
            except Exception as error:
                self.error = error
                self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
                self._retry_at = SystemClock.monotonic_ns() + int(self.pause * NS_PER_SECOND)
                return False
            batch = self.waiting.popleft()
            self.stored += len(batch)
            self.position = batch.position
            self.error, self.pause = None, 0.0
        return True


class Outbox:
    """The lanes of all backends; `total` counts the events put into them, `failures` the attempts to append that failed.

    `position` is up to where in the ring every backend has everything.
    """

    def __init__(self, backends: Sequence[StorageBackend], broadcaster: Broadcaster) -> None:
        self._lanes = [_Lane(backend) for backend in backends]
        self._keeping = not all(type(backend) is NullStorage for backend in backends)
        self._broadcaster = broadcaster
        self._unpublished: deque[Batch] = deque()
        self.total = 0
        self.position = 0
        self.failures = 0

    @property
    def wants_events(self) -> bool:
        """Whether anybody looks at the events; where not, they need not leave the expander."""
        return self._keeping or self._broadcaster.has_subscribers

    def add(self, batch: Batch, position: int) -> None:
        """Put sealed events into every lane."""
        self.total += len(batch)
        for lane in self._lanes:
            lane.waiting.append(batch)
        self._unpublished.append(batch)

    def skip(self, events: int, position: int) -> None:
        """Count events that nobody looks at, and reach `position`; what waits before it is still to be delivered."""
        self.total += events
        for lane in self._lanes:
            lane.stored += events
            if lane.waiting:
                lane.waiting[-1].position = position
            else:
                lane.position = position

    def deliver(self, force: bool = False) -> float | None:
        """Give every backend what it lacks; `force` tries one that fails at once instead of when its pause is over.

        Returns None when all have everything, else the seconds after which to call again.
        """
        for lane in self._lanes:
            self.failures += not lane.deliver(force)
        behind = [lane for lane in self._lanes if lane.waiting]
        unstored = max((len(lane.waiting) for lane in behind), default=0)
        while len(self._unpublished) > unstored:
            self._broadcaster.publish(self._unpublished.popleft())
        self.position = min(lane.position for lane in self._lanes)
        return min((lane.pause for lane in behind), default=None)

    def flush(self, durable: bool) -> None:
        """Flush every backend. Raises `StorageError` naming the first that could not."""
        for lane in self._lanes:
            try:
                lane.backend.flush(durable)
            except Exception as error:
                raise _storage_error(lane.backend, error) from error

    @property
    def backlog(self) -> int:
        """Bytes of events that the slowest backend lacks."""
        return max(sum(batch.size for batch in lane.waiting) for lane in self._lanes)

    def find_failure(self) -> StorageError | None:
        """Why the first failing backend does not take what waits for it; None while all of them do."""
        for lane in self._lanes:
            error = lane.error
            if error is not None:
                failure = _storage_error(lane.backend, error)
                failure.__cause__ = error
                return failure
        return None

    @property
    def volatile(self) -> str | None:
        """The name of the first backend that cannot make events durable, None where all can."""
        return next((lane.backend.name for lane in self._lanes if not lane.backend.durable), None)

    def stats(self, closed: bool) -> tuple[BackendStats, ...]:
        """Where the events are. Once the recorder is `closed`, what waits is lost."""
        return tuple(self._stats(lane, closed) for lane in self._lanes)

    def _stats(self, lane: _Lane, closed: bool) -> BackendStats:
        stored = lane.stored
        rest = self.total - stored
        return BackendStats(lane.backend.name, stored, 0 if closed else rest, rest if closed else 0)


def _storage_error(backend: StorageBackend, error: Exception) -> StorageError:
    return StorageError(f"storage '{backend.name}' does not take the trace: {error}")
