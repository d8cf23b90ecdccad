"""The sessions of a runtime: opened, found, revoked, and let go of when they end.

Used by `cra.resolver` only. PROTOCOL: The host says who and where.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import ExitStack, suppress
from itertools import takewhile
from typing import Any

from cra.carp.conditions import RISK_TIERS, RiskTier
from cra.carp.request import copy_context
from cra.errors import (
    ActionDenied,
    InvalidCARPRequest,
    SessionAlreadyEnded,
    SessionAlreadyExists,
    SessionNotFound,
    TraceBackpressure,
)
from cra.hotpath import format_uuid
from cra.ids import UUID_PATTERN
from cra.reference.session_core import MAX_GOAL
from cra.runtime import Runtime
from cra.session import Session
from cra.trace.record import SessionHeader

MAX_AGENT_ID = 255
REMEMBERED_SESSIONS = 16_384


class SessionTable:
    """The sessions that are active, in `Runtime.sessions`, and the ids of those that ended last. Safe from any thread.

    `is_stored` says whether a storage has events of a session id, from an earlier run perhaps: that id is taken.
    """

    def __init__(self, runtime: Runtime, is_stored: Callable[[str], bool]) -> None:
        self._runtime = runtime
        self._is_stored = is_stored
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._revoked: set[str] = set()
        self._closed = False
        self.opened = 0
        """Sessions opened so far."""
        self._lock = threading.RLock()

    def open(
        self,
        agent_id: str,
        goal: str,
        *,
        context: Mapping[str, Any] | None,
        scopes: Iterable[str] | None,
        risk_tier: RiskTier,
        atlas_ids: Iterable[str] | None,
        parent: Session | str | None,
        session_id: str | None,
    ) -> Session:
        """See `Resolver.create_session`."""
        if not isinstance(agent_id, str) or not 1 <= len(agent_id) <= MAX_AGENT_ID:
            raise _no_text("agent_id", MAX_AGENT_ID)
        if not isinstance(goal, str) or not 1 <= len(goal) <= MAX_GOAL:
            raise _no_text("goal", MAX_GOAL)
        if risk_tier not in RISK_TIERS:
            raise InvalidCARPRequest(f"risk_tier is one of {', '.join(RISK_TIERS)}", path="/risk_tier")
        if parent is not None and not isinstance(parent, (Session, str)):
            raise InvalidCARPRequest("a Session or its id is needed", path="/parent")
        ancestor = self.get(parent) if isinstance(parent, str) else parent
        context = {} if context is None else copy_context(context)
        allowed = None if scopes is None else _names("scopes", scopes)
        selection = None if atlas_ids is None else _names("atlas_ids", atlas_ids)
        if ancestor is not None:
            context, allowed, risk_tier, selection = _below(ancestor, context, allowed, risk_tier, selection)
        runtime = self._runtime
        base = runtime.ids.draw(runtime.clock.now_ns() // 1_000_000)
        header = SessionHeader(
            format_uuid(base) if session_id is None else _check_uuid(session_id),
            format_uuid(base + 1),
            format_uuid(base + 2),
        )
        session = Session(
            runtime,
            header,
            agent_id,
            goal,
            context,
            allowed or frozenset(),
            risk_tier,
            selection,
            ancestor,
            self._let_go,
        )
        registry = runtime.registry
        registry.pin(selection)
        try:
            if ancestor is None:
                self._enter(session, base, given=session_id is not None)
            else:
                with ancestor.lock:
                    ancestor.touch()  # may end it, and so takes the table's lock after those of sessions, as all do
                    self._enter(session, base, given=session_id is not None)
        except BaseException:
            registry.unpin(selection)
            raise
        return session

    def _enter(self, session: Session, base: int, *, given: bool) -> None:
        """Record the start of a session, and have it found from then on. `given`: its id is the host's."""
        with self._lock:
            self._check_new(session.agent_id, session.session_id, given=given)
            try:
                session.record(("session.started", _start(session)), base=base + 2)
            except BaseException:
                if session.last_base == base + 2:
                    self._end_unheard_of(session)
                raise
            self._runtime.sessions[session.session_id] = session
            self.opened += 1
            if session.parent is not None:
                session.parent.children[session.session_id] = session

    def _end_unheard_of(self, session: Session) -> None:
        """Its start is in the trace, and not stored yet: nobody gets the session, and it has its end there."""
        self._ended[session.session_id] = None
        session.status = "ended"
        with suppress(TraceBackpressure), self._runtime.room() as room:
            session.record_last(room, "session.ended", {"action_count": 0, "duration_ms": 0, "reason": "error"})

    def _check_new(self, agent_id: str, session_id: str, *, given: bool) -> None:
        if self._closed:
            raise SessionAlreadyEnded("this resolver is closed; create a new one")
        if agent_id in self._revoked:
            raise ActionDenied(f"agent {agent_id!r} is revoked")
        if session_id in self._runtime.sessions or session_id in self._ended or (given and self._is_stored(session_id)):
            raise SessionAlreadyExists(f"session {session_id} exists; give another id, or none")

    def _let_go(self, session: Session) -> None:
        """Let go of what an ended session held; its children end with it."""
        runtime = self._runtime
        with self._lock:
            self._runtime.sessions.pop(session.session_id, None)
            self._ended[session.session_id] = None
            if len(self._ended) > REMEMBERED_SESSIONS:
                self._ended.popitem(last=False)
            if session.parent is not None:
                session.parent.children.pop(session.session_id, None)
            children = list(session.children.values())
        if session.limit_keys:
            runtime.limits.forget(list(session.limit_keys))
        runtime.registry.unpin(session.atlas_ids)
        if children:
            with ExitStack() as stack:  # each of them, whatever becomes of the others
                for child in reversed(children):
                    stack.callback(_end_quietly, child)

    def get(self, session_id: str) -> Session:
        """An active session. Raises `SessionNotFound`, `SessionAlreadyEnded`."""
        found = self._runtime.sessions.get(session_id)
        if found is not None:
            return found
        if session_id in self._ended:
            raise SessionAlreadyEnded(f"session {session_id} has ended; create a new one")
        raise SessionNotFound(f"there is no session {session_id}; create it first, or correct the id")

    def __len__(self) -> int:
        """How many are active."""
        return len(self._runtime.sessions)

    def find(self, session_id: str) -> Session | None:
        """An active session, None where there is none of that id."""
        return self._runtime.sessions.get(session_id)

    def newest(self, known: Container[str]) -> list[Session]:
        """The active sessions that were opened after all those that are `known`, newest first."""
        with self._lock:
            sessions = reversed(self._runtime.sessions.values())
            return list(takewhile(lambda session: session.session_id not in known, sessions))

    def revoke(self, agent_id: str) -> int:
        """See `Resolver.revoke`."""
        with self._lock:
            self._revoked.add(agent_id)
            sessions = [session for session in self._runtime.sessions.values() if session.agent_id == agent_id]
        return sum(_end_quietly(session) for session in sessions)

    def open_no_more(self) -> bool:
        """Refuse new sessions from now on; False when that was so before."""
        with self._lock:
            was_open, self._closed = not self._closed, True
        return was_open

    def end_all(self) -> None:
        """End all sessions. Raises `TraceBackpressure` at the first that cannot be closed."""
        for session in list(self._runtime.sessions.values()):
            _end_quietly(session)


