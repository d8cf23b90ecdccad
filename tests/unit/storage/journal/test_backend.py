"""The journal as a backend: what it is given comes back, its levels hold, and processes share a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cra
from cra.errors import StorageError
from cra.hotpath import Expander
from cra.storage.base import RecordStorage
from cra.storage.journal import adoption
from cra.storage.journal import index as index_module
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.index import read_index
from cra.storage.journal.lock import new_lock
from cra.storage.journal.names import new_series
from cra.storage.journal.series import Rotation
from cra.storage.journal.verify import verify_journal
from cra.storage.memory import MemoryStorage
from cra.testing import VirtualClock
from cra.trace.jsonl import dump_line
from tests.support.journals import NAME, files, frames
from tests.support.records import RECORDS, definition, events, resolve, template
from tests.support.storage import OnceFailing

pytestmark = pytest.mark.usefixtures("twin")
SESSION = definition(1)[0]


def journal(folder: Path, **options: Any) -> JournalStorage:
    """A journal with small segments."""
    return JournalStorage(folder, rotation=Rotation(**options))


@given(st.lists(st.lists(RECORDS, max_size=6), max_size=6), st.integers(1, 2_000))
@settings(max_examples=60)
def test_sessions_are_what_a_store_of_events_has(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]], size: int
) -> None:
    """Byte for byte, whatever the records and wherever segments end, while it is written and when it is opened again."""
    folder = tmp_path_factory.mktemp("journal")
    expander, memory = Expander(frames=True), MemoryStorage()
    store = journal(folder, max_bytes=size)
    for batch in batches:
        for record in batch:
            try:
                expander.feed(record)
            except cra.InvalidTraceEvent:
                continue
        taken = expander.take(0)
        if taken is not None:
            memory.append(taken)
            store.append_records(taken.frames)
    for opened in (store, JournalStorage(folder)):
        assert sorted(memory.sessions()) == opened.sessions()
        assert memory.count() == opened.count()
        for name in memory.sessions():
            assert list(memory.events(name)) == list(opened.events(name))
            assert memory.last(name, 2) == opened.last(name, 2)
            assert memory.count(name) == opened.count(name)
        if opened is store:
            for name, head in expander.heads().items():
                assert head == store.head(name)
        opened.close()
    assert () == verify_journal(folder).faults


def test_it_takes_records(tmp_path: Path) -> None:
    """By the protocol that the recorder asks for."""
    store = JournalStorage(tmp_path)
    assert isinstance(store, RecordStorage)
    assert store.takes_records
    store.append_records(b"")
    assert [] == os.listdir(tmp_path)
    store.close()


def test_an_index_that_is_missing_or_damaged_is_made_by_who_needs_it(tmp_path: Path) -> None:
    """Missing, cut, changed, of another segment or another version: it never changes an answer."""
    store = journal(tmp_path, max_bytes=300)
    for record in (events(("session.started", {})), template(), *(resolve(n=n) for n in range(1, 9))):
        store.append_records(frames(record))
    store.close()
    for path in tmp_path.glob("*.index"):
        path.unlink()
    expected = list(JournalStorage(tmp_path).events(SESSION))
    made = sorted(tmp_path.glob("*.index"))
    assert len(files(tmp_path)) == len(made) > 3
    good = [path.read_bytes() for path in made]
    damages = [b"", good[0][:-3], good[0].replace(b'"number', b"x"), good[1], b"00000000\n" + good[0][9:], b"\xff" * 40]
    for damage in damages:
        made[0].write_bytes(damage)
        assert expected == list(JournalStorage(tmp_path).events(SESSION))
        assert good == [path.read_bytes() for path in made]
    later = good[0][9:].replace(b'"version":1', b'"version":2')
    made[0].write_bytes(b"%08x\n" % index_module.crc32(later) + later)
    assert read_index(made[0], 0, "") is None
    assert expected == list(JournalStorage(tmp_path).events(SESSION))


def test_an_index_that_says_otherwise_is_found(tmp_path: Path) -> None:
    """It could hide a session from readers; verification compares it with the segment."""
    store = journal(tmp_path)
    store.append_records(frames(events()))
    store.close()
    assert [SESSION] == JournalStorage(tmp_path).sessions()
    (path,) = tmp_path.glob("*.index")
    data = re.sub(rb'"sessions":\[.*\],"lines"', b'"sessions":[],"lines"', path.read_bytes()[9:])
    path.write_bytes(b"%08x\n" % index_module.crc32(data) + data)
    assert "its index says otherwise" in verify_journal(tmp_path).faults[0]


def test_events_and_records_are_one_session(tmp_path: Path) -> None:
    """What came as events has its place by its sequence."""
    expander, store = Expander(frames=True), journal(tmp_path)
    expander.feed(events(("session.started", {}), n=1))
    first = expander.take(0)
    expander.feed(events(("a.b", {"n": 1}), ("session.ended", {}), n=2, define=None))
    second = expander.take(0)
    assert first is not None
    assert second is not None
    other = journal(tmp_path)
    other.append(list(second))
    store.append_records(first.frames)
    assert [*first, *second] == list(store.events(SESSION)) == list(other.events(SESSION))
    assert (3, 3, [SESSION]) == (store.count(), store.count(SESSION), store.sessions())
    store.close()
    other.close()
    assert () == verify_journal(tmp_path).faults


def test_processes_share_a_folder(tmp_path: Path) -> None:
    """Each has a series of its own and leaves the others' alone; readers see all."""
    first, second = journal(tmp_path), journal(tmp_path)
    first.append_records(frames(events()))
    second.append_records(frames(events(session=2, define=definition(2))))
    third = journal(tmp_path)
    assert (2, 2, 2) == (len(files(tmp_path)), len(list(tmp_path.glob("*.lock"))), third.count())
    assert ((), ()) == (third.repairs, verify_journal(tmp_path).faults)
    for store in (first, second, third):
        store.close()
    assert [] == list(tmp_path.glob("*.lock"))


