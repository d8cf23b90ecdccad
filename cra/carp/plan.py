"""A plan: everything about a resolve that its goal, its limits and its clock do not change. Compiled once per request class.

A plan is immutable, shared between sessions and threads, and is what records refer to: the events of a resolve are expanded
from it (`cra.trace.template`). Its key holds no agent id and no context value, only how the conditions turned out.
PROTOCOL: Evaluation, Decision; ARCHITECTURE: Plans are cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import msgspec

from cra.atlas.manifest import Action, Atlas
from cra.carp.context import ContextPlan
from cra.carp.policy import Policy
from cra.reference.resolve import DENIED, HELD, Verdict, decide, strictest

if TYPE_CHECKING:
    from cra.carp.policy_set import PolicySet
    from cra.session import Session
    from cra.timing.rate_limit import Watches

Outcomes = tuple[bool, ...]
Grants = frozenset[tuple[str, str, str]]
"""Standing approvals of a session: (atlas id, policy id, action id)."""
DecisionType = Literal["allow", "deny", "partial", "requires_approval"]

PARTIAL = "Some actions are denied by policy"
UNDEFINED_CAPABILITY = "Capability {!r} is not defined by any selected atlas"
MAX_RULINGS = 64


class PlanLimit(msgspec.Struct, frozen=True):
    """One limit and key that a resolve has to look at.

    `member` says whose key it is: 0 the session, 1 its parent, and so on. `actions` are those it covers (indexes into
    `Plan.actions`), `guards` those that it denies while exhausted, `announced` whether it concerns any action that is not
    denied anyway.
    """

    policy: Policy
    member: int
    actions: tuple[int, ...]
    guards: tuple[int, ...]
    announced: bool


class Announcement(msgspec.Struct, frozen=True):
    """A parameter condition to tell the agent of: its policy, and the actions it concerns."""

    policy: Policy
    actions: tuple[int, ...]


class Evaluation(msgspec.Struct, frozen=True):
    """The content of one `policy.evaluated` event."""

    policy_id: str
    result: str
    action_id: str


class Denial(msgspec.Struct, frozen=True):
    """One entry of `denied_actions`: an index into `Plan.actions`, why, and which policy (None: the default)."""

    action: int
    reason: str
    policy_id: str | None


class Ruling(msgspec.Struct, weakref=True):
    """What a plan comes to, given which of its limits are exhausted. Never changed, but for `template`: the number that the
    recorder has given its events (`Runtime.template`), 0 while it has not."""

    decision: DecisionType
    reason: str | None
    allowed: tuple[int, ...]
    denied: tuple[Denial, ...]
    evaluations: tuple[Evaluation, ...]
    template: int = 0


Matching = list[tuple[int, ...]]
"""The policies (indexes into `PolicySet.policies`, so in evaluation order) that match, by action index."""


class Plan:
    """See the module. `actions` are the (atlas, action) pairs considered, `verdicts` what the policies say of each."""

    __slots__ = (
        "actions",
        "announcements",
        "capabilities",
        "context",
        "grants",
        "limits",
        "outcomes",
        "pending",
        "policy_set",
        "shadows",
        "undefined_capability",
        "verdicts",
        "watches",
        "_positions",
        "_rulings",
    )

    def __init__(
        self, policy_set: PolicySet, outcomes: tuple[Outcomes, ...], capabilities: tuple[str, ...], grants: Grants
    ) -> None:
        self.policy_set = policy_set
        self.outcomes = outcomes
        self.capabilities = capabilities
        self.grants = grants
        named = [policy_set.capability(capability) for capability in capabilities]
        self.undefined_capability = next((c for c, found in zip(capabilities, named) if found is None), None)
        chosen = (
            frozenset().union(*(found or () for found in named)) if capabilities else range(len(policy_set.actions))
        )
        positions = sorted(chosen)
        self._positions = {position: index for index, position in enumerate(positions)}
        self.actions: tuple[tuple[Atlas, Action], ...] = tuple(policy_set.actions[p] for p in positions)

        matching = [[tuple(policy_set.matching(position, member)) for position in positions] for member in outcomes]
        shadows = [tuple(policy_set.matching(position, outcomes[0], shadow=True)) for position in positions]
        members = [[self._decide(index, found, grants) for index, found in enumerate(member)] for member in matching]
        deciding = [strictest(verdicts) for verdicts in zip(*members)]
        self.verdicts = tuple(members[member][index] for index, member in enumerate(deciding))
        self.pending = tuple(
            (policy, index) for index, verdict in enumerate(self.verdicts) for policy in verdict.pending
        )
        self.shadows = tuple(tuple(map(policy_set.policies.__getitem__, self._decidable(found))) for found in shadows)
        limits = [
            limit
            for member, (found, verdicts) in enumerate(zip(matching, members))
            for limit in self._limits(member, found, verdicts, deciding)
        ]
        self.limits = (*limits, *self._shadow_limits(shadows))
        self.announcements = tuple(self._announcements(matching))
        self.context = ContextPlan(policy_set, outcomes[0])
        self.watches: WeakKeyDictionary[Session, Watches] = WeakKeyDictionary()
        """The limits of each session that has asked (`cra.execution.limits`)."""
        self._rulings: dict[tuple[int, ...], Ruling] = {}
        self.ruling(())

    def __reduce__(self) -> tuple[Callable[..., Plan], tuple[object, ...]]:
        return _restored, (self.policy_set, self.outcomes, self.capabilities, self.grants)

    def index_of(self, action_id: str) -> int | None:
        """The index of an action among those considered; None where it is not one of them."""
        return self._positions.get(self.policy_set.position.get(action_id, -1))

    def _decidable(self, matching: Iterable[int]) -> Iterator[int]:
        """Without parameters a restriction on them does not decide, an allow counts. PROTOCOL: Parameter conditions."""
        policies = self.policy_set.policies
        return (r for r in matching if policies[r].type == "allow" or policies[r].conditions.parameters is None)

    def _decide(self, index: int, matching: tuple[int, ...], grants: Grants) -> Verdict:
        if self.undefined_capability is not None:
            return Verdict("deny", None, UNDEFINED_CAPABILITY.format(self.undefined_capability))
        action_id = self.actions[index][1].action_id
        return decide(
            (self.policy_set.policies[rank] for rank in self._decidable(matching)),
            lambda policy: (policy.atlas_id, policy.policy_id, action_id) in grants,
            self.policy_set.default,
        )

    def _grouped(self, matching: Matching) -> Iterator[tuple[Policy, tuple[int, ...]]]:
        """Each limit that matches with the actions that share one count of it: each alone by default, else all of them."""
        covered: dict[int, list[int]] = {}
        for index, found in enumerate(matching):
            for rank in self._decidable(found):
                if self.policy_set.policies[rank].limit is not None:
                    covered.setdefault(rank, []).append(index)
        for rank in sorted(covered):
            policy = self.policy_set.policies[rank]
            assert policy.limit is not None
            groups = [(index,) for index in covered[rank]] if policy.limit.key == "action" else [tuple(covered[rank])]
            for group in groups:
                yield policy, group

    def _limits(
        self, member: int, matching: Matching, verdicts: list[Verdict], deciding: list[int]
    ) -> Iterator[PlanLimit]:
        for policy, group in self._grouped(matching):
            guards = tuple(
                index
                for index in group
                if policy in verdicts[index].limits
                and (self.verdicts[index].result == "allow" or deciding[index] == member)
            )
            announced = any(self.verdicts[index].result != "deny" for index in group)
            yield PlanLimit(policy, member, group, guards, announced)

    def _shadow_limits(self, shadows: Matching) -> Iterator[PlanLimit]:
        for policy, group in self._grouped(shadows):
            yield PlanLimit(policy, 0, group, guards=(), announced=False)

    def _announcements(self, matching: list[Matching]) -> Iterator[Announcement]:
        concerned: dict[int, list[int]] = {}
        for index, verdict in enumerate(self.verdicts):
            if verdict.result != "deny":
                for rank in {rank for member in matching for rank in self._open_conditions(member[index])}:
                    concerned.setdefault(rank, []).append(index)
        for rank in sorted(concerned):
            yield Announcement(self.policy_set.policies[rank], tuple(concerned[rank]))

    def _open_conditions(self, matching: tuple[int, ...]) -> Iterator[int]:
        """What depends on parameters, of the policies that match for one member; no allow where another covers the action."""
        policies = self.policy_set.policies
        covered = any(policies[r].type == "allow" and policies[r].conditions.parameters is None for r in matching)
        for rank in matching:
            if policies[rank].conditions.parameters is not None and not (covered and policies[rank].type == "allow"):
                yield rank

    def ruling(self, exhausted: tuple[int, ...]) -> Ruling:
        """The ruling while these limits (indexes into `limits`, ascending) are exhausted."""
        ruling = self._rulings.get(exhausted)
        if ruling is None:
            ruling = self._rule(frozenset(exhausted))
            if len(self._rulings) < MAX_RULINGS:
                self._rulings[exhausted] = ruling
        return ruling

    def _rule(self, exhausted: frozenset[int]) -> Ruling:
        limited: dict[int, Policy] = {}
        for number in sorted(exhausted):
            for index in self.limits[number].guards:
                limited.setdefault(index, self.limits[number].policy)
        allowed: list[int] = []
        denied: list[Denial] = []
        evaluations: list[Evaluation] = []
        for index, (verdict, (_, action)) in enumerate(zip(self.verdicts, self.actions)):
            limit = limited.get(index)
            if limit is not None:
                denied.append(Denial(index, f"{limit.type}_exceeded", limit.policy_id))
                evaluations.append(Evaluation(limit.policy_id, "rate_limited", action.action_id))
            else:
                evaluations.append(Evaluation(verdict.policy_id, verdict.result, action.action_id))
                if verdict.result == "allow":
                    allowed.append(index)
                else:
                    denied.append(Denial(index, verdict.reason or DENIED, verdict.named_policy))
            for policy in self.shadows[index]:
                result = self._shadow_result(index, policy, exhausted)
                evaluations.append(Evaluation(policy.policy_id, f"shadow:{result}", action.action_id))
        decision, reason = self._decision(bool(allowed), bool(denied))
        return Ruling(decision, reason, tuple(allowed), tuple(denied), tuple(evaluations))

    def _shadow_result(self, index: int, policy: Policy, exhausted: frozenset[int]) -> str:
        if policy.limit is not None:
            spent = [self.limits[number] for number in exhausted if index in self.limits[number].actions]
            return "rate_limited" if any(limit.policy is policy for limit in spent) else "allow"
        return {"require_approval": "requires_approval", "allow": "allow"}.get(policy.type, "deny")

    def _decision(self, allowed: bool, denied: bool) -> tuple[DecisionType, str | None]:
        if allowed:
            return ("partial", PARTIAL) if denied else ("allow", None)
        if self.pending:
            return "requires_approval", HELD
        if self.undefined_capability is not None:
            return "deny", UNDEFINED_CAPABILITY.format(self.undefined_capability)
        return "deny", "All actions are denied by policy" if denied else "No actions are available"


def _restored(
    policy_set: PolicySet, outcomes: tuple[Outcomes, ...], capabilities: tuple[str, ...], grants: Grants
) -> Plan:
    """A plan from its pickle: that of the policy set, so that the resolutions of one pickle share it."""
    return policy_set.plan(outcomes, capabilities, grants)
