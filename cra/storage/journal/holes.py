"""Whether a session may have records where a journal cannot be read: in a damaged segment, or in one that is missing.

Used by readers, who must not read over a hole: what comes behind it would get a chain that nobody wrote. Sessions that have all
of their records elsewhere are not concerned. It reads no more of a segment than two records of the session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cra.errors import StorageError
from cra.reference.frames import ENDED, last_type
from cra.reference.records import EVENTS
from cra.storage.journal.index import Stretch
from cra.storage.journal.indexes import SegmentIndex
from cra.storage.journal.names import SegmentFile

Ends = Callable[[Path, Stretch], tuple[bytes, bytes]]
"""The first and the last record of a stretch."""
Indexed = tuple[SegmentFile, SegmentIndex]


def has_holes(series: Sequence[Indexed], first: int) -> bool:
    """Whether anything of a series cannot be read that begins with segment number `first`."""
    return any(
        segment.number != number or index.fault is not None for number, (segment, index) in enumerate(series, first)
    )


def find_hole(session_id: str, series: Sequence[Indexed], first: int, ends: Ends) -> StorageError | None:
    """The error for a hole in which a session that has records in the series may have more; None where there is none."""
    before: StorageError | None = None  # a hole, and nothing was seen of the session before it
    newest: tuple[Path, Stretch] | None = None
    expected = first
    for segment, index in series:
        stretches = index.stretches(session_id)
        if segment.number != expected:
            hole = StorageError(f"segments before {segment.path.name} are missing; verify the journal")
            if newest is not None and not _is_over(*newest, ends):
                return hole
            before = before or hole
        if stretches and newest is None and before is not None and _is_repeated(ends(segment.path, stretches[0])[0]):
            return before  # it was open when this segment was begun
        if stretches:
            newest = segment.path, stretches[-1]
        if index.fault is not None:
            if newest is not None and not _is_over(*newest, ends):
                return index.fault
            before = before or index.fault
        expected = segment.number + 1
    return None


def _is_over(path: Path, stretch: Stretch, ends: Ends) -> bool:
    last = ends(path, stretch)[1]
    return last[0] == EVENTS and last_type(last, 0, len(last)) == ENDED


def _is_repeated(record: bytes) -> bool:
    """Whether it only says again, at the beginning of a segment, which session a number stands for."""
    return record[0] == EVENTS and record[2:4] == b"\0\0"
