"""Sealed events on their way to the backends: who has got how far, what waits, what is tried again.

The recorder adds a batch once it is chained and calls `deliver` from one place at a time. Every backend has its own lane, so
that one that fails holds up none of the others and nobody is given a batch twice; a batch is published to subscribers once all
of them have it, or have it in their spool (`cra.trace.spooled_lane`). A batch is never changed, split or reordered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from cra.errors import StorageError
from cra.storage.base import RecordStorage, StorageBackend, StorageHealth, spool_bytes
from cra.storage.null import NullStorage
from cra.timing.clock import NS_PER_SECOND, SystemClock
from cra.trace.batch import Batch
from cra.trace.event import Event
from cra.trace.ring_folder import RingFile
from cra.trace.spool import Spool
from cra.trace.spooled_lane import FIRST_PAUSE, LONGEST_PAUSE, SpooledLane, storage_error
from cra.trace.subscribe import Broadcaster


class BackendStats(msgspec.Struct, frozen=True):
    """Events of one backend: `stored` by it, `waiting` for it, and `lost`, which it will never get.

    `spooled` are those of the `waiting` that are in its spool. `state` says what a person should know: since when it is away.
    """

    name: str
    stored: int
    waiting: int
    lost: int
    spooled: int = 0
    state: str | None = None


class _Lane:
    """One backend and the batches that wait for it."""

    def __init__(self, backend: StorageBackend) -> None:
        self.backend = backend
        self._records = backend if isinstance(backend, RecordStorage) and backend.takes_records else None
        self.waiting: deque[Batch] = deque()
        # Events stored, how far in the ring, and the batch that was counted last: one assignment, which nothing interrupts.
        self._counted: tuple[int, int, Batch | None] = (0, 0, None)
        self._tried: Batch | None = None
        self.error: Exception | None = None
        self.pause = 0.0
        self._retry_at = 0

    @property
    def stored(self) -> int:
        """Events that the store has."""
        return self._counted[0]

    @property
    def position(self) -> int:
        """Up to where in the ring it has everything."""
        return self._counted[1]

    def deliver(self, force: bool) -> bool:
        """Append what waits, oldest first; False if an attempt failed. After that, nothing is tried until due, or forced.

        What interrupts this, such as Ctrl-C, may come after the store has a batch and before that is counted: then the store is
        asked what it has, the next time.
        """
        while self.waiting:
            batch = self.waiting[0]
            stored, _, last = self._counted
            if batch is not last:
                if self.error is not None and not force and SystemClock.monotonic_ns() < self._retry_at:
                    return True
                in_doubt = self._tried is batch
                try:
                    rest = self._lacking(batch) if in_doubt else batch
                    self._tried = batch
                    self._append(rest)
                except Exception as error:
                    if not in_doubt:
                        self._tried = None  # nothing of it is stored
                    self.error = error
                    self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
                    self._retry_at = SystemClock.monotonic_ns() + int(self.pause * NS_PER_SECOND)
                    return False
                self._counted = stored + len(batch), batch.position, batch
            self._tried = None
            self.waiting.popleft()
            self.error, self.pause = None, 0.0
        return True

    def _lacking(self, batch: Batch) -> Sequence[Event]:
        """What the store lacks of a batch that it was being given when that was interrupted. Raises `StorageError`."""
        if self._records is not None or not self.backend.readable:
            return batch  # a store that takes records knows these again; what cannot be read, nobody can say
        had: dict[str, int] = {}
        for session_id in dict.fromkeys(session_id for session_id, _, _ in batch.runs):
            newest = self.backend.last(session_id, 1)
            had[session_id] = newest[-1].sequence if newest else -1
        rest = [event for event in batch if event.sequence > had[event.session_id]]
        return batch if len(rest) == len(batch) else rest

    def add(self, batch: Batch) -> None:
        """Have the store given a batch, after those before it."""
        self.waiting.append(batch)

    def skip(self, events: int, position: int) -> None:
        """Count events that need not be given to it, and reach `position`."""
        stored, reached, last = self._counted
        if self.waiting:
            self.waiting[-1].position = position
        else:
            reached = position
        self._counted = stored + events, reached, last

    def flush(self, durable: bool, position: int) -> bool:
        """Flush the backend. Raises what it raises."""
        self.backend.flush(durable)
        return True

    @property
    def kept(self) -> int:
        """Up to where the ring may forget."""
        return self.position

    @property
    def is_behind(self) -> bool:
        """Whether the store lacks something."""
        return bool(self.waiting)

    @property
    def backlog(self) -> int:
        """Bytes that wait in memory."""
        return sum(batch.size for batch in self.waiting)

    def failure(self) -> StorageError | None:
        """Why it does not take what waits for it."""
        return None if self.error is None else storage_error(self.backend, self.error)

    @property
    def takes_records(self) -> bool:
        """Whether it is given the records, and makes its events of them itself."""
        return self._records is not None

    def _append(self, batch: Sequence[Event]) -> None:
        if self._records is not None:
            assert isinstance(batch, Batch)
            self._records.append_records(batch.frames)
        elif len(batch):
            self.backend.append(batch)

    def head(self, session_id: str) -> tuple[int, str, int] | None:
        """Where the chain of an open session stands in its backend, which takes records."""
        return None if self._records is None else self._records.head(session_id)


class Outbox:
    """The lanes of all backends; `total` counts the events put into them, `failures` the attempts to append that failed.

    `position` is up to where in the ring every backend has everything, `kept` up to where it or its spool has. A backend that
    asks for it has a spool beside `ring`, where that is in a file; `on_progress` is called when its thread has got further, or
    has failed. `unreadable` says why the chains cannot be continued
    from the records that a backend has, as long as they cannot.
    """

    unreadable: StorageError | None = None

    def __init__(
        self,
        backends: Sequence[StorageBackend],
        broadcaster: Broadcaster,
        ring: RingFile | None = None,
        on_progress: Callable[[], object] = lambda: None,
    ) -> None:
        self._lanes = [_lane(backend, place, ring, on_progress) for place, backend in enumerate(backends)]
        keeping = [lane for lane in self._lanes if type(lane.backend) is not NullStorage]
        self._keeps_lines = not all(lane.takes_records for lane in keeping)
        self.wants_records = any(lane.takes_records for lane in keeping)
        self._broadcaster = broadcaster
        self._unpublished: deque[Batch] = deque()
        self._adding: Batch | None = None
        self._added_to = 0  # so many lanes
        self.total = 0
        self.position = 0
        self.kept = 0
        self.failures = 0

    @property
    def wants_lines(self) -> bool:
        """Whether anybody looks at the events; where not, they need not be made."""
        return self._keeps_lines or self._broadcaster.has_subscribers

    @property
    def wants_batches(self) -> bool:
        """Whether anybody takes what the expander has, events or records; where not, it need not leave it."""
        return self.wants_records or self.wants_lines

    def heads(self, sessions: Iterable[str]) -> dict[str, tuple[int, str, int]]:
        """Where the chains of these sessions stand, from a backend that has their records. Raises `StorageError`."""
        lane = next(lane for lane in self._lanes if isinstance(lane, _Lane) and lane.takes_records)
        found = {session_id: lane.head(session_id) for session_id in sessions}
        return {session_id: head for session_id, head in found.items() if head is not None}

    def add(self, batch: Batch) -> None:
        """Put sealed events into every lane."""
        self._adding = batch  # nobody else has it any more: where memory runs out, it is gone on with from here
        self.finish_adding()

    def finish_adding(self) -> None:
        """Go on with an `add` that there was no memory for."""
        batch = self._adding
        if batch is None:
            return
        total = self.total + len(batch)
        while self._added_to < len(self._lanes):
            self._lanes[self._added_to].add(batch)
            self._added_to += 1
        self._unpublished.append(batch)
        self.total, self._adding, self._added_to = total, None, 0

    def skip(self, events: int, position: int) -> None:
        """Count events that nobody looks at, and reach `position`; what waits before it is still to be delivered."""
        self.total += events
        for lane in self._lanes:
            lane.skip(events, position)

    def note_unreadable(self, error: StorageError) -> None:
        """The chains cannot be continued: it is tried again, and meanwhile is why nothing is stored."""
        self.unreadable = error
        self.failures += 1

    def deliver(self, force: bool = False) -> float | None:
        """Give every backend what it lacks; `force` tries one that fails at once instead of when its pause is over.

        Returns None when all have everything, else the seconds after which to call again.
        """
        for lane in self._lanes:
            self.failures += not lane.deliver(force)
        behind = [lane for lane in self._lanes if lane.is_behind]
        unstored = max((len(lane.waiting) for lane in behind), default=0)
        while len(self._unpublished) > unstored:
            batch = self._unpublished.popleft()
            if batch.has_lines:
                self._broadcaster.publish(batch)
        self.position = min(lane.position for lane in self._lanes)
        self.kept = min(lane.kept for lane in self._lanes)
        return min((lane.pause for lane in behind), default=None)

    def flush(self, durable: bool) -> bool:
        """Flush every backend; False while a thread is still at it, which then reports progress.

        Raises `StorageError` naming the first that could not.
        """
        # Those with threads first: the others are flushed once they are done.
        for lane in sorted(self._lanes, key=lambda lane: not isinstance(lane, SpooledLane)):
            try:
                if not lane.flush(durable, self.position):
                    return False
            except Exception as error:
                raise storage_error(lane.backend, error) from error
        return True

    @property
    def is_behind(self) -> bool:
        """Whether a backend lacks something."""
        return any(lane.is_behind for lane in self._lanes)

    def stop(self, timeout: float) -> list[StorageBackend]:
        """End the threads and let go of the spools. Returns the backends that are in a call which has not returned in time."""
        lanes = [lane for lane in self._lanes if isinstance(lane, SpooledLane)]
        for lane in lanes:
            lane.stop()
        hanging = [lane.backend for lane in lanes if not lane.join(timeout)]
        for lane in lanes:
            lane.close()
        return hanging

    @property
    def backlog(self) -> int:
        """Bytes of events that wait in memory for the slowest backend."""
        return max(lane.backlog for lane in self._lanes)

    def find_failure(self) -> StorageError | None:
        """Why the first failing backend does not take what waits for it; None while all of them do."""
        if self.unreadable is not None:
            return self.unreadable
        return next((failure for lane in self._lanes if (failure := lane.failure()) is not None), None)

    @property
    def volatile(self) -> str | None:
        """The name of the first backend that cannot make events durable, None where all can."""
        return next((lane.backend.name for lane in self._lanes if not lane.backend.durable), None)

    def health(self) -> list[StorageHealth]:
        """The health of every backend; that of one with a spool which is away is known without it."""
        found: list[StorageHealth] = []
        for lane in self._lanes:
            state = lane.describe() if isinstance(lane, SpooledLane) else None
            if state is not None:
                found.append(StorageHealth(lane.backend.name, ok=False, details=(state,)))
            else:
                found.append(lane.backend.health())
        return found

    def stats(self, closed: bool) -> tuple[BackendStats, ...]:
        """Where the events are. Once the recorder is `closed`, what waits is lost."""
        return tuple(self._stats(lane, closed) for lane in self._lanes)

    def _stats(self, lane: _Lane | SpooledLane, closed: bool) -> BackendStats:
        stored = lane.stored
        rest = self.total - stored
        if closed:
            return BackendStats(lane.backend.name, stored, 0, rest)
        if isinstance(lane, SpooledLane):
            # Its thread may store some of it right now.
            return BackendStats(lane.backend.name, stored, rest, 0, min(lane.spool.events, rest), lane.describe())
        return BackendStats(lane.backend.name, stored, rest, 0)


def _lane(
    backend: StorageBackend, place: int, ring: RingFile | None, on_progress: Callable[[], object]
) -> _Lane | SpooledLane:
    """The lane of the backend at `place`: one with a spool, if it asks for that and there is a folder for it."""
    max_bytes = spool_bytes(backend)
    if ring is None or not max_bytes:
        return _Lane(backend)
    spool = Spool(ring.path, place, backend.name, max_bytes)
    return SpooledLane(backend, spool, ring.ring.size, on_progress)
