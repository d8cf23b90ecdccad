"""A look at a journal and at a SQLite file: everything that is there is told, nothing is changed, and nothing is too much."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.reference.frames import frame
from cra.storage.journal import entries
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.entries import Lines
from cra.testing import SeededIds, VirtualClock
from cra.trace import journal_look
from cra.trace.checkup import Checkup, check
from cra.trace.journal_look import JournalLook, look_at_journal
from cra.trace.repair import repair
from cra.trace.sqlite_look import SqliteLook, look_at_sqlite
from cra.trace.store_kind import WrongStore
from tests.support.crashes import ATLAS, contents
from tests.support.stores import PLAIN, RESOLVES, kill, mix_in, written

KINDS = ["journal", "sqlite"]
SERIES = "1-0123456789abcdef"


def checked(data: Path) -> Checkup:
    """A checkup, which changes nothing."""
    before = contents(data.parent)
    found = check(data)
    assert before == contents(data.parent)
    return found


def codes(found: Checkup) -> list[str]:
    """The kinds of the problems."""
    return [problem.code for problem in found.problems]


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_is_seen_and_recovered(kind: str, tmp_path: Path) -> None:
    """Into the store that it belongs to; afterwards it is healthy, and has as many events as it says."""
    data = tmp_path / "store"
    session = kill(kind, data)
    found = checked(data)
    assert (kind, 2) == (found.kind, len(found.store.sessions))  # type: ignore[union-attr]
    assert ["dead_series", "dead_ring"][-len(codes(found)) :] == codes(found)
    with pytest.raises(WrongStore, match="--end-sessions is for jsonl: stores"):
        repair(data, None, VirtualClock(), SeededIds(2), end_sessions=True)
    done = repair(data, None, VirtualClock(), SeededIds(2))
    assert (1, 2, (), ()) == (done.recovery.rings, done.recovery.sessions, done.tails, done.refused)
    found = checked(data)
    assert [] == codes(found)
    assert isinstance(found.store, JournalLook | SqliteLook)
    with closing(PLAIN[kind](data)) as storage:
        types = [event.event_type for event in storage.events(session)]
        assert storage.count() == found.store.events
    assert (RESOLVES + 1, "session.ended") == (types.count("carp.resolution.completed"), types[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_that_go_on_have_no_end(kind: str, tmp_path: Path) -> None:
    """Those of others do."""
    for end in (True, False):
        written(kind, tmp_path / str(end), end=end)
        store = checked(tmp_path / str(end)).store
        assert {end} == {session.ended for session in store.sessions}  # type: ignore[union-attr]


def test_a_journal_in_use_is_healthy(tmp_path: Path) -> None:
    """Its series is known to live by its ring, or by its lock."""
    with cra.Resolver(f"journal:///{tmp_path}/store") as resolver:
        resolver.load_atlas(ATLAS)
        resolver.flush()
        found = checked(tmp_path / "store")
        assert ([], (resolver.session_id,)) == (codes(found), found.open_sessions)
        (series,) = look_at_journal(tmp_path / "store").series
        assert "living" == series.state


def test_what_is_wrong_with_a_journal_says_where(tmp_path: Path) -> None:
    """Torn bytes, a changed segment, one that was compressed and changed, a lock alone, strangers."""
    data = tmp_path / "store"
    kill("journal", data)
    (segment,) = data.glob("*.segment")
    with segment.open("ab") as file:
        file.write(b"torn")
    (data / f"{SERIES}.lock").write_bytes(b"")
    (data / f"{SERIES}.00000000.segment.zst").write_bytes(b"not zstd")
    (data / f"2{SERIES[1:]}.00000000.segment").write_bytes(segment.read_bytes()[:-9])
    mix_in(data)
    (data / f"3{SERIES[1:]}.00000000.segment.torn").write_bytes(b"")
    with pytest.raises(StorageError):
        look_at_journal_strictly(data)
    (data / f"{SERIES}.lock").unlink()
    found = checked(data)
    told = {(each.code, os.path.basename(each.file)) for each in found.problems}
    assert {
        ("mixed", "store"),
        ("dead_series", segment.name),
        ("chain", f"{SERIES}.00000000.segment.zst"),
        ("chain", f"2{SERIES[1:]}.00000000.segment"),
    } <= told
    assert isinstance(found.store, JournalLook)
    (dead,) = [series for series in found.store.series if series.state == "dead"]
    assert (segment.name, 4) == (dead.unsealed, dead.torn_bytes)
    assert (1, 1) == (len(found.store.strangers), len(found.store.torn))


def look_at_journal_strictly(data: Path) -> JournalLook:
    """Raises `StorageError` with the problem."""
    look = look_at_journal(data)
    if look.problem is not None:
        raise StorageError(look.problem)
    return look


def test_a_lock_alone_is_let_go(tmp_path: Path) -> None:
    """Nothing else is left of its process."""
    written("journal", tmp_path / "store")
    (segment,) = (tmp_path / "store").glob("*.segment")
    for series in (SERIES, segment.name.partition(".")[0]):
        (tmp_path / "store" / f"{series}.lock").write_bytes(b"")
    for problem in checked(tmp_path / "store").problems:
        assert ("dead_series", True) == (problem.code, "but its lock" in problem.message)
    repair(tmp_path / "store", None, VirtualClock(), SeededIds(2))
    assert [] == codes(checked(tmp_path / "store"))


def test_what_is_no_regular_file_keeps_the_journal_from_being_read(tmp_path: Path) -> None:
    """A pipe would be waited for."""
    written("journal", tmp_path / "store")
    os.mkfifo(tmp_path / "store" / f"{SERIES}.00000000.segment")
    assert ["not_regular"] == codes(checked(tmp_path / "store"))


@pytest.mark.parametrize(
    ("error", "problem", "most"),
    [
        (lambda: FileNotFoundError(2, "No such file"), "No such file", 3),
        (lambda: PermissionError(13, "Permission denied", "x.lock"), "x.lock: Permission denied", 1),
        (lambda: chained(FileNotFoundError(2, "gone")), "the journal cannot be read", 3),
        (lambda: chained(OSError(5, "I/O error")), "the journal cannot be read", 1),
    ],
)
def test_what_goes_meanwhile_is_looked_at_again(
    error: Callable[[], Exception], problem: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention takes segments; what fails otherwise is a problem."""
    written("journal", tmp_path / "store")
    calls: list[Any] = []

    def failing(folder: Path) -> Any:
        calls.append(folder)
        raise error()

    monkeypatch.setattr(journal_look, "verify_journal", failing)
    (found,) = check(tmp_path / "store").problems
    assert ("unreadable", True, most) == (found.code, problem in found.message, len(calls))


