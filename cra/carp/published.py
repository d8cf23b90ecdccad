"""What the published schema shows of a resolution, each made from the part of the plan that it is about.

Called by `cra.carp.resolution` and `cra.carp.resolution_text`. PROTOCOL: Decision; schema: carp-resolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Literal

import msgspec

from cra.atlas.manifest import Action, ActionLimit, Atlas, ContentType, ContextBlock
from cra.carp.conditions import RiskTier
from cra.carp.plan import DecisionType, Plan, PlanLimit, Ruling
from cra.carp.policy import Policy
from cra.timing.clock import NS_PER_SECOND, format_timestamp
from cra.timing.rate_limit import LimitState


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


def injected_block(atlas: Atlas, block: ContextBlock) -> InjectedBlock:
    return InjectedBlock(
        block.block_id, atlas.atlas_id, block.content_type, block.content, block.priority, block.token_estimate
    )


def allowed_action(action: Action) -> AllowedAction:
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


def denied_actions(plan: Plan, ruling: Ruling) -> Iterator[DeniedAction]:
    for denial in ruling.denied:
        yield DeniedAction(plan.actions[denial.action][1].action_id, denial.reason, denial.policy_id)


def approval_constraint(plan: Plan, approval_ids: Iterable[str]) -> Iterator[Constraint]:
    """One constraint for all that waits for a person: an entry per policy and action, with the approval that it needs."""
    approvals = []
    for approval_id, (policy, index) in zip(approval_ids, plan.pending):
        entry = {
            "approval_id": approval_id,
            "policy_id": policy.policy_id,
            "atlas_id": policy.atlas_id,
            "action_id": plan.actions[index][1].action_id,
        }
        approvals.append(entry if policy.reason is None else entry | {"reason": policy.reason})
    if approvals:
        yield Constraint("require_approval", "require_approval", {"approvals": approvals})


def limit_constraint(plan: Plan, bound: PlanLimit, state: LimitState) -> Constraint:
    fixed = limit_terms(plan, bound)
    parameters = fixed.parameters | {"remaining": number(state.remaining)}
    window = window_seconds(bound.policy)
    if window is not None:
        parameters |= {"window_seconds": window, "reset_after": seconds(state.reset_after_ns or 0)}
    if state.as_of_ns is not None:
        parameters["as_of"] = format_timestamp(state.as_of_ns)
    return Constraint(fixed.constraint_id, fixed.type, parameters)


def limit_terms(plan: Plan, bound: PlanLimit) -> Constraint:
    """The constraint of a limit as far as it is the same at all times: what comes before `remaining`."""
    policy, limit = bound.policy, bound.policy.limit
    assert limit is not None
    action_ids = _action_ids(plan, bound.actions)
    most = "max_calls" if limit.kind == "rate_limit" else "max_cost"
    parameters = _named(policy) | {"actions": action_ids, most: number(limit.amount), "key": limit.key}
    suffix = f":{action_ids[0]}" if limit.key == "action" and not policy.policy_id.startswith("action:") else ""
    return Constraint(policy.policy_id + suffix, limit.kind, parameters)


def scope_constraints(plan: Plan) -> Iterator[Constraint]:
    """The conditions on parameters."""
    for announcement in plan.announcements:
        policy = announcement.policy
        assert policy.conditions.parameters is not None
        parameters = _named(policy) | {
            "effect": policy.type,
            "actions": _action_ids(plan, announcement.actions),
            "schema": policy.conditions.parameters.document,
        }
        yield Constraint(policy.policy_id, "scope", parameters)


def window_seconds(policy: Policy) -> int | float | None:
    """The window of a limit as JSON shows it, None where it has none."""
    assert policy.limit is not None
    return None if policy.limit.window_ns is None else seconds(policy.limit.window_ns)


def seconds(ns: int) -> int | float:
    """A duration as JSON shows it."""
    return ns / NS_PER_SECOND if ns % NS_PER_SECOND else ns // NS_PER_SECOND


def number(amount: int | Fraction) -> int | float:
    """An exact amount as JSON shows it."""
    return amount.numerator if amount.denominator == 1 else float(amount)


def _named(policy: Policy) -> dict[str, Any]:
    named: dict[str, Any] = {"policy_id": policy.policy_id, "atlas_id": policy.atlas_id}
    return named if policy.reason is None else named | {"reason": policy.reason}


def _action_ids(plan: Plan, indexes: tuple[int, ...]) -> list[str]:
    return [plan.actions[index][1].action_id for index in indexes]
