"""What the sessions of one `Resolver` share: its parts, its options, and the few operations that need several of them.

Made by `cra.resolver`; used by `cra.session` and `cra.execution`.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cra.atlas.manifest import Action
from cra.atlas.registry import AtlasRegistry
from cra.carp.plan import Plan, Ruling
from cra.carp.policy import Policy
from cra.carp.policy_set import PolicySet
from cra.carp.resolution import Resolution
from cra.errors import InternalError, InvalidTraceEvent
from cra.execution.approvals import Approval, ApprovalBook
from cra.execution.executors import ExecutorThreads
from cra.execution.running import Executor
from cra.hotpath import RingRoom, RuntimeCore, canonical_text, hash_value
from cra.ids import IdSource
from cra.options import Options
from cra.reference.ring_room import CLOSING_BYTES
from cra.reference.session_core import CLOSING_PAYLOAD, MAX_PAYLOAD, RECORD_BYTES, NewEvent
from cra.shared.limits import Spending
from cra.strictjson import MAX_DEPTH
from cra.timing.clock import NS_PER_SECOND, Clock
from cra.timing.rate_limit import SlidingWindows
from cra.trace.record import EventsRecord, SessionHeader
from cra.trace.recorder import Recorder
from cra.trace.template import make_template

if TYPE_CHECKING:
    from cra.session import Session
    from cra.shared.approval_sharing import ApprovalSharing

MAX_POLICY_SETS = 64
CLOSING_FIELDS = (
    "atlas_id",
    "version",
    "sha256",
    "action_id",
    "execution_id",
    "error_code",
    "duration_ms",
    "effect",
    "result_hash",
)


class ForkedLock:
    """Stands where a lock was that a forked child inherited: its holder may be a thread that is not there."""

    def __enter__(self) -> None:  # pragma: no cover - runs in forked children only
        raise InternalError("this Resolver was inherited through a fork; create a new Resolver in the child process")

    def __exit__(self, *_: object) -> None:
        """Never entered."""


class Runtime(RuntimeCore):
    """See the module."""

    def __init__(
        self,
        *,
        options: Options,
        clock: Clock,
        ids: IdSource,
        registry: AtlasRegistry,
        recorder: Recorder,
    ) -> None:
        super().__init__(
            clock=clock,
            ids=ids,
            recorder=recorder,
            limits=SlidingWindows(),
            ttl_seconds=options.ttl_seconds,
            idle_seconds=options.idle_seconds,
            life_seconds=options.life_seconds,
            resolution_type=Resolution,
        )
        self.options = options
        self.spending: Spending = self.limits
        """Where executions reserve their limits; where that `asks_others`, it may take a while."""
        self.asks_others = False
        self.sharing: ApprovalSharing | None = None
        """The board on which approvals are announced to other processes."""
        self.grace_ns = int(options.grace_seconds * NS_PER_SECOND)
        self.registry = registry
        registry.on_change = self.note_change
        registry.on_evict = self.forget_policy_sets
        if options.redact is None:
            recorder.on_direct(self.set_direct)
        self.approvals = ApprovalBook(clock)
        self.threads = ExecutorThreads()
        self.executors: dict[str, Executor] = {}
        self.shared_executors: dict[str, Executor] = {}
        self.sessions: dict[str, Session] = {}
        self.executions = 0
        self._policy_sets: dict[frozenset[str] | None, PolicySet] = {}
        self._generation = -1
        self._lock = threading.Lock()
        self._template_lock = threading.RLock()  # reentrant: a signal handler may resolve while this waits for room

    def policy_set(self, selection: frozenset[str] | None) -> PolicySet:
        """The policy set of a selection (None: every loaded atlas); overlays are always part of it.

        Raises `AtlasNotFound`, or `Conflict` when two of the atlases define the same action.
        """
        if self._generation == self.registry.generation:
            found = self._policy_sets.get(selection)
            if found is not None:
                return found
        with self._lock:
            generation = self.registry.generation
            built = PolicySet(self.registry.select(selection), self.options.default_decision)
            if generation != self._generation or len(self._policy_sets) >= MAX_POLICY_SETS:
                self._policy_sets = {}
            self._policy_sets[selection] = built
            self._generation = generation
            return built

    def forget_policy_sets(self) -> None:
        """Let go of compiled atlases, for an evicted one to leave memory. No lock: the registry calls it under its own."""
        self._policy_sets = {}
        self.note_change()

    def set_direct(self, direct: bool) -> None:
        """The recorder says whether sessions may put records into the ring themselves."""
        self.direct = direct

    @property
    def cached_plans(self) -> int:
        return sum(policy_set.cached_plans for policy_set in list(self._policy_sets.values()))

    def template(self, plan: Plan, ruling: Ruling) -> int:
        """The number under which the ring knows the events of a ruling, written there before its first use.

        Raises `TraceBackpressure`, and `InvalidTraceEvent` for a plan that is larger than the ring takes.
        """
        if not ruling.template:
            with self._template_lock:
                if not ruling.template:
                    options = self.options
                    number = self.recorder.define(
                        lambda number: make_template(number, plan, ruling, options.trace_detail, options.ttl_seconds)
                    )
                    ruling.template = number
                    forget = weakref.WeakMethod(self.recorder.queue.forget)
                    weakref.finalize(ruling, _forget_template, forget, number).atexit = False
        return ruling.template

    def find_executor(self, action: Action) -> Executor | None:
        """What runs an action: its own executor, else the shared one that it names.

        Two sets of names: an atlas that writes another's action id into `executor` must not get at what is governed there.
        """
        return self.executors.get(action.action_id) or self.shared_executors.get(action.executor or "")

    def hash(self, value: object) -> str:
        """The hash of a value as traces show it: plain, or keyed where the runtime has a `hash_key`."""
        return hash_value(value, self.options.hash_key)

    def payload(self, event_type: str, payload: dict[str, Any]) -> bytes:
        """The payload as it is recorded, in canonical JSON: `redact` is asked first, and what cannot be hashed is refused here.

        Raises `InvalidTraceEvent`, and whatever `redact` raises.
        """
        if self.options.redact is not None:
            payload = self.options.redact(event_type, payload)
            if not isinstance(payload, dict):
                raise InvalidTraceEvent(f"redact has to return a dict, not {type(payload).__name__}")
        text = canonical_text(payload, MAX_DEPTH - 1).encode()
        if len(text) > MAX_PAYLOAD:
            raise InvalidTraceEvent(f"the {event_type} payload is larger than {MAX_PAYLOAD} bytes; say less")
        return text

    def events_record(
        self,
        session: SessionHeader,
        *events: NewEvent,
        base: int | None = None,
        span: int | None = None,
    ) -> EventsRecord:
        """A record of these events as of now. Raises as `payload` does."""
        return self._make_record(self.payload, session, events, base, span)

    def closing_record(
        self,
        session: SessionHeader,
        *events: NewEvent,
        base: int | None = None,
        span: int | None = None,
    ) -> EventsRecord:
        """A record that closes something that has happened: not even `redact` can prevent it, and it fits into its room."""
        return self._make_record(self._payload_at_any_rate, session, events, base, span)

    def _make_record(
        self,
        payload: Callable[[str, dict[str, Any]], bytes],
        session: SessionHeader,
        events: tuple[NewEvent, ...],
        base: int | None,
        span: int | None,
    ) -> EventsRecord:
        now = self.clock.now_ns()
        return EventsRecord(
            session,
            self.ids.draw(now // 1_000_000) if base is None else base,
            now,
            tuple([(event_type, payload(event_type, content)) for event_type, content in events]),
            span,
        )

    def _payload_at_any_rate(self, event_type: str, payload: dict[str, Any]) -> bytes:
        try:
            text = self.payload(event_type, dict(payload))
            if len(text) <= CLOSING_PAYLOAD:
                return text
            problem = "TooLarge"
        except Exception as error:
            problem = type(error).__name__[:100]
        kept = {"redaction_error": problem}
        for key in CLOSING_FIELDS:
            if key in payload:
                more = kept | {key: payload[key]}
                kept = more if len(canonical_text(more).encode()) <= CLOSING_PAYLOAD else kept
        return canonical_text(kept).encode()

    @contextmanager
    def room(self, size: int = CLOSING_BYTES) -> Iterator[RingRoom]:
        """Room for a record, taken before something happens that has to be recorded. Raises `TraceBackpressure`."""
        reservation = self.recorder.reserve(size)
        try:
            yield reservation
        finally:
            reservation.release()

    def expire_approvals(self) -> None:
        """Record the approvals that nobody decided in time. Called without the lock of any session."""
        if self.approvals.at_rest:
            return
        expired = self.approvals.expire_due()
        try:
            while expired:
                self._record_expired(expired)
        finally:
            self.approvals.not_recorded(expired)

    def _record_expired(self, expired: list[Approval]) -> None:
        """Record the first of them, and take it out once it is recorded, whatever becomes of its storing."""
        approval = expired[0]
        session = self.sessions.get(approval.session_id)
        if session is not None:
            with session.lock:
                if session.status == "active":
                    event = ("approval.expired", approval_payload(approval))
                    self.recorder.record(self.closing_record(session.header, event), lambda: expired.pop(0))
                    return
        del expired[0]


def _forget_template(forget: Callable[[], Callable[[int], None] | None], number: int) -> None:
    """A ruling is gone. It must not keep the recorder alive, which may keep alive what the ruling belongs to."""
    tell = forget()
    if tell is not None:
        tell(number)


def record_bytes(record: EventsRecord) -> int:
    """How much room a record needs, at most."""
    return RECORD_BYTES + sum(len(payload) + RECORD_BYTES for _, payload in record.events)


def approval_room(policy: Policy, action_id: str) -> int:
    """How much room an event about an approval for this needs, at most."""
    return CLOSING_BYTES + 6 * (len(policy.atlas_id) + len(policy.policy_id) + len(action_id))


def approval_payload(approval: Approval, **extra: str) -> dict[str, Any]:
    """The payload of an `approval.*` event."""
    payload: dict[str, Any] = {
        "approval_id": approval.approval_id,
        "atlas_id": approval.atlas_id,
        "policy_id": approval.policy_id,
        "action_id": approval.action_id,
    }
    if approval.parameters_hash is not None:
        payload["parameters_hash"] = approval.parameters_hash
    return payload | extra
