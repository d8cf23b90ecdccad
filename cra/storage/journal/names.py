"""What the files of a journal are called: the segments of a series, the index beside each, the lock of one that is written.

`<series>.<number>.segment`, `<series>.<number>.index`, `<series>.lock`. A series is named after the process that began it.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Final, NamedTuple

SEGMENT: Final = ".segment"
INDEX: Final = ".index"
LOCK: Final = ".lock"
TORN: Final = ".torn"
_SERIES: Final = r"[0-9]+-[0-9a-f]{16}"
_find_series: Final = re.compile(_SERIES).fullmatch
_find_segment: Final = re.compile(rf"({_SERIES})\.([0-9]{{8}})\.segment").fullmatch
MAX_NUMBER: Final = 10**8 - 1


class SegmentFile(NamedTuple):
    """A segment that is there: the `number`-th of `series`."""

    series: str
    number: int
    path: Path

    @property
    def index_path(self) -> Path:
        """Where its index is, if it has one."""
        return self.path.with_name(self.path.name.removesuffix(SEGMENT) + INDEX)


def new_series() -> str:
    """A name that no series has."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"


def is_series(name: str) -> bool:
    """Whether a series may be called so."""
    return _find_series(name) is not None


def segment_path(folder: Path, series: str, number: int) -> Path:
    """Where a segment belongs."""
    return folder / f"{series}.{number:08d}{SEGMENT}"


def segments(folder: Path) -> dict[str, list[SegmentFile]]:
    """The segments in a folder by series, in order; the series as they were begun, as far as that is known. Raises `OSError`."""
    found: dict[str, list[SegmentFile]] = {}
    for name in sorted(os.listdir(folder)):
        match = _find_segment(name)
        if match is not None:
            found.setdefault(match[1], []).append(SegmentFile(match[1], int(match[2]), folder / name))
    return found


def locked_series(folder: Path) -> list[str]:
    """The series that somebody writes, or wrote when he died. Raises `OSError`."""
    names = (name.removesuffix(LOCK) for name in sorted(os.listdir(folder)) if name.endswith(LOCK))
    return [name for name in names if is_series(name)]
