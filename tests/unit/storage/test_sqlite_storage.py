"""The SQLite backend: what other tools see, what is refused, faults at every statement, other processes."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import cra
from cra.errors import InvalidTraceEvent, StorageError, StorageLocked
from cra.hotpath import verify_chain
from cra.storage import sqlite, sqlite_file
from cra.storage.memory import MemoryStorage
from cra.storage.sqlite import SqliteStorage
from cra.trace.jsonl import dump_line
from cra.trace.places import Places
from cra.trace.sqlite_look import lines_of_sqlite
from tests.support.storage import OnceFailing

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "audit.db"


@pytest.fixture
def store(path: Path) -> Iterator[Callable[[], SqliteStorage]]:
    """Opens the storage at `path`, again and again if wanted."""
    opened: list[SqliteStorage] = []

    def open_it() -> SqliteStorage:
        opened.append(SqliteStorage(path))
        return opened[-1]

    yield open_it
    for storage in opened:
        storage.close()


def query(path: Path, sql: str) -> list[Any]:
    """What any SQLite tool gets."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


# --- what is in the file ---


def test_any_tool_can_read_the_events(store: Any, path: Path, sessions: Any) -> None:
    """The view `trace` has a row per event, with its line as `dump_line` writes it; JSON functions work on it."""
    storage, events = store(), sessions.events(0, 2, action_id="ticket.get", text="ä")
    storage.append(events)
    expected = [
        (e.session_id, e.sequence, e.timestamp, e.event_type, e.event_hash, dump_line(e).decode().rstrip("\n"))
        for e in events
    ]
    assert expected == query(path, "SELECT * FROM trace ORDER BY session_id, sequence")
    actions = query(
        path, "SELECT json_extract(line, '$.payload.action_id') FROM trace WHERE event_type = 'action.requested'"
    )
    assert [("ticket.get",)] * 2 == actions
    assert [(0x63726174,), (1,)] == query(path, "PRAGMA application_id") + query(path, "PRAGMA user_version")


def test_the_file_is_for_its_owners_eyes(store: Any, path: Path, sessions: Any) -> None:
    """So are the files beside it."""
    store().append(sessions.events(0))
    files = sorted(path.parent.iterdir())
    assert ["audit.db", "audit.db-shm", "audit.db-wal"] == [file.name for file in files]
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in files}


def test_what_is_closed_is_one_file_and_no_connection(store: Any, path: Path, sessions: Any) -> None:
    """The log is copied into the file; readings have closed what they opened, finished or not."""
    before = len(os.listdir("/dev/fd"))
    storage = store()
    storage.append(sessions.events(0, 3))
    next(storage.events(sessions.id(0)))
    storage.last(sessions.id(0), 2)
    storage.close()
    assert 3 == storage.count()
    assert (["audit.db"], before) == (os.listdir(path.parent), len(os.listdir("/dev/fd")))


