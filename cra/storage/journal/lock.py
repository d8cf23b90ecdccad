"""The lock of a series: whoever holds it writes its segments, and nobody else. The kernel lets go of it when its process dies."""

from __future__ import annotations

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

from cra.storage.folders import sync_folder
from cra.storage.journal.names import LOCK

_LONGEST_PATH = 4096


class SeriesLock:
    """The file beside the segments, which is there as long as a series is written. Made by `new_lock` and `dead_lock`.

    `ring` is where the ring of its writer is, as he said; empty where he has none.
    """

    def __init__(self, path: Path, file: int, ring: str = "") -> None:
        self.series = path.name.removesuffix(LOCK)
        self.ring = ring
        self._path = path
        self._file = file
        _held.add(self)

    def remove(self) -> None:
        """The series is complete. Harmless when repeated."""
        if self._file >= 0:
            with suppress(OSError):
                self._path.unlink()
        self.leave()

    def leave(self) -> None:
        """Somebody else may have it, who sees to what is left. Harmless when repeated."""
        file, self._file = self._file, -1
        _held.discard(self)
        if file >= 0:
            os.close(file)


def new_lock(folder: Path, series: str, ring: str = "") -> SeriesLock:
    """Lock a series that nobody writes. Raises `OSError`: `FileExistsError` where somebody does, or did when he died.

    It is on the disk then: where a power cut tears a segment, its lock is there, by which that is known.
    """
    path = folder / (series + LOCK)
    # Under another name until it is locked: one that is seen and not locked belongs to somebody who died.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.ftruncate(file, 0)
        if ring:
            os.write(file, os.fsencode(ring))
            os.fsync(file)
        os.link(part, path)
        with suppress(OSError):
            part.unlink()
        sync_folder(folder)
        return SeriesLock(path, file, ring)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        with suppress(OSError):  # failed or interrupted behind the link
            if os.path.samestat(os.fstat(file), os.stat(path)):
                path.unlink()
        os.close(file)
        raise


def dead_lock(folder: Path, series: str) -> SeriesLock | None:
    """Take over the lock of a series whose writer died; None where he lives, or somebody else was faster. Raises `OSError`."""
    path = folder / (series + LOCK)
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), os.stat(path)):
            return SeriesLock(path, file, os.fsdecode(os.pread(file, _LONGEST_PATH, 0)))
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


# A forked child must not hold on to the locks of its parent, which would seem to live as long as the child.
_held: weakref.WeakSet[SeriesLock] = weakref.WeakSet()


def _let_go_in_child() -> None:  # pragma: no cover - runs in forked children only
    for lock in list(_held):
        lock.leave()


os.register_at_fork(after_in_child=_let_go_in_child)
