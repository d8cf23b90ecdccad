"""A policy set: the atlases of one selection, compiled together. It answers which policies match and caches plans.

Immutable but for its bounded plan cache; shared by all sessions with the same selection; replaced, never edited, when an atlas
is loaded or unloaded. PROTOCOL: Across atlases, Which actions.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from cra.atlas.manifest import Action, Atlas, ContextBlock
from cra.carp.conditions import Conditions
from cra.carp.context import Triggers
from cra.carp.plan import Grants, Outcomes, Plan
from cra.carp.policy import Policy
from cra.carp.resolution_text import ResolutionText
from cra.errors import Conflict, PolicyEvaluationError
from cra.hotpath import canonical_json, conditions_hold, glob_match
from cra.reference.match import Facts, depends_on_facts
from cra.reference.resolve import DefaultDecision, evaluation_order

MAX_PLANS = 1024
MAX_RULES = 500_000


def policy_set_digest(atlases: Sequence[Atlas], default: DefaultDecision) -> str:
    """SHA-256 over atlas ids, versions, contents and the default decision. PROTOCOL: Events of a resolve (`policy_set`)."""
    contents = sorted([atlas.atlas_id, atlas.version, atlas.digest] for atlas in atlases)
    return hashlib.sha256(canonical_json({"atlases": contents, "default_decision": default})).hexdigest()


class PolicySet:
    """Raises `Conflict` when two of the atlases define one action, `PolicyEvaluationError` when there is too much of them."""

    def __init__(self, atlases: Sequence[Atlas], default: DefaultDecision) -> None:
        self.atlases = tuple(sorted(atlases, key=lambda atlas: atlas.atlas_id))
        self.default = default
        self.digest = policy_set_digest(self.atlases, default)
        self.actions: tuple[tuple[Atlas, Action], ...] = tuple(
            (atlas, action) for atlas in self.atlases for action in atlas.actions
        )
        self.position: dict[str, int] = {}
        for index, (atlas, action) in enumerate(self.actions):
            other = self.position.setdefault(action.action_id, index)
            if other != index:
                raise Conflict(
                    f"action {action.action_id!r} is defined by {self.actions[other][0].atlas_id!r} and by "
                    f"{atlas.atlas_id!r}; select one of them with atlas_ids"
                )
        self.policies = tuple(
            sorted((policy for atlas in self.atlases for policy in atlas.policies), key=evaluation_order)
        )
        if len(self.policies) * len(self.actions) > MAX_RULES:
            raise PolicyEvaluationError(
                f"{len(self.policies)} policies times {len(self.actions)} actions are more than {MAX_RULES}; use fewer"
                " policies with patterns, or select fewer atlases"
            )
        self.positions = tuple(frozenset(self._positions(policy)) for policy in self.policies)
        self.blocks: tuple[tuple[Atlas, ContextBlock], ...] = tuple(
            sorted(
                ((atlas, block) for atlas in self.atlases for block in atlas.context_blocks),
                key=lambda pair: -pair[1].priority,
            )
        )
        self.triggers = Triggers(self.blocks)
        self.context_patterns: dict[str, list[str]] = {}
        """The context keys that conditions read, each with the patterns they are matched with."""
        conditions = [p.conditions for p in self.policies] + [block.conditions for _, block in self.blocks]
        self.depends_on_time = any(each.time_window is not None for each in conditions)
        for each in conditions:
            for key, pattern in each.context_matches or ():
                self.context_patterns.setdefault(key, []).append(pattern)
        self._build_tests()
        self.reads_facts = bool(self._tests)
        """Whether anything depends on who asks, in which context or when."""
        self.parameter_positions = frozenset[int]().union(
            *(scope for p, scope in zip(self.policies, self.positions) if p.conditions.parameters is not None)
        )
        """The actions that some policy has a condition on the parameters of."""
        self.cleared: dict[object, Any] = {}
        """What `cra.execution.clearance` remembers of calls, and bounds."""
        self.text = ResolutionText()
        self._plans: dict[object, Plan] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[PolicySet], tuple[tuple[Atlas, ...], DefaultDecision]]:
        return PolicySet, (self.atlases, self.default)

    def _positions(self, policy: Policy) -> Iterator[int]:
        """The actions a policy is about: of every atlas if it restricts, of its own atlas if it allows."""
        for index, (atlas, action) in enumerate(self.actions):
            if policy.type == "allow" and atlas.atlas_id != policy.atlas_id:
                continue
            if policy.actions is None or any(glob_match(pattern, action.action_id) for pattern in policy.actions):
                yield index

    def capability(self, capability_id: str) -> frozenset[int] | None:
        """The actions a capability names, of the atlases that define it; None where no selected atlas does."""
        found = [
            (atlas.atlas_id, capability.actions)
            for atlas in self.atlases
            for capability in atlas.capabilities
            if capability.capability_id == capability_id
        ]
        if not found:
            return None
        return frozenset(
            index
            for index, (atlas, action) in enumerate(self.actions)
            if any(atlas.atlas_id == owner and action.action_id in names for owner, names in found)
        )

    def _build_tests(self) -> None:
        """One test per fact-dependent thing, so that a request is known by the vector of their outcomes."""
        self._tests: list[Callable[[Facts], bool]] = []
        self._policy_test: list[int | None] = []
        self._block_tests: list[tuple[int | None, int | None]] = []
        for policy in self.policies:
            test = self._condition_test(policy.conditions, restricting=policy.type != "allow")
            if policy.type == "scope":
                test = partial(_scope_refuses, policy.required_scopes, test)
            self._policy_test.append(self._add(test))
        for _, block in self.blocks:
            holds = self._add(self._condition_test(block.conditions, restricting=False))
            tier = self._add(partial(_tier_listed, block)) if block.risk_tiers else None
            self._block_tests.append((holds, tier))

    def _condition_test(self, conditions: Conditions, *, restricting: bool) -> Callable[[Facts], bool] | None:
        if conditions.unknown:
            return _never
        if depends_on_facts(conditions):
            return partial(conditions_hold, conditions, restricting=restricting)
        return None

    def _add(self, test: Callable[[Facts], bool] | None) -> int | None:
        if test is None:
            return None
        self._tests.append(test)
        return len(self._tests) - 1

    def outcomes(self, facts: Facts) -> Outcomes:
        """How every condition turns out for these facts: all that a plan depends on."""
        return tuple([test(facts) for test in self._tests])

    def matching(self, position: int, outcomes: Outcomes, *, shadow: bool = False) -> Iterator[int]:
        """The policies (indexes into `policies`, so in evaluation order) that match an action, parameters aside."""
        for rank, (policy, scope, test) in enumerate(zip(self.policies, self.positions, self._policy_test)):
            if policy.shadow is shadow and position in scope and (test is None or outcomes[test]):
                yield rank

    def block_state(self, index: int, outcomes: Outcomes) -> tuple[bool, bool]:
        """Whether a block's conditions hold, and whether its `risk_tiers` has the tier."""
        holds, tier = self._block_tests[index]
        return holds is None or outcomes[holds], tier is not None and outcomes[tier]

    def plan(self, outcomes: tuple[Outcomes, ...], capabilities: tuple[str, ...], grants: Grants) -> Plan:
        """The plan for a request class: the outcomes for the session and its ancestors, what it requires, what is granted."""
        key = (outcomes, capabilities, grants)
        plan = self._plans.get(key)
        if plan is None:
            plan = Plan(self, outcomes, capabilities, grants)
            with self._lock:
                self._plans[key] = plan
                if len(self._plans) > MAX_PLANS:
                    del self._plans[next(iter(self._plans))]
        return plan

    @property
    def cached_plans(self) -> int:
        return len(self._plans)


def _never(facts: Facts) -> bool:
    return False


def _tier_listed(block: ContextBlock, facts: Facts) -> bool:
    return facts.risk_tier in block.risk_tiers


def _scope_refuses(required: frozenset[str], test: Callable[[Facts], bool] | None, facts: Facts) -> bool:
    return not required <= facts.scopes and (test is None or test(facts))
