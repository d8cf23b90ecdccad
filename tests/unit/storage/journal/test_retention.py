"""Retention: old segments go, a tombstone stays, and the rest is read and verified from there."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.hotpath import Expander
from cra.reference.frames import frame
from cra.storage.journal import entries
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.retention import Retention
from cra.storage.journal.segment import check as check_segment
from cra.storage.journal.series import Rotation
from cra.storage.journal.tombstones import Note, Tombstone, decode_tombstone, encode_tombstone, read_tombstone
from cra.storage.journal.verify import verify_journal
from cra.storage.memory import MemoryStorage
from cra.testing import VirtualClock
from cra.trace.open_work import OpenWork
from tests.support.journals import files, frames
from tests.support.records import NOON, definition, events, resolve, template

DATA = Path(__file__).parents[3] / "data/journal"
pytestmark = pytest.mark.usefixtures("twin")
FIRST, SECOND, THIRD = (definition(number)[0] for number in (1, 2, 3))
LOAD = [
    events(("session.started", {"n": 0})),
    template(),
    events(("session.started", {}), session=2, n=20, define=definition(2)),
    *(resolve(f"goal {n}", n=n, injected=[n % 3]) for n in range(1, 6)),
    *(resolve(f"other {n}", n=n, session=1 + n % 2) for n in range(21, 26)),
    events(("session.ended", {}), session=2, n=30, define=None),
    events(("session.started", {}), session=3, n=40, define=definition(3)),
    *(resolve(f"third {n}", n=n, session=1 + 2 * (n % 2)) for n in range(41, 46)),
]


def whole(records: list[bytes]) -> MemoryStorage:
    """What a store of events has."""
    expander, memory = Expander(), MemoryStorage()
    for record in records:
        expander.feed(record)
    batch = expander.take(0)
    assert batch is not None
    memory.append(batch)
    return memory


def write(folder: Path, records: list[bytes], **options: Any) -> JournalStorage:
    """A journal with a segment for every record or two; it is not closed."""
    store = JournalStorage(folder, rotation=Rotation(max_bytes=1_200), **options)
    store._keeper = None  # what it would do in the background is done when the test says so
    for record in records:
        store.append_records(frame(record))
    return store


def check(store: JournalStorage, memory: MemoryStorage) -> dict[str, int]:
    """Everything there is, is the end of what was written, and verifies from the anchor; how many events are left of each
    session."""
    left = {}
    for name in store.sessions():
        kept, all_of_it = list(store.events(name)), list(memory.events(name))
        assert all_of_it[len(all_of_it) - len(kept) :] == kept
        assert kept[-2:] == store.last(name, 2)
        assert len(kept) == store.count(name)
        anchor = store.anchor(name)
        assert (anchor is None) == (len(kept) == len(all_of_it))
        verdict = cra.verify_chain(kept, anchor=anchor)
        assert verdict.valid, verdict
        if anchor is not None:
            assert all_of_it[anchor[1]].event_hash == anchor[2]
        left[name] = len(kept)
    assert sum(left.values()) == store.count()
    assert () == verify_journal(store.location).faults
    return left


def size(folder: Path) -> int:
    """The bytes of all segments."""
    found = 0
    for path in folder.glob("*.segment"):
        with suppress(FileNotFoundError):  # it has just gone
            found += path.stat().st_size
    return found


@pytest.mark.parametrize("most", [0, 1_000, 2_000, 3_000, 4_000, 10**6])
def test_the_oldest_segments_go_until_the_rest_is_small_enough(most: int, tmp_path: Path) -> None:
    """Never the one that is being written. Sessions that go on are read from the cut, with the same bytes."""
    memory = whole(LOAD)
    store = write(tmp_path, LOAD, retention=Retention(max_bytes=most))
    before = files(tmp_path)
    gone = store.apply_retention()
    after = files(tmp_path)
    kept = list(before)[gone:]
    assert kept == list(after)[: len(kept)]
    assert all(before[name] == after[name] for name in kept[:-1])
    assert size(tmp_path) <= most + 1_000 or 1 == len(kept)  # what vouches for the tombstone has come since
    assert (gone == 0) == (most == 10**6)
    left = check(store, memory)
    assert FIRST in left
    assert [path.name for path in tmp_path.glob("*.gone")] == [
        f"{store._series.name}.{gone - 1:08d}.gone" for _ in range(gone > 0)
    ]
    store.append_records(frames(resolve("more", n=99), events(("session.ended", {}), n=100, define=None)))
    more = whole([*LOAD, resolve("more", n=99), events(("session.ended", {}), n=100, define=None)])
    check(store, more)
    store.close()
    reopened = JournalStorage(tmp_path)
    check(reopened, more)
    reopened.close()


def test_segments_go_when_they_are_old(tmp_path: Path) -> None:
    """By the time in their seals."""
    clock = VirtualClock()
    store = write(tmp_path, LOAD[:11], retention=Retention(max_seconds=60), clock=clock)
    clock.advance(40)
    for record in LOAD[11:]:
        store.append_records(frame(record))
    assert 0 == store.apply_retention()
    clock.advance(30)
    gone = store.apply_retention()
    assert 0 < gone < len(files(tmp_path))
    check(store, whole(LOAD))
    assert 0 == store.apply_retention()
    store.close()


def test_it_goes_on_step_by_step(tmp_path: Path) -> None:
    """A tombstone takes the place of the one before, and says of both what went."""
    memory = whole(LOAD)
    store = write(tmp_path, LOAD, retention=Retention(max_bytes=10**6))
    total = size(tmp_path)
    stones = []
    for _ in range(3):
        most = size(tmp_path) - 1
        assert store._gravedigger is not None
        store._gravedigger._retention = Retention(max_bytes=most)
        assert store.apply_retention() >= 1
        (path,) = tmp_path.glob("*.gone")
        stones.append(read_tombstone(path))
        check(store, memory)
    assert 3 == len(stones)
    assert total > stones[-1].size > stones[0].size
    assert sorted(stone.number for stone in stones) == [stone.number for stone in stones]
    assert 1 == len({(stone.series, stone.begun_ns) for stone in stones})
    store.close()
    assert () == verify_journal(tmp_path).faults


def test_events_that_came_as_events_have_an_anchor_too(tmp_path: Path, sessions: Any) -> None:
    """Sessions that go on are verified from the last of their events that went."""
    store = write(tmp_path, [], retention=Retention(max_bytes=0))
    first, second = sessions.events(0, 6), sessions.events(1, 2) + sessions.end(1)
    for event in (*first[:4], *second, *first[4:]):
        store.append([event])
    assert store.apply_retention() > 0
    kept = list(store.events(sessions.id(0)))
    assert first[-len(kept) :] == kept
    anchor = store.anchor(sessions.id(0))
    assert (sessions.id(0), first[-len(kept) - 1].sequence, first[-len(kept) - 1].event_hash) == anchor
    assert cra.verify_chain(kept, anchor=anchor).valid
    assert store.anchor(sessions.id(1)) is None
    assert () == verify_journal(tmp_path).faults
    store.close()


def test_the_series_of_others_go_when_they_are_complete(tmp_path: Path) -> None:
    """One that a living process writes stays as it is, its sealed segments included."""
    memory = whole(LOAD)
    write(tmp_path, LOAD).close()
    complete = set(files(tmp_path))
    living = write(tmp_path, [events(session=9, n=n, define=definition(9)) for n in range(500, 508)])
    theirs = {name: data for name, data in files(tmp_path).items() if name not in complete}
    store = write(tmp_path, [events(session=8, n=600, define=definition(8))], retention=Retention(max_bytes=1))
    assert len(complete) == store.apply_retention()
    left = files(tmp_path)
    assert complete.isdisjoint(left)
    assert theirs.items() <= left.items()
    assert {definition(9)[0], definition(8)[0]} == set(store.sessions())
    assert [] == list(store.events(FIRST))
    anchor = store.anchor(FIRST)
    assert anchor is not None
    assert list(memory.events(FIRST))[-1].event_hash == anchor[2]
    assert () == verify_journal(tmp_path).faults
    living.close()
    # What vouched for that tombstone goes as well: the next one takes its note along.
    store.close()
    last = write(tmp_path, [events(session=7, n=700, define=definition(7))], retention=Retention(max_bytes=1))
    assert last.apply_retention() > 0
    assert 3 == len(list(tmp_path.glob("*.gone")))
    assert () == verify_journal(tmp_path).faults
    last.close()


def test_every_changed_byte_of_a_tombstone_is_found(tmp_path: Path) -> None:
    """One that was made again, with another hash in it, too: the journal vouches for the one that was."""
    store = write(tmp_path, LOAD, retention=Retention(max_bytes=2_000))
    store.apply_retention()
    store.close()
    (path,) = tmp_path.glob("*.gone")
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert not verify_journal(tmp_path).valid, at
    stone = decode_tombstone(data)
    heads = {name: (head[0], "0" * 64, head[2]) for name, head in stone.heads.items()}
    path.write_bytes(encode_tombstone(stone._replace(heads=heads), bytes(32), NOON))
    assert (f"{path.name}: nothing in the journal vouches for it",) == verify_journal(tmp_path).faults
    path.unlink()
    assert "are missing before it" in verify_journal(tmp_path).faults[0]


def test_a_tombstone_comes_back_as_it_was_given() -> None:
    """With its heads and notes."""
    stone = Tombstone(
        *(bytes(range(16)), 7, 123, NOON, NOON + 1, bytes(range(32))),
        {FIRST: (3, "ab" * 32, NOON), SECOND: (2**63, "0" * 64, -1)},
        (Note(bytes(16), 3, bytes(32)),),
    )
    data = encode_tombstone(stone, bytes(32), NOON)
    assert stone == decode_tombstone(data)
    for damaged in (data[:-1], data + frame(b"\x10"), b"", data[:80]):
        with pytest.raises(StorageError, match="the tombstone is damaged"):
            decode_tombstone(damaged)


def golden(version: int) -> Tombstone:
    """The tombstone in the golden file of a version, and what it says of sessions."""
    stone = Tombstone(
        *(bytes(range(16)), 7, 123, NOON, NOON + 1, bytes(range(32))),
        {FIRST: (3, "ab" * 32, NOON), SECOND: (2**63, "0" * 64, -1)},
        (Note(bytes(16), 3, bytes(32)),),
    )
    opened = {FIRST: OpenWork(NOON, 2, {THIRD: {"action_id": "a.b", "resolution_id": SECOND}, SECOND: {}})}
    return stone if version == 1 else stone._replace(open=opened)


@pytest.mark.parametrize("version", [1, 2])
def test_what_every_version_wrote_can_be_read(version: int) -> None:
    """The golden files never change. The second came because who closes a session for a dead process has to know when it
    started, how many actions it had and which are open, also where retention took the events that say so."""
    text = (DATA / f"version-{version}.gone.hex").read_text()
    data = b"".join(bytes.fromhex(line[10:]) for line in text.splitlines())
    assert golden(version) == decode_tombstone(data)
    assert (version == 2) == (data == encode_tombstone(golden(version), bytes(32), NOON))


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 20, b"\xff" * 32, b"\x01\x00\x00\x00" + b"\x00" * 16 + b"\x05\x00\x00\x00[}"]
)
def test_what_is_said_of_a_session_is_read_strictly(content: bytes) -> None:
    """Cut short, too long, or no JSON: the tombstone is refused, whatever vouches for it."""
    plain = encode_tombstone(golden(1), bytes(32), NOON)
    head = plain[: -entries.SEAL_BYTES] + frame(bytes([entries.OPEN, 0, 0, 0]) + bytes(32) + content)
    data = head + entries.seal(hashlib.sha256(head).digest(), NOON)
    with pytest.raises(StorageError, match="what it says of a session is malformed"):
        decode_tombstone(data)


def test_a_damaged_segment_is_kept(tmp_path: Path) -> None:
    """A tombstone would hide what was done to it."""
    store = write(tmp_path, LOAD, retention=Retention(max_bytes=0))
    path = sorted(tmp_path.glob("*.segment"))[1]
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="is damaged, and is kept; verify the journal"):
        store.apply_retention()
    assert path.exists()
    store._keep()
    assert any("is damaged, and is kept" in each for each in store.health().details)
    store.close()


CALLS = ("open", "writev", "rename", "link", "fsync", "ftruncate", "unlink")


@pytest.mark.parametrize("dies", [False, True])
def test_wherever_burying_fails_everything_is_there_or_buried(
    dies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call fails once; or everything from there on, as when the process dies. Opened again, the journal verifies, what
    is left is the end of what was written, and retention finishes its work."""
    memory = whole(LOAD)
    fired = 0
    for turn in range(1_000):
        folder = tmp_path / str(turn)
        store = write(folder, LOAD, retention=Retention(max_bytes=3_000))
        store.flush(durable=True)
        with monkeypatch.context() as patched:
            failed = _fail(patched, turn, dies)
            try:
                store.apply_retention()
            except StorageError:
                assert failed
            except OSError:
                assert failed
        store._series.leave()
        reopened = JournalStorage(folder, retention=Retention(max_bytes=3_000))
        check(reopened, memory)
        reopened._keeper = None
        reopened.append_records(frame(events(session=9, n=900, define=definition(9))))
        reopened.apply_retention()
        assert [] == [path.name for path in folder.iterdir() if path.name.endswith(".part")]
        assert 2 >= len(list(folder.glob("*.gone")))
        more = whole([*LOAD, events(session=9, n=900, define=definition(9))])
        check(reopened, more)
        reopened.close()
        if not failed:
            break
        fired += 1
    assert 10 < fired < 999


