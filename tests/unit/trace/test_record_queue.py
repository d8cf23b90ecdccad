"""What happens when the ring is full, and how losses are chained."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cra.errors import InternalError, InvalidTraceEvent, StorageError, TraceBackpressure
from cra.hotpath import RingRoom
from cra.reference.chain import verify_chain
from cra.reference.records import encode_template
from cra.trace import definitions
from cra.trace.record import EventsRecord, ResolveRecord, SessionHeader
from cra.trace.recorder import Recorder
from cra.trace.ring_folder import RingFile, RingFolder
from tests.support.rings import full_ring

Make = Callable[..., Recorder]
MakeRecord = Callable[..., EventsRecord]
Header = Callable[[int], SessionHeader]


@pytest.fixture
def ring_file(tmp_path: Path) -> Iterator[RingFile]:
    """A ring on disk."""
    file = RingFolder(tmp_path).create(65_536)
    yield file
    file.remove()


def template(number: int) -> bytes:
    """A template record."""
    return encode_template(number, "allow", 1, 0, 60, "ab" * 32, [b"{}"], [])


SECONDS = 60.0


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


# --- losses that cannot be chained at once ---


def losses(moody: Any, session: SessionHeader) -> list[dict[str, Any]]:
    """What a session's trace says was lost, after it was verified."""
    events = list(moody.events(session.session_id))
    assert verify_chain(events).valid
    return [event.payload for event in events if event.event_type == "runtime.lost"]


@pytest.fixture
def undefinable(
    make_recorder: Make,
    record: MakeRecord,
    moody: Any,
    header: Header,
    ring_file: RingFile,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Recorder, RingRoom]]:
    """A recorder with a loss that cannot be chained now, in the runtime's session, since the disk is full; and a reservation."""
    recorder = make_recorder(moody, overflow="drop", runtime=header(9))
    recorder.queue.definitions = ring_file.definitions
    recorder.record(record(0))
    recorder.flush()
    reservation = recorder.reserve()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(definitions.os, "write", full)
    with full_ring(recorder.ring):
        recorder.record(record(1, droppable=True))
    yield recorder, reservation
    monkeypatch.undo()
    reservation.release()
    recorder.close()


LOST = {"count": 1, "records": {"action.requested": 1}, "reason": "queue_full"}


