"""Series whose writer died: their last segment is mended and sealed by whoever opens the folder next. Nothing is destroyed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cra.storage.journal import entries
from cra.storage.journal.lock import SeriesLock, dead_lock
from cra.storage.journal.names import COMPRESSED, TORN, locked_series, segments
from cra.storage.journal.segment import check
from cra.storage.journal.series import sync_folder
from cra.timing.clock import Clock


class Repair(msgspec.Struct, frozen=True):
    """A torn last segment: `torn_bytes` of it were moved from `file` to `torn_file`."""

    file: str
    torn_file: str
    torn_bytes: int

    def sentence(self) -> str:
        return f"{self.file} ended within a record: {self.torn_bytes} bytes were moved to {self.torn_file}"


def adopt_dead(folder: Path, clock: Clock) -> Iterator[tuple[SeriesLock, Repair | None]]:
    """Mend and seal the series in `folder` that somebody left. Their locks are the caller's from now on, who removes them
    once nothing has to be added to these series any more. Raises `OSError`; then the next one who opens the folder goes
    on."""
    for series in locked_series(folder):
        lock = dead_lock(folder, series)
        if lock is not None:
            try:
                repair = mend(folder, series, clock)
            except BaseException:
                lock.leave()
                raise
            yield lock, repair


def mend(folder: Path, series: str, clock: Clock) -> Repair | None:
    """Cut off what the series' last segment has behind its last whole frame, and seal it. For who holds its lock."""
    for name in os.listdir(folder):
        if name.startswith(series + ".") and name.endswith(".part"):
            (folder / name).unlink(
                missing_ok=True
            )  # one that was never seen: what it was to hold was never acknowledged
    files = segments(folder).get(series)
    if not files:
        return None
    path = files[-1].path
    if path.suffix == COMPRESSED:
        return None  # it is sealed
    data = path.read_bytes()
    checked = check(data)
    repair = None
    if not data:
        path.unlink()  # a power cut took what was in it, and nothing of it was acknowledged as durable
    elif checked.whole < len(data):
        repair = _set_aside(path, data, checked.whole)
    if checked.header is not None and not checked.is_sealed:
        _append(path, entries.seal(checked.digest, clock.now_ns()))
    sync_folder(folder)
    return repair


def _set_aside(path: Path, data: bytes, whole: int) -> Repair:
    """Move what follows the whole frames to a file of its own, which is on the disk before the segment is cut."""
    torn = path.with_name(path.name + TORN)
    _append(torn, data[whole:])
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
