"""The tiny generator: every set of up to three policies on one action, put to sessions that differ in one fact each.

Nothing else is going on, so that what decides is how policies combine. The space is finite and numbered; a seed says where in it
an enumeration starts, and enough cases visit all of it.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final

from conformance.differential.episode import Episode, Generator, Operation

_AMOUNT: Final = {
    "type": "object",
    "properties": {"amount": {"type": "number", "exclusiveMinimum": 100}},
    "required": ["amount"],
}
_POLICIES: Final[tuple[dict[str, Any], ...]] = (
    {"type": "allow", "actions": ["*"]},
    {"type": "allow", "actions": ["x.*"], "priority": 5},
    {"type": "allow", "actions": ["*"], "conditions": {"agents": ["bot", "C*"]}},
    {"type": "allow", "actions": ["*"], "conditions": {"context_matches": {"env": "dev"}}},
    {"type": "allow", "actions": ["*"], "conditions": {"parameters": _AMOUNT}},
    {"type": "deny"},
    {"type": "deny", "conditions": {"agents": ["ot?er"], "risk_tiers": ["high"]}, "reason": "not you"},
    {"type": "deny", "mode": "shadow"},
    {"type": "deny", "conditions": {"parameters": _AMOUNT}, "priority": 1},
    {"type": "deny", "conditions": {"time_window": {"start": "06:00", "end": "12:00"}}},
    {"type": "scope", "parameters": {"required_scopes": ["s"]}},
    {"type": "scope", "parameters": {"required_scopes": ["s", "t"], "reason": "scopes"}, "priority": 1},
    {"type": "require_approval"},
    {"type": "require_approval", "conditions": {"context_matches": {"env": "dev"}}, "priority": 2},
    {"type": "require_approval", "conditions": {"parameters": _AMOUNT}},
    {"type": "rate_limit", "parameters": {"max_calls": 1, "window_seconds": 60}},
    {"type": "rate_limit", "parameters": {"max_calls": 2, "window_seconds": 60, "key": "agent"}, "priority": 1},
    {"type": "rate_limit", "parameters": {"max_calls": 1, "window_seconds": 60}, "mode": "shadow"},
    {"type": "budget", "parameters": {"max_cost": 100, "cost_field": "amount", "key": "session"}},
    {"type": "budget", "parameters": {"max_cost": 1, "cost": 1, "window_seconds": 60}, "priority": -1},
)
_FACTS: Final[tuple[dict[str, Any], ...]] = (
    {"agent_id": "bot"},
    {"agent_id": "bot", "scopes": ["s"], "context": {"env": "dev"}},
    {"agent_id": "other", "scopes": ["s", "t"], "risk_tier": "high"},
    {"agent_id": "child", "scopes": ["s", "t"], "context": {"env": "prod"}, "parent": "0"},
)
_ASKS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"context": {"env": "prod", "team": "x"}},
    {"risk_tier": "low"},
    {"context": {"env": "dev"}, "risk_tier": "medium"},
)
_PLACES: Final = ("together", "overlay")
_DEFAULTS: Final = ("deny", "allow")

_SETS: Final = tuple(
    chosen for count in range(4) for chosen in product(range(len(_POLICIES)), repeat=count)
)  # in order: which of two equal ones was declared first matters
SPACE: Final = len(_SETS) * len(_PLACES) * len(_DEFAULTS) * len(_FACTS)
_STRIDE: Final = (
    7_919  # a prime that does not divide the number of sets: neighbours in an enumeration have nothing in common
)


def _manifest(atlas_id: str, policies: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "atlas_version": "1.0",
        "atlas_id": atlas_id,
        "version": "1.0.0",
        "name": "Tiny",
        "description": "",
        "actions": [{"action_id": "x.do", "name": "Do", "description": ""}] if atlas_id == "com.example.tiny" else [],
        "policies": policies,
    }


def _load(index: int, place: str) -> list[Operation]:
    """Load the set `index`. Its policies have ids of their own, or the counts of another set would be theirs."""
    policies = [{"policy_id": f"{index}.{position}", **_POLICIES[each]} for position, each in enumerate(_SETS[index])]
    if place == "together":
        return [{"do": "load_atlas", "manifest": _manifest("com.example.tiny", policies), "replace": True}]
    return [
        {"do": "load_atlas", "manifest": _manifest("com.example.tiny", policies[:-1]), "replace": True},
        {
            "do": "load_atlas",
            "manifest": _manifest("com.example.over", policies[-1:]),
            "overlay": True,
            "replace": True,
        },
    ]


def _case(number: int) -> list[Operation]:
    """One session's facts: it resolves, acts below and above the amount, asks a person, and acts again."""
    slot = str(number)
    call: Operation = {"do": "execute", "slot": slot, "action_id": "x.do"}
    return [
        {"do": "create_session", "slot": slot, **_FACTS[number]},
        {"do": "resolve", "slot": slot, **_ASKS[number]},
        {**call, "parameters": {"amount": 5}},
        {**call, "parameters": {"amount": 500}},
        {"do": "approve", "nth": -1},
        {"do": "resolve", "slot": slot, "view": "parts"},
        {**call, "parameters": {"amount": 500}},
        {**call, "parameters": {"amount": 500}},
    ]


def make(seed: int, number: int, size: int) -> Episode:
    """Episode `number` of the enumeration of the seed. Default decisions and places take turns, an episode has one of each."""
    kinds = tuple(product(_DEFAULTS, _PLACES))
    default, place = kinds[number % len(kinds)]
    first = number // len(kinds) * GENERATOR.size
    cases: list[list[Operation]] = []
    for step in range(first, first + size):
        index = (seed + step // len(_FACTS) * _STRIDE) % len(_SETS)
        case = _case(step % len(_FACTS))
        cases.append(_load(index, place) + case if step % len(_FACTS) == 0 else case)
    cases[0] = [{"do": "register", "action_id": "x.do"}, *cases[0]]
    return Episode({"ids": number % 1000, "default_decision": default}, cases)


# As many cases as divide those of a kind, or the last episode of each would leave some out.
GENERATOR: Final = Generator("tiny", len(_FACTS) * 21, make, SPACE)
assert len(_SETS) % 21 == 0
