"""The series of a process that died, gone on with by the one who recovers its ring: what the ring had and the journal has not.

A ring is read into the journal in its order, so that the journal has a first part of what is left in the ring, possibly none
of it, and never anything behind a record that it lacks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from cra.errors import StorageError, StorageLocked
from cra.hotpath import scan_frames
from cra.storage.journal.adoption import mend
from cra.storage.journal.compression import read_segment
from cra.storage.journal.entries import HEADER_BYTES, LINK
from cra.storage.journal.lock import SeriesLock, dead_lock, new_lock
from cra.storage.journal.names import is_series, new_series, segments, tombstones
from cra.storage.journal.series import Rotation, Series
from cra.storage.journal.tombstones import read_tombstone
from cra.timing.clock import Clock


class ResumedSeries:
    """The series `name` in `folder`, locked until the end of the `with`; `lock` where it is locked already. `written` are the
    segments that were begun, then.

    Raises `StorageError`, `StorageLocked` while somebody else has the series.
    """

    def __init__(self, folder: Path, name: str, clock: Clock, lock: SeriesLock | None = None) -> None:
        self.written: list[Path] = []
        self._folder = folder
        self._name = name if is_series(name) else new_series()
        self._series = Series(folder, self._name, Rotation(), clock)
        try:
            lock = lock or dead_lock(folder, self._name) or _new_lock(folder, self._name)
            try:
                mend(folder, self._name, clock)
                self._files = segments(folder).get(self._name, [])
                stone = tombstones(folder).get(self._name)
                if self._files:
                    self._series.go_on(read_segment(self._files[-1].path), lock)
                else:
                    self._series.begin(None if stone is None else read_tombstone(stone.path), lock)
            except BaseException:
                lock.leave()
                raise
        except OSError as error:
            raise self._error(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._series.leave()  # the recovery comes again, and needs what says how much is there
            return
        try:
            self._series.close()
        except OSError as problem:
            self._series.leave()
            raise self._error(problem) from problem
        self.written += self._series.dirty

    def first_missing(self, frames: Sequence[bytes], within: int) -> int:
        """The place of the first of these frames, which a ring of `within` bytes had in this order, that the series lacks."""
        try:
            tail = self._tail(4 * within)
        except OSError as error:
            raise self._error(error) from error
        return bisect_left(frames, True, key=lambda frame: frame not in tail)

    def append(self, frames: bytes) -> None:
        """Store frames behind what the series has: all of them, or none and a `StorageError`."""
        try:
            self._series.append(frames)
        except OSError as error:
            raise self._error(error) from error

    def _tail(self, size: int) -> bytes:
        """At least the last `size` bytes of what was appended to the series, if it has as many."""
        parts: list[bytes] = []
        for segment in reversed(self._files):
            data = read_segment(segment.path)
            # What a segment begins with is repeated, and no part of that.
            links = (at for at, length in scan_frames(data, HEADER_BYTES)[0] if length and data[at] == LINK)
            parts.insert(0, data[next(links, 0) :][-size:])
            size -= len(parts[0])
            if size <= 0:
                break
        return b"".join(parts)

    def _error(self, error: OSError) -> StorageError:
        return StorageError(f"the series {self._name} of a dead process cannot be gone on with: {error.strerror}")


def _new_lock(folder: Path, name: str) -> SeriesLock:
    try:
        return new_lock(folder, name)
    except FileExistsError:
        raise StorageLocked(f"the series {name} is being mended by another process; try again") from None
