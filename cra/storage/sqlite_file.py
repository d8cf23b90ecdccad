"""The SQLite file of the `sqlite:` store: its tables, how it is opened, and what its errors mean to a person.

Everything that has been stored is in these tables; the view `trace` is for people and their tools. Used by `cra.storage.sqlite`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from cra.errors import StorageError, StorageLocked

APPLICATION_ID: Final = 0x63726174
"""What `file` and SQLite's tools tell this kind of database by: "crat" as a number."""
SCHEMA_VERSION: Final = 1
BUSY_SECONDS: Final = 5.0
"""How long to wait while another process writes."""

_TURN_SECONDS: Final = 0.005
"""How long to wait before the next try, where SQLite does not wait by itself."""

_FILE_MODE: Final = (
    0o600  # a trace tells what an organisation's agents do; SQLite gives the files beside it the same mode
)
_PAGE_BYTES: Final = 8192  # an event takes 700 bytes: fewer pages to split and to copy than with SQLite's 4096
_SCHEMA: Final = (
    # A number is given once and never again, so that sessions sort by age and nobody reads the events of another one.
    "CREATE TABLE IF NOT EXISTS session (number INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL UNIQUE)",
    """CREATE TABLE IF NOT EXISTS event (
        session INTEGER NOT NULL REFERENCES session (number),
        sequence INTEGER NOT NULL,
        event_type TEXT NOT NULL,
        timestamp TEXT NOT NULL,
        event_hash TEXT NOT NULL,
        line TEXT NOT NULL,
        PRIMARY KEY (session, sequence)
    )""",
    """CREATE VIEW IF NOT EXISTS trace AS
        SELECT session_id, sequence, timestamp, event_type, event_hash, line
        FROM event JOIN session ON session.number = event.session""",
    "CREATE TABLE IF NOT EXISTS flush (durable INTEGER NOT NULL)",
    "INSERT INTO flush SELECT 0 WHERE NOT EXISTS (SELECT * FROM flush)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
READ_ONLY: Final = "attempt to write a readonly database"
"""SQLite's words for a file that it could open for reading alone; it tries that whatever kept it from writing."""
FAILED_IO: Final = "disk I/O error"
"""Its words for any call that failed, an fsync among them."""
_DAMAGED: Final = "database disk image is malformed"
DAMAGE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What reading a file raises: the message of an error may hold bytes of a damaged schema, a column those of a damaged row."""
_ADVICE: Final = {
    READ_ONLY: "the file or its folder is read-only; change their permissions",
    _DAMAGED: "the file is damaged; keep it, and save what is left with: sqlite3 FILE .recover",
    "database or disk is full": "make room on the disk",
    FAILED_IO: "check the disk, quotas and limits on the size of files",
    "file is not a database": "name another file, or move this one away",
    "unable to open database file": "check that the folder is there, and the permissions of both",
}


def create_file(path: Path) -> bool:
    """Make an empty file for its owner's eyes where there is none; whether one was made. Raises `OSError`."""
    # SQLite would make it readable by all. An existing file must not be opened here: to close it drops SQLite's locks on it.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _FILE_MODE))
    except FileExistsError:
        return False
    return True


def connect(path: Path) -> sqlite3.Connection:
    """A connection to an existing file, for any thread, in which every statement is a transaction until BEGIN says otherwise."""
    return sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def prepare(database: sqlite3.Connection, name: str) -> None:
    """Make the tables where the file is empty, and set the connection up for writing.

    Raises `StorageError` for a database of something else or of a later version, which is left as it is, and `sqlite3.Error`;
    the connection is to be closed then.
    """
    database.execute("BEGIN")  # one state of the file: another process may be making its tables
    empty = _is_empty(database, name)
    database.execute("COMMIT")
    if empty:
        database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    if _write_ahead(database) != "wal":
        raise StorageError(f"storage '{name}' cannot have a write-ahead log where it is; name a file on a local disk")
    if empty:
        database.execute("BEGIN IMMEDIATE")
        if _is_empty(database, name):  # nobody was faster
            for statement in _SCHEMA:
                database.execute(statement)
        database.execute("COMMIT")
    database.execute("PRAGMA fullfsync = ON")  # macOS: what it calls fsync leaves the data in the disk's cache
    database.execute("PRAGMA secure_delete = ON")  # who deletes a session wants nothing of it left


def _is_empty(database: sqlite3.Connection, name: str) -> bool:
    """Whether nobody has made tables yet, ours or others. Raises `StorageError` as `prepare` does."""
    application = pragma(database, "application_id")
    version = pragma(database, "user_version")
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application, version, tables) == (0, 0, 0):
        return True
    if application != APPLICATION_ID:
        raise StorageError(f"storage '{name}' is a database of something else; name another file")
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"storage '{name}' has schema version {version}, and this version of cra knows {SCHEMA_VERSION}; upgrade cra"
        )
    return False


def _write_ahead(database: sqlite3.Connection) -> object:
    """Have the file a write-ahead log: readers and the writer do not wait for each other. It stays with the file."""
    ends = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return pragma(database, "journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Here SQLite does not wait for another process that is about the same.
            if not _is_locked(str(error)) or time.monotonic() > ends:
                raise
        time.sleep(_TURN_SECONDS)


def no_text(name: str) -> StorageError:
    """A column of text holds something else, which no statement of ours put there."""
    return explain(name, "cannot be read", sqlite3.DatabaseError(_DAMAGED))


def pragma(database: sqlite3.Connection, text: str) -> object:
    """The value that a pragma gives."""
    return database.execute(f"PRAGMA {text}").fetchone()[0]


def in_a_line(said: object) -> str:
    """What SQLite says, a text or an error, in one line: of a damaged schema it cites what stands there, newlines and all."""
    return "it takes more memory than there is" if isinstance(said, MemoryError) else " ".join(str(said).split())


def _is_locked(reason: str) -> bool:
    return reason.startswith("database") and reason.endswith("is locked")


def explain(name: str, what: str, error: sqlite3.Error | OSError | UnicodeDecodeError) -> StorageError:
    """One sentence: which storage, what could not be done, why, and what to do. `StorageLocked` while others write."""
    if isinstance(error, OSError):
        return StorageError(
            f"storage '{name}' {what}: {error.strerror}; check the path and the permissions of its folder"
        )
    # SQLite's words for its error codes; Python 3.10 does not tell the codes.
    reason = _DAMAGED if isinstance(error, UnicodeDecodeError) else in_a_line(error)
    if _is_locked(reason):
        return StorageLocked(
            f"storage '{name}' {what}: another process has been writing for {BUSY_SECONDS:.0f} s;"
            " try again, or give every process a file of its own"
        )
    advice = _ADVICE.get(reason, "check the disk, the path and its permissions")
    return StorageError(f"storage '{name}' {what}: {reason}; {advice}")