def test_a_store_stays_where_it_was_opened(
    path: Path, sessions: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is one of the working directory at that time."""
    monkeypatch.chdir(tmp_path)
    with closing(SqliteStorage("audit.db")) as storage:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        storage.append(sessions.events(0))
        assert (1, "sqlite:///audit.db") == (storage.count(), storage.name)
    assert [] == os.listdir(tmp_path / "other")


def test_a_path_may_have_any_characters(tmp_path: Path, sessions: Any) -> None:
    """What means something in a URL or to SQLite is a part of the name."""
    path = tmp_path / "a %41 ?mode=ro#é.db"
    with closing(SqliteStorage(path)) as storage:
        storage.append(sessions.events(0))
    assert [path.name] == os.listdir(tmp_path)


def test_a_deleted_session_is_not_in_the_file_any_more(store: Any, path: Path, sessions: Any) -> None:
    """What it said is overwritten."""
    storage = store()
    storage.append(sessions.events(0, 3, text="the secret"))
    storage.append(sessions.events(1, 3))
    storage.delete_session(sessions.id(0))
    storage.close()
    assert b"the secret" not in path.read_bytes()


def test_a_file_that_somebody_deleted_is_begun_again(store: Any, path: Path, sessions: Any) -> None:
    """Nothing is written into a file that has no name any more."""
    storage = store()
    storage.append(sessions.events(0))
    for file in path.parent.iterdir():
        file.unlink()
    later = sessions.events(0)
    storage.append(later)
    storage.flush(durable=True)
    assert later == list(storage.events(sessions.id(0)))


@pytest.mark.parametrize("session_id", ["x", "", "0" * 36, "\ud800", "01890000-0000-7000-8000-00000000000\n"])
def test_only_uuids_name_sessions(session_id: str, store: Any, sessions: Any) -> None:
    """As in every store on disk."""
    storage = store()
    (event,) = sessions.events(0)
    for call in (
        lambda: storage.append([replace(event, session_id=session_id)]),
        lambda: list(storage.events(session_id)),
        lambda: storage.last(session_id, 1),
        lambda: storage.count(session_id),
        lambda: storage.delete_session(session_id),
    ):
        with pytest.raises(StorageError, match="a session id is a lower-case UUID"):
            call()
    assert [] == storage.sessions()


def test_numbers_and_types_may_be_absurd(store: Any, sessions: Any) -> None:
    """What nobody stored is not found, and no error."""
    storage, events = store(), sessions.events(0, 3)
    storage.append(events)
    session_id = sessions.id(0)
    assert [] == list(storage.events(session_id, after=10**30))
    assert events == list(storage.events(session_id, after=-(2**63)))
    assert events == storage.last(session_id, 10**30)
    assert events == list(storage.events(session_id, types=["action.requested", *map(str, range(100_000))]))
    assert [] == list(storage.events(session_id, types=["\ud800", "' OR 1=1"]))


def test_long_sessions_are_read_in_pages(store: Any, sessions: Any) -> None:
    """No event is left out where one page ends."""
    storage, events = store(), sessions.events(0, 2 * sqlite._PAGE_EVENTS + 1)
    storage.append(events)
    for after in (-1, 0, sqlite._PAGE_EVENTS - 1, sqlite._PAGE_EVENTS):
        assert events[after + 1 :] == list(storage.events(sessions.id(0), after=after))


def test_a_line_that_is_no_event_is_named(store: Any, path: Path, sessions: Any) -> None:
    """Somebody who changes a line is found out at the latest when it is read."""
    storage, events = store(), sessions.events(0, 3)
    storage.append(events)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE event SET line = '{}' WHERE sequence = 1")
    reading = storage.events(sessions.id(0))
    assert events[0] == next(reading)
    with pytest.raises(StorageError, match=rf"audit\.db', event 1 of session {sessions.id(0)}: "):
        next(reading)
    assert events[2:] == storage.last(sessions.id(0), 1)


# --- again ---


def test_the_same_batch_again_is_stored_once(store: Any, sessions: Any) -> None:
    """Nobody knows whether a commit that failed was one: the caller comes again, perhaps with more."""
    storage, events = store(), sessions.events(0, 4) + sessions.events(1, 2)
    storage.append(events[:3])
    storage.append(events)
    storage.append(events)
    assert (events[:4], events[4:]) == (list(storage.events(sessions.id(0))), list(storage.events(sessions.id(1))))


def test_another_event_in_the_same_place_is_refused(store: Any, sessions: Any, new_sessions: Any) -> None:
    """A chain has one event of a number; nothing of the batch is stored."""
    storage, events = store(), sessions.events(0, 3)
    storage.append(events[:2])
    other = new_sessions().events(0, 3, text="another")
    with pytest.raises(
        StorageError, match=rf"has another event 0 of session {sessions.id(0)}; two processes have written"
    ):
        storage.append([*sessions.events(1), *other])
    assert (events[:2], 2) == (list(storage.events(sessions.id(0))), storage.count())
    storage.append(events[2:])
    assert verify_chain(list(storage.events(sessions.id(0)))).valid


def test_an_event_that_has_no_line_or_number_stores_nothing(store: Any, sessions: Any) -> None:
    """Errors that are not SQLite's roll back, too."""
    storage = store()
    good, bad = sessions.events(0, 2)
    with pytest.raises(InvalidTraceEvent):
        storage.append([good, replace(bad, payload={"x": float("nan")})])
    assert (0, []) == (storage.count(), storage.sessions())


# --- what is refused ---


def refused(path: Path, message: str) -> None:
    """Opening is one clear sentence with the path, and changes nothing."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StorageError, match=message) as caught:
        SqliteStorage(path)
    assert f"sqlite:///{path}" in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    """Its tables, its journal mode, everything."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE mine (x)")
    refused(path, "is a database of something else; name another file")


