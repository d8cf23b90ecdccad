"""The default store: everything in memory, up to a bound.

When the bound is reached, sessions that have ended are let go, the one that ended first goes first; when only open ones are
left, the largest loses its oldest events. All of it is counted. Nothing here survives the process.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from math import ceil
from sys import getsizeof

import msgspec

from cra.errors import StorageError
from cra.storage.base import StorageHealth
from cra.trace.event import Event

DEFAULT_MAX_BYTES = 256 * 1024 * 1024
_SESSION_ENDED = "session.ended"
_EVENT_BYTES = 512
"""An event without its payload: the struct, its list slot, and the ids and hashes that no other event shares."""


class _Trace(msgspec.Struct):
    """One session: its events and the bytes they are counted with."""

    events: list[Event]
    size: int = 0


class MemoryStorage:
    """Events in memory, at most about `max_bytes` of them (an estimate from `sys.getsizeof`, on the high side).

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
        self.evicted_sessions = 0
        self.evicted_events = 0

    def append(self, batch: Sequence[Event]) -> None:
        """Store a batch; what no longer fits is let go."""
        seen: set[int] = set()
        with self._lock:
            for event in batch:
                size = _event_size(event, seen)
                trace = self._traces.setdefault(event.session_id, _Trace([]))
                trace.events.append(event)
                trace.size += size
                self._size += size
                if event.event_type == _SESSION_ENDED:
                    self._ended[event.session_id] = None
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
        average = trace.size / len(trace.events)
        enough = min(len(trace.events), ceil(excess / average))
        count = enough + (len(trace.events) - enough) // 10
        # A list of its own: an iterator over the old one goes on undisturbed.
        trace.events = trace.events[count:]
        freed = trace.size if not trace.events else ceil(average * count)
        trace.size -= freed
        self._size -= freed
        self.evicted_events += count

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        """A session's events as of now, in order; none for an unknown session."""
        with self._lock:
            trace = self._traces.get(session_id)
        if trace is None:
            return iter(())
        snapshot = islice(trace.events, len(trace.events))
        return (event for event in snapshot if event.sequence > after and (types is None or event.event_type in types))

    def sessions(self) -> list[str]:
        """The ids of the sessions that are held, oldest first."""
        with self._lock:
            return list(self._traces)

    def last(self, session_id: str, n: int) -> list[Event]:
        """The session's last `n` events, in order."""
        with self._lock:
            trace = self._traces.get(session_id)
            return trace.events[max(0, len(trace.events) - n) :] if trace else []

    def count(self, session_id: str | None = None) -> int:
        """The number of events held of a session, or of all."""
        with self._lock:
            if session_id is None:
                return sum(len(trace.events) for trace in self._traces.values())
            trace = self._traces.get(session_id)
            return len(trace.events) if trace else 0

    def delete_session(self, session_id: str) -> int:
        """Forget a session; returns how many events it had."""
        with self._lock:
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
            raise StorageError("storage 'memory:' does not survive the process and cannot be durable; use jsonl:///dir")

    def close(self) -> None:
        """Nothing to release: what was stored can still be read."""

    def _forget(self, session_id: str) -> int:
        trace = self._traces.pop(session_id, None)
        self._ended.pop(session_id, None)
        if trace is None:
            return 0
        self._size -= trace.size
        return len(trace.events)


def _event_size(event: Event, seen: set[int]) -> int:
    """Bytes of an event; objects of a batch that were `seen` before (ids of values the events share) count once."""
    size = _EVENT_BYTES
    stack: list[object] = [event.payload]
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        size += getsizeof(value)
        if isinstance(value, dict):
            stack.extend(value)
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return size
