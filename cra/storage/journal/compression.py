"""Sealed segments, compressed with zstd, and the bytes of segments whichever way they lie there. docs/formats/journal.md.

A compressed segment is a file that any zstd reads, with a trailer that zstd passes over: so it is known when the segment was
sealed without decompressing it, and no byte of the file can be changed unseen. Needs the extra `zstd`, to read as well as to
write.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

from typing_extensions import Self

from cra.errors import StorageError
from cra.hotpath import scan_frames
from cra.storage.folders import sync_folder
from cra.storage.journal import entries
from cra.storage.journal.names import COMPRESSED
from cra.storage.journal.segment import check

_TRAILER: Final = Struct(
    "<IIqQ32s32s"
)  # magic, length of the rest, sealed when, size, hash in the SEAL, SHA-256 of all before that
_MAGIC: Final = 0x184D2A50  # of a frame that zstd passes over
_HASH: Final = 32


class Sealed(NamedTuple):
    """What is known of a sealed segment without reading it: when it was sealed, its size uncompressed, and the hash in its
    SEAL."""

    time_ns: int
    size: int
    digest: bytes


def read_segment(path: Path) -> bytes:
    """All bytes of a segment. Raises `OSError`, and `StorageError` for a compressed one that was changed."""
    if path.suffix != COMPRESSED:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            path = path.with_name(path.name + COMPRESSED)  # compressed meanwhile, or really gone
    data = path.read_bytes()
    sealed = _trailer(data[-_TRAILER.size :])
    if sealed is None or hashlib.sha256(data[:-_HASH]).digest() != data[-_HASH:]:
        raise StorageError(f"the segment {path.name} was changed: it is not what was compressed")
    try:
        content = _zstandard().ZstdDecompressor().decompress(data[: -_TRAILER.size], max_output_size=sealed.size)
    except _zstandard().ZstdError as error:
        raise StorageError(f"the segment {path.name} cannot be decompressed: {error}") from error
    except MemoryError:
        raise StorageError(
            f"the segment {path.name} cannot be decompressed: there is no memory for its {sealed.size} bytes"
        ) from None
    return bytes(content)


class Content:
    """The bytes of a segment, for one reader: `size` of them. As `read_segment` in what it raises."""

    def __init__(self, path: Path) -> None:
        self._data = b""
        self._file = -1
        if path.suffix != COMPRESSED:
            with suppress(FileNotFoundError):
                self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if self._file < 0:
            self._data = read_segment(path)
        self.size = len(self._data) if self._file < 0 else os.fstat(self._file).st_size

    def read(self, at: int, length: int) -> bytes:
        """At most `length` bytes from offset `at` on."""
        return self._data[at : at + length] if self._file < 0 else os.pread(self._file, length, at)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def read_sealed(path: Path) -> Sealed | None:
    """What is known of a segment from its end; None where it is not sealed. Raises `OSError`."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if path.suffix == COMPRESSED:
            return _trailer(os.pread(file.fileno(), _TRAILER.size, max(0, size - _TRAILER.size)))
        data = os.pread(file.fileno(), entries.SEAL_BYTES, max(0, size - entries.SEAL_BYTES))
    for at, length in scan_frames(data)[0]:
        digest = entries.read_link(data[at : at + length])
        if digest is not None and data[at] == entries.SEAL:
            return Sealed(entries.read_seal_time(data[at : at + length]), size, digest)
    return None


def compress(path: Path) -> bool:
    """Put a compressed segment in the place of a sealed one, in one step; False for one that is damaged, or gets no smaller.

    Raises `OSError`; then the segment is there as before.
    """
    data = path.read_bytes()
    checked, sealed = check(data), read_sealed(path)
    if checked.fault or checked.whole != len(data) or sealed is None:
        return False
    body = _zstandard().ZstdCompressor(level=3).compress(data)
    body += _TRAILER.pack(_MAGIC, _TRAILER.size - 8, sealed.time_ns, len(data), sealed.digest, b"")[:-_HASH]
    body += hashlib.sha256(body).digest()
    if len(body) >= len(data):
        return False
    part = path.with_name(f"{path.name}{COMPRESSED}.part")
    try:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(file, "wb") as opened:
            opened.write(body)
            opened.flush()
            os.fsync(opened.fileno())
        os.rename(part, path.with_name(path.name + COMPRESSED))
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    path.unlink(missing_ok=True)
    return True


def damaged(path: Path, at: int) -> StorageError:
    """The error for a segment of which not all can be read: whatever comes behind that place would be chained wrongly."""
    return StorageError(
        f"the segment {path.name} is damaged at offset {at}, and sessions that may be in it cannot be read; see what is"
        f" wrong with:"
        f" cra trace verify {path.parent}, and put the segment back from a copy"
    )


def check_available() -> None:
    """Raises `StorageError` without the extra."""
    _zstandard()


def _trailer(data: bytes) -> Sealed | None:
    if len(data) != _TRAILER.size:
        return None
    magic, length, time_ns, size, digest, _ = _TRAILER.unpack(data)
    return Sealed(time_ns, size, digest) if (magic, length) == (_MAGIC, _TRAILER.size - 8) else None


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise StorageError("compressed segments need zstandard; pip install 'cra[zstd]'") from None
    return zstandard
