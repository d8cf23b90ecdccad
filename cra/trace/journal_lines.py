"""All events of a journal as lines, series by series, each made of its records in one pass: what verification of a journal reads.

Nothing is held but what the records to come refer to. What cannot be read ends its series there; `cra.storage.journal.verify`
says what is wrong with it. Used by `cra.trace.verify_store`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cra
from cra.errors import InvalidTraceEvent, StorageError
from cra.hotpath import Expander, scan_frames
from cra.reference.chain import Anchor, ChainVerification
from cra.reference.expander import Head
from cra.storage.journal import entries
from cra.storage.journal.compression import Content
from cra.storage.journal.names import SegmentFile, look
from cra.storage.journal.reading import Reader
from cra.storage.journal.tombstones import read_tombstone
from cra.trace.batch import decode_line
from cra.trace.event import Event
from cra.trace.places import Places

_CHUNK = 2**20
_AS_LINES = ".lines"
_UNREADABLE = OSError, StorageError, InvalidTraceEvent


class JournalLines:
    """The lines of the journal in `folder`. `cuts` are the anchors of sessions whose beginning retention took; `warnings` say
    what could not be verified, `places` what lies in the entry of another session. Raises `StorageError`."""

    def __init__(self, folder: Path) -> None:
        self._reader = Reader(folder, dict, keep_indexes=False)
        self.warnings: list[str] = []
        self.cuts: dict[str, Anchor] = {}
        self.places = Places()
        self._sources: dict[str, set[str]] = {}
        try:
            self._files = look(folder)
        except OSError as error:
            raise StorageError(f"the journal {str(folder)!r} cannot be read: {error.strerror}") from error
        self._heads: dict[str, Mapping[str, Head]] = {}
        for name, file in self._files.tombstones.items():
            try:
                self._heads[name] = read_tombstone(file.path).heads
            except (OSError, StorageError):
                continue  # verification says so
            for session_id, (sequence, event_hash, _) in self._heads[name].items():
                known = self.cuts.get(session_id)
                if sequence and (known is None or known[1] < sequence - 1):
                    self.cuts[session_id] = session_id, sequence - 1, event_hash

    def __iter__(self) -> Iterator[bytes]:
        for name, series in self._files.segments.items():
            expander = Expander(self._heads.get(name, {}))
            first = self._files.tombstones[name].number + 1 if name in self._files.tombstones else 0
            for number, segment in enumerate(series, first):
                try:
                    if segment.number != number:
                        raise StorageError("a segment is missing")
                    yield from self._lines_of(name, segment, expander)
                except _UNREADABLE as error:
                    rest = len(series) - (number - first) - 1
                    self.warnings.append(
                        f"{segment.path.name}: {error}; what is behind that place, {rest} segments of the series as well, was not"
                        " verified"
                    )
                    break

    def again(
        self, found: Mapping[str, ChainVerification], anchors: Mapping[str, Anchor]
    ) -> dict[str, ChainVerification]:
        """The verdicts on sessions that are in several places, which a reader puts in order."""
        verdicts = {}
        for name, each in found.items():
            if each.valid or len(self._sources.get(name, ())) < 2:
                continue
            try:
                verdicts[name] = cra.verify_chain(self._events(name), anchor=anchors.get(name))
            except _UNREADABLE as error:
                self.warnings.append(f"session {name}: {error}; what it has in several places was not put in order")
        return verdicts

    def check_anchors(self, anchors: Sequence[Anchor]) -> Iterator[str]:
        """What is wrong with sessions whose beginning went, by anchors that were kept elsewhere."""
        for session_id, sequence, event_hash in anchors:
            cut = self.cuts.get(session_id)
            if cut is None or cut == (session_id, sequence, event_hash):
                continue
            if sequence < cut[1]:
                self.warnings.append(f"session {session_id}: retention took the anchored event {sequence}")
                continue
            try:
                is_there = (sequence, event_hash) in (
                    (each.sequence, each.event_hash) for each in self._events(session_id)
                )
            except _UNREADABLE as error:
                yield f"session {session_id}: the anchored event {sequence} cannot be looked for: {error}"
            else:
                if not is_there:
                    yield f"session {session_id}: it does not reach the anchored event {sequence}, or that is another"

    def _events(self, session_id: str) -> Iterator[Event]:
        for some in self._reader.lines(session_id):
            yield from map(decode_line, io.BytesIO(some))

    def _lines_of(self, series: str, segment: SegmentFile, expander: Expander) -> Iterator[bytes]:
        with Content(segment.path) as content:
            at, chunk = entries.HEADER_BYTES, _CHUNK
            while at < content.size and (data := content.read(at, chunk)):
                done = expander.feed_frames(data)
                batch = expander.take(0)
                if batch is not None and batch.data:
                    for session_id, _, _ in batch.chunks():
                        self._sources.setdefault(session_id, set()).add(series)
                    yield batch.data
                for place, length in scan_frames(data[:done])[0]:
                    lines = entries.read_lines(data[place : place + length])
                    if lines is not None:
                        self._sources.setdefault(lines.session_id, set()).add(series + _AS_LINES)
                        self.places.check_lines(segment.path.name, lines.session_id, lines.lines)
                        yield lines.lines
                if not done and len(data) < chunk:
                    raise StorageError(f"there is no whole record at offset {at}")  # being written, torn, or changed
                chunk = _CHUNK if done else 4 * chunk
                at += done
