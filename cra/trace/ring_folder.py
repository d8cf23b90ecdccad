"""Rings on disk: a folder in which every process has files of its own, and those of the dead are told from those of the living.

A ring's file is locked by whoever records into it, for as long as it lives; the kernel lets go of the lock when it dies, however
it dies. ARCHITECTURE: The ring is a file. docs/formats/ring.md.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from cra.errors import StorageError
from cra.hotpath import Ring, scan_ring
from cra.reference.ring import DATA_OFFSET, MAX_SIZE, TAIL_OFFSET, WORD, mix
from cra.reference.ring_scan import RingRecord, RingScan, identify, read_image
from cra.storage import boot
from cra.storage.folders import make_folder
from cra.storage.look import NotRegular, check_regular
from cra.trace.definitions import Definitions, DefinitionsRead, read_definitions

FOLDER = ".ring"
RING, DEFINITIONS, PART, DAMAGED = ".ring", ".defs", ".part", ".damaged"
_BOOT_OFFSET = 48  # in the first page, which has room behind the identity
Refused = Callable[[Path, StorageError], None]


class RingFile:
    """A ring of this process, and its definitions. Made by `RingFolder.create`."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        part = path.with_suffix(PART)
        with ExitStack() as undo:
            self._lock = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            undo.callback(os.close, self._lock)
            undo.callback(_unlink, part)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # Opened again: a mapping may keep its descriptor, and with it the lock, for longer than this.
            memory = os.open(part, os.O_RDWR | os.O_CLOEXEC)
            try:
                self.ring = Ring(size, memory)
                os.pwrite(self._lock, boot.boot_id(), _BOOT_OFFSET)
            finally:
                os.close(memory)
            self.definitions = Definitions(os.fspath(path.with_suffix(DEFINITIONS)), lambda: self.ring.tail)
            undo.callback(self.definitions.remove)
            os.rename(part, path)  # only now is it seen by others: locked, and a ring
            undo.pop_all()
        _open.add(self)

    def remove(self) -> None:
        """Everything in it is stored. Harmless when repeated."""
        if self._lock >= 0:
            _unlink(self.path)
            self.definitions.remove()
            self._let_go()

    def leave(self) -> None:
        """Something in it is not stored: leave it to recovery. Harmless when repeated."""
        if self._lock >= 0:
            self.definitions.leave()
            self._let_go()

    def _let_go(self) -> None:
        lock, self._lock = self._lock, -1
        _open.discard(self)
        if lock >= 0:  # pragma: no branch - in a child that was forked while another thread did this, it is not
            os.close(lock)


class DeadRing:
    """A ring whose process is gone, locked by whoever recovers it. `remove` or `leave` it in the end."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def read(self) -> tuple[RingScan, DefinitionsRead]:
        """What is in it. Raises `StorageError` for what cannot be read."""
        scan = scan_file(self._lock)
        definitions = self.path.with_suffix(DEFINITIONS)
        if not scan.records and not scan.torn and not os.path.lexists(definitions):
            return scan, DefinitionsRead({}, {}, 0)
        return scan, read_definitions(os.fspath(definitions))

    def has_restarted(self) -> bool:
        """Whether the machine has started again since the ring was made. Nothing in a ring is synced: after a power cut each of
        its pages may be there, be that of an earlier time, or be gone."""
        try:
            return boot.has_restarted(os.pread(self._lock, boot.BYTES, _BOOT_OFFSET))
        except OSError as problem:
            raise StorageError(f"the ring {os.fspath(self.path)!r} cannot be read: {problem.strerror}") from problem

    def read_again(self, scan: RingScan) -> list[RingRecord]:
        """The records of `scan`, and before them those that were freed and not written over yet, in order of their positions."""
        image = bytearray(read_image(self._lock))
        tail = max(0, scan.head - scan.size)
        _, secret, _ = identify(bytes(image[:DATA_OFFSET]))
        image[TAIL_OFFSET : TAIL_OFFSET + 2 * WORD.size] = WORD.pack(tail) + WORD.pack(mix(tail, secret))
        found = {record.position: record for record in (*scan_ring(image).records, *scan.records)}
        return [found[position] for position in sorted(found)]

    def remove(self, *, damaged: bool = False) -> None:
        """What could be read is stored. With `damaged`, what could not is set aside under another name, never destroyed.

        Raises `StorageError` where the system refuses.
        """
        # The ring first: definitions alone are harmless, a ring without them could not be read.
        for path in (self.path, self.path.with_suffix(DEFINITIONS)):
            try:
                if damaged:
                    path.rename(free_name(path))
                else:
                    path.unlink()
            except FileNotFoundError:
                pass
            except OSError as problem:
                raise StorageError(f"{os.fspath(path)!r} cannot be removed: {problem.strerror}") from problem
        self.leave()

    def leave(self) -> None:
        """Leave it to the next recovery. Harmless when repeated."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


