"""The series of a process that died, gone on with by the one who recovers its ring: what the ring had and the journal has not.

A ring is read into the journal in its order, so that the journal has a first part of what is left in the ring, possibly none
of it, and never anything behind a record that it lacks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from cra.errors import StorageError, StorageLocked
from cra.hotpath import scan_frames
from cra.reference.frames import whole_frame
from cra.storage.journal.adoption import mend
from cra.storage.journal.compression import read_segment
from cra.storage.journal.entries import FRAME_BYTES, HEADER_BYTES, LINK
from cra.storage.journal.lock import SeriesLock, dead_lock, new_lock
from cra.storage.journal.names import is_series, new_series, segments, tombstones
from cra.storage.journal.series import Rotation, Series
from cra.storage.journal.tombstones import read_tombstone
from cra.timing.clock import Clock

_PATIENCE = 2.0  # s
_LOOK_AGAIN = 0.01


class ResumedSeries:
    """The series `name` in `folder`, locked until the end of the `with`; `lock` where it is locked already. `written` are the
    segments that were begun, then.

    Raises `StorageError`, `StorageLocked` while somebody else has the series.
    """

    def __init__(self, folder: Path, name: str, clock: Clock, lock: SeriesLock | None = None) -> None:
        self.written: list[Path] = []
        self._is_cut = False
        self._folder = folder
        self._name = name if is_series(name) else new_series()
        self._series = Series(folder, self._name, Rotation(), clock)
        try:
            lock = lock or _take_lock(folder, self._name)
            try:
                mend(folder, self._name, clock)
                self._files = segments(folder).get(self._name, [])
                stone = tombstones(folder).get(self._name)
                self._is_cut = stone is not None
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
        """The place of the first of these frames, which a ring of `within` bytes had in this order, that the series lacks.

        Raises `StorageError` where retention took what would say so.
        """
        places = {frame: place for place, frame in enumerate(frames)}
        looked_at = 0
        try:
            for frame in self._newest_first(4 * within):
                if frame in places:
                    return places[frame] + 1
                looked_at += len(frame)
                if looked_at > 4 * within:  # the ring had nothing older
                    return 0
        except OSError as error:
            raise self._error(error) from error
        # What the ring had and the series has, is the end of the series, before anything that a recovery appended.
        if frames and self._is_cut and not looked_at:
            raise StorageError(
                f"retention took what says how much of the ring {self._name} is stored; nothing is recovered from it, since"
                f" it might"
                " be stored twice: move the files of that ring elsewhere and keep them"
            )
        return 0

    def end_among(self, frames: Sequence[bytes], within: int) -> int | None:
        """The place behind the last of these frames that the series has; 0 where it has none at all, None where it has others."""
        places = {frame: place for place, frame in enumerate(frames)}
        looked_at = newest = 0
        try:
            for frame in self._newest_first(4 * within):
                newest = max(newest, places.get(frame, -1) + 1)
                looked_at += len(frame)
                if looked_at > 4 * within:
                    break
        except OSError as error:
            raise self._error(error) from error
        return newest or (0 if not looked_at and not self._is_cut else None)

    def append(self, frames: bytes) -> None:
        """Store frames behind what the series has: all of them, or none and a `StorageError`."""
        try:
            self._series.append(frames)
        except OSError as error:
            raise self._error(error) from error

    def _newest_first(self, size: int) -> Iterator[bytes]:
        """The frames of records that were appended to the series, from its end on: of every segment about the last `size`
        bytes."""
        for segment in reversed(self._files):
            data = read_segment(segment.path)
            links = [
                at - FRAME_BYTES for at, length in scan_frames(data, HEADER_BYTES)[0] if length and data[at] == LINK
            ]
            # What a segment begins with, up to its first LINK, is repeated, and no part of that.
            start = max((link for link in links if link < len(data) - size), default=links[0] if links else len(data))
            frames: list[bytes] = []
            while (length := whole_frame(data, start)) >= 0:
                if length and data[start + FRAME_BYTES] < LINK:
                    frames.append(data[start : start + FRAME_BYTES + length])
                start += FRAME_BYTES + length
            yield from reversed(frames)

    def _error(self, error: OSError) -> StorageError:
        return StorageError(f"the series {self._name} of a dead process cannot be gone on with: {error.strerror}")


def _take_lock(folder: Path, name: str) -> SeriesLock:
    """The lock of a series; whoever opens the journal has it for a moment, and is waited for."""
    end = time.monotonic() + _PATIENCE
    while True:
        with suppress(FileExistsError):
            return dead_lock(folder, name) or new_lock(folder, name)
        if time.monotonic() >= end:
            raise StorageLocked(f"the series {name} is being mended by another process; try again")
        time.sleep(_LOOK_AGAIN)
