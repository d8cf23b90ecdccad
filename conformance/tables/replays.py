"""Replay and diff, groups `replay` and `diff`. PROTOCOL: Replay, Diff."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import Group, atlas, execute, policy, rate, register, resolve, session, step, taken
from conformance.tables.trace import chain, uuid

REPLAY = "from trace + atlases (matched by `policy_set`) every resolution is recomputed and compared"
TRUSTED = "limit outcomes are taken from the trace and counted as `not_recomputed`"
IGNORED = "ids, times and hashes ignored"
GRADED = "graded `identical`, `semantically_equivalent` (only durations and the like) or `different`"
ALLOW = policy("allow")
SHOP = atlas(["shop.buy", "shop.sell"], [ALLOW, policy("deny", "no", ["shop.sell"])])
HIGH = policy("deny", "high", ["shop.buy"], conditions={"risk_tiers": ["high"]})


def groups() -> list[Group]:
    return [_replay(), _diff()]


def _good(resolutions: int, not_recomputed: int = 0) -> Any:
    return {
        "replay": {
            "valid": True,
            "resolutions": resolutions,
            "reproduced": resolutions,
            "not_recomputed": not_recomputed,
        }
    }


def _replay() -> Group:
    group = Group("replay", "CRA-Full")
    replay = step("replay", "replay")

    def add(name: str, sentence: str, manifest: Any, steps: list[Any], expected: Any, **world: Any) -> None:
        group.script(name, sentence, [manifest], steps, expected, **world)

    begin = [session(), resolve()]
    add("one", REPLAY, SHOP, [*begin, replay], _good(1))
    add("ended", REPLAY, SHOP, [*begin, step("end"), replay], _good(1))
    add("none", REPLAY, SHOP, [session(), replay], _good(0))
    three = [session(), resolve(), resolve(goal="else"), resolve(risk_tier="high"), replay]
    add("three", REPLAY, SHOP, three, _good(3))
    risky = atlas(["shop.buy"], [ALLOW, HIGH])
    add("tiers", REPLAY, risky, [session(risk_tier="medium"), resolve(), resolve(risk_tier="high"), replay], _good(2))
    scoped = atlas(["shop.buy"], [ALLOW, policy("scope", "s", parameters={"required_scopes": ["w"]})])
    add("scopes", REPLAY, scoped, [session(scopes=["w"]), resolve(), replay], _good(1))
    night = atlas(["shop.buy"], [ALLOW, policy("deny", "n", conditions={"time_window": {"start": "12:30"}})])
    add("times", REPLAY, night, [*begin, step("advance", seconds=1800), resolve(), replay], _good(2))
    env = atlas(["shop.buy"], [ALLOW, policy("deny", "e", conditions={"context_matches": {"env": "prod"}})])
    add("context", REPLAY, env, [session(context={"env": "prod"}), resolve(), replay], _good(1))
    add("context-other", REPLAY, env, [session(context={"env": "test"}), resolve(), replay], _good(1))
    add("context-absent", REPLAY, env, [*begin, replay], _good(1))
    add("default-allow", REPLAY, atlas(["shop.buy"]), [*begin, replay], _good(1), options={"default_decision": "allow"})
    add("decisions-only", REPLAY, SHOP, [*begin, replay], _good(1), options={"trace_detail": "decisions"})
    blocks = [{"context_id": "a", "name": "A", "content": "x" * 40, "keywords": ["refund"]}]
    reading = atlas(["shop.buy"], [ALLOW], context_blocks=blocks)
    add(
        "blocks",
        REPLAY,
        reading,
        [*begin, resolve(goal="refund"), resolve(goal="refund", context_budget=5), replay],
        _good(3),
    )
    held = atlas(["shop.buy"], [ALLOW, policy("require_approval", "ask")])
    grant = [step("request_approval", approval_id=taken("r/decision/approval_id")),
             step("approve", approval_id=taken("r/decision/approval_id"))]  # fmt: skip
    add("grants", REPLAY, held, [*begin, *grant, resolve("after"), replay], _good(2))
    limited = atlas(["shop.buy"], [ALLOW, rate(1, 60)])
    spent = [session(), register("shop.buy"), resolve(), execute(None), resolve(), replay]
    add("limits", TRUSTED, limited, spent, _good(2, not_recomputed=1))
    children = [
        session(session="p", agent_id="boss"),
        session(parent="p"),
        resolve(),
        step("replay", "replay", sessions=["p", "s"]),
    ]
    bossy = atlas(["shop.buy"], [ALLOW, policy("deny", "d", conditions={"agents": ["boss"]})])
    add("children", REPLAY, bossy, children, _good(1))
    swapped = [
        *begin,
        {"do": "load_atlas", "manifest": {**SHOP, "version": "2.0.0", "policies": []}, "replace": True},
        resolve(),
    ]
    add("two-versions", REPLAY, SHOP, [*swapped, replay], _good(2))
    bad = {"replay": {"valid": False, "resolutions": 1, "reproduced": 0}}
    other = step("replay", "replay", manifests=[{**SHOP, "policies": [ALLOW]}])
    add("another-atlas", REPLAY, SHOP, [*begin, other], bad)
    add("no-atlas", REPLAY, SHOP, [*begin, step("replay", "replay", manifests=[])], bad)
    for name, index, payload in (
        ("result", 3, {"result": "allow"}),
        ("policy", 3, {"policy_id": "yes"}),
        ("decision", 4, {"decision_type": "allow"}),
        ("count", 4, {"allowed_count": 2, "denied_count": 0}),
    ):
        changed = step("replay", "replay", changes=[{"index": index, "payload": payload}])
        add(f"changed-{name}", REPLAY, SHOP, [*begin, changed], bad)
    tier = step("replay", "replay", changes=[{"index": 1, "payload": {"risk_tier": "high"}}])
    add("changed-request", REPLAY, risky, [*begin, tier], bad)
    return group


# name, sentence, event → fields, event → fields (of the second trace), grade
DIFFS: list[tuple[str, str, dict[int, Any], dict[int, Any], str]] = [
    ("same", GRADED, {}, {}, "identical"),
    ("times", IGNORED, {}, {1: {"timestamp": "2026-06-01T00:00:00.000000Z"}, 2: {"timestamp": "2026-06-01T00:00:00.000000Z"}}, "identical"),
    ("event-ids", IGNORED, {}, {1: {"event_id": uuid(9, 9), "span_id": uuid(9, 8)}}, "identical"),
    ("payload-ids", IGNORED, {1: {"payload": {"request_id": uuid(1, 9)}}}, {1: {"payload": {"request_id": uuid(2, 9)}}}, "identical"),
    ("resolution-ids", IGNORED, {1: {"payload": {"resolution_id": uuid(1, 9)}}}, {1: {"payload": {"resolution_id": uuid(2, 9)}}}, "identical"),
    ("execution-ids", IGNORED, {1: {"payload": {"execution_id": uuid(1, 9)}}}, {1: {"payload": {"execution_id": uuid(2, 9)}}}, "identical"),
    ("member-order", GRADED, {1: {"payload": {"a": 1, "b": 2}}}, {1: {"payload": {"b": 2, "a": 1}}}, "identical"),
    ("equal-numbers", GRADED, {1: {"payload": {"a": 1}}}, {1: {"payload": {"a": 1.0}}}, "identical"),
    ("duration", GRADED, {1: {"payload": {"duration_ms": 5}}}, {1: {"payload": {"duration_ms": 7}}}, "semantically_equivalent"),
    ("duration-and-result", GRADED, {1: {"payload": {"duration_ms": 5, "n": 1}}}, {1: {"payload": {"duration_ms": 7, "n": 2}}}, "different"),
    ("payload", GRADED, {}, {1: {"payload": {"action_id": "shop.sell", "n": 1}}}, "different"),
    ("payload-member-missing", GRADED, {}, {1: {"payload": {"action_id": "shop.buy"}}}, "different"),
    ("payload-null-is-not-missing", GRADED, {1: {"payload": {"a": None}}}, {1: {"payload": {}}}, "different"),
    ("payload-true-is-not-1", GRADED, {1: {"payload": {"a": True}}}, {1: {"payload": {"a": 1}}}, "different"),
    ("type", GRADED, {}, {1: {"event_type": "action.denied"}}, "different"),
    ("reason", GRADED, {1: {"payload": {"reason": "a"}}}, {1: {"payload": {"reason": "b"}}}, "different"),
]  # fmt: skip


def _diff() -> Group:
    group = Group("diff", "CRA-Full")

    def add(name: str, sentence: str, a: Any, b: Any, grade: str) -> None:
        group.add(name, sentence, "diff", {"a": a, "b": b}, {"grade": grade})

    for name, sentence, one, two, grade in DIFFS:
        add(name, sentence, chain(3, changed=one), chain(3, session=1, changed=two), grade)
    add("sessions", IGNORED, chain(3), chain(3, session=2), "identical")
    add("empty", GRADED, [], [], "identical")
    add("one-empty", GRADED, chain(1), [], "different")
    add("longer", GRADED, chain(3), chain(4), "different")
    swapped = chain(3)
    add("order", GRADED, swapped, [swapped[0], swapped[2], swapped[1]], "different")
    steps = [session(), resolve(), session(session="s2"), step("advance", seconds=5), resolve("r2", session="s2"),
             step("end"), step("advance", seconds=5), step("end", session="s2")]  # fmt: skip
    compared = [*steps, step("diff", "d", a="s", b="s2")]
    group.script("two-runs", GRADED, [SHOP], compared, {"d": {"grade": "semantically_equivalent"}})
    unlike = [
        session(),
        resolve(),
        session(session="s2"),
        resolve("r2", session="s2", goal="else"),
        step("diff", "d", a="s", b="s2"),
    ]
    group.script("two-goals", GRADED, [SHOP], unlike, {"d": {"grade": "different"}})
    return group
