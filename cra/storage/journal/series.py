"""A series: the segments that one process writes, one after the other. docs/formats/journal.md.

It says when a segment is full and begins the next, with what the records to come refer to and with the hash of the one
before. One call at a time. What it is given at once is in its segments whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cra.errors import StorageError
from cra.hotpath import scan_frames
from cra.reference.frames import Place
from cra.storage.folders import sync_folder
from cra.storage.journal import entries
from cra.storage.journal.entries import Header
from cra.storage.journal.lock import SeriesLock, new_lock
from cra.storage.journal.names import MAX_NUMBER, segment_path
from cra.storage.journal.open_definitions import OpenDefinitions
from cra.storage.journal.segment import SegmentWriter
from cra.storage.journal.tombstones import Tombstone
from cra.timing.clock import NS_PER_SECOND, Clock


class Rotation(msgspec.Struct, frozen=True):
    """When a segment is full: from `max_bytes` on, or `max_seconds` after it was begun. It is looked at with every write;
    the time
    with every flush and by a thread of the journal as well, so that the segment of an idle process is sealed, too."""

    max_bytes: int = 64 * 2**20
    max_seconds: float = 3600.0


class Series:
    """The series `name` in `folder`; `number` is that of its next segment, `previous` the hash of its last.

    `ring` is where the ring of its writer is, which its lock says. `identity` is what its segments know each other by, 16
    random bytes. `dirty` are the segments that are complete and may
    not be on the disk yet. Methods raise `OSError` where the disk refuses, and may be called again then.
    """

    def __init__(
        self, folder: Path, name: str, rotation: Rotation, clock: Clock, identity: bytes | None = None
    ) -> None:
        self.name = name
        self.ring = ""
        self.dirty: list[Path] = []
        self._folder = folder
        self._rotation = rotation
        self._clock = clock
        self._id = identity or secrets.token_bytes(16)
        self._number = 0
        self._previous = entries.NO_HASH
        self._definitions = OpenDefinitions()
        self._unnoted: tuple[SegmentWriter, int, bytes, Iterable[Place]] | None = None
        self._last: bytes | None = None
        self._lock: SeriesLock | None = None
        self._writer: SegmentWriter | None = None
        self._full_at = 0

    @property
    def is_begun(self) -> bool:
        """Whether anything was written."""
        return self._lock is not None or self._number > 0

    @property
    def seconds_left(self) -> float | None:
        """After how long the segment that is being written is full; None where there is none."""
        return None if self._writer is None else (self._full_at - self._clock.monotonic_ns()) / NS_PER_SECOND

    @property
    def current(self) -> tuple[Path, int] | None:
        """The segment that is being written, and how much of it counts; None where there is none."""
        return None if self._writer is None else (self._writer.path, self._writer.size)

    def begin(self, buried: Tombstone | None, lock: SeriesLock) -> None:
        """Write a series that has no segments, or none any more."""
        self._lock = lock
        if buried is not None:
            self._id, self._number, self._previous = buried.series, buried.number + 1, buried.last

    def go_on(self, data: bytes, lock: SeriesLock) -> None:
        """Continue the series behind its last segment, which is sealed and holds `data`."""
        self._lock = lock
        header = entries.decode_header(data)
        self._id, self._number, self._previous = header.series, header.number + 1, hashlib.sha256(data).digest()
        self._definitions.note(data, scan_frames(data, entries.HEADER_BYTES)[0])

    def append(self, frames: bytes) -> None:
        """Write frames of records that an expander took, or of entries. Raises `StorageError` for what is not whole."""
        places, end = scan_frames(frames)
        if end != len(frames):
            raise StorageError(f"what was given to the journal is no whole frame at byte {end}: the ring was damaged")
        self._note()
        self._last = None
        writer = self._writer
        if writer is not None and (writer.size >= self._rotation.max_bytes or self._is_old(writer)):
            self._seal(writer)
            writer = None
        if writer is None:
            writer = self._begin()
        self._unnoted = writer, writer.size, frames, places
        writer.append(frames)
        self._note()

    @property
    def last(self) -> bytes | None:
        """What the last `append` was of, where it did all it had to: also one that was interrupted behind that."""
        self._note()
        return self._last

    def _note(self) -> None:
        """Learn what was appended last, if it was: whoever is interrupted before this is done, begins it anew with the next
        call."""
        if self._unnoted is not None:
            writer, size, frames, places = self._unnoted
            if writer.size != size:
                self._definitions.note(frames, places)
                self._last = frames
            self._unnoted = None

    def seal_if_old(self) -> bool:
        """Seal the segment that is being written where its time has come, though nothing more is written; whether it was.
        Raises as `append` does."""
        if self._writer is None or not self._is_old(self._writer):
            return False
        self._seal(self._writer)
        return True

    def _is_old(self, writer: SegmentWriter) -> bool:
        return writer.is_sealed or self._clock.monotonic_ns() >= self._full_at

    def sync(self) -> None:
        """Bring the segment that is being written to the disk. After an `OSError` from here the series must not be used any
        more."""
        if self._writer is not None:
            self._writer.sync()

    def close(self, *, complete: bool = True) -> None:
        """Seal the last segment. A series that is not `complete` keeps its lock file, for whoever goes on with it. Harmless when
        repeated, and needed again where it raises."""
        if self._writer is not None:
            self._seal(self._writer)
        if self._lock is not None:
            # Without its lock nobody mends it: all of it has to survive a power cut.
            sync_files(list(self.dirty))
            sync_folder(self._folder)
            lock, self._lock = self._lock, None
            if complete:
                lock.remove()
            else:
                lock.leave()

    def leave(self) -> None:
        """Let go of everything as it is; whoever comes next seals it."""
        writer, self._writer = self._writer, None
        lock, self._lock = self._lock, None
        if writer is not None:
            writer.close()
        if lock is not None:
            lock.leave()

    def _begin(self) -> SegmentWriter:
        if self._number > MAX_NUMBER:
            raise StorageError(f"the series {self.name} has as many segments as it can have; create a new Resolver")
        if self._lock is None:
            self._lock = new_lock(self._folder, self.name, self.ring)
        header = Header(self._number, self._id, self._previous, self._clock.now_ns())
        path = segment_path(self._folder, self.name, self._number)
        self._full_at = self._clock.monotonic_ns() + int(self._rotation.max_seconds * NS_PER_SECOND)
        self._writer = SegmentWriter(path, header, self._definitions.frames())
        return self._writer

    def _seal(self, writer: SegmentWriter) -> None:
        # Each step is the same when it is done again, after an interruption.
        self._previous = writer.seal(self._clock.now_ns())
        self._number = writer.number + 1
        if writer.path not in self.dirty:
            self.dirty.append(writer.path)
        self._writer = None
        writer.close()


def sync_files(paths: list[Path]) -> None:
    """Bring files to the disk, and forget them one by one. A write-back error nobody has seen is reported to who opens a file
    next."""
    while paths:
        try:
            file = os.open(paths[0], os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            file = -1  # retention was faster, or it was compressed, and on the disk before that
        if file >= 0:
            try:
                os.fsync(file)
            finally:
                os.close(file)
        del paths[0]
