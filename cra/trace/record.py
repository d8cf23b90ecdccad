"""Records: what is written down instead of events.

An `EventsRecord` is one or a few events with their payloads; a resolve is recorded by its plan's template (`cra.trace.template`).
Both name their session by its `SessionHeader`. The bytes they become are `cra.reference.records`'. PROTOCOL: Event;
ARCHITECTURE: A record, not N events.

Identifiers: `base` is one draw of the id source. The span is `base`, the request id `base + 1` and the resolution or execution
id `base + 2` where the record makes one, and event number i of the record is `base + FIRST_EVENT + i`.
"""

from __future__ import annotations

import msgspec

REQUEST = 1
RESOLUTION = EXECUTION = 2
FIRST_EVENT = 3


class SessionHeader(msgspec.Struct, frozen=True, weakref=True):
    """What every event of a session shares. `span_id` is the span of its `session.started`, the parent of all others."""

    session_id: str
    trace_id: str
    span_id: str


class EventsRecord(msgspec.Struct, frozen=True):
    """Events: types and payloads in canonical JSON. `span` None means `base`; an operation of two records names the first's."""

    session: SessionHeader
    base: int
    time_ns: int
    events: tuple[tuple[str, bytes], ...]
    span: int | None = None
    droppable: bool = False

    @property
    def kind(self) -> str:
        """What a loss of it is counted under."""
        return self.events[0][0]


class ResolveRecord(msgspec.Struct, frozen=True):
    """One resolve: the number of its template, and what is its own.

    `text` is the goal in UTF-8 or, with `payload`, the whole payload of `carp.request.received`. `request_id` None means
    `base + 1`. The index tuples point into the template's blocks: `injected`, and `cut` by a token budget.
    """

    session: SessionHeader
    base: int
    time_ns: int
    template: int
    text: bytes
    payload: bool = False
    request_id: str | None = None
    injected: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()
    droppable: bool = True
    kind = "resolve"


Record = EventsRecord | ResolveRecord
