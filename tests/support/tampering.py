"""Traces to verify, from intact to broken and forged; drawn from a `random.Random`, so that they repeat."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import UserDict
from typing import Any

from cra.errors import CRAError
from cra.reference import chain
from cra.reference.grammar import CRA_RUST, DIALECTS, FIELDS, TRACE_1_0, Dialect
from cra.testing.traces import make_trace
from cra.trace.event import Event
from cra.trace.jsonl import dump_line

CONTENTS = [
    ("session.started", {"agent_id": "bot", "goal": 'say "hi"\n'}),
    (
        "carp.request.received",
        {"request_id": "0190a3d4-1111-7000-8000-000000000001", "goal": "é€😀", "n": [1, 2.5, None]},
    ),
    ("policy.evaluated", {"policy_id": "p", "result": "allow", "action_id": "ticket.get"}),
    ("action.executed", {"cost": 0.25, "deep": {"a": [[], {}, [{"b": -0.0, "c": 1e21}]], "b": "\x01\x1f\x7f/"}}),
    ("session.ended", {"reason": "completed", "duration_ms": 12, "action_count": 0}),
]
EVENT = make_trace(CONTENTS[1:2])[0].to_dict()


VALUES = [
    None, "", 0, 7, -1, 2**63, 2**64, True, 1.0, {}, {"b": 1, "a": "é"}, {"x": float("nan")}, "a.b", "A.b", "0" * 64,
    EVENT["event_id"], EVENT["event_id"].upper(), "2020-01-01T00:00:00.000000Z", "2020-01-01T00:00:00.5Z",
    "2020-01-01T00:00:00.000000z", "２020-01-01T00:00:00.000000Z",
]  # fmt: skip
INSERTED = [b"", b"\n", b" ", b"\r", b"\0", b'"', b"\\", b"}", b",", b"\xc3", b"\xed\xa0\x80", b"0", b"-", b"[" * 200]

_LINE = re.compile(
    rb'\{"trace_version":"(.*?)","event_id":"(.*?)","trace_id":"(.*?)","span_id":"(.*?)","parent_span_id":(?:null|"(.*?)"),'
    rb'"session_id":"(.*?)","sequence":(.*?),"timestamp":"(.*?)","event_type":"(.*?)","payload":(.*),'
    rb'"event_hash":"(.{64})","previous_event_hash":"(.*?)"\}\s*',
    re.DOTALL,
)


def sealed(fields: dict[str, Any], dialect: Dialect = TRACE_1_0) -> dict[str, Any]:
    """The event with the hash that it should have, as a forger would make it."""
    try:
        return {**fields, "event_hash": chain._digest(fields, dialect)}
    except Exception:
        return fields


def tamper(events: list[dict[str, Any]], choose: random.Random) -> list[Any]:
    """Zero to two things done to a chain, sealed again or not."""
    events = list(events)
    for _ in range(choose.choice([0, 1, 1, 1, 2])):
        at = choose.randrange(len(events))
        kind = choose.randrange(7)
        if kind == 0:
            events[at : at + 1] = []
        elif kind == 1:
            events.insert(at, events[choose.randrange(len(events))])
        elif kind == 2:
            other = choose.randrange(len(events))
            events[at], events[other] = events[other], events[at]
        elif kind == 3:
            events[at] = choose.choice(
                [None, [], 1, {}, {"session_id": events[at]["session_id"]}, UserDict(events[at])]
            )
        else:
            name = choose.choice([*FIELDS, "unknown"])
            value = choose.choice(VALUES)
            events[at] = {**events[at], name: value}
            if kind == 4 and isinstance(events[at], dict):
                del events[at][name]
            if choose.random() < 0.5:
                events[at] = sealed(events[at], choose.choice(list(DIALECTS.values())))
        if not events or not all(isinstance(event, dict) for event in events):
            break
    return events


def rust(events: list[dict[str, Any]], choose: random.Random) -> list[dict[str, Any]]:
    """The same events as the other dialect has them: fractions of any length."""
    found = []
    previous = "0" * 64
    for event in events:
        digits = "".join(choose.choices("0123456789", k=choose.randint(1, 9)))
        timestamp = event["timestamp"][:20] + digits + "Z"
        found.append(sealed({**event, "timestamp": timestamp, "previous_event_hash": previous}, CRA_RUST))
        previous = found[-1]["event_hash"]
    return found


def objects(events: list[Any]) -> list[Any]:
    """As Event objects, where they can be."""
    return [
        Event(**{name: event.get(name) for name in FIELDS})
        if isinstance(event, dict) and set(event) <= set(FIELDS)
        else event
        for event in events
    ]


def as_written(event: dict[str, Any], choose: random.Random) -> bytes:
    """A line as somebody else might write it."""
    names = list(event)
    kind = choose.randrange(8)
    if kind == 0:
        choose.shuffle(names)
    if kind == 1 and event.get("parent_span_id") is None:
        names = [name for name in names if name != "parent_span_id"]
    separators = (", ", ": ") if kind == 2 else (",", ":")
    text = json.dumps(
        {name: event[name] for name in names}, ensure_ascii=kind == 3, separators=separators, sort_keys=kind == 4
    )
    if kind == 5:
        text = re.sub(r"(?<=[a-z])/|/", r"\\/", text)
    if kind == 6:
        text = text.replace("0.25", choose.choice(["0.250", "2.5e-1", "0.25E0", "0.25"])).replace(":12,", ":12.0,")
    return text.encode(errors="surrogatepass") + choose.choice([b"\n", b"\n", b"\n", b"\r\n", b" \n"])


def forge(line: bytes) -> bytes:
    """The line with the hash of its text as it stands, canonical or not: right only where nobody reads the text."""
    found = _LINE.fullmatch(line)
    if found is None:
        return line
    *hashed, _, previous = found.groups(b"")
    digest = hashlib.sha256(b"".join([*hashed, previous])).hexdigest().encode()
    return line[: found.start(11)] + digest + line[found.end(11) :]


def damage(data: bytes, choose: random.Random) -> bytes:
    """One thing that happens to files."""
    kind = choose.randrange(9)
    at = choose.randrange(len(data)) if data else 0
    if kind == 0:
        return data[:at] + bytes([choose.randrange(256)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes([data[at] ^ 1 << choose.randrange(8)]) + data[at + 1 :] if data else data
    if kind == 2:
        return data[:at] + choose.choice(INSERTED) + data[at:]
    if kind == 3:
        return data[:at] + data[at + choose.randint(1, 40) :]
    if kind == 4:
        return data[:at]
    parts = data.splitlines(keepends=True)
    choice = choose.randrange(len(parts)) if parts else 0
    if kind == 5:
        choose.shuffle(parts)
    elif kind == 6 and parts:
        parts.insert(choose.randrange(len(parts)), parts[choice])
    elif kind == 7 and parts:
        del parts[choice]
    return b"".join(parts)


def trace_file(choose: random.Random) -> bytes:
    """A trace of a few sessions, interleaved or not, in either dialect."""
    written = []
    for session in range(1, choose.randint(2, 5)):
        events = [event.to_dict() for event in make_trace(CONTENTS * choose.randint(1, 3), session=session)]
        if choose.random() < 0.2:
            events = rust(events, choose)
        if choose.random() < 0.3:
            events = tamper(events, choose)
        written.append([event for event in events if isinstance(event, dict)])
    if choose.random() < 0.5:
        rows = [session.pop(0) for session in choose.choices(written, k=40) if session]
    else:
        rows = [event for session in written for event in session]
    plain = choose.random() < 0.7
    return b"".join(as_line(event) if plain else as_written(event, choose) for event in rows)


def as_line(event: dict[str, Any]) -> bytes:
    """A line as the runtime writes it, or as it comes where it would not."""
    try:
        return dump_line(Event(**{name: event.get(name) for name in FIELDS}))
    except CRAError:
        return json.dumps(event).encode() + b"\n"
