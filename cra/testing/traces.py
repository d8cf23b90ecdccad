"""Small sealed traces for tests: valid chains to read, compare, and tamper with.

Used in tests, this package's and its users'. The ids and times are made up and the same every time. PROTOCOL: Event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cra.ids import format_uuid
from cra.reference.chain import seal
from cra.timing.clock import format_timestamp
from cra.trace.event import GENESIS_HASH, Event

_START_NS = 1_767_268_800 * 10**9  # 2026-01-01T12:00:00Z
_STEP_NS = 1_000_000


def make_trace(contents: Iterable[tuple[str, Mapping[str, Any]]], *, session: int = 1) -> list[Event]:
    """The chain of one session with these event types and payloads, a millisecond apart. Each number `session` is another one."""
    events: list[Event] = []
    previous = GENESIS_HASH
    for sequence, (event_type, payload) in enumerate(contents):
        event = seal(
            event_id=_uuid(session, 0x1000 + sequence),
            trace_id=_uuid(session, 1),
            span_id=_uuid(session, 2 if sequence == 0 else 3),
            parent_span_id=None if sequence == 0 else _uuid(session, 2),
            session_id=_uuid(session, 0),
            sequence=sequence,
            timestamp=format_timestamp(_START_NS + sequence * _STEP_NS),
            event_type=event_type,
            payload=dict(payload),
            previous_event_hash=previous,
        )
        events.append(event)
        previous = event.event_hash
    return events


def _uuid(session: int, number: int) -> str:
    return format_uuid((_START_NS // 10**6) << 80 | 0x7 << 76 | 0b10 << 62 | session << 32 | number)
