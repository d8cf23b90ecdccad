"""The lane of a store that can be away: a thread of its own appends, and what the store does not take waits on disk.

Used by the outbox for a backend that has `spool_bytes`, where the ring is in a file. A store that fails, hangs, or is slower than
the events come holds up nobody until its spool is full; then what waits stays in memory, and the ring fills as for any other.
The spool is delivered first, oldest first. A batch is never dropped or reordered; those of a spool are put together.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from cra.errors import StorageError
from cra.storage.base import StorageBackend
from cra.timing.clock import NS_PER_SECOND, SystemClock, format_timestamp
from cra.trace.batch import Batch
from cra.trace.spool import Spool
from cra.trace.worker import Worker

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
_MEMORY_BYTES: Final = 4 * 2**20
_PATIENCE_SECONDS: Final = 1.0
"""So much, and so long, waits in memory for a store that has not failed."""
_THREAD_NAME: Final = "cra-spooled-storage"


class SpooledLane:
    """One backend, its spool, and the batches that wait for either.

    Called by the outbox from one place at a time; `on_progress` is called by the lane's thread after each attempt, without any
    lock. At most a quarter of the ring, which has `ring_bytes`, is kept for what waits in memory. `position` is up to where in
    the ring the store has everything, `kept` up to where the store or the spool has it.
    """

    takes_records = False

    def __init__(
        self, backend: StorageBackend, spool: Spool, ring_bytes: int, on_progress: Callable[[], object]
    ) -> None:
        self.backend = backend
        self._most_behind = ring_bytes // 4
        self.spool = spool
        self.waiting: deque[Batch] = deque()
        self.stored = 0
        self.position = 0
        self.kept = 0
        self.error: Exception | None = None
        self.away_since_ns: int | None = None
        """When the first of the attempts failed that have failed since the last one that did not (wall clock)."""
        self.pause = LONGEST_PAUSE
        self._on_progress = on_progress
        self._lock = threading.Lock()  # held around the spool and what is counted, never around a call of the backend
        self._returned = threading.Condition(self._lock)  # from a call of the backend
        self._worker = Worker(self._step, _THREAD_NAME)
        self._is_inline = False
        self._current: Batch | None = None  # what is being appended, or was when that failed
        self._is_of_spool = False
        self._end = 0
        self._failures = 0
        self._told = 0
        self._error_pause = 0.0
        self._retry_at = 0
        self._progress_ns = 0
        self._flush_wanted: set[bool] = set()
        self._flushed = {False: 0, True: 0}
        self._flush_error: Exception | None = None
        self._stopped = False
        self._is_busy = False

    @property
    def is_behind(self) -> bool:
        """Whether the store lacks something."""
        return bool(self.waiting) or not self.spool.is_empty

    @property
    def backlog(self) -> int:
        """Bytes that wait in memory."""
        return sum(batch.size for batch in self.waiting)

    def add(self, batch: Batch) -> None:
        """Have the store given a batch, after those before it."""
        with self._lock:
            if not self.is_behind:
                self._progress_ns = SystemClock.monotonic_ns()
            self.waiting.append(batch)
            self._end = batch.position

    def skip(self, events: int, position: int) -> None:
        """Count events that need not be given to it, and reach `position`."""
        with self._lock:
            self.stored += events
            self._end = position
            if self.waiting:
                self.waiting[-1].position = position
            else:
                self.kept = position
                self._reach_end()

    def deliver(self, force: bool) -> bool:
        """Have the thread append what waits, and put into the spool what it may not take soon; False if an attempt has failed
        since the last call. With `force` the thread comes back at once to a store that fails."""
        with self._lock:
            if self._is_in_trouble():
                self._fill_spool()
            if force:
                self._retry_at = 0
                self._told = self._failures  # what failed before says nothing of the attempt that comes now
            has_failed, self._told = self._failures > self._told, self._failures
            is_wanted = self.is_behind or bool(self._flush_wanted)
        if is_wanted:
            self._run()
        return not has_failed

    def flush(self, durable: bool, position: int) -> bool:
        """Whether the store was flushed since it has everything up to `position`; if not, that has begun.

        Raises what the backend's `flush` raised.
        """
        with self._lock:
            if self._flushed[durable] >= position:
                return True
            error, self._flush_error = self._flush_error, None
            if error is None:
                self._flush_wanted.add(durable)
        if error is not None:
            raise error
        self._run()
        with self._lock:
            return self._flushed[durable] >= position

    def stop(self) -> None:
        """Append nothing more. Does not wait for the call that the backend is in, which counts no more."""
        with self._lock:
            self._stopped = True
        self._worker.stop()

    def join(self, timeout: float) -> bool:
        """Wait, after `stop`, until the backend is in no call; False when it takes longer."""
        with self._returned:
            return self._returned.wait_for(lambda: not self._is_busy, timeout)

    def close(self) -> None:
        """Let go of the spool, whose files stay where there is something in it. Called after `stop`."""
        with self._lock:
            self.spool.close()

    def _run(self) -> None:
        if not self._is_inline:
            self._worker.wake()
            if self._worker.running or not self._worker.take_over():
                return
            self._is_inline = True  # no threads are started any more, late in an interpreter's life
        self._step()

    def _step(self) -> float | None:
        """The thread's step: append until nothing waits, and flush where somebody waits for that."""
        while True:
            with self._lock:
                if self._stopped:
                    return None
                durable = self._flush_wanted.pop() if self._flush_wanted else None
                left = (self._retry_at - SystemClock.monotonic_ns()) / NS_PER_SECOND
            if durable is not None:
                self._flush_backend(durable)
            elif not self.is_behind:
                return None
            elif self.error is not None and left > 0:
                return left
            else:
                self._append_next()
            self._on_progress()

    def _append_next(self) -> None:
        try:
            with self._lock:
                if self._stopped:
                    return
                batch = self._current = self._current or self._next()
                self._is_busy = True
            try:
                if len(batch):
                    self.backend.append(batch)
            finally:
                self._note_return()
            with self._lock:
                if not self._stopped:  # what comes after `close` gave up has been counted as lost
                    self._note_stored(batch)
        except Exception as error:
            self._note_failure(error)

    def _note_return(self) -> None:
        with self._returned:
            self._is_busy = False
            self._returned.notify_all()

    def _next(self) -> Batch:
        self._is_of_spool = not self.spool.is_empty
        return self.spool.peek() if self._is_of_spool else self.waiting[0]

    def _note_stored(self, batch: Batch) -> None:
        self._current = None
        if self._is_of_spool:
            self.spool.drop()
        elif self.waiting and self.waiting[0] is batch:
            self.waiting.popleft()
        elif len(batch):  # it was put into the spool meanwhile, which was empty before
            self.spool.peek(1)
            self.spool.drop()
        self.stored += len(batch)
        self.position = max(self.position, batch.position)
        self.kept = max(self.kept, self.position)
        self._reach_end()
        self.error, self.away_since_ns, self._error_pause = None, None, 0.0
        self._progress_ns = SystemClock.monotonic_ns()

    def _reach_end(self) -> None:
        """What was skipped behind the last batch is reached with it."""
        if not self.is_behind:
            self.position = self.kept = self._end

    def _note_failure(self, error: Exception) -> None:
        with self._lock:
            self.error = error
            if self.away_since_ns is None:
                self.away_since_ns = SystemClock.now_ns()
            self._error_pause = min(max(self._error_pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
            self._retry_at = SystemClock.monotonic_ns() + int(self._error_pause * NS_PER_SECOND)
            self._failures += 1

    def _flush_backend(self, durable: bool) -> None:
        with self._lock:
            position, self._is_busy = self.position, True
        try:
            self.backend.flush(durable)
        except Exception as error:
            with self._lock:
                self._flush_error = error
        else:
            with self._lock:
                self._flushed[durable] = position
        finally:
            self._note_return()

    def _is_in_trouble(self) -> bool:
        """Whether what waits in memory belongs on the disk."""
        if not self.waiting:
            return False
        if self.error is not None or not self.spool.is_empty or self.backlog > _MEMORY_BYTES:
            return True
        if self._end - self.kept > self._most_behind:
            return True
        return SystemClock.monotonic_ns() - self._progress_ns > _PATIENCE_SECONDS * NS_PER_SECOND

    def _fill_spool(self) -> None:
        while self.waiting:
            batch = self.waiting[0]
            if len(batch) and not self.spool.append(batch):
                return
            self.waiting.popleft()
            self.kept = max(self.kept, batch.position)

    def describe(self) -> str | None:
        """What a person should know of it, in a sentence; None while the store takes everything."""
        if self.spool.is_empty and self.error is None:
            return None
        parts = []
        if self.away_since_ns is not None:
            parts.append(f"away since {format_timestamp(self.away_since_ns)}: {self.error}")
        elif self._is_busy:
            waited = (SystemClock.monotonic_ns() - self._progress_ns) // NS_PER_SECOND
            parts.append(f"in a call for {waited} s")
        parts.append(f"{self.spool.events} events spooled ({self.spool.size} bytes)")
        if self.spool.error is not None:
            parts.append(self.spool.error)
        return "; ".join(parts)

    def failure(self) -> StorageError | None:
        """Why it does not take what waits for it."""
        error = self.error
        if error is None:
            return None
        spooled = self.spool.events
        more = f"; {spooled} events wait in its spool" if spooled else ""
        return storage_error(self.backend, error, more)


def storage_error(backend: StorageBackend, error: Exception, more: str = "") -> StorageError:
    """Why a store does not take what waits for it, in a sentence, and `more` about that."""
    reason = str(error) or type(error).__name__
    failure = StorageError(f"storage '{backend.name}' does not take the trace: {reason}{more}")
    failure.__cause__ = error
    return failure
