"""Indexes: made when a segment is sealed, in the background, and never believed where they may be wrong."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from cra.errors import StorageError
from cra.reference.frames import frame
from cra.storage.journal import index as index_module
from cra.storage.journal import indexes as indexes_module
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.index import IndexBuilder
from cra.storage.journal.indexes import Indexes
from cra.storage.journal.names import segments
from cra.storage.journal.series import Rotation
from cra.storage.journal.verify import verify_journal
from tests.support.journals import frames
from tests.support.records import definition, events, resolve, template

pytestmark = pytest.mark.usefixtures("twin")
SESSIONS = [definition(n)[0] for n in range(1, 41)]


def write(folder: Path, **options: Any) -> JournalStorage:
    """A journal of many sessions with several sealed segments and one that is written; nothing is done in the background."""
    store = JournalStorage(folder, rotation=Rotation(max_bytes=3_000), **options)
    store._keeper = None
    store.append_records(frames(template()))
    for n, _ in enumerate(SESSIONS, 1):
        begin = events(("session.started", {}), session=n, define=definition(n), n=10 * n)
        store.append_records(frames(begin, resolve(session=n, n=10 * n + 1)))
    return store


def indexed(folder: Path) -> list[bool]:
    """Of each segment, whether it has an index."""
    found = segments(folder).values()
    return [segment.index_path.exists() for files in found for segment in files]


def all_events(store: JournalStorage) -> list[Any]:
    """What readers get of all sessions, one after the other."""
    return [list(store.events(one)) for one in SESSIONS]


def no_building(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, an index that has to be made is an error."""

    def refuse() -> None:
        raise AssertionError("an index was made")

    monkeypatch.setattr(indexes_module, "IndexBuilder", refuse)


def test_the_keeper_indexes_what_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the segment that is being written; and closing indexes that: who opens the folder next has no index to make."""
    store = write(tmp_path)
    assert len(indexed(tmp_path)) > 3
    assert not any(indexed(tmp_path))
    store._keep()
    *sealed, written = indexed(tmp_path)
    assert (True, False) == (all(sealed), written)
    assert 0 == store.index_sealed()
    expected = all_events(store)
    store.close()
    assert all(indexed(tmp_path))
    no_building(monkeypatch)
    assert expected == all_events(JournalStorage(tmp_path))
    assert () == verify_journal(tmp_path).faults


def test_a_thread_of_the_journal_does_it(tmp_path: Path) -> None:
    """Without retention and compression, too, and with nobody who waits for it."""
    store = JournalStorage(tmp_path, rotation=Rotation(max_bytes=300))
    store.append_records(frames(events(("session.started", {}))))
    for n in range(1, 30):
        store.append_records(frames(events(n=n, define=None)))
    end = time.monotonic() + 60
    while not all(indexed(tmp_path)[:-1]) and time.monotonic() < end:
        time.sleep(0.005)
    assert all(indexed(tmp_path)[:-1])
    store.close()


def test_what_others_left_is_indexed_as_well(tmp_path: Path) -> None:
    """By whoever keeps the folder next: a journal from before there were indexes has them soon."""
    write(tmp_path).close()
    for path in tmp_path.glob("*.index"):
        path.unlink()
    keeper = JournalStorage(tmp_path)
    assert len(indexed(tmp_path)) == keeper.index_sealed() > 3
    assert all(indexed(tmp_path))
    keeper.close()


def test_who_makes_indexes_holds_none(tmp_path: Path) -> None:
    """A process that only writes does not grow with what it has written."""
    store = write(tmp_path)
    assert store.index_sealed() > 3
    assert (0, 0) == (len(store._reader._indexes._sealed), len(store._reader._indexes._growing))
    store.close()


def test_a_damaged_segment_is_not_indexed_and_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said to be damaged; nobody reads it again and again for that."""
    store = write(tmp_path)
    (files,) = segments(tmp_path).values()
    path = files[1].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert len(files) - 2 == store.index_sealed()
    assert [False] == [segment.index_path.exists() for segment in files[1:2]]
    assert not store.health().ok
    no_building(monkeypatch)
    assert 0 == store.index_sealed()


