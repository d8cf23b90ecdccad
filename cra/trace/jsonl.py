"""The JSONL form of a trace: one event a line, fields in schema order, the payload in canonical JSON.

`dump_line` and `write_events` are used by storage and by the command line, `read_events` by everything that reads a trace file.
Reading is strict and bounded, and it is not verifying: `cra.trace.verify` does that. PROTOCOL: Event, What is not such an
object.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO

from cra.errors import InvalidTraceEvent, StorageError
from cra.hotpath import canonical_json
from cra.reference.grammar import ANY_DIALECT, FIELDS, find_fault
from cra.reference.lines import MAX_LINE_BYTES, read_lines
from cra.strictjson import JSONProblem, parse
from cra.trace.event import Event

_FRONT = 512  # where an event has its fields before the payload
PathLike = str | os.PathLike[str]


def dump_line(event: Event) -> bytes:
    """One line of a trace file, newline included; the same bytes for the same event, always.

    Raises `InvalidTraceEvent` where a field has no canonical JSON, or the line would be longer than readers take.
    """
    members = [b'"%b":%b' % (name.encode(), canonical_json(getattr(event, name))) for name in FIELDS]
    line = b"{" + b",".join(members) + b"}\n"
    if len(line) > MAX_LINE_BYTES:
        raise InvalidTraceEvent(
            f"the event takes {len(line)} bytes as a line, more than the {MAX_LINE_BYTES} that are allowed"
        )
    return line


def parse_line(line: bytes) -> object:
    """The JSON value in one line. Raises `InvalidTraceEvent` with a sentence for what is no strict JSON (`cra.strictjson`)."""
    if len(line) > MAX_LINE_BYTES:
        raise InvalidTraceEvent(f"the line is longer than {MAX_LINE_BYTES} bytes; no event is")
    if not line.strip():
        raise InvalidTraceEvent("the line is blank; remove it")
    try:
        return parse(line.rstrip(b"\r\n"))
    except JSONProblem as problem:
        torn = "" if line.endswith(b"\n") else "; the file ends in this line, which may be torn off"
        what, where = problem.message.removesuffix(" at"), problem.position.removeprefix("line 1 ")
        raise InvalidTraceEvent(f"{what} at {where}{torn}") from None


def read_events(source: PathLike | BinaryIO, marks: Sequence[bytes] | None = None) -> Iterator[Event]:
    """The events of a trace file (a path, or a file open for reading bytes), in the grammar of any dialect, hashes unchecked.

    With `marks`, lines that have none of them in front are passed over unread.

    Raises `InvalidTraceEvent` with the path, where one was given, and the line's number, counted from 1, for the first line that
    is no event, and `StorageError` when the file can not be read.
    """
    if isinstance(source, str | os.PathLike):
        with open_trace(source) as file:
            try:
                yield from read_events(file, marks)
            except InvalidTraceEvent as error:
                raise InvalidTraceEvent(f"{os.fspath(source)}, {error.message}") from None
        return
    for number, line in enumerate(read_lines(source), 1):
        if marks is not None and not any(mark in line[:_FRONT] for mark in marks):
            continue
        try:
            yield read_event(line)
        except InvalidTraceEvent as error:
            raise InvalidTraceEvent(f"line {number}: {error.message}") from None


def read_event(line: bytes) -> Event:
    """The event in one line, in the grammar of any dialect, hash unchecked. Raises `InvalidTraceEvent` for what is none."""
    fields = parse_line(line)
    fault = find_fault(fields, ANY_DIALECT)
    if fault is not None:
        raise InvalidTraceEvent(fault)
    assert isinstance(fields, dict)  # or find_fault had said so
    return Event(**{"parent_span_id": None, **fields})


@contextmanager
def open_trace(path: PathLike) -> Iterator[BinaryIO]:
    """The file at `path`, open for reading bytes; `StorageError` when it is no regular file, or can not be opened or read."""
    try:
        with open(path, "rb", opener=_open_regular) as file:
            yield file
    except OSError as error:
        raise StorageError(f"cannot read the trace {os.fspath(path)!r}: {error.strerror}; check the path") from error


def _open_regular(path: str, flags: int) -> int:
    """A descriptor of a regular file: what else there is may have no end, or make the reader wait for ever."""
    # A device may act on being opened, so look first; the descriptor is looked at again, since the name may change.
    _check_regular(path, os.stat(path))
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_regular(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise StorageError(f"cannot read the trace {path!r}: it is {what}; write the trace to a file and give its path")


def write_events(path: PathLike, events: Iterable[Event]) -> None:
    """Write a trace file, all or nothing: a reader sees the old file or the complete new one, on disk.

    Only a device or a pipe (`/dev/stdout`) is written to as it stands. Raises `StorageError` when that fails, and what
    `dump_line` raises; then the old file is still there.
    """
    target = os.path.realpath(os.fspath(path))
    try:
        if os.path.exists(target) and not os.path.isfile(target):
            with open(target, "wb") as file:
                file.writelines(map(dump_line, events))
            return
        _replace(target, events)
    except OSError as error:
        raise StorageError(f"cannot write the trace {os.fspath(path)!r}: {error.strerror}; check the path") from error


def _replace(target: str, events: Iterable[Event]) -> None:
    folder, name = os.path.split(target)
    part = os.path.join(folder, f".{name}.{os.urandom(8).hex()}.part")
    try:
        with open(part, "xb") as file:
            file.writelines(map(dump_line, events))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
