"""Approvals: which ones wait for a person, which were given, and for how long.

The book of one runtime. Sessions and the front door call it; it evaluates no policy and emits no event: it hands back what
happened, so that the caller can record it. PROTOCOL: Approvals.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from hashlib import sha256
from threading import Event, RLock
from typing import TYPE_CHECKING, Literal
from unicodedata import normalize

import msgspec

from cra.errors import ActionDenied, ApprovalNotFound, Conflict, InvalidParameters
from cra.hotpath import canonical_json, format_uuid
from cra.timing.clock import NS_PER_SECOND, Clock, format_timestamp

if TYPE_CHECKING:
    from cra.carp.policy import Policy

MAX_DECIDED_PER_SESSION = 10_000
_VERSION_8 = 0x8 << 76
_VARIANT = 0b10 << 62

Status = Literal["pending", "granted", "rejected", "expired", "used"]
Covered = tuple[str, str, str]
"""What an approval covers: atlas id, policy id, action id."""
_Key = tuple[Covered, str | None]
"""What makes two requests of a session the same one: what is covered, and the hash of the parameters it is bound to."""
_NOTHING_GRANTED: frozenset[Covered] = frozenset()


class Approval(msgspec.Struct, frozen=True):
    """One approval, as it stood when it was handed out.

    `parameters_hash` is set where it is bound to one set of parameters, and then good for one execution. `reason` is the
    policy's, `decision_reason` that of `decided_by`. Timestamps are TRACE timestamps; `expires_at` is when nobody waits for a
    decision any more.
    """

    approval_id: str
    session_id: str
    agent_id: str
    atlas_id: str
    policy_id: str
    action_id: str
    parameters_hash: str | None
    status: Status
    reason: str
    requested_at: str
    expires_at: str
    decided_at: str | None = None
    decided_by: str | None = None
    decision_reason: str | None = None

    @property
    def covers(self) -> Covered:
        return self.atlas_id, self.policy_id, self.action_id


def approval_id(
    session_id: str,
    atlas_id: str,
    policy_id: str,
    action_id: str,
    parameters_hash: str | None = None,
    use: int = 0,
) -> str:
    """The id of an approval, a UUID (version 8) derived from what it is for, so that announcing it twice gives one id.

    `use` counts the executions that approvals bound to parameters have been used for. PROTOCOL: Approvals.
    """
    parts = [session_id, atlas_id, policy_id, action_id, parameters_hash, use]
    digest = int.from_bytes(sha256(canonical_json(parts)).digest()[:16], "big")
    return format_uuid(digest & ~(0xF << 76) & ~(0b11 << 62) | _VERSION_8 | _VARIANT)


class _Session:
    """The approvals of one session by what they are for; `granted` are the unconditional ones among them."""

    __slots__ = ("ids", "granted", "uses", "pending", "decided")

    def __init__(self) -> None:
        self.ids: defaultdict[_Key, list[str]] = defaultdict(list)
        self.granted: frozenset[Covered] = _NOTHING_GRANTED
        self.uses: Counter[Covered] = Counter()
        self.pending = 0
        self.decided = 0


def same_name(one: str, other: str) -> bool:
    """Whether two names are one to a person who reads them: case, width and white space around it make nobody else."""
    return _name(one) == _name(other)


def _name(text: str) -> str:
    return normalize("NFKC", text).casefold().strip()


class ApprovalBook:
    """All approvals of a runtime. Safe to call from many threads.

    A pending one expires `lifetime_seconds` (monotonic) after it was requested. Whatever call comes first notices;
    `expire_due` hands each expired one out, once, so whoever runs the book calls it with every request. At most `max_pending`
    are pending in all and `max_pending_per_session` in one session.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        lifetime_seconds: int = 86_400,
        max_pending: int = 10_000,
        max_pending_per_session: int = 1_000,
    ) -> None:
        self._clock = clock
        self.lifetime_ns = lifetime_seconds * NS_PER_SECOND
        self._max_pending = max_pending
        self._max_pending_per_session = max_pending_per_session
        # Reentrant: the collector may give up a wait at any time, also in the middle of a call.
        self._lock = RLock()
        self._approvals: dict[str, Approval] = {}
        self._sessions: dict[str, _Session] = {}
        self._deadlines: OrderedDict[str, int] = OrderedDict()
        self._expired: list[Approval] = []
        self._watchers: defaultdict[str, list[Callable[[], object]]] = defaultdict(list)

    def watch(self, approval_id: str, tell: Callable[[], object]) -> Callable[[], None]:
        """Call `tell` when an approval is decided or gone, on whichever thread that happens; it must not wait for anything.

        Returns a function that ends the watch.
        """
        with self._lock:
            self._watchers[approval_id].append(tell)

        def end() -> None:
            with self._lock:
                watchers = self._watchers.get(approval_id, [])
                if tell in watchers:
                    watchers.remove(tell)
                if not watchers:
                    self._watchers.pop(approval_id, None)

        return end

    def _tell(self, approval_id: str) -> None:
        for tell in self._watchers.pop(approval_id, ()):
            tell()

    def wait(self, approval_id: str, timeout: float | None) -> Approval:
        """The approval once it is decided, or as it stands after `timeout` seconds. Raises `ApprovalNotFound` when it is gone."""
        decided = Event()
        unwatch = self.watch(approval_id, decided.set)
        try:
            if self.find(approval_id).status == "pending":
                decided.wait(timeout)
        finally:
            unwatch()
        return self.find(approval_id)

    def next_expiry(self) -> int:
        """When the next approval can expire, monotonic ns: of those that are pending, or requested from now on."""
        with self._lock:
            return next(iter(self._deadlines.values()), self._clock.monotonic_ns() + self.lifetime_ns)

    def request(
        self,
        *,
        session_id: str,
        agent_id: str,
        atlas_id: str,
        policy_id: str,
        action_id: str,
        parameters_hash: str | None = None,
        reason: str = "",
    ) -> tuple[Approval, bool]:
        """The approval for this, and whether it is new: a granted, pending or rejected one is not asked for again.

        An expired or used one is. Raises `Conflict` where too many are held already.
        """
        covers = (atlas_id, policy_id, action_id)
        with self._lock:
            self._expire()
            session = self._sessions.setdefault(session_id, _Session())
            held = self._held(session, (covers, parameters_hash))
            if held is not None:
                return held, False
            self._check_room(session)
            now = self._clock.now_ns()
            approval = Approval(
                approval_id=approval_id(
                    session_id, atlas_id, policy_id, action_id, parameters_hash, session.uses[covers]
                ),
                session_id=session_id,
                agent_id=agent_id,
                atlas_id=atlas_id,
                policy_id=policy_id,
                action_id=action_id,
                parameters_hash=parameters_hash,
                status="pending",
                reason=reason,
                requested_at=format_timestamp(now),
                expires_at=format_timestamp(now + self.lifetime_ns),
            )
            self._approvals[approval.approval_id] = approval
            self._deadlines[approval.approval_id] = self._clock.monotonic_ns() + self.lifetime_ns
            session.ids[covers, parameters_hash].append(approval.approval_id)
            session.pending += 1
            return approval, True

    def grant(self, approval_id: str, *, by: str, reason: str = "") -> Approval:
        """Grant a pending approval in the name of `by`, who is never the agent itself.

        Raises `ApprovalNotFound`, `Conflict` where it is decided already, `InvalidParameters` where `by` is empty,
        `ActionDenied` where it is the agent.
        """
        return self._decide(approval_id, "granted", by, reason)

    def reject(self, approval_id: str, *, by: str, reason: str = "") -> Approval:
        """Reject a pending approval, for the rest of the session; raises as `grant` does."""
        return self._decide(approval_id, "rejected", by, reason)

    def granted(self, session_id: str) -> frozenset[Covered]:
        """The unconditional grants of a session: (atlas id, policy id, action id). They hold until it ends."""
        session = self._sessions.get(session_id)
        return session.granted if session else _NOTHING_GRANTED

    def find_bound(
        self, session_id: str, atlas_id: str, policy_id: str, action_id: str, parameters_hash: str
    ) -> Approval | None:
        """The grant that is bound to these parameters and not used yet, None where there is none."""
        with self._lock:
            session = self._sessions.get(session_id)
            held = self._held(session, ((atlas_id, policy_id, action_id), parameters_hash)) if session else None
        return held if held and held.status == "granted" else None

    def consume(self, approval_id: str) -> Approval | None:
        """Use up a grant that is bound to parameters: exactly one of many callers gets it, as `used`, the others None."""
        with self._lock:
            approval = self._approvals.get(approval_id)
            if approval is None or approval.status != "granted" or approval.parameters_hash is None:
                return None
            session = self._forget(approval)
            session.decided -= 1
            session.uses[approval.covers] += 1
            return msgspec.structs.replace(approval, status="used")

    def give_back(self, used: Approval) -> None:
        """Undo a `consume`, for a call whose executor was never called. Nothing, where the session has ended since."""
        with self._lock:
            session = self._sessions.get(used.session_id)
            if session is not None and used.approval_id not in self._approvals:
                self._approvals[used.approval_id] = msgspec.structs.replace(used, status="granted")
                # First, so that it is found before one that was requested in between.
                session.ids[used.covers, used.parameters_hash].insert(0, used.approval_id)
                session.decided += 1

    def held(self, session_id: str, policy: Policy, action_id: str, parameters_hash: str | None) -> Approval | None:
        """The approval that a session has for this, pending or decided; None where it has asked for none."""
        covers = (policy.atlas_id, policy.policy_id, action_id)
        with self._lock:
            session = self._sessions.get(session_id)
            return None if session is None else self._held(session, (covers, parameters_hash))

    def pending(self) -> list[Approval]:
        """What waits for a decision, oldest first."""
        with self._lock:
            self._expire()
            return [self._approvals[approval_id] for approval_id in self._deadlines]

    @property
    def at_rest(self) -> bool:
        """Whether nothing waits for a decision or was just found to have expired: there is nothing that time could change."""
        return not self._deadlines and not self._expired

    def expire_due(self) -> list[Approval]:
        """The approvals that have expired since the last call of this, each handed out once."""
        with self._lock:
            self._expire()
            expired, self._expired = self._expired, []
            return expired

    def not_recorded(self, expired: list[Approval]) -> None:
        """Take back what `expire_due` handed out, for its next call: it could not be recorded."""
        with self._lock:
            self._expired = [approval for approval in expired if approval.session_id in self._sessions] + self._expired

    def find(self, approval_id: str) -> Approval:
        """An approval that waits or was decided. Raises `ApprovalNotFound`."""
        with self._lock:
            self._expire()
            return self._find(approval_id)

    def end_session(self, session_id: str) -> None:
        """Drop all approvals of a session, which asks for no more; none of them is handed out as expired any more."""
        if session_id not in self._sessions:
            return
        with self._lock:
            session = self._sessions.pop(session_id)
            for approval_ids in session.ids.values():
                for approval_id in approval_ids:
                    del self._approvals[approval_id]
                    self._deadlines.pop(approval_id, None)
                    self._tell(approval_id)
            self._expired = [approval for approval in self._expired if approval.session_id != session_id]

    def _decide(self, approval_id: str, status: Literal["granted", "rejected"], by: str, reason: str) -> Approval:
        with self._lock:
            self._expire()
            approval = self._find(approval_id)
            if approval.status != "pending":
                raise Conflict(f"approval {approval_id} is already {approval.status}, by {approval.decided_by}")
            if not isinstance(by, str) or not by.strip():
                raise InvalidParameters("say who decides: by= is empty")
            if same_name(by, approval.agent_id):
                raise ActionDenied(
                    f"approval {approval_id} is for the agent that is named in by=; somebody else has to decide",
                    policy_id=approval.policy_id,
                )
            decided = msgspec.structs.replace(
                approval,
                status=status,
                decided_at=format_timestamp(self._clock.now_ns()),
                decided_by=by,
                decision_reason=reason,
            )
            self._approvals[approval_id] = decided
            del self._deadlines[approval_id]
            session = self._sessions[approval.session_id]
            session.pending -= 1
            session.decided += 1
            if status == "granted" and approval.parameters_hash is None:
                session.granted |= {approval.covers}
            self._tell(approval_id)
            return decided

    def _find(self, approval_id: str) -> Approval:
        approval = self._approvals.get(approval_id)
        if approval is None:
            raise ApprovalNotFound(
                f"there is no approval {approval_id}: it was never requested, has expired or been used, or its session has"
                " ended; pending_approvals() lists those that wait"
            )
        return approval

    def _expire(self) -> None:
        now = self._clock.monotonic_ns()
        while self._deadlines and next(iter(self._deadlines.values())) <= now:
            approval = self._approvals[self._deadlines.popitem(last=False)[0]]
            self._forget(approval).pending -= 1
            self._expired.append(msgspec.structs.replace(approval, status="expired"))
            self._tell(approval.approval_id)

    def _forget(self, approval: Approval) -> _Session:
        """Take an approval out of the book; its session is returned."""
        del self._approvals[approval.approval_id]
        session = self._sessions[approval.session_id]
        key = (approval.covers, approval.parameters_hash)
        session.ids[key].remove(approval.approval_id)
        if not session.ids[key]:
            del session.ids[key]
        return session

    def _held(self, session: _Session, key: _Key) -> Approval | None:
        approval_ids = session.ids.get(key)
        return self._approvals[approval_ids[0]] if approval_ids else None

    def _check_room(self, session: _Session) -> None:
        if len(self._deadlines) >= self._max_pending:
            raise Conflict(f"{self._max_pending} approvals are pending; decide some of them before more are requested")
        if session.pending >= self._max_pending_per_session:
            raise Conflict(
                f"{self._max_pending_per_session} approvals of this session are pending; decide some of them before more are"
                " requested"
            )
        if session.decided >= MAX_DECIDED_PER_SESSION:
            raise Conflict(f"this session has {MAX_DECIDED_PER_SESSION} decided approvals; end it and open a new one")
