"""The recorder: takes records from many threads, gives them one order, and sees that they reach every backend.

Sessions call `record` on the hot path; resolvers call `flush`, `stats` and `close`. Deferred, a record waits in a bounded queue
that one worker drains; immediate, it is stored before `record` returns: the same events with the same bytes. The order of the
queue is the order of the trace. It never drops anything silently: what it cannot take is refused, or counted and chained as
`runtime.lost`. PROTOCOL: Event; ARCHITECTURE: Nothing is dropped silently.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import Literal, get_args

import msgspec

from cra.errors import CRAError, StorageError
from cra.ids import IdSource
from cra.storage.base import StorageBackend
from cra.timing.clock import NS_PER_SECOND, Clock, SystemClock
from cra.trace.drain import Drain, RecordChainer
from cra.trace.flushing import FlushLevel
from cra.trace.loss import LossLedger
from cra.trace.outbox import LONGEST_PAUSE, BackendStats, Outbox
from cra.trace.record import Record, SessionHeader
from cra.trace.record_queue import DEFAULT_CAPACITY, Overflow, RecordQueue, Reservation
from cra.trace.subscribe import DEFAULT_CAPACITY as SUBSCRIBER_CAPACITY
from cra.trace.subscribe import Broadcaster, Subscription, Target
from cra.trace.worker import Worker

Tracing = Literal["deferred", "immediate"]
Level = Literal["recorded", "stored", "durable"]


class RecorderStats(msgspec.Struct, frozen=True):
    """Counts since the start, and the queue as it is.

    `records_recorded` is what callers handed in; each of them is expanded into events, waiting, or lost (dropped for want of
    room, impossible to expand, or left behind by `close`). `records_refused` were answered with `TraceBackpressure` and are not
    among them. `events_recorded` are the events chained, `runtime.lost` included: for every backend, its stored + waiting + lost.
    """

    records_recorded: int
    records_waiting: int
    records_lost: int
    records_refused: int
    events_recorded: int
    backends: tuple[BackendStats, ...]
    capacity: int
    queued: int
    reserved: int


class Recorder:
    """One recorder per runtime; every method may be called from any thread.

    `backends` are the recorder's from now on, which closes them. `capacity` is in records, queued and reserved ones together;
    when a backend lacks that many events, the queue is drained no further. `overflow` says what a full queue means: `block`
    waits `overflow_timeout` seconds, `fail` refuses at once, `drop` loses what is droppable and blocks for the rest. `runtime`
    is the header of the runtime's own session and `ids` its id stream, both for `runtime.lost`.
    """

    def __init__(
        self,
        backends: Sequence[StorageBackend],
        chainer: RecordChainer,
        *,
        clock: Clock,
        ids: IdSource,
        runtime: SessionHeader | None = None,
        tracing: Tracing = "deferred",
        overflow: Overflow = "block",
        overflow_timeout: float = 5.0,
        capacity: int = DEFAULT_CAPACITY,
    ) -> None:
        _check_choice("tracing", tracing, get_args(Tracing))
        _check_choice("overflow", overflow, get_args(Overflow))
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; the queue needs room for at least one record")
        self._backends = tuple(backends)
        self._broadcaster = Broadcaster()
        self._outbox = Outbox(backends, self._broadcaster.publish)
        ledger = LossLedger(clock, ids, runtime)
        self._worker = Worker(self._step, "cra-recorder") if tracing == "deferred" else None
        self._queue = RecordQueue(
            ledger,
            capacity=capacity,
            overflow=overflow,
            overflow_timeout=overflow_timeout,
            on_record=_nothing if self._worker is None else self._worker.wake,
            explain=self._outbox.find_failure,
        )
        self._drain = Drain(self._queue, chainer, ledger, self._outbox)
        _live.add(self)

    # What producers call

    def record(self, record: Record) -> None:
        """Take a record. Deferred, it is queued, and later failures show in `flush`, `stats` and `close`.

        Immediate, it is stored on return; a `StorageError` then means that a backend has not got it yet: it is kept and stored
        before anything else, and until then further records are refused, unchained. Raises `TraceBackpressure` when the queue is
        full, by the rules of `overflow`, and `InternalError` once the recorder is closed or after a fork.
        """
        if self._worker is None:
            self._drain.record_now(record)
        else:
            self._queue.put(record)

    def reserve(self) -> Reservation:
        """Room for one later record, which can then not be refused. Raises as `record` does, and never drops."""
        return self._queue.reserve(self._drain.record_reserved_now if self._worker is None else self._queue.claim)

    # What the resolver calls

    def flush(self, level: Level = "stored", timeout: float | None = None) -> None:
        """Wait until everything recorded before the call is in every backend (`stored`), and fsync'ed or committed (`durable`).

        Concurrent callers share one fsync. Raises `StorageError` as soon as a backend fails, when `timeout` seconds are over,
        or for a level that is not to be had. What was recorded stays and is tried again in all cases.
        """
        _check_choice("level", level, get_args(Level))
        if level == "recorded":
            raise StorageError(
                "the flush level 'recorded' is not available: this recorder is volatile, what waits in it is in memory only; "
                "use 'stored' or 'durable'"
            )
        volatile = self._outbox.volatile
        if level == "durable" and volatile is not None:
            raise StorageError(
                f"storage '{volatile}' cannot make events durable; flush to 'stored', or use jsonl:///dir"
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
        return self._broadcaster.subscribe(target, types=types, session_id=session_id, capacity=capacity)

    def stats(self) -> RecorderStats:
        """The counts as of now. They always add up, and right after a `flush`, with nothing recorded since, nothing waits."""
        queue = self._queue
        with queue.lock:
            if queue.state == "forked":
                raise queue.refusal()
            return RecorderStats(
                records_recorded=queue.recorded,
                records_waiting=queue.recorded - self._drain.expanded - queue.lost,
                records_lost=queue.lost,
                records_refused=queue.refused,
                events_recorded=self._outbox.total,
                backends=self._outbox.stats(closed=queue.state == "closed"),
                capacity=queue.capacity,
                queued=len(queue),
                reserved=queue.reserved,
            )

    def close(self, timeout: float | None = 5.0) -> None:
        """Refuse new records, wait for reserved ones, store everything, stop, close the backends. Harmless when repeated.

        A backend that fails is tried again for `timeout` seconds (None: for ever). Raises `StorageError` with the counts of what
        could not be stored; that is lost.
        """
        queue = self._queue
        with queue.lock:
            if queue.state == "forked":
                raise queue.refusal()
            if queue.state != "open":
                queue.changed.wait_for(lambda: queue.state == "closed", timeout)
                return
            queue.state = "closing"
            queue.drained()
            queue.changed.wait_for(lambda: queue.reserved == 0, timeout)
        failure: StorageError | None = None
        try:
            self._reach(self._drain.stored, timeout, patient=True)
        except StorageError as error:
            failure = error
        finally:
            with queue.lock:
                queue.state = "closed"
                unchained = queue.recorded - self._drain.expanded - queue.lost
                queue.lost += unchained
                queue.drained()
            if self._worker is not None:
                self._worker.stop()
            _live.discard(self)
            self._broadcaster.close()
            self._close_backends()
        self._report_losses(unchained)
        if failure is not None:
            raise failure

    def _close_backends(self) -> None:
        if self._drain.busy.acquire(blocking=False):  # else a backend hangs in the middle of something
            with ExitStack() as stack:
                stack.callback(self._drain.busy.release)
                for backend in self._backends:
                    stack.callback(backend.close)

    def _report_losses(self, unchained: int) -> None:
        lacking = [stats for stats in self._outbox.stats(closed=True) if stats.lost]
        losses = [f"storage '{stats.name}' lacks {stats.lost} events" for stats in lacking]
        if unchained:
            losses.append(f"{unchained} records were never chained")
        if self._queue.reserved:
            losses.append(f"{self._queue.reserved} executions were still running and have no closing record")
        if losses:
            failure = self._outbox.find_failure()
            cause = f": {failure}" if failure else ""
            raise StorageError(f"the recorder was closed with losses: {', '.join(losses)}{cause}") from failure

    def _check_not_ended(self) -> None:
        if self._queue.state in ("closed", "forked"):
            raise self._queue.refusal()

    def _reach(self, level: FlushLevel, timeout: float | None, *, patient: bool) -> None:
        """Wait until all that is recorded now has reached `level`. Not `patient`: raise at the first failed attempt."""
        queue = self._queue
        with queue.lock:
            target, failures = queue.appended, level.failures
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
            with self._queue.lock:
                if pause != 0.0 and not is_over():
                    self._queue.changed.wait(min(left, LONGEST_PAUSE if pause is None else pause))

    def _step(self) -> float | None:
        """The worker's step: a method of the recorder, so that it lives until its work is done."""
        return self._drain.pump()

    def _die_in_child(self) -> None:
        self._queue.make_locks()
        self._drain.make_lock()
        self._queue.state = "forked"


def _nothing() -> None:
    """Nobody to wake."""


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
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
        except CRAError as error:
            print(f"cra: {error}", file=sys.stderr)


os.register_at_fork(after_in_child=_end_in_child)
atexit.register(_close_at_exit)