def _fail(patched: pytest.MonkeyPatch, turn: int, stays: bool) -> list[str]:
    """Have the call number `turn` fail, and with `stays` every one after it; what failed is noted in the list."""
    failed: list[str] = []
    count = 0

    def wrap(name: str) -> Any:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count - 1 == turn or (stays and count - 1 > turn):
                failed.append(name)
                raise OSError(errno.EIO, "injected")
            return real(*arguments, **options)

        return call

    for name in CALLS:
        patched.setattr(os, name, wrap(name))
    return failed


def test_it_is_done_in_the_background(tmp_path: Path) -> None:
    """Whenever a segment is full; what is read meanwhile is the end of the session as it is."""
    store = JournalStorage(tmp_path, rotation=Rotation(max_bytes=2_000), retention=Retention(max_bytes=8_000))
    done = threading.Event()
    store.append_records(frames(events(("session.started", {})), template()))
    wrong: list[Any] = []

    def read() -> None:
        while not done.is_set():
            try:
                kept = list(store.events(FIRST))
            except StorageError:
                continue  # what was being read went
            if kept and [event.sequence for event in kept] != list(range(kept[0].sequence, kept[-1].sequence + 1)):
                wrong.append(kept)

    reader = threading.Thread(target=read)
    reader.start()
    rng = random.Random(1)
    try:
        for n in range(1, 200):
            store.append_records(frames(resolve("x" * rng.randrange(300), n=n)))
        for _ in range(3_000):
            if size(tmp_path) < 12_000:
                break
            store._wake_keeper()
            done.wait(0.01)
    finally:
        done.set()
        reader.join(60)
    assert [] == wrong
    assert size(tmp_path) < 12_000
    store.close()
    assert () == verify_journal(tmp_path).faults


