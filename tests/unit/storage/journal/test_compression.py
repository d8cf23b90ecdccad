"""Sealed segments compressed with zstd: the same journal, in fewer bytes, and every byte vouched for."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conformance import journal as second_reader
from cra.errors import StorageError
from cra.storage.journal import compression
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.compression import read_sealed, read_segment
from cra.storage.journal.retention import Retention
from cra.storage.journal.series import Rotation
from cra.storage.journal.verify import verify_journal
from cra.trace.jsonl import dump_line
from tests.support.journals import frames
from tests.support.records import definition, events, resolve, template

zstandard = pytest.importorskip("zstandard")
pytestmark = pytest.mark.usefixtures("twin")
FIRST = definition(1)[0]


def write(folder: Path, **options: Any) -> JournalStorage:
    """A journal with several sealed segments and one that is written; nothing is done in the background."""
    store = JournalStorage(folder, rotation=Rotation(max_bytes=3_000), compress=True, **options)
    store._keeper = None
    store.append_records(frames(events(("session.started", {})), template()))
    for n in range(1, 60):
        store.append_records(frames(resolve(f"goal {n}", n=n, injected=[n % 3])))
    return store


def names(folder: Path) -> list[str]:
    """The endings of all segments."""
    return ["".join(path.suffixes[1:]) for path in sorted(folder.glob("*.segment*"))]


def test_what_is_compressed_was_indexed_before(tmp_path: Path) -> None:
    """By the keeper, so that nobody has to decompress it for that; what was compressed without is left to who reads it."""
    store = write(tmp_path)
    store._keep()
    compressed = sorted(tmp_path.glob("*.zst"))
    indexes = [path.with_name(path.name.replace(".segment.zst", ".index")) for path in compressed]
    assert len(indexes) > 1
    assert all(path.exists() for path in indexes)
    indexes[0].unlink()
    assert 0 == store.index_sealed()
    assert store.sessions()
    assert indexes[0].exists()
    store.close()


def test_a_compressed_journal_is_the_same(tmp_path: Path) -> None:
    """To readers, to verification, to the second reader and to any zstd; in fewer bytes."""
    store = write(tmp_path)
    before = {path.name: path.read_bytes() for path in sorted(tmp_path.glob("*.segment"))}
    expected = list(store.events(FIRST))
    sealed = [read_sealed(path) for path in sorted(tmp_path.glob("*.segment"))]
    assert len(before) - 1 == store.compress_sealed() > 1
    assert [".segment.zst"] * (len(before) - 1) + [".segment"] == names(tmp_path)
    compressed = sorted(tmp_path.glob("*.zst"))
    assert sealed[:-1] == [read_sealed(path) for path in compressed]
    for path in compressed:
        content = before[path.stem]
        assert content == read_segment(path) == read_segment(path.with_suffix(""))
        assert content == zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
        assert path.stat().st_size < len(content)
    for reader in (store, JournalStorage(tmp_path)):
        assert expected == list(reader.events(FIRST))
        assert expected[-3:] == reader.last(FIRST, 3)
        assert (len(expected), len(expected)) == (reader.count(FIRST), reader.count())
    assert () == verify_journal(tmp_path).faults
    store.append_records(frames(events(("session.ended", {}), n=90, define=None)))
    store.close()
    assert () == verify_journal(tmp_path).faults
    lines = [dump_line(event).decode() for event in JournalStorage(tmp_path).events(FIRST)]
    assert {FIRST: lines} == second_reader.read(tmp_path)


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    """Those that zstd does not look at, too."""
    store = write(tmp_path)
    store.compress_sealed()
    store.close()
    path = min(tmp_path.glob("*.zst"))
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :])
        assert any("was changed" in fault for fault in verify_journal(tmp_path).faults), at
    for cut in (0, 10, 87, 88, len(data) - 1):
        path.write_bytes(data[:cut])
        assert not verify_journal(tmp_path).valid
        with pytest.raises(StorageError, match="was changed"):
            list(JournalStorage(tmp_path).events(FIRST))
    body = b"not zstd at all, but vouched for" + data[-88:-32]
    path.write_bytes(body + compression.hashlib.sha256(body).digest())
    assert "cannot be decompressed" in " ".join(verify_journal(tmp_path).faults)


def test_retention_takes_compressed_segments(tmp_path: Path) -> None:
    """By what they take on the disk."""
    store = write(tmp_path, retention=Retention(max_bytes=1_500))
    expected = list(store.events(FIRST))
    store.compress_sealed()
    assert store.apply_retention() > 0
    kept = list(store.events(FIRST))
    assert 0 < len(kept) < len(expected)
    assert expected[-len(kept) :] == kept
    assert () == verify_journal(tmp_path).faults
    store.close()


def test_a_dead_series_goes_on_behind_a_compressed_segment(tmp_path: Path) -> None:
    """Recovery reads what it needs."""
    store = write(tmp_path)
    name = store._series.name
    store.close()
    other = JournalStorage(tmp_path, compress=True)
    other._keeper = None
    assert other.compress_sealed() > 1
    records = [frames(resolve(f"goal {n}", n=n, injected=[n % 3])) for n in range(50, 62)]
    with other.resume(name) as resumed:
        assert 10 == resumed.first_missing(records, 4096)
        resumed.append(b"".join(records[10:]))
    assert 1 + 61 * 5 == other.count(FIRST)
    assert () == verify_journal(tmp_path).faults
    other.close()


@pytest.mark.parametrize("call", ["open", "fsync", "rename", "unlink"])
def test_where_compressing_fails_the_segment_stays(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, and the next time it is done; where both are there, either is the segment."""
    store = write(tmp_path)
    expected = list(store.events(FIRST))

    def refuse(*_: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "injected")

    with monkeypatch.context() as patched:
        patched.setattr(Path if call == "unlink" else os, call, refuse)
        with pytest.raises(StorageError, match="injected"):
            store.compress_sealed()
    assert expected == list(store.events(FIRST))
    assert () == verify_journal(tmp_path).faults
    assert store.compress_sealed() > 0
    assert expected == list(store.events(FIRST))
    assert 1 == names(tmp_path).count(".segment")
    store.close()


