"""How long sessions live: looked at when a timer fires, so that nothing on the hot path pays for it.

A session is in use whenever it resolves or executes, which stores a time and nothing more. A sweep looks at the sessions whose
time may have come; those that are used meanwhile are looked at again when their new time comes. Run by
`cra.timing.manager`; a session that is used past its time ends without it (`Session._touch`). PROTOCOL: Timing defaults.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

from cra.errors import CRAError
from cra.timing.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from cra.session import Session
    from cra.sessions import SessionTable

_AGAIN_NS = NS_PER_SECOND
"""When to look again at a session that could not be ended, or whose executions have not come back."""
_SLACK = 64


class _Watch:
    """What is known of one session: the end that it was warned of, and the use since which its resolutions are let go of."""

    __slots__ = ("released_ns", "session_id", "warned_ns")

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.warned_ns: int | None = None
        self.released_ns: int | None = None


class SessionLifetimes:
    """Ends sessions that are idle or old, warns of it before, and lets go of resolutions that nobody can use any more.

    `idle_ns`, `life_ns`, `ttl_ns` and `grace_ns` are the runtime's, in ns; `warning_ns` before a session's end its trace gets a
    `session.expiring` with the `cause` (`idle` or `life`) and the `seconds_left`, unless the whole time is no longer than that.
    `on_warning` is told, too; what it or the host's `redact` raises is raised by the sweep, when that is through.
    """

    def __init__(
        self,
        sessions: SessionTable,
        *,
        idle_ns: int,
        life_ns: int,
        grace_ns: int,
        warning_ns: int,
        ttl_ns: int,
        on_warning: Callable[[Session, float], object] | None = None,
    ) -> None:
        self._sessions = sessions
        self._idle_ns = idle_ns
        self._life_ns = life_ns
        self._grace_ns = grace_ns
        self._warning_ns = warning_ns
        self._ttl_ns = ttl_ns
        self._on_warning = on_warning
        self._watches: dict[str, _Watch] = {}
        self._heap: list[tuple[int, int, _Watch]] = []
        self._number = 0
        self._to_tell: list[tuple[Session, float]] = []
        self.timed_out = 0
        """Sessions that a sweep has ended."""
        spans = [span - (warning_ns if warning_ns < span else 0) for span in (idle_ns, life_ns)]
        self._horizon_ns = max(min(*spans, max(ttl_ns, _AGAIN_NS)), 1_000_000)

    def sweep(self, now: int) -> int:
        """Look at what is due at the monotonic time `now`; returns when to come again, ns.

        No session that is opened meanwhile can be due before that.
        """
        failure: Exception | None = None
        for session in self._sessions.newest(self._watches):
            self._watch(_Watch(session.session_id), now)
        while self._heap and self._heap[0][0] <= now:
            watch = heapq.heappop(self._heap)[2]
            found = self._sessions.find(watch.session_id)
            again: int | None = now + _AGAIN_NS  # where looking at it raises, as the host's `redact` may
            try:
                again = None if found is None else self._look_at(found, watch, now)
            except Exception as error:
                failure = error
            finally:
                if again is None:
                    del self._watches[watch.session_id]
                else:
                    self._watch(watch, again)
        self._forget_ended()
        self._tell()
        if failure is not None:
            raise failure
        return min(self._heap[0][0], now + self._horizon_ns) if self._heap else now + self._horizon_ns

    def _tell(self) -> None:
        """Call `on_warning`, which may do anything: no lock is held."""
        to_tell, self._to_tell = self._to_tell, []
        failure: Exception | None = None
        for session, left in to_tell:
            try:
                if self._on_warning is not None:
                    self._on_warning(session, left)
            except Exception as error:
                failure = error
        if failure is not None:
            raise failure

    def _watch(self, watch: _Watch, at: int) -> None:
        self._watches[watch.session_id] = watch
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, watch))

    def _forget_ended(self) -> None:
        """Sessions that ended themselves must not take up memory until their time would have come."""
        if len(self._heap) > 2 * len(self._sessions) + _SLACK:
            self._heap = [entry for entry in self._heap if self._sessions.find(entry[2].session_id) is not None]
            heapq.heapify(self._heap)
            self._watches = {watch.session_id: watch for _, _, watch in self._heap}

    def _look_at(self, session: Session, watch: _Watch, now: int) -> int | None:
        """Do what is due for a session; returns when something else may be, None once it has ended."""
        with session.lock:
            if session.status != "active":
                return None
            used = session.active_ns
            idle_end, life_end = used + self._idle_ns, session.started_ns + self._life_ns
            cause, end, span = ("idle", idle_end, self._idle_ns)
            if life_end < idle_end:
                cause, end, span = ("life", life_end, self._life_ns)
            if now > end:
                return self._expire(session, end, now)
            again = end + 1
            if self._warning_ns < span:
                if now >= end - self._warning_ns:
                    if watch.warned_ns != end and not self._warn(session, cause, (end - now) / NS_PER_SECOND):
                        return min(again, now + _AGAIN_NS)
                    watch.warned_ns = end
                else:
                    again = end - self._warning_ns
            if cause != "life" and self._warning_ns < self._life_ns:
                # Any use may make it the life that ends the session; once that is to be warned of, nobody tells the timer.
                again = min(again, max(life_end - self._warning_ns, now + _AGAIN_NS))
            if watch.released_ns != used:
                if now >= used + self._ttl_ns:
                    session.forget_resolutions()
                    watch.released_ns = used
                else:
                    again = min(again, used + max(self._ttl_ns, _AGAIN_NS))
            return again

    def _expire(self, session: Session, end: int, now: int) -> int | None:
        if session.open_calls and now <= end + self._grace_ns:
            return min(now + _AGAIN_NS, end + self._grace_ns + 1)
        try:
            session.end("timeout")
        except CRAError:
            return now + _AGAIN_NS  # no room for the event: it stays as it is
        self.timed_out += 1
        return None

    def _warn(self, session: Session, cause: str, left: float) -> bool:
        try:
            session.record(("session.expiring", {"cause": cause, "seconds_left": left}))
        except CRAError:
            return False
        self._to_tell.append((session, left))
        return True
