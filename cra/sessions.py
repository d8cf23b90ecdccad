"""The sessions of a runtime: opened, found, revoked, and let go of when they end.

Used by `cra.resolver` only. PROTOCOL: The host says who and where.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from cra.carp.conditions import RISK_TIERS, RiskTier
from cra.carp.request import copy_context
from cra.errors import ActionDenied, InvalidCARPRequest, SessionAlreadyEnded, SessionAlreadyExists, SessionNotFound
from cra.hotpath import format_uuid
from cra.ids import UUID_PATTERN
from cra.reference.session_core import MAX_GOAL
from cra.runtime import Runtime
from cra.session import Session
from cra.trace.record import SessionHeader

MAX_AGENT_ID = 255
REMEMBERED_SESSIONS = 65_536


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
        _check_text("agent_id", agent_id, MAX_AGENT_ID)
        _check_text("goal", goal, MAX_GOAL)
        if risk_tier not in RISK_TIERS:
            raise InvalidCARPRequest(f"risk_tier is one of {', '.join(RISK_TIERS)}", path="/risk_tier")
        if parent is not None and not isinstance(parent, (Session, str)):
            raise InvalidCARPRequest("a Session or its id is needed", path="/parent")
        ancestor = self.get(parent) if isinstance(parent, str) else parent
        host = _Host(
            {} if context is None else copy_context(context),
            _names("scopes", scopes),
            risk_tier,
            _names("atlas_ids", atlas_ids),
        )
        if ancestor is not None:
            host = host.below(ancestor)
        runtime = self._runtime
        base = runtime.ids.draw(runtime.clock.now_ns() // 1_000_000)
        header = SessionHeader(
            format_uuid(base) if session_id is None else _check_uuid(session_id),
            format_uuid(base + 1),
            format_uuid(base + 2),
        )
        given = session_id is not None
        registry = runtime.registry
        registry.pin(host.atlas_ids)
        try:
            if ancestor is None:
                return self._enter(header, base, agent_id, goal, host, None, given)
            with ancestor.lock:
                ancestor.touch()  # may end it, and so takes the table's lock after those of sessions, as all do
                return self._enter(header, base, agent_id, goal, host, ancestor, given)
        except BaseException:
            registry.unpin(host.atlas_ids)
            raise

    def _enter(
        self,
        header: SessionHeader,
        base: int,
        agent_id: str,
        goal: str,
        host: _Host,
        parent: Session | None,
        given: bool,
    ) -> Session:
        """Make the session, record its start, and have it found from then on. `given`: its id is the host's."""
        runtime, session_id = self._runtime, header.session_id
        with self._lock:
            self._check_new(agent_id, session_id, given=given)
            session = Session(
                runtime,
                header,
                agent_id=agent_id,
                goal=goal,
                context=host.context,
                scopes=host.scopes or frozenset(),
                risk_tier=host.risk_tier,
                atlas_ids=host.atlas_ids,
                parent=parent,
                on_end=self._let_go,
            )
            started = {"agent_id": agent_id, "goal": goal} | _session_facts(session)
            runtime.recorder.record(runtime.events_record(header, ("session.started", started), base=base + 2))
            session.number = runtime.recorder.queue.number(session_id)
            runtime.sessions[session_id] = session
            if parent is not None:
                parent.children[session_id] = session
        return session

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
        for child in children:
            _end_quietly(child)

    def get(self, session_id: str) -> Session:
        """An active session. Raises `SessionNotFound`, `SessionAlreadyEnded`."""
        found = self._runtime.sessions.get(session_id)
        if found is not None:
            return found
        if session_id in self._ended:
            raise SessionAlreadyEnded(f"session {session_id} has ended; create a new one")
        raise SessionNotFound(f"there is no session {session_id}; create it first, or correct the id")

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


class _Host(NamedTuple):
    """What the host says of a session; `scopes` None where it says nothing."""

    context: dict[str, Any]
    scopes: frozenset[str] | None
    risk_tier: RiskTier
    atlas_ids: frozenset[str] | None

    def below(self, parent: Session) -> _Host:
        """The same, narrowed to what the parent has."""
        atlas_ids = self.atlas_ids
        if parent.atlas_ids is not None:
            atlas_ids = parent.atlas_ids if atlas_ids is None else atlas_ids & parent.atlas_ids
        return _Host(
            {**self.context, **parent.context},
            parent.scopes if self.scopes is None else self.scopes & parent.scopes,
            max(self.risk_tier, parent.risk_tier, key=RISK_TIERS.index),
            atlas_ids,
        )


def _session_facts(session: Session) -> dict[str, Any]:
    """What `session.started` says besides agent and goal, where it is not the default; a replay needs it."""
    facts: dict[str, Any] = {}
    if session.atlas_ids is not None:
        facts["atlas_ids"] = sorted(session.atlas_ids)
    if session.risk_tier != "low":
        facts["risk_tier"] = session.risk_tier
    if session.scopes:
        facts["scopes"] = sorted(session.scopes)
    if session.parent is not None:
        facts["parent_session_id"] = session.parent.session_id
    return facts


def _check_text(name: str, value: object, most: int) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        raise InvalidCARPRequest(f"a string of 1 to {most} characters is needed", path=f"/{name}")


def _names(field: str, given: Iterable[str] | None) -> frozenset[str] | None:
    if given is None:
        return None
    names = None if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if names is None or not all(isinstance(name, str) for name in names):
        raise InvalidCARPRequest("a list of strings is needed", path=f"/{field}")
    return frozenset(names)


def _check_uuid(session_id: str) -> str:
    if not isinstance(session_id, str) or not UUID_PATTERN.fullmatch(session_id.lower()):
        raise InvalidCARPRequest("a UUID is needed", path="/session_id")
    return session_id.lower()
