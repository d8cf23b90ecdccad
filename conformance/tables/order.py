"""Which policy decides, group `policy-order`: a table of policies and the decision. PROTOCOL: Evaluation, Across atlases."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import Group, atlas, execute, outcome, overlay, policy, rate, register, resolve, session

CLASSES = "the first class with a matching policy decides"
INSIDE = "inside a class by priority descending, atlas id, declaration order."
DEFAULT = "Nothing matched → the runtime's default, **deny**."
REFUSED_ANYWAY = "An action that 6–7 would refuse anyway is denied, not held."
SCOPE = "denied unless the session's scopes contain all of `required_scopes`"
ALLOWS = '`Resolver(default_decision="allow")` exists for atlases written for runtimes that default to allow.'
ACROSS = "restricting policies of every selected atlas apply to the actions of all of them"
OWN = "concern the actions of their own atlas only"
NEVER_OPEN = "An atlas can restrict another, never open it."
WHICH = "all of the selected atlases, in atlas id order, then declaration order"
DECISION = "`deny` — nothing allowed, nothing held; `requires_approval` — nothing allowed, something held"
PARTIAL = "`Some actions are denied by policy`"
REASON = "A denial's reason is `parameters.reason`, else `reason`, else `Denied by policy`"
HELD = "(reason `Requires approval`, its `policy_id`)"
SHADOW = '`"mode": "shadow"` evaluates a policy, traces its result as `shadow:<result>`, and changes nothing.'
COPY = "a copy of a policy under another id changes no decision"
LOAD_ORDER = "load order changes nothing"
MORE = "one more restricting policy or one more selected atlas never allows more of what was there"
MISSING = "`actions` missing means every action for a restricting policy"
SELECTION = "A request may raise the session's risk tier, narrow its atlases, and add context keys"
OVERLAY = "An atlas loaded with `overlay=True` is part of every selection."
CONFLICT = "a resolve that selects two such atlases is a `Conflict` that names both"
ALL = policy("allow")
A, B = ["shop.a"], ["shop.b"]
DENY_A = outcome(["shop.b"], [("shop.a", "deny")])

# name, sentence, policies of one atlas with the actions shop.a and shop.b, the resolution, options of the runtime
TABLE: list[tuple[str, str, list[Any], Any, dict[str, Any]]] = [
    ("nothing", DEFAULT, [], outcome([], [("shop.a", ""), ("shop.b", "")]), {}),
    ("allow", CLASSES, [ALL], outcome(["shop.a", "shop.b"]), {}),
    ("allow-one", DEFAULT, [policy("allow", "one", A)], outcome(["shop.a"], [("shop.b", "")]), {}),
    ("allow-by-glob", CLASSES, [policy("allow", "g", ["shop.*"])], outcome(["shop.a", "shop.b"]), {}),
    ("allow-by-second-glob", CLASSES, [policy("allow", "g", ["x", "*.b"])], outcome(["shop.b"], [("shop.a", "")]), {}),
    ("deny-beats-allow", CLASSES, [policy("deny", "deny", A), ALL], DENY_A, {}),
    ("deny-beats-allow-declared-first", CLASSES, [ALL, policy("deny", "deny", A)], DENY_A, {}),
    ("deny-beats-allow-of-higher-priority", CLASSES, [policy("allow", priority=1000), policy("deny", "deny", A)], DENY_A, {}),
    ("deny-everything", MISSING, [ALL, policy("deny")], outcome([], [("shop.a", "deny"), ("shop.b", "deny")]), {}),
    ("deny-nothing-here", CLASSES, [ALL, policy("deny", "d", ["other.*"])], outcome(["shop.a", "shop.b"]), {}),
    ("deny-by-priority", INSIDE, [ALL, policy("deny", "low", A), policy("deny", "high", A, priority=1)], outcome(["shop.b"], [("shop.a", "high")]), {}),
    ("deny-by-declaration", INSIDE, [ALL, policy("deny", "z", A), policy("deny", "a", A)], outcome(["shop.b"], [("shop.a", "z")]), {}),
    ("deny-negative-priority", INSIDE, [ALL, policy("deny", "low", A, priority=-1), policy("deny", "zero", A)], outcome(["shop.b"], [("shop.a", "zero")]), {}),
    ("deny-before-scope", CLASSES, [ALL, policy("scope", "s", A, parameters={"required_scopes": ["w"]}, priority=9), policy("deny", "deny", A)], DENY_A, {}),
    ("deny-before-approval", CLASSES, [ALL, policy("require_approval", "ap", A, priority=9), policy("deny", "deny", A)], DENY_A, {}),
    ("scope-before-approval", CLASSES, [ALL, policy("require_approval", "ap", A, priority=9), policy("scope", "s", A, parameters={"required_scopes": ["w"]})], outcome(["shop.b"], [("shop.a", "s")]), {}),
    ("held", CLASSES, [ALL, policy("require_approval", "ap", A)], outcome(["shop.b"], [("shop.a", "ap")]), {}),
    ("held-all", DECISION, [ALL, policy("require_approval", "ap")], outcome([], [("shop.a", "ap"), ("shop.b", "ap")], "requires_approval"), {}),
    ("held-and-denied", DECISION, [ALL, policy("require_approval", "ap", A), policy("deny", "deny", B)], outcome([], [("shop.a", "ap"), ("shop.b", "deny")], "requires_approval"), {}),
    ("held-without-allow", REFUSED_ANYWAY, [policy("require_approval", "ap")], outcome([], [("shop.a", ""), ("shop.b", "")]), {}),
    ("held-with-default-allow", ALLOWS, [policy("require_approval", "ap", A)], outcome(["shop.b"], [("shop.a", "ap")]), {"default_decision": "allow"}),
    ("default-allow", ALLOWS, [], outcome(["shop.a", "shop.b"]), {"default_decision": "allow"}),
    ("default-allow-deny", ALLOWS, [policy("deny", "deny", A)], DENY_A, {"default_decision": "allow"}),
    ("limits-do-not-allow", DEFAULT, [rate(5, 60)], outcome([], [("shop.a", ""), ("shop.b", "")]), {}),
    ("scope-does-not-allow", DEFAULT, [policy("scope", "s", parameters={"required_scopes": ["w"]})], outcome([], [("shop.a", "s"), ("shop.b", "s")]), {}),
    ("copy-of-a-deny", COPY, [ALL, policy("deny", "deny", A), policy("deny", "deny2", A)], DENY_A, {}),
    ("copy-of-an-allow", COPY, [ALL, policy("allow", "again"), policy("deny", "deny", A)], DENY_A, {}),
    ("copy-of-an-approval", COPY, [ALL, policy("require_approval", "ap", A), policy("require_approval", "ap2", A)], outcome(["shop.b"], [("shop.a", "ap")]), {}),
    ("shadow-deny", SHADOW, [ALL, policy("deny", "d", mode="shadow")], outcome(["shop.a", "shop.b"]), {}),
    ("shadow-allow", SHADOW, [policy("allow", mode="shadow")], outcome([], [("shop.a", ""), ("shop.b", "")]), {}),
    ("shadow-approval", SHADOW, [ALL, policy("require_approval", "ap", mode="shadow")], outcome(["shop.a", "shop.b"]), {}),
    ("shadow-scope", SHADOW, [ALL, policy("scope", "s", mode="shadow", parameters={"required_scopes": ["w"]})], outcome(["shop.a", "shop.b"]), {}),
    ("enforce-mode", SHADOW, [ALL, policy("deny", "deny", A, mode="enforce")], DENY_A, {}),
]  # fmt: skip

# name, reason at top level, reason in parameters, the reason of the denial
REASONS = [
    ("none", None, None, "Denied by policy"),
    ("top", "Not now", None, "Not now"),
    ("parameters", None, "Never", "Never"),
    ("both", "Not now", "Never", "Never"),
]

# name, scopes of the session, required scopes, whether it is allowed
SCOPES = [
    ("none", None, ["w"], False),
    ("empty", [], ["w"], False),
    ("has-it", ["w"], ["w"], True),
    ("has-more", ["r", "w"], ["w"], True),
    ("one-of-two", ["r"], ["r", "w"], False),
    ("both", ["w", "r"], ["r", "w"], True),
    ("no-prefix", ["write"], ["w"], False),
    ("no-glob", ["*"], ["w"], False),
    ("case", ["W"], ["w"], False),
]


def groups() -> list[Group]:
    group = Group("policy-order", "CARP-Core")
    for name, sentence, policies, expected, options in TABLE:
        manifest = atlas(["shop.a", "shop.b"], policies)
        world: dict[str, Any] = {"options": options} if options else {}
        group.script(name, sentence, [manifest], [session(), resolve()], {"r": expected}, **world)
    for name, top, inner, reason in REASONS:
        fields: dict[str, Any] = {} if top is None else {"reason": top}
        if inner is not None:
            fields["parameters"] = {"reason": inner}
        manifest = atlas(["shop.a"], [ALL, policy("deny", "d", **fields)])
        expected = {"denied_actions": [{"action_id": "shop.a", "reason": reason, "policy_id": "d"}]}
        group.script(f"reason-{name}", REASON, [manifest], [session(), resolve()], {"r": expected})
    for name, scopes, required, allowed in SCOPES:
        manifest = atlas(["shop.a"], [ALL, policy("scope", "s", parameters={"required_scopes": required})])
        expected = outcome(["shop.a"]) if allowed else outcome([], [("shop.a", "s")])
        facts: dict[str, Any] = {} if scopes is None else {"scopes": scopes}
        group.script(f"scope-{name}", SCOPE, [manifest], [session(**facts), resolve()], {"r": expected})
    _add_words(group)
    _add_atlases(group)
    return [group]


def _add_words(group: Group) -> None:
    begin = [session(), resolve()]
    partial = {"r": {"decision": {"type": "partial", "reason": "Some actions are denied by policy"}}}
    group.script("partial", PARTIAL, [atlas(A + B, [policy("allow", "x", A)])], begin, partial)
    held = {"denied_actions": [{"action_id": "shop.a", "reason": "Requires approval", "policy_id": "ap"}]}
    manifest = atlas(A, [ALL, policy("require_approval", "ap", reason="Ask first")])
    group.script("held-reason", HELD, [manifest], begin, {"r": held})
    nulls = "Fields in schema order; those without a value are left out, except the nulls of `decision`."
    decision = {"$exactly": {"type": "allow", "reason": None, "approval_id": None, "expires_at": None}}
    group.script("nulls", nulls, [atlas(A, [ALL])], begin, {"r": {"decision": decision}})
    names = ["resource.c", "resource.a", "resource.b"]
    group.script("declaration-order", WHICH, [atlas(names, [ALL])], begin, {"r": outcome(names)})
    group.script(
        "ttl", "`ttl_seconds` is 3600 unless configured.", [atlas(A, [ALL])], begin, {"r": {"ttl_seconds": 3600}}
    )
    configured: dict[str, Any] = {"options": {"ttl_seconds": 60}}
    group.script("ttl-configured", "`ttl_seconds` is 3600 unless configured.", [atlas(A, [ALL])], begin,
                 {"r": {"ttl_seconds": 60}}, **configured)  # fmt: skip
    empty: Any = {"r": {"allowed_actions": [], "denied_actions": []}}
    group.script("no-actions", WHICH, [atlas([])], begin, empty)
    confirm = {"action_id": "shop.a", "requires_confirmation": True}
    expected = {"allowed_actions": [{"action_id": "shop.a", "requires_confirmation": True}]}
    sentence = "`requires_confirmation` is passed on to the agent and nothing else."
    group.script("confirmation", sentence, [atlas([confirm], [ALL])], begin, {"r": expected})


def _add_atlases(group: Group) -> None:
    one = atlas(["one.a"], [policy("allow", "allow-one")], "com.example.one")
    two = atlas(["two.a"], [policy("allow", "allow-two")], "com.example.two")
    begin = [session(), resolve()]
    both = {"r": outcome(["one.a", "two.a"])}
    group.script("two-atlases", WHICH, [one, two], begin, both)
    group.script("two-atlases-loaded-otherwise", LOAD_ORDER, [two, one], begin, both)
    silent = atlas(["two.a"], [], "com.example.two")
    group.script("allow-is-for-its-own-atlas", OWN, [one, silent], begin, {"r": outcome(["one.a"], [("two.a", "")])})
    strict = atlas([], [policy("deny", "no", ["*.a"])], "com.example.three")
    refused = outcome([], [("one.a", "no"), ("two.a", "no")])
    group.script("deny-is-for-all-atlases", ACROSS, [one, two, strict], begin, {"r": refused})
    opener = atlas([], [policy("allow", "open", ["*"], priority=1000)], "com.example.aaa")
    group.script("no-atlas-opens-another", NEVER_OPEN, [silent, opener], begin, {"r": outcome([], [("two.a", "")])})
    scope = policy("scope", "s", ["one.*"], parameters={"required_scopes": ["w"]})
    scoped = atlas(["two.a"], [policy("allow", "allow-two"), scope], "com.example.two")
    group.script("scope-is-for-all-atlases", ACROSS, [one, scoped], begin, {"r": outcome(["two.a"], [("one.a", "s")])})
    holding = atlas(
        ["two.a"], [policy("allow", "allow-two"), policy("require_approval", "ap", ["one.*"])], "com.example.two"
    )
    group.script(
        "approval-is-for-all-atlases", ACROSS, [one, holding], begin, {"r": outcome(["two.a"], [("one.a", "ap")])}
    )
    later = atlas([], [policy("deny", "later", ["one.a"])], "com.example.z")
    sooner = atlas([], [policy("deny", "sooner", ["one.a"])], "com.example.b")
    by_id = {"r": {"denied_actions": [{"action_id": "one.a", "policy_id": "sooner"}]}}
    group.script("inside-a-class-by-atlas-id", INSIDE, [later, sooner, one], begin, by_id)
    first = atlas([], [policy("deny", "later", ["one.a"], priority=1)], "com.example.z")
    by_priority = {"r": {"denied_actions": [{"action_id": "one.a", "policy_id": "later"}]}}
    group.script("priority-before-atlas-id", INSIDE, [sooner, first, one], begin, by_priority)
    narrowed = [session(), resolve(atlas_ids=["com.example.two"])]
    group.script("narrowed-by-the-request", SELECTION, [one, two], narrowed, {"r": outcome(["two.a"])})
    group.script("narrowed-leaves-out-restrictions", SELECTION, [one, two, strict], narrowed, {"r": outcome(["two.a"])})
    host = [session(atlas_ids=["com.example.one"]), resolve()]
    group.script("narrowed-by-the-host", SELECTION, [one, two], host, {"r": outcome(["one.a"])})
    wide = [session(atlas_ids=["com.example.one"]), resolve(atlas_ids=["com.example.one", "com.example.two"])]
    group.script("never-widened", "atlas selections intersect", [one, two], wide, {"r": outcome(["one.a"])})
    aside = [session(atlas_ids=["com.example.one"]), resolve(atlas_ids=["com.example.two"])]
    group.script("disjoint", "atlas selections intersect", [one, two], aside, {"r": {"allowed_actions": []}})
    group.script("overlay", OVERLAY, [one, two, overlay(strict)], narrowed, {"r": outcome([], [("two.a", "no")])})
    host_overlay = {"r": outcome([], [("one.a", "no")])}
    group.script("overlay-with-a-host-selection", OVERLAY, [one, two, overlay(strict)], host, host_overlay)
    unknown = [session(), resolve(atlas_ids=["com.example.none"])]
    group.script("unknown-atlas", "AtlasNotFound / SessionNotFound / ActionNotFound", [one], unknown,
                 {"r": {"error": {"code": "ATLAS_NOT_FOUND", "http_status": 404}}})  # fmt: skip
    same = atlas(["one.a"], [ALL], "com.example.same")
    conflict = {"r": {"error": {"code": "CONFLICT", "http_status": 409}}}
    group.script("same-action-twice", CONFLICT, [one, same], begin, conflict)
    chosen = [session(), resolve(atlas_ids=["com.example.one"])]
    group.script("same-action-selected-once", CONFLICT, [one, same], chosen, {"r": outcome(["one.a"])})  # fmt: skip
    replaced = {
        "do": "load_atlas",
        "manifest": {**one, "version": "2.0.0", "policies": [policy("deny")]},
        "replace": True,
    }
    swapped = [session(), resolve("before"), replaced, resolve("after")]
    group.script("replace", "swaps a version in one step", [one], swapped,
                 {"before": outcome(["one.a"]), "after": outcome([], [("one.a", "deny")])})  # fmt: skip
    again = [{"do": "load_atlas", "as": "again", "manifest": one}]
    group.script("loaded-twice", "AtlasAlreadyLoaded, SessionAlreadyExists, SessionAlreadyEnded, Conflict", [one], again,
                 {"again": {"error": {"code": "ATLAS_ALREADY_LOADED", "http_status": 409}}})  # fmt: skip
    unloaded = [session(), {"do": "unload_atlas", "atlas_id": "com.example.two"}, resolve()]
    group.script("unloaded", WHICH, [one, two], unloaded, {"r": outcome(["one.a"])})
    evaluated_again = [session(), register("one.a"), resolve(), replaced, execute("x", "one.a")]
    group.script("evaluated-again-at-execute", "policies, evaluated again", [one], evaluated_again,
                 {"x": {"error": {"code": "ACTION_DENIED", "policy_id": "deny"}}}, level="CRA-Full")  # fmt: skip
