"""Which counters a session's limits use, what they stand at, and what a call costs them. PROTOCOL: Limits, Policy parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cra.carp.plan import Plan
from cra.carp.policy import Limit, Policy
from cra.errors import InvalidParameters
from cra.execution.parameters import cost_of
from cra.timing.rate_limit import Charge, LimitState, Watches

if TYPE_CHECKING:
    from cra.session import Session

LimitKey = tuple[str, ...]


def limit_key(policy: Policy, owner: Session, action_id: str) -> LimitKey:
    """The counter of a limit for one session: per policy × action × agent unless the policy's `key` says otherwise.

    Without a window a budget lasts as long as the session, unless it is shared beyond it.
    """
    assert policy.limit is not None
    counted = policy.limit.key
    if counted == "action":
        key = (policy.atlas_id, policy.policy_id, counted, action_id, owner.agent_id)
        return (*key, owner.session_id) if _lasts_a_session(policy) else key
    if counted == "global":
        return (policy.atlas_id, policy.policy_id, counted)
    return (policy.atlas_id, policy.policy_id, counted, owner.agent_id if counted == "agent" else owner.session_id)


def _lasts_a_session(policy: Policy) -> bool:
    assert policy.limit is not None
    return policy.limit.window_ns is None and policy.limit.key == "action"


def limit_watches(session: Session, plan: Plan) -> Watches:
    """The limits of a plan as they are counted for one session, ready to be looked at; made once."""
    watches = plan.watches.get(session)
    if watches is None:
        watches = plan.watches[session] = Watches(
            _watch(session, limit.policy, limit.member, plan.actions[limit.actions[0]][1].action_id)
            for limit in plan.limits
        )
    return watches


def limit_states(session: Session, plan: Plan, now_ns: int) -> tuple[LimitState, ...]:
    """What each limit of a plan stands at, at the monotonic time `now_ns`."""
    return session.runtime.limits.states(limit_watches(session, plan), now_ns)


def limit_state(session: Session, policy: Policy, member: int, action_id: str, now_ns: int) -> LimitState:
    """What one limit stands at, counted for the session (`member` 0) or one of its ancestors."""
    key, limit, next_cost = _watch(session, policy, member, action_id)
    return session.runtime.limits.peek(key, limit, now_ns, next_cost)


def _watch(session: Session, policy: Policy, member: int, action_id: str) -> tuple[LimitKey, Limit, Fraction | None]:
    limit = policy.limit
    assert limit is not None
    return (
        limit_key(policy, session.lineage[member], action_id),
        limit,
        limit.cost if limit.cost_field is None else None,
    )


def charges(
    session: Session, limits: Iterable[tuple[int, Policy]], action_id: str, parameters: Mapping[str, Any]
) -> Iterator[Charge]:
    """What a call costs each of `limits` (member, policy), every counter once.

    Raises `InvalidParameters` where a budget's cost is missing, negative or not finite; a shadow budget is passed over then.
    """
    seen: set[LimitKey] = set()
    for member, policy in limits:
        assert policy.limit is not None
        owner = session.lineage[member]
        key = limit_key(policy, owner, action_id)
        if key in seen:
            continue
        seen.add(key)
        try:
            cost = cost_of(policy.limit, parameters)
        except InvalidParameters:
            if policy.shadow:
                continue
            raise
        if policy.limit.key == "session" or _lasts_a_session(policy):
            owner.limit_keys.add(key)
        yield Charge(key, policy.limit, cost, enforced=not policy.shadow)
