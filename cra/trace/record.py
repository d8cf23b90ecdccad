"""Records: what the hot path writes down instead of events.

There are two kinds. A `ResolveRecord` is a resolve: its events are templates held by its plan. An `EventsRecord` is anything
else: one or a few events with their payloads. Both name their session by its `SessionHeader`, the definition written once.
`cra.trace.expand` turns records into events and nothing else is needed for it. PROTOCOL: Event; ARCHITECTURE: A record, not N
events.

Identifiers: `base` is one draw of the id source. The span is `base`, the request id `base + 1` and the resolution or execution
id `base + 2` where the record makes one, and event number i of the record is `base + FIRST_EVENT + i`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from cra.carp.plan import Plan

REQUEST = 1
RESOLUTION = EXECUTION = 2
FIRST_EVENT = 3


class SessionHeader(msgspec.Struct, frozen=True):
    """What every event of a session shares. `span_id` is the span of its `session.started`, the parent of all others."""

    session_id: str
    trace_id: str
    span_id: str
    trace_detail: Literal["full", "decisions"] = "full"


class EventsRecord(msgspec.Struct, frozen=True):
    """Events with payloads of their own. `span` None means `base`: an operation of two records names the first one's."""

    session: SessionHeader
    base: int
    time_ns: int
    events: tuple[tuple[str, dict[str, Any]], ...]
    span: int | None = None
    droppable: bool = False


class ResolveRecord(msgspec.Struct, frozen=True):
    """One resolve. `request` is the payload of `carp.request.received` (without defaults); the index tuples point into the
    plan: blocks `injected`, blocks `cut` by a token budget, `exhausted` limits."""

    session: SessionHeader
    base: int
    time_ns: int
    request_id: str
    request: Mapping[str, Any]
    plan: Plan
    injected: tuple[int, ...]
    cut: tuple[int, ...]
    exhausted: tuple[int, ...]
    ttl_seconds: int
    droppable: bool = True


Record = EventsRecord | ResolveRecord