def test_it_is_done_in_the_background(tmp_path: Path) -> None:
    """Whenever a segment is full."""
    store = JournalStorage(tmp_path, rotation=Rotation(max_bytes=3_000), compress=True)
    store.append_records(frames(events(("session.started", {})), template()))
    for n in range(1, 60):
        store.append_records(frames(resolve(f"goal {n}", n=n)))
    for _ in range(3_000):
        if 1 == names(tmp_path).count(".segment"):
            break
        store._wake_keeper()
        time.sleep(0.01)
    assert 1 == names(tmp_path).count(".segment")
    assert 1 + 59 * 4 == store.count(FIRST)
    store.close()


def test_without_the_extra_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is opened, and when something compressed has to be read."""
    store = write(tmp_path)
    store.compress_sealed()
    store.close()
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(StorageError, match=r"compressed segments need zstandard; pip install 'cra\[zstd\]'"):
        JournalStorage(tmp_path, compress=True)
    with pytest.raises(StorageError, match="compressed segments need zstandard"):
        list(JournalStorage(tmp_path).events(FIRST))


def test_a_damaged_segment_is_not_compressed(tmp_path: Path) -> None:
    """It stays as it is, for whoever looks into it."""
    store = write(tmp_path)
    path = min(tmp_path.glob("*.segment"))
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    store.compress_sealed()
    assert bytes(data) == path.read_bytes()
    store.close()


def test_a_dead_series_with_a_damaged_compressed_segment_can_be_opened(tmp_path: Path) -> None:
    """And written, and read where a session has nothing there; of others it is an error. Verification says which segment
    it is."""
    store = write(tmp_path)
    store.compress_sealed()
    store._series.leave()
    path = min(tmp_path.glob("*.zst"))
    path.write_bytes(path.read_bytes()[:-100])
    opened = JournalStorage(tmp_path)
    opened.append_records(frames(events(session=2, define=definition(2))))
    assert 1 == len(opened.last(definition(2)[0], 5))
    with pytest.raises(StorageError, match=f"the segment {path.name} was changed"):
        opened.last(definition(1)[0], 5)
    opened.close()
    assert any(path.name in fault for fault in verify_journal(tmp_path).faults)
