"""Names that survive a power cut: those of new folders, and of stores in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.storage.folders import make_folder, sync_name
from cra.storage.journal.backend import JournalStorage
from cra.storage.jsonl import JsonlStorage
from cra.storage.sqlite import SqliteStorage
from cra.testing.traces import make_trace
from tests.support.crashes import ATLAS


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are synced from now on, in order."""
    found: list[str] = []
    real = os.fsync

    def note(file: int) -> None:
        path = os.readlink(f"/proc/self/fd/{file}")
        if os.path.isdir(path):
            found.append(path)
        real(file)

    monkeypatch.setattr(os, "fsync", note)
    return found


def test_every_new_name_is_synced_from_the_top(tmp_path: Path, synced: list[str]) -> None:
    """With that of the folder in which the first is made, which somebody may have made just before he died."""
    make_folder(tmp_path / "a" / "b", 0o700)
    assert [str(tmp_path.parent), str(tmp_path), str(tmp_path / "a")] == synced
    assert 0o700 == (tmp_path / "a" / "b").stat().st_mode & 0o777
    synced.clear()
    make_folder(tmp_path / "a" / "b")
    assert [] == synced


def test_what_is_no_folder_is_an_error(tmp_path: Path) -> None:
    """At the path, or above it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "x")


def test_where_the_parent_may_not_be_opened_everything_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name must not be lost for that."""
    calls: list[str] = []

    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    sync_name(tmp_path)
    assert ["sync"] == calls


STORES: dict[str, Callable[[Any], Any]] = {"jsonl": JsonlStorage, "journal": JournalStorage}


@pytest.mark.parametrize("kind", STORES)
def test_the_name_of_a_store_is_synced_with_its_first_durable_flush(
    kind: str, tmp_path: Path, synced: list[str]
) -> None:
    """Also where somebody else made the folder; once."""
    folder = tmp_path / "store"
    folder.mkdir()
    with closing(STORES[kind](folder)) as storage:
        storage.append(make_trace([("session.started", {})]))
        storage.flush(False)
        assert str(tmp_path) not in synced
        storage.flush(True)
        assert 1 == synced.count(str(tmp_path))
        storage.flush(True)
        assert 1 == synced.count(str(tmp_path))


@pytest.mark.parametrize("kind", [*STORES, "sqlite"])
def test_a_store_with_a_relative_path_stays_where_it_is(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory is changed: what comes is stored behind what was, and the ring is removed in the end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    resolver = cra.Resolver(f"{kind}:///store")
    resolver.load_atlas(ATLAS)
    session = resolver.create_session("bot", "work")
    monkeypatch.chdir(tmp_path / "elsewhere")
    session.resolve("a lamp")
    session.end()
    resolver.flush("durable")
    other = resolver.create_session("bot", "work")
    other.end()
    resolver.close()
    assert [] == os.listdir(tmp_path / "elsewhere")
    assert [] == os.listdir(tmp_path / "store.ring")
    storage: Any = {**STORES, "sqlite": SqliteStorage}[kind](tmp_path / "store")
    with closing(storage):
        assert {session.session_id, other.session_id} <= set(storage.sessions())
        assert f"{kind}:///" in storage.name
