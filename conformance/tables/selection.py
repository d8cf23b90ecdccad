"""What a request selects: risk tiers, capabilities, parents and children; groups `risk-tiers`, `capabilities`, `children`.

PROTOCOL: The host says who and where, Which actions.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from conformance.tables.table import Group, atlas, execute, outcome, policy, rate, register, resolve, session, step

HIGHER = "the effective tier is the higher of both"
NAMED = "with `required_capabilities` only those that the capabilities name"
NOBODY = "(one that nobody defines makes the decision `deny`, with a reason that names it)"
CHILD = "A child session (`parent=`) is never allowed more than its parent."
OWN = "concern the actions of their own atlas only"
TIERS = ("low", "medium", "high", "critical")


def groups() -> list[Group]:
    return [_tiers(), _capabilities(), _children()]


def _tiers() -> Group:
    group = Group("risk-tiers", "CARP-Core")
    policies = [policy("allow"), *(policy("deny", tier, conditions={"risk_tiers": [tier]}) for tier in TIERS)]
    for host, asked in product(TIERS, TIERS):
        effective = max(host, asked, key=TIERS.index)
        steps = [session(risk_tier=host), resolve(risk_tier=asked)]
        expected = {"r": outcome([], [("shop.buy", effective)])}
        group.script(f"{host}-{asked}", HIGHER, [atlas(["shop.buy"], policies)], steps, expected)
    for host in TIERS:
        steps = [session(risk_tier=host), resolve()]
        expected = {"r": outcome([], [("shop.buy", host)])}
        group.script(f"{host}-none", HIGHER, [atlas(["shop.buy"], policies)], steps, expected)
    group.script("none-none", 'risk_tier="low"', [atlas(["shop.buy"], policies)], [session(), resolve()],
                 {"r": outcome([], [("shop.buy", "low")])})  # fmt: skip
    action = {"action_id": "shop.buy", "risk_tier": "critical"}
    published = {"r": {"allowed_actions": [{"action_id": "shop.buy", "risk_tier": "critical"}]}}
    manifest = atlas([action], [policy("allow"), policy("deny", "d", conditions={"risk_tiers": ["critical"]})])
    sentence = "`risk_tiers` (the effective tier is listed)"
    group.script("of-the-action-is-not-effective", sentence, [manifest], [session(), resolve()], published)
    group.script("unknown", HIGHER, [manifest], [session(), resolve(risk_tier="extreme")],
                 {"r": {"error": {"code": "INVALID_CARP_REQUEST"}}})  # fmt: skip
    return group


def _capabilities() -> Group:
    group = Group("capabilities", "CARP-Core")
    defined = [
        {"capability_id": "reading", "name": "Reading", "actions": ["shop.get", "shop.list"]},
        {"capability_id": "buying", "name": "Buying", "actions": ["shop.buy", "shop.get"]},
        {"capability_id": "nothing", "name": "Nothing"},
    ]
    actions = ["shop.buy", "shop.get", "shop.list", "shop.drop"]
    manifest = atlas(actions, [policy("allow"), policy("deny", "d", ["shop.drop"])], capabilities=defined)
    everything = outcome(actions[:3], [("shop.drop", "d")])
    for name, required, expected in (
        ("none", [], everything),
        ("reading", ["reading"], outcome(["shop.get", "shop.list"])),
        ("buying", ["buying"], outcome(["shop.buy", "shop.get"])),
        ("two", ["reading", "buying"], outcome(actions[:3])),
        ("two-in-another-order", ["buying", "reading"], outcome(actions[:3])),
        ("twice", ["reading", "reading"], outcome(["shop.get", "shop.list"])),
        ("of-no-actions", ["nothing"], {"allowed_actions": [], "denied_actions": []}),
    ):
        group.script(name, NAMED, [manifest], [session(), resolve(required_capabilities=required)], {"r": expected})
    unknown = {"decision": {"type": "deny"}, "allowed_actions": []}
    for name, required in (("unknown", ["flying"]), ("one-unknown", ["reading", "flying"]), ("case", ["Reading"])):
        steps = [session(), resolve(required_capabilities=required)]
        group.script(name, NOBODY, [manifest], steps, {"r": unknown})
    other = atlas(["other.get"], [policy("allow")], "com.example.other")
    both = [session(), resolve(required_capabilities=["reading"])]
    group.script("of-one-atlas-of-two", NAMED, [manifest, other], both, {"r": outcome(["shop.get", "shop.list"])})
    reaching = [{"capability_id": "reading", "name": "Reading", "actions": ["shop.get"]}]
    thief = atlas(["other.get"], [policy("allow")], "com.example.other", capabilities=reaching)
    plain = atlas(["shop.get"], [policy("allow")])
    expected = {"allowed_actions": [], "denied_actions": []}
    group.script("concern-their-own-atlas", OWN, [plain, thief], both, {"r": expected})
    aside = [session(), resolve(required_capabilities=["reading"], atlas_ids=["com.example.other"])]
    group.script("of-an-atlas-that-is-not-selected", NOBODY, [manifest, other], aside, {"r": unknown})
    return group


def _children() -> Group:
    group = Group("children", "CRA-Full")

    def add(name: str, policies: list[Any], parent: Any, child: Any, expected: Any, *atlases: Any) -> None:
        steps = [session(session="p", **parent), session(parent="p", **child), resolve()]
        group.script(name, CHILD, [atlas(["shop.buy"], policies), *atlases], steps, {"r": expected})

    def denies(**conditions: Any) -> list[Any]:
        return [policy("allow"), policy("deny", "d", conditions=conditions)]

    def scoped(*scopes: str) -> list[Any]:
        return [policy("allow"), policy("scope", "d", parameters={"required_scopes": list(scopes)})]

    allowed, denied = outcome(["shop.buy"]), outcome([], [("shop.buy", "d")])
    add("same", [policy("allow")], {}, {}, allowed)
    add("parent-agent-denied", denies(agents=["boss"]), {"agent_id": "boss"}, {"agent_id": "worker"}, denied)
    add("child-agent-denied", denies(agents=["worker"]), {"agent_id": "boss"}, {"agent_id": "worker"}, denied)
    add("parent-without-scope", scoped("w"), {}, {"scopes": ["w"]}, denied)
    add("child-without-scope", scoped("w"), {"scopes": ["w"]}, {"scopes": []}, denied)
    add("both-with-scope", scoped("w"), {"scopes": ["w"]}, {"scopes": ["w"]}, allowed)
    add("parent-tier", denies(risk_tiers=["high"]), {"risk_tier": "high"}, {}, denied)
    add("child-tier", denies(risk_tiers=["high"]), {}, {"risk_tier": "high"}, denied)
    context = {"context_matches": {"env": "prod"}}
    add("parent-context", denies(**context), {"context": {"env": "prod"}}, {"context": {"env": "test"}}, denied)
    only = [policy("allow", "a", conditions={"agents": ["boss"]})]
    add(
        "allow-for-the-parent-only", only, {"agent_id": "boss"}, {"agent_id": "worker"}, outcome([], [("shop.buy", "")])
    )
    only = [policy("allow", "a", conditions={"agents": ["worker"]})]
    add("allow-for-the-child-only", only, {"agent_id": "boss"}, {"agent_id": "worker"}, outcome([], [("shop.buy", "")]))
    other = atlas(["other.get"], [policy("allow")], "com.example.other")
    narrow = {"atlas_ids": ["com.example.shop"]}
    add("parent-selection", [policy("allow")], narrow, {}, allowed, other)
    wide = {"atlas_ids": ["com.example.shop", "com.example.other"]}
    add("child-does-not-widen-the-selection", [policy("allow")], narrow, wide, allowed, other)
    steps = [
        session(session="p", agent_id="boss"), session(parent="p", agent_id="worker"), register("shop.buy"),
        resolve("parent", session="p"), execute(None, session="p", resolution="parent"), resolve(), execute("x"),
    ]  # fmt: skip
    manifest = atlas(["shop.buy"], [policy("allow"), rate(1, 60)])
    limited = {"x": {"error": {"code": "RATE_LIMIT_EXCEEDED"}}}
    group.script("limit-of-the-parent", CHILD, [manifest], steps, limited)
    steps = [session(session="p"), session(parent="p"), step("end", session="p"), resolve()]
    group.script("ends-with-its-parent", CHILD, [manifest], steps, {"r": {"error": {}}})
    return group
