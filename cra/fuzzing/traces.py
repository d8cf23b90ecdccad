"""Traces to begin with, for the targets that read some; and a way to seal what mutation has broken, so that it goes further."""

from __future__ import annotations

from typing import Any, Final

from cra.errors import CRAError
from cra.hotpath import event_hash
from cra.strictjson import JSONProblem, parse
from cra.testing.traces import make_trace
from cra.trace.event import GENESIS_HASH, Event
from cra.trace.jsonl import dump_line

CONTENTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("session.started", {"agent_id": "bot", "goal": 'say "hi"\n'}),
    (
        "carp.request.received",
        {"request_id": "0190a3d4-1111-7000-8000-000000000001", "goal": "é€😀", "n": [1, 2.5, None]},
    ),
    ("policy.evaluated", {"policy_id": "p", "result": "allow", "action_id": "ticket.get"}),
    ("action.executed", {"cost": 0.25, "deep": {"a": [[], {}, [{"b": -0.0, "c": 1e21}]], "b": "\x01\x1f\x7f/"}}),
    ("session.ended", {"reason": "completed", "duration_ms": 12, "action_count": 0}),
)
TOKENS: Final = (
    b'"trace_version":"1.0"', b'"event_id":"', b'"parent_span_id":null', b'"session_id":"', b'"sequence":', b'"timestamp":"',
    b'"event_type":"', b'"payload":{', b'"event_hash":"', b'"previous_event_hash":"', b"session.started", b"session.ended",
    b"policy.evaluated", b"carp.resolution.completed", b"0" * 64, b"2026-01-01T12:00:00.000000Z", b"\\u00e9", b"1e400", b"null",
)  # fmt: skip


def trace(*, session: int = 1, contents: Any = CONTENTS) -> bytes:
    """A sound trace of one session."""
    return b"".join(map(dump_line, make_trace(contents, session=session)))


def sealed_again(data: bytes) -> bytes:
    """The lines chained anew, session by session, as far as they are events: what a forger would hand over."""
    last: dict[str, tuple[int, str]] = {}
    lines = []
    for line in data.splitlines(keepends=True):
        try:
            fields = parse(line)
            if not isinstance(fields, dict):
                raise InvalidLine
            sequence, previous = last.get(str(fields.get("session_id")), (0, GENESIS_HASH))
            fields |= {"sequence": sequence, "previous_event_hash": previous}
            fields["event_hash"] = event_hash(fields)
            lines.append(dump_line(Event(**{"parent_span_id": None, **fields})))
            last[fields["session_id"]] = sequence + 1, fields["event_hash"]
        except (JSONProblem, CRAError, TypeError, InvalidLine):
            lines.append(line)
    return b"".join(lines)


class InvalidLine(Exception):
    """What cannot be sealed."""
