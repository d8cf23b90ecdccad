"""Whole stores, and what comes through a pipe, are verified line by line; what cannot be read is told in one sentence."""

from __future__ import annotations

import errno
import io
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError
from cra.storage.journal import entries
from cra.storage.journal.backend import JournalStorage
from cra.testing.traces import make_trace
from cra.trace import verify_store
from cra.trace.event import Event
from cra.trace.journal_lines import JournalLines
from cra.trace.jsonl import dump_line
from cra.trace.places import Places
from cra.trace.sqlite_look import lines_of_sqlite
from cra.trace.store_look import lines_of_folder, look_at_store
from cra.trace.verify_store import verify_path, verify_stream
from tests.support import twins
from tests.support.stores import written

EVENTS = [event for session in (1, 2, 3) for event in make_trace([("a.b", {}), ("a.c", {})], session=session)]
LINES = [dump_line(event) for event in EVENTS]


class Failing(io.BytesIO):
    """A pipe of which reading fails."""

    def readline(self, *_: Any) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    read = readline  # type: ignore[assignment]


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The disk does not give what is in this file."""
    real = os.open

    def refusing(path: Any, *args: Any, **options: Any) -> int:
        if os.fspath(path).endswith(name):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refusing)


@pytest.mark.parametrize("most", [1, 700, 2**20])
def test_lines_are_verified_some_at_a_time(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many fit: the verdict is the same, and so is that of a trace that was changed."""
    monkeypatch.setattr(verify_store, "_SPOOL_BYTES", most)
    found = verify_stream(io.BytesIO(b"".join(LINES)))
    assert (True, 6, 3) == (found.valid, found.event_count, len(found.sessions))
    changed = b"".join([*LINES[:3], LINES[3].replace(b"a.c", b"a.d"), *LINES[4:]])
    found = verify_stream(io.BytesIO(changed))
    assert (False, "hash_mismatch", 3) == (found.valid, found.error_type, found.error_index)


@pytest.mark.parametrize("implementation", twins.TESTED)
@pytest.mark.parametrize("most", [1, 2000, 2**20])
def test_a_session_cannot_begin_a_second_time(implementation: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in the stream it does: chains go on from one part of it to the next."""
    monkeypatch.setattr(verify_store, "_SPOOL_BYTES", most)
    genuine = make_trace([("a.b", {"n": n}) for n in range(9)])
    forged = make_trace([("a.b", {"forged": n}) for n in range(3)])
    with twins.running(implementation, verify_store):
        found = verify_stream(io.BytesIO(b"".join(map(dump_line, genuine + forged))))
    assert (False, "sequence_gap", 9, 12) == (found.valid, found.error_type, found.error_index, found.event_count)


@pytest.mark.parametrize("implementation", twins.TESTED)
def test_an_anchor_holds_however_lines_are_written(implementation: str) -> None:
    """With the fields in any order, and JSON's white space between them; that a payload names a session, too, means nothing."""
    other = "00000000-0000-4000-8000-00000000ffff"
    genuine = make_trace([("a.b", {"session_id": other, "n": n}) for n in range(5)])
    forged = make_trace([("a.b", {"session_id": other, "forged": n}) for n in range(5)])
    anchor = (genuine[4].session_id, 4, genuine[4].event_hash)

    def sorted_line(event: Event) -> bytes:
        return json.dumps(event.to_dict(), sort_keys=True, separators=(",\r", ":")).encode() + b"\n"

    with twins.running(implementation, verify_store):
        found = verify_stream(io.BytesIO(b"".join(map(sorted_line, genuine))), [anchor])
        assert found.valid, found.message
        lines = b"".join(map(sorted_line, forged)) + dump_line(genuine[4])
        found = verify_stream(io.BytesIO(lines), [anchor])
        assert (False, "chain_broken", 4) == (found.valid, found.error_type, found.error_index)
        assert not verify_stream(io.BytesIO(b"".join(map(sorted_line, genuine[:4]))), [anchor]).valid


def test_an_anchor_holds_for_a_session_in_several_series(tmp_path: Path) -> None:
    """Its events are put in order first; what was said of the anchor is not forgotten over that."""
    events = make_trace([("a.b", {"n": n}) for n in range(6)])
    first, second = JournalStorage(tmp_path), JournalStorage(tmp_path)
    first.append(events[:2])
    second.append(events[2:4])
    second.close()
    first.append(events[4:])
    first.close()
    session_id = events[0].session_id
    assert verify_path(tmp_path, "journal", [(session_id, 5, events[5].event_hash)]).valid
    assert not verify_path(tmp_path, "journal", [(session_id, 3, "a" * 64)]).valid
    assert not verify_path(tmp_path, "journal", [(session_id, 1000, "a" * 64)]).valid


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("UPDATE event SET event_type = 'x.hidden' WHERE sequence = 1", "event 1 of session "),
        ("UPDATE event SET timestamp = '2000-01-01T00:00:00Z' WHERE sequence = 0", "event 0 of session "),
        ("UPDATE event SET event_hash = x'00' WHERE sequence = 1", "event 1 of session "),
        ("UPDATE session SET session_id = 'another' WHERE number = 1", "event 0 of session "),
        ("DELETE FROM session WHERE number = 1", "event 0 of session "),
    ],
)
def test_columns_that_say_something_else_are_a_fault(change: str, fault: str, tmp_path: Path) -> None:
    """Readers select by them: an event that they hide is not there for whoever asks."""
    written("sqlite", tmp_path / "store")
    assert verify_path(tmp_path / "store", "sqlite").valid
    with closing(sqlite3.connect(tmp_path / "store")) as database:
        database.execute(change)
        database.commit()
    found = verify_path(tmp_path / "store", "sqlite")
    assert not found.valid
    assert fault in found.faults[0]
    assert all(chain.valid for chain in found.sessions.values())