def test_a_disk_that_refuses_leaves_no_index_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers make it then, whatever step fails."""
    store = write(tmp_path)
    refused: list[str] = []
    for name in ("open", "rename"):
        real: Callable[..., Any] = getattr(os, name)

        def refuse(path: Any, *rest: Any, name: str = name, real: Callable[..., Any] = real, **more: Any) -> Any:
            if ".index." in os.fspath(path):
                refused.append(name)
                raise OSError(errno.ENOSPC, "no room")
            return real(path, *rest, **more)

        with monkeypatch.context() as patch:
            patch.setattr(index_module.os, name, refuse)
            assert 0 == store.index_sealed()
        assert refused[-1] == name
        store._reader._indexes._refused.clear()
    assert not any(indexed(tmp_path))
    assert not list(tmp_path.glob("*.part"))
    assert all(len(found) > 1 for found in all_events(store))
    store.close()
    assert all(indexed(tmp_path))


def test_a_process_that_is_killed_while_it_writes_one_leaves_nothing_harmful(tmp_path: Path) -> None:
    """What it had written goes when its series is adopted, or with the next who keeps the folder; what a living process writes
    stays."""
    expected = all_events(write(tmp_path / "whole"))
    folder = tmp_path / "killed"
    child = os.fork()
    if child == 0:
        store = write(folder)
        index_module.os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        store.index_sealed()
        os._exit(1)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (part,) = folder.glob("*.part")
    store = JournalStorage(folder)
    assert expected == all_events(store)
    assert not part.exists()  # with the series that was adopted
    alive = part.with_name(part.name.replace(f".{child}-", f".{os.getppid()}-"))
    for path in (part, alive):
        path.write_bytes(b"half")
    store.index_sealed()
    assert [alive] == list(folder.glob("*.part"))
    store.close()
    assert () == verify_journal(folder).faults


def test_a_segment_that_goes_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention of another process may take it between any two steps."""
    store = write(tmp_path)
    (files,) = segments(tmp_path).values()
    make = Indexes.make_missing

    def make_later(self: Indexes, segment: Any) -> bool:
        if segment == files[0]:
            segment.path.unlink()
        return make(self, segment)

    monkeypatch.setattr(Indexes, "make_missing", make_later)
    assert len(files) - 2 == store.index_sealed()


def test_searching_an_index_finds_what_decoding_it_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records and events, sessions that are in several segments or in none; by the first look and by the hundredth."""
    store = write(tmp_path)
    lines = list(store.events(SESSIONS[3]))
    for session in (1, 2):
        store.append_records(frames(resolve(session=session, n=1_000 + session)))
    store.close()
    other = JournalStorage(tmp_path)
    other.append(lines[:1])  # as what came as events, and a second time
    other.close()
    (absent,) = definition(99)[:1]
    (own, *_), (came, *_) = sorted(segments(tmp_path).values(), key=len, reverse=True)
    names = {file for files in segments(tmp_path).values() for file in files}
    assert own in names
    assert came in names
    for segment in names:
        found = Indexes().of(segment)
        assert found._kept is not None
        searched = [(found._kept.stretches(one), found._kept.lines(one)) for one in (*SESSIONS, absent)]
        monkeypatch.setattr(indexes_module, "_SEARCHES", 0)
        assert searched == [(found.stretches(one), found.lines(one)) for one in (*SESSIONS, absent)]
        assert any(a or b for a, b in searched)
        monkeypatch.undo()


def test_many_look_ups_decode_an_index_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all sessions, each by itself, does not search the whole index for every one of them."""
    write(tmp_path).close()
    (files,) = segments(tmp_path).values()
    found = Indexes().of(files[1])
    for one in SESSIONS:
        found.stretches(one)

    def refuse(*_: Any) -> Any:
        raise AssertionError("searched again")

    monkeypatch.setattr(index_module.KeptIndex, "_of", refuse)
    assert sum(len(found.stretches(one)) for one in SESSIONS) == len(found.index.sessions)


def test_an_index_that_is_none_inside_says_so(tmp_path: Path) -> None:
    """With a checksum that fits somebody has made it so: a clear error, and no wrong answer."""
    write(tmp_path).close()
    (files,) = segments(tmp_path).values()
    path = files[0].index_path
    data = path.read_bytes()[9:].replace(b'"' + SESSIONS[0].encode() + b'",', b'"' + SESSIONS[0].encode() + b'","x",')
    path.write_bytes(b"%08x\n" % crc32(data) + data)
    for read in (lambda store: list(store.events(SESSIONS[0])), lambda store: store.sessions()):
        with pytest.raises(StorageError, match="holds what no index holds; remove it"):
            read(JournalStorage(tmp_path))
    path.unlink()
    assert JournalStorage(tmp_path).sessions() == sorted(SESSIONS)


def test_the_end_of_a_session_costs_the_same_whatever_comes_behind_it() -> None:
    """Not a copy of all that follows: a segment of very many short sessions would take a minute."""
    ended = [
        frame(events(("session.started", {}), ("session.ended", {}), session=n, define=definition(1)))
        for n in range(4_000)
    ]
    data = b"".join(ended) + frame(b"\x10" + bytes(32 * 2**20))
    builder = IndexBuilder()
    began = time.thread_time()
    assert builder.feed(data)
    assert time.thread_time() - began < 3  # copied, it would be 128 GB
    assert len(ended) == len(builder.index().sessions)
