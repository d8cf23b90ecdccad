"""Retention: the oldest sealed segments go, and a tombstone stays. ARCHITECTURE: Journal.

Whole segments only, and of a series from its beginning on. What is there at any moment is complete: the tombstone is noted in the
chain of the process that buries, and on the disk, before it gets its name, and that comes before the first segment is removed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from cra.errors import StorageError
from cra.hotpath import Expander
from cra.reference.expander import Head
from cra.storage.folders import sync_folder
from cra.storage.journal import entries
from cra.storage.journal.compression import compress, read_sealed, read_segment
from cra.storage.journal.index import IndexBuilder
from cra.storage.journal.lock import new_lock
from cra.storage.journal.names import (
    COMPRESSED,
    LOCK,
    SegmentFile,
    TombstoneFile,
    covered,
    segments,
    tombstone_path,
    tombstones,
)
from cra.storage.journal.segment import check
from cra.storage.journal.tombstones import Note, Tombstone, encode_tombstone, notes_of, read_tombstone
from cra.timing.clock import NS_PER_SECOND, Clock
from cra.trace.batch import decode_line
from cra.trace.open_work import TYPES, OpenWork

_PIECE: Final = 128 * 1024  # of records, that are expanded at once
_MARKS: Final = [b'"event_type":"%b"' % name.encode() for name in TYPES]


class Retention(msgspec.Struct, frozen=True):
    """What goes: the oldest sealed segments, while all are larger than `max_bytes`, and those sealed `max_seconds` ago. None:
    no bound."""

    max_bytes: int | None = None
    max_seconds: float | None = None


class Gravedigger:
    """Buries what `retention` takes in `folder`. `own` is the series that this process writes, and `note` writes a note into
    it, on the disk when it returns. Methods raise `OSError` and `StorageError`, and may be called again then."""

    def __init__(
        self, folder: Path, retention: Retention, clock: Clock, own: Callable[[], str], note: Callable[[Note], None]
    ) -> None:
        self._folder = folder
        self._retention = retention
        self._clock = clock
        self._own = own
        self._note = note

    def bury(self) -> int:
        """Bury what has to go; returns how many segments went."""
        self._remove_covered()
        gone = 0
        for series, last in self._doomed().items():
            with self._held(series) as held:
                if held:
                    files = [segment for segment in segments(self._folder).get(series, []) if segment.number <= last]
                    if files:
                        self._bury(files)
                        gone += len(files)
        return gone

    def compress(self) -> int:
        """Compress every sealed segment that is not; returns how many were."""
        done = 0
        for series, files in segments(self._folder).items():
            plain = [segment.path for segment in files if segment.path.suffix != COMPRESSED]
            sealed = [path for path in plain if read_sealed(path) is not None]
            if sealed:
                with self._held(series) as held:
                    done += sum(map(compress, sealed)) if held else 0
        return done

    def _doomed(self) -> dict[str, int]:
        """The number of the last segment that has to go, by series."""
        found = segments(self._folder)
        sealed: list[tuple[int, SegmentFile, int]] = []
        total = 0
        for series in found.values():
            for segment in series:
                size = segment.path.stat().st_size
                total += size
                known = read_sealed(segment.path)
                if known is not None:  # or it is being written, or its writer died
                    sealed.append((known.time_ns, segment, size))
        doomed: dict[str, int] = {}
        now = self._clock.now_ns()
        for when, segment, size in sorted(sealed):
            if self._is_old(now - when) or self._is_too_much(total):
                doomed[segment.series] = max(segment.number, doomed.get(segment.series, -1))  # clocks may run backwards
                total -= size
        return doomed

    def _is_old(self, age_ns: int) -> bool:
        seconds = self._retention.max_seconds
        return seconds is not None and age_ns > seconds * NS_PER_SECOND

    def _is_too_much(self, total: int) -> bool:
        return self._retention.max_bytes is not None and total > self._retention.max_bytes

    @contextmanager
    def _held(self, series: str) -> Iterator[bool]:
        """Keep others from a series that is complete; False for one that somebody else has."""
        if series == self._own():
            yield True
            return
        try:
            lock = new_lock(self._folder, series)
        except FileExistsError:
            yield False
            return
        try:
            yield True
        finally:
            lock.remove()

    def _bury(self, files: list[SegmentFile]) -> None:
        """Put a tombstone in the place of these segments, the first of their series that are left."""
        series = files[-1].series
        older = tombstones(self._folder).get(series)
        tombstone, previous = self._tombstone(files, older)
        data = encode_tombstone(tombstone, previous, self._clock.now_ns())
        path = tombstone_path(self._folder, series, tombstone.number)
        part = path.with_name(path.name + ".part")
        try:
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(file, "wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
            self._note(Note(tombstone.series, tombstone.number, hashlib.sha256(data).digest()))
            os.rename(part, path)
            sync_folder(self._folder)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        self._remove_covered(series)

    def _tombstone(self, files: list[SegmentFile], older: TombstoneFile | None) -> tuple[Tombstone, bytes]:
        """What has to be said of the segments that go, and of those that went before; and the hash of what said that."""
        before = None if older is None else read_tombstone(older.path)
        heads: dict[str, Head] = {} if before is None else dict(before.heads)
        notes = [] if before is None else list(before.notes)
        expander = Expander(heads)
        lines: dict[str, Head | None] = {}
        works = {} if before is None else {name: work.merged(OpenWork()) for name, work in before.open.items()}
        size = 0 if before is None else before.size
        begun_ns = None if before is None else before.begun_ns
        data = b""
        for segment in files:
            data = read_segment(segment.path)
            checked = check(data)
            if checked.header is None or checked.fault or checked.whole != len(data):
                raise StorageError(f"the segment {segment.path.name} is damaged, and is kept; verify the journal")
            header = checked.header
            size += len(data)
            begun_ns = header.begun_ns if begun_ns is None else begun_ns
            notes += notes_of(data)
            _chain(expander, works, data)
            _chain_lines(lines, works, data)
        current = {(one.series, one.number) for one in self._current()}
        sealed_ns = entries.read_seal_time(data[entries.FRAME_BYTES - entries.SEAL_BYTES :])
        assert begun_ns is not None
        going_on = {name: head for name, head in (expander.heads() | lines).items() if head is not None}
        tombstone = Tombstone(
            *(header.series, files[-1].number, size, begun_ns, sealed_ns, hashlib.sha256(data).digest()),
            going_on,
            tuple(dict.fromkeys(note for note in notes if (note.series, note.number) in current)),
            {name: works[name] for name in going_on if name in works},
        )
        return tombstone, entries.NO_HASH if older is None else hashlib.sha256(older.path.read_bytes()).digest()

    def _current(self) -> list[Tombstone]:
        return [read_tombstone(file.path) for file in tombstones(self._folder).values()]

    def _remove_covered(self, series: str | None = None) -> None:
        """Remove what a tombstone stands for: segments, their indexes, older tombstones."""
        for path in covered(self._folder):
            name = path.name.partition(".")[0]
            if series in (None, name) and (
                name in (series, self._own()) or not (self._folder / (name + LOCK)).exists()
            ):
                path.unlink(missing_ok=True)


def _chain(expander: Expander, works: dict[str, OpenWork], data: bytes) -> None:
    """Have the chains go on over the records of a segment, a piece at a time, and learn what their sessions have open."""
    at = entries.HEADER_BYTES
    piece = _PIECE
    while at < len(data):
        done = expander.feed_frames(data[at : at + piece])  # the segment was checked: all of it is whole frames
        batch = expander.take(0)
        for session_id, lines, _ in () if batch is None else batch.chunks():
            _learn(works, session_id, lines)
        piece = _PIECE if done else 4 * piece
        at += done


def _learn(works: dict[str, OpenWork], session_id: str, lines: bytes) -> None:
    """What these events of a session say of what it has open."""
    if any(mark in lines for mark in _MARKS):
        work = works.setdefault(session_id, OpenWork())
        for line in lines.splitlines(keepends=True):
            if any(mark in line for mark in _MARKS):
                work.take(decode_line(line))


def _chain_lines(heads: dict[str, Head | None], works: dict[str, OpenWork], data: bytes) -> None:
    """The same for the events of a segment that came as events; None for a session that has ended."""
    builder = IndexBuilder()
    builder.feed(data[entries.HEADER_BYTES :])
    for place in builder.index().lines:
        found = entries.read_lines(data[place.at : place.at + place.length])
        assert found is not None
        _learn(works, place.session_id, found.lines)
        last = decode_line(found.lines[found.lines.rfind(b"\n", 0, -1) + 1 :])
        is_over = last.event_type == "session.ended"
        heads[place.session_id] = None if is_over else (last.sequence + 1, last.event_hash, 0)
