"""The indexes of all segments in a folder, each made when its segment is sealed or when somebody needs it, and the latest held.

For any thread. A segment that is still written is indexed as far as it is whole, and from there on the next time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from cra.errors import StorageError
from cra.storage.journal.compression import Content, damaged, read_sealed
from cra.storage.journal.index import Index, IndexBuilder, KeptIndex, LinesPlace, Stretch, find_index, write_index
from cra.storage.journal.names import COMPRESSED, SegmentFile

_CHUNK: Final = 4 * 2**20
_HELD: Final = 64
_SEARCHES: Final = 32  # which cost as much as decoding the whole


class SegmentIndex:
    """What an index says, by session. With a `fault` it is of what can be read of a damaged segment, its beginning.

    One that was found beside its segment is searched for the first sessions that are asked for, and decoded for more: reading
    one session does not wait for a hundred thousand others. Methods raise `StorageError` where it holds what no index holds.
    """

    def __init__(self, index: Index | KeptIndex, fault: StorageError | None = None) -> None:
        self.fault = fault
        self.templates = index.templates
        self.is_sealed = isinstance(index, KeptIndex) or index.seal != ""
        self._kept = index if isinstance(index, KeptIndex) else None
        self._index = index if isinstance(index, Index) else None
        self._searches = 0
        self._places: tuple[dict[str, list[Stretch]], dict[str, list[LinesPlace]]] | None = None

    @property
    def index(self) -> Index:
        """All that it says."""
        index = self._index
        if index is None:
            assert self._kept is not None
            index = self._index = self._kept.decoded()
        return index

    def stretches(self, session_id: str) -> list[Stretch]:
        """Where the session's records are, in order."""
        kept = self._searched()
        return self._decoded()[0].get(session_id, []) if kept is None else kept.stretches(session_id)

    def lines(self, session_id: str) -> list[LinesPlace]:
        """Where its events are that came as events, in order."""
        kept = self._searched()
        return self._decoded()[1].get(session_id, []) if kept is None else kept.lines(session_id)

    def sessions(self) -> set[str]:
        """The sessions that have events here."""
        index = self.index
        return {stretch.session_id for stretch in index.sessions if stretch.records} | {
            place.session_id for place in index.lines
        }

    def _searched(self) -> KeptIndex | None:
        """What is to be searched; None where looking it up costs less."""
        self._searches += 1
        return self._kept if self._index is None and self._searches <= _SEARCHES else None

    def _decoded(self) -> tuple[dict[str, list[Stretch]], dict[str, list[LinesPlace]]]:
        places = self._places
        if places is None:
            index, places = self.index, ({}, {})
            for stretch in index.sessions:
                places[0].setdefault(stretch.session_id, []).append(stretch)
            for place in index.lines:
                places[1].setdefault(place.session_id, []).append(place)
            self._places = places
        return places


class Indexes:
    """The indexes of segments, by their paths, each written beside its segment unless told not to `keep` them. `faults`
    are those of segments that were damaged when they were last looked at."""

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self.faults: dict[Path, StorageError] = {}
        self._lock = threading.Lock()
        self._sealed: OrderedDict[Path, SegmentIndex] = OrderedDict()
        self._growing: dict[Path, IndexBuilder] = {}
        self._refused: set[SegmentFile] = set()

    def of(self, segment: SegmentFile, limit: int | None = None, *, is_last: bool = False) -> SegmentIndex:
        """The index of a segment, of its first `limit` bytes at most. Only the last of a series may end within a frame.

        Raises `OSError` where it cannot be read.
        """
        with self._lock:
            known = self._sealed.get(segment.path)
            if known is not None:
                self._sealed.move_to_end(segment.path)
                return known
            made = self._find(segment, limit, is_last)
            self._note(segment, made.fault)
            if made.is_sealed and made.fault is None:
                self._growing.pop(segment.path, None)
                self._sealed[segment.path] = made
                while len(self._sealed) > _HELD:
                    self._sealed.popitem(last=False)
            return made

    def make_missing(self, segment: SegmentFile) -> bool:
        """Have an index beside a sealed segment that has none, and hold nothing of it; whether it was made. Readers do not wait
        meanwhile. A segment that was compressed before is left to who reads it. Raises `OSError`."""
        if segment in self._refused or segment.path.suffix == COMPRESSED or segment.index_path.exists():
            return False
        if read_sealed(segment.path) is None:
            return False
        made = self._find(segment, None, is_last=False)
        with self._lock:
            self._note(segment, made.fault)
        if segment.index_path.exists():
            return True
        self._refused.add(segment)  # damaged, or there is no room: whoever needs it, tries again
        return False

    def _note(self, segment: SegmentFile, fault: StorageError | None) -> None:
        if fault is not None:
            self.faults[segment.path] = fault
        else:
            self.faults.pop(segment.path, None)

    def _find(self, segment: SegmentFile, limit: int | None, is_last: bool) -> SegmentIndex:
        try:
            return self._made(segment, limit, is_last)
        except StorageError as fault:  # a compressed one, of which there is all or nothing
            return SegmentIndex(IndexBuilder().index(), fault)

    def _made(self, segment: SegmentFile, limit: int | None, is_last: bool) -> SegmentIndex:
        sealed = None
        if limit is None:
            sealed = read_sealed(segment.path)
            kept = None if sealed is None else find_index(segment.index_path, sealed.size, sealed.digest.hex())
            if kept is not None:
                return SegmentIndex(kept)
            # Of a segment that another process writes, what is there now may be cut back.
            builder = IndexBuilder()
        else:
            builder = self._growing.setdefault(segment.path, IndexBuilder())
        with Content(segment.path) as content:
            _read_on(builder, content, content.size if limit is None else limit)
            if builder.end < content.size and (sealed is not None or not is_last):
                return SegmentIndex(builder.index(), damaged(segment.path, builder.end))
        index = builder.index()
        if index.seal and self._keep:
            write_index(segment.index_path, index)
        return SegmentIndex(index)


def _read_on(builder: IndexBuilder, content: Content, size: int) -> None:
    chunk = _CHUNK
    while builder.end < size:
        data = content.read(builder.end, min(chunk, size - builder.end))
        if not builder.feed(data):
            if len(data) < chunk:
                return  # what is there is no whole frame, or not yet
            chunk *= 4
