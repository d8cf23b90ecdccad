"""Documents against the published schemas, groups `request-schema` and `trace-schema`. Schemas: carp-request, trace-event."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import ABSENT, Group
from conformance.tables.trace import bare, sealed, uuid

REQUEST = "carp-request.schema.json"
EVENT = "trace-event.schema.json"
ID = "0192f3a1-7c4e-7d2a-9b01-000000000001"

BASE: dict[str, Any] = {
    "carp_version": "1.0",
    "request_id": ID,
    "timestamp": "2026-01-01T12:00:00Z",
    "operation": "resolve",
    "requester": {"agent_id": "agent", "session_id": ID},
    "task": {"goal": "work"},
}
EXECUTION = {"resolution_id": ID, "action_id": "shop.buy", "parameters": {}}
T, R, X = "/$defs/Task/properties", "/$defs/Requester/properties", "/$defs/Execution/properties"

# name, place, keyword, fields (dotted names reach into members), whether it is valid
REQUESTS: list[tuple[str, str, str, dict[str, Any], bool]] = [
    ("minimal", "", "required", {}, True),
    *((f"without-{name}", "", "required", {name: ABSENT}, False) for name in BASE),
    ("unknown-member", "", "additionalProperties", {"comment": "x"}, False),
    ("version", "/properties/carp_version", "const", {"carp_version": "1.1"}, False),
    ("version-number", "/properties/carp_version", "type", {"carp_version": 1.0}, False),
    ("request-id", "/properties/request_id", "format", {"request_id": "request-1"}, False),
    ("request-id-short", "/properties/request_id", "format", {"request_id": ID[:-1]}, False),
    ("request-id-null", "/properties/request_id", "type", {"request_id": None}, False),
    ("timestamp-word", "/properties/timestamp", "format", {"timestamp": "now"}, False),
    ("timestamp-without-zone", "/properties/timestamp", "format", {"timestamp": "2026-01-01T12:00:00"}, False),
    ("timestamp-date", "/properties/timestamp", "format", {"timestamp": "2026-01-01"}, False),
    ("timestamp-month", "/properties/timestamp", "format", {"timestamp": "2026-13-01T12:00:00Z"}, False),
    ("timestamp-day", "/properties/timestamp", "format", {"timestamp": "2026-02-30T12:00:00Z"}, False),
    ("timestamp-offset", "/properties/timestamp", "format", {"timestamp": "2026-01-01T14:00:00+02:00"}, True),
    ("timestamp-fraction", "/properties/timestamp", "format", {"timestamp": "2026-01-01T12:00:00.123Z"}, True),
    ("timestamp-number", "/properties/timestamp", "type", {"timestamp": 1767268800}, False),
    ("operation-validate", "/properties/operation", "enum", {"operation": "validate"}, True),
    ("operation-unknown", "/properties/operation", "enum", {"operation": "delete"}, False),
    ("operation-upper-case", "/properties/operation", "enum", {"operation": "Resolve"}, False),
    ("execute-without-execution", "/allOf", "then", {"operation": "execute"}, False),
    ("execute", "/allOf", "then", {"operation": "execute", "execution": EXECUTION}, True),
    ("agent-empty", f"{R}/agent_id", "minLength", {"requester.agent_id": ""}, False),
    ("agent-255", f"{R}/agent_id", "maxLength", {"requester.agent_id": "a" * 255}, True),
    ("agent-256", f"{R}/agent_id", "maxLength", {"requester.agent_id": "a" * 256}, False),
    ("agent-255-characters", f"{R}/agent_id", "maxLength", {"requester.agent_id": "\U0001f600" * 255}, True),
    ("agent-missing", "/$defs/Requester", "required", {"requester.agent_id": ABSENT}, False),
    ("session-missing", "/$defs/Requester", "required", {"requester.session_id": ABSENT}, False),
    ("session-no-uuid", f"{R}/session_id", "format", {"requester.session_id": "s"}, False),
    ("parent-null", f"{R}/parent_session_id", "type", {"requester.parent_session_id": None}, True),
    ("parent-no-uuid", f"{R}/parent_session_id", "format", {"requester.parent_session_id": "s"}, False),
    ("requester-unknown-member", "/$defs/Requester", "additionalProperties", {"requester.role": "x"}, False),
    ("goal-missing", "/$defs/Task", "required", {"task.goal": ABSENT}, False),
    ("goal-empty", f"{T}/goal", "minLength", {"task.goal": ""}, False),
    ("goal-10000", f"{T}/goal", "maxLength", {"task.goal": "g" * 10_000}, True),
    ("goal-10001", f"{T}/goal", "maxLength", {"task.goal": "g" * 10_001}, False),
    ("goal-number", f"{T}/goal", "type", {"task.goal": 1}, False),
    ("tier", f"{T}/risk_tier", "enum", {"task.risk_tier": "critical"}, True),
    ("tier-unknown", f"{T}/risk_tier", "enum", {"task.risk_tier": "extreme"}, False),
    ("tier-null", f"{T}/risk_tier", "type", {"task.risk_tier": None}, False),
    ("hints", f"{T}/context_hints", "type", {"task.context_hints": ["a", ""]}, True),
    ("hints-string", f"{T}/context_hints", "type", {"task.context_hints": "a"}, False),
    ("hints-of-numbers", f"{T}/context_hints/items", "type", {"task.context_hints": [1]}, False),
    ("capabilities-string", f"{T}/required_capabilities", "type", {"task.required_capabilities": "a"}, False),
    ("task-unknown-member", "/$defs/Task", "additionalProperties", {"task.priority": 1}, False),
    ("atlas-ids", "/properties/atlas_ids/items", "pattern", {"atlas_ids": ["com.example.my-shop"]}, True),
    ("atlas-ids-one-part", "/properties/atlas_ids/items", "pattern", {"atlas_ids": ["shop"]}, False),
    ("atlas-ids-newline", "/properties/atlas_ids/items", "pattern", {"atlas_ids": ["com.example\n"]}, False),
    ("atlas-ids-string", "/properties/atlas_ids", "type", {"atlas_ids": "com.example"}, False),
    ("context", "/properties/context", "additionalProperties", {"context": {"any": [1, {"b": None}]}}, True),
    ("context-list", "/properties/context", "type", {"context": []}, False),
    ("execution-without-action", "/$defs/Execution", "required", {"execution": {"resolution_id": ID, "parameters": {}}}, False),
    ("execution-without-parameters", "/$defs/Execution", "required", {"execution": {"resolution_id": ID, "action_id": "a.b"}}, False),
    ("execution-action-id", f"{X}/action_id", "pattern", {"execution": {**EXECUTION, "action_id": "a b"}}, False),
    ("execution-action-underscore", f"{X}/action_id", "pattern", {"execution": {**EXECUTION, "action_id": "edit_event"}}, True),
    ("execution-parameters-list", f"{X}/parameters", "type", {"execution": {**EXECUTION, "parameters": []}}, False),
    ("execution-key-null", f"{X}/idempotency_key", "type", {"execution": {**EXECUTION, "idempotency_key": None}}, True),
    ("execution-key-255", f"{X}/idempotency_key", "maxLength", {"execution": {**EXECUTION, "idempotency_key": "k" * 255}}, True),
    ("execution-key-256", f"{X}/idempotency_key", "maxLength", {"execution": {**EXECUTION, "idempotency_key": "k" * 256}}, False),
    ("execution-unknown-member", "/$defs/Execution", "additionalProperties", {"execution": {**EXECUTION, "force": True}}, False),
]  # fmt: skip

NAMES = (
    "session.started", "session.ended", "carp.request.received", "carp.resolution.completed", "action.requested",
    "action.approved", "action.denied", "action.executed", "action.failed", "policy.evaluated", "context.injected",
    "context.redacted", "approval.requested", "approval.granted", "approval.rejected", "approval.expired",
)  # fmt: skip
RUNTIME = ("started", "atlas_loaded", "atlas_unloaded", "heartbeat", "recovered", "lost")

# name, place, keyword, fields, whether it is valid
EVENTS: list[tuple[str, str, str, dict[str, Any], bool]] = [
    ("first", "", "required", {}, True),
    *((f"without-{name}", "", "required", {name: ABSENT}, name == "parent_span_id") for name in sealed(bare())),
    ("unknown-member", "", "additionalProperties", {"comment": "x"}, False),
    ("parent", "/properties/parent_span_id", "format", {"parent_span_id": uuid(1, 2)}, True),
    ("sequence-negative", "/properties/sequence", "minimum", {"sequence": -1}, False),
    ("sequence-string", "/properties/sequence", "type", {"sequence": "0"}, False),
    ("type-unknown", "/$defs/EventType", "enum", {"event_type": "session.paused"}, False),
    ("payload-list", "/properties/payload", "type", {"payload": []}, False),
    ("hash-upper-case", "/properties/event_hash", "pattern", {"event_hash": "AB" * 32}, False),
    ("hash-short", "/properties/event_hash", "pattern", {"event_hash": "ab" * 31}, False),
    ("version", "/properties/trace_version", "const", {"trace_version": "2.0"}, False),
]


def _changed(base: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    document = {name: dict(value) if isinstance(value, dict) else value for name, value in base.items()}
    for name, value in fields.items():
        outer, _, inner = name.partition(".")
        target, key = (document[outer], inner) if inner else (document, outer)
        if value is ABSENT:
            del target[key]
        else:
            target[key] = value
    return document


def groups() -> list[Group]:
    requests = Group("request-schema", "CARP-Core")
    for name, place, keyword, fields, valid in REQUESTS:
        question = {"schema": "carp-request", "document": _changed(BASE, fields)}
        requests.add(name, keyword, "validate", question, {"valid": valid}, section=f"{REQUEST}#{place}")
    events = Group("trace-schema", "TRACE-Core")
    first = sealed(bare())
    for name, place, keyword, fields, valid in EVENTS:
        question = {"schema": "trace-event", "document": _changed(first, fields)}
        events.add(name, keyword, "validate", question, {"valid": valid}, section=f"{EVENT}#{place}")
    for name in NAMES:
        question = {"schema": "trace-event", "document": {**first, "event_type": name}}
        events.add(f"type-{name}", "enum", "validate", question, {"valid": True}, section=f"{EVENT}#/$defs/EventType")
    for name in RUNTIME:
        question = {"schema": "trace-event", "document": {**first, "event_type": f"runtime.{name}"}}
        events.add(f"type-runtime.{name}", "The strict schema check knows these names.", "validate", question,
                   {"valid": True})  # fmt: skip
    return [requests, events]
