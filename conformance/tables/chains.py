"""Chains of one session, group `verify-chain`: whole ones, broken ones, and events that are none. PROTOCOL: Verification."""

from __future__ import annotations

from typing import Any

from conformance.tables.table import Group
from conformance.tables.trace import GENESIS, bare, chain, digest, sealed, uuid

FIRST = (
    "the first bad event wins, and within it `malformed_event`, `session_mismatch`, `sequence_gap`, `invalid_genesis`"
)
RESULT = "with its index, the number of events given, and the hash of the event before (null at index 0)"
GRAMMAR = "UUIDs 8-4-4-4-12 lower-case hex of any version, the timestamp form in ASCII digits"
TYPES = "64 hex digits, version `1.0`, payload an object, no unknown or duplicate keys at any depth"
NO_OBJECT = "What is not such an object"
PARENT = "`parent_span_id` is null, absent or a UUID."
EMPTY = "An empty trace is valid with zero events."
BACKWARDS = "Timestamps that run backwards are a warning."
ANCHOR = "starts at, or must be reached by, the trace"
SHIFTED = "without it fields can be shifted into one another"
GENESIS_RULE = "Genesis previous hash: 64 zeros."
SEQUENCE = "`sequence` from 0 per session without gaps"

ABSENT = object()

# name, sentence, fields of the second of three events, which its hash then covers
MALFORMED: list[tuple[str, str, dict[str, Any]]] = [
    ("upper-case-uuid", GRAMMAR, {"event_id": uuid(1, 0x101).upper()}),
    ("uuid-without-hyphens", GRAMMAR, {"trace_id": uuid(1, 1).replace("-", "")}),
    ("uuid-in-braces", GRAMMAR, {"span_id": "{" + uuid(1, 3) + "}"}),
    ("short-uuid", GRAMMAR, {"span_id": uuid(1, 3)[:-1]}),
    ("uuid-with-a-newline", GRAMMAR, {"span_id": uuid(1, 3) + "\n"}),
    ("uuid-grouped-otherwise", GRAMMAR, {"event_id": "0192f3a17c4e-7d2a-9b01-0000-00000101"}),
    ("uuid-no-hex", GRAMMAR, {"event_id": "0192f3a1-7c4e-7d2a-9b01-00000000010g"}),
    ("session-upper-case", GRAMMAR, {"session_id": uuid(1, 0).upper()}),
    ("parent-empty", PARENT, {"parent_span_id": ""}),
    ("parent-no-uuid", PARENT, {"parent_span_id": "root"}),
    ("timestamp-without-fraction", GRAMMAR, {"timestamp": "2026-01-01T12:00:01Z"}),
    ("timestamp-milliseconds", GRAMMAR, {"timestamp": "2026-01-01T12:00:01.000Z"}),
    ("timestamp-nanoseconds", GRAMMAR, {"timestamp": "2026-01-01T12:00:01.000000001Z"}),
    ("timestamp-with-offset", GRAMMAR, {"timestamp": "2026-01-01T12:00:01.000000+00:00"}),
    ("timestamp-lower-case", GRAMMAR, {"timestamp": "2026-01-01t12:00:01.000000z"}),
    ("timestamp-with-a-space", GRAMMAR, {"timestamp": "2026-01-01 12:00:01.000000Z"}),
    ("timestamp-other-digits", GRAMMAR, {"timestamp": "2026-01-01T12:00:0\u0661.000000Z"}),
    ("timestamp-with-a-newline", GRAMMAR, {"timestamp": "2026-01-01T12:00:01.000000Z\n"}),
    ("timestamp-without-zone", GRAMMAR, {"timestamp": "2026-01-01T12:00:01.000000"}),
    ("type-upper-case", GRAMMAR, {"event_type": "Action.requested"}),
    ("type-of-one-word", GRAMMAR, {"event_type": "action"}),
    ("type-empty-word", GRAMMAR, {"event_type": "action..requested"}),
    ("type-ends-with-a-dot", GRAMMAR, {"event_type": "action.requested."}),
    ("type-begins-with-a-digit", GRAMMAR, {"event_type": "1action.requested"}),
    ("type-word-begins-with-a-digit", GRAMMAR, {"event_type": "action.1requested"}),
    ("type-with-a-hyphen", GRAMMAR, {"event_type": "action.re-quested"}),
    ("type-with-a-newline", GRAMMAR, {"event_type": "action.requested\n"}),
    ("type-accented", GRAMMAR, {"event_type": "action.requésted"}),
    ("previous-hash-upper-case", TYPES, {"previous_event_hash": "AB" * 32}),
    ("previous-hash-short", TYPES, {"previous_event_hash": "ab" * 31}),
    ("previous-hash-long", TYPES, {"previous_event_hash": "ab" * 33}),
    ("version", TYPES, {"trace_version": "1.1"}),
    ("version-short", TYPES, {"trace_version": "1"}),
]

