"""A store that goes away: what it does not take waits on disk, in order, and comes when it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError, TraceBackpressure
from cra.reference.chain import verify_chain
from cra.storage.memory import MemoryStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace.batch import Batch
from cra.trace.record import EventsRecord
from cra.trace.recorder import Recorder
from cra.trace.recovery import Recovery, recover
from cra.trace.ring_folder import RingFolder
from cra.trace.spool_files import SPOOL, encode_batch
from tests.support.away import AwayStorage

SECONDS = 60.0
MakeRecord = Callable[..., EventsRecord]
Open = Callable[..., Recorder]
BIG = {"text": "x" * 2_000}


@pytest.fixture
def open_recorder(tmp_path: Path) -> Iterator[Open]:
    """A recorder with its ring in a file; what is open at the end of the test is closed, with its stores back."""
    made: list[tuple[Recorder, tuple[Any, ...]]] = []

    def make(*backends: Any, ring_bytes: int = 2**16, **options: Any) -> Recorder:
        file = RingFolder(tmp_path).create(ring_bytes)
        recorder = Recorder(backends, ring=file, clock=VirtualClock(), ids=SeededIds(99), **options)
        made.append((recorder, backends))
        return recorder

    yield make
    for recorder, backends in made:
        for backend in backends:
            if isinstance(backend, AwayStorage):
                backend.come_back()
        if recorder.queue.state == "open":
            recorder.close()


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)


def spooled(recorder: Recorder, place: int = 0) -> int:
    stats = recorder.stats().backends[place]
    assert recorder.stats().events_recorded >= stats.stored + stats.waiting
    assert stats.spooled <= stats.waiting
    return stats.spooled


def numbers(backend: Any, session_id: str) -> list[int]:
    events = list(backend.events(session_id))
    assert verify_chain(events).valid
    assert list(range(len(events))) == [event.sequence for event in events]
    return [event.payload["n"] for event in events]


def die(recorder: Recorder) -> None:
    """Let go of a recorder as a killed process does."""
    recorder._outbox.stop(0)
    assert recorder._worker is not None
    recorder._worker.stop()
    recorder._worker.join(SECONDS)
    recorder.queue.state = "forked"
    assert recorder._file is not None
    recorder._file.leave()


def recovered(folder: Path, *backends: Any) -> Recovery:
    return recover(RingFolder(folder), backends, VirtualClock(), SeededIds(5))


def test_what_a_store_does_not_take_is_spooled_and_delivered_in_order_once(
    open_recorder: Open, record: MakeRecord, tmp_path: Path
) -> None:
    """Far more than the ring holds is recorded while the store is away; then it has all of it, and there is no file left."""
    store = AwayStorage(spool_bytes=2**24)
    recorder = open_recorder(store)
    recorder.record(record(0))
    recorder.flush()
    store.go_away()
    for n in range(1, 1_000):
        recorder.record(record(n, payload={"n": n, **BIG}))
    wait_until(lambda: spooled(recorder) > 0)
    with pytest.raises(
        StorageError, match=r"'away:' does not take the trace: the store is away; \d+ events wait in its"
    ):
        recorder.flush()
    assert [0o600] * len(files(tmp_path)) == [file.stat().st_mode & 0o777 for file in files(tmp_path)] != []
    store.come_back()
    recorder.flush()
    stats = recorder.stats().backends[0]
    assert (1_000, 0, 0, 0, None) == (stats.stored, stats.waiting, stats.lost, stats.spooled, stats.state)
    assert list(range(1_000)) == numbers(store, record(0).session.session_id)
    assert 1_000 == store.appended
    assert [] == files(tmp_path)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SPOOL}*"))


def test_stats_say_since_when_a_store_is_away_and_what_is_spooled(open_recorder: Open, record: MakeRecord) -> None:
    """`spooled` is part of `waiting`, and `state` is a sentence."""
    store = AwayStorage()
    recorder = open_recorder(store)
    store.go_away()
    recorder.record(record(1))
    wait_until(lambda: spooled(recorder) == 1)
    stats = recorder.stats().backends[0]
    assert (0, 1, 0, 1) == (stats.stored, stats.waiting, stats.lost, stats.spooled)
    assert stats.state is not None
    assert stats.state.startswith("away since 20")
    assert "the store is away; 1 events spooled (" in stats.state
    (health,) = recorder.health()
    assert (False, "away:") == (health.ok, health.name)
    assert health.details[0].startswith("away since 20")
    store.come_back()
    recorder.flush()
    assert recorder.health()[0].ok


def test_a_store_that_hangs_holds_up_no_other_and_its_ring_does_not_fill(
    open_recorder: Open, record: MakeRecord
) -> None:
    """What it has not answered for waits in memory for a while, then on disk; the other store and subscribers have all of it."""
    store, other = AwayStorage(spool_bytes=2**24), MemoryStorage()
    recorder = open_recorder(store, other, overflow="fail")
    delivered: list[int] = []
    recorder.subscribe(lambda delivery: delivered.append(delivery.event.payload["n"]))
    store.hang()
    recorder.record(record(0))
    assert store.hung.wait(SECONDS)
    for n in range(1, 400):
        recorder.record(record(n, payload={"n": n, **BIG}))
        wait_until(lambda n=n: other.count() == n + 1)  # type: ignore[misc]
    wait_until(lambda: spooled(recorder) == 400)
    wait_until(lambda: len(delivered) == 400)
    with pytest.raises(StorageError, match="not done within"):
        recorder.flush(timeout=0.05)
    store.come_back()
    recorder.flush()
    assert list(range(400)) == numbers(store, record(0).session.session_id) == delivered
    assert 400 == store.appended


def test_a_full_spool_is_backpressure_and_nothing_is_dropped(
    open_recorder: Open, record: MakeRecord, tmp_path: Path
) -> None:
    """Bytes on disk stay within the bound; then the ring fills, then callers are refused. What was taken arrives."""
    store = AwayStorage(spool_bytes=200_000)
    recorder = open_recorder(store, overflow="fail")
    store.go_away()
    taken = []
    big = {"text": "x" * 5_000}
    for n in range(1_000):
        try:
            recorder.record(record(n, payload={"n": n, **big}))
            taken.append(n)
        except TraceBackpressure:
            if sum(file.stat().st_size for file in files(tmp_path)) > 190_000 and recorder.stats().ring_used > 55_000:
                break
        time.sleep(0.001)
    else:
        pytest.fail(f"it was never full: {recorder.stats()}")
    with pytest.raises(TraceBackpressure, match="the store is away"):
        recorder.record(record(0, payload={"n": 0, **big}))
    sizes = [file.stat().st_size for file in files(tmp_path)]
    assert 100_000 < sum(sizes) <= 200_000
    store.come_back()
    recorder.flush()
    assert taken == numbers(store, record(0).session.session_id)
    stats = recorder.stats()
    assert (len(taken), 0) == (stats.backends[0].stored, stats.records_lost)
    assert stats.records_refused > 0


def test_a_disk_that_refuses_the_spool_is_as_a_full_one_until_it_takes_more(
    open_recorder: Open, record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of a batch before that is cut off; the others are not lost over it."""
    import cra.trace.spool as module

    real, left = module._write_all, [2]

    def write(file: int, data: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            real(file, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        real(file, data)

    monkeypatch.setattr(module, "_write_all", write)
    store = AwayStorage()
    recorder = open_recorder(store)
    store.go_away()
    for n in range(20):
        recorder.record(record(n))
        time.sleep(0.01)
    wait_until(lambda: left[0] < 0)
    wait_until(lambda: "No space left" in str(recorder.stats().backends[0].state))
    monkeypatch.setattr(module, "_write_all", real)
    wait_until(lambda: spooled(recorder) == 20)
    store.come_back()
    recorder.flush()
    assert list(range(20)) == numbers(store, record(0).session.session_id)


@pytest.mark.parametrize("durable", [False, True])
def test_a_flush_that_hangs_holds_up_no_other(open_recorder: Open, record: MakeRecord, durable: bool) -> None:
    """The flush of a store that can be away is a call of its thread, too."""
    store, other = AwayStorage(spool_bytes=2**24), MemoryStorage()
    store.durable = other.durable = True
    other.flush = store.backend.flush = lambda durable: None  # type: ignore[method-assign]
    recorder = open_recorder(store, other)
    recorder.record(record(0))
    recorder.flush()
    recorder.record(record(1))
    wait_until(lambda: recorder.stats().backends[0].stored == 2)
    store.hang()
    with pytest.raises(StorageError, match="not done within"):
        recorder.flush("durable" if durable else "stored", timeout=0.1)
    assert store.hung.is_set()
    recorder.record(record(2))
    wait_until(lambda: other.count() == 3)
    store.come_back()
    recorder.flush("durable" if durable else "stored")
    assert 3 == store.count()


def test_a_flush_that_fails_is_told_and_tried_again(open_recorder: Open, record: MakeRecord) -> None:
    """By the next who asks; the store has what it was given all the same."""
    store = AwayStorage(spool_bytes=2**24)
    failures = [StorageError("the disk is full"), None]

    def flush(durable: bool) -> None:
        if failure := failures.pop(0):
            raise failure

    store.backend.flush = flush  # type: ignore[method-assign]
    recorder = open_recorder(store)
    recorder.record(record(0))
    with pytest.raises(StorageError, match="the disk is full"):
        recorder.flush()
    recorder.flush()
    assert [] == failures
    assert [0] == numbers(store, record(0).session.session_id)


def test_where_no_thread_starts_any_more_the_caller_does_its_work(
    open_recorder: Open, record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As late in an interpreter's life: what is recorded then is stored."""

    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    store = AwayStorage(spool_bytes=2**24)
    recorder = open_recorder(store)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for n in range(3):
        recorder.record(record(n))
        recorder.flush()
    assert [0, 1, 2] == numbers(store, record(0).session.session_id)
    recorder.close()


def test_close_says_what_is_left_and_the_next_start_delivers_it(
    open_recorder: Open, record: MakeRecord, tmp_path: Path
) -> None:
    """The spool, then the ring: nothing twice, nothing missing, no file left."""
    store = AwayStorage()
    recorder = open_recorder(store)
    recorder.record(record(0))
    recorder.flush()
    store.go_away()
    for n in range(1, 50):
        recorder.record(record(n))
    wait_until(lambda: spooled(recorder) == 49)
    with pytest.raises(StorageError, match=r"'away:' lacks 49 events.*waits in"):
        recorder.close(timeout=0.1)
    assert files(tmp_path)
    store.come_back()
    found = recovered(tmp_path, store)
    assert (49, 49, 0, 0) == (found.spooled, found.events, found.torn, found.unreadable)
    assert list(range(50)) == numbers_of_own(store, record(0).session.session_id)
    assert [] == list(tmp_path.iterdir())


def numbers_of_own(backend: Any, session_id: str) -> list[int]:
    """Without what recovery closed the session with."""
    events = list(backend.events(session_id))
    assert verify_chain(events).valid
    return [event.payload["n"] for event in events if "n" in event.payload]


@pytest.mark.parametrize("lost", ["none", "had some", "torn"])
def test_a_dead_process_leaves_nothing_missing_and_nothing_twice(
    open_recorder: Open, record: MakeRecord, tmp_path: Path, lost: str
) -> None:
    """Whatever of the spool the store has already, and whatever was being written when it died."""
    store = AwayStorage()
    recorder = open_recorder(store)
    store.go_away()
    for n in range(40):
        recorder.record(record(n, session=n % 3))
        if n % 10 == 9:
            wait_until(lambda n=n: spooled(recorder) == n + 1)  # type: ignore[misc]
    die(recorder)
    (file,) = files(tmp_path)
    store.come_back()
    if lost == "had some":
        lane: Any = recorder._outbox._lanes[0]
        store.append(lane.spool.peek(1))
    elif lost == "torn":
        with open(file, "ab") as torn:
            torn.write(file.read_bytes()[-60:-40])
    before = store.appended
    found = recovered(tmp_path, store)
    assert (40, 40 - before, 0) == (found.spooled, found.events, found.unreadable)
    assert (lost == "torn") == (found.torn == 1)
    for session in range(3):
        assert list(range(session, 40, 3)) == numbers_of_own(store, record(0, session=session).session.session_id)
    assert [] == list(tmp_path.iterdir())


def test_a_spool_that_is_damaged_is_set_aside_and_what_is_whole_is_delivered(
    open_recorder: Open, record: MakeRecord, tmp_path: Path
) -> None:
    """Nothing is stored behind the gap, and the file is not destroyed."""
    store = AwayStorage()
    recorder = open_recorder(store)
    store.go_away()
    for n in range(30):
        recorder.record(record(n))
        wait_until(lambda n=n: spooled(recorder) == n + 1)  # type: ignore[misc]
    die(recorder)
    (file,) = files(tmp_path)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    store.come_back()
    found = recovered(tmp_path, store)
    assert (1, 1) == (found.torn, found.unreadable)
    assert 10 < found.spooled < 20
    assert list(range(found.spooled)) == numbers_of_own(store, record(0).session.session_id)
    assert [bytes(data)] == [path.read_bytes() for path in tmp_path.iterdir()]


def test_lines_that_somebody_else_wrote_into_a_spool_are_set_aside(
    open_recorder: Open, record: MakeRecord, tmp_path: Path
) -> None:
    """A checksum holds over anything. They are no events, and the store is given what comes before them."""
    store = AwayStorage()
    recorder = open_recorder(store)
    store.go_away()
    for n in range(3):
        recorder.record(record(n))
        wait_until(lambda n=n: spooled(recorder) == n + 1)  # type: ignore[misc]
    die(recorder)
    (file,) = files(tmp_path)
    session_id = record(0).session.session_id
    with open(file, "ab") as spool:
        spool.write(encode_batch(Batch(b"no event\n" * 2**17, [(session_id, 9 * 2**17, 2**17)], 10**6)))
    data = file.read_bytes()
    store.come_back()
    found = recovered(tmp_path, store)
    assert (0, 1, 3) == (found.torn, found.unreadable, found.events)
    assert [0, 1, 2] == numbers_of_own(store, session_id)
    assert [data] == [path.read_bytes() for path in tmp_path.iterdir()]


def test_a_spool_waits_for_its_own_store(open_recorder: Open, record: MakeRecord, tmp_path: Path) -> None:
    """Another store is not given what is meant for it; one that has moved is."""
    store = AwayStorage(name="away:there")
    recorder = open_recorder(store)
    store.go_away()
    recorder.record(record(0))
    wait_until(lambda: spooled(recorder) == 1)
    die(recorder)
    with pytest.raises(StorageError, match="waits for the storage 'away:there', which is not among those"):
        recovered(tmp_path, MemoryStorage())
    two = AwayStorage(name="away:1"), AwayStorage(name="away:2")
    with pytest.raises(StorageError, match="waits for the storage"):
        recovered(tmp_path, *two)
    moved = AwayStorage(name="away:elsewhere")
    assert 1 == recovered(tmp_path, MemoryStorage(), moved).spooled
    assert 1 <= moved.count()


def test_recovery_that_a_store_refuses_leaves_the_spool_where_it_is(
    open_recorder: Open, record: MakeRecord, tmp_path: Path
) -> None:
    """It starts over when the store is there."""
    store = AwayStorage()
    recorder = open_recorder(store)
    store.go_away()
    recorder.record(record(0))
    wait_until(lambda: spooled(recorder) == 1)
    die(recorder)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(StorageError, match="the store is away"):
        recovered(tmp_path, store)
    assert before == sorted(path.name for path in tmp_path.iterdir())
    store.come_back()
    assert 1 == recovered(tmp_path, store).spooled


def test_close_does_not_let_go_of_the_ring_while_a_store_hangs(
    open_recorder: Open, record: MakeRecord, tmp_path: Path
) -> None:
    """Nobody recovers it while the call may still store something; every other store is closed."""
    store, other = AwayStorage(), AwayStorage()
    recorder = open_recorder(store, other)
    store.hang()
    recorder.record(record(0))
    assert store.hung.wait(SECONDS)
    with pytest.raises(StorageError, match="lacks 1 events"):
        recorder.close(timeout=0.05)
    assert (True, False) == (other.closed, store.closed)
    assert [] == list(RingFolder(tmp_path).dead())
    store.come_back()


def test_a_number_of_bytes_that_is_none_is_refused(open_recorder: Open) -> None:
    """`spool_bytes` is a whole number, 0 or more."""
    for wrong in (-1, "1 GB", True, 1.5):
        with pytest.raises(StorageError, match="as spool_bytes; it is a number of bytes"):
            open_recorder(AwayStorage(spool_bytes=wrong))  # type: ignore[arg-type]
