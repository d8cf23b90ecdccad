"""What the policies say of one call, now that its parameters are known. PROTOCOL: Execute, Parameter conditions.

Reads policies and approvals; decides nothing about limits, which are reserved later, and records nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cra.carp.plan import Grants, Outcomes
from cra.carp.policy import Policy
from cra.carp.policy_set import PolicySet
from cra.carp.request import Ask
from cra.execution.approvals import Approval
from cra.reference.resolve import Verdict, decide, strictest

if TYPE_CHECKING:
    from cra.session import Session


MAX_CLEARANCES = 10_000


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

    `parameters` are a private copy (`cra.execution.parameters.private_copy`), which is not copied again. Where no policy asks for
    them, the answer depends on the outcomes of the conditions and on the standing grants alone, and is remembered for these.
    """
    position = policy_set.position[action_id]
    standing = session.runtime.approvals.granted(session.session_id)
    outcomes = _outcomes(session, ask, policy_set)
    if position in policy_set.parameter_positions:
        return _Evaluation(session, policy_set, action_id, standing, parameters, parameters_hash).of(outcomes)
    key = (position, outcomes, standing)
    cleared: Clearance | None = policy_set.cleared.get(key)
    if cleared is None:
        cleared = _Evaluation(session, policy_set, action_id, standing, parameters, parameters_hash).of(outcomes)
        if len(policy_set.cleared) >= MAX_CLEARANCES:
            policy_set.cleared.clear()
        policy_set.cleared[key] = cleared
    return cleared


def _outcomes(session: Session, ask: Ask, policy_set: PolicySet) -> tuple[Outcomes, ...]:
    """How the conditions turn out now for each member of the lineage."""
    if not policy_set.reads_facts:
        return ((),) * (1 + len(session.ancestors))
    now = session.runtime.clock.now_ns()
    return tuple([policy_set.outcomes(facts) for facts in session.facts(ask, now)])


class _Evaluation:
    """One call against the policies; `one_shot` are the grants it needs that are bound to its parameters."""

    def __init__(
        self,
        session: Session,
        policy_set: PolicySet,
        action_id: str,
        standing: Grants,
        parameters: dict[str, Any],
        parameters_hash: str,
    ) -> None:
        self._session = session
        self._policy_set = policy_set
        self._action_id = action_id
        self._standing = standing
        self._parameters = parameters
        self._parameters_hash = parameters_hash
        self._one_shot: dict[str, tuple[Policy, Approval]] = {}

    def of(self, outcomes: tuple[Outcomes, ...]) -> Clearance:
        verdicts = [
            decide(self._matching(each, shadow=False), self._granted, self._policy_set.default) for each in outcomes
        ]
        member = strictest(verdicts)
        enforced = [(number, limit) for number, verdict in enumerate(verdicts) for limit in verdict.limits]
        in_shadow = [(0, policy) for policy in self._matching(outcomes[0], shadow=True) if policy.limit is not None]
        return Clearance(verdicts[member], member, (*enforced, *in_shadow), tuple(self._one_shot.values()))

    def _granted(self, policy: Policy) -> bool:
        covers = (policy.atlas_id, policy.policy_id, self._action_id)
        if policy.conditions.parameters is None:
            return covers in self._standing
        approvals = self._session.runtime.approvals
        grant = approvals.find_bound(self._session.session_id, *covers, self._parameters_hash)
        if grant is not None:
            self._one_shot[grant.approval_id] = policy, grant
        return grant is not None

    def _matching(self, outcomes: Outcomes, *, shadow: bool) -> list[Policy]:
        position = self._policy_set.position[self._action_id]
        found = [
            self._policy_set.policies[rank] for rank in self._policy_set.matching(position, outcomes, shadow=shadow)
        ]
        return [
            policy
            for policy in found
            if policy.conditions.parameters is None
            or policy.conditions.parameters.accepts(self._parameters, plain=True)
        ]
