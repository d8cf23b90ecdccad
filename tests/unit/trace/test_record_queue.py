"""What happens when the ring is full, and how losses are chained."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cra.errors import InternalError, InvalidTraceEvent, TraceBackpressure
from cra.hotpath import RingRoom
from cra.reference.chain import verify_chain
from cra.trace.record import EventsRecord, ResolveRecord, SessionHeader
from cra.trace.recorder import Recorder
from tests.support.rings import full_ring

Make = Callable[..., Recorder]
MakeRecord = Callable[..., EventsRecord]
Header = Callable[[int], SessionHeader]


def hold(recorder: Recorder, record: MakeRecord, moody: Any) -> None:
    """Hold the worker up in `append`: the record n=0 is being stored, n=1 waits in the ring."""
    moody.open.clear()
    recorder.record(record(0))
    moody.wait_for_attempt()
    recorder.record(record(1))


def numbers(moody: Any, session: SessionHeader) -> list[int]:
    """Which records of the session are stored."""
    return [event.payload["n"] for event in moody.events(session.session_id) if "n" in event.payload]


def test_fail_refuses_at_once(make_recorder: Make, record: MakeRecord, moody: Any, header: Header) -> None:
    """`overflow="fail"`: the caller is told, what was taken stays, and it goes on when there is room."""
    recorder = make_recorder(moody, overflow="fail", ring_bytes=4_096)
    hold(recorder, record, moody)
    with full_ring(recorder.ring):
        with pytest.raises(TraceBackpressure, match=r"^the trace ring is full \(4096 bytes\): the storage is slower"):
            recorder.record(record(4))
        with pytest.raises(TraceBackpressure):
            recorder.reserve()
    moody.open.set()
    recorder.flush()
    recorder.record(record(5))
    recorder.flush()
    assert [0, 1, 5] == numbers(moody, header(1))
    assert (3, 0, 2) == (
        recorder.stats().records_recorded,
        recorder.stats().records_lost,
        recorder.stats().records_refused,
    )


def test_block_gives_up_after_its_timeout(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """`overflow="block"` is bounded: then it is `TraceBackpressure`, which is recoverable."""
    recorder = make_recorder(moody, overflow="block", overflow_timeout=0.01, ring_bytes=4_096)
    hold(recorder, record, moody)
    with (
        full_ring(recorder.ring),
        pytest.raises(TraceBackpressure, match=r"is full \(4096 bytes\) and stayed so for 0\.01 s: ") as caught,
    ):
        recorder.record(record(2))
    assert caught.value.recoverable


@pytest.mark.parametrize("overflow", ["block", "drop"])
def test_a_blocked_record_is_taken_when_there_is_room(
    overflow: str, make_recorder: Make, record: MakeRecord, moody: Any, header: Header
) -> None:
    """Blocking waits for room; with `drop` what is not droppable blocks as well, and so does a reservation."""
    recorder = make_recorder(moody, overflow=overflow, overflow_timeout=60)
    hold(recorder, record, moody)
    reserved: list[RingRoom] = []
    threads = [
        threading.Thread(target=recorder.record, args=(record(3),)),
        threading.Thread(target=lambda: reserved.append(recorder.reserve())),
    ]
    with full_ring(recorder.ring):
        for thread in threads:
            thread.start()
        time.sleep(0.01)
        assert all(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join(60)
    moody.open.set()
    recorder.flush()
    assert [0, 1, 3] == numbers(moody, header(1))
    assert 1 == recorder.stats().reservations
    reserved[0].release()


def test_a_blocked_record_is_taken_when_the_worker_makes_room(
    make_recorder: Make, record: MakeRecord, moody: Any, header: Header
) -> None:
    """What is stored is room."""
    recorder = make_recorder(moody, overflow_timeout=60)
    hold(recorder, record, moody)
    with full_ring(recorder.ring):
        thread = threading.Thread(target=recorder.record, args=(record(2),))
        thread.start()
        time.sleep(0.01)
        assert thread.is_alive()
        moody.open.set()
        thread.join(60)
        assert not thread.is_alive()
        recorder.flush()
    assert [0, 1, 2] == numbers(moody, header(1))


def test_a_blocked_record_is_taken_when_a_reservation_is_released(
    make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """Reserved room that is given back is room."""
    recorder = make_recorder(moody, overflow_timeout=60)
    reservation = recorder.reserve()
    with full_ring(recorder.ring):
        thread = threading.Thread(target=recorder.record, args=(record(1),))
        thread.start()
        time.sleep(0.01)
        assert thread.is_alive()
        reservation.release()
        thread.join(60)
        assert not thread.is_alive()
    recorder.flush()
    assert 1 == moody.count()


def test_close_sends_blocked_callers_away(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """Who waits for room in a recorder that is being closed is refused, not forgotten."""
    recorder = make_recorder(moody, overflow_timeout=60)
    hold(recorder, record, moody)
    refused: list[BaseException] = []

    def try_it() -> None:
        try:
            recorder.record(record(2))
        except InternalError as error:
            refused.append(error)

    with full_ring(recorder.ring):
        thread = threading.Thread(target=try_it)
        thread.start()
        closing = threading.Thread(target=recorder.close)
        closing.start()
        thread.join(60)
    moody.open.set()
    closing.join(60)
    assert 1 == len(refused)
    assert 2 == moody.count()


def test_drop_chains_every_loss_in_its_place(
    make_recorder: Make, record: MakeRecord, moody: Any, header: Header
) -> None:
    """`overflow="drop"`: the gap is one `runtime.lost` per session, before its next record, and one in the runtime's."""
    recorder = make_recorder(moody, overflow="drop", runtime=header(9))
    hold(recorder, record, moody)
    with full_ring(recorder.ring):
        for n in range(3):
            recorder.record(record(100 + n, droppable=True))
        recorder.record(record(200, session=2, droppable=True, event_type="runtime.heartbeat"))
    moody.open.set()
    recorder.record(record(3))
    recorder.record(record(4, session=2))
    recorder.flush()

    def payloads(session: int) -> list[dict[str, Any]]:
        events = list(moody.events(header(session).session_id))
        assert verify_chain(events).valid
        return [event.payload for event in events]

    three = {"count": 3, "records": {"action.requested": 3}, "reason": "queue_full"}
    one = {"count": 1, "records": {"runtime.heartbeat": 1}, "reason": "queue_full"}
    both = {"count": 4, "records": {"action.requested": 3, "runtime.heartbeat": 1}, "reason": "queue_full"}
    assert [{"n": 0}, {"n": 1}, three, {"n": 3}] == payloads(1)
    assert [one, {"n": 4}] == payloads(2)
    assert [both] == payloads(9)
    stats = recorder.stats()
    # Four that were taken, four that were lost, three that say so.
    assert (11, 0, 4, 0) == (
        stats.records_recorded,
        stats.records_waiting,
        stats.records_lost,
        stats.records_refused,
    )


