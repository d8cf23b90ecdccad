"""From `storage=` to backends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.retention import Retention
from cra.storage.journal.series import Rotation
from cra.storage.jsonl import JsonlStorage
from cra.storage.jsonl_days import DailyJsonlStorage
from cra.storage.memory import MemoryStorage
from cra.storage.null import NullStorage
from cra.storage.open import open_storage


def test_urls_name_backends() -> None:
    """`memory:` and `null:` stand for themselves."""
    (memory,) = open_storage("memory:")
    (null,) = open_storage("null:")
    assert (MemoryStorage, NullStorage) == (type(memory), type(null))


def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SQLAlchemy reads them; the backend's name is the URL again."""
    monkeypatch.chdir(tmp_path)
    (relative,) = open_storage("jsonl:///a/b")
    (absolute,) = open_storage(f"jsonl:///{tmp_path}/c")
    assert ("jsonl:///a/b", f"jsonl:///{tmp_path}/c") == (relative.name, absolute.name)
    assert (True, True) == ((tmp_path / "a" / "b").is_dir(), (tmp_path / "c").is_dir())
    names = ["sqlite:///a.db", f"sqlite:///{tmp_path}/b.db"]
    backends = open_storage(names)
    assert names == [backend.name for backend in backends]
    assert (True, True) == ((tmp_path / "a.db").is_file(), (tmp_path / "b.db").is_file())
    for backend in backends:
        backend.close()


def test_a_journal_is_a_folder_too(tmp_path: Path) -> None:
    """It is made, and named by its URL."""
    (journal,) = open_storage(f"journal:///{tmp_path}/a/b")
    assert (JournalStorage, f"journal:///{tmp_path}/a/b") == (type(journal), journal.name)
    assert (tmp_path / "a" / "b").is_dir()
    journal.close()


@pytest.mark.parametrize(("first", "second"), [("journal", "jsonl"), ("jsonl", "journal")])
def test_the_folder_of_another_store_is_refused(first: str, second: str, tmp_path: Path, sessions: Any) -> None:
    """What its rings hold would be recovered into the wrong one; nothing is changed."""
    (store,) = open_storage(f"{first}:///{tmp_path}/store")
    store.append(sessions.events(0, 3))
    store.close()
    before = {path.name: path.read_bytes() for path in (tmp_path / "store").iterdir()}
    with pytest.raises(StorageError, match=f"is the folder of a {first}.*use {first}:///"):
        open_storage(f"{second}:///{tmp_path}/store")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "store").iterdir()}


def test_backends_and_lists_of_both_are_taken_in_order(tmp_path: Path) -> None:
    """A backend is used as it is."""
    mine = MemoryStorage()
    assert [mine] == open_storage(mine)
    first, second = open_storage([f"jsonl:///{tmp_path}", mine])
    assert (JsonlStorage, mine) == (type(first), second)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("journal:dir", "storage 'journal:' names a folder: write journal:///dir, or journal:////dir from the root"),
        (
            "journal:///dir?segment=1",
            "storage 'journal:' has no option 'segment'; there are segment_bytes=64MB, segment_age=1h",
        ),
        ("journal:///dir?compress", "storage 'journal:' has no option 'compress'"),
        ("journal:///dir?", "storage 'journal:' has no option ''"),
        ("journal:///dir?segment_bytes=-1", "segment_bytes=-1 is no value of it; write segment_bytes=64MB"),
        ("journal:///dir?segment_bytes=1.5MB", "write segment_bytes=64MB"),
        ("journal:///dir?segment_bytes=0", "write segment_bytes=64MB"),
        ("journal:///dir?segment_age=1y", "segment_age=1y is no value of it; write segment_age=1h"),
        ("journal:///dir?retention_age=0s", "write retention_age=90d"),
        ("journal:///dir?compress=yes", "write compress=true.false"),
        ("journal:///dir?compress=1&compress=0", "the option compress is given twice; give it once"),
        ("journal:///dir?compress=true#1", "compress=true#1 is no value of it"),
        ("jsonl:///dir?files=year", "files=year is no value of it; write files=session.day"),
        ("jsonl:///dir?files=day&max_open=3", "max_open is for files=session; leave it out"),
        ("jsonl:///dir?max_open=0", "max_open=0 is no value of it; write max_open=64"),
        ("memory:?bytes=x", "bytes=x is no value of it; write bytes=64MB"),
        ("memory:?size=1", "storage 'memory:' has no option 'size'; there is bytes=64MB"),
        (
            "redis://user:secret@host",
            "storage 'redis:' is not known; use memory:, journal:, jsonl:, sqlite:, postgresql: or null:",
        ),
        ("memory:///x", "storage 'memory:' takes nothing after the colon but options; write memory:.bytes=64MB"),
        ("null://", "storage 'null:' takes nothing after the colon; write null:"),
        ("traces", "a URL, not a path: for a folder write jsonl:///dir, or jsonl:////dir from the root"),
        ("/var/a:b", "a URL, not a path: for a folder write jsonl:///dir"),
        ("", "storage is a URL, not a path"),
        ("jsonl:", "storage 'jsonl:' names a folder: write jsonl:///dir, or jsonl:////dir from the root"),
        ("jsonl:traces", "storage 'jsonl:' names a folder"),
        ("jsonl://traces", "storage 'jsonl:' names a folder"),
        ("jsonl:///", "storage 'jsonl:' names a folder"),
        ("jsonl://///traces", "storage 'jsonl:' names a folder"),
        ("jsonl:///traces?mode=ro", "storage 'jsonl:' has no option 'mode'; there are files=session.day, max_open=64"),
        ("jsonl:///traces#1", "storage 'jsonl:' takes no # part: leave out everything from the . or # on"),
        ("sqlite:", "storage 'sqlite:' names a file: write sqlite:///audit.db, or sqlite:////audit.db from the root"),
        ("sqlite://", "storage 'sqlite:' names a file"),
        ("sqlite:///audit.db?mode=ro", "storage 'sqlite:' takes no options: leave out everything from the . or # on"),
        ("sqlite:///:memory:", "storage 'sqlite:' is a file here; for a store in memory write memory:"),
        ("sqlite+pysqlite:///audit.db", "storage 'sqlite.pysqlite:' is not known"),
        ([], "with at least one; use memory:, journal:, jsonl:, sqlite:, postgresql: or null:"),
        (None, "storage is a URL, a StorageBackend or a list of them"),
        (42, "storage is a URL, a StorageBackend or a list of them"),
        ([42], "an object of type int is no storage: part of StorageBackend is missing"),
        ([["memory:"]], "an object of type list is no storage"),
    ],
)
def test_what_is_no_storage_is_refused_with_advice(spec: Any, message: str) -> None:
    """One clear line; never a password."""
    with pytest.raises(StorageError, match=message) as caught:
        open_storage(spec)
    assert "secret" not in str(caught.value)


