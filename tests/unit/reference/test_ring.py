"""The ring, both implementations: order, room, reservations, sleeping, forks. ARCHITECTURE: The ring is a file."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cra.errors import CRAError, InternalError, InvalidTraceEvent, StorageError
from cra.reference import ring as reference
from cra.reference.ring import FRAME, MAX_SIZE, MIN_SIZE, frame_size, mix, unmix
from tests.support.twins import twins

SOON = 5.0  # seconds that no wait of these tests takes, however busy the machine
TWINS = twins(reference)


@pytest.fixture(params=TWINS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """The class under test, by default with the smallest size."""
    return lambda size=MIN_SIZE, fd=-1: request.param.Ring(size, fd)


def fill(ring: Any, length: int = 100) -> int:
    """Put records of `length` bytes until there is no room; how many."""
    count = 0
    while ring.put(bytes(length)):
        count += 1
    return count


class TestOrderAndRoom:
    """What was put is read in order, around the end of the memory; room is seen before anything is claimed."""

    def test_records_come_back_in_order_over_many_laps(self, make: Callable[..., Any]) -> None:
        """Records of every length from none to several hundred bytes, two hundred laps of them."""
        ring = make()
        waiting: deque[bytes] = deque()
        for number in range(200 * MIN_SIZE // 300):
            record = number.to_bytes(4, "little") * (number % 150)
            while not ring.put(record):
                assert waiting.popleft() == ring.read()
                ring.free(ring.position)
            waiting.append(record)
        assert list(waiting) == [ring.read() for _ in waiting]
        assert ring.read() is None
        assert ring.head == ring.position

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_a_record_is_any_bytes(self, make: Callable[..., Any], kind: Callable[[bytes], Any]) -> None:
        """What is read is bytes, and empty records exist."""
        ring = make()
        assert ring.put(kind(b"abc"))
        assert ring.put(kind(b""))
        assert ring.reserve(3)
        ring.put_reserved(kind(b"xyz"), 3)
        assert [b"abc", b"", b"xyz", None] == [ring.read() for _ in range(4)]

    @pytest.mark.parametrize("data", [None, "text", 7])
    def test_what_is_no_bytes_is_no_record(self, make: Callable[..., Any], data: object) -> None:
        """A TypeError, and nothing is claimed."""
        ring = make()
        with pytest.raises(TypeError):
            ring.put(data)
        assert (0, 0, 0) == (ring.head, ring.used, ring.reserved)

    def test_full_ring_claims_nothing(self, make: Callable[..., Any]) -> None:
        """`put` and `reserve` say False and change nothing, until something is freed."""
        ring = make()
        count = fill(ring)
        assert MIN_SIZE // frame_size(100) == count == ring.puts
        before = (ring.head, ring.used, ring.reserved, ring.puts)
        assert not ring.put(bytes(100))
        assert not ring.reserve(100)
        assert before == (ring.head, ring.used, ring.reserved, ring.puts)
        ring.read()
        assert not ring.put(bytes(100))
        ring.free(ring.position)
        assert ring.put(bytes(100))

    def test_numbers_add_up(self, make: Callable[..., Any]) -> None:
        """A record takes its frame; `used` is from tail to head, whatever was read."""
        ring = make()
        assert (MIN_SIZE, MIN_SIZE // 2) == (ring.size, ring.max_record)
        ring.put(b"abc")
        ring.put(b"")
        assert (40, 0, 0, 40, 0, 2) == (ring.head, ring.tail, ring.position, ring.used, ring.reserved, ring.puts)
        ring.read()
        assert (40, 0, 24, 40) == (ring.head, ring.tail, ring.position, ring.used)
        ring.free(24)
        assert (40, 24, 24, 16) == (ring.head, ring.tail, ring.position, ring.used)

    def test_the_largest_record_fits_and_a_larger_one_is_refused(self, make: Callable[..., Any]) -> None:
        """The error says how large a record may be."""
        ring = make()
        for _ in range(3):
            assert ring.put(b"x" * ring.max_record)
            assert b"x" * ring.max_record == ring.read()
            ring.free(ring.position)
        attempts: list[Callable[[int], object]] = [
            lambda n: ring.put(bytes(n)),
            lambda n: ring.put(bytearray(n)),
            lambda n: ring.put_reserved(bytes(n), n),
            ring.reserve,
            ring.release,
            lambda n: ring.wait_room(n, 0),
        ]
        for attempt in attempts:
            with pytest.raises(InvalidTraceEvent, match=f"takes at most {MIN_SIZE // 2}; use a larger ring"):
                attempt(ring.max_record + 1)
        for attempt in attempts[3:]:
            with pytest.raises(InvalidTraceEvent, match="a record of -1 bytes"):
                attempt(-1)

    @pytest.mark.parametrize("position", [-8, 0, 12, 24, 2**70])
    def test_only_what_was_read_is_freed(self, make: Callable[..., Any], position: int) -> None:
        """Not less than is freed, not more than was read, and nothing in between records' boundaries of 8."""
        ring = make()
        ring.put(b"")
        ring.put(b"")
        ring.read()
        ring.free(16)
        with pytest.raises(ValueError, match=f"position {position} is not one from the tail 16 to what was read, 16"):
            ring.free(position)
        assert 16 == ring.tail

    @pytest.mark.parametrize("size", [0, 1, MIN_SIZE // 2, MIN_SIZE + 8, 3 * MIN_SIZE, 2 * MAX_SIZE, -MIN_SIZE, 2**80])
    def test_a_size_is_a_power_of_two_within_bounds(self, make: Callable[..., Any], size: int) -> None:
        """The error names the bounds."""
        with pytest.raises(ValueError, match=f"power of two from {MIN_SIZE} to {MAX_SIZE}, not {size}$"):
            make(size)


class TestReservations:
    """Room that was reserved can be used whatever else is put."""

    def test_reserved_room_is_there_when_the_ring_is_full(self, make: Callable[..., Any]) -> None:
        """The rest of a reservation is given back when it is used."""
        ring = make()
        assert ring.reserve(1000)
        assert frame_size(1000) == ring.reserved
        fill(ring)
        fill(ring, 0)
        used = ring.used
        ring.put_reserved(b"last", 1000)
        assert (0, used + frame_size(4)) == (ring.reserved, ring.used)
        assert MIN_SIZE - ring.used >= frame_size(1000) - frame_size(4)
        assert ring.put(bytes(900))

    def test_released_room_is_free(self, make: Callable[..., Any]) -> None:
        """All of the ring can be reserved and released, again and again."""
        ring = make()
        for _ in range(3):
            count = 0
            while ring.reserve(100):
                count += 1
            assert MIN_SIZE // frame_size(100) == count
            for _ in range(count):
                ring.release(100)
            assert 0 == ring.reserved

    def test_what_was_not_reserved_is_refused(self, make: Callable[..., Any]) -> None:
        """And so is a record that is larger than its reservation; the ring stays as it was."""
        ring = make()
        for attempt in (lambda: ring.put_reserved(b"x", 10), lambda: ring.release(10)):
            with pytest.raises(InternalError, match="10 bytes were not reserved, or were used or given back before"):
                attempt()
        ring.reserve(10)
        with pytest.raises(ValueError, match="a record of 11 bytes does not fit into a reservation of 10"):
            ring.put_reserved(bytes(11), 10)
        assert (0, 0, frame_size(10)) == (ring.head, ring.puts, ring.reserved)


@pytest.mark.parametrize("module", TWINS)
def test_ring_is_a_list_with_bounds(module: Any) -> None:
    """Any order of puts, reservations, reads and frees, against a list and sums."""

    class Model(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.ring = module.Ring(MIN_SIZE)
            self.unread: deque[bytes] = deque()
            self.unfreed: deque[int] = deque()  # sizes of frames
            self.reserved: list[int] = []
            self.puts = 0

        def room(self) -> int:
            return MIN_SIZE - sum(self.unfreed) - sum(map(frame_size, self.reserved))

        def add(self, data: bytes) -> None:
            self.unread.append(data)
            self.unfreed.append(frame_size(len(data)))
            self.puts += 1

        @rule(length=st.integers(0, MIN_SIZE // 2), byte=st.integers(0, 255))
        def put(self, length: int, byte: int) -> None:
            fits = frame_size(length) <= self.room()
            data = bytes([byte]) * length
            assert fits == self.ring.put(data)
            if fits:
                self.add(data)

        @rule(nbytes=st.integers(0, 500))
        def reserve(self, nbytes: int) -> None:
            fits = frame_size(nbytes) <= self.room()
            assert fits == self.ring.reserve(nbytes)
            if fits:
                self.reserved.append(nbytes)

        @precondition(lambda self: self.reserved)
        @rule(data=st.data())
        def use(self, data: st.DataObject) -> None:
            nbytes = self.reserved.pop(data.draw(st.integers(0, len(self.reserved) - 1)))
            record = data.draw(st.binary(max_size=nbytes))
            self.ring.put_reserved(record, nbytes)
            self.add(record)

        @precondition(lambda self: self.reserved)
        @rule()
        def release(self) -> None:
            self.ring.release(self.reserved.pop())

        @rule()
        def read(self) -> None:
            assert (self.unread.popleft() if self.unread else None) == self.ring.read()

        @rule(data=st.data())
        def free(self, data: st.DataObject) -> None:
            count = data.draw(st.integers(0, len(self.unfreed) - len(self.unread)))
            self.ring.free(self.ring.tail + sum(self.unfreed.popleft() for _ in range(count)))

        @invariant()
        def adds_up(self) -> None:
            expected = (sum(self.unfreed), sum(map(frame_size, self.reserved)), self.puts)
            assert expected == (self.ring.used, self.ring.reserved, self.ring.puts)
            assert bool(self.unread) == self.ring.wait(0)

    Model.TestCase().runTest()


class TestThreads:
    """Many producers, one consumer; nobody spins, and whoever sleeps is woken."""

    def test_producers_that_wait_for_room_lose_nothing(self, make: Callable[..., Any]) -> None:
        """Four threads, a ring of a few records: every record once, and each thread's in its order."""
        ring = make()
        count = 500

        def produce(owner: int) -> None:
            for number in range(count):
                record = bytes([owner]) * (number % 300) + number.to_bytes(4, "little")
                if number % 5:
                    while not ring.put(record):
                        ring.wait_room(len(record), SOON)
                else:
                    while not ring.reserve(400):
                        ring.wait_room(400, SOON)
                    ring.put_reserved(record, 400)

        threads = [threading.Thread(target=produce, args=(owner,)) for owner in range(4)]
        for thread in threads:
            thread.start()
        found: list[bytes] = []
        while len(found) < 4 * count:
            if (record := ring.read()) is not None:
                found.append(record)
            else:
                ring.free(ring.position)
                assert ring.wait(SOON)
        for thread in threads:
            thread.join(SOON)
        for owner in range(4):
            mine = [r for r in found if len(r) > 4 and r[0] == owner]
            assert [n for n in range(count) if n % 300] == [int.from_bytes(r[-4:], "little") for r in mine]
        ring.free(ring.position)
        assert (4 * count, 0, 0) == (ring.puts, ring.used, ring.reserved)

    @pytest.mark.parametrize("idle", [0.01, 0.1], ids=["napping", "asleep"])
    def test_a_consumer_that_sleeps_is_woken_within_a_millisecond(self, make: Callable[..., Any], idle: float) -> None:
        """By a record and by `wake`, shortly after its last work and long after; the best of a few, for the machine is busy."""
        ring = make()
        for act in (lambda: ring.put(b"x"), ring.wake):
            delays = []
            for _ in range(5):
                ring.put(b"work")
                while ring.read() is not None:
                    pass
                ring.free(ring.position)
                ring.wait(0)
                acted: list[float] = []

                def later(act: Callable[[], object] = act, acted: list[float] = acted) -> None:
                    time.sleep(idle)
                    acted.append(time.perf_counter())
                    act()

                thread = threading.Thread(target=later)
                thread.start()
                assert ring.wait(SOON)
                delays.append(time.perf_counter() - acted[0])
                thread.join()
            assert 0 <= min(delays) < 0.004

    def test_a_wait_ends_when_its_time_is_over(self, make: Callable[..., Any]) -> None:
        """Not before, and with False."""
        ring = make()
        begin = time.perf_counter()
        assert not ring.wait(0.05)
        fill(ring)
        assert not ring.wait_room(100, 0.05)
        assert 0.1 <= time.perf_counter() - begin < SOON
        assert not ring.wait_room(0 if MIN_SIZE % frame_size(100) < 16 else 100, 0)
        assert not make().wait(-1)

    def test_a_sleeping_consumer_takes_no_processor_time(self, make: Callable[..., Any]) -> None:
        """Half a second of sleep long after the last work costs next to nothing."""
        ring = make()
        begin = time.process_time()
        assert not ring.wait(0.5)
        assert time.process_time() - begin < 0.1

    def test_wake_is_kept_for_the_next_wait(self, make: Callable[..., Any]) -> None:
        """Once, however often it was called."""
        ring = make()
        ring.wake()
        ring.wake()
        assert ring.wait(None)
        assert not ring.wait(0)
        ring.put(b"x")
        assert ring.wait(None)
        assert ring.wait(None)

    def test_freeing_wakes_those_who_wait_for_room(self, make: Callable[..., Any]) -> None:
        """All of them, and those who want more than there is sleep on."""
        ring = make()
        fill(ring)
        results: list[tuple[int, bool]] = []
        threads = [
            threading.Thread(target=lambda n=n, t=t: results.append((n, ring.wait_room(n, t))))
            for n, t in ((50, None), (100, SOON), (ring.max_record, 0.3))
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        assert [] == results
        ring.read()
        ring.free(ring.position)
        for thread in threads:
            thread.join(SOON)
        assert [(50, True), (100, True), (ring.max_record, False)] == sorted(results)

    def test_close_lets_everybody_go(self, make: Callable[..., Any]) -> None:
        """The consumer and the producers; after it nothing is taken or given, and the numbers stay."""
        ring = make()
        fill(ring)
        ring.read()
        last = (ring.head, ring.tail, ring.position, ring.used, ring.reserved, ring.puts)
        while ring.read() is not None:
            pass
        done: list[object] = []
        threads = [
            threading.Thread(target=lambda: done.append(ring.wait(None))),
            threading.Thread(target=lambda: done.append(ring.wait_room(1000, None))),
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        ring.close()
        ring.close()
        for thread in threads:
            thread.join(SOON)
        assert [False, True] == sorted(done)  # type: ignore[type-var]
        for call in (
            lambda: ring.put(b"x"),
            lambda: ring.put(bytearray()),
            lambda: ring.reserve(1),
            lambda: ring.release(1),
            lambda: ring.put_reserved(b"", 1),
            lambda: ring.wait_room(1, 0),
            ring.read,
            lambda: ring.free(0),
            lambda: ring.wait(0),
            ring.wake,
        ):
            with pytest.raises(InternalError, match="the ring is closed"):
                call()
        assert last[:2] == (ring.head, ring.tail)
        assert last[3:] == (ring.used, ring.reserved, ring.puts)

    @pytest.mark.usefixtures("untraced")
    def test_a_signal_ends_a_wait_with_what_its_handler_raises(self, make: Callable[..., Any]) -> None:
        """And one whose handler returns does not shorten it."""
        ring = make()
        calls: list[float] = []

        def handle(*_: object) -> None:
            calls.append(time.perf_counter())
            if len(calls) == 2:
                raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            with pytest.raises(KeyboardInterrupt):
                ring.wait(SOON)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert 2 == len(calls)

    @pytest.mark.usefixtures("untraced")
    @pytest.mark.parametrize("raises", [False, True])
    def test_what_interrupts_a_put_may_put_too_and_may_raise(self, make: Callable[..., Any], raises: bool) -> None:
        """A signal handler records every fraction of a millisecond: no record is lost or overwritten, and none gets stuck."""
        ring = make(2**23)
        interruptions: list[bytes] = []

        put: list[bytes] = []

        def handle(signum: int, frame: FrameType | None) -> None:
            record = b"handler %d" % len(interruptions)
            interruptions.append(record)
            assert ring.put(record)
            # Not into a handler that was interrupted itself: it has not put what it says.
            while raises and frame is not None and frame.f_code is not handle.__code__:
                if frame.f_code is attempt.__code__:
                    raise InterruptedError
                frame = frame.f_back

        def attempt() -> None:
            record = b"record %d" % len(put)
            assert ring.put(record)
            put.append(record)

        before = signal.signal(signal.SIGALRM, handle)
        end = time.perf_counter() + SOON
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
            while len(interruptions) < 100 and time.perf_counter() < end:
                try:  # noqa: SIM105 - `suppress` has frames of its own, in which it could be interrupted
                    attempt()
                except InterruptedError:
                    pass
        finally:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert 10 < len(interruptions)
        found: list[bytes] = []
        while (each := ring.read()) is not None:
            found.append(each)
        assert len(found) == ring.puts
        assert sorted(interruptions) == sorted(each for each in found if each.startswith(b"handler"))
        records = [each for each in found if each.startswith(b"record")]
        if raises:  # then a record may be in the ring though its put did not return: its number comes twice
            records = list(dict.fromkeys(records))
            assert put == records[: len(put)]
        else:
            assert put == records

    @pytest.mark.usefixtures("untraced")
    def test_what_interrupts_a_look_at_the_room_may_put(self, make: Callable[..., Any]) -> None:
        """Reserved room is there, whatever a signal handler records while it is used or given back."""
        ring = make(2**23)
        interruptions = 0

        def handle(*_: object) -> None:
            nonlocal interruptions
            interruptions += 1
            assert ring.put(b"handler")

        before = signal.signal(signal.SIGALRM, handle)
        end = time.perf_counter() + SOON
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
            while interruptions < 300 and time.perf_counter() < end:
                assert ring.reserve(8)
                assert 24 == ring.reserved
                ring.release(8)
        finally:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert 10 < interruptions
        assert interruptions == ring.puts


class TestProcess:
    """A ring belongs to the process that made it."""

    def test_a_forked_child_is_refused_everything(self, make: Callable[..., Any]) -> None:
        """Even while another thread held the ring's lock; the parent's ring is untouched, and the child makes its own."""
        ring = make()
        ring.put(b"parent's")
        ring.reserve(10)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            try:
                calls = (
                    lambda: ring.put(b"x"),
                    lambda: ring.put(bytearray(b"x")),
                    lambda: ring.reserve(1),
                    lambda: ring.release(10),
                    lambda: ring.put_reserved(b"", 10),
                    lambda: ring.wait_room(1, 0),
                    ring.read,
                    lambda: ring.free(0),
                    lambda: ring.wait(0),
                    ring.wake,
                    *(
                        lambda name=name: getattr(ring, name)
                        for name in ("head", "tail", "position", "used", "reserved", "puts")
                    ),
                )
                said = [_error_of(call) for call in calls]
                ring.close()
                own = make()
                own.put(b"child's")
                os.write(writer, f"{len(calls)} {len(set(said))} {said[0]} {own.read()}".encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            expected = (
                "16 1 InternalError: this ring was inherited through a fork; create a new Resolver in the child process"
                ' b"child\'s"'
            )
            assert expected == pipe.read().decode()
        assert (24, 32, 1) == (ring.used, ring.reserved, ring.puts)
        assert b"parent's" == ring.read()
        assert ring.put(b"more")

    def test_the_file_of_a_new_ring_is_empty(self, make: Callable[..., Any]) -> None:
        """What is in it already is not overwritten."""
        with tempfile.TemporaryFile() as file:
            file.write(b"precious")
            file.flush()
            with pytest.raises(StorageError, match="the file of a new ring is not empty; recover what is in it"):
                make(fd=file.fileno())
            assert b"precious" == os.pread(file.fileno(), 100, 0)

    def test_a_file_that_cannot_hold_a_ring_is_a_storage_error(self, make: Callable[..., Any]) -> None:
        """With the reason the system gives."""
        with (
            open(os.devnull, "rb") as file,
            pytest.raises(StorageError, match=f"a ring of {MIN_SIZE} bytes cannot be made: "),
        ):
            make(fd=file.fileno())

    def test_memory_goes_with_the_object(self, make: Callable[..., Any]) -> None:
        """A hundred large rings, one after the other, and mappings do not pile up; weak references work."""
        before = _mappings()
        for _ in range(100):
            ring = make(2**20)
            alive = weakref.ref(ring)
            ring.close()
            del ring
            assert alive() is None
        assert _mappings() < before + 20


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_commit_words_belong_to_one_position(position: int, secret: int) -> None:
    """`mix` loses nothing, and a bit of difference in the position changes many bits of the word."""
    assert position == unmix(mix(position, secret), secret)
    assert (mix(position, secret) ^ mix(position ^ 4096, secret)).bit_count() > 8
    assert FRAME.size == 16


def _mappings() -> int:
    with open("/proc/self/maps") as maps:
        return sum(1 for _ in maps)


def _error_of(call: Callable[[], object]) -> str:
    try:
        return f"no error, but {call()!r}"
    except CRAError as error:
        return f"{type(error).__name__}: {error}"
