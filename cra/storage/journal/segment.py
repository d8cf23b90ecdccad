"""One segment: written from its header to its seal, and checked. docs/formats/journal.md.

A series writes its segments with `SegmentWriter`; whatever is given to it at once is in the file whole or not at all. `check`
says whether a segment is what its writer wrote, and never raises over what the bytes contain.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from cra.errors import StorageError
from cra.hotpath import scan_frames
from cra.reference.records import EVENTS, FORGET, RESOLVE, TEMPLATE
from cra.storage.journal import entries
from cra.storage.journal.entries import LINK, SEAL, Header

_PART: Final = ".part"
_KINDS: Final = (EVENTS, RESOLVE, TEMPLATE, FORGET, entries.LINES, *entries.OF_TOMBSTONES)
_FILE_MODE: Final = 0o600  # a trace tells what an organisation's agents do


class SegmentWriter:
    """A new segment at `path`, which holds `header` and `frames` when it is first seen there.

    `size` is how much of the file counts, `path` where it is, `number` its place in the series. Raises `OSError` where the
    file cannot be made; then there is none.
    """

    def __init__(self, path: Path, header: Header, frames: bytes) -> None:
        self.path = path
        self.number = header.number
        # How much counts, the hash of that, and whether it ends with a seal: one assignment, so that a write counts whole or not
        # at all, whatever interrupts it.
        self._written = 0, hashlib.sha256(), False
        part = path.with_name(path.name + _PART)
        self._file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        try:
            self.append(entries.encode_header(header) + frames)
            os.rename(part, path)
        except BaseException:
            self.close()
            with suppress(OSError):
                part.unlink()
            raise

    @property
    def size(self) -> int:
        """How much of the file counts."""
        return self._written[0]

    @property
    def is_sealed(self) -> bool:
        """Whether nothing may follow."""
        return self._written[2]

    def append(self, frames: bytes) -> None:
        """Write frames, and a LINK behind them. Raises `OSError`, and they are not in the file, or cut off before the next
        write."""
        digest = self._written[1].copy()
        digest.update(frames)
        self._write(digest, frames, entries.link(digest.digest()))

    def seal(self, now_ns: int) -> bytes:
        """End the segment; returns the SHA-256 of all of it. Raises as `append` does. Harmless when repeated."""
        if not self.is_sealed:
            digest = self._written[1].copy()
            self._write(digest, b"", entries.seal(digest.digest(), now_ns), seals=True)
        return self._written[1].digest()

    def sync(self) -> None:
        """Bring it to the disk. After an `OSError` from here the segment must not be used any more."""
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of the file. Harmless when repeated."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _write(self, digest: hashlib._Hash, frames: bytes, last: bytes, *, seals: bool = False) -> None:
        """Write both; `digest` has taken the first, and the segment's is it and the second, once that is done."""
        if os.fstat(self._file).st_size != self.size:
            self._cut_back()  # an earlier write failed, or was interrupted before it counted
        try:
            _write_all(self._file, frames, last)
        except BaseException:
            with suppress(OSError):  # tried again with the next write
                self._cut_back()
            raise
        digest.update(last)
        self._written = self.size + len(frames) + len(last), digest, seals

    def _cut_back(self) -> None:
        os.ftruncate(self._file, self.size)


def _write_all(file: int, *parts: bytes) -> None:
    left = [memoryview(part) for part in parts if part]
    while left:
        written = os.writev(file, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if left:
            left[0] = left[0][written:]


class Checked(NamedTuple):
    """What a check found in a segment.

    `whole` is how many of its bytes are frames that the checksums vouch for, `linked` how many of these the last LINK or SEAL
    vouches for, `digest` the SHA-256 of the whole frames, `is_sealed` whether the last of them is a SEAL. `fault` says what
    is wrong with what is there, whatever may follow; None where nothing is.
    """

    header: Header | None
    whole: int
    linked: int
    digest: bytes
    is_sealed: bool
    fault: str | None


def check(data: bytes) -> Checked:
    """Check a segment from its bytes: its header, every frame, every LINK, and that nothing follows its SEAL."""
    try:
        header = entries.decode_header(data)
    except StorageError as error:
        return Checked(None, 0, 0, hashlib.sha256().digest(), False, error.message)
    places, whole = scan_frames(data, entries.HEADER_BYTES)
    digest, at, linked = hashlib.sha256(), 0, 0
    is_sealed, fault = False, None
    for start, length in places:
        kind = data[start] if length else 0
        if is_sealed:
            fault = fault or "something follows its seal"
        if kind in (LINK, SEAL):
            begin = start - 8
            digest.update(data[at:begin])
            at = begin
            if entries.read_link(data[start : start + length]) != digest.digest():
                fault = (
                    fault
                    or f"the bytes before offset {begin} are not those that were written: their SHA-256 is another"
                )
            is_sealed = kind == SEAL
            linked = start + length
        elif kind == entries.LINES and entries.read_lines(data[start : start + length]) is None:
            fault = fault or f"the entry at offset {start - 8} is malformed"
        elif kind not in _KINDS:
            fault = fault or f"the entry at offset {start - 8} is of no known kind"
    if is_sealed and linked != whole:
        fault = fault or "something follows its seal"
    digest.update(data[at:whole])
    return Checked(header, whole, linked, digest.digest(), is_sealed, fault)
