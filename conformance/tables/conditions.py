"""When policies apply, group `conditions`: one policy with conditions beside what it is compared with. PROTOCOL: Conditions."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import Group, atlas, execute, outcome, policy, register, resolve, session

TIERS = "`risk_tiers` (the effective tier is listed)"
AGENTS = "`agents` (a glob matches the agent id)"
CAPABILITIES = "(one of them is required by the request; a request that requires none requires all)"
CONTEXT = (
    "(the value, strings as they are, other scalars as canonical JSON, lists and objects not at all, matches the glob)"
)
UNKNOWN = "**holds for restricting policies and fails for `allow`**"
ALL_HOLD = "all have to hold"
EXECUTE = "`execute` knows the parameters and applies such a policy like any other."
AT_RESOLVE = "At `resolve` a restricting one does not decide, and an `allow` counts as matching"
ANNOUNCED = "each is announced as a `scope` constraint (`policy_id`, `effect`, `actions`, `schema`)"
ONLY_WHERE = "an `allow` only where no unconditional allow covers the action"
FORMAT = "`format` is asserted."
WINS = "the session's context keys win"

# name, sentence, conditions, facts of the session, the request, whether they hold for a deny, and for an allow
TABLE: list[tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any], bool, bool]] = [
    ("tier-listed", TIERS, {"risk_tiers": ["low"]}, {}, {}, True, True),
    ("tier-not-listed", TIERS, {"risk_tiers": ["high"]}, {}, {}, False, False),
    ("tier-raised", TIERS, {"risk_tiers": ["high"]}, {}, {"risk_tier": "high"}, True, True),
    ("tier-of-the-host", TIERS, {"risk_tiers": ["high"]}, {"risk_tier": "high"}, {}, True, True),
    ("tier-never-lowered", TIERS, {"risk_tiers": ["low"]}, {"risk_tier": "high"}, {"risk_tier": "low"}, False, False),
    ("tier-one-of-two", TIERS, {"risk_tiers": ["medium", "low"]}, {}, {}, True, True),
    ("tier-no-threshold", TIERS, {"risk_tiers": ["medium"]}, {"risk_tier": "critical"}, {}, False, False),
    ("agent", AGENTS, {"agents": ["bot-*"]}, {"agent_id": "bot-7"}, {}, True, True),
    ("agent-not", AGENTS, {"agents": ["bot-*"]}, {"agent_id": "robot-7"}, {}, False, False),
    ("agent-second-glob", AGENTS, {"agents": ["a", "bot-?"]}, {"agent_id": "bot-7"}, {}, True, True),
    ("agent-case", AGENTS, {"agents": ["Bot-*"]}, {"agent_id": "bot-7"}, {}, False, False),
    ("context", CONTEXT, {"context_matches": {"env": "prod"}}, {"context": {"env": "prod"}}, {}, True, True),
    ("context-other", CONTEXT, {"context_matches": {"env": "prod"}}, {"context": {"env": "test"}}, {}, False, False),
    ("context-glob", CONTEXT, {"context_matches": {"env": "prod-*"}}, {"context": {"env": "prod-eu.1"}}, {}, True, True),
    ("context-of-the-request", CONTEXT, {"context_matches": {"env": "prod"}}, {}, {"context": {"env": "prod"}}, True, True),
    ("context-session-wins", WINS, {"context_matches": {"env": "prod"}}, {"context": {"env": "prod"}}, {"context": {"env": "test"}}, True, True),
    ("context-session-wins-again", WINS, {"context_matches": {"env": "test"}}, {"context": {"env": "prod"}}, {"context": {"env": "test"}}, False, False),
    ("context-number", CONTEXT, {"context_matches": {"n": "7"}}, {"context": {"n": 7}}, {}, True, True),
    ("context-float", CONTEXT, {"context_matches": {"n": "7"}}, {"context": {"n": 7.0}}, {}, True, True),
    ("context-fraction", CONTEXT, {"context_matches": {"n": "0.?"}}, {"context": {"n": 0.5}}, {}, True, True),
    ("context-true", CONTEXT, {"context_matches": {"n": "true"}}, {"context": {"n": True}}, {}, True, True),
    ("context-true-is-no-1", CONTEXT, {"context_matches": {"n": "1"}}, {"context": {"n": True}}, {}, False, False),
    ("context-null", CONTEXT, {"context_matches": {"n": "null"}}, {"context": {"n": None}}, {}, True, True),
    ("context-string-without-quotes", CONTEXT, {"context_matches": {"n": '"a"'}}, {"context": {"n": "a"}}, {}, False, False),
    ("context-empty-string", CONTEXT, {"context_matches": {"n": "*"}}, {"context": {"n": ""}}, {}, True, True),
    ("context-key-case", CONTEXT, {"context_matches": {"env": "*"}}, {"context": {"ENV": "x"}}, {}, True, False),
    ("context-absent", UNKNOWN, {"context_matches": {"env": "prod"}}, {}, {}, True, False),
    ("context-absent-star", UNKNOWN, {"context_matches": {"env": "*"}}, {}, {}, True, False),
    ("context-list", UNKNOWN, {"context_matches": {"env": "prod"}}, {"context": {"env": ["prod"]}}, {}, True, False),
    ("context-object", UNKNOWN, {"context_matches": {"env": "*"}}, {"context": {"env": {"a": 1}}}, {}, True, False),
    ("context-one-known-one-absent", UNKNOWN, {"context_matches": {"a": "1", "b": "2"}}, {"context": {"a": "1"}}, {}, True, False),
    ("context-one-wrong-one-absent", ALL_HOLD, {"context_matches": {"a": "1", "b": "2"}}, {"context": {"a": "x"}}, {}, False, False),
    ("context-both", ALL_HOLD, {"context_matches": {"a": "1", "b": "2"}}, {"context": {"a": "1", "b": "2"}}, {}, True, True),
    ("two-conditions", ALL_HOLD, {"risk_tiers": ["low"], "agents": ["x"]}, {}, {}, False, False),
    ("two-conditions-hold", ALL_HOLD, {"risk_tiers": ["low"], "agents": ["agent"]}, {}, {}, True, True),
    ("capability-none-required", CAPABILITIES, {"capabilities": ["buying"]}, {}, {}, True, True),
    ("capability-required", CAPABILITIES, {"capabilities": ["buying"]}, {}, {"required_capabilities": ["buying"]}, True, True),
    ("capability-other-required", CAPABILITIES, {"capabilities": ["buying"]}, {}, {"required_capabilities": ["selling"]}, False, False),
    ("capability-one-of-them", CAPABILITIES, {"capabilities": ["x", "selling"]}, {}, {"required_capabilities": ["buying", "selling"]}, True, True),
    ("no-conditions", ALL_HOLD, {}, {}, {}, True, True),
]  # fmt: skip

NAMED = [
    {"capability_id": "buying", "name": "Buying", "actions": ["shop.buy"]},
    {"capability_id": "selling", "name": "Selling", "actions": ["shop.buy"]},
]
OVER_100 = {"properties": {"amount": {"type": "number", "exclusiveMinimum": 100}}, "required": ["amount"]}
UP_TO_100 = {"properties": {"amount": {"type": "number", "maximum": 100}}, "required": ["amount"]}
MAIL = {"properties": {"to": {"type": "string", "format": "email"}}, "required": ["to"]}

# name, sentence, kind of the policy, schema, parameters, the error of execute (None: it runs)
AT_EXECUTE: list[tuple[str, str, str, Any, Any, str | None]] = [
    ("deny-satisfied", EXECUTE, "deny", OVER_100, {"amount": 101}, "ACTION_DENIED"),
    ("deny-at-the-border", EXECUTE, "deny", OVER_100, {"amount": 100}, None),
    ("deny-fraction", EXECUTE, "deny", OVER_100, {"amount": 100.01}, "ACTION_DENIED"),
    ("deny-not-satisfied", EXECUTE, "deny", OVER_100, {"amount": 1}, None),
    ("deny-property-absent", EXECUTE, "deny", OVER_100, {}, None),
    ("deny-other-type", EXECUTE, "deny", OVER_100, {"amount": "101"}, None),
    ("allow-satisfied", EXECUTE, "allow", UP_TO_100, {"amount": 100}, None),
    ("allow-not-satisfied", EXECUTE, "allow", UP_TO_100, {"amount": 101}, "ACTION_DENIED"),
    ("allow-property-absent", EXECUTE, "allow", UP_TO_100, {}, "ACTION_DENIED"),
    ("approval-satisfied", EXECUTE, "require_approval", OVER_100, {"amount": 500}, "ACTION_REQUIRES_APPROVAL"),
    ("approval-not-satisfied", EXECUTE, "require_approval", OVER_100, {"amount": 5}, None),
    ("format-satisfied", FORMAT, "allow", MAIL, {"to": "a@example.com"}, None),
    ("format-not-satisfied", FORMAT, "allow", MAIL, {"to": "nobody"}, "ACTION_DENIED"),
]


def groups() -> list[Group]:
    group = Group("conditions", "CARP-Core")
    for name, sentence, conditions, facts, ask, for_deny, for_allow in TABLE:
        steps = [session(**facts), resolve(**ask)]
        when: dict[str, Any] = {"conditions": conditions} if conditions else {}
        denying = atlas(["shop.buy"], [policy("allow"), policy("deny", "p", **when)], capabilities=NAMED)
        expected = outcome([], [("shop.buy", "p")]) if for_deny else outcome(["shop.buy"])
        group.script(f"deny-{name}", sentence, [denying], steps, {"r": expected})
        allowing = atlas(["shop.buy"], [policy("allow", "p", **when)], capabilities=NAMED)
        expected = outcome(["shop.buy"]) if for_allow else outcome([], [("shop.buy", "")])
        group.script(f"allow-{name}", sentence, [allowing], steps, {"r": expected})
    for name, sentence, kind, schema, parameters, code in AT_EXECUTE:
        conditional = policy(kind, "p", ["shop.buy"], conditions={"parameters": schema})
        policies = [conditional] if kind == "allow" else [policy("allow"), conditional]
        steps = [session(), register("shop.buy"), resolve(), execute("x", parameters=parameters)]
        expected = {"status": "success"} if code is None else {"error": {"code": code}}
        group.script(f"parameters-{name}", sentence, [atlas(["shop.buy"], policies)], steps, {"x": expected},
                     level="CRA-Full")  # fmt: skip
    _add_announced(group)
    return [group]


def _add_announced(group: Group) -> None:
    steps = [session(), resolve()]
    deny = policy("deny", "cap", ["shop.*"], conditions={"parameters": OVER_100})
    announced: dict[str, Any] = {
        "type": "scope",
        "parameters": {"policy_id": "cap", "effect": "deny", "actions": ["shop.buy"], "schema": OVER_100},
    }
    manifest = atlas(["shop.buy", "other.do"], [policy("allow"), deny])
    expected = {**outcome(["shop.buy", "other.do"]), "constraints": [announced]}
    group.script("announced-deny", ANNOUNCED, [manifest], steps, {"r": expected})
    approval = policy("require_approval", "cap", ["shop.*"], conditions={"parameters": OVER_100})
    announced = {**announced, "parameters": {**announced["parameters"], "effect": "require_approval"}}
    expected = {**outcome(["shop.buy"]), "constraints": [announced]}
    group.script(
        "announced-approval", AT_RESOLVE, [atlas(["shop.buy"], [policy("allow"), approval])], steps, {"r": expected}
    )
    allow = policy("allow", "small", ["shop.*"], conditions={"parameters": UP_TO_100})
    announced = {"type": "scope", "parameters": {"policy_id": "small", "effect": "allow", "schema": UP_TO_100}}
    expected = {**outcome(["shop.buy"]), "constraints": [announced]}
    group.script("announced-allow", AT_RESOLVE, [atlas(["shop.buy"], [allow])], steps, {"r": expected})
    expected = {**outcome(["shop.buy"]), "constraints": []}
    group.script("allow-covered-is-not-announced", ONLY_WHERE, [atlas(["shop.buy"], [policy("allow"), allow])], steps,
                 {"r": expected})  # fmt: skip
    never = policy("deny", "cap", conditions={"parameters": OVER_100, "risk_tiers": ["high"]})
    group.script("not-announced-where-it-does-not-apply", ALL_HOLD, [atlas(["shop.buy"], [policy("allow"), never])], steps,
                 {"r": expected})  # fmt: skip
