"""Event hashes with real digests, group `event-hash`. PROTOCOL: Event hash."""

from __future__ import annotations

from typing import Any

from conformance.tables.table import Group, error
from conformance.tables.trace import bare, digest, uuid

HASH = "SHA-256, lower-case hex, over the UTF-8 concatenation, without separators"
PARENT = "`parent_span_id` (empty when null)"
PARENT_ABSENT = "`parent_span_id` is null, absent or a UUID."
SEQUENCE = "`session_id`, `sequence` in decimal, `timestamp` exactly as it stands, `event_type`"
PAYLOAD = "canonical JSON of `payload`, `previous_event_hash`."
REFUSED = "NaN, infinities, lone surrogates, non-string keys, other types, and integers outside"
GRAMMAR = "a verifier first checks each field"

# name, sentence, fields, the payload's canonical JSON where it is not plain
HASHES: list[tuple[str, str, dict[str, Any], str | None]] = [
    ("first-event", HASH, {}, None),
    ("empty-payload", HASH, {"payload": {}}, None),
    ("event-id", HASH, {"event_id": uuid(7, 7)}, None),
    ("trace-id", HASH, {"trace_id": uuid(7, 7)}, None),
    ("span-id", HASH, {"span_id": uuid(7, 7)}, None),
    ("session-id", HASH, {"session_id": uuid(7, 7)}, None),
    ("uuid-of-another-version", HASH, {"event_id": "3e7773e9-80f5-4f0c-bdba-5aa8e7aaf5d2"}, None),
    ("parent-null", PARENT, {"parent_span_id": None}, None),
    ("parent", PARENT, {"parent_span_id": uuid(1, 2)}, None),
    ("sequence-1", SEQUENCE, {"sequence": 1}, None),
    ("sequence-10", SEQUENCE, {"sequence": 10}, None),
    ("sequence-1000000", SEQUENCE, {"sequence": 1_000_000}, None),
    ("sequence-beyond-doubles", SEQUENCE, {"sequence": 9_007_199_254_740_993}, None),
    ("timestamp", SEQUENCE, {"timestamp": "2025-02-28T23:59:59.999999Z"}, None),
    ("timestamp-zero-fraction", SEQUENCE, {"timestamp": "2025-02-28T23:59:59.000000Z"}, None),
    ("event-type", SEQUENCE, {"event_type": "carp.request.received"}, None),
    ("previous-hash", PAYLOAD, {"previous_event_hash": "ab" * 32}, None),
    (
        "payload-sorted",
        PAYLOAD,
        {"payload": {"b": 1, "a": {"d": [3, 1], "c": None}}},
        '{"a":{"c":null,"d":[3,1]},"b":1}',
    ),
    ("payload-booleans", PAYLOAD, {"payload": {"a": True, "b": False}}, '{"a":true,"b":false}'),
    (
        "payload-unicode",
        PAYLOAD,
        {"payload": {"goal": "Größe \u65e5\u672c \U0001f600"}},
        '{"goal":"Größe \u65e5\u672c \U0001f600"}',
    ),
    ("payload-escapes", PAYLOAD, {"payload": {"a": '"\\\n\u0001/'}}, '{"a":"\\"\\\\\\n\\u0001/"}'),
    ("payload-code-point-order", PAYLOAD, {"payload": {"\U0001f600": 1, "ﬀ": 2}}, '{"ﬀ":2,"\U0001f600":1}'),
    ("payload-float", PAYLOAD, {"payload": {"a": 1.5, "b": 0.1}}, '{"a":1.5,"b":0.1}'),
    ("payload-whole-float", PAYLOAD, {"payload": {"a": 2.0}}, '{"a":2}'),
    ("payload-negative-zero", PAYLOAD, {"payload": {"a": -0.0}}, '{"a":0}'),
    ("payload-large-float", PAYLOAD, {"payload": {"a": 1e21}}, '{"a":1000000000000000000000}'),
    ("payload-small-float", PAYLOAD, {"payload": {"a": 1e-7}}, '{"a":0.0000001}'),
    ("payload-largest-integer", PAYLOAD, {"payload": {"a": 2**64 - 1}}, '{"a":18446744073709551615}'),
    ("payload-that-looks-like-a-field", PAYLOAD, {"payload": {"previous_event_hash": "0" * 64}}, None),
]


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in bare().items() if key != name}


def groups() -> list[Group]:
    group = Group("event-hash", "TRACE-Core")
    for name, sentence, fields, text in HASHES:
        event = bare(**fields)
        group.add(name, sentence, "event_hash", {"event": event}, {"hash": digest(event, text)})
    first = {"hash": digest(bare())}
    backwards = dict(reversed(list(bare().items())))
    group.add("parent-absent", PARENT_ABSENT, "event_hash", {"event": _without("parent_span_id")}, first)
    group.add("members-in-another-order", HASH, "event_hash", {"event": backwards}, first)
    group.add("own-hash-is-not-hashed", HASH, "event_hash", {"event": {**bare(), "event_hash": "f" * 64}}, first)
    for name in ("event_id", "session_id", "sequence", "timestamp", "event_type", "payload", "previous_event_hash"):
        event = _without(name)
        group.add(f"refused-without-{name}", HASH, "event_hash", {"event": event}, error("INVALID_TRACE_EVENT"))
    for name, payload in (("surrogate", {"a": "\ud800"}), ("surrogate-key", {"\udfff": 1})):
        question = {"event": bare(payload=payload)}
        group.add(f"refused-{name}", REFUSED, "event_hash", question, error("INVALID_TRACE_EVENT"))
    return [group]
