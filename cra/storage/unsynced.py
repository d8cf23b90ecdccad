"""The mark of a process that writes files and has not synced them all: `.writing-<process>-<random>` in their folder.

Whoever opens the folder next finds it where the process died. If the machine has started again since, a power cut may have left
holes in what was written; if not, all of it is there, and none of it may be on the disk yet. The mark is on the disk before the
first write, and locked as long as its process lives. Used by `cra.storage.jsonl` and `cra.storage.jsonl_days`; a journal has the
lock of its series for this, SQLite its log.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple

from cra.storage import boot
from cra.storage.folders import sync_folder, sync_name
from cra.storage.lines import is_whole, open_regular
from cra.storage.look import NotRegular, is_locked, opened_to_look
from cra.timing.clock import NS_PER_SECOND, SystemClock

MARK: Final = ".writing-"
_PART: Final = ".part"
_CLOCK_SLACK_NS: Final = 86_400 * NS_PER_SECOND  # by which a clock may have been set back


class LeftMark(NamedTuple):
    """The mark of a process that died. Files that were changed before `since_ns` are not concerned."""

    path: Path
    since_ns: int
    restarted: bool

    def concerns(self, path: Path) -> bool:
        """Whether the process may have written a file. Raises `OSError`."""
        return os.stat(path).st_mtime_ns >= self.since_ns


class Mark:
    """The mark of this process in `folder`, which is made with `begin`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{MARK}{os.getpid()}-{secrets.token_hex(8)}"
        self._file = -1

    @property
    def is_there(self) -> bool:
        """Whether it has begun and not ended."""
        return self._file >= 0

    def begin(self) -> None:
        """Have the mark on the disk: nothing is written before. Harmless when repeated. Raises `OSError`."""
        while self._file < 0 and not self._try_to_begin():
            pass

    def _try_to_begin(self) -> bool:
        # Under another name until it is locked and whole: one that is seen and not locked belongs to somebody who died.
        part = self._path.with_name(self._path.name + _PART)
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, boot.boot_id() + SystemClock().now_ns().to_bytes(8, "little"))
            os.fsync(file)
            try:
                os.rename(part, self._path)
            except FileNotFoundError:  # before it was locked, somebody took it for that of a dead process
                os.close(file)
                return False
            sync_folder(self._path.parent)
        except BaseException:
            os.close(file)
            for path in (part, self._path):
                with suppress(OSError):
                    path.unlink()
            raise
        self._file = file
        _held.add(self)
        return True

    def end(self) -> None:
        """Everything is on the disk. Harmless when repeated."""
        if self._file >= 0:
            with suppress(OSError):
                self._path.unlink()
        self.leave()

    def leave(self) -> None:
        """Leave it to whoever comes next. Harmless when repeated."""
        file, self._file = self._file, -1
        _held.discard(self)
        if file >= 0:
            os.close(file)


class Unsynced:
    """What may not be on the disk of the files in `folder`, besides what this process wrote into them: names, and what processes
    wrote that died. Its `mark` is begun before this process writes. `names` says that the folder has new names."""

    def __init__(self, folder: Path) -> None:
        self.mark = Mark(folder)
        self.names = False
        self._folder = folder
        self._left: list[LeftMark] = []
        self._is_name_synced = False

    def take_over(self, files: Iterable[Path], repair: Callable[[Path, bool], None]) -> None:
        """Have what processes left that died repaired: `repair` is given a file that is not whole, and whether to look for holes
        in it. What a power cut may have gone through is read from end to end. Raises `OSError`, and what `repair` does."""
        marks = left_marks(self._folder)
        restarted = [mark for mark in marks if mark.restarted]
        for path in files:
            try:
                holes = any(mark.concerns(path) for mark in restarted)
                # Of a hundred thousand, maybe: no object that is not needed.
                file = open_regular(os.fspath(path), os.O_RDONLY)
            except FileNotFoundError:
                continue  # another process has just deleted it
            try:
                if is_whole(file, holes=holes):
                    continue  # no lock that its writer might come for just now
            finally:
                os.close(file)
            repair(path, holes)
        # What is there after a restart was read from the disk.
        self._left = [mark for mark in marks if not mark.restarted]
        for mark in restarted:
            mark.path.unlink(missing_ok=True)
        for path in _left(self._folder, parts=True):
            path.unlink(missing_ok=True)  # of a mark that was never one

    def sync(self, files: Callable[[], Iterable[Path]]) -> None:
        """Sync what is left of all this; `files` says which there are now. Raises `OSError`."""
        if self._left:
            # Recovery has found it stored, and stores it no more.
            for path in files():
                with suppress(FileNotFoundError):
                    if any(mark.concerns(path) for mark in self._left):
                        with FileIO(path, "rb", opener=open_regular) as file:
                            os.fsync(file.fileno())
            sync_folder(self._folder)
            while self._left:
                self._left[-1].path.unlink(missing_ok=True)
                self._left.pop()
        if self.names:
            sync_folder(self._folder)
            self.names = False
        if not self._is_name_synced:
            sync_name(self._folder)
            self._is_name_synced = True


def left_marks(folder: Path) -> list[LeftMark]:
    """The marks of processes that are dead. Raises `OSError`."""
    return [_read(path, data) for path, data in _left(folder).items()]


def _left(folder: Path, *, parts: bool = False) -> dict[Path, bytes]:
    """What the marks of processes that are dead hold, or those of their files that were to become marks."""
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith(MARK) and name.endswith(_PART) == parts:
            path = folder / name
            try:
                with opened_to_look(path) as file:
                    if not is_locked(file):
                        found[path] = os.read(file, boot.BYTES + 8)
            except (FileNotFoundError, NotRegular):
                continue
    return found


def _read(path: Path, data: bytes) -> LeftMark:
    since_ns = int.from_bytes(data[boot.BYTES :], "little") if len(data) == boot.BYTES + 8 else 0
    return LeftMark(path, max(0, since_ns - _CLOCK_SLACK_NS), boot.has_restarted(data[: boot.BYTES]))


# A forked child must not hold on to the marks of its parent, which would seem to live as long as the child.
_held: weakref.WeakSet[Mark] = weakref.WeakSet()


def _let_go_in_child() -> None:  # pragma: no cover - runs in forked children only
    for mark in list(_held):
        mark.leave()


os.register_at_fork(after_in_child=_let_go_in_child)