# name, sentence, fields set (or taken away) after the event is hashed
MISSHAPEN: list[tuple[str, str, dict[str, Any]]] = [
    ("version-number", TYPES, {"trace_version": 1.0}),
    ("hash-upper-case", TYPES, {"event_hash": "AB" * 32}),
    ("hash-short", TYPES, {"event_hash": "ab" * 31}),
    ("hash-null", TYPES, {"event_hash": None}),
    ("payload-list", TYPES, {"payload": []}),
    ("payload-null", TYPES, {"payload": None}),
    ("payload-string", TYPES, {"payload": "{}"}),
    ("payload-lone-surrogate", NO_OBJECT, {"payload": {"a": "\ud800"}}),
    ("sequence-string", GRAMMAR, {"sequence": "1"}),
    ("sequence-negative", GRAMMAR, {"sequence": -1}),
    ("sequence-true", GRAMMAR, {"sequence": True}),
    ("sequence-null", GRAMMAR, {"sequence": None}),
    ("sequence-fraction", GRAMMAR, {"sequence": 1.5}),
    ("timestamp-number", GRAMMAR, {"timestamp": 1767268800}),
    ("event-id-number", GRAMMAR, {"event_id": 1}),
    ("unknown-key", TYPES, {"comment": "x"}),
    ("unknown-key-empty", TYPES, {"": None}),
    ("unknown-key-instead-of-the-parent", TYPES, {"parent_span_id": ABSENT, "parent": None}),
    *((f"without-{name}", GRAMMAR, {name: ABSENT}) for name in bare() | {"event_hash": ""} if name != "parent_span_id"),
]

# name, sentence, how the events are changed after sealing: index → fields; what is found: index and error
TAMPERED: list[tuple[str, str, dict[int, dict[str, Any]], int, str]] = [
    ("payload-changed", FIRST, {1: {"payload": {"action_id": "shop.sell", "n": 1}}}, 1, "hash_mismatch"),
    ("first-payload-changed", RESULT, {0: {"payload": {"agent_id": "other", "goal": "work"}}}, 0, "hash_mismatch"),
    ("last-payload-changed", RESULT, {3: {"payload": {}}}, 3, "hash_mismatch"),
    ("type-changed", FIRST, {2: {"event_type": "action.executed"}}, 2, "hash_mismatch"),
    ("time-changed", FIRST, {2: {"timestamp": "2026-01-01T12:00:00.000009Z"}}, 2, "hash_mismatch"),
    ("event-id-changed", FIRST, {2: {"event_id": uuid(9, 9)}}, 2, "hash_mismatch"),
    ("trace-id-changed", FIRST, {2: {"trace_id": uuid(9, 9)}}, 2, "hash_mismatch"),
    ("span-changed", FIRST, {2: {"span_id": uuid(9, 9)}}, 2, "hash_mismatch"),
    ("parent-taken-away", FIRST, {2: {"parent_span_id": None}}, 2, "hash_mismatch"),
    ("parent-added", FIRST, {0: {"parent_span_id": uuid(1, 9)}}, 0, "hash_mismatch"),
    ("hash-changed", FIRST, {1: {"event_hash": "ab" * 32}}, 1, "hash_mismatch"),
    ("previous-changed", FIRST, {2: {"previous_event_hash": "ab" * 32}}, 2, "chain_broken"),
    ("previous-is-genesis", FIRST, {2: {"previous_event_hash": GENESIS}}, 2, "chain_broken"),
    ("genesis-changed", GENESIS_RULE, {0: {"previous_event_hash": "ab" * 32}}, 0, "invalid_genesis"),
    ("session-changed", FIRST, {2: {"session_id": uuid(2, 0)}}, 2, "session_mismatch"),
    ("sequence-changed", SEQUENCE, {2: {"sequence": 7}}, 2, "sequence_gap"),
    ("sequence-repeated", SEQUENCE, {2: {"sequence": 1}}, 2, "sequence_gap"),
    ("first-sequence", SEQUENCE, {0: {"sequence": 1}}, 0, "sequence_gap"),
    ("malformed-before-session", FIRST, {2: {"event_type": "X", "session_id": uuid(2, 0)}}, 2, "malformed_event"),
    ("session-before-gap", FIRST, {2: {"session_id": uuid(2, 0), "sequence": 9}}, 2, "session_mismatch"),
    ("gap-before-chain", FIRST, {2: {"sequence": 9, "previous_event_hash": "ab" * 32}}, 2, "sequence_gap"),
    ("gap-before-genesis", FIRST, {0: {"sequence": 3, "previous_event_hash": "ab" * 32}}, 0, "sequence_gap"),
    ("genesis-before-hash", FIRST, {0: {"previous_event_hash": "ab" * 32, "payload": {}}}, 0, "invalid_genesis"),
    ("chain-before-hash", FIRST, {2: {"previous_event_hash": "ab" * 32, "payload": {}}}, 2, "chain_broken"),
    ("first-bad-event-wins", FIRST, {1: {"payload": {}}, 2: {"event_type": "X"}}, 1, "hash_mismatch"),
    ("first-bad-event-wins-again", FIRST, {1: {"event_type": "X"}, 2: {"session_id": uuid(2, 0)}}, 1, "malformed_event"),
]  # fmt: skip


