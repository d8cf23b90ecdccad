"""The lines of a trace file, read one after the other and never without bound. PROTOCOL: Verification.

`read_lines` is used by everything that reads a trace file; `feed_lines` is the loop of `cra.verify_file`, and has a compiled twin
that looks only at lines that are not plainly right one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from cra.trace.verify import FileVerifier

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_CHUNK: Final = 1024 * 1024


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a trace file, never more than `MAX_LINE_BYTES` + 1 of one: the rest of a longer one is skipped."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(_CHUNK)


def feed_lines(file: BinaryIO, verifier: FileVerifier) -> None:
    """Feed every line of a file, open for reading bytes at its beginning, to the verifier. Raises `OSError`."""
    for line in read_lines(file):
        verifier.feed(line)