def test_the_series_is_called_as_the_ring(tmp_path: Path) -> None:
    """As long as nothing is written; a name that no series may have is passed over."""
    store = journal(tmp_path)
    store.write_as("../evil")
    store.write_as("7-0000000000000001")
    store.append_records(frames(events()))
    store.write_as("7-0000000000000002")
    store.append_records(frames(events(n=1)))
    assert ["7-0000000000000001.00000000.segment"] == list(files(tmp_path))
    store.close()


def test_durable_is_fsynced_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every segment written since, and the names of them; the name of the folder itself once; the lock before all of it."""
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), real(file)))
    store = journal(tmp_path, max_bytes=200)
    for n in range(3):
        store.append_records(frames(events(n=n)))
    store.flush(durable=False)
    assert [str(tmp_path)] == synced
    synced.clear()
    store.flush(durable=True)
    assert [*map(str, sorted(tmp_path.glob("*.segment"))), str(tmp_path), str(tmp_path.parent)] == synced
    synced.clear()
    store.flush(durable=True)
    assert 2 == len(synced)
    store.close()


def test_what_a_lock_says_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ring of its writer is: an empty one would have retention take what says how much of the ring is stored."""
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), real(file)))
    lock = new_lock(tmp_path, new_series(), "/a/ring")
    lock.leave()
    content, name = synced
    assert content.endswith(".part")
    assert str(tmp_path) == name


def test_a_lock_that_cannot_be_synced_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written without one that is on the disk; the same batch is stored once there is."""
    store = journal(tmp_path)

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError, match="cannot be written: injected"):
            store.append_records(frames(events()))
    assert [] == os.listdir(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    store.append_records(frames(events()))
    assert 1 == len(synced)
    store.close()


@pytest.mark.parametrize("which", [1, 2, 3])
def test_after_a_failed_fsync_nothing_is_acknowledged(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment, another one, the folder: once is for ever. What was written can still be read."""
    store = journal(tmp_path, max_bytes=200)
    store.append_records(frames(events()))
    store.append_records(frames(events(n=1)))
    real, calls = os.fsync, []

    def fail(file: int) -> None:
        calls.append(file)
        if len(calls) == which:
            raise OSError(errno.EIO, "injected")
        real(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="may not survive a power cut"):
            store.flush(durable=True)
    assert which == len(calls)
    for refused in (lambda: store.flush(durable=True), lambda: store.append_records(frames(events(n=2)))):
        with pytest.raises(StorageError, match="may not survive a power cut; check the disk and create a new Resolver"):
            refused()
    assert (False, 2) == (store.health().ok, store.count())
    store.close()


