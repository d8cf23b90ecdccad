"""What a session leaves in its trace, groups `events` and `golden`. PROTOCOL: Events of a resolve, Event."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from conformance.tables.table import (
    ABSENT,
    DYNAMIC,
    Group,
    atlas,
    execute,
    policy,
    rate,
    register,
    resolve,
    session,
    step,
    taken,
)

STARTED = "Sessions open with `session.started` (`agent_id`, `goal`; the only event without a parent span)"
ORDER = "`carp.request.received` (`request_id`, `operation`, `goal`"
EVALUATED = "one `policy.evaluated` per action (`policy_id`, `result`, `action_id`; result `allow` | `deny` | `requires_approval` | `rate_limited`"
DEFAULT = "policy id `default` when nothing matched"
NOT_DEFAULT = "where not default also `atlas_ids`, `risk_tier`, `context_hints`, `required_capabilities`"
HASHED = "the context values that conditions read, hashed unless asked otherwise"
COMPLETED = "`carp.resolution.completed` (`resolution_id`, `request_id`, `decision_type`, `allowed_count`, `denied_count`, `context_block_count`, `ttl_seconds`"
DETAIL = '`trace_detail="decisions"` leaves out `allow` evaluations; default `"full"`.'
SHADOW = '`"mode": "shadow"` evaluates a policy, traces its result as `shadow:<result>`'
REDACT = "`redact=fn` runs before anything is recorded"
EVENT = "Timestamps UTC, six fractional digits, `Z`."
SEQUENCE = "`sequence` from 0 per session without gaps"
POLICY_SET = "`policy_set`: SHA-256 over atlas ids, versions, contents and the default decision"
LOADED = "`runtime.started` (version, process, host), `runtime.atlas_loaded` (id, version, SHA-256), `runtime.atlas_unloaded`"
RESOLUTION = "Fields in schema order; those without a value are left out, except the nulls of `decision`."
FIELDS = "**Event**: the fields of the schema in that order."
ALLOW = policy("allow")
TRACED = [session(), resolve(), step("trace", "t")]


def _events(*events: Any) -> Any:
    return {"t": {"events": list(events)}}


def _evaluated(action_id: str, result: str, policy_id: str) -> Any:
    return {
        "event_type": "policy.evaluated",
        "payload": {"action_id": action_id, "result": result, "policy_id": policy_id},
    }


def _received(**payload: Any) -> Any:
    return {"event_type": "carp.request.received", "payload": payload}


def groups() -> list[Group]:
    group = Group("events", "CRA-Minimal")

    def add(name: str, sentence: str, manifest: Any, steps: list[Any], expected: Any, **world: Any) -> None:
        group.script(name, sentence, [manifest], steps, expected, **world)

    shop = atlas(["shop.buy", "shop.sell"], [ALLOW, policy("deny", "no", ["shop.sell"])])
    started = {
        "event_type": "session.started",
        "payload": {"agent_id": "agent", "goal": "work"},
        "parent_span_id": None,
        "sequence": 0,
    }
    completed = {
        "decision_type": "partial",
        "allowed_count": 1,
        "denied_count": 1,
        "context_block_count": 0,
        "ttl_seconds": 3600,
    }
    whole = [
        started,
        _received(operation="resolve", goal="work", request_id={"$same": "q"}),
        _evaluated("shop.buy", "allow", "allow"),
        _evaluated("shop.sell", "deny", "no"),
        {"event_type": "carp.resolution.completed", "payload": {**completed, "request_id": {"$same": "q"}}},
    ]
    add("resolve", ORDER, shop, TRACED, _events(*whole))
    add("completed", COMPLETED, shop, [session(), resolve(), step("trace", "t", types="carp.resolution")],
        {"r": {"resolution_id": {"$same": "id"}}, **_events({"payload": {**completed, "resolution_id": {"$same": "id"}}})})  # fmt: skip
    spans = [{"parent_span_id": None}, *({"parent_span_id": {"$same": "p"}} for _ in range(4))]
    add("parent-spans", STARTED, shop, TRACED, _events(*spans))
    add("sequence", SEQUENCE, shop, TRACED, _events(*({"sequence": number} for number in range(5))))
    add("timestamps", EVENT, shop, [session(), step("advance", seconds=1.25), resolve(), step("trace", "t")],
        _events({"timestamp": "2026-01-01T12:00:00.000000Z"}, *({"timestamp": "2026-01-01T12:00:01.250000Z"} for _ in range(4))))  # fmt: skip
    add("clock-set-back", "timestamps of a session never decrease", shop,
        [session(), step("set_wall", time="2025-06-01T00:00:00Z"), resolve(), step("verify", "v")],
        {"v": {"valid": True, "warnings": 0, "event_count": 5}})  # fmt: skip
    add(
        "chain",
        "Event hash",
        shop,
        [*TRACED, step("end"), step("verify", "v")],
        {"v": {"valid": True, "event_count": 6}},
    )
    both = [session(), session(session="s2"), resolve(), resolve("r2", session="s2"), resolve(), step("verify", "v")]
    add("two-sessions", SEQUENCE, shop, [*both, step("verify", "v2", session="s2")],
        {"v": {"valid": True, "event_count": 9}, "v2": {"valid": True, "event_count": 5}})  # fmt: skip
    _add_evaluations(add, shop)
    _add_published(add)
    _add_inputs(add, shop)
    runtime = [step("trace", "t", session="runtime", types="runtime.")]
    loaded = {"event_type": "runtime.atlas_loaded", "payload": {"atlas_id": "com.example.shop", "version": "1.0.0"}}
    add("runtime", LOADED, shop, runtime, _events({"event_type": "runtime.started"}, loaded))
    unload = [step("unload_atlas", atlas_id="com.example.shop"), *runtime]
    unloaded = {"event_type": "runtime.atlas_unloaded", "payload": {"atlas_id": "com.example.shop"}}
    add("runtime-unloaded", LOADED, shop, unload, _events({"event_type": "runtime.started"}, loaded, unloaded))
    return [group, _golden()]


def _add_evaluations(add: Any, shop: Any) -> None:
    only = [session(), resolve(), step("trace", "t", types="policy.")]
    add("default", DEFAULT, atlas(["shop.buy"]), only, _events(_evaluated("shop.buy", "deny", "default")))
    add("default-allow", DEFAULT, atlas(["shop.buy"]), only, _events(_evaluated("shop.buy", "allow", "default")),
        options={"default_decision": "allow"})  # fmt: skip
    held = atlas(["shop.buy"], [ALLOW, policy("require_approval", "ask")])
    add("held", EVALUATED, held, only, _events(_evaluated("shop.buy", "requires_approval", "ask")))
    limited = atlas(["shop.buy"], [ALLOW, rate(1, 60)])
    spent = [
        session(),
        register("shop.buy"),
        resolve(),
        execute(None),
        resolve("again"),
        step("trace", "t", types="policy."),
    ]
    add("limited", EVALUATED, limited, spent,
        _events(_evaluated("shop.buy", "allow", "allow"), _evaluated("shop.buy", "rate_limited", "rate")))  # fmt: skip
    scope = atlas(["shop.buy"], [ALLOW, policy("scope", "s", parameters={"required_scopes": ["w"]})])
    add("scope", EVALUATED, scope, only, _events(_evaluated("shop.buy", "deny", "s")))
    refused = [{"event_type": "policy.evaluated", "payload": {"result": "deny"}}]
    add("decisions-only", DETAIL, shop, only, _events(*refused), options={"trace_detail": "decisions"})
    for kind, result in (("deny", "deny"), ("require_approval", "requires_approval")):
        shadowed = atlas(["shop.buy"], [ALLOW, policy(kind, "s", mode="shadow")])
        found = [_evaluated("shop.buy", "allow", "allow"), _evaluated("shop.buy", f"shadow:{result}", "s")]
        add(f"shadow-{kind}", SHADOW, shadowed, only, {"t": {"events": {"$contains": found}}, "r": {"decision": {"type": "allow"}}})  # fmt: skip
    narrowed = [session(), resolve(required_capabilities=["selling"]), step("trace", "t", types="policy.")]
    selling = {**shop, "capabilities": [{"capability_id": "selling", "name": "S", "actions": ["shop.sell"]}]}
    add("of-selected-actions-only", EVALUATED, selling, narrowed, _events(_evaluated("shop.sell", "deny", "no")))


def _add_published(add: Any) -> None:
    """Whatever a runtime publishes is what the schemas say."""
    over = {"properties": {"amount": {"type": "number", "minimum": 100}}, "required": ["amount"]}
    restrictions = [
        rate(5, 60, actions=["shop.buy"]),
        policy("require_approval", "ask", ["shop.sell"]),
        policy("deny", "cap", ["shop.buy"], conditions={"parameters": over}, reason="Too much"),
    ]
    own = {"action_id": "shop.get", "rate_limit": {"max_calls": 2, "window_seconds": 60}, "parameters_schema": over}
    blocks = [{"context_id": "help", "name": "Help", "content": "Read me"}]
    manifest = atlas(["shop.buy", "shop.sell", own], [ALLOW, *restrictions], context_blocks=blocks)
    begin = [session(), register("shop.buy"), resolve()]
    valid = {"v": {"valid": True}}
    check = step("validate", "v", schema="carp-resolution", document=taken("r"))
    add("resolution-is-as-published", RESOLUTION, manifest, [*begin, check], valid)
    add("denial-is-as-published", RESOLUTION, atlas(["shop.buy"]), [*begin, check], valid)
    run = [*begin, execute(None, "shop.buy"), execute("held", "shop.sell"), execute("bad", "shop.get"), step("end")]
    checks = [
        step("validate", f"v{index}", schema="trace-event", document=taken(f"t/events/{index}")) for index in range(15)
    ]
    everything = {"t": {"events": [DYNAMIC] * 15}} | {f"v{index}": {"valid": True} for index in range(15)}
    add("events-are-as-published", FIELDS, manifest, [*run, step("trace", "t"), *checks], everything)


def _add_inputs(add: Any, shop: Any) -> None:
    received = step("trace", "t", types="carp.request")
    plain = {
        "atlas_ids": ABSENT,
        "risk_tier": ABSENT,
        "context_hints": ABSENT,
        "required_capabilities": ABSENT,
        "condition_inputs": ABSENT,
    }
    add("request-defaults", NOT_DEFAULT, shop, [session(), resolve(), received], _events(_received(**plain)))
    asked: dict[str, Any] = {
        "atlas_ids": ["com.example.shop"],
        "risk_tier": "high",
        "context_hints": ["a"],
        "required_capabilities": ["b"],
    }
    add("request-others", NOT_DEFAULT, shop, [session(), resolve(**asked), received], _events(_received(**asked)))
    low = [session(), resolve(risk_tier="low", context_hints=[]), received]
    add("request-written-defaults", NOT_DEFAULT, shop, low, _events(_received(risk_tier=ABSENT, context_hints=ABSENT)))
    reading = atlas(["shop.buy"], [ALLOW, policy("deny", "d", conditions={"context_matches": {"env": "prod"}})])
    prod = hashlib.sha256(b'"prod"').hexdigest()
    given = [session(context={"env": "prod", "secret": "x"}), resolve(), received]
    inputs = {"condition_inputs": {"$exactly": {"env": prod}}}
    add("condition-inputs", HASHED, reading, given, _events(_received(**inputs)))
    absent = [session(context={"other": "prod"}), resolve(), received]
    add("condition-inputs-absent", HASHED, reading, absent, _events(_received(condition_inputs=ABSENT)))
    redacted = [session(), resolve(goal="secret"), received]
    add("redact", REDACT, shop, redacted, _events(_received(goal="redacted")), options={"redact": "goal"})
    same = {
        "t": {"events": [{"payload": {"policy_set": {"$same": "set"}}}, {"payload": {"policy_set": {"$same": "set"}}}]}
    }
    add(
        "policy-set-is-stable",
        POLICY_SET,
        shop,
        [session(), resolve(), resolve(goal="else"), step("trace", "t", types="carp.resolution")],
        same,
    )


def _golden() -> Group:
    """The published golden case, and its parts that no two runs share left open."""
    group = Group("golden", "CRA-Minimal")
    folder = Path(__file__).parents[2] / "tests" / "data" / "golden" / "simple-resolve"
    manifest = json.loads((folder / "atlas.json").read_text(encoding="utf-8"))
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    resolution = json.loads((folder / "expected-resolution.json").read_text(encoding="utf-8"))
    trace = [json.loads(line) for line in (folder / "expected-trace.jsonl").read_text(encoding="utf-8").splitlines()]
    del resolution["$comment"]
    for event in trace:  # the published golden trace contradicts its own request in these
        for name in ("goal", "agent_id"):
            event["payload"].pop(name, None)
    requester = request["requester"]
    steps = [
        {**session(agent_id=requester["agent_id"], goal=request["task"]["goal"]), "as": "s"},
        step("request", "r", document={**request, "requester": {**requester, "session_id": taken("s/session_id")}}),
        step("trace", "t"),
    ]
    sentence = "Golden comparison ignores what is `$dynamic`, keys that the golden does not have"
    now = request["timestamp"].replace(".000Z", "Z")
    group.script("simple-resolve-resolution", sentence, [manifest], steps, {"r": resolution}, now=now)
    group.script("simple-resolve-trace", sentence, [manifest], steps, _events(*trace), now=now)
    group.script("simple-resolve-chain", sentence, [manifest], [*steps, step("verify", "v")],
                 {"v": {"valid": True, "event_count": len(trace), "last_hash": DYNAMIC}}, now=now)  # fmt: skip
    return group
