"""Every backend under the contract, and what ours promise beyond it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError
from cra.storage.base import AsyncStorageBackend, StorageBackend
from cra.storage.journal.backend import JournalStorage
from cra.storage.jsonl import JsonlStorage
from cra.storage.jsonl_days import DailyJsonlStorage
from cra.storage.memory import MemoryStorage
from cra.storage.null import NullStorage
from cra.storage.sqlite import SqliteStorage
from cra.testing.storage_contract import StorageContract
from tests.support.postgres import Server
from tests.support.storage import AsyncMemory, file_size_limit


class TestMemory(StorageContract):
    """`memory:`"""

    persistent = False

    def open(self) -> StorageBackend:
        return MemoryStorage()


class TestAsync(StorageContract):
    """Memory with coroutines."""

    persistent = False

    def open(self) -> AsyncStorageBackend:
        return AsyncMemory()


class TestNull(StorageContract):
    """`null:`"""

    persistent = False

    def open(self) -> StorageBackend:
        return NullStorage()


class OnDisk(StorageContract):
    """A store below `folder`."""

    folder: Path

    @pytest.fixture(autouse=True)
    def _in_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def failing(self, backend: StorageBackend) -> AbstractContextManager[None]:
        return file_size_limit(1_000_000)


class TestJsonl(OnDisk):
    """`jsonl:`"""

    def open(self) -> StorageBackend:
        return JsonlStorage(self.folder / "store")


class TestDailyJsonl(OnDisk):
    """`jsonl:`, a file per day."""

    def open(self) -> StorageBackend:
        return DailyJsonlStorage(self.folder / "store")


class TestSqlite(OnDisk):
    """`sqlite:`"""

    def open(self) -> StorageBackend:
        return SqliteStorage(self.folder / "audit.db")


class OnPostgreSQL(StorageContract):
    """A store in a schema of its own."""

    server: Server
    url: str

    @pytest.fixture(autouse=True)
    def _in_schema(self, postgres: Server, schema: str) -> None:
        self.server, self.url = postgres, postgres.url(schema=schema)

    @contextmanager
    def failing(self, backend: StorageBackend) -> Iterator[None]:
        """The server is gone, which is no fault of the batch; it comes back in the end."""
        self.server.kill()
        yield
        self.server.start()


class TestPostgreSQL(OnPostgreSQL):
    """`postgresql:`"""

    def open(self) -> StorageBackend:
        from cra.storage.postgresql import PostgreSQLStorage

        return PostgreSQLStorage(self.url)


class TestAsyncPostgreSQL(OnPostgreSQL):
    """`postgresql:` with coroutines."""

    def open(self) -> AsyncStorageBackend:
        from cra.storage.postgresql import AsyncPostgreSQLStorage

        return AsyncPostgreSQLStorage(self.url)


class TestJournal(OnDisk):
    """`journal:`, of which nothing can be taken out."""

    def open(self) -> StorageBackend:
        return JournalStorage(self.folder / "journal")

    def test_count_and_delete(self, sessions: Any) -> None:
        """Counts are of a session, or of all; one chain holds all sessions, so that none can be deleted."""
        backend = self.open()
        backend.append(sessions.events(0, 3) + sessions.events(1, 2))
        assert (5, 3, 2) == (backend.count(), backend.count(sessions.id(0)), backend.count(sessions.id(1)))
        with pytest.raises(StorageError, match="is one chain"):
            backend.delete_session(sessions.id(0))
        assert 5 == backend.count()
        backend.close()

    def test_an_iterator_may_be_left_unfinished(self, sessions: Any) -> None:
        """Who reads the first event only holds nobody up."""
        backend, events = self.open(), sessions.events(0, 6)
        backend.append(events[:3])
        unfinished = iter(backend.events(sessions.id(0)))
        next(unfinished)
        backend.append(events[3:])
        assert events == list(backend.events(sessions.id(0)))
        backend.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: MemoryStorage(),
        lambda path: JsonlStorage(path / "store"),
        lambda path: JournalStorage(path / "store"),
        lambda path: SqliteStorage(path / "x.db"),
    ],
    ids=["memory", "jsonl", "journal", "sqlite"],
)
def test_what_was_stored_can_be_read_after_closing(
    make: Callable[[Path], StorageBackend], sessions: Any, tmp_path: Path
) -> None:
    """A runtime may be closed before its trace is looked at."""
    read_after_closing(make(tmp_path), sessions)


def test_what_is_in_a_database_can_be_read_after_closing(postgres: Server, schema: str, sessions: Any) -> None:
    """The same, where there is a server."""
    from cra.storage.postgresql import PostgreSQLStorage

    read_after_closing(PostgreSQLStorage(postgres.url(schema=schema)), sessions)


def read_after_closing(backend: StorageBackend, sessions: Any) -> None:
    events = sessions.events(0, 3)
    backend.append(events)
    backend.close()
    assert events == list(backend.events(sessions.id(0)))
    assert (events[1:], 3, [sessions.id(0)]) == (backend.last(sessions.id(0), 2), backend.count(), backend.sessions())
