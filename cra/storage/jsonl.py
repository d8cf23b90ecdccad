"""A folder of JSONL files: one `<session_id>.trace.jsonl` per session, readable with any tool and by `cra trace verify`.

A batch is in the files whole or not at all: a failed or short write is cut back, and what a crash tore is set aside when the
file is opened next, never destroyed. Several processes may share a folder, since a file is locked while it is open for
writing. It never changes a line that was once complete.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, cast

from cra.errors import InvalidTraceEvent, StorageError, StorageLocked
from cra.ids import UUID_PATTERN
from cra.storage.chunks import chunks_of
from cra.storage.folders import make_folder
from cra.storage.journal.names import is_of_journal
from cra.storage.line_files import LineFiles
from cra.storage.lines import (
    SUFFIX,
    TORN,
    WholeLines,
    count_lines,
    is_day_file,
    offset_of_last_lines,
    open_regular,
    repair_tail,
)
from cra.trace.event import Event
from cra.trace.jsonl import read_events

_PATIENCE = 0.1  # s


class JsonlStorage(LineFiles):
    """Events in files below `folder`, at most `max_open` of them open for writing. Raises `StorageError` if it cannot be used.

    `repairs` tells which files had a torn last line and where the torn bytes are now.
    """

    def __init__(self, folder: str | os.PathLike[str], max_open: int = 64) -> None:
        super().__init__(folder, f"jsonl:///{Path(folder)}")
        self._max_open = max_open
        self._handles: OrderedDict[str, FileIO] = OrderedDict()
        self._dirty: set[str] = set()
        self._undo: list[tuple[Path, int]] = []
        try:
            make_folder(self.folder)
            names = os.listdir(self.folder)
            if any(map(is_day_file, names)):
                raise StorageError(
                    f"storage '{self.name}' has a file for every day; use jsonl:///{self.folder}?files=day, or another folder"
                )
            if any(map(is_of_journal, names)):
                raise StorageError(
                    f"storage '{self.name}' is the folder of a journal, whose records it would take; use journal:///{self.folder}"
                )
            self._unsynced.take_over(self._files(), self._repair)
        except OSError as error:
            raise self._error("cannot be opened", error) from error

    def append(self, batch: Sequence[Event]) -> None:
        """Write a batch: all of it, or none and a `StorageError` (`StorageLocked` while another process writes a session)."""
        chunks: dict[Path, list[bytes]] = {}
        for session_id, lines, _, _ in chunks_of(batch):
            chunks.setdefault(self._path(session_id), []).append(lines)
        with self._lock:
            self._check_open()
            self._roll_back()
            try:
                self._begin()
                for path, parts in chunks.items():
                    handle = self._handle(path)
                    self._undo.append((path, os.fstat(handle.fileno()).st_size))
                    self._dirty.add(path.name)
                    write_all(handle, b"".join(parts))
            except BaseException as error:
                self._roll_back()
                if isinstance(error, OSError):
                    raise self._error("cannot be written", error) from error
                raise
            self._undo.clear()

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        """A session's events as of now, in order. `StorageError` at the first line that is no event."""
        for event in self._read(self._path(session_id), None, types):
            if event.sequence > after and (types is None or event.event_type in types):
                yield event

    def sessions(self) -> list[str]:
        """The ids of the sessions that have events, oldest first: UUIDv7 ids sort by time."""
        return [path.name.removesuffix(SUFFIX) for path in self._files() if path.stat().st_size]

    def last(self, session_id: str, n: int) -> list[Event]:
        """The session's last `n` events, in order; only these are read."""
        n = max(0, n)
        found = list(self._read(self._path(session_id), n))
        return found[max(0, len(found) - n) :]  # more where some were appended meanwhile

    def count(self, session_id: str | None = None) -> int:
        """The number of events of a session, or of all: the complete lines."""
        paths = self._files() if session_id is None else [self._path(session_id)]
        return sum(map(self._count, paths))

    def delete_session(self, session_id: str) -> int:
        """Remove a session's file, with what was torn from it; returns how many events it held."""
        path = self._path(session_id)
        with self._lock:
            self._check_open()
            count = self._count(path)
            self._release(path.name)
            self._dirty.discard(path.name)
            try:
                for file in (path, path.with_name(path.name + TORN)):
                    file.unlink(missing_ok=True)
            except OSError as error:
                raise self._error("cannot delete the session", error) from error
            self._unsynced.names = True
        return count

    def close(self) -> None:
        """Bring what was written to the disk, and close the files. What was stored can still be read. Where the disk refuses, the
        next one who opens the folder looks after it."""
        with self._lock:
            if self._unsynced.mark.is_there and not self._closed:
                with suppress(OSError, StorageError):
                    self._sync()
                    if self._poison is None:
                        self._unsynced.mark.end()
            self._unsynced.mark.leave()
            self._closed = True
            while self._handles:
                self._handles.popitem()[1].close()

    def _path(self, session_id: str) -> Path:
        if not UUID_PATTERN.fullmatch(session_id):
            raise StorageError("a session id is a lower-case UUID; nothing else names a file of this storage")
        return self.folder / (session_id + SUFFIX)

    def _names(self) -> list[str]:
        try:
            names = sorted(os.listdir(self.folder))
        except OSError as error:
            raise self._error("cannot be listed", error) from error
        return [name for name in names if name.endswith(SUFFIX) and UUID_PATTERN.fullmatch(name.removesuffix(SUFFIX))]

    def _files(self) -> list[Path]:
        return [self.folder / name for name in self._names()]

    def _repair(self, path: Path, holes: bool) -> None:
        with suppress(StorageLocked):  # its writer is alive, the tail is a write in progress
            self._open(path, 0.0, holes=holes).close()

    def _open(self, path: Path, patience: float = _PATIENCE, *, holes: bool = False) -> FileIO:
        """The file, open for appending, locked within `patience` seconds, and ending with a complete line; with `holes`, without
        any."""
        handle = FileIO(path, "ab+", opener=open_regular)
        end = time.monotonic() + patience
        try:
            while not _try_lock(handle, last=time.monotonic() >= end):
                time.sleep(0.005)  # somebody may look whether the file has to be repaired
            repair = repair_tail(path, handle.fileno(), holes=holes)
        except BaseException as error:
            handle.close()
            if isinstance(error, BlockingIOError):
                raise StorageLocked(
                    f"storage '{self.name}': {path.name} is open for writing elsewhere; close the other Resolver and try again"
                ) from None
            raise
        if repair is not None:
            self.repairs += (repair,)
        return handle

    def _handle(self, path: Path) -> FileIO:
        handle = self._handles.get(path.name)
        if handle is not None and os.fstat(handle.fileno()).st_nlink:
            self._handles.move_to_end(path.name)
            return handle
        self._release(path.name)  # deleted by somebody else: writing on would go nowhere
        self._unsynced.names = True
        handle = self._handles[path.name] = self._open(path)
        if len(self._handles) > self._max_open:
            # Not fsync'ed here: a write-back error nobody has seen is reported to whoever opens the file next, which is `_sync`.
            self._handles.popitem(last=False)[1].close()
        return handle

    def _release(self, name: str) -> None:
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.close()

    def _roll_back(self) -> None:
        """Cut the files back to where the unfinished batch began; what cannot be cut back now is kept for the next call."""
        while self._undo:
            path, size = self._undo[-1]
            try:
                os.truncate(path, size)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise self._error("cannot be cut back after a failed write", error) from error
            self._undo.pop()

    def _sync(self) -> None:
        for name in sorted(self._dirty):
            os.fsync(self._handle(self.folder / name).fileno())
            self._dirty.discard(name)
        self._unsynced.sync(self._files)

    def _count(self, path: Path) -> int:
        try:
            with open(path, "rb", buffering=0) as file:
                return count_lines(file)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise self._error("cannot be read", error) from error

    def _read(self, path: Path, lines: int | None, types: Collection[str] | None = None) -> Iterator[Event]:
        """The events in the last `lines` complete lines of a file, or in all; of others than `types` not all are read."""
        start = 0
        marks = None if types is None else [b'"event_type":"%b"' % name.encode(errors="replace") for name in types]
        try:
            with open(path, "rb") as file:
                if lines is not None:
                    start = offset_of_last_lines(file.fileno(), lines)
                yield from read_events(cast("BinaryIO", WholeLines(file, start)), marks)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._error("cannot be read", error) from error
        except InvalidTraceEvent as error:
            where = f"{path}, {error}" if start == 0 else f"{path}, counted from byte {start}, {error}"
            raise StorageError(f"{where}; see what is wrong with: cra trace verify {path}") from error


def _try_lock(handle: FileIO, *, last: bool) -> bool:
    """Lock a file. False where another process has it, or with `last` a `BlockingIOError`."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if last:
            raise
        return False
    return True


def write_all(handle: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[handle.write(view) :]
