"""Looking at a file without touching it: opened for reading, never through a link, never waiting, never what has no end.

Used by whatever reads a folder in which anything may lie: the rings, the doctor. It never writes.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class NotRegular(Exception):
    """What bears the name is no regular file; the message says what it is: "a folder"."""


@contextmanager
def opened_to_look(path: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor on the regular file at `path`. Raises `NotRegular`, and `OSError` where the system refuses."""
    check_regular(os.lstat(path))  # a device may act on being opened, so look first
    descriptor = os.open(path, _READ)
    try:
        check_regular(os.fstat(descriptor))  # and again, since the name may change
        yield descriptor
    finally:
        os.close(descriptor)


def check_regular(status: os.stat_result) -> None:
    """Raises `NotRegular` for what is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular(next((kind for test, kind in _KINDS if test(status.st_mode)), "a device"))


def is_locked(descriptor: int) -> bool:
    """Whether a process holds the file's lock. Whoever wants it in this very moment is told that it is taken."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def is_running(pid: int) -> bool:
    """Whether there is a process with this number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return pid != 0