def test_a_file_that_is_named_for_another_session_is_a_fault(tmp_path: Path) -> None:
    """Readers find a session by the name of its file."""
    written("jsonl", tmp_path / "store")
    assert verify_path(tmp_path / "store", "jsonl").valid
    path = next((tmp_path / "store").glob("*.jsonl"))
    path.rename(path.with_name(f"00000000-0000-4000-8000-00000000ffff.{path.name.partition('.')[2]}"))
    found = verify_path(tmp_path / "store", "jsonl")
    assert not found.valid
    assert "00000000-0000-4000-8000-00000000ffff.trace.jsonl has one of session " in found.faults[0]


def test_an_entry_that_is_named_for_another_session_is_a_fault(tmp_path: Path) -> None:
    """Readers find a session by what the entries of a journal are named for."""
    storage = JournalStorage(tmp_path)
    other = "00000000-0000-4000-8000-00000000ffff"
    storage.append_records(entries.lines_entry(entries.Lines(other, 0, 2, b"".join(LINES[:2]))))
    storage.close()
    found = verify_path(tmp_path, "journal")
    assert not found.valid
    assert f"has one of session {EVENTS[0].session_id}" in found.faults[0]


def test_a_pipe_that_breaks_is_told() -> None:
    """It is no trace that ended."""
    with pytest.raises(StorageError, match="the trace cannot be read: Input/output error"):
        verify_stream(Failing())


def test_a_line_of_no_session_in_a_store_is_told(tmp_path: Path) -> None:
    """With its number; there is no session whose verdict it could be."""
    written("jsonl", tmp_path / "store")
    path = next((tmp_path / "store").glob("*.jsonl"))
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(StorageError, match=r"line \d+ of what is stored names no session: "):
        verify_path(tmp_path / "store", "jsonl")


def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """In a sentence."""
    with pytest.raises(StorageError, match="nothing' cannot be read: No such file or directory"):
        JournalLines(tmp_path / "nothing")


class TestFolder:
    """The lines of a `jsonl:` store."""

    def test_what_is_torn_is_left_out_with_a_warning(self, tmp_path: Path) -> None:
        """Whole lines only, and nothing that recovery has set aside."""
        written("jsonl", tmp_path / "store")
        path = sorted((tmp_path / "store").glob("*.jsonl"))[0]
        whole = b"".join(lines_of_folder(tmp_path / "store", [], Places()))
        path.write_bytes(path.read_bytes() + b"torn")
        (tmp_path / "store" / (path.name + ".torn")).write_bytes(b"torn")
        warnings: list[str] = []
        assert whole == b"".join(lines_of_folder(tmp_path / "store", warnings, Places()))
        assert [f"{path.name} ends in 4 bytes of a line that was never finished; they were not verified"] == warnings

    def test_what_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        """No folder, and something in it that is no file."""
        with pytest.raises(StorageError, match="cannot be read: No such file or directory"):
            list(lines_of_folder(tmp_path / "nothing", [], Places()))
        written("jsonl", tmp_path / "store")
        path = next((tmp_path / "store").glob("*.jsonl"))
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(StorageError, match=f"cannot be read: {path.name} is a pipe"):
            list(lines_of_folder(tmp_path / "store", [], Places()))

    def test_a_look_at_days_tells_what_is_no_file_and_what_cannot_be_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And waits for neither; what is removed meanwhile is not there."""
        written("days", tmp_path / "store")
        (path,) = (tmp_path / "store").glob("*.jsonl")
        pipe = path.with_name(path.name.replace("20", "19", 1))
        os.mkfifo(pipe)
        look = look_at_store(tmp_path / "store")
        assert ({pipe.name: "a pipe"}, [path.name]) == (look.strange, [day.file for day in look.days])
        pipe.unlink()
        with monkeypatch.context() as broken:
            refuse_to_open(broken, path.name)
            assert f"{path}: Input/output error" == look_at_store(tmp_path / "store").problem


class TestSqlite:
    """The lines of a `sqlite:` store."""

    def test_a_log_without_its_index_is_not_read(self, tmp_path: Path) -> None:
        """To read it would make one."""
        written("sqlite", tmp_path / "store")
        (tmp_path / "store-wal").write_bytes(b"log")
        with pytest.raises(StorageError, match=r"has a write-ahead log without .*store-shm beside it"):
            list(lines_of_sqlite(tmp_path / "store", Places()))

    def test_another_database_and_none_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever is in it."""
        with closing(sqlite3.connect(tmp_path / "other", isolation_level=None)) as database:
            database.execute("CREATE TABLE event (line)")
        with pytest.raises(StorageError, match="is no store of this version"):
            list(lines_of_sqlite(tmp_path / "other", Places()))
        with pytest.raises(StorageError, match="cannot be read: "):
            list(lines_of_sqlite(tmp_path / "nothing", Places()))
        monkeypatch.setattr("cra.trace.sqlite_look._size", Failing().readline)
        with pytest.raises(StorageError, match="cannot be read: Input/output error"):
            list(lines_of_sqlite(tmp_path / "other", Places()))
