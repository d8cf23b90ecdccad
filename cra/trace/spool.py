"""The spool of one store: batches that it has not taken, on disk, in order, and no more of them than a number of bytes.

Written beside the ring of this process by the lane of a store that can be away (`cra.trace.spooled_lane`), whose lock is held
around every call. What is in it survives the process, as what is in the ring does: `cra.trace.spool_recovery` delivers it then.
It never drops, changes or reorders anything. docs/formats/spool.md.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

from cra.errors import StorageError
from cra.reference.frames import FRAME
from cra.trace.batch import BATCH_BYTES, Batch
from cra.trace.spool_files import (
    MAX_NUMBER,
    SpoolHead,
    decode_batch,
    encode_batch,
    encode_head,
    merged,
    read_frame,
    segment_path,
)

_SEGMENT_BYTES: Final = 16 * 2**20
_FEWEST_SEGMENTS: Final = 8  # what is delivered is freed by whole segments
_FILE_MODE: Final = 0o600  # as the ring's


class _Segment:
    """A file of the spool: `size` is how much of it counts, `begin` where its batches begin."""

    def __init__(self, path: Path, begin: int) -> None:
        self.path = path
        self.begin = begin
        self.size = begin


class Spool:
    """The spool of the store called `store`, at `place` among the backends of the process whose ring is `ring`.

    `events` are those in it, `size` the bytes of its files, at most `max_bytes`. It has no files while it is empty. `error` says
    why the last batch could not be written, or read back; None where it could.
    """

    def __init__(self, ring: Path, place: int, store: str, max_bytes: int) -> None:
        self._ring = ring
        self._place = place
        self._store = store
        self._max_bytes = max_bytes
        self._segment_bytes = min(_SEGMENT_BYTES, max_bytes // _FEWEST_SEGMENTS)
        self._segments: deque[_Segment] = deque()
        self._number = 0
        self._file = -1  # the last segment, to write
        self._reading = -1  # the first one, to read
        self._at = 0  # where in the first one what is not delivered begins
        self._peeked = (0, 0)  # up to where what was returned last reaches, and how many events it is
        self._is_torn = False
        self._last: Batch | None = None
        self.events = 0
        self.size = 0
        self.error: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self.events

    def append(self, batch: Batch) -> bool:
        """Write a batch behind the others, once if given twice; False where it is full, or the disk refuses (`error`)."""
        if batch is self._last:
            return True  # whoever gave it was interrupted
        data = encode_batch(batch)
        try:
            if self.size + len(data) > self._max_bytes or not self._make_room(len(data)):
                return False
            self._write(data)
        except OSError as problem:
            self.error = f"the spool beside {os.fspath(self._ring)!r} cannot be written: {problem.strerror}"
            return False
        segment = self._segments[-1]
        segment.size += len(data)
        self.size += len(data)
        self.events += len(batch)
        self._last = batch
        self._is_torn = False
        self.error = None
        return True

    def peek(self, nbytes: int = BATCH_BYTES) -> Batch:
        """The oldest batches, of `nbytes` together or one, as one; it must not be empty. Raises `StorageError` where they cannot
        be read back."""
        segment = self._segments[0]
        batches: list[Batch] = []
        at = self._at
        while at < segment.size:
            batch, end = self._read(segment, at)
            if batches and end - self._at > nbytes:
                break
            batches.append(batch)
            at = end
        self._peeked = at, sum(map(len, batches))
        self.error = None
        return merged(batches)

    def drop(self) -> None:
        """What `peek` returned is stored."""
        self._at, events = self._peeked
        self.events -= events
        while self._segments and self._at >= self._segments[0].size:
            self._remove_first()
        if not self._segments:
            self._last = None

    def close(self) -> None:
        """Let go of the files, which stay. Harmless when repeated."""
        for file in (self._file, self._reading):
            if file >= 0:
                os.close(file)
        self._file = self._reading = -1

    def _read(self, segment: _Segment, at: int) -> tuple[Batch, int]:
        """The batch at an offset of the first segment, and where it ends."""
        try:
            if self._reading < 0:
                self._reading = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            content = read_frame(self._reading, at, segment.size)
        except OSError as problem:
            self.error = f"the spool {os.fspath(segment.path)!r} cannot be read: {problem.strerror}"
            raise StorageError(self.error) from problem
        batch = None if content is None else decode_batch(content)
        if content is None or batch is None:
            self.error = f"the spool {os.fspath(segment.path)!r} is not what was written from byte {at} on"
            raise StorageError(self.error)
        return batch, at + FRAME.size + len(content)

    def _make_room(self, nbytes: int) -> bool:
        """Have a segment to write to; False where it would be too much. Raises `OSError`."""
        if self._file >= 0 and self._segments[-1].size + nbytes <= self._segment_bytes:
            return True
        if self._file >= 0 and self._segments[-1].size == self._segments[-1].begin:
            return True  # one batch that is larger than a segment
        head = encode_head(SpoolHead(self._store, self._place, self._number))
        if self.size + len(head) + nbytes > self._max_bytes or self._number > MAX_NUMBER:
            return False
        if self._is_torn:
            self._cut_back()
        path = segment_path(self._ring, self._place, self._number)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        try:
            _write_all(file, head)
        except BaseException:
            os.close(file)
            with suppress(OSError):
                path.unlink()
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file = file
        self._number += 1
        self._segments.append(_Segment(path, len(head)))
        self.size += len(head)
        if len(self._segments) == 1:
            self._at = len(head)
        return True

    def _write(self, data: bytes) -> None:
        if self._is_torn:
            self._cut_back()
        self._is_torn = True  # whatever ends this before it is counted
        try:
            _write_all(self._file, data)
        except BaseException:
            with suppress(OSError):  # tried again before the next write
                self._cut_back()
            raise

    def _cut_back(self) -> None:
        if self._file >= 0:
            os.ftruncate(self._file, self._segments[-1].size)
        self._is_torn = False

    def _remove_first(self) -> None:
        segment = self._segments.popleft()
        self._at = self._segments[0].begin if self._segments else 0
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1
        if not self._segments and self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._is_torn = False
        with suppress(OSError):  # recovery finds that all of it is stored
            segment.path.unlink()
        self.size -= segment.size


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
