"""A spool on disk, and what is left of one: at its bounds, refused by the disk, damaged anywhere, and given to its store."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError
from cra.reference.frames import frame
from cra.testing.traces import make_trace
from cra.trace import spool as spool_module
from cra.trace.batch import BATCH_BYTES, Batch
from cra.trace.checkup import check
from cra.trace.event import Event
from cra.trace.jsonl import dump_line
from cra.trace.ring_folder import RingFolder
from cra.trace.ring_look import look_at_rings
from cra.trace.spool import Spool
from cra.trace.spool_files import (
    HEADER,
    MAGIC,
    MAX_NUMBER,
    SegmentReader,
    SpoolHead,
    decode_batch,
    encode_batch,
    encode_head,
    segment_path,
)
from cra.trace.spool_recovery import DeadSpools, SpoolRecovery
from tests.support.away import AwayStorage

RING = "1-0123456789abcdef.ring"
HEAD = encode_head(SpoolHead("away:", 0, 0))
Change = Callable[[bytes], bytes]


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """The path of a ring, whose spools lie beside it."""
    return tmp_path / RING


def trace(count: int, size: int = 10) -> list[Event]:
    """So many events of one session, with payloads of so many bytes."""
    return make_trace([("a.b", {"n": n, "text": "x" * size}) for n in range(count)])


def batch_of(events: list[Event], position: int = 8) -> Batch:
    """Events of one session as the spool is given them."""
    lines = b"".join(map(dump_line, events))
    return Batch(lines, [(events[0].session_id, len(lines), len(events))], position)


def filled(ring: Path, batches: list[Batch], most: int = 2**24) -> Spool:
    """A spool that has taken these batches."""
    spool = Spool(ring, 0, "away:", most)
    assert [True] * len(batches) == [spool.append(batch) for batch in batches]
    return spool


def segments(ring: Path) -> list[Path]:
    """The files of the spools."""
    return sorted(ring.parent.glob("*.spool"))


def refuse(monkeypatch: pytest.MonkeyPatch, call: str, path: Path | None = None) -> None:
    """Have a system call fail, of this path or of any."""
    real = getattr(os, call)

    def refusing(*args: Any, **options: Any) -> Any:
        if path is None or os.fspath(args[0]) == os.fspath(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), args[0])
        return real(*args, **options)

    monkeypatch.setattr(os, call, refusing)


class TestWriting:
    """By the process that lives."""

    def test_more_than_a_segment_is_several_which_go_as_they_are_delivered(self, ring: Path) -> None:
        """In order, each batch once, a batch that is larger than a segment included."""
        events = trace(40, 3_000)
        batches = [batch_of([event], n) for n, event in enumerate(events[:30])]
        batches.append(batch_of(events[30:], 30))  # larger than an eighth of what there may be
        spool = filled(ring, batches, most=2**18)
        assert 3 < len(segments(ring))
        assert sum(path.stat().st_size for path in segments(ring)) == spool.size
        found = b""
        while not spool.is_empty:
            found += spool.peek(1).data
            spool.drop()
        assert b"".join(batch.data for batch in batches) == found
        assert ([], 0) == (segments(ring), spool.size)
        assert spool.append(batches[0]), "and it goes on from nothing"
        spool.close()
        spool.close()

    def test_a_batch_that_is_given_twice_is_there_once(self, ring: Path) -> None:
        """Whoever gave it was interrupted before it was told."""
        batch = batch_of(trace(2))
        spool = filled(ring, [batch, batch])
        assert (2, batch.data) == (spool.events, spool.peek().data)

    def test_what_does_not_fit_is_not_taken(self, ring: Path) -> None:
        """Not the batch, nor a segment for it, nor one more than there are names for; what is there stays."""
        events = trace(3, 200)
        spool = Spool(ring, 0, "away:", 1_000)
        assert not spool.append(batch_of(trace(1, 2_000)))
        assert spool.append(batch_of(events[:1]))
        assert not spool.append(batch_of(events[1:]))
        assert (1, None) == (spool.events, spool.error)
        small = Spool(ring, 1, "away:", len(encode_batch(batch_of(events[:1]))))
        assert not small.append(batch_of(events[:1])), "there is no room for the head of a segment"
        last = Spool(ring, 2, "away:", 2**20)
        last._number = MAX_NUMBER + 1
        assert not last.append(batch_of(events[:1]))
        assert 1 == len(segments(ring))

    def test_a_batch_of_which_the_disk_took_half_is_cut_off(self, ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """At once, or before the next one is written, into the same segment or a new one."""
        events = trace(3)
        spool = filled(ring, [batch_of(events[:1])])
        whole = segments(ring)[0].read_bytes()

        def half(file: int, data: bytes) -> None:
            os.write(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        for cuts in (True, False):
            with monkeypatch.context() as full:
                full.setattr(spool_module, "_write_all", half)
                if not cuts:
                    refuse(full, "ftruncate")
                assert not spool.append(batch_of(events[1:2]))
            assert cuts == (whole == segments(ring)[0].read_bytes())
            assert spool.error is not None
            assert spool.error.endswith(f"{os.fspath(ring)!r} cannot be written: {os.strerror(errno.ENOSPC)}")
        assert spool.append(batch_of(events[1:2]))
        assert whole + encode_batch(batch_of(events[1:2])) == segments(ring)[0].read_bytes()
        with monkeypatch.context() as full:
            full.setattr(spool_module, "_write_all", half)
            refuse(full, "ftruncate")
            assert not spool.append(batch_of(events[2:]))
        spool._segment_bytes = 1
        assert spool.append(batch_of(events[2:]))
        assert 2 == len(segments(ring))
        assert b"".join(map(dump_line, events)) == b"".join(
            batch.data for path in segments(ring) for batch in SegmentReader(path).batches()
        )

    def test_a_segment_that_cannot_be_begun_is_not_left(self, ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its name is free for the next try."""
        spool = Spool(ring, 0, "away:", 2**20)
        with monkeypatch.context() as full:
            refuse(full, "write")
            assert not spool.append(batch_of(trace(1)))
        assert [] == segments(ring)
        assert spool.append(batch_of(trace(1)))
        assert spool.error is None

    def test_a_segment_that_cannot_be_removed_is_none_of_it_any_more(
        self, ring: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Recovery finds that all of it is stored."""
        spool = filled(ring, [batch_of(trace(1))])
        spool.peek()
        refuse(monkeypatch, "unlink")
        spool.drop()
        assert (True, 0, 1) == (spool.is_empty, spool.size, len(segments(ring)))

    @pytest.mark.parametrize("how", ["changed", "another", "removed"])
    def test_what_cannot_be_read_back_is_said(self, ring: Path, how: str) -> None:
        """Whatever happened to the file meanwhile."""
        spool = filled(ring, [batch_of(trace(3))])
        (path,) = segments(ring)
        data = path.read_bytes()
        if how == "changed":
            path.write_bytes(data[:-9] + b"\0" + data[-8:])
        elif how == "another":
            path.write_bytes(HEAD + frame(b"x" * (len(data) - len(HEAD) - 8)))
        else:
            path.unlink()
        with pytest.raises(
            StorageError, match=r"is not what was written from byte \d+ on|cannot be read: No such"
        ) as info:
            spool.peek()
        assert info.value.message == spool.error


class TestReading:
    """By whoever finds it."""

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{}\n",
            b"[]",
            b'{"position":1,"runs":[]}',
            b'{"position":1,"runs":[["s",1,1]]}\n',
            b'{"position":1,"runs":[["s",-1,1]]}\n',
            b'{"position":1,"runs":[["s",1,-1]]}\nx',
            b'{"position":1,"runs":[],"more":1}\n',
        ],
    )
    def test_what_is_no_batch_is_none(self, content: bytes) -> None:
        """Sizes are those of the lines."""
        assert decode_batch(content) is None

    @pytest.mark.parametrize("length", range(len(HEAD)))
    def test_a_segment_that_ends_within_its_head_has_nothing(self, tmp_path: Path, length: int) -> None:
        """Its process died while it made it."""
        (tmp_path / "a").write_bytes(HEAD[:length])
        reader = SegmentReader(tmp_path / "a")
        assert (None, [], length, False) == (reader.head, list(reader.batches()), reader.torn, reader.is_damaged)

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (MAGIC + (2).to_bytes(4, "little"), "is no spool of version 1; use the version of cra that wrote it"),
            (b"something else", "is no spool of version 1"),
            (HEADER + frame(b"[]"), "is no spool: "),
            (HEADER + frame(b'{"store":"a","place":0,"number":0,"more":1}'), "is no spool: "),
        ],
    )
    def test_another_format_is_refused(self, tmp_path: Path, data: bytes, reason: str) -> None:
        """With what to do."""
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(StorageError, match=reason):
            SegmentReader(tmp_path / "a")

    def test_what_is_no_file_is_refused(self, tmp_path: Path) -> None:
        """And not waited for."""
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(StorageError, match="it is a pipe"):
            SegmentReader(tmp_path / "pipe")
        with pytest.raises(StorageError, match="No such file"):
            SegmentReader(tmp_path / "nothing")

    @pytest.mark.parametrize(
        ("rest", "damaged"),
        [
            (b"", False),
            (b"\0\0\0", False),
            (encode_batch(batch_of(trace(1)))[:-1], False),
            (frame(b"no batch"), True),
            (b"\0" * 8 + b"\1", True),
        ],
    )
    def test_what_follows_the_last_whole_batch_is_torn(self, tmp_path: Path, rest: bytes, damaged: bool) -> None:
        """It is damage where it has as many bytes as it says; else a process has died there."""
        batch = batch_of(trace(2))
        (tmp_path / "a").write_bytes(HEAD + encode_batch(batch) + rest)
        reader = SegmentReader(tmp_path / "a")
        assert [batch.data] == [found.data for found in reader.batches()]
        assert (len(rest), damaged) == (reader.torn, reader.is_damaged)


class TestRecovery:
    """Of a process that is gone."""

    def test_much_of_it_is_given_to_the_store_in_pieces(self, ring: Path) -> None:
        """All of it, in order."""
        events = trace(5, BATCH_BYTES // 2)
        filled(ring, [batch_of([event]) for event in events]).close()
        store = AwayStorage()
        spools = DeadSpools(ring)
        assert SpoolRecovery(5, 5) == spools.deliver([store])
        spools.remove()
        assert (events, []) == (list(store.events(events[0].session_id)), segments(ring))

    def test_what_has_a_gap_before_it_is_not_stored_and_set_aside(self, ring: Path) -> None:
        """The store would have a chain that does not verify."""
        events = trace(6)
        filled(ring, [batch_of(events[:2]), batch_of(events[4:])]).close()
        store = AwayStorage()
        spools = DeadSpools(ring)
        assert SpoolRecovery(4, 2, 0, 1) == spools.deliver([store])
        spools.remove()
        assert (events[:2], []) == (list(store.events(events[0].session_id)), segments(ring))
        assert 1 == len(list(ring.parent.iterdir()))

    def test_a_segment_of_another_format_is_set_aside(self, ring: Path) -> None:
        """Nobody knows for which store it is."""
        segment_path(ring, 0, 0).write_bytes(b"something else")
        spools = DeadSpools(ring)
        assert SpoolRecovery(0, 0, 0, 1) == spools.deliver([AwayStorage()])
        spools.remove()
        assert [b"something else"] == [path.read_bytes() for path in ring.parent.iterdir()]
        assert [] == segments(ring)

    def test_what_cannot_be_read_just_now_is_left_where_it_is(
        self, ring: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It says nothing of what is there."""
        filled(ring, [batch_of(trace(1))]).close()
        spools = DeadSpools(ring)
        with monkeypatch.context() as away:
            refuse(away, "open", segments(ring)[0])
            with pytest.raises(StorageError, match=r"the spool .* cannot be read: Input/output error"):
                spools.deliver([AwayStorage()])
        with monkeypatch.context() as away:
            refuse(away, "listdir")
            with pytest.raises(StorageError, match="cannot be listed: Input/output error"):
                DeadSpools(ring)
        assert SpoolRecovery(1, 1) == spools.deliver([AwayStorage()])

    def test_what_cannot_be_removed_is_said_and_what_is_gone_is_gone(
        self, ring: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The next start removes it."""
        filled(ring, [batch_of(trace(1))]).close()
        spools = DeadSpools(ring)
        spools.deliver([AwayStorage()])
        with monkeypatch.context() as away:
            refuse(away, "unlink")
            with pytest.raises(StorageError, match="cannot be removed: Input/output error"):
                spools.remove()
        segments(ring)[0].unlink()
        spools.remove()


class TestLook:
    """By the doctor, who changes nothing."""

    @pytest.fixture
    def dead(self, tmp_path: Path) -> Path:
        """The ring of a process that is gone, beside the folder that it stored into."""
        (tmp_path / "store").mkdir()
        (tmp_path / "store.ring").mkdir()
        file = RingFolder(tmp_path / "store.ring").create(2**16)
        file.leave()
        return file.path

    def test_what_waits_is_counted_and_its_store_named(self, dead: Path, tmp_path: Path) -> None:
        """With the ring that it lies beside."""
        size = filled(dead, [batch_of(trace(3))]).size
        (ring,) = look_at_rings(dead.parent).rings
        assert (3, size, ("away:",), None) == (ring.spooled, ring.spool_bytes, ring.stores, ring.spool)
        assert "3 events spooled for away:, which was away" in words(tmp_path)

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda data: data[:-3], "bytes are torn"),
            (lambda data: b"something else", "is no spool of version 1"),
        ],
    )
    def test_what_is_wrong_with_it_is_said(self, change: Change, problem: str, dead: Path, tmp_path: Path) -> None:
        """In the sentence about its ring."""
        filled(dead, [batch_of(trace(3))])
        (path,) = segments(dead)
        path.write_bytes(change(path.read_bytes()))
        (ring,) = look_at_rings(dead.parent).rings
        assert ring.spool is not None
        assert problem in ring.spool
        assert f"spool: {ring.spool}" in words(tmp_path)

    def test_what_is_delivered_meanwhile_is_no_problem(self, dead: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its files are gone between the list and the look, before their size is asked for or after."""
        filled(dead, [batch_of(trace(3))])
        (path,) = segments(dead)
        with monkeypatch.context() as gone:
            gone.setattr("cra.trace.ring_look.SegmentReader", lambda path: SegmentReader(path.with_name("nothing")))
            (ring,) = look_at_rings(dead.parent).rings
            assert (0, None) == (ring.spooled, ring.spool)
        path.unlink()
        path.symlink_to("nothing")
        (ring,) = look_at_rings(dead.parent).rings
        assert (0, 0, None) == (ring.spooled, ring.spool_bytes, ring.spool)

    def test_a_folder_that_cannot_be_listed_again_is_said(self, dead: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is known of the ring itself stays."""

        def refusing(_: Path) -> Any:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr("cra.trace.ring_look.spools_of", refusing)
        (ring,) = look_at_rings(dead.parent).rings
        assert ("dead", "Input/output error") == (ring.state, ring.spool)

    def test_one_whose_ring_is_gone_is_a_problem(self, dead: Path, tmp_path: Path) -> None:
        """No recovery would find it."""
        filled(dead, [batch_of(trace(3))])
        for path in dead.parent.glob(dead.stem + ".*"):
            if path.suffix != ".spool":
                path.unlink()
        assert "it is a spool whose ring is gone, and no recovery finds it" in words(tmp_path)


def words(folder: Path) -> str:
    """What the doctor says of the store."""
    return "\n".join(problem.message for problem in check(folder / "store").problems)
