"""Trace files, group `verify-file`: several sessions, lines that are none, and the other dialect. PROTOCOL: Verification."""

from __future__ import annotations

import json
from typing import Any

from conformance.tables.table import Group
from conformance.tables.trace import bare, chain, digest, uuid

GROUPED = "Files are grouped by session; the result holds one verification per session, and the first bad line"
NO_OBJECT = "broken JSON, `NaN`, a torn line"
DUPLICATES = "no unknown or duplicate keys at any depth"
EMPTY = "An empty trace is valid with zero events."
DIALECT = "the hashed timestamp ends in `+00:00` where the event says `Z`, 1–9 fractional digits, UUIDs of any version."
GRAMMAR = "the timestamp form in ASCII digits"


def _line(event: Any) -> str:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def _text(events: list[Any]) -> str:
    return "".join(_line(event) + "\n" for event in events)


def _session(events: list[Any], index: int | None = None, error: str | None = None) -> dict[str, Any]:
    return {"valid": error is None, "event_count": len(events), "error_type": error, "error_index": index}


def groups() -> list[Group]:
    group = Group("verify-file", "TRACE-Core")

    def add(name: str, sentence: str, text: str, expected: dict[str, Any], **more: Any) -> None:
        group.add(name, sentence, "verify_file", {"text": text, **more}, expected)

    one, two = chain(3), chain(2, session=2)
    ids = one[0]["session_id"], two[0]["session_id"]
    both = {ids[0]: _session(one), ids[1]: _session(two)}
    valid = {"valid": True, "error_type": None, "error_index": None}
    add("empty", EMPTY, "", {**valid, "event_count": 0, "sessions": {"$exactly": {}}})
    add("one-session", GROUPED, _text(one), {**valid, "event_count": 3, "sessions": {ids[0]: _session(one)}})
    add("two-sessions", GROUPED, _text(one + two), {**valid, "event_count": 5, "sessions": both})
    mixed = [one[0], two[0], one[1], two[1], one[2]]
    add("interleaved", GROUPED, _text(mixed), {**valid, "event_count": 5, "sessions": both})
    gap = [one[0], two[0], one[2], two[1]]
    sessions = {ids[0]: _session([0, 0], 1, "sequence_gap"), ids[1]: _session(two)}
    found = {"valid": False, "event_count": 4, "error_type": "sequence_gap", "error_index": 2, "sessions": sessions}
    add("one-session-broken", GROUPED, _text(gap), found)
    spoilt = [one[0], {**two[0], "payload": {}}, {**one[1], "payload": {}}]
    sessions = {ids[0]: _session([0, 0], 1, "hash_mismatch"), ids[1]: _session([0], 0, "hash_mismatch")}
    found = {"valid": False, "event_count": 3, "error_type": "hash_mismatch", "error_index": 1, "sessions": sessions}
    add("both-sessions-broken", GROUPED, _text(spoilt), found)
    add("non-ascii", GROUPED, _text(_non_ascii()), {**valid, "event_count": 1})
    _add_bad_lines(add)
    _add_dialect(add)
    return [group]


def _non_ascii() -> list[Any]:
    event = bare(payload={"agent_id": "agent", "goal": "Größe \u65e5\u672c \U0001f600 \u2028"})
    return [{**event, "event_hash": digest(event)}]


def _add_bad_lines(add: Any) -> None:
    events = chain(3)
    start = _text(events[:2])
    last = _line(events[2])

    def bad(name: str, sentence: str, line: str) -> None:
        found = {"valid": False, "event_count": 3, "error_type": "malformed_event", "error_index": 2}
        add(f"malformed-{name}", sentence, start + line, found)

    bad("torn", NO_OBJECT, last[: len(last) // 2])
    bad("torn-by-a-brace", NO_OBJECT, last[:-1] + "\n")
    bad("no-json", NO_OBJECT, "hello\n")
    bad("list", "What is not such an object", f"[{last}]\n")
    bad("two-objects", NO_OBJECT, f"{last} {last}\n")
    bad("nan", NO_OBJECT, last.replace('"n":2', '"n":NaN') + "\n")
    bad("infinity", NO_OBJECT, last.replace('"n":2', '"n":-Infinity') + "\n")
    bad("overflow", NO_OBJECT, last.replace('"n":2', '"n":1e999') + "\n")
    bad("duplicate-field", DUPLICATES, '{"sequence":2,' + last[1:] + "\n")
    bad("duplicate-in-the-payload", DUPLICATES, last.replace('"n":2', '"n":2,"n":2') + "\n")
    bad("duplicate-by-escape", DUPLICATES, last.replace('"n":2', '"n":2,"\\u006e":2') + "\n")
    deep = last.replace('"n":2', '"n":[{"a":1,"a":1}]')
    bad("duplicate-at-depth", DUPLICATES, deep + "\n")
    bad("lone-surrogate", "What is not such an object", last.replace('"n":2', '"n":"\\ud800"') + "\n")


def _add_dialect(add: Any) -> None:
    stamps = {0: {"timestamp": "2026-11-22T10:46:01.810657796Z"}, 1: {"timestamp": "2026-11-22T10:46:01.9Z"}}
    foreign = chain(2, changed=stamps, zone="+00:00")
    ours = chain(2)
    valid = {"valid": True, "event_count": 2, "error_type": None}
    add("dialect", DIALECT, _text(foreign), valid, dialect="cra-rust")
    six = chain(2, zone="+00:00")
    add("dialect-six-digits", DIALECT, _text(six), valid, dialect="cra-rust")
    random_ids = chain(1, changed={0: {"event_id": "3e7773e9-80f5-4f0c-bdba-5aa8e7aaf5d2"}}, zone="+00:00")
    add("dialect-any-uuid", DIALECT, _text(random_ids), {"valid": True}, dialect="cra-rust")
    wrong = {"valid": False, "error_type": "hash_mismatch", "error_index": 0}
    add("our-trace-in-the-dialect", DIALECT, _text(ours), wrong, dialect="cra-rust")
    add("six-digits-of-the-dialect-as-ours", DIALECT, _text(six), wrong)
    malformed = {"valid": False, "error_type": "malformed_event", "error_index": 0}
    add("the-dialect-as-ours", GRAMMAR, _text(foreign), malformed)
    ten = chain(1, changed={0: {"timestamp": "2026-11-22T10:46:01.8106577961Z"}}, zone="+00:00")
    add("dialect-ten-digits", DIALECT, _text(ten), malformed, dialect="cra-rust")
    none = chain(1, changed={0: {"timestamp": "2026-11-22T10:46:01Z"}}, zone="+00:00")
    add("dialect-no-digits", DIALECT, _text(none), malformed, dialect="cra-rust")
    add("session-id", GRAMMAR, _text(chain(1, session=7)), {"valid": True, "sessions": {uuid(7, 0): {"valid": True}}})
