"""Events as the rows of the table `event`: in the form that COPY reads, and as columns for when a batch comes again.

Rows are made of lines, which a batch of the recorder's has already; no event is decoded. Used by `operations`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from cra.errors import InvalidTraceEvent
from cra.storage.chunks import Chunk
from cra.trace.event import GENESIS_HASH

# The first there are in a line: before them there are ids, after them whatever the payload holds.
_find_columns: Final = re.compile(
    rb'"sequence":([0-9]+),"timestamp":"([^"\\]+)","event_type":"([a-z0-9_.]+)"',
).search
_AFTER_HASH: Final = len(f'","previous_event_hash":"{GENESIS_HASH}"}}')
_HASH: Final = slice(-_AFTER_HASH - len(GENESIS_HASH), -_AFTER_HASH)
_is_type: Final = re.compile("[a-z0-9_.]+").fullmatch

_PIECE_EVENTS: Final = 128  # the server works on one piece while the next is made
Row = tuple[bytes, bytes, bytes, bytes, bytes, bytes]
"""Session (its number), sequence, timestamp, type, hash, line without newline."""


def copy_data(chunks: Sequence[Chunk], numbers: Mapping[str, int]) -> Iterator[bytes]:
    """The rows in COPY's text format, in pieces. Raises `InvalidTraceEvent` for a line that is no event."""
    rows = map(b"%b\t%b\t%b\t%b\t%b\t%b\n".__mod__, _rows(chunks, numbers))
    # A canonical line has no tab, newline or NUL of its own: JSON escapes them, and the backslash of that is doubled here.
    while piece := b"".join(islice(rows, _PIECE_EVENTS)):
        yield piece.replace(b"\\", b"\\\\")


def columns(chunks: Sequence[Chunk], numbers: Mapping[str, int]) -> list[list[str]]:
    """The rows as one list per column, in the order of `Row`."""
    return [[value.decode() for value in column] for column in zip(*_rows(chunks, numbers))]


def wanted_types(types: Collection[str] | None) -> list[str] | None:
    """Of these types those that an event can have; PostgreSQL refuses text that is none, such as a NUL."""
    return None if types is None else [each for each in types if _is_type(each)]


def _rows(chunks: Sequence[Chunk], numbers: Mapping[str, int]) -> Iterator[Row]:
    for session_id, lines, _, _ in chunks:
        number = b"%d" % numbers[session_id]
        for line in lines.split(b"\n")[:-1]:
            found = _find_columns(line)
            if found is None:
                raise InvalidTraceEvent("an event to be stored has no sequence, timestamp or type as events have them")
            sequence, timestamp, event_type = found.groups()
            yield number, sequence, timestamp, event_type, line[_HASH], line
