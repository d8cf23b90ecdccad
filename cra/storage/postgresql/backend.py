"""The `postgresql:` store for callers who wait: a `StorageBackend` over psycopg's connections.

A connection that failed is never used again: the server takes back what was not committed, and the next call makes a new one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

import psycopg

from cra.errors import StorageError
from cra.storage.base import SPOOL_BYTES, StorageHealth
from cra.storage.postgresql.address import read_address
from cra.storage.postgresql.connection import Connection, connect
from cra.storage.postgresql.explain import explain
from cra.storage.postgresql.idle import Idle
from cra.storage.postgresql.operations import Line, Operations, Place
from cra.storage.postgresql.schema import prepare
from cra.storage.postgresql.steps import Work
from cra.trace.event import Event

T = TypeVar("T")


class PostgreSQLStorage:
    """Events in the database at `url`, whose tables are made if there are none and `make` is true.

    Raises `StorageError` if it cannot be used. `durable` says whether the server had fsync on then. Several processes may write
    different sessions to one database. At most `spool_bytes` wait on disk while the server is away; 0 for no spool.
    """

    readable = True

    def __init__(self, url: str, *, make: bool = True, spool_bytes: int = SPOOL_BYTES) -> None:
        self.spool_bytes = spool_bytes
        self._address = read_address(url)
        self.name = self._address.name
        self._operations = Operations(self._address)
        self._make = make
        self._lock = threading.RLock()
        self._idle: Idle[Connection] = Idle()
        self.durable = self._run("cannot be opened", self._operations.survives_power_cuts, make=make)

    def append(self, batch: Sequence[Event]) -> None:
        """Store a batch in one transaction; events that are stored already, to the byte, are left as they are.

        Raises `StorageError` when another event has the place of one, `StorageLocked` while another process writes the same
        sessions. Nobody knows whether the batch is stored when the connection was lost: it may come again.
        """
        self._write("cannot be written", lambda: self._operations.append(batch))

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        """A session's events as of now, in order. `StorageError` at the first line that is no event."""
        place = self._read(lambda: self._operations.find(session_id))
        while place is not None and (lines := self._read_page(place, after, types)):
            yield from self._operations.decode(session_id, lines)
            after = lines[-1][0]

    def sessions(self) -> list[str]:
        """The ids of the sessions that have events, in the order in which they were first stored."""
        return self._read(self._operations.sessions)

    def last(self, session_id: str, n: int) -> list[Event]:
        """The session's last `n` events, in order; only these are read."""
        lines = self._read(lambda: self._operations.last(session_id, n))
        return list(self._operations.decode(session_id, lines))

    def count(self, session_id: str | None = None) -> int:
        """The number of events of a session, or of all."""
        return self._read(lambda: self._operations.count(session_id))

    def delete_session(self, session_id: str) -> int:
        """Remove a session's events; returns how many there were. VACUUM has their room used again."""
        return self._write("cannot delete the session", lambda: self._operations.delete(session_id))

    def health(self) -> StorageHealth:
        """Not ok when the server cannot be reached, is a standby, or has fsync off."""
        try:
            return self._read(self._operations.health)
        except StorageError as error:
            return StorageHealth(self.name, ok=False, details=(str(error),))

    def flush(self, durable: bool) -> None:
        """Every batch is committed, can be read and is on the server's disk when `append` returns.

        Raises `StorageError` if `durable` and the server does not write what is committed to its disk, or does not answer.
        """
        if durable and not self._write("cannot be made durable", self._operations.survives_power_cuts):
            raise self._operations.not_durable()

    def close(self) -> None:
        """Close the connections. What was stored can still be read."""
        with self._lock:
            self._disconnect(close=True)

    def _write(self, what: str, work: Callable[[], Work[T]]) -> T:
        with self._lock:
            if self._idle.closed:
                raise StorageError(f"storage '{self.name}' is closed; open it again")
            return self._run(what, work, make=self._make)

    def _read(self, work: Callable[[], Work[T]]) -> T:
        return self._run("cannot be read", work, again=True)

    def _read_page(self, place: Place, after: int, types: Collection[str] | None) -> list[Line]:
        return self._read(lambda: self._operations.page(place, after, types))

    def _run(self, what: str, work: Callable[[], Work[T]], *, make: bool = False, again: bool = False) -> T:
        """Take the steps of some work on a connection. With `again`, once more where one that had been idle turns out lost."""
        connection = self._idle.take()
        is_new = connection is None
        try:
            if connection is None:
                connection = connect(self._address)
                connection.run(self._operations.set_up())
                connection.run(prepare(self._address, make=make))
            result = connection.run(work())
        except BaseException as error:
            is_lost = connection is None or connection.closed
            if connection is not None:
                connection.close()
            if not isinstance(error, psycopg.Error):
                raise
            if is_lost:
                self._disconnect()  # the others are, too
                if again and not is_new:
                    return self._run(what, work, make=make)
            raise explain(self.name, what, error) from error
        if not self._idle.keep(connection):
            connection.close()
        return result

    def _disconnect(self, *, close: bool = False) -> None:
        for connection in self._idle.empty(close=close):
            connection.close()
