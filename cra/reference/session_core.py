"""The path that most resolves take: a plain goal under a plan that is known. Everything else goes the long way, `_resolve`.

A session remembers in a `Shortcut` what its last plain resolve came to. The next one may take it as long as nothing has changed
that the plan depends on: the atlases (`RuntimeCore.epoch`), the grants of the session (`forget_shortcut`), the second of the
wall clock where a condition reads it. Limits are looked at every time. Taken or not, the answer and its events are the same.

What else a session records goes by way of the recorder here; the compiled twin puts it into the ring itself where it may
(`RuntimeCore.direct`), and leaves to the recorder whatever is unusual.

PROTOCOL: Evaluation, Context, Events of a resolve; ARCHITECTURE: hot path.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Literal

from cra.reference.records import encode_resolve
from cra.reference.ring_room import CLOSING_BYTES
from cra.timing.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from cra.carp.conditions import RiskTier
    from cra.carp.plan import Plan, Ruling
    from cra.carp.resolution import Resolution
    from cra.execution.call import Call
    from cra.execution.limits import LimitKey
    from cra.hotpath import RingRoom, SlidingWindows, Watches
    from cra.ids import IdSource
    from cra.session import Session
    from cra.timing.clock import Clock
    from cra.trace.record import SessionHeader
    from cra.trace.recorder import Recorder

MAX_GOAL: Final = 10_000
"""Characters of a goal."""
REMEMBERED_RESOLUTIONS: Final = 1_024
MAX_PAYLOAD: Final = 2 * 2**20
"""Bytes of the payload of an event that sessions record."""
RECORD_BYTES: Final = 256
"""What a record of one event has besides its payload, at most: its frame in the ring, the ids, the type."""
CLOSING_PAYLOAD: Final = CLOSING_BYTES - RECORD_BYTES
"""Bytes of the payload of an event whose room was taken before."""
_FOR_EVER_NS: Final = 2**62
NewEvent = tuple[str, dict[str, Any]]
"""The type and the payload of an event to record."""
SessionLock = threading.RLock
"""The lock of a session; reentrant."""


class Shortcut:
    """What a plain resolve of one session comes to while nothing changes.

    `second` is the wall-clock second that the plan holds for, -1 where it does not depend on the time. `ruling` is the plan's
    with no limit exhausted, `template` its number in the ring, `watches` its limits as they are counted for the session.
    """

    __slots__ = ("epoch", "plan", "ruling", "second", "template", "watches")

    def __init__(self, epoch: int, second: int, plan: Plan, ruling: Ruling, template: int, watches: Watches) -> None:
        self.epoch = epoch
        self.second = second
        self.plan = plan
        self.ruling = ruling
        self.template = template
        self.watches = watches


class RuntimeCore:
    """What the resolves of all sessions of a runtime share.

    `epoch` rises with every change of the atlases. `direct` is whether a session may put its record into `ring` without asking
    the recorder: False while something is lost, closed or inherited, and where every request is redacted or stored at once.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        ids: IdSource,
        recorder: Recorder,
        limits: SlidingWindows,
        ttl_seconds: int,
        idle_seconds: float,
        life_seconds: float,
        resolution_type: type[Resolution],
    ) -> None:
        self.clock = clock
        self.ids = ids
        self.recorder = recorder
        self.ring = recorder.ring
        self.limits = limits
        self.ttl_seconds = ttl_seconds
        self.idle_ns = int(min(idle_seconds * NS_PER_SECOND, _FOR_EVER_NS))
        self.life_ns = int(min(life_seconds * NS_PER_SECOND, _FOR_EVER_NS))
        self.resolution_type = resolution_type
        self.epoch = 0
        self.direct = False
        self.resolutions = 0

    def note_change(self) -> None:
        """The atlases have changed: no shortcut holds any more."""
        self.epoch += 1

    def reserve(self) -> RingRoom:
        """Room for a record that closes something. Raises `TraceBackpressure`."""
        return self.recorder.reserve()


def _is_empty(listed: object) -> bool:
    """Of other types, whatever their truth is, the long way says what is wrong."""
    return type(listed) in (tuple, list) and not listed


