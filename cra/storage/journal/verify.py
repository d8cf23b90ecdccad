"""Whether a journal is what its writers wrote: every byte of every segment, and every segment of every series.

It reads everything, changes nothing, and never raises over what the files contain. What a chain cannot show, it cannot
either: whether the end of a series was cut off at a link, or a whole series taken away.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from cra.errors import StorageError
from cra.storage.journal import entries
from cra.storage.journal.compression import read_segment
from cra.storage.journal.index import IndexBuilder, read_index
from cra.storage.journal.names import LOCK, SegmentFile, segments, tombstones
from cra.storage.journal.segment import Checked, check
from cra.storage.journal.tombstones import Note, Tombstone, decode_tombstone, notes_of
from cra.storage.look import NotRegular, is_locked, opened_to_look


class SegmentVerification(msgspec.Struct, frozen=True):
    """A segment of a series: its bytes, uncompressed; whether it is sealed; and what is not as it was written."""

    file: str
    series: str
    bytes: int
    sealed: bool
    faults: tuple[str, ...]


class JournalVerification(msgspec.Struct, frozen=True):
    """What was found: `faults` says what is not as it was written, each with its file; `bytes` were looked at. `files` has it by
    segment."""

    valid: bool
    series: int
    segments: int
    bytes: int
    faults: tuple[str, ...]
    files: tuple[SegmentVerification, ...] = ()


def verify_journal(folder: str | os.PathLike[str]) -> JournalVerification:
    """Verify the journal in a folder. Raises `StorageError` where it cannot be read."""
    path = Path(folder)
    faults: list[str] = []
    size = 0
    files: list[SegmentVerification] = []
    try:
        found, stones = segments(path), tombstones(path)
        notes: set[Note] = set()
        buried: dict[str, Tombstone] = {}
        for name, file in stones.items():
            data = file.path.read_bytes()
            try:
                buried[name] = decode_tombstone(data)
            except StorageError as error:
                faults.append(f"{file.path.name}: {error.message}")
                continue
            notes.update(buried[name].notes)
            if buried[name].number != file.number:
                faults.append(f"{file.path.name}: it stands for other segments by what it says")
        for name, series in found.items():
            verifier = _SeriesVerifier(_is_written(path, name), buried.get(name))
            for segment in series:
                try:
                    data = read_segment(segment.path)
                except StorageError as error:
                    faults.append(error.message)
                    files.append(SegmentVerification(segment.path.name, name, 0, False, (error.message,)))
                    continue
                size += len(data)
                here = verifier.faults(segment, data, segment is series[-1])
                files.append(SegmentVerification(segment.path.name, name, len(data), verifier.is_sealed, tuple(here)))
                faults += (f"{segment.path.name}: {fault}" for fault in here)
                notes.update(notes_of(data))
        for name, stone in buried.items():
            digest = hashlib.sha256(stones[name].path.read_bytes()).digest()
            if Note(stone.series, stone.number, digest) not in notes:
                faults.append(f"{stones[name].path.name}: nothing in the journal vouches for it")
    except OSError as error:
        raise StorageError(f"the journal {os.fspath(path)!r} cannot be read: {error.strerror}") from error
    return JournalVerification(not faults, len(found), len(files), size, tuple(faults), tuple(files))


class _SeriesVerifier:
    """Takes the segments of a series in order. `is_written` says whether somebody goes on with the last of them, `buried`
    what stands for those that went."""

    def __init__(self, is_written: bool, buried: Tombstone | None) -> None:
        self._is_written = is_written
        self.is_sealed = False  # the segment that was looked at last
        self._number = 0 if buried is None else buried.number + 1
        self._series = None if buried is None else buried.series
        self._previous = entries.NO_HASH if buried is None else buried.last

    def faults(self, segment: SegmentFile, data: bytes, last: bool) -> list[str]:
        """What is wrong with a segment, by itself and in its place."""
        checked = check(data)
        self.is_sealed = checked.is_sealed
        if checked.header is None:
            return [checked.fault or "its header is damaged"]
        found = [] if checked.fault is None else [checked.fault]
        found += self._in_place(segment, checked)
        if not (last and self._is_written):
            found += at_the_end(checked, len(data))
        if not found and checked.is_sealed:
            found += _of_index(segment, data)
        self._number = segment.number + 1
        self._series = checked.header.series
        self._previous = hashlib.sha256(data).digest()
        return found

    def _in_place(self, segment: SegmentFile, checked: Checked) -> list[str]:
        header = checked.header
        assert header is not None
        if header.number != segment.number:
            return [f"it is segment {header.number} by what it says"]
        if segment.number != self._number:
            missing = f"segments {self._number} to {segment.number - 1} are missing before it"
            return [missing]
        if self._series not in (None, header.series):
            return ["it belongs to another series by what it says"]
        if header.previous != self._previous:
            return ["it does not follow the segment before it: one of the two was changed"]
        return []


def at_the_end(checked: Checked, size: int) -> list[str]:
    """What is wrong with the end of a segment of `size` bytes that nobody writes."""
    if checked.whole < size:
        return [f"what is at offset {checked.whole} is no whole entry: it was changed, or torn"]
    return (
        []
        if checked.is_sealed
        else ["it is not sealed: its end is missing, or its writer died and nobody opened the journal since"]
    )


def _of_index(segment: SegmentFile, data: bytes) -> list[str]:
    builder = IndexBuilder()
    builder.feed(data[entries.HEADER_BYTES :])
    index = builder.index()
    kept = read_index(segment.index_path, len(data), index.seal)
    return [] if kept in (None, index) else ["its index says otherwise; remove it, and it is made again"]


def _is_written(folder: Path, series: str) -> bool:
    """Whether a living process holds the lock of a series."""
    try:
        with opened_to_look(folder / (series + LOCK)) as file:
            return is_locked(file)
    except (FileNotFoundError, NotRegular):
        return False
