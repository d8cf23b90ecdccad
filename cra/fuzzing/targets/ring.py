"""A ring of a dead process and its definitions, any bytes in both: scanned, looked at, and recovered into a store.
docs/formats/ring.md.

The first byte says what the rest is: the file as it is; or a ring that a process has recorded into (records, each after its
length in two bytes), with its definitions in front and a list of changes at the end, so that mutation need not guess checksums.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from cra.errors import StorageError
from cra.fuzzing.draws import Draws, blocks
from cra.fuzzing.harness import refusal
from cra.fuzzing.scratch import scratch
from cra.fuzzing.streams import TOKENS, a_session
from cra.fuzzing.target import Target, expect
from cra.hotpath import scan_ring, verify_chain
from cra.reference.ring import (
    DATA_OFFSET,
    FRAME,
    HEAD_OFFSET,
    IDENTITY,
    LENGTH,
    MAGIC,
    TAIL_OFFSET,
    VERSION,
    WORD,
    frame_size,
    mix,
)
from cra.storage.memory import MemoryStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace.definitions import MAGIC as DEFINITIONS_MAGIC
from cra.trace.jsonl import dump_line
from cra.trace.recovery import recover
from cra.trace.ring_folder import DEFINITIONS, RING, RingFolder
from cra.trace.ring_look import look_at_rings

_SIZE: Final = 4096
_SECRET: Final = 0x0123456789ABCDEF
_PID: Final = 4_194_305  # more than there are
_NAME: Final = f"{_PID}-0123456789abcdef"
_RAW: Final = 1


def answer(data: bytes) -> object:
    """What a scan says, what a look says, and what recovery makes of it and leaves behind."""
    draws = Draws(data)
    how = draws.number()
    definitions = draws.block()
    image = draws.rest() if how & _RAW else _image(draws)
    if not how & 2:
        definitions = DEFINITIONS_MAGIC + (1).to_bytes(4, "little") + _entries(definitions)
    try:
        scan: object = scan_ring(image)
    except StorageError as error:
        scan = refusal(error)
    with scratch() as folder:
        (folder / (_NAME + RING)).write_bytes(image)
        if not how & 4:
            (folder / (_NAME + DEFINITIONS)).write_bytes(definitions)
        look = msgspec.to_builtins(look_at_rings(folder))
        return scan, look, _recovered(folder), sorted(path.name for path in folder.iterdir())


def _recovered(folder: Path) -> object:
    store = MemoryStorage()
    found = recover(RingFolder(folder), [store], VirtualClock(), SeededIds(1))
    lines = []
    for session_id in store.sessions():
        events = list(store.events(session_id))
        verdict = verify_chain(events)
        expect(verdict.valid, f"what was recovered is no chain: {verdict}")
        lines.append([dump_line(event) for event in events])
    expect(recover(RingFolder(folder), [store], VirtualClock(), SeededIds(1)).rings == 0, "a ring is recovered twice")
    return found.payload(), lines


def _entries(data: bytes) -> bytes:
    """Records as a file of definitions has them; with a length that reaches beyond the end, a torn one."""
    draws, entries = Draws(data), b""
    while draws:
        record = draws.block()
        entries += len(record).to_bytes(4, "little") + crc32(record).to_bytes(4, "little") + record
    return entries


def _image(draws: Draws) -> bytes:
    """A ring file: where the tail is, records, how far the head is behind the last, and bytes that are changed afterwards."""
    tail = head = draws.number(2) * 8
    ring = bytearray(_SIZE)
    for _ in range(draws.number() % 32):
        record = draws.block()
        if head + frame_size(len(record)) - tail > _SIZE:
            break
        checksum = crc32(record, crc32(LENGTH.pack(len(record))))
        for at, byte in enumerate(FRAME.pack(mix(head, _SECRET), checksum, len(record)) + record):
            ring[head + at & _SIZE - 1] = byte
        head += frame_size(len(record))
    identity = IDENTITY.pack(MAGIC, VERSION, _SIZE, _SECRET, _PID, 0)[: -LENGTH.size]
    image = bytearray(DATA_OFFSET)
    image[: IDENTITY.size] = identity + LENGTH.pack(crc32(identity))
    WORD.pack_into(image, HEAD_OFFSET, max(0, head + draws.number() * 8 - draws.number() * 8))
    struct.pack_into("<QQ", image, TAIL_OFFSET, tail, mix(tail, _SECRET))
    image += ring
    while draws:
        place, changed = draws.number(2), draws.block()
        begin = (HEAD_OFFSET + place - 0xFF00) if place >= 0xFF00 else DATA_OFFSET + place % _SIZE
        image[begin : begin + len(changed)] = changed
    return bytes(image[: DATA_OFFSET + _SIZE])


def seeds() -> list[bytes]:
    """A whole ring, one that has wrapped, one with holes, and files that are none."""
    records = a_session()
    definitions = blocks(records[0], records[1])
    body = bytes([len(records)]) + blocks(*records)
    sound = b"\0" + blocks(definitions) + b"\0\0" + body + b"\0\0"
    wrapped = b"\0" + blocks(definitions) + (480).to_bytes(2, "little") + body + b"\0\0"
    holes = sound + b"\x10\x00" + blocks(b"\0" * 40) + b"\x01\xff" + blocks(b"\x01")
    return [
        sound,
        wrapped,
        holes,
        b"\4" + sound[1:],
        b"\2" + sound[1:],
        b"\1\0\0" + _image(Draws(b"\0\0" + body))[:700],
        b"\1\0\0",
    ]


TARGET = Target(
    "ring",
    "rings of dead processes, recovered",
    answer,
    seeds,
    tokens=(*TOKENS, MAGIC, DEFINITIONS_MAGIC),
    max_bytes=6000,
)
