"""What a runtime says of itself, in a session of its own: that it started, what it recovered, that it ended.

Used by the resolver, which lives between beginning and end, and by recovery without a resolver, which does not.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

from cra.hotpath import Expander, canonical_json, encode_events, format_uuid, implementation, parse_uuid
from cra.ids import IdSource
from cra.storage.base import StorageBackend
from cra.timing.clock import Clock
from cra.trace.record import SessionHeader
from cra.trace.recovery import Recovery
from cra.version import __version__

RUNTIME_AGENT = "cra.runtime"
NewEvent = tuple[str, dict[str, Any]]


def own_header(clock: Clock, ids: IdSource) -> SessionHeader:
    """A new session for a runtime."""
    base = ids.draw(clock.now_ns() // 1_000_000)
    return SessionHeader(format_uuid(base), format_uuid(base + 1), format_uuid(base + 2))


def beginning(recovery: Recovery) -> tuple[NewEvent, ...]:
    """The first events of a runtime, after it has recovered what it found."""
    started = {
        "version": __version__,
        "implementation": implementation(),
        "process": os.getpid(),
        "host": platform.node(),
    }
    recovered = (("runtime.recovered", recovery.payload()),) if recovery.rings or recovery.sessions else ()
    first = ("session.started", {"agent_id": RUNTIME_AGENT, "goal": "runtime"})
    return first, ("runtime.started", started), *recovered


def ending(duration_ms: int) -> NewEvent:
    """The last event of a runtime."""
    return "session.ended", {"reason": "completed", "duration_ms": duration_ms, "action_count": 0}


def record_recovery(recovery: Recovery, backends: Sequence[StorageBackend], clock: Clock, ids: IdSource) -> str:
    """Store the whole session of a runtime that recovered and did nothing else, at once; returns its id.

    Raises `StorageError` where a backend does not take it.
    """
    header = own_header(clock, ids)
    events = [(kind, canonical_json(payload)) for kind, payload in (*beginning(recovery), ending(0))]
    expander = Expander()
    define = header.session_id, header.trace_id, header.span_id
    expander.feed(encode_events(1, parse_uuid(header.span_id), clock.now_ns(), events, define=define))
    batch = expander.take(0)
    assert batch is not None
    for backend in backends:
        backend.append(batch)
        backend.flush(durable=backend.durable)
    return header.session_id
