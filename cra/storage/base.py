"""What a store of events is to the runtime: the `StorageBackend` protocol.

The recorder appends, from one place at a time; anybody may read at the same time, from any thread. A backend never changes,
reorders or interprets events: what it returns is what it was given. `cra.testing.storage_contract` tests all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, runtime_checkable

import msgspec

from cra.errors import StorageError
from cra.trace.event import Event
from cra.trace.open_work import OpenWork

SPOOL_BYTES: Final = 2**30
"""The spool of a store that can be away, where nobody says otherwise."""


class StorageHealth(msgspec.Struct, frozen=True):
    """The state of a backend: `ok`, and in `details` what a person should know of it, one sentence each."""

    name: str
    ok: bool
    details: tuple[str, ...] = ()


@runtime_checkable
class StorageBackend(Protocol):
    """A place where sealed events are kept.

    `name` is its URL, for messages; `durable` says whether what it stores can survive a power cut, `readable` whether it can be
    read at all. Where it cannot, everything that reads raises `StorageError`. A backend on disk may have a path as `location`:
    the ring is then beside it, in `<location>.ring/`. One that can be away may have a number as `spool_bytes`: so many bytes of
    events wait for it on disk, beside the ring, and a thread of its own appends (`SPOOL_BYTES` is a good number).
    """

    name: str
    durable: bool
    readable: bool

    def append(self, batch: Sequence[Event]) -> None:
        """Store a batch, in order: all of it, or none and a `StorageError`. The caller keeps a refused batch and comes again."""
        ...

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        """A session's events as of now, in order, with `sequence` > `after` and a type in `types`; none for an unknown session.

        Raises `StorageError` where they cannot be read.
        """
        ...

    def sessions(self) -> list[str]:
        """The ids of the sessions that have events, oldest first."""
        ...

    def last(self, session_id: str, n: int) -> list[Event]:
        """The session's last `n` events, in order."""
        ...

    def count(self, session_id: str | None = None) -> int:
        """The number of events of a session, or of all."""
        ...

    def delete_session(self, session_id: str) -> int:
        """Remove all events of a session; returns how many there were."""
        ...

    def health(self) -> StorageHealth:
        """Whether the backend can do its work. Never raises."""
        ...

    def flush(self, durable: bool) -> None:
        """Make everything appended readable by others and, if `durable`, safe from a power cut. `StorageError` if it cannot."""
        ...

    def close(self) -> None:
        """Release everything. Harmless when repeated.

        From then on writing raises `StorageError`; reading gives what was stored, or raises it, too.
        """
        ...


def spool_bytes(backend: StorageBackend) -> int:
    """How much may wait on disk for a backend; 0 for one that does not ask for it. One that takes records has no spool.

    Raises `StorageError` for what is no number of bytes.
    """
    asked: object = getattr(backend, "spool_bytes", 0)
    if not isinstance(asked, int) or isinstance(asked, bool) or asked < 0:
        raise StorageError(f"storage '{backend.name}' has {asked!r} as spool_bytes; it is a number of bytes, or 0")
    return 0 if isinstance(backend, RecordStorage) and backend.takes_records else asked


class AsyncStorageBackend(Protocol):
    """`StorageBackend` with coroutines: every method promises what the one of that name does there.

    All of them are called on one event loop, which is the runtime's own and never the caller's: what belongs to a loop, such as a
    connection, is made in the first call and not before. `append` is never called twice at a time.
    """

    name: str
    durable: bool
    readable: bool

    async def append(self, batch: Sequence[Event]) -> None: ...

    def events(
        self, session_id: str, *, after: int = -1, types: Collection[str] | None = None
    ) -> AsyncIterator[Event]: ...

    async def sessions(self) -> list[str]: ...

    async def last(self, session_id: str, n: int) -> list[Event]: ...

    async def count(self, session_id: str | None = None) -> int: ...

    async def delete_session(self, session_id: str) -> int: ...

    async def health(self) -> StorageHealth: ...

    async def flush(self, durable: bool) -> None: ...

    async def close(self) -> None: ...


class ResumedRecords(Protocol):
    """What a dead process wrote, for its recovery."""

    def first_missing(self, frames: Sequence[bytes], within: int) -> int:
        """The place of the first of these frames, which a ring of `within` bytes had in this order, that it lacks."""
        ...

    def end_among(self, frames: Sequence[bytes], within: int) -> int | None:
        """The place behind the last of these frames that it has, looking at as much as a ring of `within` bytes may have had; 0
        where it has no frames at all, None where those that it has are none of these."""
        ...

    def append(self, frames: bytes) -> None:
        """Store frames behind what there is: all of them, or none and a `StorageError`."""
        ...


@runtime_checkable
class RecordStorage(StorageBackend, Protocol):
    """A backend that would rather have the records than the events, and makes these when somebody reads them.

    It has `takes_records`, True. Where nobody else wants events, none are made before they are read.
    """

    takes_records: bool

    def append_records(self, frames: bytes) -> None:
        """Store records that an expander took, in order, as frames (`cra.reference.frames`). As `append` in everything else."""
        ...

    def head(self, session_id: str) -> tuple[int, str, int] | None:
        """Where the chain of an open session stands, after all that was appended; None where it has no events."""
        ...

    def beginning(self, session_id: str) -> OpenWork:
        """What a session had open where its events begin that are left; nothing for one that is whole. The caller's to change."""
        ...

    def write_as(self, series: str, ring: str | None = None) -> None:
        """Name what is written by this process, so that recovery finds it again, and say where its ring is. Called before
        anything is appended."""
        ...

    def expect_recovery(self) -> None:
        """What is written by this process is not complete: its ring has records that were never delivered. Called before
        `close`; what says how much of the ring is stored has to stay until that is recovered."""
        ...

    def resume(self, series: str) -> AbstractContextManager[ResumedRecords]:
        """What a dead process wrote by that name, to store what it had recorded besides. Raises `StorageError`."""
        ...