class SessionCore:
    """What a session is, and the part of it that resolves and records touch.

    `number` is what the ring calls the session, 0 before its first record and after its last; `last_base` is the id that its
    newest record of `record` derives from. `ancestors` are its parent, that
    one's parent, and so on. `on_end` is called with the session when it has ended.
    """

    def __init__(
        self,
        runtime: RuntimeCore,
        header: SessionHeader,
        agent_id: str,
        goal: str,
        context: dict[str, Any],
        scopes: frozenset[str],
        risk_tier: RiskTier,
        atlas_ids: frozenset[str] | None,
        parent: Session | None,
        on_end: Callable[[Session], None],
    ) -> None:
        self.runtime = runtime
        self.header = header
        self.session_id = header.session_id
        self.trace_id = header.trace_id
        self.agent_id = agent_id
        self.goal = goal
        self.context = context
        self.scopes = scopes
        self.risk_tier = risk_tier
        self.atlas_ids = atlas_ids
        self.parent = parent
        self.ancestors: tuple[Session, ...] = () if parent is None else parent.lineage
        self.on_end = on_end
        self.status: Literal["active", "ended"] = "active"
        self.children: dict[str, Session] = {}
        self.open_calls: dict[str, Call] = {}
        self.limit_keys: set[LimitKey] = set()
        self.action_count = 0
        self.lock: AbstractContextManager[object] = SessionLock()
        self.number = 0
        self.last_base: int | None = None
        self.started_ns = self.active_ns = runtime.clock.monotonic_ns()
        self._shortcut: Shortcut | None = None
        self._recent: list[Resolution] = []
        self._oldest = 0

    def resolve(
        self,
        goal: str,
        *,
        risk_tier: RiskTier | None = None,
        context_hints: Sequence[str] = (),
        required_capabilities: Sequence[str] = (),
        context: Mapping[str, Any] | None = None,
        atlas_ids: Sequence[str] | None = None,
        context_budget: int | None = None,
    ) -> Resolution:
        """What the agent may do towards `goal`, and what it should read first.

        `risk_tier`, `context` and `atlas_ids` can raise, add and narrow, never lower, override or widen what the session has;
        `context_budget` is the most tokens of context to return. Spends nothing.

        Raises `InvalidCARPRequest`, `SessionAlreadyEnded`, `SessionExpired`, `AtlasNotFound`, `Conflict` (two selected atlases
        define one action), `TraceBackpressure`. PROTOCOL: Evaluation, Context.
        """
        base = None
        if (
            risk_tier is None
            and _is_empty(context_hints)
            and _is_empty(required_capabilities)
            and context is None
            and atlas_ids is None
            and context_budget is None
        ):
            found = self.take_shortcut(goal, None)
            if isinstance(found, self.runtime.resolution_type):
                return found
            base = found if isinstance(found, int) else None
        return self._resolve(
            goal, risk_tier, context_hints, required_capabilities, context, atlas_ids, context_budget, base
        )

    def take_shortcut(self, goal: str, request_id: str | None) -> Resolution | int | None:
        """The answer to a request that asks for `goal` and nothing else; or None for the long way, or the id drawn for it.

        `request_id` None: it had none, and gets one with the draw.
        """
        with self.lock:
            return self._take_shortcut(goal, request_id)

    def _take_shortcut(self, goal: str, request_id: str | None) -> Resolution | int | None:
        runtime, shortcut = self.runtime, self._shortcut
        if shortcut is None or not runtime.direct or shortcut.epoch != runtime.epoch:
            return None
        if type(goal) is not str or not 1 <= len(goal) <= MAX_GOAL:
            return None
        now_ns, monotonic_ns = runtime.clock.now_ns(), runtime.clock.monotonic_ns()
        if shortcut.second not in (-1, now_ns // NS_PER_SECOND):
            return None
        if monotonic_ns - self.active_ns > runtime.idle_ns or monotonic_ns - self.started_ns > runtime.life_ns:
            return None
        states = runtime.limits.states(shortcut.watches, monotonic_ns)
        ruling, template = shortcut.ruling, shortcut.template
        exhausted = shortcut.watches.exhausted(states)
        if exhausted:
            ruling = shortcut.plan.ruling(exhausted)
            template = ruling.template
            if not template:
                return None
        try:
            text = goal.encode()
        except UnicodeEncodeError:
            return None
        injected, cut = shortcut.plan.context.selector.select(goal)
        base = runtime.ids.draw(now_ns // 1_000_000)
        record = encode_resolve(
            self.number,
            base,
            now_ns,
            template,
            text,
            request_id=request_id,
            injected=injected,
            cut=cut,
        )
        # What interrupts this thread may end the session, or decide what its plan depends on.
        if self._shortcut is not shortcut or not runtime.direct or shortcut.epoch != runtime.epoch:
            return base
        if not runtime.ring.put(record):
            return base
        self.active_ns = monotonic_ns
        resolution = runtime.resolution_type(
            header=self.header,
            base=base,
            request_id=request_id,
            time_ns=now_ns,
            expires_ns=monotonic_ns + runtime.ttl_seconds * NS_PER_SECOND,
            ttl_seconds=runtime.ttl_seconds,
            plan=shortcut.plan,
            ruling=ruling,
            injected=injected,
            limit_states=states,
            ask=goal,
        )
        self.remember(resolution)
        runtime.resolutions += 1
        return resolution

    def set_shortcut(
        self, epoch: int, second: int, plan: Plan, ruling: Ruling, template: int, watches: Watches
    ) -> None:
        """Remember what a plain resolve came to; `epoch` was read before the plan was looked up."""
        self._shortcut = Shortcut(epoch, second, plan, ruling, template, watches)

    def forget_shortcut(self) -> None:
        """The next resolve goes the long way: the session has ended, or its grants have changed."""
        self._shortcut = None

    def remember(self, resolution: Resolution) -> None:
        """Keep a resolution, to be found by its id: the last 1,024 of them."""
        if len(self._recent) < REMEMBERED_RESOLUTIONS:
            self._recent.append(resolution)
        else:
            self._recent[self._oldest] = resolution
            self._oldest = (self._oldest + 1) % REMEMBERED_RESOLUTIONS

    def recall(self, base: int) -> Resolution | None:
        """The resolution that was drawn as `base`, None where it is not among those kept."""
        return next((found for found in self._recent if found.base == base), None)

    def forget_resolutions(self) -> None:
        self._recent, self._oldest = [], 0

    def touch(self) -> None:
        """Check that the session and its ancestors are active, and note that they are used. The session's lock is held.

        Raises `SessionAlreadyEnded`, `SessionExpired`. PROTOCOL: Timing defaults.
        """
        if self.status == "active" and self.parent is None:
            runtime, now = self.runtime, self.runtime.clock.monotonic_ns()
            if now - self.active_ns <= runtime.idle_ns and now - self.started_ns <= runtime.life_ns:
                self.active_ns = now
                return
        self._touch()

    def record(self, *events: NewEvent, base: int | None = None) -> int:
        """Record events as of now, and return the id that theirs derive from: `base`, or a draw. The session's lock is held.

        Raises `TraceBackpressure`, and `InvalidTraceEvent` for what has no place in a trace.
        """
        return self._record(events, base)

    def record_last(self, room: RingRoom, event_type: str, payload: dict[str, Any], span: int | None = None) -> None:
        """Record, in its room, the event that closes something that has happened. The session's lock is held.

        `span` is the id that its first record derived from, where it had two. Raises nothing that the event could avoid.
        """
        self._record_last(room, event_type, payload, None, span)

    # The long ways

    @abstractmethod
    def _touch(self) -> None:
        """`touch` for a session that has ancestors, or ends here or has ended."""

    @abstractmethod
    def _record(self, events: tuple[NewEvent, ...], base: int | None) -> int:
        """`record` by way of the recorder."""

    @abstractmethod
    def _record_last(
        self, room: RingRoom, event_type: str, payload: dict[str, Any], base: int | None, span: int | None
    ) -> None:
        """`record_last` by way of the recorder."""

    @abstractmethod
    def _resolve(
        self,
        goal: str,
        risk_tier: RiskTier | None,
        context_hints: Sequence[str],
        required_capabilities: Sequence[str],
        context: Mapping[str, Any] | None,
        atlas_ids: Sequence[str] | None,
        context_budget: int | None,
        base: int | None,
    ) -> Resolution:
        """The long way: check the request, find its plan, record. `base` is the id to use where one was drawn."""
