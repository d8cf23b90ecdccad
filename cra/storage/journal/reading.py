"""Sessions read back from a journal: their records are found by the indexes and expanded, a stretch at a time.

What comes out is byte for byte what a store of events would hold, since expanding is a pure function of the records and their
order. A session's chain is computed here and nowhere before: whoever reads a session begins at its first event, so nobody
needs to know in between where its chain stands. For any thread; nothing is written but indexes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from cra.errors import InvalidTraceEvent, StorageError
from cra.hotpath import Expander, scan_frames
from cra.reference.expander import Head
from cra.reference.frames import Place
from cra.reference.records import EVENTS, RESOLVE
from cra.storage.journal import entries
from cra.storage.journal.compression import Content, damaged
from cra.storage.journal.holes import Indexed, find_hole, has_holes
from cra.storage.journal.index import LinesPlace, Stretch
from cra.storage.journal.indexes import Indexes
from cra.storage.journal.names import TombstoneFile, index_parts, look, segments, tombstones
from cra.storage.journal.tombstones import Tombstone, read_tombstone
from cra.storage.look import is_running
from cra.trace.open_work import OpenWork

Found = TypeVar("Found")
_CHUNK: Final = 2**20
_TRIES: Final = 10
_AT_ONCE: Final = 64  # records that are expanded before their lines are given out


class _Records(NamedTuple):
    """The records of a session in one segment, and the templates that they may name from before."""

    path: Path
    stretch: Stretch
    templates: tuple[Place, ...]


class _Part(NamedTuple):
    """Events of a session that follow each other, from the sequence `first` on: records of one series, or lines."""

    first: int
    records: tuple[_Records, ...] = ()
    heads: Mapping[str, Head] = MappingProxyType({})
    lines: tuple[Path, LinesPlace] | None = None


class Reader:
    """Reads the journal in `folder`. `limits` says of the segments that this process writes how much of them counts.

    Methods raise `StorageError` for what cannot be read.
    """

    def __init__(self, folder: Path, limits: Callable[[], dict[Path, int]], *, keep_indexes: bool = True) -> None:
        self._folder = folder
        self._limits = limits
        self._indexes = Indexes(keep=keep_indexes)
        self._stones: dict[Path, Tombstone] = {}

    @property
    def faults(self) -> list[str]:
        """What was wrong with segments when they were last read."""
        return [fault.message for fault in self._indexes.faults.values()]

    def make_indexes(self, goes_on: Callable[[], bool], series: str | None = None) -> int:
        """Make the indexes that sealed segments have none, of one series or of all, as long as it `goes_on`; returns how many.
        What cannot be read now, is left to who needs it."""
        made = 0
        with suppress(OSError):
            for name, files in segments(self._folder).items():
                for segment in files if series in (None, name) else []:
                    with suppress(OSError):
                        made += goes_on() and self._indexes.make_missing(segment)
            for process, path in index_parts(self._folder):
                if process != os.getpid() and not is_running(process):
                    path.unlink(missing_ok=True)
        return made

    def sessions(self) -> list[str]:
        """The ids of the sessions that have events, oldest first: UUIDv7 ids sort by time."""
        return sorted(self._patiently(self._find_sessions))

    def lines(self, session_id: str) -> Iterator[bytes]:
        """The session's lines as of now, in order, some at a time."""
        return self._expand(self._parts(session_id))

    def count(self, session_id: str) -> int:
        """How many events a session has. None of them is made."""
        total = 0
        with self._refusing():
            for part in self._parts(session_id):
                counter = Expander(lines=False)
                for records in part.records:
                    for record in _records_of(records):
                        counter.feed(record)
                total += counter.events + (part.lines[1].events if part.lines else 0)
        return total

    def count_all(self) -> int:
        """How many events there are. None of them is made."""
        return self._patiently(self._count_all)

    def _count_all(self) -> int:
        total = 0
        limits = self._limits()
        for series in segments(self._folder).values():
            counter = Expander(lines=False)
            for segment in series:
                limit, is_last = limits.get(segment.path), segment is series[-1]
                found = self._indexes.of(segment, limit, is_last=is_last)
                if found.fault is not None:
                    raise found.fault
                index = found.index
                total += sum(place.events for place in index.lines)
                with Content(segment.path) as content:
                    for data in _pieces(content, segment.path, entries.HEADER_BYTES, index.size):
                        counter.feed_frames(data)
                        counter.discard()
            total += counter.events
        return total

    def head(self, session_id: str) -> Head | None:
        """Where the chain of a session that is open stands; None where it has no events, or has ended."""
        with self._refusing():
            for part in self._parts(session_id):
                expander = Expander(part.heads)
                for records in part.records:
                    for count, record in enumerate(_records_of(records)):
                        expander.feed(record)
                        if count % _AT_ONCE == 0:
                            expander.discard()
                if session_id in (heads := expander.heads()):
                    return heads[session_id]
        return None

    def anchor(self, session_id: str) -> Head | None:
        """Where the chain of a session stood when its beginning went; None for one that is whole."""
        heads = self._patiently(lambda: self._heads_at_cuts(session_id, tombstones(self._folder)))
        return max(heads.values(), default=None)

    def beginning(self, session_id: str) -> OpenWork:
        """What a session had open when its beginning went."""

        def look() -> OpenWork:
            stones = self._read_stones(tombstones(self._folder)).values()
            return reduce(
                OpenWork.merged, (one.open[session_id] for one in stones if session_id in one.open), OpenWork()
            )

        return self._patiently(look)

    def _find_sessions(self) -> set[str]:
        found: set[str] = set()
        limits = self._limits()
        for series in segments(self._folder).values():
            for segment in series:
                is_last = segment is series[-1]
                found |= self._indexes.of(segment, limits.get(segment.path), is_last=is_last).sessions()
        return found

    def _heads_at_cuts(self, session_id: str, files: Mapping[str, TombstoneFile]) -> dict[str, Head]:
        """Where the session's chain stood when segments went, by their series. Raises `OSError`."""
        heads = {series: stone.heads for series, stone in self._read_stones(files).items()}
        return {series: each[session_id] for series, each in heads.items() if session_id in each}

    def _read_stones(self, files: Mapping[str, TombstoneFile]) -> dict[str, Tombstone]:
        """The tombstones, by their series. Raises `OSError`."""
        known = self._stones
        stones = {one.path: known.get(one.path) or read_tombstone(one.path) for one in files.values()}
        self._stones = stones
        return {series: stones[file.path] for series, file in files.items()}

    def _parts(self, session_id: str) -> list[_Part]:
        """Where a session's events are, in order."""
        return self._patiently(lambda: self._find_parts(session_id))

    def _patiently(self, look: Callable[[], Found]) -> Found:
        """Look again where retention took a file that had just been there."""
        with self._refusing():
            for _ in range(_TRIES):
                with suppress(FileNotFoundError):
                    return look()
            return look()

    def _find_parts(self, session_id: str) -> list[_Part]:
        parts: list[_Part] = []
        limits = self._limits()
        files = look(self._folder)  # at one moment: what is gone by now, a tombstone stands for
        heads = self._heads_at_cuts(session_id, files.tombstones)
        faults: list[StorageError] = []
        for name, series in files.segments.items():
            records: list[_Records] = []
            indexed: list[Indexed] = []
            for segment in series:
                index = self._indexes.of(segment, limits.get(segment.path), is_last=segment is series[-1])
                indexed.append((segment, index))
                faults += [] if index.fault is None else [index.fault]
                templates = index.templates
                records += (_Records(segment.path, one, templates) for one in index.stretches(session_id))
                parts += (_Part(place.sequence, lines=(segment.path, place)) for place in index.lines(session_id))
            first = files.tombstones[name].number + 1 if name in files.tombstones else 0
            if records:
                hole = find_hole(session_id, indexed, first, _ends) if has_holes(indexed, first) else None
                if hole is not None:
                    raise hole
                head = heads.get(name)
                parts.append(_Part(head[0] if head else 0, tuple(records), {session_id: head} if head else {}))
        if faults and not parts:
            raise faults[0]  # that is where it is, if it is anywhere
        return sorted(parts, key=lambda part: part.first)

    def _expand(self, parts: list[_Part]) -> Iterator[bytes]:
        for part in parts:
            if part.lines is not None:
                with self._refusing():
                    lines = _lines_of(*part.lines)
                yield lines
                continue
            expander = Expander(part.heads)
            with self._refusing():
                for records in part.records:
                    for count, record in enumerate(_records_of(records)):
                        expander.feed(record)
                        if count % _AT_ONCE == _AT_ONCE - 1 and (batch := expander.take(0)) is not None:
                            yield batch.data
            if (batch := expander.take(0)) is not None:
                yield batch.data

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Say what the system refuses, and what is no record, as a `StorageError`."""
        try:
            yield
        except InvalidTraceEvent as error:
            message = f"the journal {os.fspath(self._folder)!r} holds what is no record: {error.message}; verify it"
            raise StorageError(message) from None
        except OSError as error:
            raise StorageError(
                f"the journal {os.fspath(self._folder)!r} cannot be read: {error.strerror}; check the disk and the permissions"
            ) from error


def _ends(path: Path, stretch: Stretch) -> tuple[bytes, bytes]:
    """The first and the last record of a stretch."""
    first = last = b""
    for record in _records_of(_Records(path, stretch, ())):
        if record[0] in (EVENTS, RESOLVE):
            first, last = first or record, record
    return first, last


def _records_of(records: _Records) -> Iterator[bytes]:
    """The records of a stretch, and the templates that come before and in between, in order."""
    path, stretch, templates = records
    with Content(path) as content:
        for at, length in templates:
            if at >= stretch.first:
                break
            (data,) = _pieces(content, path, at - entries.FRAME_BYTES, at + length)
            yield data[entries.FRAME_BYTES :]
        for data in _pieces(content, path, stretch.first, stretch.end):
            places, _ = scan_frames(data, 0, stretch.number)
            for at, length in places:
                yield data[at : at + length]


def _pieces(content: Content, path: Path, start: int, end: int) -> Iterator[bytes]:
    """The frames of a segment from `start` to `end`, each piece whole frames."""
    chunk = _CHUNK
    while start < end:
        data = content.read(start, min(chunk, end - start))
        _, whole = scan_frames(data)
        if whole:
            yield data[:whole]
        elif len(data) < chunk:
            raise damaged(path, start)
        else:
            chunk *= 4
        start += whole


def _lines_of(path: Path, place: LinesPlace) -> bytes:
    with Content(path) as content:
        lines = entries.read_lines(content.read(place.at, place.length))
    if lines is None:
        raise StorageError(f"the segment {path.name} has changed since its index was made; verify the journal")
    return lines.lines
