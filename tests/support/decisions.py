"""Small atlases, facts, plans and runtimes, in a line each, for the tests of what decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cra
from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas
from cra.carp.plan import Grants, Plan
from cra.carp.policy import Policy, parse_policy
from cra.carp.policy_set import PolicySet
from cra.reference.match import Facts
from cra.reference.resolve import DefaultDecision
from cra.testing import SeededIds, VirtualClock

Document = dict[str, Any]
ATLAS_ID = "com.example.shop"
NOON_NS = 1_767_268_800_000_000_000
"""2026-01-01T12:00:00Z, where a `VirtualClock` starts: a Thursday."""


def action(action_id: str, **fields: Any) -> Document:
    """An action as a manifest has it."""
    return {"action_id": action_id, "name": f"Name of {action_id}", "description": "Does it", **fields}


def rule(policy_id: str, kind: str, *actions: str, **fields: Any) -> Document:
    """A policy as a manifest has it; without `actions` about every action."""
    return {"policy_id": policy_id, "type": kind, **({"actions": list(actions)} if actions else {}), **fields}


ALLOW_ALL = rule("all", "allow", "*")


def manifest(
    *actions: str | Document,
    rules: Iterable[Document] = (),
    atlas_id: str = ATLAS_ID,
    **fields: Any,
) -> Document:
    """The manifest of an atlas with these actions (ids, or whole) and policies."""
    return {
        "atlas_version": "1.0",
        "atlas_id": atlas_id,
        "version": "1.0.0",
        "name": "Shop",
        "description": "A shop",
        "actions": [action(each) if isinstance(each, str) else each for each in actions],
        "policies": list(rules),
        **fields,
    }


def atlas(*actions: str | Document, **fields: Any) -> Atlas:
    """`manifest`, loaded."""
    return load_atlas(manifest(*actions, **fields))


def policy(policy_id: str, kind: str, *actions: str, atlas_id: str = ATLAS_ID, index: int = 0, **fields: Any) -> Policy:
    """`rule`, parsed."""
    return parse_policy(rule(policy_id, kind, *actions, **fields), atlas_id=atlas_id, index=index, path="/policies/0")


def facts(**given: Any) -> Facts:
    """The facts of agent `bot` at tier `low`, which knows and may nothing, at noon; but for what is given."""
    plain: Document = {
        "agent_id": "bot",
        "risk_tier": "low",
        "context": {},
        "scopes": frozenset(),
        "capabilities": (),
        "now_ns": NOON_NS,
    }
    return Facts(**plain | given)


def compiled(*atlases: Atlas, default: DefaultDecision = "deny") -> PolicySet:
    """The policy set of these atlases."""
    return PolicySet(atlases, default)


def plan(
    policy_set: PolicySet, *lineage: Facts, capabilities: tuple[str, ...] = (), grants: Grants = frozenset()
) -> Plan:
    """The plan for a session and its ancestors, by default a lone session with the plain `facts`."""
    members = lineage or (facts(capabilities=capabilities),)
    return policy_set.plan(tuple(policy_set.outcomes(each) for each in members), capabilities, grants)


def results(made: Plan, exhausted: tuple[int, ...] = ()) -> dict[str, str]:
    """What the plan says of each action, in order, shadow policies aside."""
    return {
        evaluation.action_id: evaluation.result
        for evaluation in made.ruling(exhausted).evaluations
        if not evaluation.result.startswith("shadow:")
    }


def denials(made: Plan, exhausted: tuple[int, ...] = ()) -> dict[str, tuple[str, str | None]]:
    """The reason and the policy of every action that is not allowed."""
    return {
        made.actions[denial.action][1].action_id: (denial.reason, denial.policy_id)
        for denial in made.ruling(exhausted).denied
    }


def runtime(*atlases: Document | Atlas, seed: int = 1, **options: Any) -> cra.Resolver:
    """A resolver that keeps everything in memory, on a clock that stands still, with ids that repeat."""
    resolver = cra.Resolver(
        "memory:", clock=options.pop("clock", None) or VirtualClock(), ids=SeededIds(seed), **options
    )
    for each in atlases:
        resolver.load_atlas(each)
    return resolver