class TestALossWhoseDefinitionCannotBeWritten:
    """The disk is full when a loss is to be chained. It stays to be told, and what can be recorded is stored."""

    def test_it_is_chained_later_and_those_before_whom_it_belongs_are_refused(
        self,
        undefinable: tuple[Recorder, RingRoom],
        record: MakeRecord,
        moody: Any,
        header: Header,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Records, reservations and flushes are told why; the worker lives."""
        recorder, reservation = undefinable
        for call in (lambda: recorder.record(record(2)), recorder.reserve, recorder.flush):
            with pytest.raises(StorageError, match=r"definitions .* of a ring cannot be written: No space left"):
                call()
        assert recorder._worker is not None
        assert recorder._worker.running
        assert [LOST] == losses(moody, header(1))
        assert [] == losses(moody, header(9))
        monkeypatch.undo()
        reservation.release()
        recorder.record(record(3))
        recorder.flush()
        assert [LOST] == losses(moody, header(1)) == losses(moody, header(9))
        assert [0, 3] == numbers(moody, header(1))

    def test_a_reserved_record_is_taken_all_the_same(
        self, undefinable: tuple[Recorder, RingRoom], record: MakeRecord, moody: Any, header: Header
    ) -> None:
        """It is not refused for another session's loss."""
        recorder, reservation = undefinable
        reservation.record(record(2))
        assert 0 == recorder.stats().reservations
        with pytest.raises(StorageError):
            recorder.flush()
        assert [0, 2] == numbers(moody, header(1))

    def test_close_stores_everything_else_and_says_so(
        self, undefinable: tuple[Recorder, RingRoom], record: MakeRecord, moody: Any, header: Header
    ) -> None:
        """The error comes once the rest is stored."""
        recorder, reservation = undefinable
        moody.open.clear()
        reservation.record(record(2))
        threading.Timer(0.05, moody.open.set).start()
        with pytest.raises(StorageError, match="No space left"):
            recorder.close(timeout=SECONDS)
        assert [0, 2] == numbers(moody, header(1))
        assert moody.closed


def test_what_a_signal_handler_loses_while_a_loss_finds_no_room_is_told_with_it(
    make_recorder: Make, record: MakeRecord, moody: Any, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One loss, with the count of both."""
    recorder = make_recorder(moody, overflow="drop")
    encode, interrupted = recorder.queue._encode, []

    def interrupt(about: Any) -> tuple[int, bytes]:
        if about.events[0][0] == "runtime.lost" and not interrupted:
            interrupted.append(about)
            recorder.record(record(2, droppable=True))
        return encode(about)

    with full_ring(recorder.ring):
        recorder.record(record(1, droppable=True))
        monkeypatch.setattr(recorder.queue, "_encode", interrupt)
        assert not recorder.queue.settle_losses()
        assert 1 == len(interrupted)
    recorder.flush()
    assert [{"count": 2, "records": {"action.requested": 2}, "reason": "queue_full"}] == losses(moody, header(1))
    assert 2 == recorder.stats().records_lost


def test_a_loss_that_a_signal_handler_settles_is_settled(
    make_recorder: Make, record: MakeRecord, moody: Any, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that records while its thread is about to chain a loss chains it first; the thread goes on after it."""
    recorder = make_recorder(moody, overflow="drop")
    with full_ring(recorder.ring):
        recorder.record(record(1, droppable=True))
    settle, interrupted = recorder.queue._settle, []

    def interrupt(*arguments: Any) -> bool:
        if not interrupted:
            interrupted.append(arguments)
            recorder.record(record(2))
        return settle(*arguments)

    monkeypatch.setattr(recorder.queue, "_settle", interrupt)
    recorder.record(record(3))
    recorder.flush()
    assert 1 == len(losses(moody, header(1)))
    assert [2, 3] == numbers(moody, header(1))


def test_a_reserved_record_is_taken_even_where_a_loss_does_not_fit_before_it(
    make_recorder: Make, record: MakeRecord, moody: Any, header: Header
) -> None:
    """The room kept for a loss is bounded, the kinds that were lost are not: such a loss is chained when there is room."""
    recorder = make_recorder(moody, overflow="drop")
    recorder.record(record(0))
    recorder.record(record(0, session=2))
    reservation = recorder.reserve()
    recorder.flush()
    kinds = [f"kind.number_{n}" for n in range(40)]
    with full_ring(recorder.ring):
        for kind in kinds:
            recorder.record(record(1, droppable=True, event_type=kind))
        reservation.record(record(2))
    recorder.flush()
    assert [0, 2] == numbers(moody, header(1))
    assert [dict.fromkeys(kinds, 1)] == [each["records"] for each in losses(moody, header(1))]


def test_a_reserved_record_waits_for_no_other_sessions_loss(
    make_recorder: Make, record: MakeRecord, moody: Any, header: Header
) -> None:
    """The room that was kept is for what its own session lost; the room it gives back is for the others."""
    recorder = make_recorder(moody, overflow="drop")
    recorder.record(record(0))
    recorder.record(record(0, session=2))
    recorder.flush()
    one, two = recorder.reserve(), recorder.reserve()
    for session, reservation, lost in ((1, one, (3,)), (2, two, (3, 2))):
        with full_ring(recorder.ring):
            for each in lost:
                recorder.record(record(1, session=each, droppable=True))
            before = recorder.ring.puts
            reservation.record(record(2, session=session))
            assert before + 1 + len(lost) == recorder.ring.puts
        recorder.flush()
    assert [0, 2] == numbers(moody, header(1))
    types = [event.event_type for event in moody.events(header(2).session_id)]
    assert ["action.requested", "runtime.lost", "action.requested"] == types
    assert [1, 1] == [each["count"] for each in losses(moody, header(3))]


def test_a_reservation_takes_all_of_its_room_or_none(make_recorder: Make, record: MakeRecord, moody: Any) -> None:
    """Where there is room for the record and none for a loss before it, nothing is set aside."""
    recorder = make_recorder(moody, overflow="drop", overflow_timeout=0.01)
    with full_ring(recorder.ring, leaving=2_100):
        before = recorder.ring.reserved
        with pytest.raises(TraceBackpressure):
            recorder.reserve(2_048)
        assert (before, 0) == (recorder.ring.reserved, recorder.stats().reservations)
        recorder.queue.spare = 0
        recorder.reserve(2_048).release()


def test_a_reserved_record_that_is_too_large_is_refused_and_its_room_kept(
    make_recorder: Make, record: MakeRecord, moody: Any, header: Header
) -> None:
    """Another can still be recorded in it."""
    recorder = make_recorder(moody)
    recorder.record(record(0))
    reservation = recorder.reserve(300)
    with pytest.raises(
        InvalidTraceEvent, match=r"does not fit into the 300 that were reserved for it; record less, or"
    ):
        reservation.record(record(payload={"text": "x" * 300}))
    assert (True, 1) == (reservation.held, recorder.stats().reservations)
    reservation.record(record(1))
    recorder.flush()
    assert [0, 1] == numbers(moody, header(1))
    assert 0 == recorder.ring.reserved


# --- templates ---


def test_a_template_waits_for_room_and_is_refused_as_a_record_is(make_recorder: Make, moody: Any) -> None:
    """A plan that no ring of this size takes, a ring that stays full, a recorder that is closed."""
    recorder = make_recorder(moody, overflow_timeout=0.01, ring_bytes=4_096)
    with pytest.raises(
        InvalidTraceEvent, match=r"plan of this request takes 2049 bytes, and the ring takes 2048; select"
    ):
        recorder.define(lambda number: b"x" * 2_049)
    with full_ring(recorder.ring), pytest.raises(TraceBackpressure, match=r"stayed so for 0\.01 s"):
        recorder.define(template)
    before = recorder.ring.puts
    recorder.define(template)
    assert before + 1 == recorder.ring.puts
    recorder.close()
    with pytest.raises(InternalError, match="this resolver is closed"):
        recorder.define(template)


def test_a_template_that_nobody_names_any_more_is_forgotten_once_there_is_room(
    make_recorder: Make, moody: Any, ring_file: RingFile
) -> None:
    """The next definition says so first, however often it had to be tried; then the definitions beside the ring may drop it."""
    recorder = make_recorder(moody, overflow_timeout=0.01, ring_bytes=4_096)
    recorder.queue.definitions = ring_file.definitions
    first = recorder.define(template)
    recorder.queue.forget(first)
    recorder.flush()
    with full_ring(recorder.ring):
        for _ in range(2):
            with pytest.raises(TraceBackpressure):
                recorder.define(template)
    assert [] == list(ring_file.definitions._dying)
    before = recorder.ring.puts
    assert first < recorder.define(template)
    assert before + 2 == recorder.ring.puts, "forgotten once, and defined"
    ((position, key),) = ring_file.definitions._dying
    assert (("template", first), True) == (key, 0 < position < recorder.ring.head)
