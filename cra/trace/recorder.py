"""The recorder: takes records from many threads, gives them one order, and sees that they reach every backend.

Sessions call `record` on the hot path; resolvers call `flush`, `stats` and `close`. Deferred, a record waits in a ring that one
worker drains; immediate, it is stored before `record` returns: the same events with the same bytes. The order of the ring is
the order of the trace. It never drops anything silently: what it cannot take is refused, or counted and chained as
`runtime.lost`. PROTOCOL: Event; ARCHITECTURE: Nothing is dropped silently.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Literal, get_args

import msgspec

from cra.errors import StorageError
from cra.hotpath import Expander, Ring, RingRoom
from cra.ids import IdSource
from cra.reference.ring_room import CLOSING_BYTES
from cra.storage.base import RecordStorage, StorageBackend, StorageHealth
from cra.timing.clock import NS_PER_SECOND, Clock, SystemClock
from cra.trace.drain import Drain
from cra.trace.drain_thread import DrainThread
from cra.trace.flushing import FlushLevel
from cra.trace.loss import LossLedger
from cra.trace.outbox import BackendStats, Outbox
from cra.trace.record import Record, SessionHeader
from cra.trace.record_queue import Overflow, RecordQueue
from cra.trace.ring_folder import RingFile
from cra.trace.spooled_lane import LONGEST_PAUSE
from cra.trace.subscribe import DEFAULT_CAPACITY as SUBSCRIBER_CAPACITY
from cra.trace.subscribe import Broadcaster, Subscription, Target

Tracing = Literal["deferred", "immediate"]
Level = Literal["recorded", "stored", "durable"]
DEFAULT_RING_BYTES = 8 * 1024 * 1024
_JOIN_SECONDS = 1.0
_THREAD_NAME = "cra-recorder"
Heads = Mapping[str, tuple[int, str, int]]
"""Where chains go on: the next sequence, the last hash and the latest time (ns), by session id."""


class RecorderStats(msgspec.Struct, frozen=True):
    """Counts since the start, and the ring as it is.

    `records_recorded` is what was put into the ring, templates and the records of losses included, or dropped; each of them
    is expanded, waiting, or lost (dropped for want of room, or left behind by `close`). `records_refused` were answered with
    `TraceBackpressure` and are not among them. `events_recorded` are the events chained, `runtime.lost` included: for every
    backend, its stored + waiting + lost. `ring_bytes` is the size of the ring, `ring_used` what is in it and not stored yet,
    `ring_reserved` the room held by `reservations`.
    """

    records_recorded: int
    records_waiting: int
    records_lost: int
    records_refused: int
    events_recorded: int
    backends: tuple[BackendStats, ...]
    ring_bytes: int
    ring_used: int
    ring_reserved: int
    reservations: int


def _nothing() -> None:
    """Nobody to wake or to tell."""


class Recorder:
    """One recorder per runtime; every method may be called from any thread.

    `backends` are the recorder's from now on, which closes them. `ring` is where records wait, in anonymous memory by default;
    it is the recorder's, too, and one in a file survives the process. When a backend lacks too much, the ring is drained no
    further. `overflow` says what a full ring means: `block` waits `overflow_timeout` seconds, `fail` refuses at once, `drop`
    loses what is droppable and blocks for the rest. `runtime` is the header of the runtime's own session and `ids` its id
    stream, both for `runtime.lost`. `heads` are chains that go on.
    """

    _worker: DrainThread | None = None

    def __init__(
        self,
        backends: Sequence[StorageBackend],
        *,
        clock: Clock,
        ids: IdSource,
        runtime: SessionHeader | None = None,
        tracing: Tracing = "deferred",
        overflow: Overflow = "block",
        overflow_timeout: float = 5.0,
        ring: Ring | RingFile | None = None,
        heads: Heads | None = None,
    ) -> None:
        check_choice("tracing", tracing, get_args(Tracing))
        check_choice("overflow", overflow, get_args(Overflow))
        self._backends = tuple(backends)
        self._broadcaster = Broadcaster()
        self._file = ring if isinstance(ring, RingFile) else None
        on_progress = weakref.WeakMethod(self._on_progress)
        self._outbox = Outbox(
            backends,
            self._broadcaster,
            self._file if tracing == "deferred" else None,
            lambda: (on_progress() or _nothing)(),
        )
        self.ring = ring.ring if isinstance(ring, RingFile) else ring or Ring(DEFAULT_RING_BYTES)
        self._worker = DrainThread(self._step, self.ring, _THREAD_NAME) if tracing == "deferred" else None
        self.queue = RecordQueue(
            self.ring,
            LossLedger(clock, ids, runtime),
            overflow=overflow,
            overflow_timeout=overflow_timeout,
            on_record=_nothing if self._worker is None else self._worker.start,
            explain=self._outbox.find_failure,
            definitions=None if self._file is None else self._file.definitions,
        )
        outbox = self._outbox
        expander = Expander(
            heads or {}, lines=outbox.wants_lines or not outbox.wants_records, frames=outbox.wants_records
        )
        self._drain = Drain(self.queue, expander, outbox)
        if self._file is not None:
            for backend in self._backends:
                if isinstance(backend, RecordStorage):
                    backend.write_as(self._file.path.stem, os.path.abspath(self._file.path))
        self._last_stats: RecorderStats | None = None
        _live.add(self)

    def __del__(self) -> None:
        """Forgotten with work left, it lives on until that is done: a finalizer must not wait for a backend itself."""
        if self._worker is not None and self.queue.state == "open" and self.ring.head != self._outbox.position:
            self._worker.stop()
            self._worker = DrainThread(self._step, self.ring, _THREAD_NAME)
            self._worker.start()
            _live.add(self)

    # What producers call

    def record(self, record: Record, taken: Callable[[], object] = _nothing) -> None:
        """Take a record. Deferred, it waits in the ring, and later failures show in `flush`, `stats` and `close`.

        Immediate, it is stored on return; a `StorageError` then means that a backend has not got it yet: it is kept and stored
        before anything else, and until then further records are refused, unchained. Raises `TraceBackpressure` when the ring is
        full, by the rules of `overflow`, `InvalidTraceEvent` for a record larger than half of it, and `InternalError` once the
        recorder is closed or after a fork.
        """
        if self._worker is None:
            self._drain.record_now(record, taken)
        else:
            self.queue.put(record)
            taken()

    def reserve(self, room: int = CLOSING_BYTES) -> RingRoom:
        """Room for one later record of at most `room` bytes, which can then not be refused. Raises as `record` does, and never
        drops."""
        return self.queue.reserve(self._drain.record_reserved_now if self._worker is None else self.queue.claim, room)

    def define(self, make: Callable[[int], bytes]) -> int:
        """The number of a template for resolves to name; `make` gives its record. Raises as `record` does."""
        return self.queue.define(make)

    def on_direct(self, tell: Callable[[bool], None]) -> None:
        """Tell, now and with every change, whether records of known sessions may be put into `ring` without asking. Never where
        they are stored at once."""
        if self._worker is not None:
            self.queue.on_direct(tell)

    # What the resolver calls

    def flush(self, level: Level = "stored", timeout: float | None = None) -> None:
        """Wait until everything recorded before the call is in every backend (`stored`), and fsync'ed or committed (`durable`).

        Concurrent callers share one fsync. Raises `StorageError` as soon as a backend fails, when `timeout` seconds are over,
        or for a level that is not to be had. What was recorded stays and is tried again in all cases.
        """
        check_choice("level", level, get_args(Level))
        if level == "recorded" and self._file is not None:
            self._check_not_ended()
            return  # it was when `record` returned
        if level == "recorded":
            raise StorageError(
                "the flush level 'recorded' is not available: this recorder is volatile, what waits in it is in memory only; "
                "use 'stored' or 'durable', or give it a folder with ring="
            )
        volatile = self._outbox.volatile
        if level == "durable" and volatile is not None:
            raise StorageError(
                f"storage '{volatile}' cannot make events durable; flush to 'stored', or use jsonl: or sqlite:"
            )
        self._check_not_ended()
        self._reach(self._drain.stored if level == "stored" else self._drain.durable, timeout, patient=False)

    def subscribe(
        self,
        target: Target,
        *,
        types: Collection[str] | None = None,
        session_id: str | None = None,
        capacity: int = SUBSCRIBER_CAPACITY,
    ) -> Subscription:
        """Deliver every event that all backends have from now on; see `cra.trace.subscribe.Broadcaster.subscribe`."""
        self._check_not_ended()
        subscription = self._broadcaster.subscribe(target, types=types, session_id=session_id, capacity=capacity)
        self._drain.catch_up()
        return subscription

    def stats(self) -> RecorderStats:
        """The counts as of now. They always add up, and right after a `flush`, with nothing recorded since, nothing waits."""
        queue = self.queue
        if queue.state == "forked":
            raise queue.refusal()
        if queue.state == "open" and not self._outbox.wants_batches:
            self._drain.catch_up()
        with queue.lock:
            return self._last_stats or self._count()

    def health(self) -> list[StorageHealth]:
        """The health of every backend. Never raises, and waits for none that is away."""
        return self._outbox.health()

    def _count(self) -> RecorderStats:
        queue = self.queue
        puts = self.ring.puts
        unexpanded = puts - self._drain.expanded
        waiting = 0 if queue.state == "closed" else unexpanded - self._drain.refused
        return RecorderStats(
            records_recorded=puts + queue.lost,
            records_waiting=waiting,
            records_lost=queue.lost + unexpanded - waiting,
            records_refused=queue.refused,
            events_recorded=self._drain.events,
            backends=self._outbox.stats(closed=queue.state == "closed"),
            ring_bytes=self.ring.size,
            ring_used=self.ring.used,
            ring_reserved=self.ring.reserved,
            reservations=queue.reservations,
        )

    def close(self, timeout: float | None = 5.0) -> None:
        """Refuse new records, wait for reserved ones, store everything, stop, close the backends. Harmless when repeated.

        A backend that fails is tried again for `timeout` seconds (None: for ever). Raises `StorageError` with the counts of what
        could not be stored; that is lost.
        """
        queue = self.queue
        with queue.lock:
            if queue.state == "forked":
                raise queue.refusal()
            if queue.state != "open":
                queue.changed.wait_for(lambda: queue.state == "closed", timeout)
                return
            queue.state = "closing"
            queue.drained()
            queue.changed.wait_for(lambda: queue.reservations == 0, timeout)
        failure: StorageError | None = None
        try:
            self._reach(self._drain.stored, timeout, patient=True)
        except StorageError as error:
            failure = error
        finally:
            with queue.lock:
                queue.state = "closed"
                unchained = self.ring.puts - self._drain.expanded
                queue.drained()
            if self._worker is not None:
                self._worker.stop()
                self._drain.hurry()
            _live.discard(self)
            self._broadcaster.close()
            self._release()
        self._report_losses(unchained)
        if failure is not None:
            raise failure

    def _release(self) -> None:
        if not self._drain.busy.acquire(timeout=_JOIN_SECONDS):
            return  # a backend hangs in the middle of something
        self._drain.busy.release()  # whoever takes it from now on finds the recorder closed
        hanging = self._outbox.stop(_JOIN_SECONDS)
        with ExitStack() as stack:
            if self._worker is None or self._worker.join(_JOIN_SECONDS):
                with self.queue.lock:
                    self._last_stats = self._count()
                if self._file is None or hanging:
                    pass  # whoever recovers comes after the call that hangs
                elif self._is_something_left():
                    stack.callback(self._file.leave)
                    for backend in self._backends:
                        if isinstance(backend, RecordStorage):
                            backend.expect_recovery()
                else:
                    stack.callback(self._file.remove)
                stack.callback(self.ring.close)
            for backend in self._backends:
                if not any(backend is other for other in hanging):
                    stack.callback(backend.close)

    def _is_something_left(self) -> bool:
        """Whether recovery has something to do with the ring."""
        return bool(self.ring.puts != self._drain.expanded or self._outbox.is_behind or self.queue.reservations)

    def _report_losses(self, unchained: int) -> None:
        lacking = [stats for stats in self._outbox.stats(closed=True) if stats.lost]
        losses = [f"storage '{stats.name}' lacks {stats.lost} events" for stats in lacking]
        if unchained:
            losses.append(f"{unchained} records were never chained")
        if self.queue.reservations:
            losses.append(f"{self.queue.reservations} executions were still running and have no closing record")
        if losses:
            failure = self._outbox.find_failure()
            cause = f": {failure}" if failure else ""
            if self._file is not None:
                cause += f"; what is left waits in {os.fspath(self._file.path)!r} for the next start"
            raise StorageError(f"the recorder was closed with losses: {', '.join(losses)}{cause}") from failure

    def _check_not_ended(self) -> None:
        if self.queue.state in ("closed", "forked"):
            raise self.queue.refusal()

    def _reach(self, level: FlushLevel, timeout: float | None, *, patient: bool) -> None:
        """Wait until all that is recorded now has reached `level`. Not `patient`: raise at the first failed attempt."""
        is_settled = self.queue.try_to_settle_losses()
        self._reach_head(level, timeout, patient=patient)
        if not is_settled:
            self.queue.settle_losses()  # now there is room for what was lost
            self._reach_head(level, timeout, patient=patient)

    def _reach_head(self, level: FlushLevel, timeout: float | None, *, patient: bool) -> None:
        """Wait until all that is in the ring has reached `level`."""
        queue = self.queue
        with queue.lock:
            target, failures = self.ring.head, level.failures
            level.want(target)
            self._drain.hurry()
            if self._worker is not None and level.reached < target:
                self._worker.wake()

        def has_failed() -> bool:
            return level.failures > failures and not patient

        def is_over() -> bool:
            return level.reached >= target or has_failed() or queue.state == "closed"

        try:
            if self._worker is not None and self._worker.running:
                with queue.lock:
                    queue.changed.wait_for(is_over, timeout)
            else:
                self._pump_here(is_over, timeout)
            with queue.lock:
                if level.reached >= target:
                    return
                if has_failed():
                    raise StorageError(level.error.message) from level.error
                if queue.state == "closed":
                    raise queue.refusal()
                reason = level.error.message if level.failures > failures else "what waits is kept and tried again"
                raise StorageError(f"the flush was not done within {timeout} s: {reason}")
        finally:
            with queue.lock:
                level.leave(target)

    def _pump_here(self, is_over: Callable[[], bool], timeout: float | None) -> None:
        """Do the worker's work in this thread, because there is none: in immediate mode, and late in an interpreter's life."""
        end = None if timeout is None else SystemClock.monotonic_ns() + int(timeout * NS_PER_SECOND)
        while not is_over():
            pause = self._drain.pump()
            left = LONGEST_PAUSE if end is None else (end - SystemClock.monotonic_ns()) / NS_PER_SECOND
            if left <= 0:
                return
            with self.queue.lock:
                if pause != 0.0 and not is_over():
                    self.queue.changed.wait(min(left, LONGEST_PAUSE if pause is None else pause))

    def _step(self) -> float | None:
        """The worker's step: a method of the recorder, so that it lives until its work is done."""
        return self._drain.pump()

    def _on_progress(self) -> None:
        """A store with a thread of its own has got further, or failed."""
        with self.queue.lock:
            self.queue.changed.notify_all()
            if self._worker is not None:
                self._worker.wake()

    def _die_in_child(self) -> None:
        self.queue.make_locks()
        self._drain.make_lock()
        self.queue.state = "forked"


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raises `ValueError` for a value that is none of them."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it is one of {', '.join(choices)}")


# A fork and the end of the interpreter happen to all recorders at once.
_live: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _end_in_child() -> None:
    for recorder in list(_live):
        recorder._die_in_child()
    _live.clear()


def _close_at_exit() -> None:
    for recorder in list(_live):
        try:
            recorder.close()
        except Exception as error:  # of a backend's own, too: the next recorder is closed all the same
            print(f"cra: {error}", file=sys.stderr)


os.register_at_fork(after_in_child=_end_in_child)
atexit.register(_close_at_exit)
