"""A look at a `jsonl:` store: every session's file, whether it verifies, how it ends, and what else lies there.

Used by `cra doctor`. It changes nothing, holds no lock for longer than the look, and raises over nothing that lies in the folder.
What a store is: `cra.storage.jsonl`. PROTOCOL: Verification.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from cra.errors import InvalidTraceEvent, StorageError
from cra.hotpath import feed_lines
from cra.ids import UUID_PATTERN
from cra.reference.grammar import find_dialect
from cra.reference.lines import MAX_LINE_BYTES, read_lines
from cra.storage.lines import (
    SUFFIX,
    TORN,
    WholeLines,
    is_day_file,
    is_session_file,
    offset_of_last_lines,
    offset_of_line_end,
)
from cra.storage.look import NotRegular, is_locked, opened_to_look
from cra.trace.jsonl import parse_line
from cra.trace.places import Places
from cra.trace.ring_folder import DAMAGED
from cra.trace.verify import FileVerification, FileVerifier

_CHUNK = 2**20
_DIALECT = "trace-1.0"


class Fault(msgspec.Struct, frozen=True):
    """Why a file does not verify: the first bad line, counted from 1."""

    line: int
    error_type: str
    message: str | None


class SessionLook(msgspec.Struct, frozen=True):
    """A session's file. `events` are its complete lines and `torn_bytes` what follows the last of them.

    `ended` says whether the last event is `session.ended`, `locked` whether a process has the file open for writing. `problem`
    says why it cannot be read, and then that is all there is to say.
    """

    file: str
    session_id: str
    events: int = 0
    ended: bool = False
    locked: bool = False
    torn_bytes: int = 0
    fault: Fault | None = None
    problem: str | None = None


class DayLook(msgspec.Struct, frozen=True):
    """The file of a day in a store that has one for every day. `torn_bytes` follow the last complete line; while a process writes
    to the file they are 0."""

    file: str
    events: int
    torn_bytes: int


class StoreLook(msgspec.Struct, frozen=True):
    """A store. `days` are its files, where it has one for every day; the `file` of a session is then the first that it is in, and
    the `line` of a fault counts the session's own events. `torn` are files of what was torn from sessions and set aside;
    `leftovers` are exports that were not finished, or
    are being written; `strange` bear a session's name and are no regular files, by what they are. `problem` says why the folder
    cannot be listed."""

    folder: str
    sessions: tuple[SessionLook, ...] = ()
    torn: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    strange: dict[str, str] = msgspec.field(default_factory=dict)
    problem: str | None = None
    days: tuple[DayLook, ...] = ()


def look_at_store(folder: str | os.PathLike[str], living: Collection[str] = ()) -> StoreLook:
    """Look at every file of a store. The locks of `living` sessions are not looked at: their process may want them."""
    path = Path(folder)
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        return StoreLook(os.fspath(path), problem=error.strerror)
    sessions: list[SessionLook] = []
    strange: dict[str, str] = {}
    days: tuple[DayLook, ...] = ()
    if any(map(is_day_file, names)):
        try:
            days, sessions = look_at_days(path, [name for name in names if is_day_file(name)], strange)
        except OSError as error:
            return StoreLook(os.fspath(path), problem=f"{error.filename or path}: {error.strerror}")
    for name in names:
        session_id = name.removesuffix(SUFFIX)
        if session_id == name or not UUID_PATTERN.fullmatch(session_id):
            continue
        try:
            sessions.append(_look_at(path / name, session_id, lives=session_id in living))
        except FileNotFoundError:
            pass  # deleted since
        except NotRegular as kind:
            strange[name] = str(kind)
        except OSError as error:
            sessions.append(SessionLook(name, session_id, problem=error.strerror))
    return StoreLook(
        os.fspath(path),
        tuple(sessions),
        torn=tuple(name for name in names if name.endswith(SUFFIX + TORN)),
        damaged=tuple(name for name in names if DAMAGED in name),
        leftovers=tuple(name for name in names if name.startswith(".") and name.endswith(".part")),
        strange=strange,
        days=days,
    )


def look_at_days(
    folder: Path, names: Sequence[str], strange: dict[str, str]
) -> tuple[tuple[DayLook, ...], list[SessionLook]]:
    """Look at the files of days, in order: at each, and at the sessions in them. Raises `OSError`."""
    verifier = FileVerifier(find_dialect(_DIALECT))
    days: list[DayLook] = []
    first: dict[str, str] = {}
    ended: set[str] = set()
    for name in names:
        if name.endswith(TORN):
            continue
        try:
            with opened_to_look(folder / name) as descriptor:
                whole = offset_of_line_end(descriptor, 1)
                torn = 0 if is_locked(descriptor) else os.fstat(descriptor).st_size - whole
                events = 0
                with open(descriptor, "rb", closefd=False) as file:
                    for line in read_lines(cast("BinaryIO", WholeLines(file))):
                        events += 1
                        session_id = verifier.feed(line)
                        if session_id is not None:
                            first.setdefault(session_id, name)
                            if _is_end(line):
                                ended.add(session_id)
                days.append(DayLook(name, events, torn))
        except FileNotFoundError:
            continue  # removed since
        except NotRegular as kind:
            strange[name] = str(kind)
    sessions: list[SessionLook] = []
    for session_id, chain in verifier.result().sessions.items():
        fault = None
        if chain.error_index is not None and chain.error_type is not None:
            fault = Fault(chain.error_index + 1, chain.error_type, chain.message)
        sessions.append(SessionLook(first[session_id], session_id, chain.event_count, session_id in ended, fault=fault))
    return tuple(days), sessions


def _is_end(line: bytes) -> bool:
    event = _parsed(line) if b'"event_type":"session.ended"' in line else None
    return event is not None and event.get("event_type") == "session.ended"


def lines_of_folder(folder: str | os.PathLike[str], warnings: list[str], places: Places) -> Iterator[bytes]:
    """The complete lines of all files of a store, of sessions or of days, in order; `warnings` say what was left out, `places`
    sees what is in the file of a session. Raises `StorageError`."""
    path = Path(folder)
    try:
        for name in sorted(os.listdir(path)):
            if not (is_session_file(name) or is_day_file(name)) or name.endswith(TORN):
                continue
            with suppress(FileNotFoundError), opened_to_look(path / name) as descriptor:
                left = offset_of_line_end(descriptor, 1)
                torn = os.fstat(descriptor).st_size - left
                if torn and not is_locked(descriptor):
                    warnings.append(
                        f"{name} ends in {torn} bytes of a line that was never finished; they were not verified"
                    )
                session_id = name.removesuffix(SUFFIX) if is_session_file(name) else None
                begun = b""
                while left and (data := os.read(descriptor, min(_CHUNK, left))):
                    left -= len(data)
                    yield data
                    if session_id is not None:
                        lines, end, rest = data.rpartition(b"\n")
                        if end:
                            places.check_lines(name, session_id, begun + lines)
                        begun = rest if end else begun + rest
    except (OSError, NotRegular) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{name} is {error}"
        raise StorageError(f"the store {os.fspath(path)!r} cannot be read: {reason}") from error


def _look_at(path: Path, session_id: str, *, lives: bool) -> SessionLook:
    """Raises `OSError` and `NotRegular`."""
    with opened_to_look(path) as descriptor:
        locked = lives or is_locked(descriptor)
        torn = os.fstat(descriptor).st_size - offset_of_line_end(descriptor, 1)
        verifier = FileVerifier(find_dialect(_DIALECT))
        with open(descriptor, "rb", closefd=False) as file:
            feed_lines(file, verifier)
            found = verifier.result()
            fault = _fault(found, tail_is_torn=locked or torn > 0)
            if fault is None and found.sessions.keys() - {session_id}:
                fault = _first_stranger(file, session_id)
        return SessionLook(
            path.name,
            session_id,
            events=found.event_count - (torn > 0),
            ended=_last_type(descriptor) == "session.ended",
            locked=locked,
            torn_bytes=0 if locked else torn,
            fault=fault,
        )


def _fault(found: FileVerification, *, tail_is_torn: bool) -> Fault | None:
    """Why a file does not verify, a torn line at its end aside."""
    if found.error_index is None or (tail_is_torn and found.error_index == found.event_count - 1):
        return None
    assert found.error_type is not None
    return Fault(found.error_index + 1, found.error_type, found.message)


def _first_stranger(file: BinaryIO, session_id: str) -> Fault | None:
    """The first event of another session than the one that the file is named for."""
    file.seek(0)
    for number, line in enumerate(read_lines(file), 1):
        event = _parsed(line)
        if event is not None and event.get("session_id") != session_id:
            return Fault(number, "session_mismatch", "the event belongs to another session than the file is named for")
    return None


def _last_type(descriptor: int) -> object:
    """The type of the event in the last complete line, None for what is no event."""
    start, end = offset_of_last_lines(descriptor, 1), offset_of_line_end(descriptor, 1)
    event = _parsed(os.pread(descriptor, min(end - start, MAX_LINE_BYTES), start))
    return None if event is None else event.get("event_type")


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line, None where it is none."""
    try:
        value = parse_line(line)
    except InvalidTraceEvent:
        return None
    return value if isinstance(value, dict) else None
