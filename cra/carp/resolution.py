"""The answer to a resolve. What the published schema shows is built from the plan when somebody looks at it.

PROTOCOL: Decision; schema: carp-resolution.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import msgspec

from cra.atlas.manifest import Action, ActionLimit, ContentType
from cra.carp.conditions import RiskTier
from cra.carp.plan import DecisionType, Denial, Plan, PlanLimit, Ruling
from cra.carp.policy import Policy
from cra.carp.request import Ask
from cra.execution.approvals import approval_id
from cra.ids import format_uuid
from cra.timing.clock import NS_PER_SECOND, format_timestamp
from cra.timing.rate_limit import LimitState
from cra.trace.record import REQUEST, RESOLUTION, SessionHeader

CARP_VERSION = "1.0"


class Decision(msgspec.Struct, frozen=True):
    type: DecisionType
    reason: str | None = None
    approval_id: str | None = None
    expires_at: str | None = None


class InjectedBlock(msgspec.Struct, frozen=True):
    """One context block to read; `source` is the atlas that provided it, `token_estimate` in tokens."""

    block_id: str
    source: str
    content_type: ContentType
    content: str
    priority: int
    token_estimate: int


class AllowedAction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    action_id: str
    name: str
    description: str
    parameters_schema: Mapping[str, Any] | None = None
    returns_schema: Mapping[str, Any] | None = None
    risk_tier: RiskTier
    requires_confirmation: bool
    idempotent: bool
    rate_limit: ActionLimit | None = None


class DeniedAction(msgspec.Struct, frozen=True, omit_defaults=True):
    action_id: str
    reason: str
    policy_id: str | None = None


class Constraint(msgspec.Struct, frozen=True):
    """One constraint; `parameters` depend on `type` (docs/policies.md)."""

    constraint_id: str
    type: Literal["rate_limit", "budget", "time_window", "require_approval", "scope"]
    parameters: dict[str, Any]


class Resolution:
    """What the agent may do and should read, until it expires. Immutable; made by `Session.resolve` only.

    It is its own proof: it holds its session, its plan and its expiry, and nothing is registered for it. `expires_ns` is on the
    runtime's monotonic clock; `ask` is what was asked.
    """

    def __init__(
        self,
        *,
        header: SessionHeader,
        base: int,
        request_id: str | None,
        time_ns: int,
        expires_ns: int,
        ttl_seconds: int,
        plan: Plan,
        ruling: Ruling,
        injected: tuple[int, ...],
        limit_states: tuple[LimitState, ...],
        ask: Ask | str,
    ) -> None:
        self._header = header
        self.base = base
        self._time_ns = time_ns
        self.expires_ns = expires_ns
        self._plan = plan
        self._ruling = ruling
        self._injected = injected
        self._limit_states = limit_states
        self.ask = Ask(ask) if isinstance(ask, str) else ask
        self.request_id = request_id or format_uuid(base + REQUEST)
        self.ttl_seconds = ttl_seconds

    carp_version = CARP_VERSION

    def __repr__(self) -> str:
        return (
            f"<Resolution {self._ruling.decision}: {len(self._ruling.allowed)} allowed, {len(self._ruling.denied)} denied,"
            f" {len(self._injected)} context blocks>"
        )

    @cached_property
    def resolution_id(self) -> str:
        return format_uuid(self.base + RESOLUTION)

    @property
    def session_id(self) -> str:
        return self._header.session_id

    @property
    def trace_id(self) -> str:
        return self._header.trace_id

    @cached_property
    def timestamp(self) -> str:
        return format_timestamp(self._time_ns)

    @cached_property
    def decision(self) -> Decision:
        first = next(self._approvals(), None)
        return Decision(self._ruling.decision, self._ruling.reason, first["approval_id"] if first else None)

    @cached_property
    def context_blocks(self) -> tuple[InjectedBlock, ...]:
        """The context to read, most important first."""
        return tuple(
            InjectedBlock(
                block.block_id, atlas.atlas_id, block.content_type, block.content, block.priority, block.token_estimate
            )
            for atlas, block in map(self._plan.policy_set.blocks.__getitem__, self._injected)
        )

    @cached_property
    def allowed_actions(self) -> tuple[AllowedAction, ...]:
        return tuple(_published(self._plan.actions[index][1]) for index in self._ruling.allowed)

    @cached_property
    def denied_actions(self) -> tuple[DeniedAction, ...]:
        """Every action that may not be executed now, those awaiting approval included."""
        return tuple(
            DeniedAction(self._plan.actions[denial.action][1].action_id, denial.reason, denial.policy_id)
            for denial in self._ruling.denied
        )

    @cached_property
    def held_actions(self) -> tuple[DeniedAction, ...]:
        """Those of `denied_actions` that wait for a person; the `require_approval` constraint has the approval ids."""
        held = {self._plan.actions[index][1].action_id for _, index in self._plan.pending}
        return tuple(action for action in self.denied_actions if action.action_id in held)

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """Approvals needed, limits with what remains of them, and conditions on parameters, in this order."""
        return (*self._approval_constraint(), *self._limit_constraints(), *self._scope_constraints())

    def is_allowed(self, action_id: str) -> bool:
        """Whether the action may be executed; False for one that is unknown, denied, or awaiting approval."""
        index = self._plan.index_of(action_id)
        return index is not None and index in self._ruling.allowed

    def refusal(self, action_id: str) -> Denial | None:
        """Why `execute` may not even try the action; None for one that is allowed, held, or out of an exhausted limit alone.

        PROTOCOL: Execute.
        """
        index = self._plan.index_of(action_id)
        if index is None:
            return Denial(-1, "Not part of the resolution", None)
        verdict = self._plan.verdicts[index]
        if verdict.result != "deny":
            return None
        return next(denial for denial in self._ruling.denied if denial.action == index)

    def to_dict(self) -> dict[str, Any]:
        """The published schema's fields, in its order; a private copy."""
        return {
            "carp_version": self.carp_version,
            "resolution_id": self.resolution_id,
            "request_id": self.request_id,
            "timestamp": self.timestamp,
            "decision": msgspec.to_builtins(self.decision),
            "context_blocks": msgspec.to_builtins(list(self.context_blocks)),
            "allowed_actions": msgspec.to_builtins(list(self.allowed_actions)),
            "denied_actions": msgspec.to_builtins(list(self.denied_actions)),
            "constraints": msgspec.to_builtins(list(self.constraints)),
            "ttl_seconds": self.ttl_seconds,
            "trace_id": self.trace_id,
        }

    def to_json(self) -> str:
        """`to_dict()` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    def _action_ids(self, indexes: tuple[int, ...]) -> list[str]:
        return [self._plan.actions[index][1].action_id for index in indexes]

    def _approvals(self) -> Iterator[dict[str, Any]]:
        """One entry per policy and action that waits for a person."""
        for policy, index in self._plan.pending:
            action_id = self._plan.actions[index][1].action_id
            entry = {
                "approval_id": approval_id(self.session_id, policy.atlas_id, policy.policy_id, action_id),
                "policy_id": policy.policy_id,
                "atlas_id": policy.atlas_id,
                "action_id": action_id,
            }
            if policy.reason is not None:
                entry["reason"] = policy.reason
            yield entry

    def _approval_constraint(self) -> Iterator[Constraint]:
        approvals = list(self._approvals())
        if approvals:
            yield Constraint("require_approval", "require_approval", {"approvals": approvals})

    def _limit_constraints(self) -> Iterator[Constraint]:
        told: list[Constraint] = []
        for limit, state in zip(self._plan.limits, self._limit_states):
            if limit.announced:
                constraint = _limit_constraint(limit, state, self._action_ids(limit.actions))
                # An ancestor may share the count, and what stands the same need not be told twice.
                if not limit.member or constraint not in told:
                    told.append(constraint)
                    yield constraint

    def _scope_constraints(self) -> Iterator[Constraint]:
        for announcement in self._plan.announcements:
            policy = announcement.policy
            assert policy.conditions.parameters is not None
            parameters = _named(policy) | {
                "effect": policy.type,
                "actions": self._action_ids(announcement.actions),
                "schema": policy.conditions.parameters.document,
            }
            yield Constraint(policy.policy_id, "scope", parameters)


def _named(policy: Policy) -> dict[str, Any]:
    named: dict[str, Any] = {"policy_id": policy.policy_id, "atlas_id": policy.atlas_id}
    return named if policy.reason is None else named | {"reason": policy.reason}


def _published(action: Action) -> AllowedAction:
    return AllowedAction(
        action_id=action.action_id,
        name=action.name,
        description=action.description,
        parameters_schema=None if action.parameters_schema is None else action.parameters_schema.document,
        returns_schema=None if action.returns_schema is None else action.returns_schema.document,
        risk_tier=action.risk_tier,
        requires_confirmation=action.requires_confirmation,
        idempotent=action.idempotent,
        rate_limit=action.rate_limit,
    )


def _limit_constraint(bound: PlanLimit, state: LimitState, action_ids: list[str]) -> Constraint:
    policy, limit = bound.policy, bound.policy.limit
    assert limit is not None
    most = "max_calls" if limit.kind == "rate_limit" else "max_cost"
    parameters = _named(policy) | {
        "actions": action_ids,
        most: number(limit.amount),
        "key": limit.key,
        "remaining": number(state.remaining),
    }
    if limit.window_ns is not None:
        parameters["window_seconds"] = number(Fraction(limit.window_ns, NS_PER_SECOND))
        parameters["reset_after"] = number(Fraction(state.reset_after_ns or 0, NS_PER_SECOND))
    suffix = f":{action_ids[0]}" if limit.key == "action" and not policy.policy_id.startswith("action:") else ""
    return Constraint(policy.policy_id + suffix, limit.kind, parameters)


def number(amount: int | Fraction) -> int | float:
    """An exact amount as JSON shows it."""
    return amount.numerator if amount.denominator == 1 else float(amount)