def test_a_later_schema_version_is_left_alone(store: Any, path: Path) -> None:
    """An old runtime does not write into what it does not know."""
    store().close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")
    refused(path, "has schema version 2, and this version of cra knows 1; upgrade cra")


def test_what_is_no_database_is_left_alone(path: Path) -> None:
    """A text file, for example."""
    path.write_text("notes\n" * 1000)
    refused(path, "cannot be opened: file is not a database; name another file, or move this one away")


def test_a_path_without_a_folder_or_to_one_is_refused(tmp_path: Path) -> None:
    """Folders are not made: a mistyped path would be one."""
    refused(
        tmp_path / "none" / "audit.db",
        "cannot be opened: No such file or directory; check the path and the permissions",
    )
    refused(tmp_path, "cannot be opened: unable to open database file; check that the folder is there")


def test_where_there_can_be_no_log_nothing_is_stored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems cannot share memory."""
    monkeypatch.setattr(sqlite_file, "pragma", lambda database, text: "delete" if "journal" in text else 0)
    with pytest.raises(StorageError, match="cannot have a write-ahead log where it is; name a file on a local disk"):
        SqliteStorage(path)


def test_a_file_that_cannot_be_written_can_be_read(
    store: Any, path: Path, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An auditor's copy. Permissions do not hold root back, so SQLite is told."""
    first, events = store(), sessions.events(0, 2)
    first.append(events)
    uri = f"{path.as_uri()}?mode=ro"
    monkeypatch.setattr(sqlite, "connect", lambda _: sqlite3.connect(uri, uri=True, isolation_level=None))
    storage = store()
    assert events == list(storage.events(sessions.id(0)))
    with pytest.raises(StorageError, match=r"cannot be written: attempt to write a readonly database; .* is read-only"):
        storage.append(sessions.events(0))