def _good(events: list[Any], warnings: int = 0) -> dict[str, Any]:
    return {
        "valid": True,
        "event_count": len(events),
        "error_type": None,
        "error_index": None,
        "last_hash": events[-1]["event_hash"] if events else None,
        "warnings": warnings,
    }


def _bad(events: list[Any], index: int, error: str) -> dict[str, Any]:
    before = events[index - 1]["event_hash"] if index else None
    return {"valid": False, "event_count": len(events), "error_type": error, "error_index": index, "last_hash": before}


def _changed(event: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**event, **fields}.items() if value is not ABSENT}


def groups() -> list[Group]:
    group = Group("verify-chain", "TRACE-Core")

    def add(name: str, sentence: str, events: list[Any], expected: dict[str, Any], **more: Any) -> None:
        group.add(name, sentence, "verify_chain", {"events": events, **more}, expected)

    add("empty", EMPTY, [], _good([]))
    for length in (1, 2, 5):
        add(f"whole-{length}", FIRST, chain(length), _good(chain(length)))
    _add_whole(add)
    for name, sentence, fields in MALFORMED:
        events = chain(3)
        events[1] = sealed({**bare(1, previous_event_hash=events[0]["event_hash"]), **fields})
        add(f"malformed-{name}", sentence, events, _bad(events, 1, "malformed_event"))
    for name, sentence, fields in MISSHAPEN:
        events = chain(3)
        events[1] = _changed(events[1], fields)
        add(f"malformed-{name}", sentence, events, _bad(events, 1, "malformed_event"))
    for name, thing in (("null", None), ("number", 1), ("string", "event"), ("list", []), ("empty-object", {})):
        events = [*chain(2), thing]
        add(f"malformed-{name}", NO_OBJECT, events, _bad(events, 2, "malformed_event"))
    for name, sentence, changes, index, error in TAMPERED:
        events = [_changed(event, changes.get(number, {})) for number, event in enumerate(chain(4))]
        add(f"tampered-{name}", sentence, events, _bad(events, index, error))
    _add_rearranged(add)
    _add_shifted(add)
    _add_anchored(add)
    return [group]


def _add_whole(add: Any) -> None:
    events = chain(3)
    del events[0]["parent_span_id"]
    add("parent-absent", PARENT, events, _good(events))
    for name, sentence, fields in (
        ("nil-uuid", GRAMMAR, {"event_id": "00000000-0000-0000-0000-000000000000"}),
        ("uuid-of-version-4", GRAMMAR, {"event_id": "3e7773e9-80f5-4f0c-bdba-5aa8e7aaf5d2"}),
        ("type-with-underscores", GRAMMAR, {"event_type": "my_tool.did_it2.again"}),
        ("same-time", BACKWARDS, {"timestamp": "2026-01-01T12:00:00.000000Z"}),
        ("payload-nested", FIRST, {"payload": {"b": [{"z": None, "a": True}], "a": {}}}),
    ):
        events = chain(3, changed={1: fields})
        add(f"whole-{name}", sentence, events, _good(events))
    events = chain(3, changed={1: {"timestamp": "2026-01-01T11:59:59.999999Z"}})
    add("time-runs-backwards", BACKWARDS, events, _good(events, warnings=1))
    events = chain(2)
    events[1] = sealed(bare(1, previous_event_hash=events[0]["event_hash"], payload={"a": 1e21, "b": -0.0}),
                       '{"a":1000000000000000000000,"b":0}')  # fmt: skip
    add("whole-floats", FIRST, events, _good(events))