def test_what_was_opened_before_a_mistake_is_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All or nothing; a backend that was passed in stays open."""
    closed: list[object] = []
    for kind in (JsonlStorage, MemoryStorage):
        monkeypatch.setattr(kind, "close", lambda self: closed.append(self))
    with pytest.raises(StorageError):
        open_storage([MemoryStorage(), f"jsonl:///{tmp_path}", "redis://x"])
    assert [JsonlStorage] == [type(backend) for backend in closed]


def test_the_same_backend_twice_is_refused() -> None:
    """Every event would be stored twice."""
    mine = MemoryStorage()
    with pytest.raises(StorageError, match="storage 'memory:' is given twice; give each backend once"):
        open_storage([mine, "null:", mine])


def test_options_of_a_url_reach_the_store(tmp_path: Path) -> None:
    """Every one of them, with the units that people write."""
    query = "segment_bytes=1MB&segment_age=30m&retention_bytes=2GB&retention_age=7d&compress=true"
    (journal,) = open_storage(f"journal:///{tmp_path}/a?{query}")
    assert isinstance(journal, JournalStorage)
    assert Rotation(max_bytes=2**20, max_seconds=1_800.0) == journal._rotation
    assert Retention(max_bytes=2 * 2**30, max_seconds=7 * 86_400.0) == journal._retention
    assert journal._compresses
    (plain,) = open_storage(f"journal:///{tmp_path}/b?segment_age=0.5")
    assert isinstance(plain, JournalStorage)
    assert (Rotation(max_seconds=0.5), None) == (plain._rotation, plain._gravedigger)
    (memory,) = open_storage("memory:?bytes=64kb")
    assert ["0 of 65536 bytes in 0 sessions"] == list(memory.health().details)
    (lines,) = open_storage(f"jsonl:///{tmp_path}/c?max_open=3")
    assert (JsonlStorage, f"jsonl:///{tmp_path}/c", 3) == (type(lines), lines.name, vars(lines)["_max_open"])
    (days,) = open_storage(f"jsonl:///{tmp_path}/d?files=day")
    assert (DailyJsonlStorage, f"jsonl:///{tmp_path}/d?files=day") == (type(days), days.name)
    (same,) = open_storage(f"jsonl:///{tmp_path}/e?files=session")
    assert JsonlStorage is type(same)
    for backend in (journal, plain, lines, days, same):
        backend.close()


@pytest.mark.parametrize(("first", "second"), [("", "?files=day"), ("?files=day", "")])
def test_files_of_days_and_of_sessions_are_not_mixed(first: str, second: str, tmp_path: Path, sessions: Any) -> None:
    """Half of a session would be in the other files; the URL that is right is named."""
    (store,) = open_storage(f"jsonl:///{tmp_path}/store{first}")
    store.append(sessions.events(0, 3))
    store.close()
    with pytest.raises(StorageError, match=re.escape(f"use jsonl:///{tmp_path}/store{first}, or another folder")):
        open_storage(f"jsonl:///{tmp_path}/store{second}")
