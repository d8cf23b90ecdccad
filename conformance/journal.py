"""A second reader of journals, made from docs/formats/journal.md and records.md alone: nothing of cra is imported here.

`python conformance/journal.py FOLDER` checks every byte and prints the events of all sessions; `read` gives them by session.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
import zlib
from datetime import datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from struct import calcsize, error, pack, unpack, unpack_from
from typing import Any

compact = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
find_name = re.compile(r"([0-9]+-[0-9a-f]{16})\.([0-9]{8})\.(segment|segment\.zst|gone)").fullmatch
EVENTS, RESOLVE, TEMPLATE, LINK, SEAL, LINES, HEAD, NOTE = 1, 2, 3, 16, 17, 18, 20, 21


class Fault(Exception):
    """Something is not as its writer wrote it."""


def contents(data: bytes, may_be_open: bool) -> tuple[int, bytes, bytes, list[bytes]]:
    """Number, series, hash of what came before, and the contents of a file, whose links all hold."""
    magic, version, number, series, previous, _, _, checksum = unpack_from("<8sII16s32sqII", data)
    if (magic, checksum) != (b"cra-jrnl", zlib.crc32(data[:76])) or version not in (1, 2):
        raise Fault("its header is not whole")
    found, at, kind, digest, hashed = [], 80, 0, hashlib.sha256(), 0
    while len(data) - at >= 8:
        checksum, length = unpack_from("<II", data, at)
        content, end = data[at + 8 : at + 8 + length], at + 8 + length
        if end > len(data) or zlib.crc32(data[at + 4 : end]) != checksum:
            break
        digest.update(data[hashed:at])
        if kind == SEAL or (content[0] in (LINK, SEAL) and content[-32:] != digest.digest()):
            raise Fault(f"what is before {at} was changed, or something follows the seal")
        found.append(content)
        kind, hashed, at = content[0], at, end
    if not may_be_open and (kind != SEAL or at != len(data)):
        raise Fault("it is not whole")
    return number, series, previous, found


def load(path: Path) -> bytes:  # compressed ones need zstandard
    data = path.read_bytes() if path.exists() else path.with_name(path.name + ".zst").read_bytes()
    if not path.exists() and hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise Fault("it is not what was compressed")
    return data if path.exists() else bytes(__import__("zstandard").decompress(data[:-88]))


def ident(data: bytes, more: int = 0) -> str:
    return str(uuid.UUID(int=(int.from_bytes(data, "big") + more) % 2**128))


def take(stream: BytesIO, layout: str) -> tuple[Any, ...]:
    return unpack("<" + layout, stream.read(calcsize("<" + layout)))


class Expander:
    """Records of a series to lines, by session and with their sequences. `heads` (sequence, hash, time) is where chains go on."""

    def __init__(self) -> None:
        self.heads: dict[str, tuple[int, str, int]] = {}
        self.lines: dict[str, list[tuple[int, str]]] = {}
        self.sessions: dict[int, list[str]] = {}
        self.templates: dict[int, tuple[tuple[Any, ...], str, list[str]]] = {}

    def feed(self, record: bytes) -> None:
        stream = BytesIO(record)
        kind, flags = take(stream, "BB")
        if kind == EVENTS:
            count, session, time, base = take(stream, "HQq16s")
            if flags & 1:
                self.sessions[session] = [ident(each) for each in take(stream, "16s16s16s")]
            span = take(stream, "16s")[0] if flags & 2 else base
            events = []
            for _ in range(count):
                name, size = take(stream, "HI")
                events.append((stream.read(name).decode(), stream.read(size).decode()))
            self.chain(session, time, base, span, events)
        elif kind == RESOLVE:
            injected, cut, _, session, time, base, template, size = take(stream, "HHHQq16sII")
            request = ident(take(stream, "16s")[0]) if flags & 2 else ident(base, 1)
            blocks, goal = take(stream, f"{injected + cut}H"), stream.read(size).decode()
            (count, evaluated, allowed, denied, ttl, policies), decision, said = self.templates[template]
            asked = compact({"goal": goal, "operation": "resolve", "request_id": request})
            events = [("carp.request.received", goal if flags & 1 else asked)]
            events += [("policy.evaluated", each) for each in said[:evaluated]]
            events += [("context.injected", said[evaluated + 2 * block]) for block in blocks[:injected]]
            events += [("context.redacted", said[evaluated + 2 * block + 1]) for block in blocks[injected:]]
            done = {"allowed_count": allowed, "context_block_count": injected, "decision_type": decision}
            done |= {"denied_count": denied, "policy_set": policies.hex(), "request_id": request}
            done |= {"resolution_id": ident(base, 2), "ttl_seconds": ttl}
            self.chain(session, time, base, base, [*events, ("carp.resolution.completed", compact(done))])
        elif kind == TEMPLATE:
            blocks_, number, evaluated, *counts, policies, size = take(stream, "HIIIII32sI")
            decision = stream.read(size).decode()
            said = [stream.read(take(stream, "I")[0]).decode() for _ in range(evaluated + 2 * blocks_)]
            self.templates[number] = (blocks_, evaluated, *counts, policies), decision, said

    def chain(self, number: int, time: int, base: bytes, span: bytes, events: list[tuple[str, str]]) -> None:
        session, trace, root = self.sessions[number]
        sequence, previous, latest = self.heads.get(session, (0, "0" * 64, 0))
        time = max(time, latest)
        stamp = (datetime(1970, 1, 1) + timedelta(microseconds=time // 1000)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for place, (kind, payload) in enumerate(events):
            fields: dict[str, Any] = {"trace_version": "1.0", "event_id": ident(base, 3 + place), "trace_id": trace}
            fields |= {"span_id": ident(span), "parent_span_id": None if kind == "session.started" else root}
            fields |= {"session_id": session, "sequence": sequence, "timestamp": stamp, "event_type": kind}
            hashed = "".join(str(value) for value in fields.values() if value is not None) + payload + previous
            digest = hashlib.sha256(hashed.encode()).hexdigest()
            line = f'{compact(fields)[:-1]},"payload":{payload},"event_hash":"{digest}","previous_event_hash":"{previous}"}}\n'
            self.lines.setdefault(session, []).append((sequence, line))
            sequence, previous = sequence + 1, digest
        self.heads[session] = sequence, previous, time
        if events and events[-1][0] == "session.ended":
            del self.heads[session]


def read(folder: Path) -> dict[str, list[str]]:
    """The lines of every session, in order. Raises `Fault`, naming the file."""
    parts: dict[str, list[list[tuple[int, str]]]] = {}
    notes, buried, path = set(), [], folder
    names = sorted((m[1], m[3], int(m[2])) for m in (find_name(each.name) for each in folder.iterdir()) if m)
    try:
        for name in sorted({name for name, _, _ in names}):
            expected, series, before, expander = 0, b"", bytes(32), Expander()
            stones = [number for each, kind, number in names if (each, kind) == (name, "gone")][-1:]
            rest = sorted(
                {number for each, kind, number in names if each == name and kind != "gone" and [number] > stones}
            )
            for kind, number in [("gone", number) for number in stones] + [("segment", number) for number in rest]:
                path = folder / f"{name}.{number:08d}.{kind}"
                data = load(path)
                digest = hashlib.sha256(data).digest()
                is_open = [number] == rest[-1:] and kind == "segment" and (folder / f"{name}.lock").exists()
                place, whose, previous, said = contents(data, is_open)
                if (place, number, previous, whose) != (number, expected, before, series or whose) and kind != "gone":
                    raise Fault("it does not follow what is before it")
                expected, series, before = number + 1, whose, said[0][32:64] if kind == "gone" else digest
                buried += [(path, series + pack("<I", number) + digest)] if kind == "gone" else []
                for content in said:
                    if content[0] == HEAD:
                        sequence, last, time = unpack_from("<Q32sq", content, 20)
                        expander.heads[ident(content[4:20])] = sequence, last.hex(), time
                    elif content[0] == LINES:
                        came = enumerate(content[32:].decode().split("\n")[:-1], unpack_from("<Q", content, 24)[0])
                        parts.setdefault(ident(content[8:24]), []).append([(at, line + "\n") for at, line in came])
                    elif content[0] == NOTE:
                        notes.add(content[4:])
                    elif content[0] < LINK:
                        expander.feed(content)
            for session, lines in expander.lines.items():
                parts.setdefault(session, []).append(lines)
        for path in [path for path, note in buried if note not in notes]:  # noqa: B007 - the fault names it
            raise Fault("nothing vouches for it")
    except (Fault, error, KeyError) as fault:
        raise Fault(f"{path.name}: {fault}") from fault
    in_order = {session: sorted(parts[session], key=lambda part: part[0][0]) for session in sorted(parts)}
    return {session: [line for part in found for _, line in part] for session, found in in_order.items()}


if __name__ == "__main__":
    for of_session in read(Path(sys.argv[1])).values():
        sys.stdout.write("".join(of_session))