def test_a_file_that_could_not_be_written_for_a_moment_is_opened_again(
    store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite opens for reading what it could not open for writing, whatever the reason, and says so with the next write."""
    store().close()

    def connect(path: Path) -> sqlite3.Connection:
        monkeypatch.setattr(sqlite, "connect", sqlite_file.connect)
        return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)

    monkeypatch.setattr(sqlite, "connect", connect)
    storage = store()
    with pytest.raises(StorageError, match="attempt to write a readonly database"):
        storage.append(sessions.events(0))
    storage.append(sessions.events(1))
    storage.flush(durable=True)
    assert 1 == storage.count()


def test_a_damaged_file_is_an_error_and_not_healthy(store: Any, path: Path, sessions: Any) -> None:
    """Reading and `health` say so, and what to do; a large file is not read through."""
    storage = store()
    storage.append([event for n in range(40) for event in sessions.events(n, 5, text="x" * 500)])
    storage.close()
    with open(path, "r+b") as file:
        file.seek(4 * 8192)
        file.write(b"\xff" * 20 * 8192)
    health = storage.health()
    assert not health.ok
    assert health.details
    with pytest.raises(StorageError, match="the file is damaged; keep it, and save what is left with: sqlite3 FILE"):
        _ = [list(storage.events(sessions.id(n))) for n in range(40)]


def test_health_says_size_and_journal_mode(
    store: Any, path: Path, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without reading through a large file; a missing one is not healthy."""
    storage = store()
    storage.append(sessions.events(0))
    assert (True, (f"{path.stat().st_size} bytes, journal mode wal",)) == (
        storage.health().ok,
        storage.health().details,
    )
    monkeypatch.setattr(sqlite, "QUICK_BYTES", 0)
    monkeypatch.setattr(sqlite, "pragma", lambda database, text: {"journal_mode": "wal"}[text])
    assert storage.health().ok
    storage.close()
    path.unlink()
    assert (False, True) == (storage.health().ok, "No such file" in storage.health().details[0])


# --- faults ---


class Faulty(sqlite3.Connection):
    """Fails at one statement, before or after it is done; `statements` are those that came so far."""

    statements: list[str]
    fail_at: int
    done_first: bool
    message = "disk I/O error"

    def _statement(self, sql: str, call: Callable[[], Any]) -> Any:
        Faulty.statements.append(sql)
        if len(Faulty.statements) - 1 != Faulty.fail_at:
            return call()
        if Faulty.done_first:
            call()
        raise sqlite3.OperationalError(Faulty.message)

    def execute(self, sql: str, *parameters: Any) -> Any:
        return self._statement(sql, lambda: super(Faulty, self).execute(sql, *parameters))

    def executemany(self, sql: str, rows: Any) -> Any:
        return self._statement(sql, lambda: super(Faulty, self).executemany(sql, rows))


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Connections that fail at their nth statement from now on; -1 is never."""
    original = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: original(*args, **options, factory=Faulty))

    def set_fault(at: int, done_first: bool = False) -> None:
        Faulty.statements, Faulty.fail_at, Faulty.done_first = [], at, done_first

    set_fault(-1)
    return set_fault


@pytest.mark.parametrize("done_first", [False, True])
def test_a_fault_at_any_statement_leaves_nothing_half_done(
    faulty: Any, tmp_path: Path, new_sessions: Any, monkeypatch: pytest.MonkeyPatch, done_first: bool
) -> None:
    """Opening, appending, making durable, copying the log: each statement fails once, before or after it was done.

    Whoever was told of a failure comes again; in the end everything is there once, in chains that verify.
    """
    monkeypatch.setattr(sqlite, "CHECKPOINT_BYTES", 1)
    fired: list[str] = []
    for fail_at in range(200):
        path, sessions = tmp_path / f"{fail_at}.db", new_sessions()
        before, batch = sessions.events(0, 2), sessions.events(0, 2) + sessions.events(1, 2)
        faulty(fail_at, done_first)
        storage = again(SqliteStorage, path)
        again(storage.append, before)
        try:
            storage.append(batch)
        except StorageError:
            with closing(SqliteStorage(path)) as other:
                committed = done_first and "COMMIT" == Faulty.statements[fail_at]
                assert (6 if committed else 2) == other.count()
            storage.append(batch)
        with suppress(StorageError):
            storage.flush(durable=True)
        assert batch[-1:] == again(
            lambda session_id, storage=storage: storage.last(session_id, 1), batch[-1].session_id
        )
        storage.close()
        statements = Faulty.statements
        faulty(-1)
        assert [("ok",)] == query(path, "PRAGMA integrity_check")
        with closing(SqliteStorage(path)) as other:
            assert [before + batch[:2], batch[2:]] == [list(other.events(each)) for each in other.sessions()]
        if len(statements) <= fail_at:
            break
        fired.append(statements[fail_at])
    else:
        pytest.fail("there were more statements than faults")
    for statement in (
        "BEGIN IMMEDIATE",
        "COMMIT",
        "INSERT INTO event",
        "PRAGMA wal_checkpoint",
        "CREATE TABLE",
        "UPDATE flush",
    ):
        assert any(statement in sql for sql in fired), f"no fault at {statement}"


def again(call: Callable[[Any], Any], argument: Any) -> Any:
    """The result of a call, repeated once if it fails."""
    try:
        return call(argument)
    except StorageError:
        return call(argument)


def test_a_rollback_that_fails_costs_the_connection(faulty: Any, store: Any, sessions: Any) -> None:
    """Closing it rolls back; the next batch comes over a new one."""
    storage, events = store(), sessions.events(0, 2)
    storage.append(events[:1])
    connections = storage._database
    with closing(sqlite3.connect(storage.location, isolation_level=None)) as foreign:
        faulty(-1)
        storage._database.set_authorizer(lambda *what: 1 if what[1] in ("ROLLBACK", "COMMIT") else 0)
        with pytest.raises(StorageError, match="cannot be written"):
            storage.append(events[1:])
        foreign.execute("BEGIN IMMEDIATE")  # nobody holds the lock
        foreign.execute("ROLLBACK")
    storage.append(events[1:])
    assert connections is not storage._database
    assert events == list(storage.events(sessions.id(0)))


def test_a_full_disk_stores_nothing_and_goes_on_when_there_is_room(store: Any, sessions: Any) -> None:
    """SQLite's own error for no space left."""
    storage, large = store(), sessions.events(0, 20, text="x" * 10_000)
    storage.append(sessions.events(1))
    storage._database.execute("PRAGMA max_page_count = 12")
    with pytest.raises(StorageError, match="cannot be written: database or disk is full; make room on the disk"):
        storage.append(large)
    assert 1 == storage.count()
    storage._database.execute("PRAGMA max_page_count = 1000000")
    storage.append(large)
    assert large == list(storage.events(sessions.id(0)))


def test_an_interrupted_append_is_taken_back(store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a batch leaves none of it."""
    storage = store()
    rows = sqlite._rows

    def interrupt(*arguments: Any) -> Iterator[Any]:
        yield next(rows(*arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "_rows", interrupt)
        with pytest.raises(KeyboardInterrupt):
            storage.append(sessions.events(0, 2))
    assert 0 == storage.count()
    storage.append(sessions.events(0, 2))


# --- durable ---


def test_a_durable_flush_commits_with_full_sync_and_only_when_something_was_stored(
    faulty: Any, store: Any, sessions: Any
) -> None:
    """Appending does not wait for the disk; a flush does, once for everything before it."""
    storage = store()
    storage.append(sessions.events(0))
    faulty(-1)
    storage.append(sessions.events(0))
    assert "PRAGMA synchronous = NORMAL" in Faulty.statements
    faulty(-1)
    storage.flush(durable=True)
    assert ["PRAGMA synchronous = FULL", "BEGIN IMMEDIATE", "UPDATE flush SET durable = durable + 1", "COMMIT"] == (
        Faulty.statements
    )
    storage.flush(durable=True)
    storage.flush(durable=False)
    assert 4 == len(Faulty.statements)
    store().flush(durable=True)  # what is there may be of a process that died, and in memory yet
    assert 2 == sum(each.startswith("UPDATE flush") for each in Faulty.statements)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_durable_flush_reaches_the_disk(path: Path, tmp_path: Path) -> None:
    """The system calls: an append syncs nothing, a durable flush the log, after the last write to it."""
    program = f"""
import os, sys
from cra.storage.sqlite import SqliteStorage
from cra.testing.traces import make_trace
storage = SqliteStorage({str(path)!r})
events = make_trace([("session.started", {{}}), ("session.ended", {{}})])
os.stat("/begin/append")
storage.append(events)
os.stat("/begin/flush") if os.path.exists("/begin/flush") else None
storage.flush(True)
os.path.exists("/begin/end")
"""
    program = program.replace('os.stat("/begin/append")', 'os.path.exists("/begin/append")')
    traced = tmp_path / "strace.txt"
    calls = "trace=pwrite64,fsync,fdatasync,stat,newfstatat,statx"
    done = subprocess.run(
        ["strace", "-f", "-y", "-o", traced, "-e", calls, sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode and "ptrace" in done.stderr.lower():
        pytest.skip("this machine allows no strace")
    assert 0 == done.returncode, done.stderr
    lines = traced.read_text().splitlines()
    marks = [next(i for i, line in enumerate(lines) if f"/begin/{name}" in line) for name in ("append", "flush", "end")]
    append, flush = lines[marks[0] : marks[1]], lines[marks[1] : marks[2]]
    assert (True, False) == (
        any("pwrite64" in line and "-wal>" in line for line in append),
        any("sync(" in line for line in append),
    )
    of_log = [line for line in flush if "-wal>" in line]
    assert "sync(" in of_log[-1]
    assert any("pwrite64" in line for line in of_log)


def test_a_sync_that_failed_poisons_every_later_durable_flush(
    faulty: Any, store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel forgets failed pages: a later success would be a lie. Storing goes on."""
    storage = store()
    storage.append(sessions.events(0))
    faulty(3)
    with pytest.raises(StorageError, match=r"writing to the disk failed \(disk I/O error\); .* create a new Resolver"):
        storage.flush(durable=True)
    faulty(-1)
    with pytest.raises(StorageError, match="writing to the disk failed"):
        storage.flush(durable=True)
    storage.append(sessions.events(0))
    storage.flush(durable=False)
    assert (False, 2) == (storage.health().ok, len(storage.health().details))
    assert 2 == storage.count()


def test_the_names_of_file_and_log_are_on_the_disk_before_anything_is_stored(
    store: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite syncs them as well, with what is stored, and says nothing where that fails."""
    there: list[list[str]] = []
    real = os.fsync

    def note(file: int) -> None:
        assert str(path.parent) == os.readlink(f"/proc/self/fd/{file}")
        there.append(sorted(os.listdir(path.parent)))
        real(file)

    monkeypatch.setattr(os, "fsync", note)
    storage = store()
    assert [["audit.db"], ["audit.db", "audit.db-shm", "audit.db-wal"]] == there
    storage.close()
    store()
    assert ["audit.db", "audit.db-shm", "audit.db-wal"] == there[2]
    assert 3 == len(there)


@pytest.mark.parametrize("at", [1, 2])
def test_names_that_cannot_be_synced_poison_every_durable_flush(
    at: int, store: Any, path: Path, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is opened, and when somebody has deleted the file and it is begun again."""
    storage = store()
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", OnceFailing(os.fsync, at))
        with pytest.raises(StorageError, match="cannot be opened: Input/output error"):
            storage.append(sessions.events(0))
    storage.append(sessions.events(0))
    for _ in range(2):
        with pytest.raises(
            StorageError, match=r"writing to the disk failed \(Input/output error\); .* create a new Resolver"
        ):
            storage.flush(durable=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", OnceFailing(os.fsync, 1))
        with pytest.raises(StorageError, match="cannot be opened: Input/output error"):
            store()


def test_in_a_folder_that_may_not_be_read_everything_is_synced(
    store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since it cannot be opened to sync it alone."""
    synced: list[bool] = []

    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "folder")

    monkeypatch.setattr(sqlite, "sync_folder", refuse)
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    storage = store()
    storage.append(sessions.events(0))
    storage.flush(durable=True)
    assert [True, True] == synced


@pytest.mark.parametrize(("message", "healthy"), [("disk I/O error", False), ("database or disk is full", True)])
def test_a_log_that_cannot_be_copied_is_no_failure_of_the_append(
    faulty: Any, store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch, message: str, healthy: bool
) -> None:
    """What was appended is there. An fsync may have failed, which poisons; on a full disk it is tried again."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_BYTES", 1)
    monkeypatch.setattr(Faulty, "message", message)
    storage = store()
    faulty(-1)
    storage.append(sessions.events(0))
    at = Faulty.statements.index("PRAGMA wal_checkpoint(PASSIVE)") - 1  # the session is known by now
    faulty(at)
    storage.append(sessions.events(0))
    assert "PRAGMA wal_checkpoint(PASSIVE)" == Faulty.statements[at]
    faulty(-1)
    assert (2, healthy) == (storage.count(), storage.health().ok)
    if healthy:
        storage.flush(durable=True)
    else:
        with pytest.raises(StorageError, match="may not survive a power cut"):
            storage.flush(durable=True)


def test_a_durable_flush_that_had_to_wait_is_not_poison(
    store: Any, path: Path, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process was writing: it can be tried again."""
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    storage = store()
    storage.append(sessions.events(0))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageLocked, match="cannot be made durable: another process has been writing"):
            storage.flush(durable=True)
        other.execute("ROLLBACK")
    storage.flush(durable=True)
    assert storage.health().ok


def test_the_log_is_copied_while_it_goes_on(
    store: Any, path: Path, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not grow with what is stored, unless a reader of another tool holds it; then it is copied afterwards."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_BYTES", 50_000)
    storage, log = store(), path.with_name("audit.db-wal")

    def append(number: int) -> None:
        for _ in range(number):
            storage.append(sessions.events(0, 10, text="x" * 1000))

    append(40)
    bound = log.stat().st_size
    append(100)
    assert log.stat().st_size <= bound * 1.5
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        append(40)
        assert log.stat().st_size > bound
        assert [(1400,)] == reader.execute("SELECT count(*) FROM event").fetchall()
    held = log.stat().st_size
    append(100)
    assert log.stat().st_size <= held * 1.5
    assert 2800 == storage.count()
    assert storage.health().ok


# --- other processes ---


def test_a_writer_that_does_not_end_is_named(
    store: Any, path: Path, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`StorageLocked` after waiting, with nothing stored; reading waits for nobody."""
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    storage, events = store(), sessions.events(0, 2)
    storage.append(events[:1])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StorageLocked, match=r"cannot be written: .* writing for 0 s; try again, or give every process"
        ):
            storage.append(events[1:])
        assert events[:1] == list(storage.events(sessions.id(0)))
        other.execute("ROLLBACK")
    storage.append(events[1:])
    assert events == list(storage.events(sessions.id(0)))


WRITER = """
import sys
from cra.storage.sqlite import SqliteStorage
from cra.testing.traces import make_trace
path, session = sys.argv[1], int(sys.argv[2])
events = make_trace([("session.started", {})] + [("action.requested", {"n": n}) for n in range(200)], session=session)
sys.stdin.readline()
storage = SqliteStorage(path)
for at in range(0, len(events), 10):
    storage.append(events[at : at + 10])
storage.flush(True)
storage.close()
"""


OPENER = """
import sys, time
from pathlib import Path
from cra.storage.sqlite import SqliteStorage
folder = Path(sys.argv[1])
print(flush=True)
start = float(sys.stdin.readline())
for n in range(100):
    while time.time() < start + n / 50:  # all at the same moment
        pass
    SqliteStorage(folder / f"{n}.db").close()
"""


def test_several_processes_make_one_file(tmp_path: Path) -> None:
    """A hundred times, each wants to make the same file at the same moment: all of them can, and it is made once."""
    command = [sys.executable, "-c", OPENER, str(tmp_path)]
    pipe = subprocess.PIPE
    openers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) for _ in range(4)]
    try:
        for opener in openers:
            assert opener.stdout is not None
            assert opener.stdout.readline()
        start = time.time() + 0.1
        for opener in openers:
            assert opener.stdin is not None
            opener.stdin.write(f"{start}\n")
            opener.stdin.flush()
        said = [opener.communicate(timeout=120)[1] for opener in openers]
    finally:
        for opener in openers:
            opener.kill()
    assert ([""] * 4, [0] * 4) == (said, [opener.returncode for opener in openers])
    for n in range(100):
        assert [(0,)] == query(tmp_path / f"{n}.db", "SELECT durable FROM flush")


def test_several_processes_write_to_one_file(path: Path) -> None:
    """All begin at once, on a file that is not there yet; each session is whole in the end."""
    command = [sys.executable, "-c", WRITER, str(path)]
    pipe = subprocess.PIPE
    writers = [subprocess.Popen([*command, str(n)], stdin=pipe, stderr=pipe, text=True, cwd=ROOT) for n in range(1, 5)]
    try:
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        said = [writer.communicate(timeout=120)[1] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
    assert ([""] * 4, [0] * 4) == (said, [writer.returncode for writer in writers])
    with closing(SqliteStorage(path)) as storage:
        assert 4 == len(storage.sessions())
        for session_id in storage.sessions():
            events = list(storage.events(session_id))
            assert (201, True) == (len(events), verify_chain(events).valid)


# --- under a resolver ---


@pytest.mark.parametrize("tracing", ["deferred", "immediate"])
def test_a_resolver_stores_its_events_here(path: Path, tracing: Any) -> None:
    """By URL, with its ring beside the file, at every level; what it stored goes on in the next one's trace."""
    url = f"sqlite:///{path}"
    with cra.Resolver(url, tracing=tracing, fail_closed=True, durability="durable") as resolver:
        assert (tracing == "deferred") == bool(os.listdir(path.parent / "audit.db.ring"))
        with resolver.create_session("bot", "work") as session:
            session.resolve("Look around")
        resolver.flush("durable")
        assert cra.verify_chain(resolver.trace(session.session_id)).valid
    with cra.Resolver(url) as resolver:
        types = [event.event_type for event in resolver.trace(session.session_id)]
        assert ["session.started", "session.ended"] == [types[0], types[-1]]
        assert "carp.resolution.completed" in types


def test_a_ring_is_beside_any_backend_that_has_a_location(tmp_path: Path) -> None:
    """Not ours alone."""

    class Elsewhere(MemoryStorage):
        location = tmp_path / "store"

    with cra.Resolver(["null:", Elsewhere()]):
        assert ["store.ring"] == os.listdir(tmp_path)


def test_a_schema_that_is_no_text_is_an_error_of_the_store(store: Any, path: Path, sessions: Any) -> None:
    """SQLite puts the bytes of a damaged schema into the message of its error, which Python cannot decode."""
    storage = store()
    storage.append(sessions.events(0))
    storage.close()
    data = path.read_bytes()
    assert b"tableeventevent" in data
    data = data.replace(b"tableeventevent", b"table\xff\xfe\xff\xfe\xffevent")
    path.write_bytes(data.replace(b"CREATE TABLE event (", b"CREATE WHAT? event ("))
    with pytest.raises(StorageError, match=r"cannot be opened: .*the file is damaged; keep it"):
        store()


@pytest.mark.parametrize(
    ("table", "column", "read"),
    [
        ("session", "session_id", lambda storage, _: storage.sessions()),
        ("event", "line", lambda storage, session_id: list(storage.events(session_id))),
        ("event", "line", lambda storage, session_id: storage.last(session_id, 1)),
        ("event", "line", lambda storage, _: list(lines_of_sqlite(storage.location, Places()))),
    ],
)
def test_a_row_without_a_value_is_an_error_of_the_store(
    store: Any, path: Path, sessions: Any, table: str, column: str, read: Any
) -> None:
    """No table of ours may hold one, and a damaged file does: NULL is no id and no line."""
    storage = store()
    storage.append(sessions.events(0))
    storage.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(f"UPDATE sqlite_master SET sql = replace(sql, '{column} TEXT NOT NULL', '{column} TEXT')")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        assert database.execute(f"UPDATE {table} SET {column} = NULL").rowcount
    storage = store()
    with pytest.raises(StorageError, match="the file is damaged; keep it"):
        read(storage, sessions.id(0))
