"""One SQLite file: a row per event, with its exact line, readable with any SQLite tool.

A batch is one transaction. Several processes may write different sessions to one file; they take turns, and readers wait for
nobody. What was stored already is recognised by session and sequence, so that a batch may come again when nobody knows whether
it was stored. It never changes an event.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from cra.errors import InvalidTraceEvent, StorageError
from cra.ids import UUID_PATTERN
from cra.storage.base import StorageHealth
from cra.storage.folders import sync_folder
from cra.storage.sqlite_file import (
    DAMAGE,
    FAILED_IO,
    READ_ONLY,
    connect,
    create_file,
    explain,
    no_text,
    pragma,
    prepare,
)
from cra.trace.batch import Batch
from cra.trace.event import GENESIS_HASH, Event
from cra.trace.jsonl import dump_line, read_event

CHECKPOINT_BYTES: Final = 32 * 1024 * 1024
"""How much is appended until the write-ahead log is copied into the file. It costs two fsyncs."""
QUICK_BYTES: Final = 32 * 1024 * 1024
"""The largest file that `health` reads through: 20 ms, where it is in memory."""

_EVENT_BYTES: Final = 1000  # about, where they were not counted
_PAGE_EVENTS: Final = 100
_LARGEST: Final = 2**63 - 1
_INSERT: Final = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (session, sequence) DO NOTHING"
_PAGE: Final = """
    SELECT sequence, CAST(line AS BLOB) FROM event
    WHERE session = :session AND sequence > :after AND sequence <= :newest
        AND (:types IS NULL OR event_type IN (SELECT value FROM json_each(:types)))
    ORDER BY sequence LIMIT :limit"""
# The first there are in a line: before them there are ids, after them whatever the payload holds.
_find_columns: Final = re.compile('"sequence":([0-9]+),"timestamp":"([^"]+)","event_type":"([^"]+)"').search
_AFTER_HASH: Final = len(f'","previous_event_hash":"{GENESIS_HASH}"}}')
_HASH: Final = slice(-_AFTER_HASH - len(GENESIS_HASH), -_AFTER_HASH)
Row = tuple[int, int, str, str, str, str]
"""Session (its number), sequence, type, timestamp, hash, line without newline."""


class SqliteStorage:
    """Events in the file `path`, which is made if there is none. Raises `StorageError` if it cannot be used.

    One connection writes; every reading has its own, and holds no transaction while its caller looks at an event.
    """

    durable = True
    readable = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.location = self._path = Path(path).absolute()  # it stays there whatever the working directory is later
        self.name = f"sqlite:///{Path(path)}"
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._uncopied = 0
        self._unsynced = True  # what another process stored and recovery found may not be on the disk yet
        self._poison: str | None = None
        self._closed = False
        self._connected()

    def append(self, batch: Sequence[Event]) -> None:
        """Store a batch in one transaction; events that are stored already, to the byte, are left as they are.

        Raises `StorageError` when another event has the place of one, `StorageLocked` while another process writes.
        """
        with self._writing("cannot be written") as database:
            numbers = {session_id: _number(database, session_id) for session_id in _session_ids(batch)}
            size = database.total_changes
            database.executemany(_INSERT, _rows(batch, numbers))
            if database.total_changes - size != len(batch):
                self._check_stored(database, batch, numbers)
            self._uncopied += batch.size if isinstance(batch, Batch) else len(batch) * _EVENT_BYTES
        if self._uncopied >= CHECKPOINT_BYTES:
            self._checkpoint()

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        """A session's events as of now, in order. `StorageError` at the first line that is no event."""
        wanted = None if types is None else json.dumps(list(types))
        with self._reading() as database:
            place = {"session": _find(database, session_id), "types": wanted, "limit": _PAGE_EVENTS}
            (newest,) = database.execute("SELECT max(sequence) FROM event WHERE session = :session", place).fetchone()
            after = min(after, _LARGEST)
            # Page by page, since a transaction that is left open keeps the log from being copied into the file.
            while rows := database.execute(_PAGE, {**place, "after": after, "newest": newest}).fetchall():
                for sequence, line in rows:
                    yield self._event(session_id, sequence, line)
                after = rows[-1][0]

    def sessions(self) -> list[str]:
        """The ids of the sessions that have events, in the order in which they were first stored."""
        with self._reading() as database:
            found = [session_id for (session_id,) in database.execute("SELECT session_id FROM session ORDER BY number")]
        if not all(isinstance(each, str) for each in found):
            raise no_text(self.name)
        return found

    def last(self, session_id: str, n: int) -> list[Event]:
        """The session's last `n` events, in order; only these are read."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT sequence, CAST(line AS BLOB) FROM event WHERE session = ? ORDER BY sequence DESC LIMIT ?",
                (_find(database, session_id), max(0, min(n, _LARGEST))),
            ).fetchall()
        return [self._event(session_id, sequence, line) for sequence, line in reversed(rows)]

    def count(self, session_id: str | None = None) -> int:
        """The number of events of a session, or of all."""
        with self._reading() as database:
            if session_id is None:
                rows = database.execute("SELECT count(*) FROM event")
            else:
                rows = database.execute("SELECT count(*) FROM event WHERE session = ?", (_find(database, session_id),))
            count: int = rows.fetchone()[0]
        return count

    def delete_session(self, session_id: str) -> int:
        """Remove a session's events, overwriting them in the file; returns how many there were."""
        with self._writing("cannot delete the session") as database:
            number = _find(database, session_id)
            count = database.execute("DELETE FROM event WHERE session = ?", (number,)).rowcount
            database.execute("DELETE FROM session WHERE number = ?", (number,))
        return count

    def health(self) -> StorageHealth:
        """Not ok when the file cannot be read, has a fault, or an fsync has failed. A small file is read through."""
        try:
            size = os.stat(self._path).st_size
            with self._reading() as database:
                fault = str(pragma(database, "quick_check(1)")) if size <= QUICK_BYTES else "ok"
                details = [f"{size} bytes, journal mode {pragma(database, 'journal_mode')}"]
        except (OSError, StorageError) as error:
            return StorageHealth(self.name, ok=False, details=(str(error),))
        faults = [sentence for sentence in (fault if fault != "ok" else None, self._poison) if sentence is not None]
        return StorageHealth(self.name, ok=not faults, details=(*details, *faults))

    def flush(self, durable: bool) -> None:
        """Every batch is committed, and can be read, when `append` returns. `durable` has the log written to the disk.

        Raises `StorageError` if that fails, and from then on always: the kernel marks pages clean after a failed write-back, so
        that a later fsync would succeed over lost data.
        """
        if not durable:
            return
        with self._lock:
            self._check_open()
            if self._unsynced and self._poison is None:
                self._sync()
            if self._poison is not None:
                raise StorageError(f"storage '{self.name}': {self._poison}; check the disk and create a new Resolver")

    def close(self) -> None:
        """Close the writing connection; SQLite then copies the log into the file. What was stored can still be read."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def _sync(self) -> None:
        # In WAL mode a transaction committed with synchronous=NORMAL "might roll back following a power loss"; with FULL "an
        # additional sync operation of the WAL file happens after each transaction commit"
        # (https://sqlite.org/pragma.html#pragma_synchronous). Each frame's checksum covers all frames before it
        # (https://sqlite.org/fileformat2.html#walformat), and the log is begun anew only after all of it was copied and synced:
        # where this commit survives, so does every earlier one. It has to change a page, or nothing would be written; unlike a
        # checkpoint, it waits for no reader.
        try:
            with self._writing("cannot be made durable", synchronous="FULL") as database:
                database.execute("UPDATE flush SET durable = durable + 1")
            self._unsynced = False
        except StorageError as error:
            if not self._note_failure(error.__cause__):
                raise

    def _checkpoint(self) -> None:
        """Copy the log into the file as far as readers let it. What fails is no failure of what was appended."""
        with self._lock:
            self._uncopied = 0
            if self._database is not None:  # it is None when somebody has just closed this
                try:
                    self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                except sqlite3.Error as error:
                    self._note_failure(error)

    def _note_failure(self, error: BaseException | None) -> bool:
        """Whether it may have been an fsync that failed, after which none is believed. A full disk or a lock is none."""
        if str(error) != FAILED_IO:
            return False
        self._poison = _poison(error)
        return True

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"storage '{self.name}' is closed; open it again")

    @contextmanager
    def _writing(self, what: str, synchronous: str = "NORMAL") -> Iterator[sqlite3.Connection]:
        """A transaction of the writing connection: committed in the end, rolled back by anything that is raised."""
        with self._lock:
            self._check_open()
            database = self._connected()
            try:
                database.execute(f"PRAGMA synchronous = {synchronous}")
                database.execute("BEGIN IMMEDIATE")
                yield database
                self._unsynced = True
                database.execute("COMMIT")
            except BaseException as error:
                self._roll_back(database)
                if (
                    str(error) == READ_ONLY
                ):  # where the file could not be opened for writing just then, too: not for ever
                    self._disconnect()
                if isinstance(error, DAMAGE):
                    raise explain(self.name, what, error) from error
                raise

    def _roll_back(self, database: sqlite3.Connection) -> None:
        try:
            if database.in_transaction:  # SQLite rolls back by itself after some errors
                database.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()  # which rolls back, too

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(connect(self._path)) as database:
                yield database
        except DAMAGE as error:
            raise explain(self.name, "cannot be read", error) from error

    def _connected(self) -> sqlite3.Connection:
        """The writing connection, to the file that has the name now: what is written to a deleted one is lost."""
        if self._database is not None and self._file == _identity(self._path):
            return self._database
        self._disconnect()
        try:
            if create_file(self._path):
                self._sync_names()
            database = connect(self._path)
            try:
                prepare(database, self.name)
                self._sync_names()  # now there is a log, too
                # Done here instead, since SQLite tells nobody when it fails.
                database.execute("PRAGMA wal_autocheckpoint = 0")
            except BaseException:
                database.close()
                raise
        except (OSError, *DAMAGE) as error:
            raise explain(self.name, "cannot be opened", error) from error
        self._database, self._file = database, _identity(self._path)
        return database

    def _sync_names(self) -> None:
        """Bring the names of the file and of its log to the disk, before SQLite does: it tells nobody when that fails, and after
        that no other sync is to be believed. Raises `OSError`."""
        try:
            sync_folder(self._path.parent)
        except PermissionError:
            os.sync()  # the folder may be used, and not be read
        except OSError as error:
            if error.filename is None:
                self._poison = _poison(error.strerror)
            raise

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _check_stored(self, database: sqlite3.Connection, batch: Sequence[Event], numbers: Mapping[str, int]) -> None:
        for number, sequence, _, _, _, line in _rows(batch, numbers):
            (stored,) = database.execute(
                "SELECT line FROM event WHERE session = ? AND sequence = ?", (number, sequence)
            ).fetchone()
            if stored != line:
                session_id = next(key for key, value in numbers.items() if value == number)
                raise StorageError(
                    f"storage '{self.name}' has another event {sequence} of session {session_id};"
                    " two processes have written one session: give the second one a file of its own"
                )

    def _event(self, session_id: str, sequence: int, line: object) -> Event:
        if not isinstance(line, bytes):
            raise no_text(self.name)
        try:
            return read_event(line)
        except InvalidTraceEvent as error:
            raise StorageError(f"storage '{self.name}', event {sequence} of session {session_id}: {error}") from error


def _poison(reason: object) -> str:
    return f"writing to the disk failed ({reason}); what was stored before may not survive a power cut"


def _session_ids(batch: Sequence[Event]) -> list[str]:
    """The ids of the sessions in a batch, in the order of their first events."""
    ids = (run[0] for run in batch.runs) if isinstance(batch, Batch) else (event.session_id for event in batch)
    return list(dict.fromkeys(ids))


def _rows(batch: Sequence[Event], numbers: Mapping[str, int]) -> Iterator[Row]:
    """The rows of a batch; from lines without decoding the events. Raises `InvalidTraceEvent` as `dump_line` does."""
    if isinstance(batch, Batch):
        for session_id, lines, _ in batch.chunks():
            number = numbers[session_id]
            for line in lines.decode().split("\n")[:-1]:
                columns = _find_columns(line)
                assert columns is not None  # every line of a batch has them
                sequence, timestamp, event_type = columns.groups()
                yield number, int(sequence), event_type, timestamp, line[_HASH], line
    else:
        for event in batch:
            line = dump_line(event).decode().removesuffix("\n")
            yield numbers[event.session_id], event.sequence, event.event_type, event.timestamp, event.event_hash, line


def _number(database: sqlite3.Connection, session_id: str) -> int:
    """The number of a session, which gets one if it has none."""
    number = _find(database, session_id)
    if number is None:
        number = database.execute("INSERT INTO session (session_id) VALUES (?)", (session_id,)).lastrowid
        assert number is not None  # or the statement had failed
    return number


def _find(database: sqlite3.Connection, session_id: str) -> int | None:
    """The number of a session, None where it is unknown; no event has that."""
    if not UUID_PATTERN.fullmatch(session_id):
        raise StorageError("a session id is a lower-case UUID; nothing else names a session of this storage")
    row = database.execute("SELECT number FROM session WHERE session_id = ?", (session_id,)).fetchone()
    return None if row is None else row[0]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
