"""Chained events from records, without a recorder."""

from __future__ import annotations

from cra.hotpath import Expander
from cra.reference.records import encode_events
from cra.trace.event import Event
from cra.trace.record import EventsRecord


class Chainer:
    """Numbers the sessions of the records it is given, as the recorder does, and has them expanded one by one."""

    def __init__(self) -> None:
        self._expander = Expander()
        self._numbers: dict[str, int] = {}

    def events(self, record: EventsRecord) -> list[Event]:
        """The record's events, sealed and chained."""
        header = record.session
        number = self._numbers.setdefault(header.session_id, len(self._numbers) + 1)
        define = (header.session_id, header.trace_id, header.span_id)
        data = encode_events(number, record.base, record.time_ns, record.events, span=record.span, define=define)
        self._expander.feed(data)
        batch = self._expander.take(0)
        return [] if batch is None else list(batch)
