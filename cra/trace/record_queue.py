"""What stands between the sessions and the ring: it says what full means, and numbers what records refer to.

Made by the recorder. The order in which records enter the ring is the order of the trace. It never drops a record without a
`Loss` that is chained before the next one. ARCHITECTURE: Nothing is dropped silently.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Final, Literal

from cra.errors import InternalError, InvalidTraceEvent, SessionAlreadyEnded, StorageError, TraceBackpressure
from cra.hotpath import Ring, RingRoom, encode_events
from cra.reference.records import encode_forget, encode_resolve
from cra.reference.ring_room import CLOSING_BYTES
from cra.timing.clock import NS_PER_SECOND, SystemClock
from cra.trace.definitions import Definitions
from cra.trace.loss import Loss, LossLedger
from cra.trace.record import EventsRecord, Record, SessionHeader

Overflow = Literal["block", "fail", "drop"]
State = Literal["open", "closing", "closed", "forked"]
LOSS_BYTES: Final = 512
"""Room for the record of a loss."""
_SLICE_SECONDS = 0.05  # how often a caller that waits for room looks whether the recorder is closing
SESSION_ENDED = "session.ended"


class RecordQueue:
    """Records on their way into `ring`.

    `on_record` is called after each record that was put or dropped; `explain` says why the ring is not drained, if there is a
    reason. `definitions` are those of a ring on disk. `state` is the recorder's to set: `closing` takes reserved records only,
    `closed` and `forked` none. `lost` counts the records that were dropped, `refused` those that were not taken.
    """

    def __init__(
        self,
        ring: Ring,
        ledger: LossLedger,
        *,
        overflow: Overflow,
        overflow_timeout: float,
        on_record: Callable[[], None],
        explain: Callable[[], object],
        definitions: Definitions | None = None,
    ) -> None:
        self.ring = ring
        self.definitions = definitions
        self._ledger = ledger
        self._losses: list[Loss] = []
        self._overflow = overflow
        self._overflow_timeout = overflow_timeout
        self.on_record = on_record
        self._explain = explain
        self.numbers: dict[str, int] = {}
        """What the ring calls the sessions that have begun and not ended, by session id."""
        self._undefined: dict[str, int] = {}  # numbers of sessions whose first record is not in the ring yet
        self.ended: weakref.WeakSet[SessionHeader] = weakref.WeakSet()
        self.session_numbers = count(1)
        self._template_numbers = count(1)
        self._forgotten: list[int] = []
        self._state: State = "open"
        self._on_direct: Callable[[bool], None] = _nobody
        # What a reservation has besides its room: where records can be lost, room for the loss that comes before its record.
        self.spare = LOSS_BYTES if overflow == "drop" else 0
        self.rooms: set[int] = set()
        """What is reserved."""
        self.lost = 0
        self.refused = 0
        self.make_locks()

    def make_locks(self) -> None:
        """Fresh locks, in the beginning and in a forked child, where the holders of the old ones may not exist."""
        self.lock = threading.RLock()  # reentrant: a signal handler or a finalizer may record, too
        self.changed = threading.Condition(self.lock)

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        self._tell_direct()

    def on_direct(self, tell: Callable[[bool], None]) -> None:
        """Tell, now and with every change, whether producers may put records of known sessions into the ring themselves."""
        self._on_direct = tell
        self._tell_direct()

    def _tell_direct(self) -> None:
        self._on_direct(self._state == "open" and not self._losses)

    @property
    def reservations(self) -> int:
        """How many reservations there are."""
        return len(self.rooms)

    @property
    def has_losses(self) -> bool:
        """Whether a loss waits for room to be chained."""
        return bool(self._losses)

    def put(self, record: Record) -> None:
        """Record it. Raises `TraceBackpressure` where `overflow` says so, `InternalError` when no longer open,
        `InvalidTraceEvent` for what is larger than the ring takes, and `SessionAlreadyEnded`."""
        end: int | None = None
        try:
            while True:
                with self.lock:
                    if self._state != "open":
                        raise self.refusal()
                    is_settled = not self._losses or self.settle_losses()
                    number, data = self._encode(record)
                    if is_settled and self.ring.put(data):
                        self._taken(record, number)
                        return
                    if self._overflow == "drop" and record.droppable:
                        self._drop(record)
                        return
                end = self._wait_for_room(len(data), end)
        except BaseException:
            self._undefined.pop(record.session.session_id, None)
            raise

    def define(self, make: Callable[[int], bytes]) -> int:
        """Put a template, made for the number that is returned. Raises as `put` does, and never drops."""
        while self._forgotten:
            gone = self._forgotten.pop()
            try:
                self._put_bytes(encode_forget(gone))
            except BaseException:
                self._forgotten.append(gone)
                raise
            if self.definitions is not None:
                with self.lock:
                    self.definitions.forget_template(gone, self.ring.head)
        number = next(self._template_numbers)
        record = make(number)
        if self.definitions is not None:
            with self.lock:
                self.definitions.define_template(number, record)
        self._put_bytes(record)
        return number

    def forget(self, number: int) -> None:
        """Nobody will name this template again. May be called by a finalizer, at any time."""
        self._forgotten.append(number)

    def reserve(self, use: Callable[[RingRoom, Record], None], room: int = CLOSING_BYTES) -> RingRoom:
        """Room for one later record of at most `room` bytes, to be given to `use`. Raises as `put` does, and never drops."""
        end: int | None = None
        while True:
            with self.lock:
                if self._state != "open":
                    raise self.refusal()
                if (not self._losses or self.settle_losses()) and self._reserve(room):
                    reserved = RingRoom(self, use, room, self.spare)
                    self.rooms.add(id(reserved))
                    return reserved
            end = self._wait_for_room(room + self.spare, end)

    def claim(self, reservation: RingRoom, record: Record) -> None:
        """End a reservation with `record` in its room. Raises `InternalError` if there is none, or too late."""
        with self.lock:
            if self._state in ("closed", "forked"):
                raise self.refusal()
            if not reservation.held:
                raise InternalError(
                    "a reservation is room for one record, and this one was used or given back; reserve again"
                )
            if self._losses and not self.try_to_settle_losses():
                self._settle_reserved(reservation, record)
            number, data = self._encode(record)
            if len(data) > reservation.room:
                raise InvalidTraceEvent(
                    f"a record of {len(data)} bytes does not fit into the {reservation.room} that were reserved for it; record"
                    " less, or reserve more"
                )
            reservation.held = False  # from here on, whatever interrupts this, it is not to be given back
            self.ring.put_reserved(data, reservation.room)
            self._taken(record, number)
            self._end(reservation)

    def give_back(self, reservation: RingRoom) -> None:
        """End a reservation without a record. Harmless when it has ended."""
        with self.lock:
            if reservation.held and self.state not in ("closed", "forked"):
                self.ring.release(reservation.room)
                self._end(reservation)

    def number(self, session_id: str) -> int:
        """The number that the session's records carry; 0 for one that has none (yet, or any more)."""
        return self.numbers.get(session_id, 0)

    def settle_losses(self) -> bool:
        """Put what was lost into the ring, before anything that comes after it; False while there is no room for that.

        Raises `StorageError` when a definition cannot be written that this needs.
        """
        with self.lock:
            while (loss := next(iter(self._losses), None)) is not None:
                if not self._settle(loss, self.ring.put):
                    return False
            return True

    def try_to_settle_losses(self) -> bool:
        """The same for those who do not come after it: a definition that cannot be written is no error of theirs."""
        try:
            return self.settle_losses()
        except StorageError:
            return False

    def drained(self) -> None:
        """Tell everybody who waits that the side that stores has got further."""
        with self.lock:
            self.changed.notify_all()

    def refusal(self) -> InternalError:
        """Why nothing is taken any more."""
        if self.state == "forked":
            return InternalError(
                "this Resolver was inherited through a fork and its worker was not; create a new Resolver in the child process"
            )
        return InternalError(
            "this resolver is closed and records nothing more; read its traces before you close it, or create a new one"
        )

    def _encode(self, record: Record) -> tuple[int, bytes]:
        """The number of the record's session, and its bytes. What interrupts this and records gets the same for the same session
        and another for another, whichever comes first."""
        header = record.session
        number = self.numbers.get(header.session_id, 0)
        if isinstance(record, EventsRecord):
            define = None
            if not number:
                define = (header.session_id, header.trace_id, header.span_id)
                number = self._undefined.setdefault(header.session_id, next(self.session_numbers))
                if self.definitions is not None:
                    self.definitions.define_session(number, define)
            data = encode_events(number, record.base, record.time_ns, record.events, span=record.span, define=define)
        else:
            data = encode_resolve(
                number,
                record.base,
                record.time_ns,
                record.template,
                record.text,
                payload=record.payload,
                request_id=record.request_id,
                injected=record.injected,
                cut=record.cut,
            )
        if len(data) > self.ring.max_record:
            raise InvalidTraceEvent(
                f"a record of {len(data)} bytes is larger than the {self.ring.max_record} that the ring takes; record less"
            )
        # A signal handler may end a session that the thread it interrupts is about to record in. Its chain must not begin anew.
        if header.session_id not in self.numbers and header in self.ended:
            raise SessionAlreadyEnded(f"session {header.session_id} has ended; create a new one")
        return number, data

    def _taken(self, record: Record, number: int) -> None:
        self._note_session(record, number)
        self.on_record()

    def _note_session(self, record: Record, number: int) -> None:
        """The first record of a session defines its number, the last one ends it."""
        if not isinstance(record, EventsRecord):
            return
        session_id = record.session.session_id
        self._undefined.pop(session_id, None)
        self.numbers.setdefault(session_id, number)
        if record.events[-1][0] == SESSION_ENDED:
            self.numbers.pop(session_id, None)
            self.ended.add(record.session)
            if self.definitions is not None:
                self.definitions.end_session(number, self.ring.head)

    def _drop(self, record: Record) -> None:
        self._losses += self._ledger.note(record, "queue_full")
        self._tell_direct()
        self.lost += 1
        self.on_record()

    def _put_bytes(self, data: bytes) -> None:
        end: int | None = None
        while True:
            with self.lock:
                if self.state != "open":
                    raise self.refusal()
                if len(data) > self.ring.max_record:
                    raise InvalidTraceEvent(
                        f"the plan of this request takes {len(data)} bytes, and the ring takes {self.ring.max_record}; select"
                        " fewer atlases"
                    )
                if self.ring.put(data):
                    self.on_record()
                    return
            end = self._wait_for_room(len(data), end)

    def _settle(self, loss: Loss, put: Callable[[bytes], bool]) -> bool:
        try:
            self._losses.remove(loss)
        except ValueError:
            return True  # a signal handler that interrupted this has done it
        is_put = False
        try:
            # Complete before it is written: what is lost in an interruption of this belongs to another.
            record = self._ledger.settle(loss)
            number, data = self._encode(record)
            is_put = put(data)
        finally:
            if not is_put:
                self._losses[:0] = self._ledger.reopen(loss)
        if is_put:
            self._note_session(record, number)
            self._tell_direct()
        return is_put

    def _settle_reserved(self, reservation: RingRoom, record: Record) -> None:
        """Put what was lost of a session before its reserved record, into the room that was taken for that with it."""

        def put(data: bytes) -> bool:
            if len(data) > reservation.spare:
                return False
            self.ring.put_reserved(data, reservation.spare)
            reservation.spare = 0
            return True

        for loss in self._losses:
            if loss.session.session_id == record.session.session_id:
                self._settle(loss, put)
                return

    def _reserve(self, room: int) -> bool:
        if not self.ring.reserve(room):
            return False
        if not self.spare or self.ring.reserve(self.spare):
            return True
        self.ring.release(room)
        return False

    def _end(self, reservation: RingRoom) -> None:
        reservation.held = False
        self.rooms.discard(id(reservation))
        if reservation.spare:
            self.ring.release(reservation.spare)
        if self._losses:
            self.try_to_settle_losses()
        if self._state != "open":
            self.changed.notify_all()  # `close` waits for the last one

    def _wait_for_room(self, size: int, end: int | None) -> int:
        """Wait for a while until there may be room; `end` is when patience ends (monotonic, ns), None at first.

        Raises `TraceBackpressure` when it has ended. Called without the lock.
        """
        now = SystemClock.monotonic_ns()
        if end is None:
            patience = 0.0 if self._overflow == "fail" else self._overflow_timeout
            end = now + int(patience * NS_PER_SECOND)
        left = (end - now) / NS_PER_SECOND
        if left <= 0:
            with self.lock:
                self.refused += 1
            waited = "" if self._overflow == "fail" else f" and stayed so for {self._overflow_timeout:g} s"
            reason = (
                self._explain() or "the storage is slower than the records come; try again later, or use a faster one"
            )
            raise TraceBackpressure(f"the trace ring is full ({self.ring.size} bytes){waited}: {reason}")
        with self.lock:
            self.on_record()  # there may be nobody who drains yet
            size = min(size + LOSS_BYTES * len(self._losses), self.ring.max_record)  # losses come first
        with suppress(InternalError):  # closed meanwhile: the caller sees that next
            self.ring.wait_room(size, min(left, _SLICE_SECONDS))
        return end


def _nobody(direct: bool) -> None:
    """Nobody puts records into the ring but the queue."""
