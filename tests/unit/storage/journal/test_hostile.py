"""Journals that somebody else wrote: every checksum is right, and what it vouches for is nothing that a writer would write."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cra.errors import StorageError
from cra.reference.records import EVENTS, encode_events
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.compression import compress, read_segment
from cra.storage.journal.entries import FRAME_BYTES, Lines, lines_entry
from cra.storage.journal.verify import verify_journal
from cra.testing.traces import make_trace
from cra.trace.journal_look import look_at_journal
from cra.trace.jsonl import dump_line
from tests.support.journals import frames, small_series
from tests.support.records import definition, events

pytestmark = pytest.mark.usefixtures("twin")
SESSION = definition(1)[0]
DEFINED = events(("session.started", {}))
PAYLOADS = {
    "no JSON": b"{not json}",
    "not UTF-8": b'{"a":"\xb1"}',
    "no object": b"[1,2,3,4]",
    "a long number, and no JSON": b'{"a":12345678901234567890,}',
}


def written(folder: Path, *records: bytes) -> Path:
    """A journal with one sealed segment of these records, whatever they are."""
    series = small_series(folder)
    series.append(frames(*records))
    series.close()
    return folder


@pytest.fixture
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JournalStorage]:
    """The journal of a session whose second record is the parameter."""
    with closing(JournalStorage(written(tmp_path, DEFINED, request.param))) as store:
        yield store


def with_payload(payload: bytes) -> bytes:
    """An EVENTS record as `encode_events` writes it, but for the inside of the payload."""
    plain = b'{"a":"%s"}' % (b"x" * (len(payload) - 8))
    assert len(plain) == len(payload)
    return events(("a.b", {"a": "x" * (len(payload) - 8)}), n=1, define=None).replace(plain, payload)


@pytest.mark.parametrize("journal", list(map(with_payload, PAYLOADS.values())), ids=list(PAYLOADS), indirect=True)
def test_a_payload_that_is_none_is_a_storage_error(journal: JournalStorage) -> None:
    """By every way of reading; never an error of the reader's own."""
    for read in (lambda: list(journal.events(SESSION)), lambda: journal.last(SESSION, 1)):
        with pytest.raises(StorageError, match=r"is stored that is no event|holds what is no record"):
            read()


@pytest.mark.parametrize("line", [b"{}\n", b'{"a":"\xb1"}\n', b"1\n", b"\n"])
def test_a_line_that_is_no_event_is_a_storage_error(tmp_path: Path, line: bytes) -> None:
    """Lines that came as events are stored as they came; these never did."""
    entry = lines_entry(Lines(SESSION, 0, 1, line))
    store = JournalStorage(written(tmp_path, entry[FRAME_BYTES:]))
    with closing(store), pytest.raises(StorageError, match="is stored that is no event"):
        list(store.events(SESSION))


@pytest.mark.parametrize(
    "journal",
    [encode_events(1, 1, 0, [("a.b", b"{}")])[:-1], encode_events(1, 1, 0, [("a.b", b"{}")]).replace(b"a.b", b"a.B")],
    ids=["cut short", "of no type"],
    indirect=True,
)
def test_a_record_that_is_none_is_a_storage_error(journal: JournalStorage) -> None:
    """It says what to do."""
    with pytest.raises(StorageError, match=r"holds what is no record: .*; verify it"):
        list(journal.events(SESSION))


@pytest.mark.parametrize("length", range(1, 100))
def test_a_record_of_any_length_is_looked_at(tmp_path: Path, length: int) -> None:
    """Verification, a look, an opening: none of them raises over an EVENTS record that ends early, whatever flags it has."""
    record = bytes([EVENTS, 3]) + bytes(length - 2) if length > 1 else bytes([EVENTS])
    written(tmp_path, DEFINED, record)
    assert verify_journal(tmp_path).segments == 1
    assert look_at_journal(tmp_path, set()).problem is None
    with closing(JournalStorage(tmp_path)) as store:
        assert SESSION in store.sessions()


def test_a_line_of_another_session_is_a_storage_error(tmp_path: Path) -> None:
    """A reader who asked for one session is never given another's event, by any way of reading."""
    other = make_trace([("a.b", {})], session=9)
    entry = lines_entry(Lines(SESSION, 0, 1, dump_line(other[0])))
    store = JournalStorage(written(tmp_path, entry[FRAME_BYTES:]))
    with closing(store):
        for read in (lambda: list(store.events(SESSION)), lambda: store.last(SESSION, 1)):
            with pytest.raises(StorageError, match="among those of"):
                read()


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("suffix", ["segment", "index"])
def test_what_never_ends_is_not_read(kind: str, suffix: str, tmp_path: Path) -> None:
    """A pipe, or a link to a device, that is called as a file of the journal is."""
    store = JournalStorage(tmp_path)
    store.append(make_trace([("a.b", {})]))
    store.close()
    (segment,) = tmp_path.glob("*.segment")
    path = segment.with_suffix(f".{suffix}")
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    said = f"{path.name} is no regular file; move it away"
    with pytest.raises(StorageError, match=re.escape(said)):
        verify_journal(tmp_path)
    with pytest.raises(StorageError, match=re.escape(said)), closing(JournalStorage(tmp_path)) as store:
        store.sessions()


def test_a_segment_that_takes_more_memory_than_there_is_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have compressed gigabytes into a few bytes."""
    zstandard = pytest.importorskip("zstandard")
    series = small_series(tmp_path)
    series.append(frames(DEFINED, with_payload(b'{"a":"' + b"x" * 5000 + b'"}')))
    series.close()
    (segment,) = tmp_path.glob("*.segment")
    assert compress(segment)

    class Greedy:
        """Decompresses nothing."""

        def decompress(self, *_: object, **__: object) -> bytes:
            raise MemoryError

    monkeypatch.setattr(zstandard, "ZstdDecompressor", Greedy)
    with pytest.raises(StorageError, match=r"cannot be decompressed: there is no memory for its \d+ bytes"):
        read_segment(segment)
    assert verify_journal(tmp_path).faults
