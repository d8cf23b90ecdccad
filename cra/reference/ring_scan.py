"""What a ring holds that nobody drains any more: the reader of recovery, for the file of a process that is gone.

It never writes, never raises over what records contain, and never guesses: a record is what its commit word and its checksum both
vouch for, at its own position. What a producer left behind that died between claim and commit is reported, and skipped to the
next record. docs/formats/ring.md.
"""

from __future__ import annotations

import os
import re
import struct
from typing import Final, NamedTuple
from zlib import crc32

from cra.errors import StorageError
from cra.reference.ring import (
    DATA_OFFSET,
    FRAME,
    HEAD_OFFSET,
    IDENTITY,
    LENGTH,
    MAGIC,
    MAX_SIZE,
    TAIL_OFFSET,
    VERSION,
    WORD,
    frame_size,
    mix,
    unmix,
)

NOT_COMMITTED: Final = "claimed, and not committed"
DAMAGED_RECORD: Final = "committed, and its checksum is wrong"
DAMAGED_HEAD: Final = "the head is damaged"
DAMAGED_TAIL: Final = "the head or the tail is damaged, so where the records begin is not known"
CUT_SHORT: Final = "the file is cut short"

_WRITTEN: Final = re.compile(rb"[^\0]")


class RingRecord(NamedTuple):
    """A committed record."""

    position: int
    data: bytes


class Torn(NamedTuple):
    """A place that holds no record, or no longer: `length` bytes from `position` on."""

    position: int
    length: int
    reason: str


class RingScan(NamedTuple):
    """What is in a ring: the committed records that were not freed, in order, and what is torn, in order.

    `pid` is the process that made it, `head` and `tail` are as that process left them. A file whose making was not finished has
    size 0, and nothing in it.
    """

    size: int
    pid: int
    head: int
    tail: int
    records: list[RingRecord]
    torn: list[Torn]


def scan_ring(source: int | bytes | bytearray | memoryview) -> RingScan:
    """Read a ring from the file that a descriptor is open on, or from its bytes.

    Raises `StorageError` for what is not a ring of this format, or has a damaged identity, or cannot be read.
    """
    image = read_image(source) if isinstance(source, int) else bytes(source)
    if not image.strip(b"\0"):
        return RingScan(0, 0, 0, 0, [], [])
    size, secret, pid = identify(image)
    image = image.ljust(DATA_OFFSET, b"\0")
    (head,) = WORD.unpack_from(image, HEAD_OFFSET)
    tail, seal = struct.unpack_from("<QQ", image, TAIL_OFFSET)
    data = image[DATA_OFFSET : DATA_OFFSET + size]
    torn = [] if len(data) == size else [Torn(0, size - len(data), CUT_SHORT)]

    def may_be_tail(position: int) -> bool:
        return position % 8 == 0 and 0 <= head - position <= size

    if seal != mix(tail, secret):  # the process died between the two, or one is damaged: the seal is what was complete
        if may_be_tail(unmix(seal, secret)):
            tail = unmix(seal, secret)
        elif not may_be_tail(tail):
            return RingScan(size, pid, head, tail, [], [*torn, Torn(0, size, DAMAGED_TAIL)])
    head_is_sound = head % 8 == 0 and may_be_tail(tail)
    records, gaps, end = _walk(data.ljust(size, b"\0"), secret, tail, head if head_is_sound else tail)
    if not head_is_sound or end > head:
        gaps.append(Torn(end, 0, DAMAGED_HEAD))
    return RingScan(size, pid, head, tail, records, torn + gaps)


def _walk(data: bytes, secret: int, tail: int, head: int) -> tuple[list[RingRecord], list[Torn], int]:
    """The records from `tail` on, the gaps before and between them and up to `head`, and where the last record ends.

    The head is not relied upon: a record behind it was committed all the same.
    """
    size = len(data)
    records: list[RingRecord] = []
    gaps: list[Torn] = []
    end = position = tail  # from `end` to `position` is no record
    damaged = False

    def close_gap(until: int) -> None:
        if until > end:
            gaps.append(Torn(end, until - end, DAMAGED_RECORD if damaged else NOT_COMMITTED))

    while position < tail + size:
        at = position & size - 8
        (word,) = WORD.unpack_from(data, at)
        if not word:  # as most of a ring, which is not to be looked at word by word
            written = _WRITTEN.search(data, at)
            position += (size if written is None else written.start() & -8) - at
            continue
        if word == mix(position, secret):
            record = _record(data, position, tail + size)
            if record is not None:
                close_gap(position)
                records.append(record)
                end = position = position + frame_size(len(record.data))
                damaged = False
                continue
            damaged = damaged or position == end
        position += 8
    close_gap(head)
    return records, gaps, end


def _record(data: bytes, position: int, limit: int) -> RingRecord | None:
    """The record whose commit word is at `position`, if it ends before `limit` and its checksum is right."""
    size = len(data)
    _, checksum, length = FRAME.unpack(_slice(data, position, FRAME.size))
    if length > size // 2 or position + frame_size(length) > limit:
        return None
    content = _slice(data, position + FRAME.size, length)
    if crc32(content, crc32(LENGTH.pack(length))) != checksum:
        return None
    return RingRecord(position, content)


def _slice(data: bytes, position: int, length: int) -> bytes:
    start = position & len(data) - 1
    first = data[start : start + length]
    return first + data[: length - len(first)]


def identify(image: bytes) -> tuple[int, int, int]:
    """Size, secret and pid of a ring. Raises `StorageError` as `scan_ring` does."""
    if not image.startswith(MAGIC):
        raise StorageError("this is not a ring file: it does not begin as one")
    if len(image) < IDENTITY.size:
        raise StorageError("this ring file is cut short within its header")
    _, version, size, secret, pid, checksum = IDENTITY.unpack_from(image)
    if crc32(image[: IDENTITY.size - LENGTH.size]) != checksum:
        raise StorageError("the header of this ring file is damaged: its checksum is wrong")
    if version != VERSION:
        raise StorageError(f"this ring file has format version {version}, and this version of cra reads {VERSION}")
    if not 4096 <= size <= MAX_SIZE or size & size - 1:
        raise StorageError(f"the header of this ring file gives an impossible size of {size} bytes")
    return size, secret, pid


def read_image(fd: int) -> bytes:
    """All that is in a file. Raises `StorageError` where it cannot be read."""
    image = bytearray()
    try:
        while part := os.pread(fd, 2**24, len(image)):
            image += part
    except OSError as error:
        raise StorageError(f"the ring file cannot be read: {error.strerror}") from error
    return bytes(image)