def _end_quietly(session: Session) -> bool:
    """End a session as cancelled, unless somebody else has ended it in the meantime."""
    try:
        session.end("cancelled")
    except SessionAlreadyEnded:
        return False
    return True


def _below(
    parent: Session,
    context: dict[str, Any],
    scopes: frozenset[str] | None,
    risk_tier: RiskTier,
    atlas_ids: frozenset[str] | None,
) -> tuple[dict[str, Any], frozenset[str], RiskTier, frozenset[str] | None]:
    """What the host says of a child, narrowed to what its parent has; None where it says nothing."""
    if parent.atlas_ids is not None:
        atlas_ids = parent.atlas_ids if atlas_ids is None else atlas_ids & parent.atlas_ids
    return (
        {**context, **parent.context},
        parent.scopes if scopes is None else scopes & parent.scopes,
        max(risk_tier, parent.risk_tier, key=RISK_TIERS.index),
        atlas_ids,
    )


def _start(session: Session) -> dict[str, Any]:
    """The payload of `session.started`: agent and goal, and what a replay needs where it is not the default."""
    payload: dict[str, Any] = {"agent_id": session.agent_id, "goal": session.goal}
    if session.atlas_ids is not None:
        payload["atlas_ids"] = sorted(session.atlas_ids)
    if session.risk_tier != "low":
        payload["risk_tier"] = session.risk_tier
    if session.scopes:
        payload["scopes"] = sorted(session.scopes)
    if session.parent is not None:
        payload["parent_session_id"] = session.parent.session_id
    return payload


def _no_text(name: str, most: int) -> InvalidCARPRequest:
    return InvalidCARPRequest(f"a string of 1 to {most} characters is needed", path=f"/{name}")


def _names(field: str, given: Iterable[str]) -> frozenset[str]:
    names = None if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if names is None or not all(isinstance(name, str) for name in names):
        raise InvalidCARPRequest("a list of strings is needed", path=f"/{field}")
    return frozenset(names)


def _check_uuid(session_id: str) -> str:
    if not isinstance(session_id, str) or not UUID_PATTERN.fullmatch(session_id.lower()):
        raise InvalidCARPRequest("a UUID is needed", path="/session_id")
    return session_id.lower()
