"""Which sessions a segment holds, and where: made from the segment alone, and kept beside it once that is sealed.

An index is a copy of what the segment says, for readers in a hurry. One that is missing, damaged, or of another segment is made
again. docs/formats/journal.md.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar
from zlib import crc32

import msgspec

from cra.errors import StorageError
from cra.hotpath import scan_frames, survey_frames
from cra.ids import format_uuid
from cra.reference.frames import ENDED, EVENTS_BYTES, Place, Span, last_type
from cra.reference.records import DEFINES, EVENTS, FORGET, TEMPLATE
from cra.storage.journal import entries
from cra.storage.journal.names import PART

_VERSION: Final = 1
_NUMBER: Final = slice(4, 12)
_SESSION_ID: Final = slice(36, 52)
_CRC_BYTES: Final = 9  # eight hex digits, a newline
Decoded = TypeVar("Decoded")


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """The records of one session: they carry `number` and lie in the frames from `first` to `end`; `records` of them have
    events."""

    session_id: str
    number: int
    first: int
    end: int
    records: int


class LinesPlace(msgspec.Struct, frozen=True, array_like=True):
    """A LINES entry of a session: `events` lines from the sequence `sequence` on, the entry at `at`, `length` bytes long."""

    session_id: str
    sequence: int
    events: int
    at: int
    length: int


class Index(msgspec.Struct, frozen=True):
    """The index of a segment of `size` bytes, which ends with the SEAL that holds `seal` (hex; empty where it is not sealed).

    `templates` are the places of its TEMPLATE and FORGET records.
    """

    version: int
    size: int
    seal: str
    sessions: tuple[Stretch, ...]
    lines: tuple[LinesPlace, ...]
    templates: tuple[Place, ...]


class _Found(msgspec.Struct, frozen=True):
    """An index of which the long parts are left as they are."""

    version: int
    size: int
    seal: str
    sessions: msgspec.Raw
    lines: msgspec.Raw
    templates: tuple[Place, ...]


_Kind = TypeVar("_Kind", Index, _Found)


class KeptIndex:
    """An index as it was found beside its segment, of which nothing is decoded that nobody asks for: there may be a hundred
    thousand sessions in it. Methods raise `StorageError` where it holds what no index holds."""

    def __init__(self, path: Path, found: _Found) -> None:
        self.templates = found.templates
        self._path = path
        self._found = found
        self._sessions = bytes(found.sessions)
        self._lines = bytes(found.lines)

    def decoded(self) -> Index:
        """All of it."""
        found = self._found
        sessions = self._decode(self._sessions, tuple[Stretch, ...])
        lines = self._decode(self._lines, tuple[LinesPlace, ...])
        return Index(found.version, found.size, found.seal, sessions, lines, found.templates)

    def stretches(self, session_id: str) -> list[Stretch]:
        """Those of a session, in order."""
        return self._of(session_id, self._sessions, Stretch)

    def lines(self, session_id: str) -> list[LinesPlace]:
        """Those of a session, in order."""
        return self._of(session_id, self._lines, LinesPlace)

    def _of(self, session_id: str, data: bytes, kind: type[Decoded]) -> list[Decoded]:
        """The entries that begin with an id: it is written as it is, and no bracket is within an entry."""
        found = []
        quoted = b'"%b"' % session_id.encode()
        at = data.find(quoted)
        while at >= 0:
            end = data.find(b"]", at)
            found.append(self._decode(data[data.rfind(b"[", 0, at) : end + 1], kind))
            at = data.find(quoted, at + len(quoted))
        return found

    def _decode(self, data: bytes, kind: type[Decoded]) -> Decoded:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            message = f"the index {self._path.name} holds what no index holds; remove it, and it is made again"
            raise StorageError(message) from None


class IndexBuilder:
    """Makes the index of a segment that is read from its first frame on, piece by piece. `end` is how far it has come."""

    def __init__(self) -> None:
        self.end = entries.HEADER_BYTES
        self._seal = ""
        self._ids: dict[int, str] = {}
        self._spans: dict[int, Span] = {}
        self._closed: list[Stretch] = []
        self._lines: list[LinesPlace] = []
        self._templates: list[Place] = []

    def feed(self, data: bytes) -> bool:
        """Take what is in the segment from `end` on, as far as it is whole frames; False where that is none."""
        places, whole = scan_frames(data)
        surveyed = 0
        for at, length in places:
            kind = data[at] if length else 0
            if kind in (TEMPLATE, FORGET):
                self._templates.append((self.end + at, length))
            elif kind == EVENTS and length >= EVENTS_BYTES:
                if self._note_session(data[at : at + length]):
                    # Its number may be given to another session from here on.
                    survey_frames(data, surveyed, at + length, self.end, self._spans)
                    surveyed = at + length
                    self._close(_number(data[at : at + length]))
            elif kind == entries.LINES:
                self._note_lines(data[at : at + length], self.end + at)
            elif kind == entries.SEAL:
                self._seal = (entries.read_link(data[at : at + length]) or b"").hex()
        survey_frames(data, surveyed, whole, self.end, self._spans)
        self.end += whole
        return whole > 0

    def index(self) -> Index:
        """The index of what was taken so far."""
        still_open = [self._stretch(number) for number in self._spans if number in self._ids]
        return Index(
            _VERSION,
            self.end,
            self._seal,
            (*self._closed, *still_open),
            tuple(self._lines),
            tuple(self._templates),
        )

    def _note_session(self, record: bytes) -> bool:
        """Learn which session a number stands for; whether the record is its last."""
        if record[1] & DEFINES:
            session_id = int.from_bytes(record[_SESSION_ID], "big")
            self._ids[_number(record)] = format_uuid(session_id)
        return last_type(record, 0, len(record)) == ENDED

    def _note_lines(self, content: bytes, at: int) -> None:
        lines = entries.read_lines(content)
        if lines is not None:
            self._lines.append(LinesPlace(lines.session_id, lines.first, lines.events, at, len(content)))

    def _close(self, number: int) -> None:
        if number in self._ids and number in self._spans:
            self._closed.append(self._stretch(number))
        self._ids.pop(number, None)
        self._spans.pop(number, None)

    def _stretch(self, number: int) -> Stretch:
        return Stretch(self._ids[number], number, *self._spans[number])


def _number(record: bytes) -> int:
    return int.from_bytes(record[_NUMBER], "little")


def write_index(path: Path, index: Index) -> None:
    """Keep an index, in one step; where the disk refuses there is none, and the next reader makes it again."""
    data = msgspec.json.encode(index) + b"\n"
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_native_id()}{PART}")
    with suppress(OSError):
        try:
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(file, "wb") as opened:
                opened.write(b"%08x\n" % crc32(data) + data)
            os.rename(part, path)
        finally:
            part.unlink(missing_ok=True)


def read_index(path: Path, size: int, seal: str) -> Index | None:
    """The index at `path`, if it is whole and that of a segment with this size and seal."""
    return _read(path, size, seal, Index)


def find_index(path: Path, size: int, seal: str) -> KeptIndex | None:
    """The same for who looks up a session or two."""
    found = _read(path, size, seal, _Found)
    return None if found is None else KeptIndex(path, found)


def _read(path: Path, size: int, seal: str, kind: type[_Kind]) -> _Kind | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if data[:_CRC_BYTES] != b"%08x\n" % crc32(memoryview(data)[_CRC_BYTES:]):
        return None
    try:
        index = msgspec.json.decode(memoryview(data)[_CRC_BYTES:], type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return index if (index.version, index.size, index.seal) == (_VERSION, size, seal) else None
