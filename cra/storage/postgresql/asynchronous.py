"""The `postgresql:` store on an event loop: an `AsyncStorageBackend` over psycopg's asynchronous connections.

As `backend` in everything else: the same steps, the same errors. Nothing is connected before the first call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, TypeVar

import psycopg

from cra.errors import StorageError
from cra.storage.base import SPOOL_BYTES, StorageHealth
from cra.storage.postgresql.address import DEFAULT_TIMEOUT, Address, read_address
from cra.storage.postgresql.explain import explain
from cra.storage.postgresql.idle import Idle
from cra.storage.postgresql.operations import Line, Operations, Place
from cra.storage.postgresql.patience import GRACE_SECONDS, impatient
from cra.storage.postgresql.schema import prepare
from cra.storage.postgresql.steps import Answer, Do, Work
from cra.trace.event import Event

T = TypeVar("T")


class AsyncConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """`cra.storage.postgresql.connection.Connection` with coroutines."""

    seconds = DEFAULT_TIMEOUT

    async def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """As psycopg's, for a server that may never answer."""
        return await super().wait(impatient(gen, self.seconds + GRACE_SECONDS), *arguments, **options)

    async def run(self, work: Work[T]) -> T:
        """Take all steps. What the server refuses is raised as `psycopg.Error`, in the generator first."""
        try:
            do = next(work)
            while True:
                try:
                    answer = await self._take(do)
                except psycopg.Error as error:
                    do = work.throw(error)
                else:
                    do = work.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _take(self, do: Do) -> Answer:
        before = self.seconds
        self.seconds = do.seconds or before
        try:
            async with self.cursor() as cursor:
                if do.data is not None:
                    async with cursor.copy(do.text.encode()) as copy:
                        for piece in do.data:
                            await copy.write(piece)
                    return Answer([], cursor.rowcount)
                await cursor.execute(do.text.encode(), do.values)
                return Answer(await cursor.fetchall() if cursor.description else [], cursor.rowcount)
        finally:
            self.seconds = before


class AsyncPostgreSQLStorage:
    """Events in the database at `url`, whose tables are made by the first call if there are none and `make` is true.

    Raises `StorageError` for a URL that cannot be read; what the server refuses, the first call raises. `durable` is what a
    server is by default: `flush(True)` raises `StorageError` where it has fsync off. All calls are made on one event loop.
    `spool_bytes` are as in `PostgreSQLStorage`.
    """

    readable = True
    durable = True

    def __init__(self, url: str, *, make: bool = True, spool_bytes: int = SPOOL_BYTES) -> None:
        self.spool_bytes = spool_bytes
        self._address = read_address(url)
        self.name = self._address.name
        self._operations = Operations(self._address)
        self._make = make
        self._turn: asyncio.Lock | None = None  # it belongs to a loop, so it is made by the first call
        self._idle: Idle[AsyncConnection] = Idle()

    async def append(self, batch: Sequence[Event]) -> None:
        """As `PostgreSQLStorage.append`."""
        await self._write("cannot be written", lambda: self._operations.append(batch))

    async def events(
        self, session_id: str, *, after: int = -1, types: Collection[str] | None = None
    ) -> AsyncIterator[Event]:
        """As `PostgreSQLStorage.events`."""
        place = await self._read(lambda: self._operations.find(session_id))
        while place is not None and (lines := await self._read_page(place, after, types)):
            for event in self._operations.decode(session_id, lines):
                yield event
            after = lines[-1][0]

    async def sessions(self) -> list[str]:
        """As `PostgreSQLStorage.sessions`."""
        return await self._read(self._operations.sessions)

    async def last(self, session_id: str, n: int) -> list[Event]:
        """As `PostgreSQLStorage.last`."""
        lines = await self._read(lambda: self._operations.last(session_id, n))
        return list(self._operations.decode(session_id, lines))

    async def count(self, session_id: str | None = None) -> int:
        """As `PostgreSQLStorage.count`."""
        return await self._read(lambda: self._operations.count(session_id))

    async def delete_session(self, session_id: str) -> int:
        """As `PostgreSQLStorage.delete_session`."""
        return await self._write("cannot delete the session", lambda: self._operations.delete(session_id))

    async def health(self) -> StorageHealth:
        """As `PostgreSQLStorage.health`."""
        try:
            return await self._read(self._operations.health)
        except StorageError as error:
            return StorageHealth(self.name, ok=False, details=(str(error),))

    async def flush(self, durable: bool) -> None:
        """As `PostgreSQLStorage.flush`."""
        if durable and not await self._write("cannot be made durable", self._operations.survives_power_cuts):
            raise self._operations.not_durable()

    async def close(self) -> None:
        """As `PostgreSQLStorage.close`."""
        async with self._own_turn():
            await self._disconnect(close=True)

    def _own_turn(self) -> asyncio.Lock:
        self._turn = self._turn or asyncio.Lock()
        return self._turn

    async def _write(self, what: str, work: Callable[[], Work[T]]) -> T:
        async with self._own_turn():
            if self._idle.closed:
                raise StorageError(f"storage '{self.name}' is closed; open it again")
            return await self._run(what, work, make=self._make)

    async def _read(self, work: Callable[[], Work[T]]) -> T:
        return await self._run("cannot be read", work, make=self._make, again=True)

    async def _read_page(self, place: Place, after: int, types: Collection[str] | None) -> list[Line]:
        return await self._read(lambda: self._operations.page(place, after, types))

    async def _run(self, what: str, work: Callable[[], Work[T]], *, make: bool = False, again: bool = False) -> T:
        """Take the steps of some work on a connection. With `again`, once more where one that had been idle turns out lost."""
        connection = self._idle.take()
        is_new = connection is None
        try:
            if connection is None:
                connection = await _connect(self._address)
                await connection.run(self._operations.set_up())
                await connection.run(prepare(self._address, make=make))
            result = await connection.run(work())
        except BaseException as error:
            is_lost = connection is None or connection.closed
            if connection is not None:
                await connection.close()
            if not isinstance(error, psycopg.Error):
                raise
            if is_lost:
                await self._disconnect()  # the others are, too
                if again and not is_new:
                    return await self._run(what, work, make=make)
            raise explain(self.name, what, error) from error
        if not self._idle.keep(connection):
            await connection.close()
        return result

    async def _disconnect(self, *, close: bool = False) -> None:
        for connection in self._idle.empty(close=close):
            await connection.close()


async def _connect(address: Address) -> AsyncConnection:
    """A new connection. Raises `psycopg.Error`."""
    connection = await AsyncConnection.connect(address.conninfo, autocommit=True)
    connection.seconds = address.timeout
    return connection
