"""The definitions beside a ring on disk: what its records refer to, written before the first record that does.

A ring forgets what was stored; the ids of the sessions that go on and the templates of their plans are needed as long as a record
may name them. So they are kept in a file of their own, which is rewritten when most of it is dead. docs/formats/ring.md.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple
from zlib import crc32

from cra.errors import InvalidTraceEvent, StorageError
from cra.hotpath import encode_events
from cra.reference.records import Definition, EventsRecord, TemplateRecord, decode
from cra.storage.look import NotRegular, opened_to_look

MAGIC: Final = b"cra-defs"
VERSION: Final = 1
_HEADER: Final = MAGIC + VERSION.to_bytes(4, "little")
_FRAME: Final = 8  # u32 length, u32 CRC-32 of the record
_SMALL: Final = 256 * 1024  # a file of which less than this is dead is left alone
_MAX_SIZE: Final = 2**30
Key = tuple[str, int]


class Definitions:
    """The file at `path`, which must not exist. `tail` says up to where the ring has forgotten.

    Raises `StorageError` when it cannot be written; then the record that needs the definition must not be recorded.
    """

    def __init__(self, path: str, tail: Callable[[], int]) -> None:
        self._path = path
        self._tail = tail
        self._live: dict[Key, bytes] = {}
        self._live_bytes = 0
        self._is_torn = False  # its end may be half of an entry
        self._dying: deque[tuple[int, Key]] = deque()
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                self._size = _write(self._file, _HEADER)
            except BaseException:
                self.remove()
                raise
        except OSError as problem:
            raise self._error(problem) from problem

    def define_session(self, number: int, define: Definition) -> None:
        """A session that records name by `number` from now on."""
        self._add(("session", number), encode_events(number, 0, 0, (), define=define))

    def end_session(self, number: int, position: int) -> None:
        """No record from `position` on names the session."""
        self._dying.append((position, ("session", number)))

    def define_template(self, number: int, record: bytes) -> None:
        """A TEMPLATE record."""
        self._add(("template", number), record)

    def forget_template(self, number: int, position: int) -> None:
        """No record from `position` on names the template."""
        self._dying.append((position, ("template", number)))

    def remove(self) -> None:
        """Nobody needs the definitions any more. Harmless when repeated."""
        self.leave()
        with suppress(OSError):
            os.unlink(self._path)

    def leave(self) -> None:
        """Let go of the file, which stays. Harmless when repeated."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _add(self, key: Key, record: bytes) -> None:
        if key in self._live:
            return
        entry = _entry(record)
        try:
            self._append(entry)
        except OSError as problem:
            raise self._error(problem) from problem
        self._live[key] = entry
        self._live_bytes += len(entry)
        tail = self._tail()
        while self._dying and self._dying[0][0] <= tail:
            self._live_bytes -= len(self._live.pop(self._dying.popleft()[1], b""))
        if self._size - self._live_bytes > max(_SMALL, self._live_bytes):
            with suppress(OSError):  # it is for room only: the old file goes on
                self._rewrite()

    def _append(self, entry: bytes) -> None:
        if self._is_torn:
            self._rewrite()  # nobody reads past half of an entry
        try:
            self._size += _write(self._file, entry)
        except BaseException:
            self._is_torn = True
            raise

    def _rewrite(self) -> None:
        """What is live, in a new file that takes the place of the old one in one step. Where that fails, the old one stays."""
        part = self._path + ".part"
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = _write(file, b"".join((_HEADER, *self._live.values())))
            os.rename(part, self._path)
        except BaseException:
            os.close(file)
            with suppress(OSError):
                os.unlink(part)
            raise
        os.close(self._file)
        self._file, self._size, self._is_torn = file, size, False

    def _error(self, problem: OSError) -> StorageError:
        return StorageError(f"the definitions {self._path!r} of a ring cannot be written: {problem.strerror}")


class DefinitionsRead(NamedTuple):
    """What a file of definitions says; `torn` is how many bytes at its end were no whole entry."""

    sessions: dict[int, Definition]
    templates: dict[int, bytes]
    torn: int


def read_definitions(path: str) -> DefinitionsRead:
    """Read a file of definitions, as far as it is whole. Raises `StorageError` for one of another format, or none."""
    try:
        with opened_to_look(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
            data = file.read(_MAX_SIZE + 1)
    except OSError as problem:
        raise StorageError(f"cannot read the definitions {path!r}: {problem.strerror}") from problem
    except NotRegular as kind:
        raise StorageError(f"cannot read the definitions {path!r}: they are {kind}") from None
    if len(data) > _MAX_SIZE:
        raise StorageError(f"cannot read the definitions {path!r}: they are larger than any")
    if not data.startswith(_HEADER):
        if _HEADER.startswith(data):
            return DefinitionsRead({}, {}, len(data))
        raise StorageError(f"{path!r} holds no definitions of version {VERSION}; use the version of cra that wrote it")
    read = DefinitionsRead({}, {}, 0)
    at = len(_HEADER)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        record = data[at + _FRAME : at + _FRAME + length]
        if len(record) < length or data[at + 4 : at + _FRAME] != crc32(record).to_bytes(4, "little"):
            return read._replace(torn=len(data) - at)
        try:
            decoded = decode(record)
        except InvalidTraceEvent:
            return read._replace(torn=len(data) - at)
        if isinstance(decoded, TemplateRecord):
            read.templates[decoded.number] = record
        elif isinstance(decoded, EventsRecord) and decoded.define is not None:
            read.sessions[decoded.session] = decoded.define
        at += _FRAME + length
    return read


def _entry(record: bytes) -> bytes:
    return len(record).to_bytes(4, "little") + crc32(record).to_bytes(4, "little") + record


def _write(file: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
    return len(data)
