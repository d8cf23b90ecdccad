"""The side that stores: takes records from the ring, has them expanded and chained, and gets the events to every backend.

Run by the recorder's worker, or by the caller in its place, one at a time. It owns the positions: what was taken from the ring,
what may be freed in it, and up to where each flush level holds. It decides nothing about what enters the ring, and no failure of
a backend leaves it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from cra.errors import StorageError
from cra.hotpath import Expander, RingRoom
from cra.trace.flushing import FlushLevel
from cra.trace.outbox import Outbox
from cra.trace.record import Record
from cra.trace.record_queue import RecordQueue
from cra.trace.spooled_lane import FIRST_PAUSE, LONGEST_PAUSE

_BATCH_BYTES: Final = 1024 * 1024
_BACKLOG_BYTES: Final = 16 * 1024 * 1024
"""How much of what is expanded may wait for the slowest backend. A record is a small part of its events: the rest stays one."""

_QUIET_SECONDS: Final = 0.05
"""How long an expander that works for nobody waits for more before its thread lets go of the recorder."""


class Drain:
    """From `queue` over `expander` to `outbox`.

    `expanded` counts the records that have become events, `refused` those that could not since their bytes were damaged,
    `events` the events. They change under the queue's lock, together with what the outbox counts.
    """

    def __init__(self, queue: RecordQueue, expander: Expander, outbox: Outbox) -> None:
        self._queue = queue
        self._ring = queue.ring
        self._expander = expander
        self._outbox = outbox
        self._urgent = False
        self._is_running = False  # the expander works for nobody
        self._lookers = 0  # threads that want to know how far it is
        self.expanded = 0
        self.refused = 0
        self.events = 0
        self.stored = FlushLevel(durable=False)
        self.durable = FlushLevel(durable=True)
        self.make_lock()

    def make_lock(self) -> None:
        """A fresh lock, in the beginning and in a forked child."""
        self.busy = threading.Lock()  # held by whoever chains and stores; taken before the queue's lock, never after

    def record_now(self, record: Record, taken: Callable[[], object]) -> None:
        """Record and store in one step; `taken` is called in between.

        `StorageError` while a backend fails: before, and nothing was recorded, or after, and the events are kept. Raises what
        `RecordQueue.put` raises.
        """
        with self.busy:
            if self._queue.state != "open":
                raise self._queue.refusal()
            self._store_now()
            self._queue.put(record)
            taken()
            self._store_now()

    def record_reserved_now(self, reservation: RingRoom, record: Record) -> None:
        """`record_now` for a reserved record: a failing backend is for the next caller, since this record is not refused."""
        with self.busy:
            self._queue.claim(reservation, record)
            self._advance(force=True)

    def _store_now(self) -> None:
        self._advance(force=True)
        failure = self._outbox.find_failure()
        if failure is not None:
            raise failure

    def hurry(self) -> None:
        """Have the next round come at once, and try failing backends: somebody waits for it."""
        self._urgent = True
        self._expander.interrupt()

    def pump(self) -> float | None:
        """One round: expand a batch, store what waits, serve flushes. Returns when to come again, as `Worker` wants it."""
        queue, outbox = self._queue, self._outbox
        with self.busy:
            with queue.lock:
                if queue.state in ("closed", "forked"):
                    return None
                force, self._urgent = self._urgent, False
            failures = outbox.failures
            if not force and self._may_run():
                try:
                    self._expander.run(self._ring, _QUIET_SECONDS)
                finally:
                    handed_over = self._hand_over()
                if not handed_over:
                    return None
            pause = self._advance(force)
            self._serve_flushes(failed=outbox.failures > failures)
            queue.drained()
            if outbox.backlog < _BACKLOG_BYTES and not outbox.unreadable and self._ring.head != self._ring.position:
                return 0.0
            if queue.has_losses and queue.try_to_settle_losses():
                return 0.0
            if pause is None and any(level.is_due(outbox.position) for level in (self.stored, self.durable)):
                return LONGEST_PAUSE
            return pause

    def catch_up(self) -> None:
        """Have the counts and the outbox know of what was expanded for nobody; what is taken from the ring after this, is
        taken for everybody who looks by now."""
        queue = self._queue
        with queue.lock:
            # As long as records come, a run ends for this alone, and the next one must not begin before.
            self._lookers += 1
            try:
                self._expander.interrupt()
                queue.changed.wait_for(lambda: not self._is_running)
            finally:
                self._lookers -= 1

    def _may_run(self) -> bool:
        """Whether nobody looks at the events and nobody waits for them: then the expander need not come back for every batch, and
        runs until `_hand_over`."""
        with self._queue.lock:
            self._is_running = not (
                self._lookers
                or self._outbox.wants_batches
                or self._outbox.backlog
                or self._queue.has_losses
                or self.stored.is_wanted
                or self.durable.is_wanted
            )
            return self._is_running

    def _advance(self, force: bool) -> float | None:
        """Expand a batch if there is room for it, deliver, and free in the ring what every backend has, or has in its spool."""
        if self._outbox.backlog < _BACKLOG_BYTES and self._suits():
            try:
                self._expander.drain(self._ring, _BATCH_BYTES)
            finally:
                handed_over = self._hand_over()
            if not handed_over:
                return None
        pause = self._outbox.deliver(force)
        self._ring.free(self._outbox.kept)
        return FIRST_PAUSE if self._outbox.unreadable else pause

    def _suits(self) -> bool:
        """Have the expander make events if somebody looks at them, and none if nobody does; False while that cannot be had.

        While none are made nobody computes where the chains stand. The backend that has all the records knows, once it has
        them all.
        """
        expander, outbox = self._expander, self._outbox
        with self._queue.lock:
            wants_lines = outbox.wants_lines or not outbox.wants_records
            if expander.lines and not wants_lines:
                expander.omit_lines()
            if expander.lines == wants_lines:
                self._is_running = not wants_lines
                return True
        if outbox.backlog:
            return False
        try:
            expander.make_lines(outbox.heads(expander.heads()))
        except Exception as error:  # whatever it is, the thread that drains must outlive it
            outbox.note_unreadable(error if isinstance(error, StorageError) else StorageError(str(error)))
            return False
        outbox.unreadable = None
        return True

    def _hand_over(self) -> bool:
        """Give what is expanded to the outbox, and count it; False when `close` gave up waiting and has counted it as lost."""
        expander, outbox, position = self._expander, self._outbox, self._ring.position
        with self._queue.lock:
            self._is_running = False
            self._queue.drained()
            if self._queue.state == "closed":
                return False
            outbox.finish_adding()  # before the next is taken
            counts = expander.records, expander.refused, expander.events
            batch = expander.take(position) if outbox.wants_batches else None
            if batch is None:
                expander.discard()
                outbox.skip(counts[2] - self.events, position)
            else:
                outbox.add(batch)
            self.expanded, self.refused, self.events = counts
            return True

    def _serve_flushes(self, *, failed: bool) -> None:
        """Flush the backends, once for all who wait, if what they wait for is stored; tell them if storing `failed`."""
        failure = self._outbox.find_failure()
        for level in (self.stored, self.durable):
            with self._queue.lock:
                due = level.is_due(self._outbox.position)
            if failure is not None:
                if failed:
                    level.fail(failure)
            elif due:
                try:
                    if self._outbox.flush(level.durable):
                        level.reached = self._outbox.position
                except StorageError as error:
                    level.fail(error)
