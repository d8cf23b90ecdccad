"""Whether events lie where they say: in the file or the entry of their session, in a row that repeats their fields.

Readers find events by where they lie, and a chain holds wherever that is. Used by what verifies whole stores.
"""

from __future__ import annotations

import msgspec


class Said(msgspec.Struct, frozen=True):
    """What an event says of itself, and a store beside it."""

    session_id: str
    sequence: int
    event_type: str
    timestamp: str
    event_hash: str


_decode = msgspec.json.Decoder(Said).decode


class Places:
    """Counts the events that lie where they do not belong, and remembers the first."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def check_lines(self, place: str, session_id: str, lines: bytes) -> None:
        """Whole lines, in a place for events of this session alone."""
        for line in lines.split(b"\n"):
            said = _said(line)
            if said is not None and said.session_id != session_id:
                self._note(f"{place} has one of session {said.session_id}")

    def check_row(self, line: bytes, row: tuple[object, ...]) -> None:
        """A line, and what a row says beside it: the fields of `Said`, in their order."""
        said = _said(line)
        if said is not None and msgspec.structs.astuple(said) != row:
            self._note(
                f"the row of event {said.sequence} of session {said.session_id} says something else than its line"
            )

    def faults(self) -> list[str]:
        """What is wrong, in a sentence."""
        if not self._count:
            return []
        return [f"events that lie where they do not belong: {self._count}; of the first, {self._first}"]

    def _note(self, what: str) -> None:
        self._count += 1
        self._first = self._first or what


def _said(line: bytes) -> Said | None:
    """None for what is no event: the chain's verification says so."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
