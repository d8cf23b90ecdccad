"""The recorder: order, levels, failures, immediate mode, accounting, close."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.errors import InternalError, StorageError, StorageLocked, TraceBackpressure
from cra.hotpath import Ring, canonical_json
from cra.ids import format_uuid
from cra.reference.chain import verify_chain
from cra.storage.memory import MemoryStorage
from cra.storage.null import NullStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace.event import Event
from cra.trace.record import EventsRecord, SessionHeader
from cra.trace.recorder import Recorder
from cra.trace.subscribe import Delivery
from tests.support.rings import full_ring

Make = Callable[..., Recorder]
MakeRecord = Callable[..., EventsRecord]
MODES = pytest.mark.parametrize("tracing", ["deferred", "immediate"])


def numbers(events: Any) -> list[int]:
    """Which records these events are of."""
    return [event.payload["n"] for event in events]


def only(backend: MemoryStorage) -> list[Event]:
    """The events of the one session there is."""
    (session_id,) = backend.sessions()
    return list(backend.events(session_id))


# --- order ---


@MODES
def test_records_become_a_valid_chain_in_the_order_in_which_they_were_recorded(
    tracing: str, make_recorder: Make, record: MakeRecord
) -> None:
    """The order of `record` calls is the order of sequence numbers."""
    backend = MemoryStorage()
    recorder = make_recorder(backend, tracing=tracing)
    for n in range(1_500):  # more than a batch
        recorder.record(record(n))
    recorder.flush()
    events = only(backend)
    assert list(range(1_500)) == numbers(events)
    assert list(range(1_500)) == [event.sequence for event in events]
    assert verify_chain(events).valid


def test_deferred_and_immediate_tracing_give_the_same_bytes(make_recorder: Make, record: MakeRecord) -> None:
    """The mode changes when events are made, never what they are."""
    records = [record(n, session=n % 3) for n in range(50)]
    stored = []
    for tracing in ("deferred", "immediate"):
        backend = MemoryStorage()
        recorder = make_recorder(backend, tracing=tracing)
        for item in records:
            recorder.record(item)
        recorder.flush()
        stored.append({session: list(backend.events(session)) for session in backend.sessions()})
    assert stored[0] == stored[1]


@MODES
def test_threads_share_one_order(tracing: str, make_recorder: Make, record: MakeRecord) -> None:
    """Records of many threads end up in one gapless chain that keeps each thread's own order."""
    backend = MemoryStorage()
    recorder = make_recorder(backend, tracing=tracing, ring_bytes=8_192)
    batches = [[record(thread * 1_000 + n) for n in range(100)] for thread in range(8)]
    threads = [threading.Thread(target=lambda batch=batch: [recorder.record(r) for r in batch]) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.flush()
    events = only(backend)
    assert verify_chain(events).valid
    assert len(events) == 800
    for thread in range(8):
        own = [n for n in numbers(events) if n // 1_000 == thread]
        assert sorted(own) == own


@MODES
def test_a_subscriber_may_record_and_flush(tracing: str, make_recorder: Make, record: MakeRecord) -> None:
    """Callbacks run in threads of their own, so they can use the runtime without a deadlock."""
    backend = MemoryStorage()
    recorder = make_recorder(backend, tracing=tracing)
    done = threading.Event()

    def echo(delivery: Delivery) -> None:
        if delivery.number == 1:
            recorder.record(record(2))
            recorder.flush()
            done.set()

    recorder.subscribe(echo)
    recorder.record(record(1))
    recorder.flush()
    assert done.wait(60)
    assert [1, 2] == numbers(only(backend))


def test_a_signal_handler_may_record_while_its_thread_is_recording(make_recorder: Make, record: MakeRecord) -> None:
    """The queue's lock can be taken again by the thread that holds it."""
    backend = MemoryStorage()
    recorder = make_recorder(backend)
    with recorder.queue.lock:
        recorder.record(record(1))
    recorder.flush()
    assert [1] == numbers(only(backend))


# --- flush levels ---


def test_flush_stored_waits_for_every_backend(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """`stored` holds when all backends have what was recorded before the call."""
    other = MemoryStorage()
    recorder = make_recorder(other, moody)
    moody.open.clear()
    recorder.record(record(1))
    moody.wait_for_attempt()
    with pytest.raises(StorageError, match=r"not done within 0\.01 s: what waits is kept and tried"):
        recorder.flush(timeout=0.01)
    moody.open.set()
    recorder.flush()
    assert [1] == numbers(only(moody))
    assert [1] == numbers(only(other))
    assert True not in moody.flushes


def test_flush_durable_flushes_every_backend_durably(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """`durable` is `stored` plus a durable flush, once, and nothing when nothing was recorded since."""
    recorder = make_recorder(moody)
    recorder.record(record(1))
    recorder.flush("durable")
    recorder.flush("durable")
    assert [True] == moody.flushes
    assert [1] == numbers(only(moody))


def test_concurrent_durable_flushes_share_one_fsync(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """Group commit: who waits while a batch is being stored is served by one flush of the backend."""
    recorder = make_recorder(moody)
    moody.open.clear()
    recorder.record(record(1))
    moody.wait_for_attempt()
    threads = [threading.Thread(target=recorder.flush, args=("durable", 10)) for _ in range(10)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(recorder._drain.durable._wanted) < 10:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    moody.open.set()
    for thread in threads:
        thread.join()
    assert [True] == moody.flushes


@MODES
def test_a_level_that_a_backend_cannot_give_is_an_error(tracing: str, make_recorder: Make) -> None:
    """`durable` with a volatile backend and `recorded` without a ring are refused, even when nothing was recorded."""
    recorder = make_recorder(MemoryStorage(), tracing=tracing)
    with pytest.raises(StorageError, match=r"storage 'memory:' cannot make events durable; flush to 'stored'"):
        recorder.flush("durable")
    with pytest.raises(StorageError, match=r"'recorded' is not available: this recorder is volatile.*use 'stored' or"):
        recorder.flush("recorded")
    with pytest.raises(ValueError, match=r"level is 'safe'; it is one of recorded, stored, durable"):
        recorder.flush("safe")  # type: ignore[arg-type]
    recorder.flush("stored")


@MODES
def test_a_failed_durable_flush_reaches_its_caller_and_leaves_stored_alone(
    tracing: str, make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """What cannot be made durable can still be stored; the backend's reason is in the message."""
    recorder = make_recorder(moody, tracing=tracing)
    recorder.record(record(1))
    recorder.flush()
    moody.flush_error = OSError("no fsync today")
    with pytest.raises(StorageError, match=r"storage 'moody:' does not take the trace: no fsync today"):
        recorder.flush("durable")
    with pytest.raises(StorageError, match="no fsync today"):
        recorder.flush("durable")
    recorder.flush()
    moody.flush_error = None
    recorder.flush("durable")


def test_close_keeps_trying_a_backend_whose_flush_fails_for_a_while(
    make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """A flush that fails at close is tried again until it works or the time is over."""
    recorder = make_recorder(moody)
    attempts: list[bool] = []

    def flush(durable: bool) -> None:
        attempts.append(durable)
        if len(attempts) < 3:
            raise OSError("later")

    moody.flush = flush
    recorder.record(record(1))
    recorder.close(timeout=60)
    assert [False] * 3 == attempts


# --- failing backends ---


def test_a_failing_backend_gets_everything_later_once_and_in_order(
    make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """The worker keeps what a backend refused and tries again: no loss, no duplicate, no fork of the chain."""
    recorder = make_recorder(moody)
    moody.error = OSError("disk full")
    for n in range(10):
        recorder.record(record(n))
        if n == 4:
            moody.wait_for_attempt()
    moody.error = None
    recorder.flush()
    assert list(range(10)) == numbers(only(moody))
    assert verify_chain(only(moody)).valid


def test_flush_raises_the_backends_error_while_it_fails_and_works_afterwards(
    make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """Each flush tries at once and tells what happened; the cause is attached."""
    recorder = make_recorder(moody)
    moody.error = OSError("disk full")
    recorder.record(record(1))
    for _ in range(3):
        with pytest.raises(StorageError, match=r"storage 'moody:' does not take the trace: disk full") as caught:
            recorder.flush(timeout=60)
        assert isinstance(caught.value.__cause__, StorageError)
        assert moody.error is caught.value.__cause__.__cause__
    moody.error = None
    recorder.flush()
    assert [1] == numbers(only(moody))


def test_the_worker_tries_again_by_itself(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """A backend that recovers gets what waited without anybody asking."""
    recorder = make_recorder(moody)
    moody.error = OSError("disk full")
    recorder.record(record(1))
    moody.wait_for_attempt()
    moody.wait_for_attempt()
    moody.error = None
    moody.wait_for_attempt()
    recorder.flush()
    assert [1] == numbers(only(moody))


def test_one_failing_backend_holds_up_no_other(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """Every backend has its own position: the healthy one goes on, and is given nothing twice."""
    healthy = MemoryStorage()
    recorder = make_recorder(moody, healthy)
    moody.error = OSError("disk full")
    for n in range(20):
        recorder.record(record(n))
        with pytest.raises(StorageError):
            recorder.flush()
        assert list(range(n + 1)) == numbers(only(healthy))
    moody.error = None
    recorder.flush()
    assert list(range(20)) == numbers(only(moody)) == numbers(only(healthy))


def test_a_backlog_stops_the_drain(
    make_recorder: Make, record: MakeRecord, moody: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for a failing backend is bounded; then the ring fills and its overflow rules apply. Nothing is lost."""
    monkeypatch.setattr("cra.trace.drain._BACKLOG_BYTES", 1)
    recorder = make_recorder(moody, ring_bytes=4_096, overflow="fail")
    moody.error = OSError("disk full")
    taken = 0
    with suppress(TraceBackpressure):
        while taken < 1_000:
            recorder.record(record(taken))
            taken += 1
            with pytest.raises(StorageError):
                recorder.flush()
    with pytest.raises(TraceBackpressure, match=r"ring is full \(4096 bytes\): storage 'moody:' .* disk full"):
        recorder.record(record(taken))
    stats = recorder.stats()
    assert (taken, 1, taken - 1) == (stats.records_recorded, stats.backends[0].waiting, stats.records_waiting)
    assert 2 == stats.records_refused
    moody.error = None
    recorder.flush()
    assert list(range(taken)) == numbers(only(moody))


def test_events_are_published_once_every_backend_has_them(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """A subscriber never sees an event that a store could still lack."""
    recorder = make_recorder(MemoryStorage(), moody)
    seen: list[int] = []
    arrived = threading.Semaphore(0)

    def note(delivery: Delivery) -> None:
        seen.append(delivery.event.payload["n"])
        arrived.release()

    recorder.subscribe(note)
    moody.error = OSError("disk full")
    for n in range(3):
        recorder.record(record(n))
        with pytest.raises(StorageError):
            recorder.flush()
    assert [] == seen
    moody.error = None
    recorder.flush()
    for _ in range(3):
        assert arrived.acquire(timeout=60)
    assert [0, 1, 2] == seen


# --- records that cannot become events ---


def test_a_damaged_record_holds_up_nothing_and_is_counted(make_recorder: Make, record: MakeRecord) -> None:
    """What somebody else wrote over in memory is lost, and told; what comes after it is chained."""
    backend = MemoryStorage()
    recorder = make_recorder(backend)
    recorder.record(record(1))
    recorder.ring.put(b"no record at all")
    recorder.record(record(2))
    recorder.flush()
    assert [1, 2] == numbers(only(backend))
    stats = recorder.stats()
    assert (3, 0, 1, 2) == (
        stats.records_recorded,
        stats.records_waiting,
        stats.records_lost,
        stats.events_recorded,
    )
    with pytest.raises(StorageError, match="closed with losses: 1 records were never chained"):
        recorder.close()


# --- immediate mode ---


def test_immediate_tracing_has_stored_the_record_when_it_returns(make_recorder: Make, record: MakeRecord) -> None:
    """No worker, no flush needed."""
    backend = MemoryStorage()
    recorder = make_recorder(backend, tracing="immediate")
    recorder.record(record(1))
    assert [1] == numbers(only(backend))


def test_immediate_tracing_raises_the_storage_error_and_stores_the_same_events_first_next_time(
    make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """The events of the failed call are kept; while the backend fails nothing more is chained; the chain never forks."""
    recorder = make_recorder(moody, tracing="immediate")
    moody.error = OSError("disk full")
    for n in range(3):
        with pytest.raises(StorageError, match="disk full"):
            recorder.record(record(n))
    assert 1 == recorder.stats().events_recorded
    moody.error = None
    recorder.record(record(3))
    assert [0, 3] == numbers(only(moody))
    assert verify_chain(only(moody)).valid


def test_immediate_tracing_keeps_the_kind_of_a_storage_error(
    make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """Whatever a backend raises arrives as a `StorageError`, with the original as its cause."""
    recorder = make_recorder(moody, tracing="immediate")
    moody.error = StorageLocked("somebody writes it")
    with pytest.raises(StorageError, match="somebody writes it") as caught:
        recorder.record(record(1))
    assert moody.error is caught.value.__cause__


def test_immediate_flush_retries_what_is_left(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """`flush` in immediate mode stores what a failed call left, or says why not."""
    recorder = make_recorder(moody, tracing="immediate")
    moody.error = OSError("disk full")
    with pytest.raises(StorageError):
        recorder.record(record(1))
    with pytest.raises(StorageError, match="disk full"):
        recorder.flush()
    moody.error = None
    recorder.flush()
    assert [1] == numbers(only(moody))


# --- reservations ---


@MODES
def test_a_reserved_record_is_taken_whatever_the_storage_does(
    tracing: str, make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """The closing record of an execution is never refused, not even while the backend fails."""
    recorder = make_recorder(moody, tracing=tracing, ring_bytes=4_096, overflow="fail")
    reservation = recorder.reserve()
    with full_ring(recorder.ring):
        with pytest.raises(
            TraceBackpressure, match=r"full \(4096 bytes\): the storage is slower than the records come"
        ):
            recorder.reserve()
        moody.error = OSError("disk full")
        reservation.record(record(1))
    assert (0, 1) == (recorder.stats().reservations, recorder.stats().records_recorded)
    with pytest.raises(StorageError):
        recorder.flush()
    moody.error = None
    recorder.flush()
    assert [1] == numbers(only(moody))


@MODES
def test_a_reservation_is_good_once(tracing: str, make_recorder: Make, record: MakeRecord) -> None:
    """Used or released, its room is gone; releasing again is harmless."""
    recorder = make_recorder(MemoryStorage(), tracing=tracing)
    reservation = recorder.reserve()
    reservation.record(record(1))
    reservation.release()
    with pytest.raises(InternalError, match="this one was used or given back; reserve again"):
        reservation.record(record(2))
    recorder.flush()
    other = recorder.reserve()
    other.release()
    other.release()
    assert (0, 0) == (recorder.stats().reservations, recorder.stats().ring_reserved)
    with pytest.raises(InternalError):
        other.record(record(2))


# --- accounting ---


@given(
    st.lists(
        st.sampled_from(["record", "droppable", "many", "reserve", "use", "release", "fail", "heal", "flush"]),
        max_size=60,
    ),
    st.sampled_from(["block", "fail", "drop"]),
)
def test_counts_add_up_after_any_history(steps: list[str], overflow: str) -> None:
    """recorded = expanded + waiting + lost in records, and = stored + waiting + lost in events, exactly, at every flush."""
    backend = MemoryStorage()
    broken = [False]

    class Fragile(NullStorage):
        def append(self, batch: Any) -> None:
            if broken[0]:
                raise OSError("broken")

    base = SeededIds(3).draw(0)
    session = SessionHeader(format_uuid(base), format_uuid(base + 1), format_uuid(base + 2))
    runtime = SessionHeader(format_uuid(base + 3), format_uuid(base + 4), format_uuid(base + 5))
    ids, clock = SeededIds(4), VirtualClock()
    recorder = Recorder(
        [backend, Fragile()],
        clock=clock,
        ids=ids,
        runtime=runtime,
        overflow=overflow,  # type: ignore[arg-type]
        overflow_timeout=0.001,
        ring=Ring(4_096),
    )
    reservations = []
    taken = refused = 0

    def make(step: str) -> EventsRecord:
        now = clock.now_ns()
        events = (("action.requested", canonical_json({"n": "x" * 300})),)
        return EventsRecord(session, ids.draw(now // 10**6), now, events, droppable=step != "record")

    for step in steps:
        try:
            if step in ("record", "droppable", "many"):
                for _ in range(20 if step == "many" else 1):
                    recorder.record(make(step))
                    taken += 1
            elif step == "reserve":
                reservations.append(recorder.reserve())
            elif step == "use" and reservations:
                reservations.pop().record(make(step))
                taken += 1
            elif step == "release" and reservations:
                reservations.pop().release()
            elif step in ("fail", "heal"):
                broken[0] = step == "fail"
            elif step == "flush":
                recorder.flush()
                stats = recorder.stats()
                assert 0 == stats.records_waiting
                assert {0} == {each.waiting for each in stats.backends}
                assert {stats.events_recorded} == {each.stored for each in stats.backends}
        except TraceBackpressure:
            refused += 1
        except StorageError:
            assert broken[0]
    broken[0] = False
    for reservation in reservations:
        reservation.release()
    recorder.close()
    stats = recorder.stats()
    losses = sum(backend.count(each) for each in backend.sessions()) - (taken - stats.records_lost)
    assert (taken + losses, refused) == (stats.records_recorded, stats.records_refused)
    assert {(stats.events_recorded, 0, 0)} == {(each.stored, each.waiting, each.lost) for each in stats.backends}
    assert stats.events_recorded == backend.count()
    kept = [event for event in backend.events(session.session_id) if event.event_type == "action.requested"]
    gone = [event for event in backend.events(runtime.session_id) if event.event_type == "runtime.lost"]
    assert taken == len(kept) + stats.records_lost
    assert stats.records_lost == sum(event.payload["count"] for event in gone)
    for session_id in backend.sessions():
        assert verify_chain(list(backend.events(session_id))).valid


def test_stats_name_the_backends_and_the_room_in_use(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """`stats` says what waits where while the worker is held up."""
    recorder = make_recorder(moody, ring_bytes=65_536)
    moody.open.clear()
    recorder.record(record(1))
    moody.wait_for_attempt()
    recorder.record(record(2))
    reservation = recorder.reserve(1_000)
    stats = recorder.stats()
    assert (2, 1, 0) == (stats.records_recorded, stats.records_waiting, stats.records_lost)
    assert (65_536, 1) == (stats.ring_bytes, stats.reservations)
    assert stats.ring_used == recorder.ring.head > 0
    assert 1_000 <= stats.ring_reserved < 1_100
    (backend,) = stats.backends
    assert ("moody:", 0, 1, 0) == (backend.name, backend.stored, backend.waiting, backend.lost)
    reservation.release()


# --- options ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tracing": "never"}, "tracing is 'never'; it is one of deferred, immediate"),
        ({"overflow": "grow"}, "overflow is 'grow'; it is one of block, fail, drop"),
    ],
)
def test_unknown_options_are_refused(options: dict[str, Any], message: str, make_recorder: Make) -> None:
    """A typo in an option is an error, not a default."""
    with pytest.raises(ValueError, match=message):
        make_recorder(MemoryStorage(), **options)


# --- close ---


@MODES
def test_close_stores_everything_and_closes_the_backends(
    tracing: str, make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """After `close` everything is stored, the backends are closed, and closing again is harmless."""
    recorder = make_recorder(moody, tracing=tracing)
    for n in range(10):
        recorder.record(record(n))
    recorder.close()
    recorder.close()
    assert list(range(10)) == numbers(only(moody))
    assert moody.closed


@MODES
def test_a_closed_recorder_refuses_everything_but_stats(tracing: str, make_recorder: Make, record: MakeRecord) -> None:
    """Each refusal says that a new Resolver is needed."""
    recorder = make_recorder(MemoryStorage(), tracing=tracing)
    recorder.close()
    for call in (
        lambda: recorder.record(record(1)),
        recorder.reserve,
        recorder.flush,
        lambda: recorder.subscribe(print),
    ):
        with pytest.raises(InternalError, match=r"this resolver is closed.*create a new one"):
            call()
    assert 0 == recorder.stats().records_recorded


def test_close_says_what_could_not_be_stored(
    make_recorder: Make, record: MakeRecord, moody: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses at close are named with counts and cause, and move from waiting to lost."""
    monkeypatch.setattr("cra.trace.drain._BACKLOG_BYTES", 1)
    recorder = make_recorder(MemoryStorage(), moody, overflow="fail")
    moody.error = OSError("disk full")
    for n in range(4):
        recorder.record(record(n))
        with pytest.raises(StorageError):
            recorder.flush()
    with pytest.raises(
        StorageError,
        match=r"with losses: storage 'moody:' lacks 1 events, 3 records were never chained: storage 'moody:' .*disk full",
    ):
        recorder.close(timeout=0.01)
    stats = recorder.stats()
    assert (4, 0, 3) == (stats.records_recorded, stats.records_waiting, stats.records_lost)
    assert [(1, 0, 0), (0, 0, 1)] == [(each.stored, each.waiting, each.lost) for each in stats.backends]


def test_a_round_of_the_worker_after_close_does_nothing(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """What was counted as lost is not stored after all by a worker that was about to begin."""
    recorder = make_recorder(moody, overflow="fail")
    moody.error = OSError("disk full")
    for n in range(2):
        recorder.record(record(n))
        with pytest.raises(StorageError):
            recorder.flush()
    with pytest.raises(StorageError):
        recorder.close(timeout=0.01)
    moody.error = None
    stats = recorder.stats()
    assert recorder._drain.pump() is None
    assert stats == recorder.stats()
    assert 0 == moody.count()


def test_close_in_immediate_mode_tries_until_its_time_is_over(
    make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """Without a worker, `close` itself tries again and again."""
    recorder = make_recorder(moody, tracing="immediate")
    moody.error = OSError("disk full")
    with pytest.raises(StorageError):
        recorder.record(record(1))
    attempts = moody.attempts
    with pytest.raises(StorageError, match="lacks 1 events"):
        recorder.close(timeout=1.0)
    assert moody.attempts >= attempts + 2


def test_close_in_immediate_mode_waits_for_recovery_without_a_limit(
    make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """`timeout=None` waits as long as it takes."""
    recorder = make_recorder(moody, tracing="immediate")
    moody.error = OSError("disk full")
    with pytest.raises(StorageError):
        recorder.record(record(1))
    threading.Timer(0.08, lambda: setattr(moody, "error", None)).start()
    recorder.close(timeout=None)
    assert [1] == numbers(only(moody))


def test_close_does_not_wait_for_a_backend_that_hangs(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """A call that does not come back costs `close` its timeout; such a backend is left alone and its events are lost."""
    recorder = make_recorder(moody)
    moody.open.clear()
    recorder.record(record(1))
    moody.wait_for_attempt()
    recorder.record(record(2))
    with pytest.raises(StorageError, match="lacks 1 events, 1 records were never chained"):
        recorder.close(timeout=0.01)
    assert not moody.closed


def test_what_is_chained_after_close_gave_up_stays_lost(make_recorder: Make, record: MakeRecord) -> None:
    """A batch that was being expanded when `close` gave up is counted once, as lost, and never stored."""
    backend = MemoryStorage()
    expanding, go_on = threading.Event(), threading.Event()

    class Slow:
        """Before the expander: it takes its time."""

        def __init__(self, expander: Any) -> None:
            self._expander = expander

        def drain(self, ring: Ring, max_bytes: int) -> int:
            expanding.set()
            assert go_on.wait(60)
            return int(self._expander.drain(ring, max_bytes))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._expander, name)

    recorder = make_recorder(backend)
    recorder._drain._expander = Slow(recorder._drain._expander)  # type: ignore[assignment]
    recorder.record(record(1))
    assert expanding.wait(60)
    with pytest.raises(StorageError, match="1 records were never chained"):
        recorder.close(timeout=0.01)
    go_on.set()
    with recorder._drain.busy:
        stats = recorder.stats()
    assert (1, 0, 1, 0) == (
        stats.records_recorded,
        stats.records_waiting,
        stats.records_lost,
        stats.events_recorded,
    )
    assert 0 == backend.count()


def test_close_waits_for_reserved_records(make_recorder: Make, record: MakeRecord) -> None:
    """An execution that is under way when the recorder is closed still gets its closing record in."""
    backend = MemoryStorage()
    recorder = make_recorder(backend)
    reservation = recorder.reserve()
    closing = threading.Thread(target=recorder.close)
    closing.start()
    while recorder.queue.state != "closing":
        time.sleep(0.001)
    with pytest.raises(InternalError):
        recorder.record(record(1))
    second = threading.Thread(target=recorder.close)
    second.start()
    reservation.record(record(2))
    closing.join(60)
    second.join(60)
    assert [2] == numbers(only(backend))


def test_close_names_executions_that_did_not_end(make_recorder: Make, record: MakeRecord) -> None:
    """A reservation that nobody used in time is reported, and useless afterwards."""
    recorder = make_recorder(MemoryStorage())
    reservation = recorder.reserve()
    with pytest.raises(StorageError, match=r"1 executions were still running and have no closing record$"):
        recorder.close(timeout=0.01)
    with pytest.raises(InternalError, match="closed"):
        reservation.record(record(1))
    reservation.release()


def test_a_flush_that_close_overtakes_says_so(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """Nobody waits for ever for a recorder that has gone."""
    recorder = make_recorder(moody)
    moody.open.clear()
    recorder.record(record(1))
    moody.wait_for_attempt()
    raised: list[BaseException] = []

    def flush() -> None:
        try:
            recorder.flush()
        except InternalError as error:
            raised.append(error)

    thread = threading.Thread(target=flush)
    thread.start()
    while not recorder._drain.stored._wanted:
        time.sleep(0.001)
    with pytest.raises(StorageError):
        recorder.close(timeout=0.01)
    thread.join(60)
    assert [
        "this resolver is closed and records nothing more; read its traces before you close it, or create a new one"
    ] == [str(e) for e in raised]


# --- ends that nobody called for ---


def test_a_forgotten_recorder_stores_what_it_was_given_and_is_collected(record: MakeRecord) -> None:
    """The worker keeps a recorder alive exactly as long as there is work."""
    backend = MemoryStorage()
    recorder = Recorder([backend], clock=VirtualClock(), ids=SeededIds(1))
    alive = weakref.ref(recorder)
    thread = recorder._worker
    recorder.record(record(1))
    del recorder
    deadline = time.monotonic() + 60
    while alive() is not None or (thread is not None and thread.running):
        assert time.monotonic() < deadline
        gc.collect()
        time.sleep(0.001)
    assert [1] == numbers(only(backend))


def test_a_recorder_that_is_forgotten_before_its_worker_has_woken_up_stores_what_it_was_given(
    record: MakeRecord,
) -> None:
    """It lives on until that is done, with a thread of its own, and is collected then."""
    stored = threading.Event()

    class Told(MemoryStorage):
        def append(self, batch: Any) -> None:
            super().append(batch)
            stored.set()

    backend = Told()
    recorder = Recorder([backend], clock=VirtualClock(), ids=SeededIds(1))
    alive = weakref.ref(recorder)
    assert recorder._worker is not None
    recorder._worker.stop()  # as good as asleep: what is recorded does not wake it
    recorder.record(record(1))
    del recorder
    assert stored.wait(60)
    assert [1] == numbers(only(backend))
    deadline = time.monotonic() + 60
    while alive() is not None:
        assert time.monotonic() < deadline
        gc.collect()
        time.sleep(0.001)


def test_close_leaves_the_ring_open_for_a_thread_that_does_not_end(
    make_recorder: Make, record: MakeRecord, moody: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds it up may be anything that runs there, such as a finalizer. All is stored, and the backends are closed."""
    held, entered, go_on = threading.Event(), threading.Event(), threading.Event()
    step = Recorder._step

    def hold(recorder: Recorder) -> float | None:
        pause = step(recorder)
        if held.is_set():
            entered.set()
            assert go_on.wait(60)
        return pause

    monkeypatch.setattr(Recorder, "_step", hold)
    monkeypatch.setattr("cra.trace.recorder._JOIN_SECONDS", 0.01)
    recorder = make_recorder(moody)
    assert recorder._worker is not None
    recorder.record(record(1))
    recorder.flush()
    held.set()
    recorder._worker.wake()
    assert entered.wait(60)
    recorder.close()
    assert moody.closed
    assert [1] == numbers(only(moody))
    recorder.ring.wake()  # not closed
    go_on.set()
    assert recorder._worker.join(60)
    assert (1, 0) == (recorder.stats().records_recorded, recorder.stats().records_lost)


def test_without_threads_flush_and_close_do_the_work(
    make_recorder: Make, record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late in an interpreter's life no thread can be started: nothing is lost for want of a worker."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    backend = MemoryStorage()
    recorder = make_recorder(backend)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for n in range(2_000):
        recorder.record(record(n))
    recorder.flush()
    assert list(range(2_000)) == numbers(only(backend))
    recorder.record(record(2_000))
    recorder.close()
    assert 2_001 == backend.count()


def test_close_reports_a_backend_that_cannot_flush(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """Events that were stored but could not be flushed are no loss to count, and no success either."""
    recorder = make_recorder(moody, tracing="immediate")
    moody.flush_error = OSError("never")
    recorder.record(record(1))
    with pytest.raises(StorageError, match=r"not done within 0 s: storage 'moody:' does not take the trace: never"):
        recorder.close(timeout=0)
    assert moody.closed


def test_every_backend_is_closed_even_if_one_cannot_be(make_recorder: Make, moody_storage: Any) -> None:
    """An error of one `close` reaches the caller after all others were closed."""
    first, second, third = moody_storage("first:"), moody_storage("second:"), moody_storage("third:")

    def refuse() -> None:
        raise OSError("cannot close")

    second.close = refuse
    recorder = make_recorder(first, second, third)
    with pytest.raises(OSError, match="cannot close"):
        recorder.close()
    assert (True, True) == (first.closed, third.closed)
