"""Frames: records one after the other in a file, each with its length and a checksum. docs/formats/journal.md.

A frame is what a ring holds of a record, without commit word and padding, so that records go from the ring into a journal as they
are. Journals write them and read them back. A scan never raises over what the bytes contain: it ends where they are not whole.
"""

from __future__ import annotations

from struct import Struct
from typing import Final
from zlib import crc32

from cra.reference.records import DEFINES, EVENTS, FORGET, HAS_SPAN, RESOLVE, TEMPLATE

FRAME: Final = Struct("<II")  # CRC-32 of the length and the content, length
_LENGTH: Final = Struct("<I")
_COUNT_AND_SESSION: Final = Struct("<HQ")  # of EVENTS, at 2
_SESSION: Final = Struct("<Q")
_EVENT: Final = Struct("<HI")
EVENTS_BYTES: Final = 36
"""The least that an EVENTS record has."""
_DEFINITION_BYTES: Final = 48
_SPAN_BYTES: Final = 16
_RESOLVE_BYTES: Final = 48
ENDED: Final = b"session.ended"

Place = tuple[int, int]
"""Where the content of a frame begins, and how long it is."""
Span = tuple[int, int, int]
"""Of a session in a segment: where its first frame begins, where its last one ends, how many records with events it has."""


def frame(content: bytes) -> bytes:
    """The frame with this content."""
    length = _LENGTH.pack(len(content))
    return _LENGTH.pack(crc32(content, crc32(length))) + length + content


def scan_frames(data: bytes, start: int = 0, session: int | None = None) -> tuple[list[Place], int]:
    """What matters in `data` from `start` on, and where the last whole frame ends.

    With `session`, that is what its events are made of: every TEMPLATE and FORGET, and the records that carry its number.
    Without, it is what changes what later records mean: everything but RESOLVE, and EVENTS that neither define their session
    nor end it.
    """
    found: list[Place] = []
    at = start
    while (length := whole_frame(data, at)) >= 0:
        place = at + FRAME.size, length
        if _matters(data, *place) if session is None else _is_of(data, *place, session):
            found.append(place)
        at = place[0] + length
    return found, at


def survey_frames(data: bytes, start: int, end: int, offset: int, spans: dict[int, Span]) -> None:
    """Note in `spans` where each session of the whole frames `data[start:end]` is, by its number.

    What is noted are positions in a file of which `data` begins at `offset`.
    """
    at = start
    while at < end and (length := whole_frame(data, at)) >= 0:
        content, behind = at + FRAME.size, at + FRAME.size + length
        number = _number(data, content, length)
        if number is not None:
            first, _, records = spans.get(number, (offset + at, 0, 0))
            spans[number] = first, offset + behind, records + _has_events(data, content)
        at = behind


def whole_frame(data: bytes, at: int) -> int:
    """The length of the content of the frame at `at`; -1 where no whole frame is."""
    if len(data) - at < FRAME.size:
        return -1
    checksum, length = FRAME.unpack_from(data, at)
    if length > len(data) - at - FRAME.size or crc32(data[at + _LENGTH.size : at + FRAME.size + length]) != checksum:
        return -1
    return int(length)


def _matters(data: bytes, at: int, length: int) -> bool:
    kind = data[at] if length else 0
    if kind == EVENTS and length >= EVENTS_BYTES:
        return bool(data[at + 1] & DEFINES) or last_type(data, at, at + length) == ENDED
    return kind != RESOLVE


def _is_of(data: bytes, at: int, length: int, session: int) -> bool:
    return (length > 0 and data[at] in (TEMPLATE, FORGET)) or _number(data, at, length) == session


def _number(data: bytes, at: int, length: int) -> int | None:
    """The number of the session that a record carries; None for what carries none."""
    kind = data[at] if length else 0
    if kind == EVENTS and length >= EVENTS_BYTES:
        return int(_COUNT_AND_SESSION.unpack_from(data, at + 2)[1])
    if kind == RESOLVE and length >= _RESOLVE_BYTES:
        return int(_SESSION.unpack_from(data, at + 8)[0])
    return None


def _has_events(data: bytes, at: int) -> bool:
    """Whether the record stands for any event: definitions that are repeated do not."""
    return data[at] == RESOLVE or data[at + 2 : at + 4] != b"\0\0"


def last_type(data: bytes, at: int, end: int) -> bytes:
    """The type of the last event of an EVENTS record; empty where there is none."""
    flags, (count, _) = data[at + 1], _COUNT_AND_SESSION.unpack_from(data, at + 2)
    at += EVENTS_BYTES + _DEFINITION_BYTES * bool(flags & DEFINES) + _SPAN_BYTES * bool(flags & HAS_SPAN)
    last = b""
    for _ in range(count):
        if end - at < _EVENT.size:
            return b""
        type_length, payload_length = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        if end - at < type_length + payload_length:
            return b""
        last = data[at : at + type_length]
        at += type_length + payload_length
    return last
