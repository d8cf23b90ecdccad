"""The protocol's sentences on evaluation and context, once more and as plainly as possible, over manifests as they are written.

It imports nothing of the package: what it says and what the package says are compared. PROTOCOL: CARP/1.0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

Document = dict[str, Any]
RiskTier = Literal["low", "medium", "high", "critical"]
TIERS: tuple[RiskTier, ...] = ("low", "medium", "high", "critical")
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Party(NamedTuple):
    """Who asks, with the effective values: after host and request have been merged."""

    agent_id: str
    risk_tier: RiskTier
    context: Document
    scopes: frozenset[str]
    required: tuple[str, ...]
    now: datetime


class Rule(NamedTuple):
    """A policy and where it stands."""

    atlas_id: str
    place: int
    written: Document

    @property
    def key(self) -> tuple[str, str]:
        return self.atlas_id, self.written["policy_id"]

    @property
    def kind(self) -> str:
        return str(self.written["type"])

    @property
    def is_shadow(self) -> bool:
        return self.written.get("mode") == "shadow"

    @property
    def on_parameters(self) -> bool:
        return "parameters" in self.written.get("conditions", {})

    @property
    def reason(self) -> str:
        inner = self.written.get("parameters", {}).get("reason")
        return str(inner or self.written.get("reason") or "Denied by policy")


class Answer(NamedTuple):
    """For every action, in order, what happens to it, by which policy, and why."""

    decision: str
    reason: str | None
    actions: dict[str, tuple[str, str | None, str | None]]


Covered = frozenset[tuple[str, str, str]]
"""Atlas id, policy id, action id: of grants, and of limits that are exhausted."""


def glob(pattern: str, text: str) -> bool:
    """`*` any run of characters, `?` one, everything else literal; the whole string."""
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def conditions_hold(conditions: Document, party: Party, *, unknown: bool) -> bool:
    """All conditions but those on parameters; one that cannot be evaluated comes out as `unknown`."""
    return all(_holds(name, value, party, unknown) for name, value in conditions.items() if name != "parameters")


def _holds(name: str, value: Any, party: Party, unknown: bool) -> bool:
    if name == "risk_tiers":
        return party.risk_tier in value
    if name == "agents":
        return any(glob(pattern, party.agent_id) for pattern in value)
    if name == "capabilities":
        return not party.required or any(each in party.required for each in value)
    if name == "time_window":
        return _inside(value, party.now)
    assert name == "context_matches"
    return all(_matches(key, pattern, party.context, unknown) for key, pattern in value.items())


def _matches(key: str, pattern: str, context: Document, unknown: bool) -> bool:
    value = context.get(key, [])
    if isinstance(value, (list, dict)):
        return unknown
    return glob(pattern, value if isinstance(value, str) else json.dumps(value))


def _inside(window: Document, now: datetime) -> bool:
    """Every minute of the local week that the window covers, and whether now is one of them."""
    start, end = _minutes(window.get("start", "00:00")), _minutes(window.get("end", "24:00"))
    length = end - start if end > start else end - start + 1440
    local = now.astimezone(ZoneInfo(window.get("timezone", "UTC")))
    minute = local.weekday() * 1440 + local.hour * 60 + local.minute
    begins = [DAYS.index(day) * 1440 + start for day in window.get("days", DAYS)]
    return any((minute - begin) % (7 * 1440) < length for begin in begins)


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:5])


def rules_of(atlases: Iterable[Document]) -> Iterator[Rule]:
    """Every policy, and the limits that actions have of their own."""
    for atlas in atlases:
        written = list(atlas["policies"])
        for action in atlas["actions"]:
            if "rate_limit" in action:
                limit = {"policy_id": f"action:{action['action_id']}", "type": "rate_limit"}
                written.append({**limit, "actions": [action["action_id"]]})
        for index, policy in enumerate(written):
            yield Rule(atlas["atlas_id"], index, policy)


def applies(rule: Rule, atlas_id: str, action_id: str, party: Party) -> bool:
    """Whether a policy matches an action for a party, parameters aside."""
    if rule.kind == "allow" and rule.atlas_id != atlas_id:
        return False
    if not any(glob(pattern, action_id) for pattern in rule.written.get("actions", ["*"])):
        return False
    if rule.kind == "scope" and set(rule.written["parameters"]["required_scopes"]) <= party.scopes:
        return False
    return conditions_hold(rule.written.get("conditions", {}), party, unknown=rule.kind != "allow")


def judge(
    rules: Iterable[Rule], action_id: str, default: str, grants: Covered, exhausted: Covered
) -> tuple[str, str | None, str | None]:
    """Evaluation, per action: of the policies that match it, shadow ones aside."""
    ordered = sorted(rules, key=lambda rule: (-rule.written.get("priority", 0), rule.atlas_id, rule.place))

    def of(kind: str) -> list[Rule]:
        return [rule for rule in ordered if rule.kind == kind]

    for rule in of("deny") + of("scope"):
        return "deny", rule.written["policy_id"], rule.reason
    refused_anyway = not of("allow") and default == "deny"
    for rule in of("require_approval"):
        if (*rule.key, action_id) not in grants and not refused_anyway:
            return "requires_approval", rule.written["policy_id"], "Requires approval"
    for rule in of("rate_limit") + of("budget"):
        if (*rule.key, action_id) in exhausted:
            return "rate_limited", rule.written["policy_id"], f"{rule.kind}_exceeded"
    for rule in of("allow"):
        return "allow", rule.written["policy_id"], None
    return default, None, None if default == "allow" else "Denied by policy"


def evaluate(
    atlases: Iterable[Document],
    party: Party,
    *,
    default: str = "deny",
    grants: Covered = frozenset(),
    exhausted: Covered = frozenset(),
) -> Answer:
    """What a resolve says."""
    atlases = sorted(atlases, key=lambda atlas: str(atlas["atlas_id"]))
    rules = [rule for rule in rules_of(atlases) if not rule.is_shadow]
    # Without the parameters a restriction on them does not decide, and an allow counts.
    rules = [rule for rule in rules if rule.kind == "allow" or not rule.on_parameters]
    missing = [name for name in party.required if not any(name in _capabilities(atlas) for atlas in atlases)]
    found: dict[str, tuple[str, str | None, str | None]] = {}
    for atlas in atlases:
        capabilities = _capabilities(atlas)
        named = {action_id for name in party.required for action_id in capabilities.get(name, [])}
        for action in atlas["actions"]:
            action_id = action["action_id"]
            if party.required and action_id not in named:
                continue
            if missing:
                found[action_id] = "deny", None, _undefined(missing[0])
                continue
            matching = [rule for rule in rules if applies(rule, atlas["atlas_id"], action_id, party)]
            found[action_id] = judge(matching, action_id, default, grants, exhausted)
    return Answer(*_decision([result for result, _, _ in found.values()], missing), found)


def _capabilities(atlas: Document) -> dict[str, list[str]]:
    return {each["capability_id"]: each["actions"] for each in atlas["capabilities"]}


def _undefined(capability: str) -> str:
    return f"Capability {capability!r} is not defined by any selected atlas"


def _decision(results: list[str], missing: list[str]) -> tuple[str, str | None]:
    if missing:
        return "deny", _undefined(missing[0])
    if "allow" not in results:
        if "requires_approval" in results:
            return "requires_approval", "Requires approval"
        return "deny", "All actions are denied by policy" if results else "No actions are available"
    if all(result == "allow" for result in results):
        return "allow", None
    return "partial", "Some actions are denied by policy"


def select_context(
    atlases: Iterable[Document], party: Party, goal: str, hints: Iterable[str], budget: int | None
) -> tuple[list[str], list[str]]:
    """The ids of the blocks injected and of those cut, in order. All blocks are inline."""
    blocks: list[tuple[str, Document]] = [
        (str(atlas["atlas_id"]), block)
        for atlas in sorted(atlases, key=lambda atlas: str(atlas["atlas_id"]))
        for block in atlas["context_blocks"]
        if conditions_hold(block.get("conditions", {}), party, unknown=False)
    ]
    chosen = [(owner, block) for owner, block in blocks if _is_selected(block, party, goal, set(hints))]
    while True:
        pulled = {(owner, name) for owner, block in chosen for name in block.get("also_inject", [])}
        more = [each for each in blocks if each not in chosen and (each[0], each[1]["context_id"]) in pulled]
        if not more:
            break
        chosen += more
    ordered = sorted((each for each in blocks if each in chosen), key=lambda each: -each[1].get("priority", 100))
    kept = [block for _, block in ordered]
    cut: list[Document] = []
    while budget is not None and sum(map(_tokens, kept)) > budget:
        cut.insert(0, kept.pop())
    return [block["context_id"] for block in kept], [block["context_id"] for block in cut]


def _is_selected(block: Document, party: Party, goal: str, hints: set[str]) -> bool:
    keywords, tiers, actions = (block.get(name, []) for name in ("keywords", "risk_tiers", "inject_when"))
    folded = goal.casefold()
    return (
        block.get("inject_mode") == "always"
        or not (keywords or tiers or actions)
        or any(keyword.casefold() in folded for keyword in keywords)
        or party.risk_tier in tiers
        or not hints.isdisjoint([block["context_id"], *keywords])
        or any(part.casefold() in folded for action in actions for part in action.split("."))
    )


def _tokens(block: Document) -> int:
    size = len(block["content"].encode())
    return size // 4 + (size % 4 > 0)
