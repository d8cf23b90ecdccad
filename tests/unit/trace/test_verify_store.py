"""Whole stores, and what comes through a pipe, are verified line by line; what cannot be read is told in one sentence."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError
from cra.testing.traces import make_trace
from cra.trace import verify_store
from cra.trace.journal_lines import JournalLines
from cra.trace.jsonl import dump_line
from cra.trace.sqlite_look import lines_of_sqlite
from cra.trace.store_look import lines_of_folder, look_at_store
from cra.trace.verify_store import verify_path, verify_stream
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
        whole = b"".join(lines_of_folder(tmp_path / "store", []))
        path.write_bytes(path.read_bytes() + b"torn")
        (tmp_path / "store" / (path.name + ".torn")).write_bytes(b"torn")
        warnings: list[str] = []
        assert whole == b"".join(lines_of_folder(tmp_path / "store", warnings))
        assert [f"{path.name} ends in 4 bytes of a line that was never finished; they were not verified"] == warnings

    def test_what_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        """No folder, and something in it that is no file."""
        with pytest.raises(StorageError, match="cannot be read: No such file or directory"):
            list(lines_of_folder(tmp_path / "nothing", []))
        written("jsonl", tmp_path / "store")
        path = next((tmp_path / "store").glob("*.jsonl"))
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(StorageError, match=f"cannot be read: {path.name} is a pipe"):
            list(lines_of_folder(tmp_path / "store", []))

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
            list(lines_of_sqlite(tmp_path / "store"))

    def test_another_database_and_none_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever is in it."""
        with closing(sqlite3.connect(tmp_path / "other", isolation_level=None)) as database:
            database.execute("CREATE TABLE event (line)")
        with pytest.raises(StorageError, match="is no store of this version"):
            list(lines_of_sqlite(tmp_path / "other"))
        with pytest.raises(StorageError, match="cannot be read: "):
            list(lines_of_sqlite(tmp_path / "nothing"))
        monkeypatch.setattr("cra.trace.sqlite_look._size", Failing().readline)
        with pytest.raises(StorageError, match="cannot be read: Input/output error"):
            list(lines_of_sqlite(tmp_path / "other"))
