"""Full CARP requests, group `requests`: who may ask, when, and how often. PROTOCOL: Requests."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import Group, atlas, error, outcome, policy, register, resolve, session, step, taken

SKEW = "`timestamp` within 300 s"
UNIQUE = "`request_id` unique per session (remembered for twice the skew"
SESSION = "the session exists, is active, belongs to `agent_id`"
OPERATIONS = "operation `resolve` only (`resolver.handle` serves all three; `validate` evaluates, spends nothing, records the request)"
SCHEMA = "validated against the schema"
EFFECTIVE = "the effective tier is the higher of both, the session's context keys win, atlas selections intersect"
SCOPES = "scopes come from the session alone"
EVENT = "`carp.request.received` (`request_id`, `operation`, `goal`"

NOW = "2026-01-01T12:00:00Z"
SHOP = atlas(["shop.buy"], [policy("allow"), policy("deny", "high", conditions={"risk_tiers": ["high"]})])
ALLOWED = outcome(["shop.buy"])
INVALID = error("INVALID_CARP_REQUEST", http_status=400, category="validation", recoverable=False)


def _id(number: int) -> str:
    return f"0192f3a1-7c4e-7d2a-9b01-{number:012x}"


def _request(number: int = 1, **fields: Any) -> Any:
    requester = {"agent_id": "agent", "session_id": taken("s/session_id"), **fields.pop("requester", {})}
    task = {"goal": "work", **fields.pop("task", {})}
    base = {"carp_version": "1.0", "request_id": _id(number), "timestamp": NOW, "operation": "resolve"}
    return {**base, "requester": requester, "task": task, **fields}


def _ask(name: str | None = "r", number: int = 1, do: str = "request", **fields: Any) -> Any:
    return step(do, name, document=_request(number, **fields))


OPEN = {**session(), "as": "s"}

# name, sentence, timestamp, whether it is accepted at 12:00:00
TIMES = [
    ("now", NOW, True),
    ("300-early", "2026-01-01T12:05:00Z", True),
    ("300-late", "2026-01-01T11:55:00Z", True),
    ("301-early", "2026-01-01T12:05:01Z", False),
    ("301-late", "2026-01-01T11:54:59Z", False),
    ("offset", "2026-01-01T14:00:00+02:00", True),
    ("offset-wrong", "2026-01-01T12:00:00+02:00", False),
    ("negative-offset", "2026-01-01T06:30:00-05:30", True),
    ("fraction", "2026-01-01T12:04:59.999999Z", True),
    ("fraction-over", "2026-01-01T12:05:00.000001Z", False),
    ("next-year", "2027-01-01T12:00:00Z", False),
]


def groups() -> list[Group]:
    group = Group("requests", "CARP-Core")

    def add(name: str, sentence: str, steps: list[Any], expected: Any, **more: Any) -> None:
        group.script(name, sentence, [SHOP], [OPEN, *steps], expected, **more)

    add("resolve", SCHEMA, [_ask()], {"r": {**ALLOWED, "request_id": _id(1), "carp_version": "1.0"}})
    for name, timestamp, fine in TIMES:
        add(f"time-{name}", SKEW, [_ask(timestamp=timestamp)], {"r": ALLOWED if fine else INVALID})
    add("invalid", SCHEMA, [_ask(task={"goal": ""})], {"r": INVALID})
    add("unknown-member", SCHEMA, [_ask(comment="x")], {"r": INVALID})
    add("repeated", UNIQUE, [_ask(None), _ask("again")], {"again": {"error": {}}})
    add("another-id", UNIQUE, [_ask("r"), _ask("again", 2)], {"r": ALLOWED, "again": ALLOWED})
    second = {**session(session="s2"), "as": "s2"}
    other = _ask("r", requester={"session_id": taken("s2/session_id")})
    add("repeated-in-another-session", UNIQUE, [second, _ask(None), other], {"r": ALLOWED})
    nearly = [_ask(None), step("advance", seconds=599), _ask("r", timestamp="2026-01-01T12:09:59Z")]
    add("remembered-for-twice-the-skew", UNIQUE, nearly, {"r": {"error": {}}})
    strange = _ask(requester={"session_id": _id(99)})
    add("unknown-session", SESSION, [strange], {"r": error("SESSION_NOT_FOUND", http_status=404)})
    add("ended-session", SESSION, [step("end"), _ask()], {"r": {"error": {}}})
    add("session-of-another-agent", SESSION, [_ask(requester={"agent_id": "other"})], {"r": {"error": {}}})
    add("upper-case-session", SESSION, [_ask(requester={"agent_id": "AGENT"})], {"r": {"error": {}}})
    add("resolve-does-not-validate", OPERATIONS, [_ask(operation="validate")], {"r": INVALID})
    execution = {"resolution_id": _id(5), "action_id": "shop.buy", "parameters": {}}
    add("resolve-does-not-execute", OPERATIONS, [_ask(operation="execute", execution=execution)], {"r": INVALID})
    add("handle-resolves", OPERATIONS, [_ask(do="handle")], {"r": ALLOWED})
    add("handle-validates", OPERATIONS, [_ask(do="handle", operation="validate")], {"r": ALLOWED})
    received = [{"event_type": "carp.request.received", "payload": {"operation": "validate"}}]
    trace = [_ask(do="handle", operation="validate"), step("trace", "t", types="carp.")]
    add("validate-records-the-request-alone", OPERATIONS, trace, {"t": {"events": received}})
    execution = {"resolution_id": taken("r/resolution_id"), "action_id": "shop.buy", "parameters": {"n": 1}}
    run = [register("shop.buy"), _ask(), _ask("x", 2, do="handle", operation="execute", execution=execution)]
    add("handle-executes", OPERATIONS, run, {"x": {"status": "success", "result": {"n": 1}}}, level="CRA-Full")
    add("tier-raised", EFFECTIVE, [_ask(task={"risk_tier": "high"})], {"r": outcome([], [("shop.buy", "high")])})
    add("atlas-ids", EFFECTIVE, [_ask(atlas_ids=["com.example.shop"])], {"r": ALLOWED})
    add("atlas-ids-unknown", EFFECTIVE, [_ask(atlas_ids=["com.example.none"])], {"r": error("ATLAS_NOT_FOUND")})
    guarded = atlas(["shop.buy"], [policy("allow"), policy("scope", "w", parameters={"required_scopes": ["w"]})])
    claims = {"scopes": ["w"], "required_scopes": ["w"]}
    refused = {"r": outcome([], [("shop.buy", "w")])}
    group.script("no-scopes-from-context", SCOPES, [guarded], [OPEN, _ask(context=claims)], refused)
    group.script("no-scopes-from-none", SCOPES, [guarded], [OPEN, _ask()], refused)
    group.script(
        "scopes-of-the-session", SCOPES, [guarded], [{**session(scopes=["w"]), "as": "s"}, _ask()], {"r": ALLOWED}
    )
    claimed = _ask(requester={"scopes": ["w"]})
    group.script("no-scopes-from-the-requester", SCOPES, [guarded], [OPEN, claimed], {"r": INVALID})
    add("answers-its-request", EVENT, [_ask(), step("trace", "t", types="carp.")],
        {"t": {"events": [{"payload": {"request_id": _id(1), "goal": "work"}}, {"payload": {"request_id": _id(1)}}]}})  # fmt: skip
    add("invalid-is-not-recorded", SCHEMA, [_ask(task={"goal": ""}), resolve(), step("trace", "t", types="carp.request")],
        {"t": {"events": [{"payload": {"goal": "work"}}]}})  # fmt: skip
    return [group]
