"""Files of lines, seen from their end: complete lines, torn tails, the last n lines.

Used by the JSONL stores. Everything here works in chunks, so that neither a huge file nor a huge line is ever held in memory,
and nothing looks inside a line.
"""

from __future__ import annotations

import errno
import os
import re
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import msgspec

from cra.ids import UUID_PATTERN
from cra.storage.folders import sync_folder
from cra.storage.look import NotRegular, check_regular

SUFFIX = ".trace.jsonl"
TORN = ".torn"
FILE_MODE = 0o600  # a trace tells what an organisation's agents do
_find_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_CHUNK = 64 * 1024


def open_regular(path: str, flags: int) -> int:
    """Never through a link: a link in the folder could lead a trace anywhere. A pipe would keep its readers waiting for ever."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, FILE_MODE)
    try:
        check_regular(os.fstat(descriptor))
    except NotRegular as kind:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"a trace's file is {kind}", path) from None
    return descriptor


def is_day_file(name: str) -> bool:
    """Whether a file that is called so has the events of a day, or was torn from one."""
    name = name.removesuffix(TORN)
    return name.endswith(SUFFIX) and _find_day(name.removesuffix(SUFFIX)) is not None


def is_session_file(name: str) -> bool:
    """Whether a file that is called so is a session's, or was torn from one."""
    name = name.removesuffix(TORN)
    return name.endswith(SUFFIX) and UUID_PATTERN.fullmatch(name.removesuffix(SUFFIX)) is not None


class Repair(msgspec.Struct, frozen=True):
    """A torn last line: `torn_bytes` of it were moved from `file` to `torn_file`."""

    file: str
    torn_file: str
    torn_bytes: int

    def sentence(self) -> str:
        return f"{self.file} ended within a line: {self.torn_bytes} bytes were moved to {self.torn_file}"


class WholeLines:
    """A file's complete lines from offset `start` up to where it ends now; what is appended later is not seen."""

    def __init__(self, file: BinaryIO, start: int = 0) -> None:
        self._file = file
        self._end = offset_of_line_end(file.fileno(), 1)
        file.seek(start)

    def readline(self, size: int) -> bytes:
        """The next line, at most `size` bytes of it; empty at the end."""
        return self._file.readline(max(0, min(size, self._end - self._file.tell())))


def offset_of_line_end(descriptor: int, nth: int) -> int:
    """The offset behind the `nth` newline counted from the end of the file, 1 being the last; 0 if it has fewer."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        begin = max(0, end - _CHUNK)
        chunk = os.pread(descriptor, end - begin, begin)
        newlines = chunk.count(b"\n")
        if newlines >= nth:
            at = len(chunk)
            for _ in range(nth):
                at = chunk.rindex(b"\n", 0, at)
            return begin + at + 1
        nth -= newlines
        end = begin
    return 0


def offset_of_last_lines(descriptor: int, n: int) -> int:
    """Where the last `n` complete lines of the file begin."""
    return offset_of_line_end(descriptor, n + 1)


def ends_in_line(descriptor: int) -> bool:
    """Whether nothing follows the last newline."""
    size = os.fstat(descriptor).st_size
    return not size or os.pread(descriptor, 1, size - 1) == b"\n"


def count_lines(file: FileIO) -> int:
    """The number of complete lines in the rest of the file."""
    count = 0
    while chunk := file.read(_CHUNK):
        count += chunk.count(b"\n")
    return count


def is_whole(descriptor: int, *, holes: bool = False) -> bool:
    """Whether a file ends with a complete line, and, where `holes` are looked for, has none."""
    return ends_in_line(descriptor) and not (
        holes and offset_of_line_with_hole(descriptor) < os.fstat(descriptor).st_size
    )


def offset_of_line_with_hole(descriptor: int) -> int:
    """Where the first line begins that has a zero byte, which no event has; the size of the file where none has.

    That is what a power cut leaves where it kept that a file had grown, and not what was written there.
    """
    at = 0
    while chunk := os.pread(descriptor, _CHUNK, at):
        hole = chunk.find(0)
        if hole >= 0:
            return _offset_of_line(descriptor, at + hole)
        at += len(chunk)
    return at


def _offset_of_line(descriptor: int, end: int) -> int:
    """Where the line begins that has the byte at `end`."""
    while end > 0:
        begin = max(0, end - _CHUNK)
        newline = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0


def repair_tail(path: Path, descriptor: int, *, holes: bool = False) -> Repair | None:
    """Move what follows the last newline to the end of `<path>.torn`; None where there is nothing. With `holes`, what follows the
    first hole goes with it.

    The file is open for reading and writing as `descriptor`, and nobody else writes to it. The torn bytes are on disk before the
    file is cut, so that they exist at least once whatever happens in between.
    """
    whole, size = offset_of_line_end(descriptor, 1), os.fstat(descriptor).st_size
    if holes:
        whole = min(whole, offset_of_line_with_hole(descriptor))
    if whole == size:
        return None
    torn_file = path.with_name(path.name + TORN)
    with open(torn_file, "ab") as torn:
        for offset in range(whole, size, _CHUNK):
            torn.write(os.pread(descriptor, min(_CHUNK, size - offset), offset))
        torn.flush()
        os.fsync(torn.fileno())
    sync_folder(path.parent)
    os.ftruncate(descriptor, whole)
    os.fsync(descriptor)
    return Repair(path.name, torn_file.name, size - whole)
