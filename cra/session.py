"""A session: one agent, one goal, one trace. Resolves, executes, ends.

Made by `Resolver.create_session`. The host says who and where; the agent's requests can only narrow that. Safe to use from many
threads. PROTOCOL: CARP/1.0, TRACE/1.0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal

from cra.carp.conditions import RISK_TIERS, RiskTier
from cra.carp.explain import Explanation, explain
from cra.carp.plan import Plan
from cra.carp.policy import Policy
from cra.carp.policy_set import PolicySet
from cra.carp.request import Ask, Operation, Request, make_ask
from cra.carp.resolution import Resolution
from cra.errors import (
    ApprovalNotFound,
    Conflict,
    ResolutionExpired,
    SessionAlreadyEnded,
    SessionExpired,
)
from cra.execution.approvals import Approval
from cra.execution.approvals import approval_id as derive_approval_id
from cra.execution.call import Call, Outcome
from cra.execution.execute import aexecute, execute
from cra.execution.idempotency import IdempotencyStore
from cra.execution.limits import limit_watches
from cra.hotpath import RingRoom, SessionCore, format_uuid, parse_uuid
from cra.reference.match import Facts, scalar_text
from cra.reference.session_core import NewEvent
from cra.runtime import Runtime, approval_payload, approval_room
from cra.timing.clock import NS_PER_SECOND
from cra.trace.record import REQUEST, RESOLUTION, ResolveRecord

REMEMBERED_REQUESTS = 65_536
_PLAIN_FIELDS = 3  # request id, operation, goal
EndReason = Literal["completed", "timeout", "error", "cancelled"]


class Session(SessionCore):
    """See the module.

    Attributes: `session_id`, `trace_id`, `agent_id`, `goal`, `risk_tier`, `scopes`, `context`, `atlas_ids` (None: every loaded
    atlas), `parent`, `status` (`"active"` or `"ended"`).
    """

    runtime: Runtime
    _idempotency: IdempotencyStore | None = None
    _is_over = False
    """Whether `end` came to its end."""
    _request_ids: OrderedDict[str, int] | None = None

    @property
    def lineage(self) -> tuple[Session, ...]:
        """The session, its parent, and so on. Not kept: it would refer to itself, and wait for the cycle collector."""
        return (self, *self.ancestors)

    def __repr__(self) -> str:
        return f"<Session {self.session_id} of {self.agent_id!r}, {self.status}>"

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_over:
            self.end("completed" if error is None else "error")

    # Resolve

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
        ask = make_ask(
            goal,
            risk_tier=risk_tier,
            context_hints=context_hints,
            required_capabilities=required_capabilities,
            context=context,
            atlas_ids=atlas_ids,
            context_budget=context_budget,
        )
        return self.answer(ask, base=base)

    def answer_request(self, request: Request) -> Resolution:
        """Answer a request of operation `resolve` that was parsed and belongs here."""
        base = None
        if request.is_plain:
            found = self.take_shortcut(request.task.goal, request.request_id)
            if isinstance(found, Resolution):
                return found
            base = found
        return self.answer(request.ask(), request_id=request.request_id, base=base)

    def answer(
        self,
        ask: Ask,
        *,
        request_id: str | None = None,
        operation: Operation = "resolve",
        base: int | None = None,
    ) -> Resolution:
        """Evaluate, record, and make the resolution. `validate` records the request alone; `base` is the id drawn for it."""
        runtime = self.runtime
        with self.lock:
            self.touch()
            epoch = runtime.epoch
            now_ns, monotonic_ns = runtime.clock.now_ns(), runtime.clock.monotonic_ns()
            plan = self.plan(ask, now_ns)
            watches = limit_watches(self, plan)
            states = runtime.limits.states(watches, monotonic_ns)
            exhausted = watches.exhausted(states)
            ruling = plan.ruling(exhausted)
            injected, cut = plan.context.select(ask.goal, ask.context_hints, ask.context_budget)
            if base is None:
                base = runtime.ids.draw(now_ns // 1_000_000)
            if operation == "validate":
                payload = self._request_payload(plan, ask, request_id or format_uuid(base + REQUEST), operation)
                self.record(("carp.request.received", payload), base=base)
            else:
                text, is_payload = self._request_text(plan, ask, request_id or format_uuid(base + REQUEST))
                template = runtime.template(plan, ruling)
                runtime.recorder.record(
                    ResolveRecord(self.header, base, now_ns, template, text, is_payload, request_id, injected, cut)
                )
                usual = plan.ruling(())
                if usual.template and not (is_payload or self.parent):
                    second = now_ns // NS_PER_SECOND if plan.policy_set.depends_on_time else -1
                    self.set_shortcut(epoch, second, plan, usual, usual.template, watches)
            resolution = Resolution(
                header=self.header,
                base=base,
                request_id=request_id,
                time_ns=now_ns,
                # Nothing in the trace would stand behind an execution of what was only validated.
                expires_ns=monotonic_ns + (operation == "resolve") * runtime.options.ttl_seconds * NS_PER_SECOND,
                ttl_seconds=runtime.options.ttl_seconds,
                plan=plan,
                ruling=ruling,
                injected=injected,
                limit_states=states,
                ask=ask,
            )
            if operation == "resolve":
                self.remember(resolution)
            runtime.resolutions += 1
        return resolution

    def plan(self, ask: Ask, now_ns: int) -> Plan:
        """The plan for a request of this session, as of the wall-clock time `now_ns`."""
        policy_set = self.policy_set(ask)
        outcomes = tuple([policy_set.outcomes(facts) for facts in self.facts(ask, now_ns)])
        return policy_set.plan(outcomes, ask.required_capabilities, self.runtime.approvals.granted(self.session_id))

    def policy_set(self, ask: Ask) -> PolicySet:
        """The atlases of the session, narrowed by those of the request. Raises `AtlasNotFound`."""
        if ask.atlas_ids is None:
            return self.runtime.policy_set(self.atlas_ids)
        for atlas_id in ask.atlas_ids:
            self.runtime.registry.get(atlas_id)
        wanted = frozenset(ask.atlas_ids)
        return self.runtime.policy_set(wanted if self.atlas_ids is None else wanted & self.atlas_ids)

    def facts(self, ask: Ask, now_ns: int) -> list[Facts]:
        """The effective values of a request, for this session and for each ancestor as if it had asked the same.

        The higher tier, this session's context (which has its ancestors') over the request's, and each one's own scopes.
        """
        context = {**ask.context, **self.context} if ask.context else self.context
        capabilities = ask.required_capabilities
        return [
            Facts(
                each.agent_id,
                effective_tier(each.risk_tier, ask.risk_tier),
                context,
                each.scopes,
                capabilities,
                now_ns,
            )
            for each in self.lineage
        ]

    def _request_text(self, plan: Plan, ask: Ask, request_id: str) -> tuple[bytes, bool]:
        """What a resolve record says of its request: the goal alone where that is all there is, else the whole payload (True)."""
        payload = self._request_payload(plan, ask, request_id, "resolve")
        if self.runtime.options.redact is None and len(payload) == _PLAIN_FIELDS:
            try:
                return ask.goal.encode(), False
            except UnicodeEncodeError:
                pass  # `payload` says what is wrong with it
        return self.runtime.payload("carp.request.received", payload), True

    def _request_payload(self, plan: Plan, ask: Ask, request_id: str, operation: str) -> dict[str, Any]:
        """The payload of `carp.request.received`; what has its default value is left out."""
        payload: dict[str, Any] = {"request_id": request_id, "operation": operation, "goal": ask.goal}
        if ask.atlas_ids is not None:
            payload["atlas_ids"] = list(ask.atlas_ids)
        if ask.risk_tier not in (None, "low"):
            payload["risk_tier"] = ask.risk_tier
        if ask.context_hints:
            payload["context_hints"] = list(ask.context_hints)
        if ask.required_capabilities:
            payload["required_capabilities"] = list(ask.required_capabilities)
        if ask.context_budget is not None:
            payload["context_budget"] = ask.context_budget
        if plan.policy_set.context_patterns:
            seen = {**(ask.context or {}), **self.context}
            read = [key for key in plan.policy_set.context_patterns if scalar_text(seen.get(key, ())) is not None]
            inputs = {key: seen[key] for key in read}
            if inputs:
                known = self.runtime.options.record_values
                payload["condition_inputs"] = inputs if known else {k: self.runtime.hash(v) for k, v in inputs.items()}
        return payload

    def resolution(self, resolution_id: str) -> Resolution:
        """A resolution of this session by its id. Raises `ResolutionExpired` for all but the last 1,024."""
        try:
            found = self.recall(parse_uuid(resolution_id) - RESOLUTION)
        except ValueError:
            found = None
        if found is None:
            raise ResolutionExpired("this session does not remember the resolution; resolve again")
        return found

    def remember_request(self, request_id: str, skew_seconds: float) -> None:
        """Refuse a request id that this session has seen. Raises `Conflict`. PROTOCOL: Requests."""
        now = self.runtime.clock.monotonic_ns()
        with self.lock:
            if self._request_ids is None:
                self._request_ids = OrderedDict()
            seen = self._request_ids
            while seen and next(iter(seen.values())) < now:
                seen.popitem(last=False)
            if request_id in seen:
                raise Conflict(f"request {request_id} was made before; give every request an id of its own")
            if len(seen) >= REMEMBERED_REQUESTS:
                raise Conflict(f"{REMEMBERED_REQUESTS} requests within {2 * skew_seconds:g} s; wait before the next")
            seen[request_id] = now + int(2 * skew_seconds * NS_PER_SECOND)

    # Execute

    @property
    def idempotency(self) -> IdempotencyStore:
        """The idempotency keys of the session, and the outcomes they stand for."""
        if self._idempotency is None:
            with self.lock:
                self._idempotency = self._idempotency or IdempotencyStore()
        return self._idempotency

    def execute(
        self,
        action_id: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        resolution: Resolution | str,
        idempotency_key: str | None = None,
    ) -> Outcome:
        """Run the registered executor of an action, if everything that governs it agrees now.

        `resolution` is the one that allowed it, or its id. Raises `ActionDenied`, `ActionRequiresApproval`,
        `RateLimitExceeded`, `BudgetExceeded`, `InvalidParameters`, `ActionNotFound`, `ResolutionExpired`, `Conflict`,
        `ExecutionError`, `SchemaValidationError`, `TraceBackpressure`. docs/execution.md has every outcome and its events.
        PROTOCOL: Execute.
        """
        return execute(Call(self, action_id, parameters, resolution, idempotency_key))

    async def aexecute(
        self,
        action_id: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        resolution: Resolution | str,
        idempotency_key: str | None = None,
    ) -> Outcome:
        """`execute` for callers on an event loop: asynchronous executors run on it, synchronous ones on a thread."""
        return await aexecute(Call(self, action_id, parameters, resolution, idempotency_key))

    def request_approval(self, approval_id: str) -> Approval:
        """Ask for an approval that a resolution announced; it becomes pending and shows in `Resolver.pending_approvals`.

        Raises `ApprovalNotFound` when nothing in this session can have that id, `Conflict` when too many are pending.
        """
        self.runtime.expire_approvals()
        with self.lock:
            self.touch()
            policy_set = self.runtime.policy_set(self.atlas_ids)
            for policy, action_id in _approvable(policy_set):
                if approval_id == derive_approval_id(self.session_id, policy.atlas_id, policy.policy_id, action_id):
                    with self.runtime.room(approval_room(policy, action_id)) as room:
                        approval, is_new = self.find_approval(policy, action_id)
                        if is_new:
                            event = ("approval.requested", approval_payload(approval))
                            room.record(self.runtime.events_record(self.header, event))
                    break
            else:
                raise ApprovalNotFound(f"no approval of this session has the id {approval_id!r}")
        if is_new and self.runtime.sharing is not None:
            self.runtime.sharing.announce(approval)
        return approval

    def find_approval(
        self, policy: Policy, action_id: str, parameters_hash: str | None = None
    ) -> tuple[Approval, bool]:
        """The approval of a policy and an action, and whether it is new; the caller records the event."""
        return self.runtime.approvals.request(
            session_id=self.session_id,
            agent_id=self.agent_id,
            atlas_id=policy.atlas_id,
            policy_id=policy.policy_id,
            action_id=action_id,
            parameters_hash=parameters_hash,
            reason=policy.reason or "",
        )

    def explain(
        self,
        action_id: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        risk_tier: RiskTier | None = None,
        required_capabilities: Sequence[str] = (),
        context: Mapping[str, Any] | None = None,
    ) -> Explanation:
        """Which policies match the action, in order, and which condition failed of those that do not.

        Without `parameters`, conditions on them are shown as undecided. Spends and records nothing. Raises `ActionNotFound`.
        """
        ask = make_ask("explain", risk_tier=risk_tier, required_capabilities=required_capabilities, context=context)
        return explain(self, ask, action_id, parameters)

    # Life

    def _touch(self) -> None:
        if self.status == "ended":
            raise SessionAlreadyEnded(f"session {self.session_id} has ended; create a new one")
        runtime, now = self.runtime, self.runtime.clock.monotonic_ns()
        for each in self.lineage:
            if each.status == "ended":
                self.end("cancelled")
                raise SessionAlreadyEnded(f"session {each.session_id}, the parent, has ended; create a new one")
            over = max(now - each.active_ns - runtime.idle_ns, now - each.started_ns - runtime.life_ns)
            if over > 0:
                if not self.open_calls or over > runtime.grace_ns:
                    self.end("timeout")
                raise SessionExpired(f"session {each.session_id} has expired; create a new one")
            each.active_ns = now

    def _record(self, events: tuple[NewEvent, ...], base: int | None) -> int:
        recorder = self.runtime.recorder
        record = self.runtime.events_record(self.header, *events, base=base)
        recorder.record(record, lambda: setattr(self, "last_base", record.base))
        self.number = recorder.queue.number(self.session_id)
        return record.base

    def _record_last(
        self, room: RingRoom, event_type: str, payload: dict[str, Any], base: int | None, span: int | None
    ) -> None:
        room.record(self.runtime.closing_record(self.header, (event_type, payload), base=base, span=span))
        self.number = self.runtime.recorder.queue.number(self.session_id)

    def end(self, reason: EndReason = "completed") -> None:
        """Close the session and its trace. Executions still open are closed as unknown. Raises `SessionAlreadyEnded`.

        Where it was interrupted by an exception, the next call goes on with it.
        """
        is_done = False
        try:
            with self.lock:
                if self._is_over:
                    raise SessionAlreadyEnded(f"session {self.session_id} has ended already")
                room = self.runtime.reserve()
                try:
                    self._end(room, reason)
                    self._is_over = is_done = True
                finally:
                    room.release()
        finally:
            if is_done:
                self.on_end(self)

    def _end(self, room: RingRoom, reason: EndReason) -> None:
        for call in list(self.open_calls.values()):
            call.close_unknown()
        self.status = "ended"
        self.forget_shortcut()  # before the record: what interrupts this may resolve
        payload = {
            "action_count": self.action_count,
            "duration_ms": (self.runtime.clock.monotonic_ns() - self.started_ns) // 1_000_000,
            "reason": reason,
        }
        with suppress(SessionAlreadyEnded):  # an end that was interrupted has recorded it
            self.record_last(room, "session.ended", payload)
        self.runtime.approvals.end_session(self.session_id)
        self.forget_resolutions()
        self._request_ids = None


def effective_tier(host: RiskTier, asked: RiskTier | None) -> RiskTier:
    """The higher of what the host says and what the request says. PROTOCOL: The host says who and where."""
    return host if asked is None else max(host, asked, key=RISK_TIERS.index)


def _approvable(policy_set: PolicySet) -> Iterator[tuple[Policy, str]]:
    """What can be approved before it is executed: each enforced approval policy without parameter conditions, and each action."""
    for policy, positions in zip(policy_set.policies, policy_set.positions):
        if policy.type == "require_approval" and policy.conditions.parameters is None and not policy.shadow:
            for position in sorted(positions):
                yield policy, policy_set.actions[position][1].action_id
