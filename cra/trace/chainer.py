"""Gives every event its place: sequence, timestamp, previous hash, hash. One `Chainer` serves all sessions of a runtime.

Records are chained in the order in which they come; that order is the trace's, never a producer's own counter. Not safe to call
from two threads at once: the recorder calls it from one place. PROTOCOL: Event.
"""

from __future__ import annotations

import msgspec

from cra.hotpath import seal
from cra.ids import format_uuid
from cra.timing.clock import format_timestamp
from cra.trace.event import GENESIS_HASH, Event
from cra.trace.expand import expand
from cra.trace.record import FIRST_EVENT, EventsRecord, Record


class Head(msgspec.Struct, frozen=True):
    """Where a session's chain stands: the next sequence, the last hash, the latest time (ns)."""

    sequence: int = 0
    previous_hash: str = GENESIS_HASH
    time_ns: int = 0


class Chainer:
    """The chain heads of the sessions that are open; a session's head is dropped with its `session.ended`."""

    def __init__(self) -> None:
        self._heads: dict[str, Head] = {}

    def events(self, record: Record) -> list[Event]:
        """The record's events, sealed and chained. Timestamps of a session never decrease.

        Where it raises (`InvalidTraceEvent`), the chain is as it was.
        """
        session = record.session
        head = self._heads.get(session.session_id, Head())
        time_ns = max(head.time_ns, record.time_ns)
        timestamp = format_timestamp(time_ns)
        span = record.span if isinstance(record, EventsRecord) else None
        span_id = format_uuid(record.base if span is None else span)
        previous_hash = head.previous_hash
        events = []
        for offset, (event_type, payload) in enumerate(expand(record)):
            event = seal(
                event_id=format_uuid(record.base + FIRST_EVENT + offset),
                trace_id=session.trace_id,
                span_id=span_id,
                parent_span_id=None if event_type == "session.started" else session.span_id,
                session_id=session.session_id,
                sequence=head.sequence + offset,
                timestamp=timestamp,
                event_type=event_type,
                payload=payload,
                previous_event_hash=previous_hash,
            )
            events.append(event)
            previous_hash = event.event_hash
        if events and events[-1].event_type == "session.ended":
            self._heads.pop(session.session_id, None)
        else:
            self._heads[session.session_id] = Head(head.sequence + len(events), previous_hash, time_ns)
        return events
