"""The bounded queue between the sessions and the side that stores: it gives records their order, and says what full means.

Made and drained by the recorder, which puts nothing between `put` and the caller. Its order is the order of the trace. It never
grows beyond its capacity, losses aside, and never drops a record without a `Loss` in its place. ARCHITECTURE: Nothing is
dropped silently.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from cra.errors import InternalError, TraceBackpressure
from cra.trace.loss import Loss, LossLedger
from cra.trace.record import Record

Overflow = Literal["block", "fail", "drop"]
State = Literal["open", "closing", "closed", "forked"]
DEFAULT_CAPACITY: Final = 65_536


class RecordQueue:
    """Records and reservations, together at most `capacity`.

    `on_record` is called, with `lock` held, after each record that was put or dropped; `explain` says why the queue is not
    drained, if there is a reason. `state` is the recorder's to set: `closing` takes reserved records only, `closed` and `forked`
    none. The counts are of records: `recorded` were handed in, of which `lost` were dropped; `refused` were not taken; `appended`
    counts what was put into the queue, losses included.
    """

    def __init__(
        self,
        ledger: LossLedger,
        *,
        capacity: int,
        overflow: Overflow,
        overflow_timeout: float,
        on_record: Callable[[], None],
        explain: Callable[[], object],
    ) -> None:
        self._ledger = ledger
        self._overflow = overflow
        self._overflow_timeout = overflow_timeout
        self._on_record = on_record
        self._explain = explain
        self._items: deque[Record | Loss] = deque()
        self.capacity = capacity
        self.state: State = "open"
        self.reserved = 0
        self.appended = 0
        self.recorded = 0
        self.lost = 0
        self.refused = 0
        self.make_locks()

    def make_locks(self) -> None:
        """Fresh locks, in the beginning and in a forked child, where the holders of the old ones may not exist."""
        self.lock = threading.RLock()  # reentrant: a signal handler or a finalizer may record, too
        self.changed = threading.Condition(self.lock)
        self._room = threading.Condition(self.lock)

    def __len__(self) -> int:
        return len(self._items)

    def put(self, record: Record) -> None:
        """Append a record. Raises `TraceBackpressure` where `overflow` says so, `InternalError` when no longer open."""
        with self.lock:
            if self.state != "open":
                raise self.refusal()
            if len(self._items) + self.reserved < self.capacity or self._make_room(record):
                self._append(record)

    def reserve(self, use: Callable[[Reservation, Record], None]) -> Reservation:
        """Room for one later record, to be given to `use`. Raises as `put` does, and never drops."""
        with self.lock:
            if self.state != "open":
                raise self.refusal()
            if len(self._items) + self.reserved >= self.capacity:
                self._make_room(None)
            self.reserved += 1
            return Reservation(self, use)

    def claim(self, reservation: Reservation, record: Record | None) -> None:
        """End a reservation, and append `record` in its room. Raises `InternalError` if there is none, or too late."""
        with self.lock:
            if self.state in ("closed", "forked"):
                raise self.refusal()
            if not reservation.held:
                raise InternalError(
                    "a reservation is room for one record, and this one was used or given back; reserve again"
                )
            self.give_back(reservation)
            if record is not None:
                self._append(record)

    def give_back(self, reservation: Reservation) -> None:
        """End a reservation without a record. Harmless when it has ended."""
        with self.lock:
            if reservation.held:
                reservation.held = False
                self.reserved -= 1
                self._room.notify()
                self.changed.notify_all()

    def take(self) -> Record | Loss:
        """The oldest item. For the one consumer, who has seen that there is one."""
        return self._items.popleft()

    def drained(self) -> None:
        """Tell everybody who waits that the consumer has got further."""
        with self.lock:
            self._room.notify_all()
            self.changed.notify_all()

    def refusal(self) -> InternalError:
        """Why nothing is taken any more."""
        if self.state == "forked":
            return InternalError(
                "this Resolver was inherited through a fork and its worker was not; create a new Resolver in the child process"
            )
        return InternalError("the recorder is closed and takes no more records; create a new Resolver")

    def _append(self, record: Record) -> None:
        self._items.append(record)
        self.appended += 1
        self.recorded += 1
        self._on_record()

    def _make_room(self, record: Record | None) -> bool:
        """Wait for room as `overflow` says; False when `record` was dropped instead. The lock is held."""
        if self._overflow == "drop" and record is not None and record.droppable:
            losses = self._ledger.note(record, "queue_full")
            self._items.extend(losses)
            self.appended += len(losses)
            self.recorded += 1
            self.lost += 1
            self._on_record()
            return False
        if self._overflow != "fail" and self._room.wait_for(self._has_room_or_ended, self._overflow_timeout):
            if self.state != "open":
                raise self.refusal()
            return True
        self.refused += 1
        waited = "" if self._overflow == "fail" else f" and stayed so for {self._overflow_timeout:g} s"
        reason = self._explain() or "the storage is slower than the records come; try again later, or use a faster one"
        raise TraceBackpressure(f"the trace queue is full ({self.capacity} records){waited}: {reason}")

    def _has_room_or_ended(self) -> bool:
        return self.state != "open" or len(self._items) + self.reserved < self.capacity


class Reservation:
    """Room for one record (`Recorder.reserve`): use it with `record` or give it back with `release`."""

    __slots__ = ("_queue", "_use", "held")

    def __init__(self, queue: RecordQueue, use: Callable[[Reservation, Record], None]) -> None:
        self._queue = queue
        self._use = use
        self.held = True

    def record(self, record: Record) -> None:
        """Take the record; it is not refused for want of room or of storage. `InternalError` if used before, or too late."""
        self._use(self, record)

    def release(self) -> None:
        """Give the room back. Harmless when it was used or given back before."""
        self._queue.give_back(self)
