"""Full CARP requests, one a line, put to one runtime in turn: parsed, admitted, answered, and traced. PROTOCOL: Requests.

What a document leaves out of the envelope (version, ids, timestamp, requester) is filled in, so that mutation reaches what is
behind it; what it has, right or wrong, stays.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from cra.carp.resolution import Resolution
from cra.carp.schema import Schema
from cra.errors import CRAError, InternalError
from cra.fuzzing.harness import refusal
from cra.fuzzing.runtimes import make_runtime, shared_atlas
from cra.fuzzing.target import Target, expect
from cra.hotpath import verify_chain
from cra.ids import format_uuid
from cra.resolver import Resolver
from cra.schemas import load
from cra.strictjson import JSONProblem, parse
from cra.trace.jsonl import dump_line

_SESSION = "00000000-0000-4000-8000-000000000001"
_MOST = 8
_schema: Schema | None = None


def answer(data: bytes) -> object:
    """Every request's answer, and the trace of the session at the end."""
    with make_runtime() as resolver:
        resolver.load_atlas(shared_atlas())
        resolver.create_session("bot", "Work", session_id=_SESSION, context={"env": "prod"}, scopes=["write"])
        found: list[object] = []
        last: str | None = None
        for number, line in enumerate(data.split(b"\n")[:_MOST]):
            reply = _answered(resolver, _document(line, number, last))
            if isinstance(reply, Resolution):
                last = reply.resolution_id
                document = reply.to_dict()
                error = _published().first_error(document)
                expect(error is None, f"the resolution is not as the published schema has it: {error}")
                expect(parse(reply.to_json()) == document, "a resolution is not what it is as JSON")
                found.append(reply.to_json())
            else:
                found.append(reply)
        events = resolver.trace(_SESSION)
        expect(verify_chain(events).valid, "the runtime's own trace does not verify")
        return found, [dump_line(event) for event in events]


def _answered(resolver: Resolver, document: Any) -> Any:
    try:
        reply = resolver.handle(document)
    except InternalError:
        raise
    except CRAError as error:
        return refusal(error)
    return reply if isinstance(reply, Resolution) else msgspec.to_builtins(reply)


def _document(line: bytes, number: int, last: str | None) -> Any:
    try:
        document = parse(line)
    except JSONProblem:
        return None
    if not isinstance(document, dict):
        return document
    execution = document.get("execution")
    if isinstance(execution, dict):
        execution.setdefault("resolution_id", last)
    return {
        "carp_version": "1.0",
        "request_id": format_uuid(number + 1),
        "timestamp": "2026-01-01T12:00:00Z",
        "operation": "execute" if "execution" in document else "resolve",
        "requester": {"agent_id": "bot", "session_id": _SESSION},
        "task": {"goal": "Work"},
        **document,
    }


def _published() -> Schema:
    global _schema
    if _schema is None:
        _schema = Schema(load("carp-resolution"))
    return _schema


def seeds() -> list[bytes]:
    """Every operation, alone and one after the other."""
    resolve = {
        "task": {"goal": "Close stale tickets", "risk_tier": "high", "context_hints": ["rules"]},
        "context": {"env": "prod"},
    }
    full = {
        "carp_version": "1.0",
        "request_id": "0190A3D4-1111-7000-8000-000000000001",
        "timestamp": "2026-01-01T13:00:00.5+01:00",
        "operation": "validate",
        "requester": {"agent_id": "bot", "session_id": _SESSION},
        "task": {"goal": "x", "required_capabilities": ["desk.read"]},
        "atlas_ids": ["com.example.desk"],
    }
    get = {"execution": {"action_id": "desk.get", "parameters": {"id": "1"}, "idempotency_key": "k"}}
    pay = {"execution": {"action_id": "desk.pay", "parameters": {"amount": 99}}}
    delete = {"execution": {"action_id": "desk.delete", "parameters": {"id": "1"}}}
    plays = (
        [resolve],
        [full],
        [{}, get, get],
        [{}, pay, delete, {"requester": {"agent_id": "other", "session_id": _SESSION}}],
    )
    return [b"\n".join(json.dumps(each, separators=(",", ":")).encode() for each in play) for play in plays]


TARGET = Target(
    "requests",
    "CARP requests of every operation, put to a runtime in turn",
    answer,
    seeds,
    tokens=(
        b'"carp_version":"1.0"', b'"request_id":"', b'"timestamp":"', b'"operation":"validate"', b'"operation":"execute"',
        b'"requester":{', b'"agent_id":"bot"', b'"session_id":"', b'"parent_session_id":"', b'"task":{"goal":"',
        b'"risk_tier":"high"',
        b'"context_hints":["rules"]', b'"required_capabilities":["desk.write"]', b'"execution":{', b'"resolution_id":"',
        b'"action_id":"desk.list"', b'"parameters":{}', b'"idempotency_key":"k"', b'"atlas_ids":["com.example.desk"]',
        b'"context":{',
        b'\n{"execution":{"action_id":"desk.pay","parameters":{}}}', b"\n", b"null", b"1e999", b"\\ud800",
    ),
    notation="json lines",
)  # fmt: skip
