"""From `storage=` to backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError
from cra.storage.journal.backend import JournalStorage
from cra.storage.jsonl import JsonlStorage
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
        ("journal:///dir?segment=1", "storage 'journal:' takes no options: leave out everything from the . or # on"),
        (
            "redis://user:secret@host",
            "storage 'redis:' is not known; use memory:, journal:, jsonl:, sqlite:, postgresql: or null:",
        ),
        ("memory:///x", "storage 'memory:' takes nothing after the colon; write memory:"),
        ("null://", "storage 'null:' takes nothing after the colon; write null:"),
        ("traces", "a URL, not a path: for a folder write jsonl:///dir, or jsonl:////dir from the root"),
        ("/var/a:b", "a URL, not a path: for a folder write jsonl:///dir"),
        ("", "storage is a URL, not a path"),
        ("jsonl:", "storage 'jsonl:' names a folder: write jsonl:///dir, or jsonl:////dir from the root"),
        ("jsonl:traces", "storage 'jsonl:' names a folder"),
        ("jsonl://traces", "storage 'jsonl:' names a folder"),
        ("jsonl:///", "storage 'jsonl:' names a folder"),
        ("jsonl://///traces", "storage 'jsonl:' names a folder"),
        ("jsonl:///traces?mode=ro", "storage 'jsonl:' takes no options: leave out everything from the . or # on"),
        ("jsonl:///traces#1", "storage 'jsonl:' takes no options"),
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
