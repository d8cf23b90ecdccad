"""Policies in manifests, group `policy-syntax`: inside a policy nothing is ignored. PROTOCOL: Unknown fields, Policy parameters."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import Group, atlas, error, policy

NOTHING_IGNORED = "type, condition key or parameter, a missing or ill-typed parameter, an empty list"
FIELD = "**Inside a policy nothing is ignored**: an unknown field"
LINEAR = "a pattern that no linear-time engine runs: always `InvalidPolicy`."
MISSING_ACTIONS = "`actions` missing means every action for a restricting policy and is an error for `allow`."
ALIAS = "`requires_approval` is accepted for `require_approval`; `reason` at top level as well as in `parameters`."
RATE = "rate_limit `max_calls`, `window_seconds`, `key`"
BUDGET = "budget `max_cost`, `window_seconds` (absent: the session's life), `cost` or `cost_field`, `key`"
SCOPE = "scope `required_scopes`."
SHADOW = '`"mode": "shadow"` evaluates a policy, traces its result as `shadow:<result>`, and changes nothing.'
ZONE = "in `timezone` (IANA; unknown is a load error)"
UNTYPED = "is a lint warning `untyped_condition` (`strict`: an error)"
COVERED = "an `allow` only where no unconditional allow covers the action (else a lint warning: it restricts nothing)."

LIMIT = {"max_calls": 3, "window_seconds": 60}
COST = {"max_cost": 10, "cost": 1}


def _when(**conditions: Any) -> Any:
    return policy("deny", "p", conditions=conditions)


def _window(**window: Any) -> Any:
    return _when(time_window=window)


def _with(kind: str, parameters: Any, **fields: Any) -> Any:
    return policy(kind, "p", parameters=parameters, **fields)


def _pattern(pattern: str) -> Any:
    return _when(parameters={"properties": {"a": {"type": "string", "pattern": pattern}}})


# name, sentence, the policy
INVALID: list[tuple[str, str, Any]] = [
    ("unknown-field", FIELD, policy("deny", "p", colour="red")),
    ("unknown-type", NOTHING_IGNORED, policy("forbid", "p")),
    ("type-missing", NOTHING_IGNORED, {"policy_id": "p"}),
    ("type-number", NOTHING_IGNORED, {"policy_id": "p", "type": 1}),
    ("type-upper-case", NOTHING_IGNORED, policy("Deny", "p")),
    ("id-missing", NOTHING_IGNORED, {"type": "deny"}),
    ("id-number", NOTHING_IGNORED, {"policy_id": 1, "type": "deny"}),
    ("allow-without-actions", MISSING_ACTIONS, {"policy_id": "p", "type": "allow"}),
    ("actions-empty", NOTHING_IGNORED, policy("deny", "p", [])),
    ("allow-actions-empty", NOTHING_IGNORED, policy("allow", "p", [])),
    ("actions-string", NOTHING_IGNORED, {"policy_id": "p", "type": "deny", "actions": "*"}),
    ("actions-null", NOTHING_IGNORED, {"policy_id": "p", "type": "deny", "actions": None}),
    ("actions-of-numbers", NOTHING_IGNORED, {"policy_id": "p", "type": "deny", "actions": [1]}),
    ("priority-string", NOTHING_IGNORED, policy("deny", "p", priority="high")),
    ("priority-fraction", NOTHING_IGNORED, policy("deny", "p", priority=1.5)),
    ("mode-unknown", NOTHING_IGNORED, policy("deny", "p", mode="audit")),
    ("reason-number", NOTHING_IGNORED, policy("deny", "p", reason=1)),
    ("parameters-list", NOTHING_IGNORED, _with("deny", [])),
    ("deny-unknown-parameter", NOTHING_IGNORED, _with("deny", {"max_calls": 1})),
    ("allow-unknown-parameter", NOTHING_IGNORED, policy("allow", "p", parameters={"x": 1})),
    ("rate-unknown-parameter", NOTHING_IGNORED, _with("rate_limit", {**LIMIT, "burst": 5})),
    ("rate-without-parameters", NOTHING_IGNORED, policy("rate_limit", "p")),
    ("rate-without-calls", NOTHING_IGNORED, _with("rate_limit", {"window_seconds": 60})),
    ("rate-without-window", NOTHING_IGNORED, _with("rate_limit", {"max_calls": 3})),
    ("rate-calls-string", NOTHING_IGNORED, _with("rate_limit", {**LIMIT, "max_calls": "3"})),
    ("rate-calls-true", NOTHING_IGNORED, _with("rate_limit", {**LIMIT, "max_calls": True})),
    ("rate-calls-fraction", NOTHING_IGNORED, _with("rate_limit", {**LIMIT, "max_calls": 1.5})),
    ("rate-calls-negative", NOTHING_IGNORED, _with("rate_limit", {**LIMIT, "max_calls": -1})),
    ("rate-window-zero", NOTHING_IGNORED, _with("rate_limit", {**LIMIT, "window_seconds": 0})),
    ("rate-window-negative", NOTHING_IGNORED, _with("rate_limit", {**LIMIT, "window_seconds": -5})),
    ("rate-window-string", NOTHING_IGNORED, _with("rate_limit", {**LIMIT, "window_seconds": "1m"})),
    ("rate-key-unknown", NOTHING_IGNORED, _with("rate_limit", {**LIMIT, "key": "tenant"})),
    ("budget-without-cost", NOTHING_IGNORED, _with("budget", {"max_cost": 10})),
    ("budget-without-maximum", NOTHING_IGNORED, _with("budget", {"cost": 1})),
    ("budget-maximum-negative", NOTHING_IGNORED, _with("budget", {**COST, "max_cost": -1})),
    ("budget-cost-negative", NOTHING_IGNORED, _with("budget", {**COST, "cost": -1})),
    ("budget-cost-string", NOTHING_IGNORED, _with("budget", {**COST, "cost": "1"})),
    ("budget-cost-field-number", NOTHING_IGNORED, _with("budget", {"max_cost": 10, "cost_field": 1})),
    ("budget-window-zero", NOTHING_IGNORED, _with("budget", {**COST, "window_seconds": 0})),
    ("budget-key-unknown", NOTHING_IGNORED, _with("budget", {**COST, "key": "tenant"})),
    ("scope-without-scopes", NOTHING_IGNORED, policy("scope", "p")),
    ("scope-empty", NOTHING_IGNORED, _with("scope", {"required_scopes": []})),
    ("scope-string", NOTHING_IGNORED, _with("scope", {"required_scopes": "read"})),
    ("approval-unknown-parameter", NOTHING_IGNORED, _with("require_approval", {"approvers": ["a"]})),
    ("conditions-list", NOTHING_IGNORED, policy("deny", "p", conditions=[])),
    ("condition-unknown", NOTHING_IGNORED, _when(moon=["full"])),
    ("tiers-empty", NOTHING_IGNORED, _when(risk_tiers=[])),
    ("tier-unknown", NOTHING_IGNORED, _when(risk_tiers=["extreme"])),
    ("tiers-string", NOTHING_IGNORED, _when(risk_tiers="high")),
    ("agents-empty", NOTHING_IGNORED, _when(agents=[])),
    ("agents-string", NOTHING_IGNORED, _when(agents="bot-*")),
    ("capabilities-empty", NOTHING_IGNORED, _when(capabilities=[])),
    ("context-list", NOTHING_IGNORED, _when(context_matches=["env"])),
    ("context-number", NOTHING_IGNORED, _when(context_matches={"env": 1})),
    ("window-list", NOTHING_IGNORED, _when(time_window=[])),
    ("window-unknown-key", NOTHING_IGNORED, _window(until="17:00")),
    ("window-hour", NOTHING_IGNORED, _window(start="25:00")),
    ("window-minute", NOTHING_IGNORED, _window(start="09:60")),
    ("window-start-midnight", NOTHING_IGNORED, _window(start="24:00")),
    ("window-one-digit", NOTHING_IGNORED, _window(start="9:00")),
    ("window-number", NOTHING_IGNORED, _window(start=9)),
    ("window-day", NOTHING_IGNORED, _window(days=["monday"])),
    ("window-days-empty", NOTHING_IGNORED, _window(days=[])),
    ("parameters-no-schema", NOTHING_IGNORED, _when(parameters={"type": "thing"})),
    ("parameters-list-condition", NOTHING_IGNORED, _when(parameters=[])),
    ("pattern-look-ahead", LINEAR, _pattern("(?=a)b")),
    ("pattern-look-behind", LINEAR, _pattern("(?<=a)b")),
    ("pattern-back-reference", LINEAR, _pattern("(a+)\\1")),
    ("pattern-broken", LINEAR, _pattern("(a")),
    ("parameters-remote-ref", NOTHING_IGNORED, _when(parameters={"$ref": "https://example.com/s.json"})),
]

# name, sentence, the policy
VALID: list[tuple[str, str, Any]] = [
    ("deny-everything", MISSING_ACTIONS, policy("deny", "p")),
    ("approval-everything", MISSING_ACTIONS, policy("require_approval", "p")),
    ("requires-approval", ALIAS, policy("requires_approval", "p", ["*"])),
    ("reason-on-top", ALIAS, policy("deny", "p", reason="No")),
    ("reason-in-parameters", ALIAS, _with("deny", {"reason": "No"})),
    ("rate", RATE, _with("rate_limit", LIMIT)),
    *((f"rate-key-{key}", RATE, _with("rate_limit", {**LIMIT, "key": key})) for key in ("session", "agent", "global")),
    ("rate-window-fraction", RATE, _with("rate_limit", {**LIMIT, "window_seconds": 0.5})),
    ("budget", BUDGET, _with("budget", COST)),
    ("budget-window", BUDGET, _with("budget", {**COST, "window_seconds": 60})),
    ("budget-cost-field", BUDGET, _with("budget", {"max_cost": 10.5, "cost_field": "amount"})),
    ("budget-key", BUDGET, _with("budget", {**COST, "key": "global"})),
    ("scope", SCOPE, _with("scope", {"required_scopes": ["read", "write"]})),
    ("shadow", SHADOW, policy("deny", "p", mode="shadow")),
    ("name-and-description", "Fields: see the schema.", policy("deny", "p", name="P", description="A policy")),
    ("priority-negative", "Fields: see the schema.", policy("deny", "p", priority=-5)),
    ("pattern", LINEAR, _pattern("^(a|b)+$")),
]

WINDOW = "`start` ≤ local time < `end`, on `days`, in `timezone`"
WINDOWS: list[tuple[str, str, dict[str, Any]]] = [
    ("window-empty", "defaults 00:00, 24:00, UTC, all days.", {}),
    ("window-full", WINDOW, {"start": "09:00", "end": "17:30", "timezone": "Europe/Berlin", "days": ["mon", "fri"]}),
    ("window-to-midnight", WINDOW, {"start": "09:00", "end": "24:00"}),
    ("window-over-midnight", "over midnight when `end` < `start`", {"start": "22:00", "end": "06:00"}),
]


def groups() -> list[Group]:
    group = Group("policy-syntax", "Atlas-Core")

    def load(name: str, sentence: str, written: Any, expected: Any, strict: bool = False, **more: Any) -> None:
        question: dict[str, Any] = {"manifest": atlas(["shop.buy"], [policy("allow"), written])}
        if strict:
            question["strict"] = True
        group.add(name, sentence, "load_atlas", question, expected, **more)

    for name, sentence, written in INVALID:
        load(f"invalid-{name}", sentence, written, error("INVALID_POLICY"))
    for zone in ("Mars/Olympus", "../../etc/passwd", "", 1):
        load(f"invalid-zone-{zone!r}", ZONE, _window(timezone=zone), error("INVALID_POLICY"))
    for name, sentence, written in VALID:
        load(f"valid-{name}", sentence, written, {"actions": ["shop.buy"]})
    for name, sentence, window in WINDOWS:
        load(f"valid-{name}", sentence, _window(**window), {"actions": ["shop.buy"]})
    _add_lint(load)
    return [group]


def _add_lint(load: Any) -> None:
    untyped = _when(parameters={"properties": {"amount": {"exclusiveMinimum": 100}}, "required": ["amount"]})
    typed = _when(parameters={"properties": {"amount": {"type": "number", "exclusiveMinimum": 100}}})
    contains = {"codes": {"$contains": ["untyped_condition"]}}
    load("warned-untyped-condition", UNTYPED, untyped, contains)
    load("strict-untyped-condition", UNTYPED, untyped, {"error": {"category": "validation"}}, strict=True)
    load("typed-condition", UNTYPED, typed, {"codes": []}, strict=True)
    amount = {"properties": {"amount": {"type": "integer", "maximum": 5}}}
    covered = policy("allow", "small", ["shop.*"], conditions={"parameters": amount})
    warned = {"warnings": {"$contains": ["/policies/1/conditions/parameters"]}}
    load("warned-redundant-allow-condition", COVERED, covered, warned)
