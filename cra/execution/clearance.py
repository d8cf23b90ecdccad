"""What the policies say of one call, now that its parameters are known. PROTOCOL: Execute, Parameter conditions.

Reads policies and approvals; decides nothing about limits, which are reserved later, and records nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cra.carp.plan import Outcomes
from cra.carp.policy import Policy
from cra.carp.policy_set import PolicySet
from cra.carp.request import Ask
from cra.execution.approvals import Approval
from cra.reference.resolve import Verdict, decide, strictest

if TYPE_CHECKING:
    from cra.session import Session


class Clearance(msgspec.Struct, frozen=True):
    """The verdict that counts, and of which member of the lineage it is (0 the session, 1 its parent, and so on).

    `limits` are those the call has to pass if the verdict allows it (member, policy), shadow ones included; `grants` the
    one-shot grants it uses up, by policy.
    """

    verdict: Verdict
    member: int
    limits: tuple[tuple[int, Policy], ...]
    grants: tuple[tuple[Policy, Approval], ...]


def clear(
    session: Session,
    ask: Ask,
    policy_set: PolicySet,
    action_id: str,
    parameters: dict[str, Any],
    parameters_hash: str,
) -> Clearance:
    """Evaluate a call for the session and each of its ancestors; the first of them that does not allow it counts.

    `parameters` are a private copy (`cra.execution.parameters.private_copy`), which is not copied again.
    """
    approvals = session.runtime.approvals
    position = policy_set.position[action_id]
    standing = approvals.granted(session.session_id)
    one_shot: dict[str, tuple[Policy, Approval]] = {}

    def granted(policy: Policy) -> bool:
        covers = (policy.atlas_id, policy.policy_id, action_id)
        if policy.conditions.parameters is None:
            return covers in standing
        grant = approvals.find_bound(session.session_id, *covers, parameters_hash)
        if grant is not None:
            one_shot[grant.approval_id] = policy, grant
        return grant is not None

    def matching(outcomes: Outcomes, *, shadow: bool) -> list[Policy]:
        found = [policy_set.policies[rank] for rank in policy_set.matching(position, outcomes, shadow=shadow)]
        return [
            p
            for p in found
            if p.conditions.parameters is None or p.conditions.parameters.accepts(parameters, plain=True)
        ]

    now = session.runtime.clock.now_ns()
    outcomes = [policy_set.outcomes(facts) for facts in session.facts(ask, now)]
    verdicts = [decide(matching(each, shadow=False), granted, policy_set.default) for each in outcomes]
    member = strictest(verdicts)
    enforced = [(number, limit) for number, verdict in enumerate(verdicts) for limit in verdict.limits]
    in_shadow = [(0, policy) for policy in matching(outcomes[0], shadow=True) if policy.limit is not None]
    return Clearance(verdicts[member], member, (*enforced, *in_shadow), tuple(one_shot.values()))