def chained(cause: OSError) -> StorageError:
    """As verification raises it."""
    error = StorageError("the journal cannot be read")
    error.__cause__ = cause
    return error


def test_what_vanishes_while_it_is_looked_at_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is listed and gone; a lock that its writer has removed."""
    written("journal", tmp_path / "store")
    names = [*os.listdir(tmp_path / "store"), f"{SERIES}.lock"]
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", lambda path: names)
        (_, gone) = sorted(look_at_journal(tmp_path / "store").series, key=lambda each: each.segments, reverse=True)
    assert (SERIES, "living", 0) == (gone.name, gone.state, gone.segments)


@pytest.mark.parametrize("line", [b"no event\n", b"[]\n"])
def test_lines_that_are_no_events_are_no_end(line: bytes, tmp_path: Path) -> None:
    """Somebody may have written them."""
    session = "00000000-0000-7000-8000-000000000000"
    with closing(JournalStorage(tmp_path / "store")) as storage:
        storage.append_records(entries.lines_entry(Lines(session, 0, 1, line)))
        storage.append_records(frame(b""))
    look = look_at_journal(tmp_path / "store")
    assert (1, [(session, False)]) == (look.events, [(each.session_id, each.ended) for each in look.sessions])


def test_an_empty_folder_with_rings_is_asked_about(tmp_path: Path) -> None:
    """And nothing is recovered before there is an answer."""
    data = tmp_path / "store"
    kill("journal", data, stored=False)
    assert ["unknown_store", "dead_ring"] == codes(checked(data))
    before = contents(tmp_path)
    with pytest.raises(WrongStore, match="--store journal"):
        repair(data, None, VirtualClock(), SeededIds(2))
    assert before == contents(tmp_path)
    assert 1 == repair(data, None, VirtualClock(), SeededIds(2), store="journal").recovery.rings


def test_a_store_that_cannot_be_looked_at_is_an_error(tmp_path: Path) -> None:
    """It is not there, or is a pipe."""
    with pytest.raises(StorageError, match="cannot be looked at: No such file"):
        repair(tmp_path / "nowhere", None, VirtualClock(), SeededIds(2))


def test_a_log_without_its_index_is_not_read(tmp_path: Path) -> None:
    """That would make one. Recovery does."""
    data = tmp_path / "store"
    kill("sqlite", data)
    (tmp_path / "store-shm").unlink()
    assert ("unreadable", f"cra trace recover {data}") == (lambda each: (each.code, each.next))(
        checked(data).problems[0]
    )
    repair(data, None, VirtualClock(), SeededIds(2))
    assert [] == codes(checked(data))


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        (["CREATE TABLE x (y)"], "it is a database of something else"),
        (["PRAGMA application_id = 0x63726174", "PRAGMA user_version = 9"], "it has schema version 9"),
        (["PRAGMA application_id = 0x63726174", "PRAGMA user_version = 1"], "no such table"),
        (["CREATE TABLE x (y)", "DROP TABLE x"], None),
    ],
)
def test_another_database_is_named(statements: list[str], problem: str | None, tmp_path: Path) -> None:
    """And one that is empty is no problem."""
    with closing(sqlite3.connect(tmp_path / "store", isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
    assert [problem is not None] * len(checked(tmp_path / "store").problems) == [
        problem is not None and problem in each.message for each in checked(tmp_path / "store").problems
    ]
    assert (problem is None) == (not checked(tmp_path / "store").problems)


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No database, one that is not there, one that may not be opened."""
    (tmp_path / "store").write_bytes(b"no database at all")
    assert "file is not a database" == look_at_sqlite(tmp_path / "store").problem
    assert "No such file or directory" == look_at_sqlite(tmp_path / "nowhere").problem
    really = os.open

    def refusing(path: Any, *arguments: int) -> int:
        if path == tmp_path / "store":
            raise PermissionError(13, "Permission denied")
        return really(path, *arguments)

    monkeypatch.setattr(os, "open", refusing)
    assert ("sqlite", ["unreadable"]) == (lambda found: (found.kind, codes(found)))(check(tmp_path / "store"))


def test_what_takes_more_memory_than_there_is_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite asks for as much as a damaged length says."""
    written("sqlite", tmp_path / "store")

    def starved(*_: object) -> SqliteLook:
        raise MemoryError

    monkeypatch.setattr("cra.trace.sqlite_look._look", starved)
    assert "it takes more memory than there is" == look_at_sqlite(tmp_path / "store").problem
