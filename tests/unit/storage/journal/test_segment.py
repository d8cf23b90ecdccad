"""One segment: written whole or not at all, and checked to the last byte. docs/formats/journal.md."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError
from cra.reference.frames import frame
from cra.storage.journal import entries
from cra.storage.journal.entries import Header, Lines
from cra.storage.journal.segment import SegmentWriter, check
from tests.support.journals import files, frames, write_golden
from tests.support.records import NOON, definition, events, resolve, template

ROOT = Path(__file__).parents[4]
DATA = ROOT / "tests/data/journal"
HEADER = Header(3, bytes(range(16)), bytes(range(32)), NOON)

pytestmark = pytest.mark.usefixtures("twin")


def write(folder: Path, *batches: bytes, seal: bool = True) -> bytes:
    """The bytes of a segment that these were appended to."""
    writer = SegmentWriter(folder / "x.segment", HEADER, b"")
    for batch in batches:
        writer.append(batch)
    if seal:
        writer.seal(NOON + 1)
    writer.close()
    return (folder / "x.segment").read_bytes()


def hexdump(data: bytes) -> str:
    """As the golden files have it."""
    return "".join(f"{at:08x}: {data[at : at + 16].hex(' ')}\n" for at in range(0, len(data), 16))


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    """They never change: what version 1 wrote has to be readable for ever. Both golden files, and the page's example."""
    write_golden(tmp_path)
    page = (ROOT / "docs/formats/journal.md").read_text()
    written = list(files(tmp_path).values())
    assert [(DATA / f"version-1.0000000{number}.hex").read_text() for number in range(2)] == list(map(hexdump, written))
    (example,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert hexdump(written[1]) == example


def test_what_is_written_is_found_whole(tmp_path: Path) -> None:
    """Header, frames and links as they were given, and the hash of all of it."""
    data = write(tmp_path, frames(events(), template()), frames(resolve(n=1)))
    checked = check(data)
    assert (HEADER, len(data), len(data), True, None) == (
        *(checked.header, checked.whole, checked.linked),
        *(checked.is_sealed, checked.fault),
    )
    assert hashlib.sha256(data).digest() == checked.digest


def test_every_truncation_keeps_the_frames_before_it(tmp_path: Path) -> None:
    """What is whole is known to be whole, and a segment that was cut is not sealed any more."""
    data = write(tmp_path, frames(events()), frames(resolve(n=1), resolve(n=2)))
    ends = [cut for cut in range(entries.HEADER_BYTES, len(data) + 1) if check(data[:cut]).whole == cut]
    assert 8 == len(ends)  # the header, three records, three links, the seal
    for cut in range(entries.HEADER_BYTES, len(data)):
        checked = check(data[:cut])
        assert max(end for end in ends if end <= cut) == checked.whole
        assert (False, None) == (checked.is_sealed, checked.fault)
    for cut in range(entries.HEADER_BYTES):
        assert check(data[:cut]).header is None


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    """By a checksum; where that is made to fit again, by the chain."""
    data = write(tmp_path, frames(events(), template()), frames(resolve(n=1)))
    for at in range(len(data)):
        for bit in (1, 128):
            changed = check(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            assert changed.header is None or changed.fault or changed.whole < len(data)
    at = data.index(resolve(n=1))
    forged = data[: at - 8] + frame(resolve("gaol", n=1)) + data[at + len(resolve(n=1)) :]
    fault = check(forged).fault
    assert fault is not None
    assert "their SHA-256 is another" in fault


@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        (frame(b"\x63"), "of no known kind"),
        (frame(b""), "of no known kind"),
        (entries.link(bytes(32)), "their SHA-256 is another"),
        (frame(b"\x10\0\0\1" + bytes(32)), "their SHA-256 is another"),
        (frame(b"\x12\0\0\0abc"), "is malformed"),
        (frame(entries.lines_entry(Lines(definition(1)[0], 0, 1, b"{}\n"))[8:-1]), "is malformed"),
    ],
)
def test_an_entry_that_no_writer_writes_is_a_fault(extra: bytes, fault: str, tmp_path: Path) -> None:
    """Its checksum is right, and it is found all the same."""
    found = check(write(tmp_path, frames(events()), seal=False) + extra).fault
    assert found is not None
    assert fault in found


def test_nothing_follows_a_seal(tmp_path: Path) -> None:
    """Neither an entry nor a record."""
    for extra in (entries.link(bytes(32)), frames(resolve())):
        assert "something follows its seal" == check(write(tmp_path, frames(events())) + extra).fault


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"cra-ring" + bytes(80), "it does not begin as a segment"),
        (b"cra-jrnl", "it is cut short within its header"),
        (entries.encode_header(HEADER)[:-1] + b"\0", "its header is damaged: the checksum is wrong"),
    ],
)
def test_what_is_no_segment_is_refused_with_a_reason(header: bytes, message: str) -> None:
    """Before anything in it is believed."""
    with pytest.raises(StorageError, match=message):
        entries.decode_header(header)
    assert message == check(header).fault


def test_a_later_version_is_refused_by_its_number() -> None:
    """It says which one this is."""
    later = entries.encode_header(HEADER, 3)
    with pytest.raises(StorageError, match="it has format version 3, and this version of cra reads up to 2"):
        entries.decode_header(later)


def test_lines_come_back_as_they_were_given() -> None:
    """An entry of events that came as events."""
    lines = Lines(definition(1)[0], 7, 2, b"{}\n{}\n")
    assert lines == entries.read_lines(entries.lines_entry(lines)[8:])


@pytest.mark.parametrize("how", [errno.ENOSPC, errno.EIO, "short"])
@pytest.mark.parametrize("truncates", [True, False])
def test_a_failed_write_leaves_nothing_half_done(
    how: Any, truncates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disk full, an error, or an error after part of it was written: it is cut back, at the latest before the next write."""
    writer = SegmentWriter(tmp_path / "x.segment", HEADER, b"")
    writer.append(frames(events()))
    before = (tmp_path / "x.segment").read_bytes()
    real = os.writev
    calls = []

    def fail(file: int, parts: Any) -> int:
        calls.append(parts)
        if how == "short" and len(calls) == 1:
            return real(file, [parts[0][:5]])
        raise OSError(errno.ENOSPC if how == "short" else how, "injected")

    def refuse(file: int, size: int) -> None:
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", fail)
        if not truncates:
            patched.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="injected"):
            writer.append(frames(resolve(n=1)))
    assert calls
    if truncates:
        assert before == (tmp_path / "x.segment").read_bytes()
    writer.append(frames(resolve(n=2)))
    writer.seal(NOON)
    writer.close()
    data = (tmp_path / "x.segment").read_bytes()
    assert (None, True) == (check(data).fault, check(data).is_sealed)
    assert (False, True) == (resolve(n=1) in data, resolve(n=2) in data)


@pytest.mark.parametrize("call", ["open", "writev", "rename"])
def test_a_segment_that_cannot_be_made_is_not_there(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in the folder."""

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "injected")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        with pytest.raises(OSError, match="injected"):
            SegmentWriter(tmp_path / "x.segment", HEADER, frames(events()))
    assert [] == os.listdir(tmp_path)
