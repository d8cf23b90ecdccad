"""What the records to come may refer to without defining it: the sessions that are open, the templates that were not forgotten.

A series keeps them as it writes, and begins every segment with them, so that a segment needs no other to say what its records
mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from cra.reference.frames import ENDED, EVENTS_BYTES, Place, frame, last_type
from cra.reference.records import DEFINES, EVENTS, FORGET, TEMPLATE

_KIND_AND_FLAGS: Final = Struct("<BBH")
_SESSION: Final = slice(4, 12)
_DEFINITION: Final = slice(36, 84)
_UNDATED: Final = bytes(24)  # time and base


class OpenDefinitions:
    """Fed with the places that `scan_frames` finds, in the order of the records."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, bytes] = {}
        self._templates: dict[bytes, bytes] = {}

    def note(self, data: bytes, places: Iterable[Place]) -> None:
        """Take what `scan_frames(data)` found: records that an expander took, and entries of the journal's own."""
        for at, length in places:
            kind = data[at] if length else 0
            if kind == TEMPLATE:
                self._templates[data[at + 4 : at + 8]] = data[at : at + length]
            elif kind == FORGET:
                self._templates.pop(data[at + 4 : at + 8], None)
            elif kind == EVENTS and length >= EVENTS_BYTES:
                self._note_session(data[at : at + length])

    def frames(self) -> bytes:
        """The definitions, as frames: a TEMPLATE for each template, and an EVENTS record of no events for each session."""
        return b"".join(map(frame, (*self._templates.values(), *self._sessions.values())))

    def _note_session(self, record: bytes) -> None:
        number = record[_SESSION]
        if record[1] & DEFINES:
            self._sessions[number] = _KIND_AND_FLAGS.pack(EVENTS, DEFINES, 0) + number + _UNDATED + record[_DEFINITION]
        if last_type(record, 0, len(record)) == ENDED:
            self._sessions.pop(number, None)
