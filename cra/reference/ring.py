"""The ring: a bounded queue of records in memory that a dead process leaves readable. ARCHITECTURE: The ring is a file.

Made by the recorder; sessions put records from any thread, one consumer reads them in order and frees their room once they are
stored. It never blocks in `put`, never claims room that is not there, never moves its tail by itself. docs/formats/ring.md has
the layout; `cra.reference.ring_scan` reads what is left after a crash.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import threading
from typing import Final
from zlib import crc32

from cra.errors import InternalError, InvalidTraceEvent, StorageError

MAGIC: Final = b"cra-ring"
VERSION: Final = 1
DEFAULT_SIZE: Final = 8 * 2**20
MAX_SIZE: Final = 2**30
MIN_SIZE: Final = max(4096, mmap.PAGESIZE)
DATA_OFFSET: Final = 65_536  # a multiple of every page size in use, so that the data can be mapped twice in a row

IDENTITY: Final = struct.Struct("<8sI4xQQQI")  # magic, version, size, secret, pid, CRC-32 of all that
HEAD_OFFSET: Final = 128
TAIL_OFFSET: Final = 256  # the tail, then its seal
FRAME: Final = struct.Struct("<QII")  # commit word, CRC-32 of length and payload, length
WORD: Final = struct.Struct("<Q")
LENGTH: Final = struct.Struct("<I")

_MASK: Final = 2**64 - 1
_FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
_FIRST_INVERSE, _SECOND_INVERSE = pow(_FIRST, -1, 2**64), pow(_SECOND, -1, 2**64)


def mix(position: int, secret: int) -> int:
    """The commit word of a frame at `position`. Old bytes of any lap, or of any payload, are not it; nor are they a bit away."""
    word = (position ^ secret) * _FIRST & _MASK
    word ^= word >> 32
    word = word * _SECOND & _MASK
    return word ^ word >> 32


def unmix(word: int, secret: int) -> int:
    """The position that `mix` made `word` of."""
    word ^= word >> 32
    word = word * _SECOND_INVERSE & _MASK
    word ^= word >> 32
    return word * _FIRST_INVERSE & _MASK ^ secret


def frame_size(length: int) -> int:
    """The bytes that a record of `length` bytes takes in a ring."""
    return FRAME.size + length + 7 & ~7


_State = tuple[int, int, int, tuple[tuple[int, bytes], ...]]  # head, room, puts, claims: position and body each


class Ring:
    """A ring of `size` bytes (a power of two), anonymous or in the empty file that `fd` is open on; the file stays the caller's.

    Positions are bytes since the beginning of the ring's life and only grow. Raises `ValueError` for a size that cannot be,
    `StorageError` where memory or file are not to be had. Every method raises `InternalError` after `close` and, with the
    properties, in a forked child. `read`, `free` and `wait` are for one consumer; the rest is for everybody.
    """

    def __init__(self, size: int = DEFAULT_SIZE, fd: int = -1) -> None:
        if not (MIN_SIZE <= size <= MAX_SIZE and size & size - 1 == 0):
            raise ValueError(f"a ring's size is a power of two from {MIN_SIZE} to {MAX_SIZE}, not {size}")
        self.size = size
        self._secret = secrets.randbits(64)
        try:
            self._memory = _map(size, fd)
        except OSError as error:
            raise StorageError(f"a ring of {size} bytes cannot be made: {error.strerror}") from error
        self._state: _State = (0, size, 0, ())
        self._position = 0
        self._woken = False
        self._closed = False
        self._forks = _forks
        self._lock = threading.RLock()  # reentrant: a signal handler or a finalizer may record, too
        self._committed = threading.Condition(self._lock)
        self._freed = threading.Condition(self._lock)
        self._store_tail(0)
        identity = IDENTITY.pack(MAGIC, VERSION, size, self._secret, os.getpid(), 0)[: -LENGTH.size]
        self._memory[: IDENTITY.size] = identity + LENGTH.pack(crc32(identity))

    # Producers

    def put(self, data: bytes | bytearray | memoryview) -> bool:
        """Append a record. False when there is no room; then nothing was claimed.

        Raises `InvalidTraceEvent` for a record that is larger than `max_record`.
        """
        self._check()
        if not isinstance(data, bytes):
            data = memoryview(data).tobytes()
        need, body = self._frame(len(data)), _body(data)
        with self._lock:
            while True:
                seen = head, room, puts, claims = self._state
                if room < need:
                    return False
                if self._change(seen, (head + need, room - need, puts + 1, (*claims, (head, body)))):
                    break
            self._commit()
            return True

    def reserve(self, nbytes: int) -> bool:
        """Set room aside for one later record of at most `nbytes`. False when there is none. Raises as `put` does."""
        self._check()
        need = self._frame(nbytes)
        with self._lock:
            while True:
                seen = head, room, puts, claims = self._state
                if room < need:
                    return False
                if self._change(seen, (head, room - need, puts, claims)):
                    return True

    def put_reserved(self, data: bytes | bytearray | memoryview, nbytes: int) -> None:
        """Append a record in the room that `reserve(nbytes)` set aside, and give back what it leaves of that."""
        self._check()
        if not isinstance(data, bytes):
            data = memoryview(data).tobytes()
        if len(data) > nbytes:
            raise ValueError(f"a record of {len(data)} bytes does not fit into a reservation of {nbytes}")
        need, body = frame_size(len(data)), _body(data)
        with self._lock:
            self._check_reserved(nbytes)
            rest = frame_size(nbytes) - need
            while True:
                seen = head, room, puts, claims = self._state
                if self._change(seen, (head + need, room + rest, puts + 1, (*claims, (head, body)))):
                    break
            self._commit()
            self._freed.notify_all()

    def release(self, nbytes: int) -> None:
        """Give back what `reserve(nbytes)` set aside."""
        self._check()
        with self._lock:
            self._check_reserved(nbytes)
            self._give(self._frame(nbytes))

    def wait_room(self, nbytes: int, timeout_s: float | None) -> bool:
        """Sleep until a record of `nbytes` has room, or for `timeout_s` (None: for ever); whether there is room now."""
        self._check()
        need = self._frame(nbytes)
        with self._lock:
            self._freed.wait_for(lambda: self._closed or self._state[1] >= need, timeout_s)
            return not self._closed and self._state[1] >= need

    # The consumer

    def read(self) -> bytes | None:
        """The record at `position`, which moves on; None while it is not committed."""
        self._check()
        with self._lock:
            if not self._has_record():
                return None
            length = LENGTH.unpack_from(self._memory, self._offset(self._position + 8) + LENGTH.size)[0]
            if length > self.max_record:
                raise StorageError(
                    f"the ring is damaged at position {self._position}: somebody else wrote to its memory"
                )
            data = self._load(self._position + FRAME.size, length)
            self._position += frame_size(length)
            return data

    def free(self, position: int) -> None:
        """Move the tail: the records before `position` are done with, their room can be used again."""
        self._check()
        with self._lock:
            tail = self.tail
            if not tail <= position <= self._position or position % 8:
                raise ValueError(
                    f"position {position} is not one from the tail {tail} to what was read, {self._position}"
                )
            self._store_tail(position)
            self._give(position - tail)

    def wait(self, timeout_s: float | None) -> bool:
        """Sleep until there is something to read, until `wake`, or for `timeout_s` (None: for ever); False after the last."""
        self._check()
        with self._lock:
            awake = self._committed.wait_for(lambda: self._closed or self._woken or self._has_record(), timeout_s)
            self._woken = False
            return awake

    def wake(self) -> None:
        """Make the consumer's `wait` return: the one it is in, or else its next."""
        self._check()
        with self._lock:
            self._woken = True
            self._committed.notify()

    def close(self) -> None:
        """Take and give no more records, and let whoever waits go. What a file holds stays in it. Harmless when repeated."""
        if self._forks == _forks:
            with self._lock:
                self._closed = True
                self._committed.notify_all()
                self._freed.notify_all()

    @property
    def head(self) -> int:
        """The position of the next record to be put."""
        self._check_fork()
        return self._state[0]

    @property
    def tail(self) -> int:
        """The position up to which everything is freed."""
        self._check_fork()
        return int(WORD.unpack_from(self._memory, TAIL_OFFSET)[0])

    @property
    def position(self) -> int:
        """The position of the next record to be read."""
        self._check_fork()
        return self._position

    @property
    def used(self) -> int:
        """The bytes that hold records not freed."""
        self._check_fork()
        with self._lock:
            return self.head - self.tail

    @property
    def reserved(self) -> int:
        """The bytes that are set aside."""
        self._check_fork()
        with self._lock:
            head, room, *_ = self._state  # at once: what interrupts this may record
            return self.size - room - (head - self.tail)

    @property
    def puts(self) -> int:
        """How many records were put."""
        self._check_fork()
        return self._state[2]

    @property
    def max_record(self) -> int:
        """The largest record, in bytes."""
        return self.size // 2

    # All that follows holds the lock. What interrupts it in its own thread, such as a signal handler, may record as well, and may
    # raise. So the state changes in one piece, from what was seen to what comes of it; and what was claimed is in the state until
    # it is committed, so that whoever comes next does what was left undone.

    def _change(self, seen: _State, state: _State) -> bool:
        """Change the state if it is still `seen`. Nothing interrupts between look and change: there is no call."""
        if self._state is seen:
            self._state = state
            return True
        return False

    def _commit(self) -> None:
        """Write the records that are claimed, each with its commit word last."""
        while claims := (seen := self._state)[3]:
            WORD.pack_into(self._memory, HEAD_OFFSET, seen[0])
            for position, body in claims:
                self._store(position + WORD.size, body)
                WORD.pack_into(self._memory, self._offset(position), mix(position, self._secret))
            if self._change(seen, (*seen[:3], ())):
                self._committed.notify()

    def _give(self, nbytes: int) -> None:
        while True:
            seen = head, room, puts, claims = self._state
            if self._change(seen, (head, room + nbytes, puts, claims)):
                break
        self._freed.notify_all()

    def _frame(self, length: int) -> int:
        if not 0 <= length <= self.max_record:
            raise InvalidTraceEvent(
                f"a record of {length} bytes does not fit into a ring of {self.size} bytes, which takes at most"
                f" {self.max_record}; use a larger ring"
            )
        return frame_size(length)

    def _check_reserved(self, nbytes: int) -> None:
        if self.reserved < self._frame(nbytes):
            raise InternalError(f"{nbytes} bytes were not reserved, or were used or given back before")

    def _has_record(self) -> bool:
        self._commit()
        (word,) = WORD.unpack_from(self._memory, self._offset(self._position))
        return bool(word == mix(self._position, self._secret))

    def _store_tail(self, position: int) -> None:
        """The tail before its seal: a crash in between leaves the old one, by its seal."""
        WORD.pack_into(self._memory, TAIL_OFFSET, position)
        WORD.pack_into(self._memory, TAIL_OFFSET + 8, mix(position, self._secret))

    def _offset(self, position: int) -> int:
        return DATA_OFFSET + (position & self.size - 1)

    def _store(self, position: int, data: bytes) -> None:
        """Copy `data` to a position, around the end of the memory if need be."""
        start, end = self._offset(position), DATA_OFFSET + self.size
        first = data[: end - start]
        self._memory[start : start + len(first)] = first
        if rest := data[len(first) :]:
            self._memory[DATA_OFFSET : DATA_OFFSET + len(rest)] = rest

    def _load(self, position: int, length: int) -> bytes:
        start, end = self._offset(position), DATA_OFFSET + self.size
        first = self._memory[start : min(start + length, end)]
        return first + self._memory[DATA_OFFSET : DATA_OFFSET + length - len(first)]

    def _check(self) -> None:
        self._check_fork()
        if self._closed:
            raise InternalError("the ring is closed; it takes and gives no more records")

    def _check_fork(self) -> None:
        if self._forks != _forks:
            raise InternalError("this ring was inherited through a fork; create a new Resolver in the child process")


def _body(data: bytes) -> bytes:
    """All of a frame but its commit word and its padding."""
    length = LENGTH.pack(len(data))
    return LENGTH.pack(crc32(data, crc32(length))) + length + data


def _map(size: int, fd: int) -> mmap.mmap:
    """The memory, touched beforehand: a first touch costs microseconds, and on a full disk the process."""
    length = DATA_OFFSET + size
    if fd < 0:
        memory = mmap.mmap(-1, length)
    else:
        if os.fstat(fd).st_size:
            raise StorageError("the file of a new ring is not empty; recover what is in it, or use another")
        os.truncate(fd, length)
        _write_zeros(fd, 0, mmap.PAGESIZE)
        _write_zeros(fd, DATA_OFFSET, size)
        memory = mmap.mmap(fd, length)
    for page in range(0, length, mmap.PAGESIZE):
        memory[page] = 0
    return memory


def _write_zeros(fd: int, offset: int, length: int) -> None:
    zeros = bytes(min(length, 2**16))
    while length > 0:
        written = os.pwrite(fd, zeros[:length], offset)
        offset += written
        length -= written


_forks = 0  # how many forks lie between this process and the one that imported the module


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)
