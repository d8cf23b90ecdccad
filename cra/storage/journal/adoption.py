"""Series whose writer died: their last segment is mended and sealed by whoever opens the folder next. Nothing is destroyed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from cra.errors import StorageError
from cra.storage.folders import sync_folder
from cra.storage.journal import entries
from cra.storage.journal.compression import read_sealed
from cra.storage.journal.lock import SeriesLock, dead_lock
from cra.storage.journal.names import COMPRESSED, TORN, SegmentFile, locked_series, look
from cra.storage.journal.segment import check
from cra.storage.journal.series import sync_files
from cra.timing.clock import NS_PER_SECOND, Clock

_WRITE_BACK_NS: Final = 600 * NS_PER_SECOND  # Linux takes half a minute


class Repair(msgspec.Struct, frozen=True):
    """A torn last segment: `torn_bytes` of it were moved from `file` to `torn_file`."""

    file: str
    torn_file: str
    torn_bytes: int

    def sentence(self) -> str:
        return f"{self.file} ended within a record: {self.torn_bytes} bytes were moved to {self.torn_file}"


def adopt_dead(folder: Path, clock: Clock) -> Iterator[tuple[SeriesLock, list[Repair]]]:
    """Mend and seal the series in `folder` that somebody left. Their locks are the caller's from now on, who removes them
    once nothing has to be added to these series any more. Raises `OSError`; then the next one who opens the folder goes
    on."""
    for series in locked_series(folder):
        lock = dead_lock(folder, series)
        if lock is not None:
            try:
                repairs = mend(folder, series, clock)
            except BaseException:
                lock.leave()
                raise
            yield lock, repairs


def mend(folder: Path, series: str, clock: Clock) -> list[Repair]:
    """Have a series end with its last whole frame, and seal that segment. For who holds its lock.

    After a power cut an earlier segment may be torn, or gone, while a later one is there. What comes behind the first torn
    place goes with it: none of that was acknowledged as durable, and the chains of sessions do not go on over a gap.
    """
    for name in os.listdir(folder):
        if name.startswith(series + ".") and name.endswith(".part"):
            (folder / name).unlink(missing_ok=True)  # never seen: what it was to hold was never acknowledged
    repairs: list[Repair] = []
    found = look(folder)
    files = found.segments.get(series, [])
    stone = found.tombstones.get(series)
    first = 0 if stone is None else stone.number + 1
    for place, segment in enumerate(files):
        if segment.number != first + place:
            for later in reversed(files[place:]):
                repairs.append(_set_aside(later.path, later.path.read_bytes(), 0))
            break
        if segment.path.suffix == COMPRESSED or (place < len(files) - 1 and _is_written_back(segment, files[-1])):
            continue
        data = segment.path.read_bytes()
        checked = check(data)
        if checked.whole == len(data) and (checked.is_sealed or (place == len(files) - 1 and data)):
            if not checked.is_sealed:
                _append(segment.path, entries.seal(checked.digest, clock.now_ns()))
            else:
                sync_files([segment.path])
            continue
        for later in reversed(files[place + 1 :]):
            repairs.append(_set_aside(later.path, later.path.read_bytes(), 0))
        if checked.whole < len(data):
            repairs.append(_set_aside(segment.path, data, checked.whole))
        if checked.whole == 0:
            segment.path.unlink(missing_ok=True)
        elif not checked.is_sealed:
            _append(segment.path, entries.seal(checked.digest, clock.now_ns()))
        break
    if files:
        sync_folder(folder)
    return repairs


def _is_written_back(segment: SegmentFile, last: SegmentFile) -> bool:
    """Whether the kernel has long brought a segment to the disk: it was sealed long before the last one was begun."""
    sealed = read_sealed(segment.path)
    with open(last.path, "rb") as file:
        beginning = file.read(entries.HEADER_BYTES)
    try:
        begun_ns = entries.decode_header(beginning).begun_ns
    except StorageError:
        return False
    return sealed is not None and begun_ns - sealed.time_ns > _WRITE_BACK_NS


def _set_aside(path: Path, data: bytes, whole: int) -> Repair:
    """Move what follows the whole frames to a file of its own, which is on the disk before the segment is cut."""
    torn = path.with_name(path.name + TORN)
    _append(torn, data[whole:])
    sync_folder(path.parent)
    if whole:
        os.truncate(path, whole)
    else:
        path.unlink()
    return Repair(path.name, torn.name, len(data) - whole)


def _append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
