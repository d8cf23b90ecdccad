"""The files of spools: their names, their form, and reading them back. docs/formats/spool.md.

A spool holds the batches that a store has not taken, in segments beside the ring of the process that made them. The process that
writes them uses `cra.trace.spool`, recovery `cra.trace.spool_recovery`, the doctor looks. Reading never raises over what the
bytes contain: it ends where they are not whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from cra.errors import StorageError
from cra.reference.frames import FRAME, frame
from cra.storage.look import NotRegular, opened_to_look
from cra.trace.batch import Batch, Run

SPOOL: Final = ".spool"
MAGIC: Final = b"craspool"
VERSION: Final = 1
HEADER: Final = MAGIC + VERSION.to_bytes(4, "little")
MAX_NUMBER: Final = 10**8 - 1
_MAX_FRAME: Final = 2**30
_NAME: Final = re.compile(r"(?P<ring>[0-9]{1,10}-[0-9a-f]{16})\.(?P<place>[0-9]{1,4})-(?P<number>[0-9]{8})\.spool")


class SpoolHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a segment begins with: whose it is (`store` is the backend's name, `place` its place in the list of backends), and
    which of its segments this is."""

    store: str
    place: int
    number: int


class BatchHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the frame of a batch begins with: up to where in the ring it reaches, and the runs of its lines."""

    position: int
    runs: tuple[Run, ...]


_decode_spool_head: Final = msgspec.json.Decoder(SpoolHead).decode
_decode_batch_head: Final = msgspec.json.Decoder(BatchHead).decode


class SpoolFile(NamedTuple):
    """The name of a segment, taken apart."""

    path: Path
    place: int
    number: int


def segment_path(ring: Path, place: int, number: int) -> Path:
    """Where segment `number` of the spool at `place` is, of the process with this ring."""
    return ring.with_name(f"{ring.stem}.{place}-{number:08}{SPOOL}")


def spools_of(ring: Path) -> dict[int, list[SpoolFile]]:
    """The segments beside a ring in their order, by the place of their spool. Raises `OSError`."""
    found: dict[int, list[SpoolFile]] = {}
    for name in sorted(os.listdir(ring.parent)):
        match = _NAME.fullmatch(name)
        if match is not None and match["ring"] == ring.stem:
            place = int(match["place"])
            found.setdefault(place, []).append(SpoolFile(ring.with_name(name), place, int(match["number"])))
    return found


def ring_stem_of(name: str) -> str | None:
    """The stem of the ring that a segment of this name belongs to; None where it is none's."""
    match = _NAME.fullmatch(name)
    return None if match is None else match["ring"]


def encode_head(head: SpoolHead) -> bytes:
    """What a segment begins with."""
    return HEADER + frame(msgspec.json.encode(head))


def encode_batch(batch: Batch) -> bytes:
    """The frame of a batch."""
    return frame(msgspec.json.encode(BatchHead(batch.position, batch.runs)) + b"\n" + batch.data)


def decode_batch(content: bytes) -> Batch | None:
    """The batch in the content of a frame; None where it is none."""
    head, newline, data = content.partition(b"\n")
    try:
        found = _decode_batch_head(head)
    except msgspec.MsgspecError:
        return None
    if not newline or any(size < 0 or events < 0 for _, size, events in found.runs):
        return None
    if sum(size for _, size, _ in found.runs) != len(data):
        return None
    return Batch(data, found.runs, found.position)


def merged(batches: Sequence[Batch]) -> Batch:
    """Batches that follow each other, as one."""
    if len(batches) == 1:
        return batches[0]
    runs = [run for batch in batches for run in batch.runs]
    return Batch(b"".join([batch.data for batch in batches]), runs, batches[-1].position)


def read_frame(descriptor: int, at: int, end: int) -> bytes | None:
    """The content of the whole frame at an offset, of a file that counts up to `end`; None where none is. Raises `OSError`."""
    begin = os.pread(descriptor, FRAME.size, at)
    if len(begin) < FRAME.size:
        return None
    _, length = FRAME.unpack(begin)
    if length > min(end - at - FRAME.size, _MAX_FRAME):
        return None
    content = os.pread(descriptor, length, at + FRAME.size)
    return content if begin + content == frame(content) else None


def _is_whole(descriptor: int, at: int, end: int) -> bool:
    """Whether there are as many bytes at an offset as a frame there says it has, whatever they are."""
    begin = os.pread(descriptor, FRAME.size, at)
    return len(begin) == FRAME.size and FRAME.unpack(begin)[1] <= end - at - FRAME.size


class SegmentReader:
    """A segment from its beginning: its `head`, then its batches, then how many bytes are `torn`.

    What a process that dies was writing ends before it is whole; `is_damaged` says that what is torn is something else. Raises
    `StorageError` where it cannot be opened, and where it has another format; `head` is None where it ends within that.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.torn = 0
        self.is_damaged = False
        self.head: SpoolHead | None = None
        self._at = 0
        with self._opened() as descriptor:
            size = os.fstat(descriptor).st_size
            begin = os.pread(descriptor, len(HEADER), 0)
            content = read_frame(descriptor, len(HEADER), size) if begin == HEADER else None
            if content is None:
                self.torn, self.is_damaged = size, _is_whole(descriptor, len(HEADER), size)
        if not HEADER.startswith(begin):
            raise StorageError(
                f"{os.fspath(path)!r} is no spool of version {VERSION}; use the version of cra that wrote it"
            )
        if content is None:
            return
        try:
            self.head = _decode_spool_head(content)
        except msgspec.MsgspecError as error:
            raise StorageError(f"{os.fspath(path)!r} is no spool: {error}") from None
        self._at = len(HEADER) + FRAME.size + len(content)

    def batches(self) -> Iterator[Batch]:
        """Its whole batches, in order; then `torn` counts what follows them."""
        if self.head is None:
            return
        with self._opened() as descriptor:
            at, end = self._at, os.fstat(descriptor).st_size
            while (content := read_frame(descriptor, at, end)) is not None:
                batch = decode_batch(content)
                if batch is None:
                    break
                at += FRAME.size + len(content)
                yield batch
            self.torn = end - at
            self.is_damaged = _is_whole(descriptor, at, end)

    def _opened(self) -> _Opened:
        return _Opened(self._path)


class _Opened:
    """`opened_to_look`, whose errors are `StorageError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = opened_to_look(path)

    def __enter__(self) -> int:
        try:
            return self._opened.__enter__()
        except OSError as problem:
            raise StorageError(f"the spool {os.fspath(self._path)!r} cannot be read: {problem.strerror}") from problem
        except NotRegular as kind:
            raise StorageError(f"the spool {os.fspath(self._path)!r} cannot be read: it is {kind}") from None

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(None, None, None)
