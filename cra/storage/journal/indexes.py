"""The indexes of all segments in a folder, each made when somebody needs it, and the latest of them held.

For any thread. A segment that is still written is indexed as far as it is whole, and from there on the next time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from cra.errors import StorageError
from cra.storage.journal.compression import Content, damaged, read_sealed
from cra.storage.journal.index import Index, IndexBuilder, LinesPlace, Stretch, read_index, write_index
from cra.storage.journal.names import SegmentFile

_CHUNK: Final = 4 * 2**20
_HELD: Final = 64


class SegmentIndex:
    """What an index says, by session. With a `fault` it is of what can be read of a damaged segment, its beginning."""

    def __init__(self, index: Index, fault: StorageError | None = None) -> None:
        self.index = index
        self.fault = fault
        self._stretches: dict[str, list[Stretch]] = {}
        self._lines: dict[str, list[LinesPlace]] = {}
        for stretch in index.sessions:
            self._stretches.setdefault(stretch.session_id, []).append(stretch)
        for place in index.lines:
            self._lines.setdefault(place.session_id, []).append(place)

    def stretches(self, session_id: str) -> list[Stretch]:
        """Where the session's records are, in order."""
        return self._stretches.get(session_id, [])

    def lines(self, session_id: str) -> list[LinesPlace]:
        """Where its events are that came as events, in order."""
        return self._lines.get(session_id, [])

    def sessions(self) -> set[str]:
        """The sessions that have events here."""
        return {stretch.session_id for stretch in self.index.sessions if stretch.records} | self._lines.keys()


class Indexes:
    """The indexes of segments, by their paths, each written beside its segment unless told not to `keep` them. `faults`
    are those of segments that were damaged when they were last looked at."""

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self.faults: dict[Path, StorageError] = {}
        self._lock = threading.Lock()
        self._sealed: OrderedDict[Path, SegmentIndex] = OrderedDict()
        self._growing: dict[Path, IndexBuilder] = {}

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
            index = made.index
            if made.fault is not None:
                self.faults[segment.path] = made.fault
            else:
                self.faults.pop(segment.path, None)
            if index.seal and made.fault is None:
                self._growing.pop(segment.path, None)
                self._sealed[segment.path] = made
                while len(self._sealed) > _HELD:
                    self._sealed.popitem(last=False)
            return made

    def _find(self, segment: SegmentFile, limit: int | None, is_last: bool) -> SegmentIndex:
        try:
            return self._made(segment, limit, is_last)
        except StorageError as fault:  # a compressed one, of which there is all or nothing
            return SegmentIndex(IndexBuilder().index(), fault)

    def _made(self, segment: SegmentFile, limit: int | None, is_last: bool) -> SegmentIndex:
        sealed = None
        if limit is None:
            sealed = read_sealed(segment.path)
            kept = None if sealed is None else read_index(segment.index_path, sealed.size, sealed.digest.hex())
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
