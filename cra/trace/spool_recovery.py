"""The spools of a dead process: delivered to the stores they are for, before its ring is, and removed once that is safe.

Called by recovery, which has the lock of the ring that they lie beside. A store is given what comes right behind what it has of a
session: nothing twice, and nothing behind a gap. Interrupted, it starts over. What cannot be read, or delivered, is set aside,
never destroyed. docs/formats/spool.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cra.errors import StorageError
from cra.storage.base import StorageBackend, spool_bytes
from cra.trace.batch import BATCH_BYTES, Batch
from cra.trace.event import Event
from cra.trace.ring_folder import free_name
from cra.trace.spool_files import SegmentReader, SpoolFile, merged, spools_of


class SpoolRecovery(msgspec.Struct):
    """What was found: `spooled` events, of which `events` were stored now; `torn` segments ended within a batch; `unreadable`
    ones were set aside."""

    spooled: int = 0
    events: int = 0
    torn: int = 0
    unreadable: int = 0


class DeadSpools:
    """The spools beside the ring of a dead process. `deliver` them, and when all of it is safe in the stores, `remove` them."""

    def __init__(self, ring: Path) -> None:
        try:
            self._spools = spools_of(ring)
        except OSError as problem:
            raise StorageError(
                f"the folder {os.fspath(ring.parent)!r} cannot be listed: {problem.strerror}"
            ) from problem
        self._damaged: set[Path] = set()

    def deliver(self, backends: Sequence[StorageBackend]) -> SpoolRecovery:
        """Give every spool to its store. Raises `StorageError` where one is not among the backends, or does not take it."""
        total = SpoolRecovery()
        takers: dict[int, StorageBackend] = {}
        for place, files in self._spools.items():
            store = next(filter(None, map(self._store_of, files)), None)
            if store is not None:
                takers[place] = _taker(files[0].path, store, backends, list(takers.values()))
        for place, files in self._spools.items():
            delivery = _Delivery(takers[place]) if place in takers else None
            for file in files:
                self._deliver(file, delivery, total, is_last=file is files[-1])
        return total

    def remove(self) -> None:
        """Everything that could be read is stored. Raises `StorageError` where the system refuses."""
        for file in (file for files in self._spools.values() for file in files):
            try:
                if file.path in self._damaged:
                    file.path.rename(free_name(file.path))
                else:
                    file.path.unlink()
            except FileNotFoundError:
                pass
            except OSError as problem:
                raise StorageError(f"{os.fspath(file.path)!r} cannot be removed: {problem.strerror}") from problem

    def _store_of(self, file: SpoolFile) -> str | None:
        reader = self._opened(file)
        return None if reader is None or reader.head is None else reader.head.store

    def _opened(self, file: SpoolFile) -> SegmentReader | None:
        """None where it has another format. Raises `StorageError` where it cannot be read just now."""
        try:
            return SegmentReader(file.path)
        except StorageError as error:
            if isinstance(error.__cause__, OSError):
                raise  # nothing was read: that says nothing of what is there
            return None

    def _deliver(self, file: SpoolFile, delivery: _Delivery | None, total: SpoolRecovery, *, is_last: bool) -> None:
        reader = self._opened(file)
        is_whole = reader is not None
        if reader is not None and delivery is not None:
            before = delivery.gaps, delivery.unreadable
            batches: list[Batch] = []
            for batch in reader.batches():
                total.spooled += len(batch)
                if batches and sum(len(each.data) for each in batches) + len(batch.data) > BATCH_BYTES:
                    delivery.give(merged(batches))
                    batches.clear()
                batches.append(batch)
            if batches:
                delivery.give(merged(batches))
            total.events += delivery.take_count()
            is_whole = (delivery.gaps, delivery.unreadable) == before
        if reader is not None and reader.torn:
            total.torn += 1
            # A batch that was never written to its end is still in the ring; what is torn elsewhere was there once.
            is_whole = is_whole and is_last and not reader.is_damaged
        if not is_whole:
            total.unreadable += 1
            self._damaged.add(file.path)


class _Delivery:
    """One store, and where each session stands in it. `gaps` counts the events that could not be given to it for that,
    `unreadable` the batches whose lines are no events."""

    def __init__(self, backend: StorageBackend) -> None:
        self._backend = backend
        self._last: dict[str, int] = {}
        self._given = 0
        self.gaps = 0
        self.unreadable = 0

    def give(self, batch: Batch) -> None:
        """Append what is new of a batch. Raises `StorageError`."""
        try:
            events = list(batch)
        except StorageError:
            self.unreadable += 1  # a checksum holds over lines that somebody else wrote
            return
        new: list[Event] = []
        for event in events:
            last = self._last.get(event.session_id)
            if last is None:
                stored = self._backend.last(event.session_id, 1)
                last = self._last[event.session_id] = stored[-1].sequence if stored else -1
            if event.sequence == last + 1:
                self._last[event.session_id] = event.sequence
                new.append(event)
            elif event.sequence > last:
                self.gaps += 1
        if new:
            self._backend.append(batch if len(new) == len(batch) else new)
            self._given += len(new)

    def take_count(self) -> int:
        """How many events were given since this was asked last."""
        given, self._given = self._given, 0
        return given


def _taker(
    path: Path, store: str, backends: Sequence[StorageBackend], taken: Sequence[StorageBackend]
) -> StorageBackend:
    """The backend that a spool is for: of the same name, or the only one that asks for a spool, as when a database has moved.

    Raises `StorageError` where there is none.
    """
    free = [backend for backend in backends if backend.readable and not any(backend is other for other in taken)]
    named = [backend for backend in free if backend.name == store]
    asking = [backend for backend in free if spool_bytes(backend)]
    if named:
        return named[0]
    if len(asking) == 1:
        return asking[0]
    raise StorageError(
        f"the spool {os.fspath(path)!r} waits for the storage {store!r}, which is not among those that are opened; open it with"
        " them, or move the files of the spool elsewhere"
    )
