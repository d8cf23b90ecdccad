"""What happens when the queue is full, and how losses are chained."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cra.errors import InternalError, TraceBackpressure
from cra.reference.chain import verify_chain
from cra.trace.record import EventsRecord, ResolveRecord, SessionHeader
from cra.trace.recorder import Recorder

Make = Callable[..., Recorder]
MakeRecord = Callable[..., EventsRecord]
Header = Callable[[int], SessionHeader]


def fill(recorder: Recorder, record: MakeRecord, moody: Any, capacity: int) -> None:
    """Hold the worker up in `append`, then fill the queue: the record n=0 is being stored, 1..capacity wait."""
    moody.open.clear()
    recorder.record(record(0))
    moody.wait_for_attempt()
    for n in range(1, capacity + 1):
        recorder.record(record(n))


def numbers(moody: Any, session: SessionHeader) -> list[int]:
    """Which records of the session are stored."""
    return [event.payload["n"] for event in moody.events(session.session_id) if "n" in event.payload]


def test_fail_refuses_at_once(make_recorder: Make, record: MakeRecord, moody: Any, header: Header) -> None:
    """`overflow="fail"`: the caller is told, what was taken stays, and it goes on when there is room."""
    recorder = make_recorder(moody, overflow="fail", capacity=3)
    fill(recorder, record, moody, 3)
    with pytest.raises(TraceBackpressure, match=r"^the trace queue is full \(3 records\): the storage is slower"):
        recorder.record(record(4))
    with pytest.raises(TraceBackpressure):
        recorder.reserve()
    moody.open.set()
    recorder.flush()
    recorder.record(record(5))
    recorder.flush()
    assert [0, 1, 2, 3, 5] == numbers(moody, header(1))
    assert (5, 0, 2) == (
        recorder.stats().records_recorded,
        recorder.stats().records_lost,
        recorder.stats().records_refused,
    )


def test_block_gives_up_after_its_timeout(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """`overflow="block"` is bounded: then it is `TraceBackpressure`, which is recoverable."""
    recorder = make_recorder(moody, overflow="block", overflow_timeout=0.01, capacity=1)
    fill(recorder, record, moody, 1)
    with pytest.raises(TraceBackpressure, match=r"is full \(1 records\) and stayed so for 0\.01 s: ") as caught:
        recorder.record(record(2))
    assert caught.value.recoverable


@pytest.mark.parametrize("overflow", ["block", "drop"])
def test_a_blocked_record_is_taken_when_there_is_room(
    overflow: str, make_recorder: Make, record: MakeRecord, moody: Any, header: Header
) -> None:
    """Blocking waits for the drain; with `drop` what is not droppable blocks as well, and so does a reservation."""
    recorder = make_recorder(moody, overflow=overflow, capacity=2)
    fill(recorder, record, moody, 2)
    threads = [threading.Thread(target=recorder.record, args=(record(3),)), threading.Thread(target=recorder.reserve)]
    for thread in threads:
        thread.start()
    time.sleep(0.01)
    assert all(thread.is_alive() for thread in threads)
    moody.open.set()
    for thread in threads:
        thread.join(60)
    recorder.flush()
    assert [0, 1, 2, 3] == numbers(moody, header(1))
    assert 1 == recorder.stats().reserved
    recorder._queue.reserved = 0


def test_a_blocked_record_is_taken_when_a_reservation_is_released(
    make_recorder: Make, record: MakeRecord, moody: Any
) -> None:
    """Reserved room that is given back is room."""
    recorder = make_recorder(moody, capacity=1)
    reservation = recorder.reserve()
    thread = threading.Thread(target=recorder.record, args=(record(1),))
    thread.start()
    time.sleep(0.01)
    assert thread.is_alive()
    reservation.release()
    thread.join(60)
    recorder.flush()
    assert 1 == moody.count()


def test_close_sends_blocked_callers_away(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """Who waits for room in a recorder that is being closed is refused, not forgotten."""
    recorder = make_recorder(moody, capacity=1, overflow_timeout=60)
    fill(recorder, record, moody, 1)
    refused: list[BaseException] = []

    def try_it() -> None:
        try:
            recorder.record(record(2))
        except InternalError as error:
            refused.append(error)

    thread = threading.Thread(target=try_it)
    thread.start()
    while not recorder._queue._room._waiters:  # type: ignore[attr-defined]
        time.sleep(0.001)
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
    """`overflow="drop"`: the gap is one `runtime.lost` per session, where the first record was lost, and one in the runtime's."""
    recorder = make_recorder(moody, overflow="drop", capacity=2, runtime=header(9))
    fill(recorder, record, moody, 2)
    for n in range(3):
        recorder.record(record(100 + n, droppable=True))
    recorder.record(record(200, session=2, droppable=True, event_type="runtime.heartbeat"))
    moody.open.set()
    recorder.flush()
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
    assert [{"n": 0}, {"n": 1}, {"n": 2}, three, {"n": 3}] == payloads(1)
    assert [one, {"n": 4}] == payloads(2)
    assert [both] == payloads(9)
    stats = recorder.stats()
    assert (9, 0, 4, 0) == (
        stats.records_recorded,
        stats.records_waiting,
        stats.records_lost,
        stats.records_refused,
    )


def test_a_loss_is_chained_even_if_nothing_is_recorded_afterwards(
    make_recorder: Make, record: MakeRecord, moody: Any, header: Header
) -> None:
    """The gap is written down at once, when reservations alone fill the queue, too."""
    recorder = make_recorder(moody, overflow="drop", capacity=1)
    reservation = recorder.reserve()
    recorder.record(record(1, droppable=True))
    moody.wait_for_attempt()
    recorder.flush()
    reservation.release()
    (event,) = moody.events(header(1).session_id)
    assert ("runtime.lost", 1) == (event.event_type, event.payload["count"])


def test_a_lost_resolve_is_called_resolve(make_recorder: Make, record: MakeRecord, moody: Any, header: Header) -> None:
    """A resolve is one record of many events; the loss names it by what it was."""
    recorder = make_recorder(moody, overflow="drop", capacity=1)
    fill(recorder, record, moody, 1)
    plan: Any = None
    recorder.record(ResolveRecord(header(1), 1 << 80, 0, "r", {}, plan, (), (), (), 3600))
    moody.open.set()
    recorder.flush()
    *_, lost = moody.events(header(1).session_id)
    assert {"resolve": 1} == lost.payload["records"]


def test_nothing_is_dropped_while_there_is_room(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """`drop` drops for want of room only."""
    recorder = make_recorder(moody, overflow="drop", capacity=1_000)
    for n in range(100):
        recorder.record(record(n, droppable=True))
    recorder.flush()
    assert (100, 0) == (moody.count(), recorder.stats().records_lost)
