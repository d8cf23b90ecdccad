"""Why an action is allowed or not: every policy that is about it, in evaluation order. Spends and records nothing.

The same parts decide here as in a resolve and in an execute; this module only writes down what they said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cra.carp.plan import UNDEFINED_CAPABILITY
from cra.carp.policy import DEFAULT_POLICY_ID, Policy
from cra.carp.request import Ask
from cra.errors import ActionNotFound
from cra.execution.limits import limit_state
from cra.execution.parameters import private_copy
from cra.reference.match import Facts, failed_condition
from cra.reference.resolve import DENIED, decide, strictest

if TYPE_CHECKING:
    from cra.carp.policy_set import PolicySet
    from cra.session import Session


NOT_NAMED = "Not named by a required capability"


class Step(msgspec.Struct, frozen=True):
    """One policy that is about the action.

    `matched` None: undecided, since it depends on parameters that were not given. `failed` names the condition that did not
    hold. `agent_id` is the session's, or that of an ancestor, for which the policy is evaluated too. `exhausted` is set for
    limits, `granted` for approvals.
    """

    policy_id: str
    atlas_id: str
    type: str
    agent_id: str
    matched: bool | None
    failed: str | None = None
    shadow: bool = False
    exhausted: bool | None = None
    granted: bool | None = None


class Explanation(msgspec.Struct, frozen=True):
    """The result for an action now, the policy that decides (`default` where none does), why, and how it came about."""

    action_id: str
    result: Literal["allow", "deny", "requires_approval", "rate_limited"]
    policy_id: str
    reason: str | None
    steps: tuple[Step, ...]

    def to_dict(self) -> dict[str, Any]:
        """The explanation in plain JSON types."""
        return {**msgspec.to_builtins(self), "steps": msgspec.to_builtins(list(self.steps))}


def explain(session: Session, ask: Ask, action_id: str, parameters: Mapping[str, Any] | None) -> Explanation:
    """See `Session.explain`."""
    runtime = session.runtime
    policy_set = session.policy_set(ask)
    position = policy_set.position.get(action_id)
    if position is None:
        raise ActionNotFound(f"no selected atlas defines the action {action_id!r}")
    known = None if parameters is None else private_copy(parameters)
    parameters_hash = None if known is None else runtime.hash(known)
    grants = runtime.approvals.granted(session.session_id)

    def granted(policy: Policy) -> bool:
        key = (policy.atlas_id, policy.policy_id, action_id)
        if policy.conditions.parameters is None:
            return key in grants
        return parameters_hash is not None and bool(
            runtime.approvals.find_bound(session.session_id, *key, parameters_hash)
        )

    steps: list[Step] = []
    verdicts = []
    exhausted: list[list[Policy]] = []
    for number, facts in enumerate(session.facts(ask, runtime.clock.now_ns())):
        matching, spent = [], []
        for policy in _about(policy_set, position):
            matched, failed = _match(policy, facts, known)
            step = Step(policy.policy_id, policy.atlas_id, policy.type, facts.agent_id, matched, failed, policy.shadow)
            if matched and policy.limit is not None:
                now = runtime.clock.monotonic_ns()
                step = msgspec.structs.replace(
                    step, exhausted=limit_state(session, policy, number, action_id, now).exhausted
                )
            if matched and policy.type == "require_approval":
                step = msgspec.structs.replace(step, granted=granted(policy))
            steps.append(step)
            # Without parameters an allow that depends on them counts, as it does in a resolve.
            if not policy.shadow and (matched or (matched is None and policy.type == "allow")):
                matching.append(policy)
                if step.exhausted:
                    spent.append(policy)
        verdicts.append(decide(matching, granted, policy_set.default))
        exhausted.append(spent)
    left_out = _left_out(policy_set, position, ask.required_capabilities)
    if left_out is not None:
        return Explanation(action_id, "deny", DEFAULT_POLICY_ID, left_out, tuple(steps))
    number = strictest(verdicts)
    verdict = verdicts[number]
    members = range(len(verdicts)) if verdict.result == "allow" else [number]
    limit = next((p for m in members for p in verdicts[m].limits if p in exhausted[m]), None)
    if limit is not None:
        return Explanation(action_id, "rate_limited", limit.policy_id, f"{limit.type}_exceeded", tuple(steps))
    reason = None if verdict.result == "allow" else verdict.reason or DENIED
    return Explanation(action_id, verdict.result, verdict.policy_id, reason, tuple(steps))


def _about(policy_set: PolicySet, position: int) -> Iterator[Policy]:
    return (policy for policy, about in zip(policy_set.policies, policy_set.positions) if position in about)


def _left_out(policy_set: PolicySet, position: int, required: Sequence[str]) -> str | None:
    """Why a resolve that requires these capabilities has no place for the action; None where it has."""
    named = [policy_set.capability(capability) for capability in required]
    if None in named:
        return UNDEFINED_CAPABILITY.format(required[named.index(None)])
    return NOT_NAMED if named and not any(position in found for found in named if found) else None


def _match(policy: Policy, facts: Facts, parameters: dict[str, Any] | None) -> tuple[bool | None, str | None]:
    failed = failed_condition(policy.conditions, facts, restricting=policy.type != "allow")
    if failed is not None:
        return False, failed
    if policy.type == "scope" and policy.required_scopes <= facts.scopes:
        return False, "required_scopes"
    if policy.conditions.parameters is None:
        return True, None
    if parameters is None:
        return None, None
    return (True, None) if policy.conditions.parameters.accepts(parameters) else (False, "parameters")