@pytest.mark.parametrize("which", [1, 2])
def test_what_cannot_be_opened_to_be_synced_is_synced_the_next_time(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment, the folder: no fsync has failed, so nothing is lost, and the journal goes on."""
    store = journal(tmp_path, max_bytes=200)
    store._keeper = None  # which opens files, too, when it likes
    store.append_records(frames(events()))
    store.append_records(frames(events(n=1)))
    with monkeypatch.context() as patched:
        failing = OnceFailing(os.open, which)
        patched.setattr(os, "open", failing)
        with pytest.raises(StorageError, match="cannot be made durable: Input/output error"):
            store.flush(durable=True)
        assert which == failing.calls
    assert store.health().ok
    store.append_records(frames(events(n=2)))
    store.flush(durable=True)
    store.close()


def test_a_disk_that_is_full_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is not stored; the same batch is when there is room again."""
    store = journal(tmp_path)
    store.append_records(frames(events()))

    def refuse(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", refuse)
        with pytest.raises(StorageError, match=r"storage 'journal:///.*' cannot be written: No space left on device"):
            store.append_records(frames(events(n=1)))
    assert 1 == store.count()
    store.append_records(frames(events(n=1)))
    assert 2 == store.count()
    store.close()
    assert () == verify_journal(tmp_path).faults


def test_after_close_nothing_is_taken(tmp_path: Path) -> None:
    """A clear error."""
    store = journal(tmp_path)
    store.close()
    for refused in (lambda: store.append_records(frames(events())), lambda: store.flush(durable=True)):
        with pytest.raises(StorageError, match="is closed; open it again"):
            refused()


def test_a_folder_that_cannot_be_is_a_storage_error(tmp_path: Path) -> None:
    """In opening, and in reading."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be opened"):
        JournalStorage(tmp_path / "file" / "x")
    store = JournalStorage(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for read in (store.sessions, store.count, lambda: list(store.events(SESSION))):
        with pytest.raises(StorageError, match="cannot be read: No such file or directory"):
            read()
    with pytest.raises(StorageError, match="cannot be read"):
        verify_journal(tmp_path / "gone")


def test_an_id_that_is_none_is_refused(tmp_path: Path) -> None:
    """As by the other store on disk."""
    store = JournalStorage(tmp_path)
    for read in (store.events, store.count, store.delete_session, lambda name: store.last(name, 1)):
        with pytest.raises(StorageError, match="a session id is a lower-case UUID"):
            read("../x")


def _left_behind(folder: Path) -> bytes:
    """A journal whose writer died, as its files show it; what its last segment holds."""
    store = journal(folder)
    store.append_records(frames(events(("session.started", {}))))
    store.append_records(frames(template(), resolve(n=1)))
    store._series.leave()
    (data,) = files(folder).values()
    return data


def test_every_truncation_loses_the_torn_record_alone(tmp_path: Path) -> None:
    """Whoever opens the folder sets the torn bytes aside, seals what is whole, and says so."""
    whole = _left_behind(tmp_path / "first")
    expander = Expander()
    for cut in range(len(whole)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        name = "7-0000000000000001.00000000.segment"
        (folder / name).write_bytes(whole[:cut])
        (folder / "7-0000000000000001.lock").touch()
        store = JournalStorage(folder)
        expander = Expander()
        good = 80 + expander.feed_frames(whole[80:cut]) if cut >= 80 else 0
        torn = cut - good
        assert [torn] * (torn > 0) == [repair.torn_bytes for repair in store.repairs]
        assert expander.events == store.count()
        if torn:
            assert whole[good:cut] == (folder / (name + ".torn")).read_bytes()
            assert f"{name} ended within a record: {torn} bytes were moved to {name}.torn" in store.health().details
        store.close()
        assert () == verify_journal(folder).faults
        assert not list(folder.glob("*.lock"))


def test_what_a_dead_writer_left_is_sealed_once(tmp_path: Path) -> None:
    """By the first who opens the folder; a file that was never seen is removed."""
    _left_behind(tmp_path)
    (name,) = files(tmp_path)
    (tmp_path / f"{name.partition('.')[0]}.00000001.segment.part").write_bytes(b"x")
    assert "it is not sealed" in verify_journal(tmp_path).faults[0]
    store = JournalStorage(tmp_path)
    assert 1 == len(list(tmp_path.glob("*.lock")))  # nobody else sees to it until recovery is over
    assert ((), 5, ()) == (store.repairs, store.count(), verify_journal(tmp_path).faults)
    sealed = files(tmp_path)
    store.close()
    JournalStorage(tmp_path).close()
    assert (sealed, []) == (files(tmp_path), [path.name for path in tmp_path.iterdir() if path.suffix == ".part"])


def test_a_lock_that_somebody_holds_is_left_alone(tmp_path: Path) -> None:
    """As is one that is removed while it is looked at."""
    whole = _left_behind(tmp_path)
    (path,) = tmp_path.glob("*.lock")
    file = os.open(path, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    JournalStorage(tmp_path).close()
    assert [whole] == list(files(tmp_path).values())
    os.close(file)
    JournalStorage(tmp_path).close()
    assert [whole] != list(files(tmp_path).values())


def test_every_changed_byte_and_every_missing_segment_is_found(tmp_path: Path) -> None:
    """In any segment; segments taken from the middle or the beginning, renamed, or put into another series."""
    store = journal(tmp_path, max_bytes=300)
    for record in (events(("session.started", {})), template(), resolve(n=1), resolve(n=2)):
        store.append_records(frames(record))
    store.close()
    assert verify_journal(tmp_path).valid
    paths = sorted(tmp_path.glob("*.segment"))
    assert len(paths) >= 3
    for path in paths:
        data = path.read_bytes()
        for at in range(len(data)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert not verify_journal(tmp_path).valid, (path.name, at)
        path.write_bytes(data[:-1])
        assert not verify_journal(tmp_path).valid
        path.write_bytes(data)
    for path in paths[:-1]:
        hidden = path.rename(path.with_suffix(".hidden"))
        assert "are missing before it" in " ".join(verify_journal(tmp_path).faults)
        hidden.rename(path)
    paths[1].rename(tmp_path / "x")
    paths[2].rename(paths[1])
    assert "it is segment 2 by what it says" in " ".join(verify_journal(tmp_path).faults)


def test_what_version_1_wrote_can_be_read(tmp_path: Path) -> None:
    """The golden files, to the golden lines: they never change."""
    data = Path(__file__).parents[3] / "data/journal"
    for number in range(2):
        text = (data / f"version-1.0000000{number}.hex").read_text()
        content = b"".join(bytes.fromhex(line[10:]) for line in text.splitlines())
        (tmp_path / f"{NAME}.0000000{number}.segment").write_bytes(content)
    assert () == verify_journal(tmp_path).faults
    store = JournalStorage(tmp_path)
    lines = b"".join(map(dump_line, store.events(SESSION)))
    assert (data / "version-1.trace.jsonl").read_bytes() == lines
    store.close()


@pytest.mark.parametrize("what", ["cut", "unsealed", "empty", "zeros", "gone"])
def test_behind_a_segment_that_a_power_cut_tore_nothing_is_believed(what: str, tmp_path: Path) -> None:
    """Later segments may have reached the disk before it: they are set aside, whole, and what is before is read as it was."""
    store = journal(tmp_path, max_bytes=600)
    records = [events(("session.started", {})), template(), *(resolve(n=n) for n in range(1, 12))]
    for record in records:
        store.append_records(frames(record))
    store._series.leave()
    paths = sorted(tmp_path.glob("*.segment"))
    assert len(paths) >= 4
    data = paths[1].read_bytes()
    kept = data[: {"cut": len(data) // 2, "unsealed": len(data) - 52, "zeros": 100}.get(what, 0)]
    paths[1].write_bytes(kept + bytes(len(data) - len(kept)) if what == "zeros" else kept)
    if what == "gone":
        paths[1].unlink()
    later = [path.read_bytes() for path in paths[2:]]
    whole = Expander()
    for record in records:
        whole.feed(record)
    batch = whole.take(0)
    assert batch is not None
    opened = JournalStorage(tmp_path)
    found = list(opened.events(SESSION))
    assert list(batch)[: len(found)] == found
    assert 0 < len(found) < len(batch)
    assert later == [path.with_name(path.name + ".torn").read_bytes() for path in paths[2:]]
    assert len(later) + (what in ("cut", "zeros")) == len(opened.repairs)
    opened.close()
    assert () == verify_journal(tmp_path).faults
    assert [] == [path.name for path in paths[2:] if path.exists()]


def test_segments_that_are_long_on_the_disk_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a folder takes no longer for what was written long ago."""
    clock = VirtualClock()
    store = JournalStorage(tmp_path, rotation=Rotation(max_bytes=1), clock=clock)
    for n in range(4):
        store.append_records(frames(events(n=n)))
        clock.advance(3_000 if n == 1 else 1)
    store._series.leave()
    checked: list[int] = []
    real = adoption.check
    monkeypatch.setattr(adoption, "check", lambda data: checked.append(len(data)) or real(data))
    JournalStorage(tmp_path).close()
    assert 3 == len(checked)  # of four: the first was sealed long before the last was begun
    assert () == verify_journal(tmp_path).faults


@pytest.mark.parametrize("indexed", [False, True])
def test_nothing_is_read_over_a_gap(indexed: bool, tmp_path: Path) -> None:
    """A damaged or missing segment is an error to readers: what comes behind it would get a chain that nobody wrote."""
    store = journal(tmp_path, max_bytes=600)
    for record in (events(("session.started", {})), template(), *(resolve(n=n) for n in range(1, 12))):
        store.append_records(frames(record))
    store.close()
    paths = sorted(tmp_path.glob("*.segment"))
    assert len(paths) > 3
    expected = list(JournalStorage(tmp_path).events(SESSION))
    if not indexed:
        for path in tmp_path.glob("*.index"):
            path.unlink()
    for place, path in enumerate(paths):
        data = path.read_bytes()
        at = len(data) - 52 - 44 - 3  # in the last record, before the last link and the seal
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        opened = JournalStorage(tmp_path)
        with pytest.raises(StorageError, match=f"the segment {path.name} is damaged at offset"):
            opened.count()
        try:
            found = list(opened.events(SESSION))
        except StorageError as error:
            assert f"the segment {path.name} is damaged at offset" in error.message  # noqa: PT017 - it may as well be right
        else:  # it does not need the place
            assert (expected, True) == (found, indexed)
        path.unlink()
        if path is not paths[-1]:
            with pytest.raises(StorageError, match=f"segments before {paths[place + 1].name} are missing"):
                list(JournalStorage(tmp_path).events(SESSION))
        path.write_bytes(data)
    assert 1 + 4 * 11 == JournalStorage(tmp_path).count(SESSION)


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_sessions_that_are_elsewhere_stay_readable(how: str, tmp_path: Path) -> None:
    """Of a journal with a hole those sessions are refused that have records in it, or may have: one that began before it
    and one that
    goes on behind it; not those that ended before, began behind, or are in other series."""
    other = journal(tmp_path)
    other.append_records(frames(events(session=9, n=90, define=definition(9))))
    other.close()
    store = journal(tmp_path, max_bytes=1)
    over, into, through, within, behind, late = (definition(number)[0] for number in range(2, 8))
    start, end = ("session.started", {}), ("session.ended", {})
    for session, n, kind in (
        *((2, 20, start), (2, 21, end)),  # over before the hole
        *((3, 30, start), (4, 40, start)),  # open before it
        *((3, 31, end), (5, 50, start), (5, 51, end), (6, 60, start)),  # the hole is made of these
        *((4, 41, end), (6, 61, end)),  # open behind it
        *((7, 70, start), (7, 71, end)),
    ):
        define = definition(session) if kind is start else None
        store.append_records(frames(events(kind, session=session, n=n, define=define)))
    expected = {name: list(store.events(name)) for name in store.sessions()}
    store.close()
    for path in tmp_path.glob("*.index"):
        path.unlink()
    paths = sorted(tmp_path.glob(f"{store._series.name}.*.segment"))
    for number, path in enumerate(paths[4:8]):
        data = path.read_bytes()
        if how == "missing":
            path.unlink()
        else:
            at = len(data) - 52 - 44 - 3 if number else 70  # the first one from its header on
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) * (len(data) - at))
    opened = journal(tmp_path)
    for name in (over, late, definition(9)[0]):
        assert expected[name] == list(opened.events(name))
        assert (expected[name][-1:], len(expected[name])) == (opened.last(name, 1), opened.count(name))
        assert name in opened.sessions()
    for name in (into, through, behind):
        with pytest.raises(StorageError, match="are missing" if how == "missing" else "is damaged at offset"):
            list(opened.events(name))
    if how == "damaged":
        with pytest.raises(
            StorageError, match=f"{paths[4].name} is damaged at offset .*see what is wrong with: cra trace"
        ):
            list(opened.events(within))
        health = opened.health()
        assert (False, 4) == (health.ok, len(health.details))
    opened.close()


