"""Tombstones: what is left of the segments at the beginning of a series that retention took. docs/formats/journal.md.

It says what went, where the chain of segments goes on, and where the chains of the sessions stood that go on, so that the
rest can be read and verified from there. Only bytes here, and reading them back strictly.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from struct import Struct, error
from typing import Any, Final, NamedTuple

import msgspec

from cra.errors import StorageError
from cra.hotpath import canonical_json, scan_frames
from cra.ids import format_uuid, parse_uuid
from cra.reference.expander import Head
from cra.reference.frames import frame
from cra.storage.journal import entries
from cra.storage.journal.entries import Header
from cra.storage.journal.segment import check
from cra.trace.open_work import OpenWork

_GONE: Final = Struct("<B3xIQqq32s")
_HEAD: Final = Struct("<B3x16sQ32sq")
_NOTE: Final = Struct("<B3x16sI32s")
_OPEN: Final = Struct("<B3x16sqQI")
_RUNNING: Final = Struct("<16sI")


class Note(NamedTuple):
    """What a segment says of a tombstone: whose it is, up to which number, and its SHA-256."""

    series: bytes
    number: int
    digest: bytes


class Tombstone(NamedTuple):
    """What stands for the segments of `series` up to `number`.

    `size` bytes of segments went, begun and sealed when; `last` is the SHA-256 of the last of them. `heads` are the chains
    that go on, and `open` what these sessions had open, of which nobody may have said anything before version 2. `notes` are
    what the segments that went said of other tombstones, which are still there.
    """

    series: bytes
    number: int
    size: int
    begun_ns: int
    sealed_ns: int
    last: bytes
    heads: dict[str, Head]
    notes: tuple[Note, ...] = ()
    open: dict[str, OpenWork] = {}  # noqa: RUF012 - never changed


def encode_note(note: Note) -> bytes:
    """A note's frame."""
    return frame(_NOTE.pack(entries.NOTE, *note))


def read_note(content: bytes) -> Note | None:
    """The note in an entry; None where it is none."""
    if len(content) != _NOTE.size or content[:4] != bytes([entries.NOTE, 0, 0, 0]):
        return None
    return Note(*_NOTE.unpack(content)[1:])


def notes_of(data: bytes) -> list[Note]:
    """What a segment or tombstone says of tombstones."""
    places, _ = scan_frames(data, entries.HEADER_BYTES)
    found = (read_note(data[at : at + length]) for at, length in places)
    return [note for note in found if note is not None]


def encode_tombstone(tombstone: Tombstone, previous: bytes, now_ns: int) -> bytes:
    """A tombstone's file. `previous` is the SHA-256 of the one that it replaces."""
    series, number, size, begun_ns, sealed_ns, last, heads, notes, opened = tombstone
    parts = [
        entries.encode_header(Header(number, series, previous, now_ns), entries.TOMBSTONE_VERSION),
        frame(_GONE.pack(entries.GONE, number + 1, size, begun_ns, sealed_ns, last)),
    ]
    for session_id, (sequence, event_hash, time_ns) in sorted(heads.items()):
        session = parse_uuid(session_id).to_bytes(16, "big")
        parts.append(frame(_HEAD.pack(entries.HEAD, session, sequence, bytes.fromhex(event_hash), time_ns)))
        if session_id in opened:
            parts.append(frame(_encode_open(session, opened[session_id])))
    parts += map(encode_note, notes)
    data = b"".join(parts)
    return data + entries.seal(hashlib.sha256(data).digest(), now_ns)


def _encode_open(session: bytes, work: OpenWork) -> bytes:
    parts = [_OPEN.pack(entries.OPEN, session, work.started_ns, work.actions, len(work.running))]
    for span_id, repeated in work.running.items():
        payload = canonical_json(repeated)
        parts += _RUNNING.pack(parse_uuid(span_id).to_bytes(16, "big"), len(payload)), payload
    return b"".join(parts)


def _decode_open(content: bytes) -> tuple[str, OpenWork]:
    """Whose it is, and what. Raises `StorageError`."""
    try:
        _, session, started_ns, actions, count = _OPEN.unpack_from(content)
        running: dict[str, dict[str, Any]] = {}
        at = _OPEN.size
        for _ in range(count):
            span, length = _RUNNING.unpack_from(content, at)
            at += _RUNNING.size + length
            running[_uuid(span)] = msgspec.json.decode(content[at - length : at], type=dict[str, Any])
    except (error, msgspec.DecodeError, UnicodeDecodeError):
        at = -1
    if at != len(content):
        raise StorageError("what it says of a session is malformed")
    return _uuid(session), OpenWork(started_ns, actions, running)


def _uuid(data: bytes) -> str:
    return format_uuid(int.from_bytes(data, "big"))


def decode_tombstone(data: bytes) -> Tombstone:
    """The tombstone in a file. Raises `StorageError` for what is none, or was changed."""
    checked = check(data)
    places, _ = scan_frames(data, entries.HEADER_BYTES)
    contents = [data[at : at + length] for at, length in places]
    if checked.header is None or checked.fault or checked.whole != len(data) or not checked.is_sealed:
        raise StorageError(f"the tombstone is damaged: {checked.fault or 'it is not whole'}")
    if not contents or len(contents[0]) != _GONE.size or contents[0][0] != entries.GONE:
        raise StorageError("the tombstone does not say what went")
    _, _, size, begun_ns, sealed_ns, last = _GONE.unpack(contents[0])
    heads: dict[str, Head] = {}
    opened: dict[str, OpenWork] = {}
    for content in contents[1:]:
        if content[0] == entries.HEAD and len(content) == _HEAD.size:
            _, session, sequence, event_hash, time_ns = _HEAD.unpack(content)
            heads[_uuid(session)] = sequence, event_hash.hex(), time_ns
        elif content[0] == entries.OPEN:
            session_id, opened[session_id] = _decode_open(content)
    header = checked.header
    return Tombstone(
        *(header.series, header.number, size, begun_ns, sealed_ns, last),
        heads,
        tuple(note for note in map(read_note, contents) if note is not None),
        opened,
    )


def read_tombstone(path: Path) -> Tombstone:
    """As `decode_tombstone`, from a file. Raises `OSError` as well."""
    try:
        return decode_tombstone(path.read_bytes())
    except StorageError as fault:
        raise StorageError(f"{path.name}: {fault.message}") from None
