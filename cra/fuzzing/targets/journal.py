"""A journal's folder, any bytes in its files: verified, looked at, opened, mended, read. docs/formats/journal.md.

The input is a list of files: a byte says which, a block is its content. A segment is the file as it is, or a list of entries,
which are framed, linked and sealed here, so that mutation need not guess hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from cra.errors import StorageError
from cra.fuzzing.draws import Draws, blocks
from cra.fuzzing.harness import refusal
from cra.fuzzing.scratch import scratch
from cra.fuzzing.streams import TOKENS, a_session
from cra.fuzzing.target import Target, expect
from cra.fuzzing.traces import trace
from cra.reference.frames import frame
from cra.storage.journal import entries
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.entries import Header, Lines
from cra.storage.journal.segment import check
from cra.storage.journal.tombstones import Tombstone, encode_tombstone
from cra.storage.journal.verify import verify_journal
from cra.testing import VirtualClock
from cra.trace.journal_look import look_at_journal
from cra.trace.jsonl import dump_line

_SERIES: Final = "4711-0123456789abcdef"
_IDENTITY: Final = bytes(range(16))
_BEGUN_NS: Final = 1_767_268_800 * 10**9
_RAW, _ENTRIES, _OPEN, _INDEX, _TOMBSTONE, _COMPRESSED = range(6)
_MOST: Final = 4


def answer(data: bytes) -> object:
    """What verification and a look say; what is read; and that opening mends what was torn, and changes nothing else."""
    draws = Draws(data)
    with scratch() as folder:
        _write(draws, folder)
        before = [_verified(folder), msgspec.to_builtins(look_at_journal(folder, set()))]
        try:
            first = _read(folder)
        except StorageError as error:
            return before, refusal(error)
        expect(_read(folder) == first, "what is read of a journal depends on how often it was opened")
        return before, first, _verified(folder), sorted(path.name for path in folder.iterdir())


def _read(folder: Path) -> object:
    with closing(JournalStorage(folder, clock=VirtualClock())) as store:
        sessions = store.sessions()
        found = [(name, _or_refused(partial(_session, store, name))) for name in sessions]
        return sessions, found, _or_refused(store.count)


def _session(store: JournalStorage, name: str) -> object:
    events = list(store.events(name))
    expect([event.session_id for event in events] == [name] * len(events), "an event of another session")
    expect(store.count(name) == len(events), "the count is not that of the events")
    expect(store.last(name, 2) == events[-2:], "the last events are others")
    return [dump_line(event) for event in events], store.head(name), store.anchor(name)


def _or_refused(call: Callable[[], object]) -> object:
    try:
        return call()
    except StorageError as error:
        return refusal(error)


def _verified(folder: Path) -> object:
    return _or_refused(lambda: msgspec.to_builtins(verify_journal(folder)))


def _write(draws: Draws, folder: Path) -> None:
    """The files, numbered from 0; one that is `_OPEN` is not sealed, and its writer's lock is there."""
    previous = bytes(32)
    for number in range(_MOST):
        if not draws:
            return
        kind, content = draws.number() % 6, draws.block()
        stem = f"{_SERIES}.{number:08d}"
        if kind == _INDEX:
            (folder / f"{_SERIES}.{max(0, number - 1):08d}.index").write_bytes(content)
        elif kind == _TOMBSTONE:
            stone = Tombstone(
                _IDENTITY, number, len(content), _BEGUN_NS, _BEGUN_NS, hashlib.sha256(content).digest(), {}
            )
            data = content if content.startswith(entries.MAGIC) else encode_tombstone(stone, previous, _BEGUN_NS)
            (folder / f"{stem}.gone").write_bytes(data)
            previous = hashlib.sha256(content).digest()
        else:
            data = (
                content if kind in (_RAW, _COMPRESSED) else _segment(content, number, previous, sealed=kind == _ENTRIES)
            )
            (folder / (stem + (".segment.zst" if kind == _COMPRESSED else ".segment"))).write_bytes(data)
            previous = hashlib.sha256(data).digest()
            if kind == _OPEN:
                (folder / f"{_SERIES}.lock").write_bytes(b"")
            expect(
                kind in (_RAW, _COMPRESSED) or check(data).header is not None,
                "a segment that was made here has no header",
            )


def _segment(content: bytes, number: int, previous: bytes, *, sealed: bool) -> bytes:
    """A segment of entries; an empty one is a link, and the last is torn off where the segment is open and it is of odd
    length."""
    draws = Draws(content)
    data = entries.encode_header(Header(number, _IDENTITY, previous, _BEGUN_NS))
    while draws:
        entry = draws.block()
        data += frame(entry) if entry else entries.link(hashlib.sha256(data).digest())
    if sealed:
        return data + entries.seal(hashlib.sha256(data).digest(), _BEGUN_NS + 1)
    return data[:-1] if len(content) % 2 else data


def seeds() -> list[bytes]:
    """Sealed segments, open ones, lines that came as events, a tombstone, an index, and files that are none."""
    records = a_session()
    session = trace(session=3)
    lines = entries.lines_entry(Lines(_session_id(session), 0, session.count(b"\n"), session))[entries.FRAME_BYTES :]
    sealed, opened = (
        bytes([_ENTRIES]) + blocks(blocks(*records[:4], b"")),
        bytes([_OPEN]) + blocks(blocks(*records[:4], b"", records[4])),
    )
    goes_on = bytes([_ENTRIES]) + blocks(blocks(records[0], records[1], *records[4:], b""))
    raw = bytes([_RAW]) + blocks(_segment(blocks(*records, b""), 0, bytes(32), sealed=True))
    return [
        sealed,
        sealed + goes_on,
        opened,
        opened + b"x",
        bytes([_ENTRIES]) + blocks(blocks(lines, b"", *records)),
        bytes([_TOMBSTONE]) + blocks(b"gone") + sealed,
        sealed + bytes([_INDEX]) + blocks(b"00000000\n[]"),
        raw,
        bytes([_COMPRESSED]) + blocks(b"\x28\xb5\x2f\xfd"),
    ]


def _session_id(lines: bytes) -> str:
    return lines.split(b'"session_id":"')[1][:36].decode()


TARGET = Target(
    "journal",
    "journals: segments, indexes, tombstones",
    answer,
    seeds,
    tokens=(
        *TOKENS,
        entries.MAGIC,
        b"\x12\0\0\0",
        b"\x13\0\0\0",
        b"\x14\0\0\0",
        b"\x15\0\0\0",
        b"\x28\xb5\x2f\xfd",
        b"00000000\n",
    ),
    max_bytes=6000,
)