class RingFolder:
    """The folder at `path`, made if need be. Raises `StorageError` where it cannot be used."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()  # it stays there whatever the working directory is later
        try:
            make_folder(self.path, 0o700)
        except OSError as problem:
            raise StorageError(
                f"the folder {os.fspath(path)!r} for rings cannot be used: {problem.strerror}"
            ) from problem

    def create(self, size: int) -> RingFile:
        """A new ring, locked."""
        try:
            return RingFile(self.path / f"{os.getpid()}-{secrets.token_hex(8)}{RING}", size)
        except OSError as problem:
            raise StorageError(f"no ring can be made in {os.fspath(self.path)!r}: {problem.strerror}") from problem

    def dead(self, refused: Refused | None = None) -> Iterator[DeadRing]:
        """The rings that no living process has locked, oldest first; each is locked by the caller from now on.

        Raises `StorageError` for what bears the name of one and cannot be opened, or is no regular file: what may hold records is
        not passed over in silence. With `refused`, that is told of it and the next one comes.
        """
        for path in sorted(self._rings(), key=_age):
            try:
                path.stat()  # a link that leads nowhere is nothing
                check_regular(path.lstat())
                lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # somebody else has recovered it
            except (OSError, NotRegular) as problem:
                reason = problem.strerror if isinstance(problem, OSError) else f"it is {problem}"
                error = StorageError(f"the ring {os.fspath(path)!r} cannot be opened: {reason}")
                if refused is None:
                    raise error from problem
                refused(path, error)
                continue
            try:
                is_ours = _take(lock, path)
            except OSError as problem:
                os.close(lock)
                error = StorageError(
                    f"the ring {os.fspath(path)!r} cannot be locked: {problem.strerror}; nobody knows whether its process lives"
                )
                if refused is None:
                    raise error from problem
                refused(path, error)
                continue
            if is_ours:
                yield DeadRing(path, lock)
            else:
                os.close(lock)

    def _rings(self) -> list[Path]:
        try:
            return [self.path / name for name in os.listdir(self.path) if name.endswith(RING)]
        except OSError as problem:
            raise StorageError(f"the folder {os.fspath(self.path)!r} cannot be listed: {problem.strerror}") from problem


def rings_beside(store: str | os.PathLike[str]) -> str:
    """Where the rings of a store in a folder are, unless somebody chose another place."""
    path = Path(store)
    return os.fspath(path if path.name not in ("", "..") else Path(os.path.abspath(path))) + FOLDER


def scan_file(descriptor: int) -> RingScan:
    """What is in the ring that a descriptor is open on. Raises `StorageError` for what cannot be read, before it is read where
    it is larger than any ring."""
    if os.fstat(descriptor).st_size > DATA_OFFSET + MAX_SIZE:
        raise StorageError("this is not a ring file: it is larger than any")
    return scan_ring(descriptor)


def free_name(path: Path) -> Path:
    """A name that nothing bears yet: what was set aside before is not replaced."""
    names = itertools.chain([DAMAGED], (f"{DAMAGED}-{number}" for number in itertools.count(2)))
    return next(free for free in (path.with_name(path.name + name) for name in names) if not os.path.lexists(free))


def _take(lock: int, path: Path) -> bool:
    """Lock a ring; False for one that lives, or has just been removed. Raises `OSError` where the system does not say."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        return False


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


# A forked child must not hold on to the locks of its parent, which would seem to live as long as the child.
_open: weakref.WeakSet[RingFile] = weakref.WeakSet()


def _let_go_in_child() -> None:  # pragma: no cover - runs in forked children only
    for file in list(_open):
        file.definitions.leave()
        file._let_go()


os.register_at_fork(after_in_child=_let_go_in_child)
