"""What the files of a journal are called: the segments of a series, the index beside each, the lock of one that is written.

`<series>.<number>.segment` (compressed `.segment.zst`), `<series>.<number>.index`, `<series>.<number>.gone`, `<series>.lock`.
A series is named after the process that began it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from pathlib import Path
from typing import Final, NamedTuple

SEGMENT: Final = ".segment"
INDEX: Final = ".index"
LOCK: Final = ".lock"
TOMBSTONE: Final = ".gone"
COMPRESSED: Final = ".zst"
TORN: Final = ".torn"
PART: Final = ".part"
_SERIES: Final = r"[0-9]+-[0-9a-f]{16}"
_find_series: Final = re.compile(_SERIES).fullmatch
_find_file: Final = re.compile(rf"({_SERIES})\.([0-9]{{8}})\.(segment|segment\.zst|index|gone)").fullmatch
_find_index_part: Final = re.compile(rf"{_SERIES}\.[0-9]{{8}}\.index\.([0-9]+)(?:-[0-9]+)?\.part").fullmatch
_begins_as_file: Final = re.compile(rf"{_SERIES}\.(lock\b|[0-9]{{8}}\.)").match
MAX_NUMBER: Final = 10**8 - 1


class SegmentFile(NamedTuple):
    """A segment that is there: the `number`-th of `series`."""

    series: str
    number: int
    path: Path

    @property
    def index_path(self) -> Path:
        """Where its index is, if it has one."""
        return self.path.with_name(self.path.name.removesuffix(COMPRESSED).removesuffix(SEGMENT) + INDEX)


class TombstoneFile(NamedTuple):
    """What stands for the segments of `series` up to `number`."""

    series: str
    number: int
    path: Path


class Files(NamedTuple):
    """What is in a folder: see `segments`, `tombstones` and `covered`."""

    segments: dict[str, list[SegmentFile]]
    tombstones: dict[str, TombstoneFile]
    covered: list[Path]


def new_series() -> str:
    """A name that no series has."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"


def is_series(name: str) -> bool:
    """Whether a series may be called so."""
    return _find_series(name) is not None


def is_of_journal(name: str) -> bool:
    """Whether a file that is called so is part of a journal, or was left or set aside by one."""
    return _begins_as_file(name) is not None


def segment_path(folder: Path, series: str, number: int) -> Path:
    """Where a segment belongs."""
    return folder / f"{series}.{number:08d}{SEGMENT}"


def tombstone_path(folder: Path, series: str, number: int) -> Path:
    """Where a tombstone belongs."""
    return folder / f"{series}.{number:08d}{TOMBSTONE}"


def segments(folder: Path) -> dict[str, list[SegmentFile]]:
    """The segments in a folder by series, in order, without those that a tombstone stands for. Raises `OSError`."""
    return look(folder).segments


def tombstones(folder: Path) -> dict[str, TombstoneFile]:
    """The tombstones in a folder by series, the latest of each. Raises `OSError`."""
    return look(folder).tombstones


def covered(folder: Path) -> list[Path]:
    """The files that a tombstone stands for: segments, their indexes, older tombstones. Raises `OSError`."""
    return look(folder).covered


def look(folder: Path) -> Files:
    """All of it at one moment. Raises `OSError`, for a pipe or a device that is called so, too: to read it may never end."""
    with os.scandir(folder) as entries:
        there = sorted(
            ((match, entry) for entry in entries if (match := _find_file(entry.name)) is not None),
            key=lambda pair: pair[1].name,
        )
    for _, entry in there:
        if not entry.is_file() and os.path.lexists(entry.path):
            raise OSError(errno.EINVAL, f"{entry.name} is no regular file; move it away")
    matches = [match for match, _ in there]
    stones: dict[str, TombstoneFile] = {}
    for match in matches:  # the latest comes last
        if match[3] == "gone":
            stones[match[1]] = TombstoneFile(match[1], int(match[2]), folder / match[0])
    found: dict[str, list[SegmentFile]] = {}
    over: list[Path] = []
    for match in matches:
        series, number, path = match[1], int(match[2]), folder / match[0]
        stone = stones.get(series)
        if stone is not None and (number < stone.number or (number == stone.number and match[3] != "gone")):
            over.append(path)
        elif match[3].startswith("segment"):
            known = found.setdefault(series, [])
            if (
                not known or known[-1].number != number
            ):  # while it is being compressed, both are there, and the other one counts
                known.append(SegmentFile(series, number, path))
    return Files(found, stones, over)


def locked_series(folder: Path) -> list[str]:
    """The series that somebody writes, or wrote when he died. Raises `OSError`."""
    names = (name.removesuffix(LOCK) for name in sorted(os.listdir(folder)) if name.endswith(LOCK))
    return [name for name in names if is_series(name)]


def index_parts(folder: Path) -> list[tuple[int, Path]]:
    """Indexes that are being written, or were when their writer died: his process, and the file. Raises `OSError`."""
    matches = map(_find_index_part, sorted(os.listdir(folder)))
    return [(int(match[1]), folder / match[0]) for match in matches if match is not None]