def test_a_session_of_events_that_ended_does_not_go_on(tmp_path: Path, sessions: Any) -> None:
    """Not even where a tombstone before had said that it does."""
    store = write(tmp_path, [], retention=Retention(max_bytes=0))
    for event in sessions.events(0, 6):
        store.append([event])
    assert store.apply_retention() > 0
    assert store.anchor(sessions.id(0)) is not None
    for event in (*sessions.end(0), *sessions.events(1, 6)):
        store.append([event])
    assert store.apply_retention() > 0
    assert (None, [sessions.id(1)]) == (store.anchor(sessions.id(0)), store.sessions())
    store.close()


@pytest.mark.parametrize("how", ["flush", "health", "keeper"])
def test_the_segment_of_an_idle_process_grows_old_too(how: str, tmp_path: Path) -> None:
    """It is sealed after its time though nothing more is written, and then retention takes it."""
    clock = VirtualClock()
    options: Any = {"rotation": Rotation(max_seconds=10), "retention": Retention(max_seconds=60), "clock": clock}
    store = JournalStorage(tmp_path, **options)
    keeper, store._keeper = store._keeper, None
    store.append_records(frames(events(("session.started", {}))))
    assert 7.5 == store._keep()
    clock.advance(11)
    if how == "flush":
        store.flush(durable=False)
    elif how == "health":
        store.health()
    else:
        assert 7.5 == store._keep()
    (segment,) = tmp_path.glob("*.segment")
    assert check_segment(segment.read_bytes()).is_sealed
    store.write_as("7-0000000000000001")  # too late: something is written
    clock.advance(61)
    store._keep()
    assert not segment.exists()
    store.append_records(frames(events(n=1, define=None), events(("session.ended", {}), n=2, define=None)))
    (anchored,) = store.sessions()
    assert cra.verify_chain(list(store.events(anchored)), anchor=store.anchor(anchored)).valid
    store.close()
    assert () == verify_journal(tmp_path).faults
    assert keeper is not None


def test_an_idle_process_seals_by_itself(tmp_path: Path) -> None:
    """A thread of the journal does, which nobody has to wake."""
    store = JournalStorage(tmp_path, rotation=Rotation(max_seconds=0.01))
    store.append_records(frames(events(("session.started", {}))))
    (segment,) = tmp_path.glob("*.segment")
    for _ in range(500):
        if check_segment(segment.read_bytes()).is_sealed:
            break
        threading.Event().wait(0.02)
    assert check_segment(segment.read_bytes()).is_sealed
    store.close()
