"""The default store: everything in memory, up to a bound, as the lines that were hashed.

When the bound is reached, sessions that have ended are let go, the one that ended first goes first; when only open ones are
left, the largest loses its oldest events. All of it is counted. Nothing here survives the process.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import msgspec

from cra.errors import StorageError
from cra.storage.base import StorageHealth
from cra.storage.chunks import chunks_of
from cra.trace.batch import decode_line
from cra.trace.event import Event

DEFAULT_MAX_BYTES = 256 * 1024 * 1024
_CHUNK_BYTES = 200
"""What a chunk takes besides its lines."""


class _Chunk(msgspec.Struct, frozen=True):
    """Lines of one session that came together."""

    lines: bytes
    events: int

    @property
    def size(self) -> int:
        return len(self.lines) + _CHUNK_BYTES

    def decoded(self) -> list[Event]:
        return [decode_line(line) for line in self.lines.splitlines(keepends=True)]


class _Trace(msgspec.Struct):
    """One session: its chunks and the bytes they are counted with."""

    chunks: list[_Chunk]
    size: int = 0
    events: int = 0


class MemoryStorage:
    """Events in memory, at most about `max_bytes` of them.

    `evicted_sessions` and `evicted_events` count what was let go. A session that has lost its beginning verifies from an anchor.
    """

    name = "memory:"
    durable = False
    readable = True

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._traces: dict[str, _Trace] = {}
        self._ended: dict[str, None] = {}
        self._size = 0
        self._closed = False
        self.evicted_sessions = 0
        self.evicted_events = 0

    def append(self, batch: Sequence[Event]) -> None:
        """Store a batch; what no longer fits is let go."""
        chunks = list(chunks_of(batch))  # or none, where one of its events has no line
        with self._lock:
            self._check_open()
            for session_id, lines, events, ended in chunks:
                chunk = _Chunk(lines, events)
                trace = self._traces.setdefault(session_id, _Trace([]))
                trace.chunks.append(chunk)
                trace.events += events
                trace.size += chunk.size
                self._size += chunk.size
                if ended:
                    self._ended[session_id] = None
            self._shrink()

    def _shrink(self) -> None:
        for session_id in list(self._ended):
            if self._size <= self._max_bytes:
                return
            self.evicted_sessions += 1
            self.evicted_events += self._forget(session_id)
        while self._size > self._max_bytes:
            largest = max(self._traces.values(), key=lambda trace: trace.size)
            self._cut(largest, self._size - self._max_bytes)

    def _cut(self, trace: _Trace, excess: int) -> None:
        """Let go of the oldest events of a session: enough for `excess` bytes, and a tenth of the rest, to do it rarely."""
        kept = max(0, trace.size - excess) * 9 // 10
        size, cut = trace.size, 0
        while size > kept:
            size -= trace.chunks[cut].size
            cut += 1
        rest = _newest_lines(trace.chunks[cut - 1], kept - size)
        # A list of its own: an iterator over the old one goes on undisturbed.
        trace.chunks = ([rest] if rest.events else []) + trace.chunks[cut:]
        size += rest.size if rest.events else 0
        events = sum(chunk.events for chunk in trace.chunks)
        self._size += size - trace.size
        self.evicted_events += trace.events - events
        trace.size, trace.events = size, events

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        """A session's events as of now, in order; none for an unknown session."""
        with self._lock:
            trace = self._traces.get(session_id)
            chunks = trace.chunks if trace else []
            snapshot = islice(chunks, len(chunks))
        return (
            event
            for chunk in snapshot
            for event in chunk.decoded()
            if event.sequence > after and (types is None or event.event_type in types)
        )

    def sessions(self) -> list[str]:
        """The ids of the sessions that are held, oldest first."""
        with self._lock:
            return list(self._traces)

    def last(self, session_id: str, n: int) -> list[Event]:
        """The session's last `n` events, in order; only these are decoded."""
        with self._lock:
            trace = self._traces.get(session_id)
            chunks = list(trace.chunks) if trace else []
        lines: list[bytes] = []
        while chunks and len(lines) < n:
            lines = chunks.pop().lines.splitlines(keepends=True) + lines
        return [decode_line(line) for line in lines[max(0, len(lines) - n) :]]

    def count(self, session_id: str | None = None) -> int:
        """The number of events held of a session, or of all."""
        with self._lock:
            if session_id is None:
                return sum(trace.events for trace in self._traces.values())
            trace = self._traces.get(session_id)
            return trace.events if trace else 0

    def delete_session(self, session_id: str) -> int:
        """Forget a session; returns how many events it had."""
        with self._lock:
            self._check_open()
            return self._forget(session_id)

    def health(self) -> StorageHealth:
        with self._lock:
            details = [f"{self._size} of {self._max_bytes} bytes in {len(self._traces)} sessions"]
            if self.evicted_events:
                details.append(
                    f"{self.evicted_events} events were let go, {self.evicted_sessions} ended sessions among them"
                )
        return StorageHealth(self.name, ok=True, details=tuple(details))

    def flush(self, durable: bool) -> None:
        """Nothing to do; raises `StorageError` for `durable`."""
        if durable:
            raise StorageError(
                "storage 'memory:' does not survive the process and cannot be durable; use jsonl: or sqlite:"
            )

    def close(self) -> None:
        """What was stored can still be read."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("storage 'memory:' is closed; make a new one")

    def _forget(self, session_id: str) -> int:
        trace = self._traces.pop(session_id, None)
        self._ended.pop(session_id, None)
        if trace is None:
            return 0
        self._size -= trace.size
        return trace.events


def _newest_lines(chunk: _Chunk, room: int) -> _Chunk:
    """The last lines of a chunk, as many as `room` bytes have room for."""
    lines = chunk.lines.splitlines(keepends=True)
    kept: list[bytes] = []
    room -= _CHUNK_BYTES
    while lines and len(lines[-1]) <= room:
        room -= len(lines[-1])
        kept.insert(0, lines.pop())
    return _Chunk(b"".join(kept), len(kept))
