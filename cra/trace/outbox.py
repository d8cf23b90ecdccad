"""Sealed events on their way to the backends: who has got how far, what waits, what is tried again.

The recorder adds a batch once it is chained and calls `deliver` from one place at a time. Every backend has its own lane, so
that one that fails holds up none of the others and nobody is given a batch twice; a batch is published to subscribers once all
of them have it. A batch is never changed, split or reordered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from cra.errors import StorageError
from cra.storage.base import StorageBackend
from cra.timing.clock import NS_PER_SECOND, SystemClock
from cra.trace.event import Event

Batch = Sequence[Event]
Publish = Callable[[Batch], None]

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
            self.stored += len(self.waiting.popleft())
            self.error, self.pause = None, 0.0
        return True


class Outbox:
    """The lanes of all backends; `total` counts the events put into them, `failures` the attempts to append that failed."""

    def __init__(self, backends: Sequence[StorageBackend], publish: Publish) -> None:
        self._lanes = [_Lane(backend) for backend in backends]
        self._publish = publish
        self._unpublished: deque[Batch] = deque()
        self.total = 0
        self.failures = 0

    def add(self, batch: Batch) -> None:
        """Put sealed events into every lane."""
        if not batch:
            return
        self.total += len(batch)
        for lane in self._lanes:
            lane.waiting.append(batch)
        self._unpublished.append(batch)

    def deliver(self, force: bool = False) -> float | None:
        """Give every backend what it lacks; `force` tries one that fails at once instead of when its pause is over.

        Returns None when all have everything, else the seconds after which to call again.
        """
        for lane in self._lanes:
            self.failures += not lane.deliver(force)
        behind = [lane for lane in self._lanes if lane.waiting]
        unstored = max((len(lane.waiting) for lane in behind), default=0)
        while len(self._unpublished) > unstored:
            self._publish(self._unpublished.popleft())
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
        """Events that the slowest backend lacks."""
        return max((self.total - lane.stored for lane in self._lanes), default=0)

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
