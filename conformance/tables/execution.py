"""Execution, groups `execution` and `idempotency`: what runs, what is refused, and what the trace says. PROTOCOL: Execute."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from conformance.tables.table import (
    Group,
    atlas,
    error,
    execute,
    policy,
    rate,
    register,
    resolve,
    session,
    step,
    taken,
)

STEPS = "session and resolution (unexpired, of this session"
EXACTLY_ONE = (
    "Every execute ends in exactly one of `action.denied`, `approval.requested`, `action.executed`, `action.failed`"
)
UNKNOWN = 'a timeout or a result that cannot be hashed is `action.failed` with `effect: "unknown"`'
REGISTERED = "Only a registered executor runs: an action without one is an error, never a pretended success."
EVENTS = "Execute emits no `policy.evaluated`, but `action.requested` (with `parameters_hash`)"
THEN = "then `action.denied` (also for limits, with their reason) or `approval.requested`, or `action.approved` and `action.executed`"
HASHES = "Hashes of values are SHA-256 of their canonical JSON, or HMAC-SHA-256 where the runtime has a `hash_key`"
SCHEMA = "parameters against `parameters_schema` (2020-12"
RETURNS = "result against `returns_schema`"
COPY = "from here on a private deep copy"
KEY = "looked at after policy and approval"
SUCCESS_AGAIN = "Success: the stored result, nothing spent, event with `replayed: true`."
REFUSED = "Refused before the executor: the key stays free."
FAILED = "Failed or unknown: the stored error; a retry needs a new key."
CONFLICT = "Same key, other parameters: `Conflict`."
SCOPE = "scope session × action × key"
FORGETS = "an older id is `ResolutionExpired`"

ALLOW = policy("allow")
OK = {"status": "success"}
DENIED = error("ACTION_DENIED", category="authorization", http_status=403, recoverable=False)
BEGIN = [session(), register("shop.buy"), resolve()]
SHOP = atlas(["shop.buy"], [ALLOW])
TYPED = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}, "mail": {"type": "string", "format": "email"}},
    "required": ["n"],
    "additionalProperties": False,
}

# name, parameters, whether they satisfy TYPED
PARAMETERS: list[tuple[str, Any, bool]] = [
    ("fine", {"n": 1}, True),
    ("missing", {}, False),
    ("other-type", {"n": "1"}, False),
    ("true-is-no-integer", {"n": True}, False),
    ("whole-float-is-an-integer", {"n": 2.0}, True),
    ("fraction", {"n": 1.5}, False),
    ("too-small", {"n": 0}, False),
    ("unknown", {"n": 1, "m": 2}, False),
    ("null", {"n": None}, False),
    ("format", {"n": 1, "mail": "a@example.com"}, True),
    ("format-asserted", {"n": 1, "mail": "nobody"}, False),
]

# parameters, their canonical JSON
HASHED: list[tuple[str, Any, str]] = [
    ("none", None, "{}"),
    ("empty", {}, "{}"),
    ("sorted", {"b": 1, "a": [True, None]}, '{"a":[true,null],"b":1}'),
    ("unicode", {"name": "Größe \U0001f600"}, '{"name":"Größe \U0001f600"}'),
    ("floats", {"a": 1.0, "b": -0.0, "c": 1e21}, '{"a":1,"b":0,"c":1000000000000000000000}'),
]


def groups() -> list[Group]:
    return [_execution(), _idempotency()]


def _execution() -> Group:
    group = Group("execution", "CRA-Full")

    def add(name: str, sentence: str, steps: list[Any], expected: Any, manifest: Any = SHOP, **more: Any) -> None:
        group.script(name, sentence, [manifest], steps, expected, **more)

    run = execute("x", parameters={"n": 1})
    add("success", EXACTLY_ONE, [*BEGIN, run], {"x": {"status": "success", "result": {"n": 1}, "replayed": False}})
    for name, parameters, valid in PARAMETERS:
        manifest = atlas([{"action_id": "shop.buy", "parameters_schema": TYPED}], [ALLOW])
        expected = (
            OK if valid else error("INVALID_PARAMETERS", http_status=400, category="validation", recoverable=False)
        )
        steps = [*BEGIN, execute("x", parameters=parameters), step("calls", "calls", action_id="shop.buy")]
        add(f"parameters-{name}", SCHEMA, steps, {"x": expected, "calls": {"calls": int(valid)}}, manifest)
    returns = atlas([{"action_id": "shop.buy", "returns_schema": TYPED}], [ALLOW])
    add("result-fine", RETURNS, [*BEGIN, run], {"x": OK}, returns)
    wrong = [*BEGIN, execute("x", parameters={"n": 0}), step("trace", "t", types="action.f")]
    events = {"events": [{"event_type": "action.failed"}]}
    add("result-breaks-its-schema", RETURNS, wrong, {"x": error("SCHEMA_VALIDATION_ERROR"), "t": events}, returns)
    _add_refused(add)
    _add_events(add)
    for name, parameters, text in HASHED:
        steps = [*BEGIN, execute("x", parameters=parameters), step("trace", "t", types="action.requested")]
        digest = hashlib.sha256(text.encode()).hexdigest()
        add(f"hash-{name}", HASHES, steps, {"t": {"events": [{"payload": {"parameters_hash": digest}}]}})
    steps = [*BEGIN, run, step("trace", "t", types="action.executed")]
    digest = hmac.new(b"\x01\x02", b'{"n":1}', "sha256").hexdigest()
    add("hash-with-a-key", HASHES, steps, {"t": {"events": [{"payload": {"result_hash": digest}}]}},
        options={"hash_key": "0102"})  # fmt: skip
    return group


def _add_refused(add: Any) -> None:
    add("unregistered", REGISTERED, [session(), resolve(), execute("x")], {"x": {"error": {"category": "external"}}})
    add("unregistered-and-denied", REGISTERED, [session(), resolve(), execute("x")], {"x": DENIED}, atlas(["shop.buy"]))
    add("denied", EXACTLY_ONE, [*BEGIN, execute("x"), step("calls", "calls", action_id="shop.buy")],
        {"x": DENIED, "calls": {"calls": 0}}, atlas(["shop.buy"], [ALLOW, policy("deny")]))  # fmt: skip
    unknown = [*BEGIN, execute("x", "shop.fly")]
    add("unknown-action", "AtlasNotFound / SessionNotFound / ActionNotFound", unknown,
        {"x": error("ACTION_NOT_FOUND", http_status=404, category="not_found")})  # fmt: skip
    late = [*BEGIN, step("advance", seconds=60), execute("x")]
    expired = error("RESOLUTION_EXPIRED", http_status=410, category="expired", recoverable=True)
    add("resolution-expired", STEPS, late, {"x": expired}, options={"ttl_seconds": 60})
    early = [*BEGIN, step("advance", seconds=59.999), execute("x")]
    add("resolution-not-yet-expired", STEPS, early, {"x": OK}, options={"ttl_seconds": 60})
    forgotten = [*BEGIN, execute("x", resolution="0192f3a1-7c4e-7d2a-9b01-000000000001")]
    add("resolution-unknown", FORGETS, forgotten, {"x": expired})
    known, oldest = "By id, a session knows its last 1,024", execute("x", resolution=taken("r/resolution_id"))
    add("resolution-by-id", known, [*BEGIN, step("repeat", times=1023, steps=[resolve(None)]), oldest], {"x": OK})
    many = [*BEGIN, step("repeat", times=1024, steps=[resolve(None)])]
    add("resolution-by-id-forgotten", known, [*many, oldest], {"x": expired})
    proof = "A Resolution is its own proof (session, plan, expiry); nothing is registered for it."
    add("resolution-is-its-own-proof", proof, [*many, execute("x")], {"x": OK})
    foreign = [*BEGIN, session(session="s2"), resolve("r2", session="s2"), execute("x", resolution="r2")]
    add("resolution-of-another-session", STEPS, foreign, {"x": {"error": {}}})
    narrow = [session(), register("shop.buy"), resolve(required_capabilities=["selling"]), execute("x")]
    manifest = {**SHOP, "capabilities": [{"capability_id": "selling", "name": "Selling"}]}
    add("not-part-of-the-resolution", "it allowed the action, or held it and the grant has come since", narrow,
        {"x": DENIED}, manifest)  # fmt: skip
    ended = [*BEGIN, step("end"), execute("x")]
    over = error("SESSION_ALREADY_ENDED", http_status=409, category="conflict", recoverable=False)
    add("session-ended", STEPS, ended, {"x": over})
    add("session-ended-twice", STEPS, [session(), step("end"), step("end", "again")], {"again": over})
    gone = error("SESSION_EXPIRED", http_status=410, category="expired", recoverable=False)
    timing = "session idle timeout 3600 s, maximum life 86400 s"
    idle = [*BEGIN, step("advance", seconds=3601), resolve("late")]
    add("session-idle", timing, idle, {"late": gone})
    busy = [session(), *[s for _ in range(3) for s in (step("advance", seconds=3500), resolve("r"))]]
    add("session-not-idle", timing, busy, {"r": {"decision": {"type": "allow"}}})
    old = [session(), *[s for _ in range(25) for s in (step("advance", seconds=3500), resolve("r"))]]
    add("session-too-old", timing, old, {"r": gone})
    after = {"do": "load_atlas", "manifest": {**SHOP, "policies": [ALLOW, policy("deny", "new")]}, "replace": True}
    add("policies-again", "policies, evaluated again", [*BEGIN, after, execute("x")],
        {"x": error("ACTION_DENIED", policy_id="new")})  # fmt: skip
    replaced = {
        "do": "load_atlas",
        "manifest": {**SHOP, "policies": [ALLOW, policy("deny", "new", conditions={"risk_tiers": ["high"]})]},
        "replace": True,
    }
    risky = [session(), register("shop.buy"), resolve(risk_tier="high"), replaced, execute("x")]
    add(
        "policies-again-with-the-request",
        "policies, evaluated again",
        risky,
        {"x": error("ACTION_DENIED", policy_id="new")},
    )
    night = policy("deny", "night", conditions={"time_window": {"start": "12:30"}})
    add("policies-again-at-the-time", "policies, evaluated again", [*BEGIN, step("advance", seconds=1800), execute("x")],
        {"x": error("ACTION_DENIED", policy_id="night")}, atlas(["shop.buy"], [ALLOW, night]))  # fmt: skip


def _add_events(add: Any) -> None:
    def trace(*types: Any) -> Any:
        return {"t": {"events": [each if isinstance(each, dict) else {"event_type": each} for each in types]}}

    def ask(*steps: Any) -> list[Any]:
        return [*steps, step("trace", "t", types="a")]

    x = execute("x", parameters={"n": 1})
    done = {
        "event_type": "action.executed",
        "payload": {"action_id": "shop.buy", "result_hash": "$dynamic", "duration_ms": "$dynamic"},
    }
    add("events-success", THEN, ask(*BEGIN, x), trace("action.requested", "action.approved", done))
    failed = {"event_type": "action.failed", "payload": {"action_id": "shop.buy", "error_code": "$dynamic"}}
    raising = [session(), register("shop.buy", "raise"), resolve()]
    add("events-failure", THEN, ask(*raising, x),
        {**trace("action.requested", "action.approved", failed), "x": error("EXECUTION_ERROR", http_status=502, category="external")})  # fmt: skip
    unknown = {"event_type": "action.failed", "payload": {"effect": "unknown"}}
    odd = [session(), register("shop.buy", "unhashable"), resolve()]
    add(
        "events-unhashable-result",
        UNKNOWN,
        ask(*odd, x),
        {**trace("action.requested", "action.approved", unknown), "x": {"error": {}}},
    )
    slow = atlas([{"action_id": "shop.buy", "timeout_seconds": 1}], [ALLOW])
    hang = [session(), register("shop.buy", "hang", seconds=1.2), resolve()]
    add(
        "events-timeout",
        UNKNOWN,
        ask(*hang, x),
        {**trace("action.requested", "action.approved", unknown), "x": {"error": {}}},
        slow,
    )
    refused = {"event_type": "action.denied", "payload": {"action_id": "shop.buy", "reason": "No", "policy_id": "d"}}
    denying = atlas(["shop.buy"], [ALLOW, policy("deny", "d", reason="No")])
    add("events-denied", THEN, ask(*BEGIN, x), trace("action.requested", refused), denying)
    limited = {"event_type": "action.denied", "payload": {"reason": "rate_limit_exceeded"}}
    steps = ask(*BEGIN, execute("y"), execute("x"))
    three = ("action.requested", "action.approved", "action.executed")
    add("events-limited", THEN, steps, trace(*three, "action.requested", limited), atlas(["shop.buy"], [ALLOW, rate(1, 60)]))  # fmt: skip
    held = atlas(["shop.buy"], [ALLOW, policy("require_approval", "ask")])
    add("events-held", THEN, ask(*BEGIN, x), trace("action.requested", "approval.requested"), held)
    strict = atlas([{"action_id": "shop.buy", "parameters_schema": {"required": ["m"]}}], [ALLOW])
    add("events-bad-parameters", THEN, ask(*BEGIN, x), trace("action.requested", "action.denied"), strict)
    silent = [*BEGIN, x, step("trace", "t", types="policy.evaluated")]
    add("events-no-evaluation", EVENTS, silent, trace({"payload": {"action_id": "shop.buy"}}))
    add("events-chain", EXACTLY_ONE, [*BEGIN, x, execute("y", "shop.fly"), step("end"), step("verify", "v")],
        {"v": {"valid": True, "warnings": 0}})  # fmt: skip
    ended = {"event_type": "session.ended", "payload": {"reason": "completed", "duration_ms": 2000, "action_count": 1}}
    steps = [*BEGIN, x, step("advance", seconds=2), step("end"), step("trace", "t", types="session.ended")]
    add("events-end", "close with `session.ended` (`reason`, `duration_ms`, `action_count`)", steps, trace(ended))


def _idempotency() -> Group:
    group = Group("idempotency", "CRA-Full")

    def add(name: str, sentence: str, steps: list[Any], expected: Any, manifest: Any = SHOP) -> None:
        group.script(name, sentence, [manifest], steps, expected)

    def keyed(name: str, number: int = 1, key: str = "k", **more: Any) -> Any:
        return execute(name, parameters={"n": number}, idempotency_key=key, **more)

    count = step("calls", "calls", action_id="shop.buy")
    once, twice = {"calls": {"calls": 1}}, {"calls": {"calls": 2}}
    first = {"x": {"status": "success", "result": {"n": 1}, "replayed": False}}
    again = {"y": {"status": "success", "result": {"n": 1}, "replayed": True}}
    add("success", SUCCESS_AGAIN, [*BEGIN, keyed("x"), keyed("y"), count], {**first, **again, **once})
    limited = atlas(["shop.buy"], [ALLOW, rate(1, 60)])
    spent = [*BEGIN, keyed("x"), keyed("y", key="other"), count]
    add("another-key-spends", SUCCESS_AGAIN, spent, {"y": error("RATE_LIMIT_EXCEEDED"), **once}, limited)
    two = atlas(["shop.buy"], [ALLOW, rate(2, 60)])
    steps = [*BEGIN, keyed("x"), keyed("y"), keyed("z", key="other"), count]
    add("replayed-spends-nothing", SUCCESS_AGAIN, steps, {**again, "z": OK, **twice}, two)
    add("no-key", SCOPE, [*BEGIN, execute("x"), execute("y"), count], {"y": {"replayed": False}, **twice})
    add("other-parameters", CONFLICT, [*BEGIN, keyed("x"), keyed("y", 2), count],
        {"y": error("CONFLICT", http_status=409), **once})  # fmt: skip
    equal = [*BEGIN, keyed("x"), execute("y", parameters={"n": 1.0}, idempotency_key="k"), count]
    add("equal-parameters", CONFLICT, equal, {"y": {"replayed": True}, **once})
    actions = atlas(["shop.buy", "shop.sell"], [ALLOW])
    other = [*BEGIN, register("shop.sell"), keyed("x"), keyed("y", 2, action_id="shop.sell")]
    add("another-action", SCOPE, other, {"y": {"status": "success", "result": {"n": 2}, "replayed": False}}, actions)
    session_2 = [*BEGIN, keyed("x"), session(session="s2"), resolve("r2", session="s2"),
                 keyed("y", session="s2", resolution="r2"), count]  # fmt: skip
    add("another-session", SCOPE, session_2, {"y": {"replayed": False}, **twice})
    raising = [session(), register("shop.buy", "raise"), resolve(), keyed("x"), register("shop.buy"), keyed("y"), count]
    add("failure", FAILED, raising, {"x": error("EXECUTION_ERROR"), "y": error("EXECUTION_ERROR"), **once})
    add("failure-new-key", FAILED, [*raising, keyed("z", key="new")], {"z": OK})
    typed = atlas([{"action_id": "shop.buy", "parameters_schema": {"properties": {"n": {"maximum": 5}}}}], [ALLOW])
    add(
        "refused-parameters",
        REFUSED,
        [*BEGIN, keyed("x", 9), keyed("y", 2)],
        {"x": error("INVALID_PARAMETERS"), "y": OK},
        typed,
    )
    bare = [session(), resolve(), keyed("x"), register("shop.buy"), keyed("y", 2)]
    add("refused-without-executor", REFUSED, bare, {"x": {"error": {}}, "y": OK})
    full = [*BEGIN, execute(None), keyed("x"), step("advance", seconds=60), keyed("y", 2)]
    add("refused-by-a-limit", REFUSED, full, {"x": error("RATE_LIMIT_EXCEEDED"), "y": OK}, limited)
    closed = {"do": "load_atlas", "manifest": {**SHOP, "policies": [ALLOW, policy("deny")]}, "replace": True}
    add("after-policy", KEY, [*BEGIN, keyed("x"), closed, keyed("y")], {"y": DENIED})
    held = {
        "do": "load_atlas",
        "manifest": {**SHOP, "policies": [ALLOW, policy("require_approval", "a")]},
        "replace": True,
    }
    add("after-approval", KEY, [*BEGIN, keyed("x"), held, keyed("y")], {"y": error("ACTION_REQUIRES_APPROVAL")})
    events = [*BEGIN, keyed("x"), keyed("y"), step("trace", "t", types="action.executed")]
    replayed = {"events": [{"payload": {"replayed": "$absent"}}, {"payload": {"replayed": True}}]}
    add("event", SUCCESS_AGAIN, events, {"t": replayed})
    return group