def test_a_loss_is_chained_even_if_nothing_is_recorded_afterwards(
    make_recorder: Make, record: MakeRecord, moody: Any, header: Header
) -> None:
    """A flush is enough, once there is room."""
    recorder = make_recorder(moody, overflow="drop")
    with full_ring(recorder.ring):
        recorder.record(record(1, droppable=True))
    recorder.flush()
    (event,) = moody.events(header(1).session_id)
    assert ("runtime.lost", 1) == (event.event_type, event.payload["count"])


def test_a_reserved_record_comes_after_what_was_lost_before_it(
    make_recorder: Make, record: MakeRecord, moody: Any, header: Header
) -> None:
    """A reservation has room for the loss as well, so that the ring may be full and the order still holds."""
    recorder = make_recorder(moody, overflow="drop")
    recorder.record(record(0))
    reservation = recorder.reserve()
    recorder.flush()
    with full_ring(recorder.ring):
        recorder.record(record(1, droppable=True))
        reservation.record(record(2))
        recorder.flush()
    types = [event.event_type for event in moody.events(header(1).session_id)]
    assert ["action.requested", "runtime.lost", "action.requested"] == types
    assert verify_chain(list(moody.events(header(1).session_id))).valid


def test_a_lost_resolve_is_called_resolve(make_recorder: Make, record: MakeRecord, moody: Any, header: Header) -> None:
    """A resolve is one record of many events; the loss names it by what it was."""
    recorder = make_recorder(moody, overflow="drop")
    recorder.record(record(0))
    recorder.flush()
    with full_ring(recorder.ring):
        recorder.record(ResolveRecord(header(1), 1 << 80, 0, 1, b"goal"))
    recorder.flush()
    *_, lost = moody.events(header(1).session_id)
    assert {"resolve": 1} == lost.payload["records"]


def test_producers_may_go_direct_only_while_nothing_is_lost_or_closed(
    make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """A record that went past a loss would stand before it in the trace."""
    recorder = make_recorder(moody, overflow="drop")
    told: list[bool] = []
    recorder.on_direct(told.append)
    with full_ring(recorder.ring):
        recorder.record(record(1, droppable=True))
        assert [True, False] == told
    recorder.flush()
    assert told[-1]
    recorder.close()
    assert not told[-1]


def test_a_record_that_the_ring_can_never_take_is_refused(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """At once, whatever `overflow` says, and the session is not thought to be defined by it."""
    recorder = make_recorder(moody, ring_bytes=4_096)
    with pytest.raises(InvalidTraceEvent, match="is larger than the 2048 that the ring takes; record less"):
        recorder.record(record(payload={"text": "x" * 2_048}))
    recorder.record(record(1))
    recorder.flush()
    assert 1 == moody.count()


def test_nothing_is_dropped_while_there_is_room(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """`drop` drops for want of room only."""
    recorder = make_recorder(moody, overflow="drop")
    for n in range(100):
        recorder.record(record(n, droppable=True))
    recorder.flush()
    assert (100, 0) == (moody.count(), recorder.stats().records_lost)
