"""Events and their digests, made without any implementation: hashlib over the concatenation that the protocol gives.

Used by the modules beside it. PROTOCOL: Event hash.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

GENESIS = "0" * 64
HASHED = (
    "trace_version", "event_id", "trace_id", "span_id", "parent_span_id", "session_id", "sequence", "timestamp",
    "event_type", "payload", "previous_event_hash",
)  # fmt: skip


def plain(payload: Any) -> str:
    """Canonical JSON of a payload of ASCII keys, strings, small integers, booleans and null, for which this is enough."""
    return json.dumps(payload, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(event: dict[str, Any], payload_text: str | None = None, zone: str = "Z") -> str:
    """The hash of an event. `payload_text` is the payload's canonical JSON where `plain` is not enough."""
    parts = {
        **event,
        "parent_span_id": event.get("parent_span_id") or "",
        "sequence": str(event["sequence"]),
        "timestamp": event["timestamp"].replace("Z", zone),
        "payload": plain(event["payload"]) if payload_text is None else payload_text,
    }
    return hashlib.sha256("".join(parts[name] for name in HASHED).encode()).hexdigest()


def uuid(session: int, number: int) -> str:
    """A UUIDv7 of the published form."""
    return f"0192f3a1-7c4e-7d2a-9b{session:02x}-{number:012x}"


def bare(sequence: int = 0, session: int = 1, **fields: Any) -> dict[str, Any]:
    """An event without its hash; the first of a session has no parent span."""
    return {
        "trace_version": "1.0",
        "event_id": uuid(session, 0x100 + sequence),
        "trace_id": uuid(session, 1),
        "span_id": uuid(session, 2 if sequence == 0 else 3),
        "parent_span_id": None if sequence == 0 else uuid(session, 2),
        "session_id": uuid(session, 0),
        "sequence": sequence,
        "timestamp": f"2026-01-01T12:00:00.{sequence:06d}Z",
        "event_type": "session.started" if sequence == 0 else "action.requested",
        "payload": {"agent_id": "agent", "goal": "work"} if sequence == 0 else {"action_id": "shop.buy", "n": sequence},
        "previous_event_hash": GENESIS,
        **fields,
    }


def sealed(event: dict[str, Any], payload_text: str | None = None, zone: str = "Z") -> dict[str, Any]:
    """The event with its hash, in the place that the schema gives it."""
    fields = dict(event)
    previous = fields.pop("previous_event_hash")
    return {**fields, "event_hash": digest(event, payload_text, zone), "previous_event_hash": previous}


def chain(
    length: int, session: int = 1, changed: dict[int, dict[str, Any]] | None = None, zone: str = "Z"
) -> list[Any]:
    """A chain of a session; `changed` gives events other fields before they are sealed, so that the chain stays whole."""
    events: list[dict[str, Any]] = []
    previous = GENESIS
    for sequence in range(length):
        event = {**bare(sequence, session, previous_event_hash=previous), **(changed or {}).get(sequence, {})}
        events.append(sealed(event, zone=zone))
        previous = events[-1]["event_hash"]
    return events
