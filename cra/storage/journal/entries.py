"""What stands in a segment besides records: its header, and the entries of the journal's own. docs/formats/journal.md.

Only bytes here: writing them, and reading them back strictly. A first byte that no record has tells an entry from a record.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from cra.errors import StorageError
from cra.ids import format_uuid, parse_uuid
from cra.reference.frames import FRAME, frame

MAGIC: Final = b"cra-jrnl"
VERSION: Final = 1
TOMBSTONE_VERSION: Final = 2  # since tombstones say what sessions had open
LINK: Final = 16
SEAL: Final = 17
LINES: Final = 18
GONE: Final = 19
HEAD: Final = 20
NOTE: Final = 21
OPEN: Final = 22
OF_TOMBSTONES: Final = (GONE, HEAD, NOTE, OPEN)
NO_HASH: Final = bytes(32)

_HEADER: Final = Struct("<8sII16s32sq4x")
_CRC: Final = Struct("<I")
HEADER_BYTES: Final = _HEADER.size + _CRC.size
_LINK: Final = Struct("<B3x32s")
_SEAL: Final = Struct("<B3xq32s")
_LINES: Final = Struct("<B3xI16sQ")
FRAME_BYTES: Final = FRAME.size
SEAL_BYTES: Final = len(frame(bytes(_SEAL.size)))


class Header(NamedTuple):
    """The beginning of a segment: the `number`-th of its `series`, begun when, and the SHA-256 of the segment before it."""

    number: int
    series: bytes
    previous: bytes
    begun_ns: int


class Lines(NamedTuple):
    """Events that came as events: the lines of one session, the first of which has the sequence `first`."""

    session_id: str
    first: int
    events: int
    lines: bytes


def encode_header(header: Header, version: int = VERSION) -> bytes:
    """The header's bytes."""
    data = _HEADER.pack(MAGIC, version, header.number, header.series, header.previous, header.begun_ns)
    return data + _CRC.pack(crc32(data))


def decode_header(data: bytes) -> Header:
    """The header that `data` begins with. Raises `StorageError` for anything else, saying what is wrong with it."""
    if not data.startswith(MAGIC):
        raise StorageError("it does not begin as a segment")
    if len(data) < HEADER_BYTES:
        raise StorageError("it is cut short within its header")
    _, version, number, series, previous, begun_ns = _HEADER.unpack_from(data)
    if _CRC.unpack_from(data, _HEADER.size) != (crc32(data[: _HEADER.size]),):
        raise StorageError("its header is damaged: the checksum is wrong")
    if version not in (VERSION, TOMBSTONE_VERSION):
        raise StorageError(f"it has format version {version}, and this version of cra reads up to {TOMBSTONE_VERSION}")
    return Header(number, series, previous, begun_ns)


def link(digest: bytes) -> bytes:
    """The frame that says what SHA-256 everything before it has."""
    return frame(_LINK.pack(LINK, digest))


def seal(digest: bytes, now_ns: int) -> bytes:
    """The last frame of a segment: as `link`, and when."""
    return frame(_SEAL.pack(SEAL, now_ns, digest))


def read_link(content: bytes) -> bytes | None:
    """The SHA-256 that a LINK or SEAL holds; None where it is malformed."""
    if len(content) == _LINK.size and content[1:4] == b"\0\0\0" and content[0] == LINK:
        return bytes(_LINK.unpack(content)[1])
    if len(content) == _SEAL.size and content[1:4] == b"\0\0\0" and content[0] == SEAL:
        return bytes(_SEAL.unpack(content)[2])
    return None


def read_seal_time(content: bytes) -> int:
    """When a segment was sealed, from its SEAL."""
    return int(_SEAL.unpack(content)[1])


def lines_entry(lines: Lines) -> bytes:
    """The frame of lines that came as events."""
    head = _LINES.pack(LINES, lines.events, parse_uuid(lines.session_id).to_bytes(16, "big"), lines.first)
    return frame(head + lines.lines)


def read_lines(content: bytes) -> Lines | None:
    """The lines in a LINES entry; None where it is malformed."""
    if len(content) < _LINES.size or content[0] != LINES or content[1:4] != b"\0\0\0":
        return None
    _, events, session_id, first = _LINES.unpack_from(content)
    lines = content[_LINES.size :]
    if lines.count(b"\n") != events or not lines.endswith(b"\n"):
        return None
    return Lines(format_uuid(int.from_bytes(session_id, "big")), first, events, lines)
