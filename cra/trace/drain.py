"""The side that stores: takes records from the queue, has them chained, and gets the events to every backend.

Run by the recorder's worker, or by the caller in its place, one at a time. It owns the positions: what was taken from the queue,
and up to where each flush level holds. It decides nothing about what enters the queue, and no failure of a record or a backend
leaves it.
"""

from __future__ import annotations

import threading
from typing import Final, Protocol

from cra.errors import StorageError
from cra.trace.event import Event
from cra.trace.flushing import FlushLevel
from cra.trace.loss import Loss, LossLedger
from cra.trace.outbox import LONGEST_PAUSE, Outbox
from cra.trace.record import Record
from cra.trace.record_queue import RecordQueue, Reservation

_BATCH_RECORDS: Final = 1_024
_BATCH_EVENTS: Final = 4_096  # a resolve can be a hundred events: what bounds memory is their number


class RecordChainer(Protocol):
    """What turns records into chained events (`cra.trace.chainer.Chainer`). If it raises, the chain is as it was before."""

    def events(self, record: Record) -> list[Event]:
        """The record's events, sealed and chained."""
        ...


class Drain:
    """From `queue` over `chainer` to `outbox`. `expanded` counts the callers' records that have become events."""

    def __init__(self, queue: RecordQueue, chainer: RecordChainer, ledger: LossLedger, outbox: Outbox) -> None:
        self._queue = queue
        self._chainer = chainer
        self._ledger = ledger
        self._outbox = outbox
        self._taken = 0
        self._urgent = False
        self.expanded = 0
        self.stored = FlushLevel(durable=False)
        self.durable = FlushLevel(durable=True)
        self.make_lock()

    def make_lock(self) -> None:
        """A fresh lock, in the beginning and in a forked child."""
        self.busy = threading.Lock()  # held by whoever chains and stores; taken before the queue's lock, never after

    def record_now(self, record: Record) -> None:
        """Chain and store a record past the queue. `StorageError` while a backend fails: before, and nothing was chained, or
        after, and the events are kept. Raises what the chainer raises, and `InternalError` when the queue is not open."""
        with self.busy:
            if self._queue.state != "open":
                raise self._queue.refusal()
            self._store_now()
            self._chain_now(record)
            self._store_now()

    def record_reserved_now(self, reservation: Reservation, record: Record) -> None:
        """`record_now` for a reserved record: a failing backend is for the next caller, since this record is not refused."""
        with self.busy:
            self._queue.claim(reservation, None)
            self._chain_now(record)
            self._outbox.deliver(force=True)

    def _chain_now(self, record: Record) -> None:
        events = self._chainer.events(record)
        with self._queue.lock:
            self._queue.appended += 1
            self._queue.recorded += 1
            self._taken += 1
            self.expanded += 1
            self._outbox.add(events)

    def _store_now(self) -> None:
        self._outbox.deliver(force=True)
        failure = self._outbox.find_failure()
        if failure is not None:
            raise failure

    def hurry(self) -> None:
        """Have the next round try failing backends at once: somebody waits for it."""
        self._urgent = True

    def pump(self) -> float | None:
        """One round: chain a batch, store what waits, serve flushes. Returns when to come again, as `Worker` wants it."""
        queue, outbox = self._queue, self._outbox
        with self.busy:
            with queue.lock:
                if queue.state == "closed":
                    return None
                force, self._urgent = self._urgent, False
            if outbox.backlog < queue.capacity:
                self._fill()
            failures = outbox.failures
            pause = outbox.deliver(force)
            self._serve_flushes(failed=outbox.failures > failures)
            queue.drained()
            if queue and outbox.backlog < queue.capacity:
                return 0.0
            if pause is None and any(level.is_due(self._taken) for level in (self.stored, self.durable)):
                return LONGEST_PAUSE
            return pause

    def _fill(self) -> None:
        """Chain a batch from the queue and put it into the outbox."""
        queue = self._queue
        batch: list[Event] = []
        taken = expanded = lost = 0
        while queue and taken < _BATCH_RECORDS and len(batch) < _BATCH_EVENTS:
            item = queue.take()
            taken += 1
            if isinstance(item, Loss):
                batch += self._chain_loss(item)
                continue
            try:
                batch += self._chainer.events(item)
                expanded += 1
            except Exception as error:  # one bad record must not hold up all that come after it
                lost += 1
                batch += self._chain_unexpandable(item, error)
        with queue.lock:
            if queue.state == "closed":
                return  # `close` gave up waiting and has counted these as lost
            queue.lost += lost
            self._taken += taken
            self.expanded += expanded
            self._outbox.add(batch)

    def _chain_loss(self, loss: Loss) -> list[Event]:
        with self._queue.lock:
            record = self._ledger.settle(loss)
        try:
            return self._chainer.events(record)
        except Exception:  # the chainer takes nothing any more: the counts are all that is left
            return []

    def _chain_unexpandable(self, record: Record, error: Exception) -> list[Event]:
        with self._queue.lock:
            losses = self._ledger.note(record, f"not_expandable: {type(error).__name__}")
        return [event for loss in losses for event in self._chain_loss(loss)]

    def _serve_flushes(self, *, failed: bool) -> None:
        """Flush the backends, once for all who wait, if what they wait for is stored; tell them if storing `failed`."""
        failure = self._outbox.find_failure()
        for level in (self.stored, self.durable):
            with self._queue.lock:
                due = level.is_due(self._taken)
            if failure is not None:
                if failed:
                    level.fail(failure)
            elif due:
                try:
                    self._outbox.flush(level.durable)
                    level.reached = self._taken
                except StorageError as error:
                    level.fail(error)
