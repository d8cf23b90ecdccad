"""The TRACE event and its place in the JSONL form. PROTOCOL: Event."""

from __future__ import annotations

from typing import Any

import msgspec

TRACE_VERSION = "1.0"
GENESIS_HASH = "0" * 64


class Event(msgspec.Struct, frozen=True):
    """One link of a session's chain; the fields of the published schema, in its order."""

    trace_version: str
    event_id: str
    trace_id: str
    span_id: str
    parent_span_id: str | None
    session_id: str
    sequence: int
    timestamp: str
    event_type: str
    payload: dict[str, Any]
    event_hash: str
    previous_event_hash: str

    def to_dict(self) -> dict[str, Any]:
        """The published schema's fields, in its order."""
        return {name: getattr(self, name) for name in self.__struct_fields__}
