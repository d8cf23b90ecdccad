"""The default store: everything in memory, up to a bound.

When the bound is reached, sessions that have ended are let go, the one that ended first goes first, and counted; sessions that
are still open are never touched: with only those left the store refuses. Nothing here survives the process.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice
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

    `evicted_sessions` and `evicted_events` count what was let go.
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
        """Store a batch. `StorageError` when sessions that are still open fill the store, with nothing stored or let go."""
        added: dict[str, int] = {}
        ended: dict[str, None] = {}
        seen: set[int] = set()
        for event in batch:
            added[event.session_id] = added.get(event.session_id, 0) + _event_size(event, seen)
            if event.event_type == _SESSION_ENDED:
                ended[event.session_id] = None
        with self._lock:
            victims = self._victims(added, ended)
            for event in batch:
                self._traces.setdefault(event.session_id, _Trace([])).events.append(event)
            for session_id, size in added.items():
                self._traces[session_id].size += size
                self._size += size
            self._ended |= ended
            for session_id in victims:
                self.evicted_sessions += 1
                self.evicted_events += self._forget(session_id)

    def _victims(self, added: dict[str, int], ended: dict[str, None]) -> list[str]:
        """The ended sessions to let go, first ended first, so that what is added fits."""
        excess = self._size + sum(added.values()) - self._max_bytes
        victims = []
        for session_id in chain(self._ended, (new for new in ended if new not in self._ended)):
            if excess <= 0:
                break
            stored = self._traces.get(session_id)
            excess -= added.get(session_id, 0) + (stored.size if stored else 0)
            victims.append(session_id)
        if excess > 0:
            raise StorageError(
                f"storage 'memory:' is full: sessions that have not ended fill its {self._max_bytes} bytes; delete sessions "
                "that are not needed (delete_session), give MemoryStorage a larger max_bytes, or keep the trace in jsonl:///dir"
            )
        return victims

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
            if self.evicted_sessions:
                details.append(f"{self.evicted_sessions} ended sessions with {self.evicted_events} events were let go")
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
