"""A look at a `journal:` store: its series and who writes them, what verification finds, which sessions there are.

Used by `cra doctor`. It changes nothing, not even an index, holds no lock for longer than the look, and raises over nothing
that lies in the folder. What a journal is: `cra.storage.journal`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from cra.errors import InvalidTraceEvent, StorageError
from cra.hotpath import Expander, scan_frames
from cra.storage.journal import entries
from cra.storage.journal.compression import read_segment
from cra.storage.journal.index import IndexBuilder
from cra.storage.journal.indexes import SegmentIndex
from cra.storage.journal.names import LOCK, TORN, SegmentFile, is_of_journal, locked_series, segments
from cra.storage.journal.segment import check
from cra.storage.journal.verify import at_the_end, verify_journal
from cra.storage.lines import is_session_file
from cra.storage.look import NotRegular, check_regular, is_locked, opened_to_look
from cra.trace.jsonl import parse_line

State = Literal["living", "dead", "complete"]
_TRIES = 3
_LINES = bytes([entries.LINES])


class SeriesLook(msgspec.Struct, frozen=True):
    """A series. `dead` is one whose writer is gone and that nobody has mended yet; `unsealed` is then its last segment, where
    that has no end, and `torn_bytes` what follows the last whole record in it."""

    name: str
    state: State
    segments: int
    unsealed: str | None = None
    torn_bytes: int = 0


class SegmentFault(msgspec.Struct, frozen=True):
    """What is not as it was written: in which file, and where and what."""

    file: str
    message: str


class StoredSession(msgspec.Struct, frozen=True):
    """A session that has events."""

    session_id: str
    ended: bool


class JournalLook(msgspec.Struct, frozen=True):
    """A journal of `bytes` in `segments`, which hold `events`. Of what is damaged only what could be read is counted.

    `torn` are files of what was torn from segments and set aside; `strangers` are files of a `jsonl:` store in the same folder;
    `strange` bear a name of the journal's and are no regular files, by what they are: while there are any, nothing is read.
    `problem` says why the journal cannot be read.
    """

    folder: str
    series: tuple[SeriesLook, ...] = ()
    segments: int = 0
    bytes: int = 0
    events: int = 0
    sessions: tuple[StoredSession, ...] = ()
    faults: tuple[SegmentFault, ...] = ()
    torn: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    strange: dict[str, str] = msgspec.field(default_factory=dict)
    problem: str | None = None


def look_at_journal(folder: str | os.PathLike[str], living: Collection[str] = ()) -> JournalLook:
    """Look at every segment of a journal. `living` are series whose process is known to live."""
    path = Path(folder)
    for left in reversed(range(_TRIES)):
        try:
            return _look(path, living)
        except FileNotFoundError as error:  # retention took it, or it was compressed, since
            problem = error.strerror
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError) or not left:
                return JournalLook(os.fspath(path), problem=error.message)
        except OSError as error:
            return JournalLook(os.fspath(path), problem=f"{error.filename or path}: {error.strerror}")
    return JournalLook(os.fspath(path), problem=problem)


def _look(path: Path, living: Collection[str]) -> JournalLook:
    """Raises `OSError`, and `StorageError` where the journal cannot be read."""
    names = sorted(os.listdir(path))
    strange = dict(_strange(path, names))
    others = JournalLook(
        os.fspath(path),
        torn=tuple(name for name in names if is_of_journal(name) and name.endswith(TORN)),
        strangers=tuple(filter(is_session_file, names)),
        strange=strange,
    )
    if strange:
        return others
    found = segments(path)
    locked: dict[str, State] = {
        name: "living" if name in living or _is_held(path / (name + LOCK)) else "dead" for name in locked_series(path)
    }
    series: list[SeriesLook] = []
    expected: set[str] = set()  # what verification finds of a segment that its writer left, and recovery mends
    for name in sorted(found.keys() | locked.keys()):
        files = found.get(name, [])
        state: State = locked.get(name, "complete")
        look = SeriesLook(name, state, len(files))
        if state == "dead" and files:
            data = read_segment(files[-1].path)
            checked = check(data)
            unfinished = [] if checked.fault else at_the_end(checked, len(data))
            if unfinished:
                look = SeriesLook(name, state, len(files), files[-1].path.name, len(data) - checked.whole)
            expected |= {f"{files[-1].path.name}: {fault}" for fault in unfinished}
        series.append(look)
    verified = verify_journal(path)
    events, sessions = _sessions(found)
    return msgspec.structs.replace(
        others,
        series=tuple(series),
        segments=verified.segments,
        bytes=verified.bytes,
        events=events,
        sessions=sessions,
        faults=tuple(_fault(fault, names) for fault in verified.faults if fault not in expected),
    )


def _strange(folder: Path, names: list[str]) -> Iterator[tuple[str, str]]:
    for name in filter(is_of_journal, names):
        try:
            check_regular(os.lstat(folder / name))
        except FileNotFoundError:
            pass  # gone since
        except NotRegular as kind:
            yield name, str(kind)


def _is_held(path: Path) -> bool:
    """Whether somebody writes the series of a lock. Raises `OSError`."""
    try:
        with opened_to_look(path) as descriptor:
            return is_locked(descriptor)
    except FileNotFoundError:
        return True  # it is complete since


def _fault(text: str, names: list[str]) -> SegmentFault:
    """What verification says, by file."""
    name, colon, message = text.partition(": ")
    if colon and name in names:
        return SegmentFault(name, message)
    return SegmentFault(next((each for each in names if each in text), ""), text)


def _sessions(found: dict[str, list[SegmentFile]]) -> tuple[int, tuple[StoredSession, ...]]:
    """How many events can be read, and whose they are. Raises `OSError`."""
    events = 0
    sessions: set[str] = set()
    unfinished: set[str] = set()
    ended: set[str] = set()
    for series in found.values():
        counter = Expander(lines=False)
        for segment in series:
            try:
                data = read_segment(segment.path)
            except StorageError:
                continue  # verification says so
            content = data[entries.HEADER_BYTES :]
            counter.feed_frames(content)
            counter.discard()
            builder = IndexBuilder()
            builder.feed(content)
            sessions |= SegmentIndex(builder.index()).sessions()
            for at, length in scan_frames(content)[0]:
                lines = entries.read_lines(content[at : at + length]) if content[at : at + 1] == _LINES else None
                if lines is not None:
                    events += lines.events
                    is_over = _last_type(lines.lines) == "session.ended"
                    (ended if is_over else unfinished).add(lines.session_id)
        events += counter.events
        unfinished |= counter.heads().keys()
    return events, tuple(StoredSession(each, each in ended or each not in unfinished) for each in sorted(sessions))


def _last_type(lines: bytes) -> object:
    """The type of the last event in lines, None for what is no event."""
    try:
        value = parse_line(lines[lines.rfind(b"\n", 0, -1) + 1 :])
    except InvalidTraceEvent:
        return None
    return value.get("event_type") if isinstance(value, dict) else None
