"""What kind of store is at a path: told by what is there, and never guessed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cra.storage.journal.backend import JournalStorage
from cra.storage.jsonl import JsonlStorage
from cra.storage.lines import is_session_file
from cra.storage.sqlite import SqliteStorage
from cra.testing.traces import make_trace
from cra.trace.store_kind import WrongStore, is_database, kinds_at, store_kind

SERIES = "1-0123456789abcdef"
SESSION = "00000000-0000-7000-8000-000000000000.trace.jsonl"


@pytest.mark.parametrize(
    ("kind", "make"), [("journal", JournalStorage), ("jsonl", JsonlStorage), ("sqlite", SqliteStorage)]
)
def test_a_store_says_what_it_is(kind: str, make, tmp_path: Path) -> None:
    """From its first event on, open or closed."""
    storage = make(tmp_path / "store")
    storage.append(make_trace([("session.started", {})]))
    if kind != "sqlite":  # looking at it drops its locks
        assert kind == store_kind(tmp_path / "store")
    storage.close()
    assert kind == store_kind(tmp_path / "store") == store_kind(tmp_path / "store", kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((f"{SERIES}{suffix}", "journal") for suffix in (".lock", ".00000000.segment", ".00000001.segment.zst.part")),
        *((f"{SERIES}.00000000{suffix}", "journal") for suffix in (".gone", ".index", ".segment.torn")),
        (SESSION, "jsonl"),
        (SESSION + ".torn", "jsonl"),
        *((f"{SERIES}{suffix}", "rings") for suffix in (".ring", ".defs")),
        *((name, None) for name in ("README", "x.segment", "x.trace.jsonl", "poetry.lock", f"{SERIES}.part")),
    ],
)
def test_a_single_file_tells(name: str, kind: str | None, tmp_path: Path) -> None:
    """By its name, whatever is in it."""
    (tmp_path / name).write_bytes(b"")
    assert ({kind} if kind else set()) == kinds_at(tmp_path)
    assert (kind == "jsonl") == is_session_file(name)


def test_a_folder_of_rings_is_known_by_its_name_where_it_is_empty(tmp_path: Path) -> None:
    """And by what is in it where there is something."""
    path = tmp_path / "x.ring"
    path.mkdir()
    assert {"rings"} == kinds_at(path)
    (path / f"{SERIES}.lock").write_bytes(b"")
    assert {"journal"} == kinds_at(path)


def test_a_file_is_known_by_its_header(tmp_path: Path) -> None:
    """Only a database has it."""
    file = tmp_path / "audit.db"
    for content, expected in ((b"", False), (b"SQLite", False), (b"SQLite format 3\0", True)):
        file.write_bytes(content)
        assert expected == is_database(file) == (kinds_at(file) == {"sqlite"})
    assert is_database(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("names", "stated", "problem"),
    [
        ([], None, "nothing in .* says what kind of store it is"),
        ([f"{SERIES}.ring"], None, "nothing in .* says what kind of store it is"),
        ([], "sqlite", "is no sqlite: store, which is a file"),
        ([f"{SERIES}.lock"], "jsonl", "is a journal: store, not a jsonl: store"),
        ([SESSION], "journal", "is a jsonl: store, not a journal: store"),
        ([f"{SERIES}.lock", SESSION], "journal", "move the .* files elsewhere"),
    ],
)
def test_what_is_not_known_is_refused(names, stated, problem, tmp_path: Path) -> None:
    """With what to do."""
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(WrongStore, match=problem):
        store_kind(tmp_path, stated)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """Whatever is stated; and a pipe is neither, and not waited for."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WrongStore, match="is no journal: store, which is a folder"):
        store_kind(tmp_path / "file", "journal")
    assert "sqlite" == store_kind(tmp_path / "file", "sqlite")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotADirectoryError):
        store_kind(tmp_path / "pipe")