def _add_rearranged(add: Any) -> None:
    events = chain(4)
    swapped = [events[0], events[2], events[1], events[3]]
    add("swapped", SEQUENCE, swapped, _bad(swapped, 1, "sequence_gap"))
    cut = [events[0], *events[2:]]
    add("one-left-out", SEQUENCE, cut, _bad(cut, 1, "sequence_gap"))
    headless = events[1:]
    add("head-cut", SEQUENCE, headless, _bad(headless, 0, "sequence_gap"))
    add("tail-cut-shows-nothing", "a plain chain cannot show that its tail was cut", events[:2], _good(events[:2]))
    doubled = [*events[:2], events[1]]
    add("doubled", SEQUENCE, doubled, _bad(doubled, 2, "sequence_gap"))
    twins = [*events, *chain(2, session=2)]
    add("two-sessions", FIRST, twins, _bad(twins, 4, "session_mismatch"))
    rewritten = [events[0], sealed(bare(1, previous_event_hash=events[0]["event_hash"], payload={})), *events[2:]]
    add("one-rewritten", FIRST, rewritten, _bad(rewritten, 2, "chain_broken"))


def _add_shifted(add: Any) -> None:
    """Two events whose hashed text is the same: the grammar refuses the one whose fields are cut elsewhere."""
    events = chain(13)
    event = events[12]
    shifted = {**event, "sequence": 1, "timestamp": "2" + event["timestamp"]}
    assert digest(shifted) == event["event_hash"]
    add("shifted-sequence", SHIFTED, [*events[:12], shifted], _bad(events, 12, "malformed_event"))
    event = events[1]
    shifted = {
        **event,
        "event_type": event["event_type"][:-1],
        "timestamp": event["timestamp"] + event["event_type"][:1],
    }
    shifted["event_type"] = event["event_type"][1:]
    assert digest(shifted) == event["event_hash"]
    add("shifted-timestamp", SHIFTED, [events[0], shifted], _bad(events[:2], 1, "malformed_event"))
    shifted = {**event, "span_id": event["span_id"] + event["parent_span_id"], "parent_span_id": None}
    assert digest(shifted) == event["event_hash"]
    add("shifted-parent", SHIFTED, [events[0], shifted], _bad(events[:2], 1, "malformed_event"))
    shifted = {**event, "parent_span_id": event["parent_span_id"] + event["session_id"], "session_id": ""}
    assert digest(shifted) == event["event_hash"]
    add("shifted-session", SHIFTED, [events[0], shifted], _bad(events[:2], 1, "malformed_event"))


def _add_anchored(add: Any) -> None:
    events = chain(5)

    def anchor(index: int) -> list[Any]:
        return [events[index]["session_id"], index, events[index]["event_hash"]]

    add("anchor-reached", ANCHOR, events, _good(events), anchor=anchor(3))
    add("anchor-is-the-last", ANCHOR, events, _good(events), anchor=anchor(4))
    add("anchor-is-the-first", ANCHOR, events, _good(events), anchor=anchor(0))
    add("starts-at-the-anchor", ANCHOR, events[2:], _good(events[2:]), anchor=anchor(2))
    not_reached = {"valid": False, "event_count": 3}
    add("anchor-not-reached", ANCHOR, events[:3], not_reached, anchor=anchor(4))
    add("anchor-with-an-empty-trace", ANCHOR, [], {"valid": False, "event_count": 0}, anchor=anchor(2))
    other = [anchor(2)[0], 2, "ab" * 32]
    add("anchor-of-another-history", ANCHOR, events, {"valid": False, "event_count": 5, "error_index": 2}, anchor=other)
    stranger = [uuid(2, 0), 2, events[2]["event_hash"]]
    add("anchor-of-another-session", ANCHOR, events, {"valid": False, "event_count": 5}, anchor=stranger)
