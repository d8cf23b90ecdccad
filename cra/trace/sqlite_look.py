"""A look at a `sqlite:` store: how many events and sessions it has, and whether SQLite finds a fault in the file.

Used by `cra doctor`. It changes nothing, and makes no file: where there is no write-ahead log, nobody has the file open, and it
is read as one that does not change; where there is one, its index is only read. It raises over nothing that is in the file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from cra.errors import StorageError
from cra.storage.sqlite_file import APPLICATION_ID, BUSY_SECONDS, DAMAGE, SCHEMA_VERSION, in_a_line, no_text, pragma
from cra.trace.journal_look import StoredSession
from cra.trace.places import Places

_UNREADABLE = (*DAMAGE, MemoryError)  # a damaged length: SQLite asks for as much
_FAULTS = 5
_NO_INDEX = "it has a write-ahead log without {name}-shm beside it, which cannot be read without making that"
_LINES = """
    SELECT session_id, sequence, event_type, timestamp, event_hash, CAST(line AS BLOB)
    FROM event LEFT JOIN session ON number = session ORDER BY session, sequence"""
_SESSIONS = """
    SELECT session_id, count(*), (
        SELECT event_type FROM event WHERE session = number ORDER BY sequence DESC LIMIT 1)
    FROM session JOIN event ON session = number GROUP BY number ORDER BY number"""


class SqliteLook(msgspec.Struct, frozen=True):
    """A SQLite file. `faults` are what `quick_check` finds, the first few of them; `log_bytes` is the size of its log.

    `problem` says why it cannot be read, or that it is no store of this version, and then there is nothing else to say.
    """

    file: str
    bytes: int = 0
    log_bytes: int = 0
    events: int = 0
    sessions: tuple[StoredSession, ...] = ()
    faults: tuple[str, ...] = ()
    problem: str | None = None


def look_at_sqlite(path: str | os.PathLike[str]) -> SqliteLook:
    """Look at a SQLite file, through."""
    name, real = os.fspath(path), Path(os.path.realpath(path))
    try:
        size, log = real.stat().st_size, _size(real, "-wal")
        if _lacks_index(real, log):
            return SqliteLook(name, size, log, problem=_NO_INDEX.format(name=name))
        with closing(_opened_to_look(real, log)) as database:
            return _look(database, name, size, log)
    except OSError as error:
        return SqliteLook(name, problem=error.strerror)
    except _UNREADABLE as error:
        return SqliteLook(name, size, log, problem=in_a_line(error))


def lines_of_sqlite(path: str | os.PathLike[str], places: Places) -> Iterator[bytes]:
    """The lines of all events in a file, session by session in order, without changing it; `places` sees what stands beside
    them, which readers go by. Raises `StorageError`."""
    name, real = os.fspath(path), Path(os.path.realpath(path))
    try:
        log = _size(real, "-wal")
        if _lacks_index(real, log):
            raise StorageError(f"{name!r} cannot be read: {_NO_INDEX.format(name=name)}")
        with closing(_opened_to_look(real, log)) as database:
            application, version = pragma(database, "application_id"), pragma(database, "user_version")
            if (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
                raise StorageError(f"{name!r} is no store of this version")
            for *row, line in database.execute(_LINES):
                if not isinstance(line, bytes):
                    raise no_text(name)
                places.check_row(line, tuple(row))
                yield line + b"\n"
    except OSError as error:
        raise StorageError(f"{name!r} cannot be read: {error.strerror}") from error
    except _UNREADABLE as error:
        raise StorageError(
            f"{name!r} cannot be read: {in_a_line(error)}; look at it with: cra doctor --data {name}"
        ) from error


def _lacks_index(real: Path, log: int) -> bool:
    return log > 0 and not os.path.exists(f"{real}-shm")


def _opened_to_look(real: Path, log: int) -> sqlite3.Connection:
    # Any other connection to a file with a log, even a read-only one, would make its -shm file, or write into it.
    how = "readonly_shm=1" if log else "mode=ro" if _size(real, "-journal") else "immutable=1"
    uri = f"{real.as_uri()}?mode=ro&{how}"
    database = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    database.text_factory = lambda text: text.decode(errors="replace")
    database.execute("BEGIN")  # all that is read is one state of the file, whatever others write
    return database


def _look(database: sqlite3.Connection, name: str, size: int, log: int) -> SqliteLook:
    """Raises what `_UNREADABLE` names."""
    application, version = pragma(database, "application_id"), pragma(database, "user_version")
    if application != APPLICATION_ID:
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        problem = "it is a database of something else" if tables or application else None
        return SqliteLook(name, size, log, problem=problem)
    if version != SCHEMA_VERSION:
        problem = f"it has schema version {version}, and this version of cra knows {SCHEMA_VERSION}"
        return SqliteLook(name, size, log, problem=problem)
    checked = [row[0] for row in database.execute(f"PRAGMA quick_check({_FAULTS})")]
    faults = [in_a_line(each) for each in checked if each != "ok"]
    rows: list[Any] = []
    try:
        rows = database.execute(_SESSIONS).fetchall()
    except _UNREADABLE as error:
        faults.append(in_a_line(error))
    sessions = tuple(StoredSession(str(session_id), last == "session.ended") for session_id, _, last in rows)
    return SqliteLook(name, size, log, sum(count for _, count, _ in rows), sessions, tuple(faults))


def _size(path: Path, suffix: str) -> int:
    """The size of a file beside the database; 0 where there is none. Raises `OSError`."""
    try:
        return os.stat(f"{path}{suffix}").st_size
    except FileNotFoundError:
        return 0
