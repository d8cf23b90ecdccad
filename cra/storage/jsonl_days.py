"""A folder of JSONL files, one `<day>.trace.jsonl` per UTC day, with the events of all sessions of that day as they were stored.

The day is that of an event's timestamp, so that a session's events are in the order of the days, and in each in their order. A
batch is in the files whole or not at all: a failed or short write is cut back, and what a crash tore is set aside when the file
is next written, never destroyed. Several processes may share a folder: a file is locked while a batch is written to it. To read a
session is to read through the files. It never changes a line that was once complete; only `delete_session` takes lines out.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from cra.errors import InvalidTraceEvent, StorageError, StorageLocked
from cra.ids import UUID_PATTERN
from cra.storage.chunks import chunks_of
from cra.storage.folders import make_folder
from cra.storage.journal.names import is_of_journal
from cra.storage.jsonl import write_all
from cra.storage.line_files import LineFiles
from cra.storage.lines import (
    FILE_MODE,
    SUFFIX,
    TORN,
    count_lines,
    is_day_file,
    offset_of_line_end,
    open_regular,
    repair_tail,
)
from cra.trace.event import Event
from cra.trace.jsonl import read_event

_CHUNK: Final = 2**20
_PATIENCE: Final = 5.0  # s, while others write a batch each
_LOOK_AGAIN: Final = 0.001
_find_day_of = re.compile(rb'"timestamp":"([0-9]{4}-[0-9]{2}-[0-9]{2})T').search
_find_sessions = re.compile(rb'"session_id":"([0-9a-f-]{36})","sequence":').findall


class DailyJsonlStorage(LineFiles):
    """Events in the files of days below `folder`. Raises `StorageError` if it cannot be used.

    `repairs` tells which files had a torn last line and where the torn bytes are now.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder, f"jsonl:///{Path(folder)}?files=day")
        self._dirty: set[Path] = set()
        self._undo: list[tuple[FileIO, int]] = []
        try:
            make_folder(self.folder)
            names = os.listdir(self.folder)
            if any(map(is_of_journal, names)):
                raise StorageError(
                    f"storage '{self.name}' is the folder of a journal, whose records it would take; use journal:///{self.folder}"
                )
            if any(UUID_PATTERN.fullmatch(name.removesuffix(SUFFIX)) for name in names if name.endswith(SUFFIX)):
                raise StorageError(
                    f"storage '{self.name}' has a file for every session; use jsonl:///{self.folder}, or another folder"
                )
            self._unsynced.take_over(self._files(), self._repair)
        except OSError as error:
            raise self._error("cannot be opened", error) from error

    def append(self, batch: Sequence[Event]) -> None:
        """Write a batch: all of it, or none and a `StorageError`."""
        parts: dict[Path, list[bytes]] = {}
        for _, lines, _, _ in chunks_of(batch):
            for day, some in _by_day(lines):
                parts.setdefault(self.folder / (day + SUFFIX), []).append(some)
        with self._lock:
            self._check_open()
            self._roll_back()
            with ExitStack() as stack:
                try:
                    self._begin()
                    for path in sorted(parts):  # in one order, or two processes could wait for each other
                        file = stack.enter_context(self._opened(path))
                        self._undo.append((file, os.fstat(file.fileno()).st_size))
                        self._dirty.add(path)
                        write_all(file, b"".join(parts[path]))
                    self._undo = []  # one assignment: from here on it counts
                except BaseException as error:
                    try:
                        self._roll_back()
                    except StorageError:
                        stack.pop_all()  # kept open and locked until it is cut back: nobody reads or writes behind it
                        raise
                    if isinstance(error, OSError):
                        raise self._error("cannot be written", error) from error
                    raise

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        """A session's events as of now, in order. `StorageError` at the first line of it that is no event."""
        marks = None if types is None else [b'"event_type":"%b"' % name.encode(errors="replace") for name in types]
        for path, end in self._snapshot(session_id):
            for line in self._lines(path, session_id, end):
                if marks is None or any(mark in line for mark in marks):
                    event = self._event(path, line)
                    if event.sequence > after and (types is None or event.event_type in types):
                        yield event

    def sessions(self) -> list[str]:
        """The ids of the sessions that have events, in the order in which they were first stored."""
        found: dict[bytes, None] = {}
        for path in self._files():
            for lines in self._chunks(path, None):
                found.update(dict.fromkeys(_find_sessions(lines)))
        return [each.decode() for each in found]

    def last(self, session_id: str, n: int) -> list[Event]:
        """The session's last `n` events, in order; only these are decoded."""
        found: deque[tuple[Path, bytes]] = deque()
        for path, end in reversed(self._snapshot(session_id)):
            here: deque[tuple[Path, bytes]] = deque(maxlen=max(0, n - len(found)))
            here.extend((path, line) for line in self._lines(path, session_id, end))
            found.extendleft(reversed(here))
            if len(found) >= n:
                break
        return [self._event(path, line) for path, line in found]

    def count(self, session_id: str | None = None) -> int:
        """The number of events of a session, or of all: the complete lines."""
        if session_id is not None:
            return sum(1 for path, end in self._snapshot(session_id) for _ in self._lines(path, session_id, end))
        total = 0
        for path in self._files():
            try:
                with open(path, "rb", buffering=0) as file:
                    total += count_lines(file)
            except OSError as error:
                raise self._error("cannot be read", error) from error
        return total

    def delete_session(self, session_id: str) -> int:
        """Take a session's events out of the files, each of which is replaced by one without them in one step; returns how many
        there were. The newest file comes first: what is left after a crash is a session that verifies, and is deleted again."""
        count = 0
        with self._lock:
            self._check_open()
            for path, _ in reversed(self._snapshot(session_id)):
                try:
                    count += self._delete(path, session_id)
                except OSError as error:
                    raise self._error("cannot delete the session", error) from error
        return count

    def close(self) -> None:
        """Bring what was written to the disk. What was stored can still be read. Where the disk refuses, the next one who opens
        the folder looks after it."""
        with self._lock:
            if not self._closed:
                self._closed = True
                with suppress(OSError, StorageError):
                    self._roll_back()
                    if self._unsynced.mark.is_there and self._poison is None:
                        self._sync()
                        self._unsynced.mark.end()
                self._unsynced.mark.leave()
                for file, _ in self._undo:
                    file.close()
                self._undo = []

    def _files(self) -> list[Path]:
        try:
            names = sorted(os.listdir(self.folder))
        except OSError as error:
            raise self._error("cannot be listed", error) from error
        return [self.folder / name for name in names if is_day_file(name) and not name.endswith(TORN)]

    def _snapshot(self, session_id: str) -> list[tuple[Path, int]]:
        """The files as of now, and where their complete lines end."""
        if not UUID_PATTERN.fullmatch(session_id):
            raise StorageError("a session id is a lower-case UUID; nothing else names a session of this storage")
        found: list[tuple[Path, int]] = []
        for path in self._files():
            try:
                with FileIO(path, "rb", opener=open_regular) as file:
                    found.append((path, offset_of_line_end(file.fileno(), 1)))
            except FileNotFoundError:
                pass  # removed since
            except OSError as error:
                raise self._error("cannot be read", error) from error
        return found

    def _chunks(self, path: Path, end: int | None) -> Iterator[bytes]:
        """The complete lines of a file up to `end`, many at a time."""
        try:
            with FileIO(path, "rb", opener=open_regular) as file:
                left = offset_of_line_end(file.fileno(), 1) if end is None else end
                rest = b""
                while left and (data := file.read(min(_CHUNK, left))):
                    left -= len(data)
                    whole = data.rfind(b"\n") + 1
                    if whole:
                        yield rest + data[:whole]
                        rest = data[whole:]
                    else:
                        rest += data
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._error("cannot be read", error) from error

    def _lines(self, path: Path, session_id: str, end: int | None) -> Iterator[bytes]:
        """The lines of one session in a file."""
        mark = _mark(session_id)
        for lines in self._chunks(path, end):
            at = lines.find(mark)
            while at >= 0:
                start, behind = lines.rfind(b"\n", 0, at) + 1, lines.index(b"\n", at) + 1
                if _is_of(lines[start:behind], session_id):
                    yield lines[start:behind]
                at = lines.find(mark, behind)

    def _event(self, path: Path, line: bytes) -> Event:
        try:
            return read_event(line)
        except InvalidTraceEvent as error:
            raise StorageError(f"{path}: {error}; see what is wrong with: cra trace verify {self.folder}") from error

    def _repair(self, path: Path, holes: bool) -> None:
        self._opened(path, holes=holes).close()

    def _opened(self, path: Path, *, holes: bool = False) -> FileIO:
        """The file, open for appending, locked, and ending with a complete line. Whoever has it, writes a batch and no more."""
        while True:
            is_new = not path.exists()
            file = FileIO(path, "ab+", opener=open_regular)
            try:
                self._wait_for_lock(file, path)
                if not os.fstat(file.fileno()).st_nlink:
                    file.close()  # replaced or removed while this waited
                    continue
                repair = repair_tail(path, file.fileno(), holes=holes)
            except BaseException:
                file.close()
                raise
            self._unsynced.names |= is_new
            self.repairs += (repair,) if repair is not None else ()
            return file

    def _wait_for_lock(self, file: FileIO, path: Path) -> None:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise StorageLocked(
                        f"storage '{self.name}': another process has been writing to {path.name} for {_PATIENCE:.0f} s; try again"
                    ) from None
            time.sleep(_LOOK_AGAIN)

    def _roll_back(self) -> None:
        """Cut the files back to where the unfinished batch began; what cannot be cut back now is kept for the next call."""
        while self._undo:
            file, size = self._undo[-1]
            try:
                if not file.closed:
                    os.ftruncate(file.fileno(), size)
            except OSError as error:
                raise self._error("cannot be cut back after a failed write", error) from error
            self._undo.pop()
            file.close()

    def _delete(self, path: Path, session_id: str) -> int:
        with self._opened(path) as file:
            count = 0
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE), "wb") as rest:
                    for lines in self._chunks(path, None):
                        if _mark(session_id) in lines:
                            kept = lines.splitlines(keepends=True)
                            count += len(kept)
                            kept = [line for line in kept if not _is_of(line, session_id)]
                            count -= len(kept)
                            lines = b"".join(kept)
                        rest.write(lines)
                    rest.flush()
                    os.fsync(rest.fileno())
                if count and os.fstat(file.fileno()).st_size > 0:
                    os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
            if path.stat().st_size == 0:
                path.unlink()
            torn = path.with_name(path.name + TORN)
            with suppress(FileNotFoundError):
                if session_id.encode() in torn.read_bytes():
                    torn.unlink()
            self._unsynced.names = True
        return count

    def _sync(self) -> None:
        if self._dirty:  # another process may have made the files, or put others in their place
            self._unsynced.names = True
        for path in sorted(self._dirty):
            with suppress(FileNotFoundError), FileIO(path, "rb", opener=open_regular) as file:
                os.fsync(file.fileno())
            self._dirty.discard(path)
        self._unsynced.sync(self._files)


def _by_day(lines: bytes) -> Iterator[tuple[str, bytes]]:
    """Lines of a session by the days of their events."""
    first, last = _day(lines, 0), _day(lines, lines.rfind(b"\n", 0, -1) + 1)
    if first == last:
        yield first, lines  # a session's timestamps never go back
        return
    for line in lines.splitlines(keepends=True):
        yield _day(line, 0), line


def _day(lines: bytes, at: int) -> str:
    match = _find_day_of(lines, at)
    assert match is not None  # before it there are ids and a number; every line has a timestamp
    return match[1].decode()


def _mark(session_id: str) -> bytes:
    return b'"session_id":"%b","sequence":' % session_id.encode()


def _is_of(line: bytes, session_id: str) -> bool:
    """Whether it is an event of the session: the first member of that name is the event's own."""
    return line.find(b'"session_id":"') == line.find(_mark(session_id)) != -1
