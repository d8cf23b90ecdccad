"""A store that goes up, down, hangs and whose process dies, against a model: what was recorded is there, once, in its order."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cra.errors import StorageError
from cra.hotpath import canonical_json
from cra.ids import format_uuid
from cra.reference.chain import verify_chain
from cra.testing import SeededIds, VirtualClock
from cra.trace.record import EventsRecord, SessionHeader
from cra.trace.recorder import Recorder
from cra.trace.recovery import recover
from cra.trace.ring_folder import RingFolder
from cra.trace.spooled_lane import SpooledLane
from tests.support.away import AwayStorage

SESSIONS = 2


class Spools(RuleBasedStateMachine):
    """The model is a list of numbers for each session of each process; a store beside never fails."""

    @initialize(beside=st.booleans(), spool_bytes=st.sampled_from([2**20, 20_000]))
    def open_first(self, beside: bool, spool_bytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cra-spool-"))
        self.store = AwayStorage(spool_bytes=spool_bytes)
        self.others = [AwayStorage(spool_bytes=0, name="beside:")] if beside else []  # `close` leaves it open, too
        self.model: dict[str, list[int]] = {}
        self.ids, self.clock = SeededIds(1), VirtualClock()
        self.is_up = True
        self.process = 0
        self._open()

    def _open(self) -> None:
        recover(RingFolder(self.folder), [self.store, *self.others], self.clock, SeededIds(1_000 + self.process))
        ring = RingFolder(self.folder).create(2**17)
        self.process += 1
        self.headers = []
        for number in range(SESSIONS):
            base = SeededIds(10 * self.process + number).draw(self.clock.now_ns() // 10**6)
            self.headers.append(SessionHeader(format_uuid(base), format_uuid(base + 1), format_uuid(base + 2)))
        self.recorder = Recorder([self.store, *self.others], ring=ring, clock=self.clock, ids=SeededIds(7))

    @property
    def lane(self) -> SpooledLane:
        lane = self.recorder._outbox._lanes[0]
        assert isinstance(lane, SpooledLane)
        return lane

    @rule(session=st.integers(0, SESSIONS - 1), count=st.integers(1, 8), size=st.sampled_from([1, 500]))
    def record(self, session: int, count: int, size: int) -> None:
        header = self.headers[session]
        for _ in range(count):
            if self.recorder.ring.used > 90_000 and not self.is_up:
                return  # the spool is full, and then the ring
            numbers = self.model.setdefault(header.session_id, [])
            events = (("a.b", canonical_json({"n": len(numbers), "text": "x" * size})),)
            now = self.clock.now_ns()
            self.recorder.record(EventsRecord(header, self.ids.draw(now // 10**6), now, events))
            numbers.append(len(numbers))

    @rule()
    def go_away(self) -> None:
        self.store.go_away()
        self.is_up = False

    @rule()
    def hang(self) -> None:
        self.store.hang()
        self.is_up = False

    @rule()
    def come_back(self) -> None:
        self.store.come_back()
        self.is_up = True

    @rule()
    def wait(self) -> None:
        """Have the thread get somewhere."""
        time.sleep(0.01)

    @rule()
    def flush(self) -> None:
        try:
            self.recorder.flush(timeout=60 if self.is_up else 0.02)
            stats = self.recorder.stats()
            assert [(0, 0)] * len(stats.backends) == [(each.waiting, each.spooled) for each in stats.backends]
        except StorageError:
            assert not self.is_up or self.store.refused

    @rule(torn=st.binary(max_size=40))
    def die(self, torn: bytes) -> None:
        """Killed: what the store has been given by a call that hangs, it has; the last file may end in half of a batch."""
        self.store.come_back()
        assert self.recorder._worker is not None
        self.recorder._worker.stop()
        self.recorder._worker.join(60)
        self.recorder._outbox.stop(60)
        self.recorder.queue.state = "forked"
        assert self.recorder._file is not None
        self.recorder._file.leave()
        for file in sorted(self.folder.glob("*.spool"))[-1:]:
            with open(file, "ab") as last:
                last.write((1).to_bytes(4, "little") + (10**6).to_bytes(4, "little") + torn)
        self.is_up = True
        self._open()

    @rule()
    def restart(self) -> None:
        """Closed, with what is left for the next start."""
        try:
            self.recorder.close(timeout=60 if self.is_up else 0.02)
        except StorageError:
            assert not self.is_up or self.store.refused
        self.come_back()
        self.lane.join(60)
        assert self.recorder._file is not None
        self.recorder._file.leave()  # a ring that is kept while a store hangs
        self._open()

    @invariant()
    def it_adds_up(self) -> None:
        if not hasattr(self, "recorder"):
            return
        stats = self.recorder.stats()
        for each in stats.backends:
            assert stats.events_recorded == each.stored + each.waiting + each.lost
            assert each.spooled <= each.waiting
        assert sum(file.stat().st_size for file in self.folder.glob("*.spool")) <= self.store.spool_bytes + 100

    def teardown(self) -> None:
        if not hasattr(self, "recorder"):
            return
        self.store.come_back()
        self.recorder.close(timeout=60)
        for store in (self.store, *self.others):
            for session_id, numbers in self.model.items():
                events = list(store.events(session_id))
                assert verify_chain(events).valid
                assert numbers == [event.payload["n"] for event in events if "n" in event.payload]
        assert [] == list(self.folder.iterdir())
        shutil.rmtree(self.folder)


TestSpools = Spools.TestCase
TestSpools.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_the_machine_comes_to_what_it_is_for() -> None:
    """One history by hand: spooled, killed, recovered, and back."""
    machine: Any = Spools()
    machine.open_first(beside=True, spool_bytes=2**20)
    machine.record(0, 3, 1)
    machine.go_away()
    machine.record(0, 3, 500)
    end = time.monotonic() + 60
    while machine.recorder.stats().backends[0].spooled < 3 and time.monotonic() < end:
        time.sleep(0.01)
    machine.it_adds_up()
    assert machine.recorder.stats().backends[0].spooled >= 3
    machine.die(b"torn")
    assert machine.store.count() >= 6
    machine.teardown()


def test_stores_are_there_again_after_a_restart() -> None:
    """One history by hand: both stores take what is recorded after the recorder before was closed, at once."""
    machine: Any = Spools()
    machine.open_first(beside=True, spool_bytes=2**20)
    machine.record(0, 1, 1)
    machine.restart()
    machine.record(0, 1, 1)
    machine.recorder.flush(timeout=60)
    assert [2, 2] == [store.count() for store in (machine.store, *machine.others)]
    machine.teardown()