def test_a_journal_that_was_closed_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole: nobody mends a series whose lock is gone, so that no segment of it may be torn by a power cut."""
    synced: set[int] = set()
    fsync = os.fsync

    def note(file: int) -> None:
        synced.add(os.fstat(file).st_ino)
        fsync(file)

    monkeypatch.setattr(os, "fsync", note)
    store = JournalStorage(tmp_path, rotation=Rotation(max_bytes=2_000))
    store.append_records(frames(events(("session.started", {})), template()))
    for n in range(1, 60):
        store.append_records(frames(resolve(f"goal {n}", n=n)))
    store.close()
    segments = list(tmp_path.glob("*.segment"))
    assert len(segments) > 2
    assert {path.stat().st_ino for path in segments} <= synced
    assert tmp_path.stat().st_ino in synced


READS: dict[str, Callable[[JournalStorage], Any]] = {
    "anchor": lambda store: store.anchor(SESSION),
    "count": lambda store: store.count(SESSION),
    "count of all": lambda store: store.count(),
    "events": lambda store: list(store.events(SESSION)),
    "head": lambda store: store.head(SESSION),
    "last": lambda store: store.last(SESSION, 1),
    "sessions": lambda store: store.sessions(),
}


@pytest.mark.parametrize("call", ["scandir", "open", "pread"])
@pytest.mark.parametrize("read", READS)
def test_a_read_that_the_system_refuses_is_a_storage_error(
    read: str, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its calls it is; and the next time it is read."""
    at = 1
    while True:
        store = journal(tmp_path / str(at), max_bytes=1)
        store._keeper = None  # which would read, too, when it likes
        store.append_records(frames(events(("session.started", {})), template(7, 1, 1)))
        store.append_records(frames(resolve("read", n=1, number=7, injected=[0])))
        failing = OnceFailing(getattr(os, call), at)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            if (found := refused(READS[read], store)) is None and not failing.has_fired:
                break
        assert found is None or "cannot be read: Input/output error; check the disk" in found
        READS[read](store)
        store.close()
        at += 1
    store.close()
    assert at > 1 or (read, call) in NOT_NEEDED


NOT_NEEDED = {("anchor", "open"), ("anchor", "pread")}


def refused(read: Callable[[JournalStorage], object], store: JournalStorage) -> str | None:
    """What a `StorageError` says, if that is raised."""
    try:
        read(store)
    except StorageError as error:
        return error.message
    return None
