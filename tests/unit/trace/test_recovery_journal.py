"""Recovery into a journal: what the ring had and the journal had not goes behind what it had, once, in the dead process's
series."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.hotpath import scan_frames
from cra.reference.frames import whole_frame
from cra.storage import boot
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.entries import FRAME_BYTES
from cra.storage.journal.lock import new_lock
from cra.storage.journal.names import new_series
from cra.storage.journal.resumed import ResumedSeries
from cra.storage.journal.retention import Retention
from cra.storage.journal.series import Rotation
from cra.storage.journal.verify import verify_journal
from cra.storage.jsonl import JsonlStorage
from cra.storage.memory import MemoryStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace.event import Event
from cra.trace.recovery import recover
from cra.trace.ring_folder import RingFolder
from tests.support.crashes import die
from tests.support.journals import frames
from tests.support.records import definition, events, resolve, template

ATLAS: dict[str, Any] = {
    "atlas_version": "1.0",
    "atlas_id": "com.example.a",
    "version": "1.0.0",
    "name": "A",
    "description": "A",
    "actions": [{"action_id": f"a.do{n}", "name": "Do", "description": "Do"} for n in range(3)],
    "policies": [{"policy_id": "all", "type": "allow", "actions": ["a.do0", "a.do1"]}],
}


class Dying(JournalStorage):
    """Takes the first `lives` records that it is given, then nothing, as if the process had died there; its lock stays behind."""

    def __init__(self, folder: Path, lives: int, segment: int = 2**20) -> None:
        super().__init__(folder, rotation=Rotation(max_bytes=segment))
        self.lives = lives

    def append_records(self, frames: bytes) -> None:
        at = 0
        while self.lives and at < len(frames):
            behind = at + 8 + whole_frame(frames, at)
            super().append_records(frames[at:behind])
            self.lives -= 1
            at = behind
        if at < len(frames):
            raise OSError("dead")

    def close(self) -> None:
        self._series.leave()


def work(resolver: cra.Resolver) -> str:
    """A session that resolves and executes, and one that is over."""
    resolver.load_atlas(ATLAS)
    resolver.register("a.do0", dict, inline=True)
    with resolver.create_session("bot", "short") as short:
        short.resolve("a lamp")
    session = resolver.create_session("bot", "work")
    for n in range(5):
        resolution = session.resolve(f"lamp {n}: ünïcode")
        session.execute("a.do0", {}, resolution=resolution)
    return session.session_id


def lose(tmp_path: Path, *backends: Any) -> str:
    """A resolver that died when its backends did; the session it had open."""
    resolver = cra.Resolver(list(backends), ring=tmp_path / "ring", clock=VirtualClock(), ids=SeededIds(1))
    session = work(resolver)
    with suppress(StorageError):  # where the last one lived long enough
        resolver.flush()
    die(resolver)
    return session


@pytest.fixture
def whole(tmp_path: Path) -> list[Event]:
    """The events of the open session, as a process has them that does not die."""
    with cra.Resolver("memory:", clock=VirtualClock(), ids=SeededIds(1)) as resolver:
        return resolver.trace(work(resolver))


def check(folder: Path, session: str, whole: list[Event]) -> dict[str, Any]:
    """Recover, and hold what is there against what was recorded; the payload of `runtime.recovered`."""
    with cra.Resolver(f"journal:///{folder}/trace", ring=folder / "ring") as resolver:
        found = resolver.trace(session)
        (recovered,) = [e.payload for e in resolver.trace(resolver.session_id) if "runtime.recovered" == e.event_type]
        assert resolver.trace(session) == found
    assert whole == found[: len(whole)]
    assert ["session.ended"] == [event.event_type for event in found[len(whole) :]]
    store = JournalStorage(folder / "trace")
    for name in store.sessions():
        assert cra.verify_chain(store.events(name)).valid
        assert "session.ended" == store.last(name, 1)[0].event_type
    store.close()
    assert () == verify_journal(folder / "trace").faults
    assert [] == os.listdir(folder / "ring")
    return dict(recovered)


@pytest.mark.parametrize("segment", [1, 2**20])
@pytest.mark.parametrize("lives", range(32))
def test_what_was_recorded_is_in_the_journal_once_wherever_the_process_died(
    lives: int, segment: int, whole: list[Event], tmp_path: Path
) -> None:
    """After any record, with segments of one record and with one segment: the same bytes, nothing twice, no gap; then closed."""
    session = lose(tmp_path, Dying(tmp_path / "trace", lives, segment))
    before = sum(len(list(scan_frames(path.read_bytes(), 80)[0])) for path in (tmp_path / "trace").glob("*.segment"))
    recovered = check(tmp_path, session, whole)
    assert (1, 2, 0, 0, 0) == tuple(recovered[n] for n in ("rings", "sessions", "torn", "executions", "unreadable"))
    assert (before > 0) == (lives > 0)
    names = {path.name.partition(".")[0] for path in (tmp_path / "trace").glob("*.segment")}
    assert 2 == len(names)  # the dead process's, and the one that recovered it


def test_recovery_that_dies_starts_over(whole: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it had stored what the ring had, or had closed what was open, too: nothing comes twice."""
    session = lose(tmp_path, Dying(tmp_path / "trace", 9))

    def refuse(*_: Any, **options: Any) -> None:
        raise StorageError("injected")

    for where in ("close_what_is_open", "DeadRing.remove"):
        with monkeypatch.context() as patched:
            patched.setattr(f"cra.trace.recovery.{where}", refuse)
            with pytest.raises(StorageError, match="injected"):
                cra.Resolver(f"journal:///{tmp_path}/trace", ring=tmp_path / "ring")
        assert 2 == len(os.listdir(tmp_path / "ring"))
    check(tmp_path, session, whole)


