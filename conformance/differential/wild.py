"""The wild generator: any JSON at every door, one operation a case. Half of it is something valid with a few parts changed, since
what is wrong everywhere is refused at the first look."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any, Final

from conformance.differential import atlases, values
from conformance.differential.episode import Episode, Generator, Operation
from conformance.tables.trace import bare, chain, plain, sealed, uuid


def _canonical(rng: Random) -> Operation:
    operation: Operation = {"do": "canonical", "value": values.value(rng, rng.randrange(6), oddities=True)}
    if rng.random() < 0.1:
        operation["bounds"] = [rng.randrange(5), rng.choice(("", "/payload", "/a~1b"))]
    return operation


def _plain_copy(rng: Random) -> Operation:
    return {
        "do": "plain_copy",
        "value": values.value(rng, rng.randrange(5), oddities=True),
        "at": rng.choice(("", "/x")),
    }


def _event(rng: Random) -> dict[str, Any]:
    """A sealed event, perhaps with fields that were changed afterwards."""
    event = sealed(bare(rng.randrange(3), payload=_payload(rng)))
    return values.mutated(rng, event, rng.randrange(1, 3)) if rng.random() < 0.6 else event


def _payload(rng: Random) -> dict[str, Any]:
    return {
        "n": rng.randrange(10**6),
        "é\n": values.text(rng).encode(errors="replace").decode(),
        "ok": [True, None, {}],
    }


def _event_hash(rng: Random) -> Operation:
    return {"do": "event_hash", "event": _event(rng) if rng.random() < 0.9 else values.value(rng)}


def _seal(rng: Random) -> Operation:
    fields = bare(rng.randrange(3), payload=values.mapping(rng, 3, oddities=True))
    del fields["trace_version"]
    return {"do": "seal", "fields": fields}


def _events(rng: Random) -> list[Any]:
    """A chain of a session, perhaps two of them shuffled, perhaps with something wrong."""
    zone = "+00:00" if rng.random() < 0.2 else "Z"
    changed = {
        rng.randrange(5): rng.choice(
            (
                {"previous_event_hash": "a" * 64},
                {"payload": _payload(rng)},
                {"payload": {"x": rng.randrange(10**20), "y": "\U0001f600"}},
                {"timestamp": "2026-01-01T11:59:59.000000Z"},
                {"timestamp": "2026-01-01T12:00:00.123456789Z"},
                {"timestamp": "2026-01-01T12:00:00Z"},
                {"timestamp": "2026-13-41T25:61:61.000000Z"},
                {"event_type": "a.b_c.d9"},
                {"parent_span_id": None},
                {"session_id": uuid(2, 0)},
                {"sequence": 7},
            )
        )
        for _ in range(rng.randrange(3))
    }
    events = chain(rng.randrange(1, 6), rng.randrange(1, 3), changed, zone)
    turn = rng.randrange(8)
    if turn < 3:
        events = values.mutated(rng, events, rng.randrange(1, 3))
    elif turn == 3:
        rng.shuffle(events)
    elif turn == 4:
        events = events[rng.randrange(2) :] + chain(rng.randrange(3), 2)
    return events if isinstance(events, list) else [events]


def _verify_chain(rng: Random) -> Operation:
    events = _events(rng)
    operation: Operation = {"do": "verify_chain", "events": events}
    if rng.random() < 0.3:
        one = rng.choice(events) if events else None
        if isinstance(one, dict):
            anchor = [one.get("session_id"), one.get("sequence"), one.get("event_hash")]
            operation["anchor"] = values.mutated(rng, anchor) if rng.random() < 0.3 else anchor
    return operation


def _line(rng: Random, event: Any) -> bytes:
    """An event as a line; now and then as nobody should write one."""
    turn = rng.randrange(12)
    if turn < 8:
        return plain_line(event)
    if turn == 8:
        return json.dumps(event).encode(errors="replace") + b"\n"
    if turn == 9:
        return json.dumps(event, sort_keys=True, separators=(",", ":")).encode(errors="replace") + b"\r\n"
    line = bytearray(plain_line(event))
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(line) + 1)
        line[place : place + rng.randrange(3)] = rng.choice(_SNIPPETS)
    return bytes(line)


_SNIPPETS: Final = (
    b"", b"0", b"-", b"e5", b".5", b'"', b"\\", b"\\u0041", b"\\ud800", b"\\ud83d\\ude00", b",", b"{", b"}", b"[[[", b"\n", b"\r",
    b" ", b"\x00", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"NaN", b"null", b"true", b'"a":1,',
    b'"n":1,"n":2,',
    b"18446744073709551615", b"18446744073709551616", b"1e400", b"-0", b"1.0", b"0.1", b"\xef\xbb\xbf", b"A", b"g",
)  # fmt: skip


def plain_line(event: Any) -> bytes:
    """The line that a runtime writes for an event, as far as `plain` is enough for its payload."""
    if isinstance(event, dict):
        members = [
            f"{json.dumps(name)}:{plain(member) if name == 'payload' else json.dumps(member, ensure_ascii=False)}"
            for name, member in event.items()
        ]
        return ("{" + ",".join(members) + "}\n").encode(errors="replace")
    return (json.dumps(event, ensure_ascii=False) + "\n").encode(errors="replace")


def _verify_file(rng: Random) -> Operation:
    lines = [_line(rng, event) for event in _events(rng)]
    if rng.random() < 0.2:
        other = chain(rng.randrange(1, 5), 3)
        for event in other:  # interleaved, each chain in its order
            lines.insert(rng.randrange(len(lines) + 1) if len(other) == 1 else len(lines), plain_line(event))
    data = b"".join(lines)
    if rng.random() < 0.1:
        data = data[: rng.randrange(len(data) + 1)]
    return {"do": "verify_file", "data": data.hex(), "dialect": rng.choice(("trace-1.0",) * 4 + ("cra-rust", "none"))}


def _glob(rng: Random) -> Operation:
    pattern = "".join(
        rng.choices(("*", "*", "?", "a", "b", "B", ".", "é", "😀", "[", "\\", "\x00", "ab"), k=rng.randrange(9))
    )
    texts = ["".join(rng.choices("aab.bBAé😀[\\\x00", k=rng.randrange(12))) for _ in range(3)]
    texts.append(pattern.replace("*", rng.choice(("", "a.b", "é"))).replace("?", "b"))
    return {"do": "glob", "pattern": pattern if rng.random() < 0.9 else values.text(rng), "texts": texts}


def _keywords(rng: Random) -> Operation:
    alphabet = rng.choice(("ab", "abcde ", "aßsſS", "éıİiI", "😀a語"))
    words = ["".join(rng.choices(alphabet, k=rng.randrange(1, 5))).casefold() for _ in range(rng.randrange(12))]
    goals = ["".join(rng.choices(alphabet + "xS", k=rng.randrange(30))) for _ in range(4)]
    listed = [[word, rng.randrange(8)] for word in words]
    if rng.random() < 0.02:
        listed.append(["", 1])
    return {"do": "keywords", "words": listed, "goals": [*goals, goals[0], rng.choice((" ", "x")).join(words)]}


def _windows(rng: Random) -> Operation:
    limits = [
        rng.choice(
            (
                ["rate_limit", str(rng.randrange(1, 4)), rng.choice((10, 100))],
                ["budget", rng.choice(("1", "0", "1/10", "3/2", "10000000000000000000000")), rng.choice((10, None))],
            )
        )
        for _ in range(4)
    ]
    now, steps = 0, []
    for _ in range(rng.randrange(2, 25)):
        now += rng.choice((0, 0, 1, 5, 9, 10, 11, -3, 100))
        turn = rng.randrange(8)
        if turn < 4:
            charges = []
            for _ in range(rng.randrange(1, 4)):
                index = rng.randrange(4)
                cost = (
                    "1"
                    if limits[index][0] == "rate_limit"
                    else rng.choice(("0", "1/10", "1", "1/3", "99999999999999999999"))
                )
                charges.append(["abcd"[index], index, cost, rng.random() < 0.8])
            steps.append(["reserve", now, charges])
        elif turn == 4:
            index = rng.randrange(4)
            steps.append(["peek", now, "abcd"[index], index, rng.choice((None, "1", "1/10", "0"))])
        elif turn == 5:
            steps.append(["states", now])
        elif turn == 6:
            steps.append(["release", now, rng.randrange(9)])
        else:
            steps.append(["forget", now, rng.choice((["a"], ["b", "c"], ["nobody"], []))])
    return {"do": "windows", "limits": limits, "steps": steps, "most": rng.choice((2, 5, 100_000))}


def _expand(rng: Random) -> Operation:
    return {"do": "expand", "records": [record.hex() for record in records(rng)]}


def records(rng: Random) -> list[bytes]:
    """Records as docs/formats describes them: a session, templates, resolves, an end; some bytes changed or cut off."""
    session, time_ns = rng.randrange(1, 3), 1_767_268_800 * 10**9
    made: list[bytes] = []
    for number in range(rng.randrange(1, 8)):
        time_ns += rng.choice((0, 1, 1000, 10**9, -(10**9)))
        base = rng.getrandbits(128) & ~0xFFFF
        turn = 0 if number == 0 else rng.randrange(6)
        if turn < 2:
            kinds = rng.choice((("session.started",), ("action.requested", "action.denied"), ("session.ended",), ()))
            defines = number == 0 or rng.random() < 0.1
            span = rng.random() < 0.3
            record = struct.pack(
                "<BBHQq16s", 1, defines + 2 * span, len(kinds), session, time_ns, base.to_bytes(16, "big")
            )
            record += rng.randbytes(48) if defines else b""
            record += rng.randbytes(16) if span else b""
            for kind in kinds:
                payload = rng.choice(("{}", '{"é":"😀"}', '{"n":1}')).encode()
                record += struct.pack("<HI", len(kind), len(payload)) + kind.encode() + payload
        elif turn == 2:
            decision = rng.choice((b"allow", b"partial"))
            numbers = (number % 2, 1, 3, 1, 3600)
            record = struct.pack("<BxHIIIII32sI", 3, 1, *numbers, rng.randbytes(32), len(decision)) + decision
            for part in (b'{"policy_id":"p"}', b'{"block_id":"b"}', b'{"block_id":"b"}'):
                record += struct.pack("<I", len(part)) + part
        elif turn == 5:
            record = struct.pack("<BxxxI", 4, rng.randrange(2))
        else:
            flags, goal = rng.randrange(4), rng.choice(("go", 'é\n"', "😀", "")).encode()
            if flags & 1:
                goal = b'{"goal":"x"}'
            counts = rng.choice(((0, 0), (1, 0), (0, 1)))
            record = struct.pack(
                "<BBHHxxQq16sII",
                2,
                flags,
                *counts,
                session,
                time_ns,
                base.to_bytes(16, "big"),
                rng.randrange(2),
                len(goal),
            )
            record += rng.randbytes(16) if flags & 2 else b""
            record += struct.pack(f"<{sum(counts)}H", *([rng.choice((0, 0, 1))] * sum(counts))) + goal
        if rng.random() < 0.12:
            changed = bytearray(record)
            changed[rng.randrange(len(changed))] = rng.choice((0, 1, 2, 0x7F, 0xFF))
            record = bytes(changed[: rng.randrange(len(changed) + 1)] if rng.random() < 0.3 else changed)
        made.append(record)
    return made


def _parse_request(rng: Random) -> Operation:
    return {
        "do": "parse_request",
        "document": values.mutated(rng, atlases.request(rng, 1_767_268_800), rng.randrange(3)),
    }


def _manifest(rng: Random) -> Operation:
    manifest = atlases.manifest(rng, "com.example.wild", small=True)
    if rng.random() < 0.6:
        policies = [atlases.policy(rng, "p"), atlases.policy(rng, "q")]
        changed: Any = {**manifest, "policies": values.mutated(rng, policies)}
    else:
        changed = values.value(rng) if rng.random() < 0.05 else values.mutated(rng, manifest, rng.randrange(1, 4))
    return {"do": "manifest", "manifest": changed, "strict": rng.random() < 0.2}


# The doors of a runtime


def _load(rng: Random) -> Operation:
    atlas_id = rng.choice(atlases.ATLAS_IDS)
    manifest = values.mutated(rng, atlases.manifest(rng, atlas_id, small=True), rng.randrange(2))
    return {"do": "load_atlas", "manifest": manifest, "replace": True}


def _create(rng: Random) -> Operation:
    facts = atlases.facts(rng)
    if rng.random() < 0.4:
        facts[rng.choice(("agent_id", "goal", "context", "scopes", "risk_tier", "atlas_ids", "session_id"))] = (
            values.value(rng, 2, oddities=True)
        )
    return {"do": "create_session", "slot": rng.choice("ab"), **facts}


def _resolve(rng: Random) -> Operation:
    ask = atlases.ask(rng)
    if rng.random() < 0.6:
        name = rng.choice(
            ("goal", "risk_tier", "context_hints", "required_capabilities", "context", "atlas_ids", "context_budget")
        )
        ask[name] = values.value(rng, 3, oddities=True)
    return {"do": "resolve", "slot": rng.choice("ab"), **ask}


def _answer(rng: Random) -> Operation:
    document = atlases.request(rng, rng.choice((0, 0, -299, 301)))
    document["requester"] = {"agent_id": None, "session_id": None}
    if "execution" in document:
        document["execution"]["resolution_id"] = None
    changed = values.mutated(rng, document, rng.randrange(2))
    return {"do": "request", "slot": rng.choice("ab"), "document": changed, "handle": rng.random() < 0.7}


def _execute(rng: Random) -> Operation:
    parameters = values.value(rng, 3, oddities=True) if rng.random() < 0.7 else atlases.parameters(rng)
    operation: Operation = {"do": "execute", "slot": rng.choice("ab"), "action_id": rng.choice(atlases.ACTION_IDS)}
    operation["parameters"] = parameters
    if rng.random() < 0.1:
        operation["key"] = values.value(rng, 1)
    if rng.random() < 0.1:
        operation["action_id"] = values.value(rng, 1)
    return operation


def _register(rng: Random) -> Operation:
    value = values.value(rng, 2, oddities=True)
    return {"do": "register", "action_id": rng.choice(atlases.ACTION_IDS), "behaviour": "value", "value": value}


_DOORS: Final[dict[Callable[[Random], Operation], int]] = {
    _canonical: 24,
    _plain_copy: 8,
    _event_hash: 8,
    _seal: 5,
    _verify_chain: 8,
    _verify_file: 8,
    _glob: 14,
    _keywords: 10,
    _windows: 7,
    _expand: 8,
    _parse_request: 6,
    _manifest: 4,
    _load: 1,
    _create: 3,
    _resolve: 6,
    _answer: 3,
    _execute: 6,
    _register: 1,
}
_CHOICES: Final = tuple(_DOORS)
_WEIGHTS: Final = tuple(_DOORS.values())


def make(seed: int, number: int, size: int) -> Episode:
    """An episode of `size` operations; the first give it an atlas and sessions."""
    rng = Random(f"wild {seed} {number}")
    first: list[Operation] = [
        {"do": "load_atlas", "manifest": atlases.manifest(rng, atlases.ATLAS_IDS[0], small=True), "replace": True},
        {"do": "create_session", "slot": "a", "scopes": ["read"]},
        {"do": "create_session", "slot": "b", "context": {"env": "prod"}},
        {"do": "resolve", "slot": "a"},
        {"do": "resolve", "slot": "b"},
        *({"do": "register", "action_id": action_id} for action_id in atlases.ACTION_IDS[:4]),
    ]
    cases = [[door(rng)] for door in rng.choices(_CHOICES, _WEIGHTS, k=size)]
    cases[0] = first + cases[0]
    return Episode({"ids": rng.randrange(1000)}, cases)


GENERATOR: Final = Generator("wild", 250, make)
