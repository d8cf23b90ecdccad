"""The native store: a folder of segments, as a `StorageBackend`.

The recorder gives it records, and events are made of them when they are read. What came as events is kept as events. Several
processes may share a folder, each writes a series of its own. It never changes or leaves out anything that it has taken.
ARCHITECTURE: Journal; docs/formats/journal.md.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cra.errors import StorageError
from cra.ids import UUID_PATTERN
from cra.reference.chain import Anchor
from cra.reference.expander import Head
from cra.storage.base import StorageHealth
from cra.storage.chunks import chunks_of
from cra.storage.folders import make_folder, sync_folder, sync_name
from cra.storage.journal import entries
from cra.storage.journal.adoption import Repair, adopt_dead
from cra.storage.journal.compression import check_available
from cra.storage.journal.entries import Lines
from cra.storage.journal.lock import SeriesLock
from cra.storage.journal.names import is_series, new_series
from cra.storage.journal.reading import Reader
from cra.storage.journal.resumed import ResumedSeries
from cra.storage.journal.retention import Gravedigger, Retention
from cra.storage.journal.series import Rotation, Series, sync_files
from cra.storage.journal.tombstones import Note, encode_note
from cra.storage.lines import SUFFIX
from cra.timing.clock import Clock, SystemClock
from cra.trace.batch import decode_line
from cra.trace.event import Event
from cra.trace.open_work import OpenWork
from cra.trace.ring_folder import RING, rings_beside
from cra.trace.worker import Worker

_SHORTEST_PAUSE = 1.0  # s
_LONGEST_PAUSE = 3600.0
_LOOKS_AN_AGE = 8  # how often retention looks while a segment grows too old


class JournalStorage:
    """The journal in `folder`, made if need be. Raises `StorageError` if it cannot be used.

    `repairs` tells which segments that somebody left had a torn end, and where the torn bytes are now.
    """

    durable = True
    readable = True
    takes_records = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        rotation: Rotation | None = None,
        retention: Retention | None = None,
        compress: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.location = Path(folder).absolute()  # it stays there whatever the working directory is later
        self.name = f"journal:///{Path(folder)}"
        self._clock = clock or SystemClock()
        self._rotation = rotation or Rotation()
        self._lock = threading.RLock()
        self._burying = threading.Lock()  # taken before the other one, never after
        self._series = self._new_series(new_series())
        self._reader = Reader(self.location, self._limits)
        self._is_name_synced = False
        self._poison: str | None = None
        self._closed = False
        self._trouble: str | None = None
        self._interrupted: bytes | None = None
        self._adopted: dict[str, SeriesLock] = {}
        self.repairs: tuple[Repair, ...] = ()
        self._keeper: Worker | None = Worker(self._keep, "cra-journal")
        self._gravedigger: Gravedigger | None = None
        self._expects_recovery = False
        self._retention = retention or Retention()
        self._compresses = compress
        if compress:
            check_available()
        if retention is not None or compress:
            own = lambda: self._series.name  # noqa: E731 - it may be renamed as long as it is empty
            self._gravedigger = Gravedigger(self.location, self._retention, self._clock, own, self._write_note)
        try:
            make_folder(self.location, 0o700)
            if any(name.endswith(SUFFIX) for name in os.listdir(self.location)):
                raise StorageError(
                    f"storage '{self.name}' is the folder of a jsonl: store, whose records it would take; use"
                    f" jsonl:///{self.location}"
                )
            for lock, repairs in adopt_dead(self.location, self._clock):
                # Kept until recovery is over: what a ring has belongs behind it, and retention must not take what says how much
                # of that is there.
                self._adopted[lock.series] = lock
                self.repairs += tuple(repairs)
        except OSError as error:
            self._leave_adopted()
            raise self._error("cannot be opened", error) from error

    def write_as(self, series: str, ring: str | None = None) -> None:
        """Call the series of this process so, as long as nothing is written: after its ring, so that recovery knows it."""
        if is_series(series):
            with self._lock:
                if not self._series.is_begun:
                    self._series = self._new_series(series)
                    # One beside the store is looked for there, and need not be named: a copy of both goes by itself.
                    is_beside = ring is not None and Path(ring).parent == Path(rings_beside(self.location))
                    self._series.ring = "" if ring is None or is_beside else ring

    def expect_recovery(self) -> None:
        """Have `close` keep the lock file of this process's series: retention of others must not take what says how much of the
        ring is stored."""
        self._expects_recovery = True

    @contextmanager
    def resume(self, series: str) -> Iterator[ResumedSeries]:
        """The series of a dead process, to store what its ring had besides. Raises `StorageError`."""
        with self._lock:
            self._check_open()
            lock = self._adopted.pop(series, None)
        with ResumedSeries(self.location, series, self._clock, lock) as resumed:
            yield resumed
        with self._lock:
            self._series.dirty += resumed.written

    def append(self, batch: Sequence[Event]) -> None:
        """Store events that come as events: all of them, or none and a `StorageError`."""
        self.append_records(
            b"".join(
                entries.lines_entry(
                    Lines(session_id, decode_line(lines[: lines.index(b"\n") + 1]).sequence, events, lines)
                )
                for session_id, lines, events, _ in chunks_of(batch)
            )
        )

    def append_records(self, frames: bytes) -> None:
        """Store records that an expander took, as frames (`cra.reference.frames`): all of them, or none and a `StorageError`."""
        if not frames:
            return
        try:
            with self._lock:
                self._check_open()
                if frames is self._series.last:
                    return  # whoever gives the same object again was interrupted before it counted this
                if self._interrupted is not None and frames == self._interrupted:
                    self._interrupted = None  # it is all there, only nobody was told
                    return
                self._append(frames)
        except BaseException:
            with self._lock:
                if frames == self._series.last:
                    self._interrupted = frames
            raise

    def _append(self, frames: bytes) -> None:
        if self._adopted:
            self._leave_adopted()
        is_first = self._series.current is None
        sealed = len(self._series.dirty)
        try:
            self._series.append(frames)
        except OSError as error:
            raise self._error("cannot be written", error) from error
        if is_first or len(self._series.dirty) > sealed:
            self._wake_keeper()

    def apply_retention(self) -> int:
        """Bury now what retention takes, which is otherwise done in the background with the first record and whenever a
        segment is full; returns how many segments went. Raises `StorageError`."""
        if self._gravedigger is None:
            return 0
        with self._burying:
            try:
                return self._gravedigger.bury()
            except OSError as error:
                raise self._error("cannot let go of old segments", error) from error

    def index_sealed(self) -> int:
        """Index now what is otherwise indexed in the background as soon as it is sealed, so that the first who reads does not
        wait for it; returns how many segments were. Where it fails, whoever reads does it."""
        return self._reader.make_indexes(lambda: not self._closed)

    def compress_sealed(self) -> int:
        """Compress now, where the journal was opened with `compress`, what is otherwise compressed in the background, too;
        returns how many segments were. Raises `StorageError`."""
        if self._gravedigger is None or not self._compresses:
            return 0
        with self._burying:
            try:
                return self._gravedigger.compress()
            except OSError as error:
                raise self._error("cannot compress a segment", error) from error

    def anchor(self, session_id: str) -> Anchor | None:
        """The last event of a session that retention took, for `cra.verify_chain`; None for one that is whole."""
        head = self._reader.anchor(_checked(session_id))
        return None if head is None or head[0] == 0 else (session_id, head[0] - 1, head[1])

    def beginning(self, session_id: str) -> OpenWork:
        """What a session had open where retention cut it; nothing for one that is whole."""
        return self._reader.beginning(session_id)

    def head(self, session_id: str) -> Head | None:
        """Where the chain of an open session stands, which is computed from its records; None where it has no events."""
        return self._reader.head(session_id)

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        """A session's events as of now, in order, made of its records one stretch at a time."""
        lines = self._reader.lines(_checked(session_id))
        marks = None if types is None else [b'"event_type":"%b"' % name.encode(errors="replace") for name in types]
        return (
            event
            for some in lines
            if marks is None or any(mark in some for mark in marks)
            for line in some.splitlines(keepends=True)
            if marks is None or any(mark in line for mark in marks)
            if (event := self._event(line, session_id)).sequence > after
            and (types is None or event.event_type in types)
        )

    def sessions(self) -> list[str]:
        """The ids of the sessions that have events, oldest first."""
        return self._reader.sessions()

    def last(self, session_id: str, n: int) -> list[Event]:
        """The session's last `n` events, in order. Its chain has to be computed from its first event on; only these are
        decoded."""
        kept: deque[tuple[bytes, int]] = deque()
        lines = 0
        for some in self._reader.lines(_checked(session_id)):
            kept.append((some, some.count(b"\n")))
            lines += kept[-1][1]
            while lines - kept[0][1] >= max(1, n):
                lines -= kept.popleft()[1]
        newest = b"".join(some for some, _ in kept).splitlines(keepends=True)
        return [self._event(line, session_id) for line in newest[-n:]] if n > 0 else []

    def _event(self, line: bytes, session_id: str) -> Event:
        """The event of a line, which somebody else may have put among those of a session that it is not of."""
        event = decode_line(line)
        if event.session_id != session_id:
            raise StorageError(
                f"storage '{self.name}' has an event of session {event.session_id} among those of {session_id}, which no runtime"
                f" wrote; see what else is wrong with: cra trace verify {self.location}"
            )
        return event

    def count(self, session_id: str | None = None) -> int:
        """The number of events of a session, or of all."""
        return self._reader.count_all() if session_id is None else self._reader.count(_checked(session_id))

    def delete_session(self, session_id: str) -> int:
        """Raises `StorageError` for a session that is there: one chain holds all of them, and none can be taken out of it."""
        if self._reader.count(_checked(session_id)):
            raise StorageError(
                f"storage '{self.name}' is one chain, of which no session can be taken out without breaking it; keep what has to"
                " be deleted one by one in jsonl:///dir"
            )
        return 0

    def health(self) -> StorageHealth:
        """Not ok once an fsync has failed, or a segment was found damaged."""
        details = [repair.sentence() for repair in self.repairs]
        with self._lock:
            with suppress(StorageError):  # the keeper tries it again, and says so
                self._seal_if_old()
            faults = [*self._reader.faults, *([self._poison] if self._poison else [])]
            details += [self._trouble] if self._trouble else []
            return StorageHealth(self.name, ok=not faults, details=(*details, *faults))

    def flush(self, durable: bool) -> None:
        """Writes are never buffered here. `durable` fsyncs every segment written since, and the folder.

        Raises `StorageError` if that fails, and from then on always, as does every write: what was written to a file whose fsync
        failed may be gone, whatever a later fsync says.
        """
        with self._lock:
            self._check_open()
            self._seal_if_old()
            if not durable:
                return
            try:
                sync_files(self._series.dirty)
                self._series.sync()
                sync_folder(self.location)
                if not self._is_name_synced:
                    sync_name(self.location)
                    self._is_name_synced = True
            except OSError as error:
                if error.filename is not None:  # it could not be opened, and no fsync has failed
                    raise self._error("cannot be made durable", error) from error
                self._poison = f"an fsync failed ({error.strerror}); what was stored before may not survive a power cut"
                self._series.leave()
                self._check_open()

    def close(self) -> None:
        """Seal the last segment. What was stored can still be read. Where the disk refuses, the next one who opens the folder
        does it."""
        if self._keeper is not None:
            self._keeper.stop()
        with self._burying, self._lock:
            if not self._closed:
                self._closed = True
                self._leave_adopted()
                own = self._series.name
                try:
                    self._series.close(complete=not self._expects_recovery)
                except OSError:
                    self._series.leave()
                else:
                    self._reader.make_indexes(lambda: True, own)

    def _new_series(self, name: str) -> Series:
        return Series(self.location, name, self._rotation, self._clock)

    def _write_note(self, note: Note) -> None:
        """Have the chain of this process say what a tombstone has to be; on the disk when this returns."""
        self.append_records(encode_note(note))
        self.flush(durable=True)

    def _leave_adopted(self) -> None:
        """Where a ring is there, it is not recovered, and whoever comes next adopts its series again."""
        rings = Path(rings_beside(self.location))
        while self._adopted:
            series, lock = self._adopted.popitem()
            if (rings / (series + RING)).exists() or (lock.ring and os.path.exists(lock.ring)):
                lock.leave()
            else:
                lock.remove()

    def _wake_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.wake()

    def _keep(self) -> float | None:
        """The keeper's step; returns when there is something to do again. What fails is tried again then."""
        if self._closed:
            return None
        try:
            self._seal_if_old()
            self.apply_retention()
            self.index_sealed()  # of a compressed one it would take decompressing
            self.compress_sealed()
            self._trouble = None
        except StorageError as error:
            self._trouble = error.message
        with self._lock:
            left = self._series.seconds_left
        oldest = self._retention.max_seconds
        pauses = [] if left is None else [left]
        pauses += [] if oldest is None else [min(oldest / _LOOKS_AN_AGE, _LONGEST_PAUSE)]
        return max(_SHORTEST_PAUSE, min(pauses)) if pauses else None

    def _seal_if_old(self) -> None:
        """An idle process's segment is full after its time as well: retention takes sealed ones alone."""
        with self._lock:
            if not self._closed and self._poison is None:
                try:
                    self._series.seal_if_old()
                except OSError as error:
                    raise self._error("cannot seal a segment", error) from error

    def _limits(self) -> dict[Path, int]:
        with self._lock:
            current = self._series.current
            return {} if current is None else dict([current])

    def _check_open(self) -> None:
        if self._poison is not None:
            raise StorageError(f"storage '{self.name}': {self._poison}; check the disk and create a new Resolver")
        if self._closed:
            raise StorageError(f"storage '{self.name}' is closed; open it again")

    def _error(self, what: str, error: OSError) -> StorageError:
        return StorageError(f"storage '{self.name}' {what}: {error.strerror}")


def _checked(session_id: str) -> str:
    if not UUID_PATTERN.fullmatch(session_id):
        raise StorageError("a session id is a lower-case UUID")
    return session_id
