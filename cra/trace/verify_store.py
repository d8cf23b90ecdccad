"""Verification of a whole store: every session's chain, in one pass over what is there, and of a journal every byte besides.

Used by `cra trace verify` for folders, SQLite files, URLs and standard input. It changes nothing, not even an index, and
memory grows
with the number of sessions only. It never raises over what the events say. The chain's rules are `cra.reference.chain`'s.
PROTOCOL: Verification.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from cra.errors import StorageError
from cra.hotpath import feed_lines
from cra.reference.chain import Anchor, ChainVerification
from cra.reference.grammar import find_dialect
from cra.reference.lines import MAX_LINE_BYTES, read_lines
from cra.storage.base import StorageBackend
from cra.storage.journal.verify import JournalVerification, verify_journal
from cra.trace.journal_lines import JournalLines
from cra.trace.jsonl import dump_line
from cra.trace.places import Places
from cra.trace.ring_folder import rings_beside
from cra.trace.ring_look import look_at_rings
from cra.trace.sqlite_look import lines_of_sqlite
from cra.trace.store_kind import StoreKind
from cra.trace.store_look import lines_of_folder
from cra.trace.verify import FileVerification, FileVerifier

_SPOOL_BYTES = 8 * 2**20


class StoreVerification(msgspec.Struct, frozen=True):
    """What verification of a store found. `sessions` has every session's own verdict, `faults` what is wrong besides, each with
    its file, and `warnings` what is not wrong and worth knowing. `journal` is of a journal alone.

    `undelivered` counts the records in rings beside the store: what they say is not in it yet.
    """

    valid: bool
    events: int
    sessions: Mapping[str, ChainVerification]
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    journal: JournalVerification | None = None
    undelivered: int = 0


def verify_path(
    path: str | os.PathLike[str], kind: StoreKind, anchors: Sequence[Anchor] = (), dialect: str = "trace-1.0"
) -> StoreVerification:
    """Verify the store of this kind at a path, and hold it to anchors. Raises `StorageError` where it cannot be read."""
    undelivered = sum(ring.records for ring in look_at_rings(rings_beside(path)).rings)
    if kind == "journal":
        journal = verify_journal(path)
        source = JournalLines(Path(path))
        begins = {**_by_session(anchors), **source.cuts}
        found = _verified(source, begins, dialect)
        found.update(source.again(found, begins))
        faults = *journal.faults, *source.places.faults(), *source.check_anchors(anchors)
        return _verdict(found, faults, source.warnings, journal, undelivered)
    warnings: list[str] = []
    places = Places()
    lines = lines_of_sqlite(path, places) if kind == "sqlite" else lines_of_folder(path, warnings, places)
    found = _verified(lines, _by_session(anchors), dialect)
    return _verdict(found, places.faults(), warnings, None, undelivered)


def verify_backend(
    backend: StorageBackend, anchors: Sequence[Anchor] = (), dialect: str = "trace-1.0"
) -> StoreVerification:
    """Verify all sessions of a store by what it gives to readers. Raises `StorageError` as that does."""
    lines = (dump_line(event) for name in backend.sessions() for event in backend.events(name))
    return _verdict(_verified(lines, _by_session(anchors), dialect))


def verify_stream(file: BinaryIO, anchors: Sequence[Anchor] = (), dialect: str = "trace-1.0") -> FileVerification:
    """Verify a trace that comes through a pipe; as `cra.verify_file` in everything else. Raises `StorageError`."""
    verifier = FileVerifier(find_dialect(dialect), _by_session(anchors))
    try:
        _feed(_bounded(file), verifier)
    except OSError as error:
        raise StorageError(f"the trace cannot be read: {error.strerror}") from error
    result = verifier.result()
    cut = next((each for each in result.sessions.values() if not each.valid), None)
    if not result.valid or cut is None:
        return result
    index = result.event_count  # an anchor that is not reached is at no line
    return msgspec.structs.replace(
        result, valid=False, error_type=cut.error_type, error_index=index, message=cut.message
    )


def _by_session(anchors: Sequence[Anchor]) -> dict[str, Anchor]:
    return {anchor[0]: anchor for anchor in anchors}


def _verified(lines: Iterable[bytes], anchors: Mapping[str, Anchor], dialect: str) -> dict[str, ChainVerification]:
    """The verdicts on lines of any sessions, many at a time, whose last one is whole."""
    verifier = FileVerifier(find_dialect(dialect), anchors)
    _feed(lines, verifier)
    result = verifier.result()
    found = dict(result.sessions)
    if result.error_index is not None and all(each.valid for each in found.values()):
        raise StorageError(f"line {result.error_index + 1} of what is stored names no session: {result.message}")
    return found


def _feed(lines: Iterable[bytes], verifier: FileVerifier) -> None:
    """Feed lines to a verifier, which takes them from a file: a few megabytes at a time, in one of its own."""
    with tempfile.TemporaryFile() as spool:
        waiting, size = [], 0
        for some in lines:
            waiting.append(some)
            size += len(some)
            if size >= _SPOOL_BYTES:
                data = b"".join(waiting)
                whole = data.rfind(b"\n") + 1
                _feed_some(data[:whole], spool, verifier)
                waiting, size = [data[whole:]], len(data) - whole
        _feed_some(b"".join(waiting), spool, verifier)


def _feed_some(data: bytes, spool: BinaryIO, verifier: FileVerifier) -> None:
    spool.seek(0)
    spool.truncate()
    spool.write(data)
    spool.flush()
    spool.seek(0)
    feed_lines(spool, verifier)


def _bounded(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file without end, none longer than what is refused for that."""
    for line in read_lines(file):
        yield line if len(line) <= MAX_LINE_BYTES else line.rstrip(b"\n") + b" \n"


def _verdict(
    sessions: Mapping[str, ChainVerification],
    faults: Sequence[str] = (),
    warnings: Sequence[str] = (),
    journal: JournalVerification | None = None,
    undelivered: int = 0,
) -> StoreVerification:
    valid = not faults and all(each.valid for each in sessions.values())
    events = sum(each.event_count for each in sessions.values())
    return StoreVerification(valid, events, sessions, tuple(faults), tuple(warnings), journal, undelivered)