@pytest.mark.parametrize("restarted", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("lives", [0, 8])
def test_a_recovery_that_dies_within_its_append_starts_over(
    restarted: bool, lives: int, whole: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any frame of what it appends, which begins with definitions that the ring has among its records, too: where these
    alone were stored, nothing that comes before them in the ring is taken as stored. After a power cut what nobody said was
    durable may be set aside, and is never stored with a gap before it."""
    session = lose(tmp_path / "lost", Dying(tmp_path / "lost" / "trace", lives))
    shutil.copytree(tmp_path / "lost", tmp_path / "0")
    check(tmp_path / "0", session, whole)
    recorded = _sessions(tmp_path / "0")
    if restarted:
        monkeypatch.setattr(boot, "boot_id", lambda: b"another start..!")
    for kept in range(1, 10_000):
        folder = tmp_path / str(kept)
        shutil.copytree(tmp_path / "lost", folder)
        sizes: list[int] = []
        with monkeypatch.context() as patched:
            patched.setattr(ResumedSeries, "append", _dies_within(kept, sizes))
            with suppress(StorageError):
                cra.Resolver(f"journal:///{folder}/trace", ring=folder / "ring").close()
        if kept >= sizes[0]:
            break
        if not restarted:
            check(folder, session, whole)
        else:
            cra.Resolver(f"journal:///{folder}/trace", ring=folder / "ring").close()
        found = _sessions(folder)
        for name, before in recorded.items():
            there = found.get(name, [])
            count = len(there) if restarted else len(before)
            assert before[:count] == there, f"{kept} frames, session {name}"
    assert kept > 10


def _dies_within(kept: int, sizes: list[int]) -> Any:
    """An `append` that dies when `kept` frames are written, where there are more; the `sizes` are those of all appends."""
    real = ResumedSeries.append

    def append(series: ResumedSeries, frames: bytes) -> None:
        ends = [0]
        while ends[-1] < len(frames):
            ends.append(ends[-1] + FRAME_BYTES + whole_frame(frames, ends[-1]))
        sizes.append(len(ends) - 1)
        if kept < sizes[0]:
            real(series, frames[: ends[kept]])
            raise StorageError("injected")
        real(series, frames)

    return append


def _sessions(folder: Path) -> dict[str, list[Event]]:
    """What there is of sessions, without the end that a recovery gave them."""
    store = JournalStorage(folder / "trace")
    found = {name: list(store.events(name)) for name in store.sessions()}
    store.close()
    return {
        name: events[:-1] if events[-1].payload.get("reason") == "error" else events
        for name, events in found.items()
        if events[0].event_type != "runtime.recovered" and "runtime.recovered" not in {e.event_type for e in events}
    }


def test_a_series_is_kept_from_retention_until_its_ring_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it holds says which records of the ring it has: a recovery that was interrupted leaves its lock, by which others see
    that somebody will come for it."""
    lose(tmp_path, Dying(tmp_path / "trace", 9))

    def refuse(*_: Any, **options: Any) -> None:
        raise StorageError("injected")

    with monkeypatch.context() as patched:
        patched.setattr("cra.trace.recovery.close_what_is_open", refuse)
        with pytest.raises(StorageError, match="injected"):
            cra.Resolver(f"journal:///{tmp_path}/trace", ring=tmp_path / "ring")
    assert [path.stem for path in (tmp_path / "ring").glob("*.ring")] == [
        path.stem for path in (tmp_path / "trace").glob("*.lock")
    ]
    cra.Resolver(f"journal:///{tmp_path}/trace", ring=tmp_path / "ring").close()
    assert [] == list((tmp_path / "trace").glob("*.lock"))


@pytest.mark.parametrize(("journal", "jsonl"), [(0, 12), (7, 30), (30, 3), (17, 0), (1000, 5)])
def test_beside_another_store_each_gets_what_it_lacks(
    journal: int, jsonl: int, whole: list[Event], tmp_path: Path
) -> None:
    """Both hold the same in the end, what was closed for the dead process included."""

    class Lines(JsonlStorage):
        lives = jsonl

        def append(self, batch: Any) -> None:
            given = list(batch)[: self.lives]
            self.lives -= len(given)
            super().append(given)
            if len(given) < len(batch):
                raise OSError("dead")

    session = lose(tmp_path, Lines(tmp_path / "lines"), Dying(tmp_path / "trace", journal))
    with cra.Resolver(
        [f"journal:///{tmp_path}/trace", f"jsonl:///{tmp_path}/lines"], ring=tmp_path / "ring"
    ) as resolver:
        first, second = (list(backend.events(session)) for backend in resolver._backends)
    assert first == second
    assert whole == first[: len(whole)]
    assert "session.ended" == first[-1].event_type
    assert () == verify_journal(tmp_path / "trace").faults


def test_two_journals_each_get_what_they_lack(whole: list[Event], tmp_path: Path) -> None:
    """And both are closed by the same records."""
    session = lose(tmp_path, Dying(tmp_path / "a", 9), Dying(tmp_path / "b", 30))
    urls = [f"journal:///{tmp_path}/{name}" for name in "ab"]
    with cra.Resolver(urls, ring=tmp_path / "ring") as resolver:
        first, second = (list(backend.events(session)) for backend in resolver._backends)
    assert first == second
    assert whole == first[: len(whole)]
    assert ["session.ended"] == [event.event_type for event in first[len(whole) :]]
    assert [(), ()] == [verify_journal(tmp_path / name).faults for name in "ab"]


def test_a_series_is_gone_on_with_by_one_at_a_time(tmp_path: Path) -> None:
    """While somebody has it, the next one is told to come again."""
    store = JournalStorage(tmp_path)
    name = new_series()
    with store.resume(name) as resumed:
        resumed.append(frames(events(("session.started", {}))))
        with pytest.raises(cra.StorageLocked, match="is being mended by another process"), store.resume(name):
            pass
    store.flush(durable=True)
    assert 1 == store.count()
    store.close()


def test_what_a_series_lacks_is_found_behind_its_last_record(tmp_path: Path) -> None:
    """Of templates that its segments repeat as well."""
    store = JournalStorage(tmp_path, rotation=Rotation(max_bytes=1))
    name = "7-0000000000000001"
    store.write_as(name)
    records = [frames(each) for each in (events(), template(), resolve(n=1), resolve(n=2), template(2), resolve(n=3))]
    for count, record in enumerate(records, 1):
        store.append_records(record)
        store._series.leave()
        other = JournalStorage(tmp_path)
        with other.resume(name) as resumed:
            assert count == resumed.first_missing(records, 4096)
            assert 0 == resumed.first_missing([], 4096)
        other.close()
        store = JournalStorage(tmp_path, rotation=Rotation(max_bytes=1))
        with store._lock:
            last = sorted(tmp_path.glob(f"{name}.*.segment"))[-1]
            store.write_as(name)
            store._series.go_on(last.read_bytes(), new_lock(tmp_path, name))
    store.close()
    assert () == verify_journal(tmp_path).faults


def test_an_execution_that_was_running_is_closed_in_the_journal(tmp_path: Path) -> None:
    """As unknown, by a record in the dead process's series."""
    store = Dying(tmp_path / "trace", 10_000)
    resolver = cra.Resolver(store, ring=tmp_path / "ring")
    resolver.load_atlas(ATLAS)
    session = resolver.create_session("bot", "work")

    def stop() -> None:
        die(resolver)
        raise KeyboardInterrupt

    resolver.register("a.do0", stop, inline=True)
    resolution = session.resolve("x")
    with pytest.raises(BaseException):  # noqa: B017, PT011 - whatever a dead runtime says
        session.execute("a.do0", {}, resolution=resolution)
    with cra.Resolver(f"journal:///{tmp_path}/trace", ring=tmp_path / "ring") as again:
        trace = again.trace(session.session_id)
    assert ["action.failed", "session.ended"] == [event.event_type for event in trace[-2:]]
    assert "OUTCOME_UNKNOWN" == trace[-2].payload["error_code"]
    assert cra.verify_chain(trace).valid
    assert () == verify_journal(tmp_path / "trace").faults


@pytest.mark.parametrize("often", [False, True])
def test_a_session_whose_beginning_went_is_closed_with_all_of_its_counts(often: bool, tmp_path: Path) -> None:
    """Retention took its start, its first actions and the approval of one that runs, in one step or in several: the end has them
    all the same, and so has the outcome of the execution."""
    clock = VirtualClock()
    store = Dying(tmp_path / "trace", 10_000)
    JournalStorage.__init__(
        store, tmp_path / "trace", rotation=Rotation(max_bytes=1), retention=Retention(max_bytes=0), clock=clock
    )
    store._keeper = None
    resolver = cra.Resolver(store, ring=tmp_path / "ring", clock=clock, ids=SeededIds(1))
    resolver.load_atlas(ATLAS)
    session = resolver.create_session("bot", "work")
    resolver.register("a.do1", dict, inline=True)
    resolution = session.resolve("x")
    for _ in range(4):
        clock.advance(5)
        session.execute("a.do1", {}, resolution=resolution)
        resolver.flush()
        assert not often or store.apply_retention()

    def stop() -> None:
        for goal in ("more", "and more"):
            session.resolve(goal)
            resolver.flush()
        assert store.apply_retention()
        die(resolver)
        raise KeyboardInterrupt

    resolver.register("a.do0", stop, inline=True)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - whatever a dead runtime says
        session.execute("a.do0", {}, resolution=resolution)
    clock.advance(10)
    with cra.Resolver(f"journal:///{tmp_path}/trace", ring=tmp_path / "ring", clock=clock) as again:
        trace = again.trace(session.session_id)
        (recovered,) = [e.payload for e in again.trace(again.session_id) if "runtime.recovered" == e.event_type]
    assert "action.approved" not in {event.event_type for event in trace}
    assert ["action.failed", "session.ended"] == [event.event_type for event in trace[-2:]]
    assert ("a.do0", resolution.resolution_id) == (trace[-2].payload["action_id"], trace[-2].payload["resolution_id"])
    assert {"reason": "error", "duration_ms": 30_000, "action_count": 5} == trace[-1].payload
    assert (1, 1) <= (recovered["executions"], recovered["sessions"])
    journal = JournalStorage(tmp_path / "trace")
    assert cra.verify_chain(trace, anchor=journal.anchor(session.session_id)).valid
    journal.close()
    assert () == verify_journal(tmp_path / "trace").faults


@pytest.mark.parametrize("beside", [False, True])
def test_what_says_nothing_is_counted_and_set_aside(beside: bool, tmp_path: Path) -> None:
    """A record that is none, and one that names what nothing defined; the others are stored."""
    rings = RingFolder(tmp_path / "ring")
    file = rings.create(65_536)
    for record in (events(("session.started", {})), b"\x09", resolve(n=1, number=9), template(), resolve(n=2)):
        assert file.ring.put(record)
    file.leave()
    store, memory = JournalStorage(tmp_path / "trace"), MemoryStorage()
    found = recover(rings, [store, memory] if beside else [store], VirtualClock(), SeededIds(3))
    assert (1, 5, 2, 1) == (found.rings, found.records, found.torn, found.sessions)
    assert 6 == store.count()
    assert [beside * 6] == [memory.count()]
    assert {".damaged"} == {path.suffix for path in (tmp_path / "ring").iterdir()}
    store.close()
    assert () == verify_journal(tmp_path / "trace").faults


def test_a_series_that_cannot_be_gone_on_with_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring stays, and whoever comes next has the series again."""
    store = JournalStorage(tmp_path)
    real = os.writev
    for call in ("listdir", "writev"):

        def refuse(*_: Any) -> Any:
            raise OSError(errno.EIO, "injected")

        with monkeypatch.context() as patched:
            patched.setattr(os, call, refuse)
            with (
                pytest.raises(StorageError, match="cannot be gone on with: injected"),
                store.resume(new_series()) as resumed,
            ):
                resumed.append(frames(events()))
        assert [] == list(tmp_path.glob("*.segment"))
    name = new_series()
    with monkeypatch.context() as patched:
        resuming = store.resume(name)
        resumed = resuming.__enter__()
        resumed.append(frames(events()))
        patched.setattr(os, "writev", refuse)
        with pytest.raises(StorageError, match="cannot be gone on with: injected"):
            resuming.__exit__(None, None, None)
    assert real is os.writev
    JournalStorage(tmp_path).close()
    assert () == verify_journal(tmp_path).faults
    with store.resume("no-series") as resumed:
        assert 0 == resumed.first_missing([frames(events())], 4096)
    store.close()


def test_a_closed_runtime_whose_ring_is_left_keeps_its_series(tmp_path: Path) -> None:
    """Its backend took only a part: until the ring is recovered, retention of others does not take what says which, nor does
    anybody who opens the journal in between, wherever the ring is."""

    class Stops(JournalStorage):
        lives = 2

        def append_records(self, frames: bytes) -> None:
            if not self.lives:
                raise StorageError("injected")
            self.lives -= 1
            super().append_records(frames)

    resolver = cra.Resolver(Stops(tmp_path / "trace"), ring=tmp_path / "ring", clock=VirtualClock(), ids=SeededIds(1))
    resolver.load_atlas(ATLAS)
    session = resolver.create_session("bot", "work")
    resolver.flush()
    for n in range(5):
        session.resolve(f"lamp {n}")
        with suppress(StorageError):
            resolver.flush()
    with pytest.raises(StorageError, match="closed with losses"):
        resolver._runtime.recorder.close(0.1)
    (ring,) = (tmp_path / "ring").glob("*.ring")
    (lock,) = (tmp_path / "trace").glob("*.lock")
    assert ring.stem == lock.stem
    kept = list((tmp_path / "trace").glob(f"{lock.stem}.*.segment"))
    for _ in range(2):
        other = JournalStorage(tmp_path / "trace", retention=Retention(max_bytes=0))
        other._keeper = None
        other.append_records(frames(events(session=9, define=definition(9))))
        other.apply_retention()
        other.close()
        assert (kept, True) == (list((tmp_path / "trace").glob(f"{lock.stem}.*.segment")), lock.exists())
    cra.Resolver(f"journal:///{tmp_path}/trace", ring=tmp_path / "ring").close()
    store = JournalStorage(tmp_path / "trace")
    found = list(store.events(session.session_id))
    assert 5 == sum("carp.resolution.completed" == event.event_type for event in found)
    assert cra.verify_chain(found).valid
    assert "session.ended" == found[-1].event_type
    store.close()
    assert [] == list((tmp_path / "trace").glob("*.lock"))


def test_where_retention_took_what_says_how_much_is_stored_nothing_is_guessed(tmp_path: Path) -> None:
    """A record of the ring behind the cut says it, and so does any other record there; without one it is refused."""
    name = "7-0000000000000001"
    store = JournalStorage(tmp_path, rotation=Rotation(max_bytes=1), retention=Retention(max_bytes=0))
    store._keeper = None
    store.write_as(name)
    records = [frames(each) for each in (events(), template(), resolve(n=1), resolve(n=2), resolve(n=3))]
    for record in records[:4]:
        store.append_records(record)
    assert 3 == store.apply_retention()
    store.close()
    with JournalStorage(tmp_path).resume(name) as resumed:
        assert 4 == resumed.first_missing(records, 4096)
        assert 0 == resumed.first_missing(records[4:], 4096)
    store = JournalStorage(tmp_path, retention=Retention(max_bytes=0))
    store.append_records(frames(events(session=2, define=definition(2))))
    assert store.apply_retention()
    store.close()
    with JournalStorage(tmp_path).resume(name) as resumed:
        with pytest.raises(StorageError, match=f"how much of the ring {name} is stored.*move the files"):
            resumed.first_missing(records, 4096)
        assert 0 == resumed.first_missing([], 4096)


def test_whoever_has_a_series_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    """Somebody who opens the journal holds it until he has looked."""
    name = "7-0000000000000001"
    held = new_lock(tmp_path, name)
    timer = threading.Timer(0.1, held.leave)
    timer.start()
    with JournalStorage(tmp_path).resume(name) as resumed:
        assert 0 == resumed.first_missing([frames(events())], 4096)
    timer.join()
