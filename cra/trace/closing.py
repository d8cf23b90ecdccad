"""The events with which a recovery closes what a dead process left open, and how they are known again.

Used by `cra.trace.recovery` and `cra.trace.dead_records`. It stores nothing. PROTOCOL: Execute (after a crash).
"""

from __future__ import annotations

from cra.hotpath import Expander, canonical_json, encode_events, format_uuid, parse_uuid
from cra.ids import IdSource
from cra.reference.records import Definition
from cra.storage.base import RecordStorage, StorageBackend
from cra.timing.clock import Clock
from cra.trace.batch import Batch
from cra.trace.event import Event
from cra.trace.open_work import TYPES, OpenWork, nanoseconds
from cra.trace.record import EXECUTION

OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
DIED_WHILE_IT_RAN = "the process ended while it ran; find out before trying again"
Head = tuple[int, str, int]
"""Where a chain goes on: the next sequence, the hash before it, the time (ns) before which nothing comes."""


def open_work(reference: StorageBackend, session_id: str) -> OpenWork:
    """What a session has open, by what is left of its events, and by what was said of those that retention took."""
    work = reference.beginning(session_id) if isinstance(reference, RecordStorage) else OpenWork()
    for event in reference.events(session_id, types=TYPES):
        work.take(event)
    return work


def closing_events(
    number: int,
    define: Definition,
    newest: Event,
    work: OpenWork,
    clock: Clock,
    ids: IdSource,
) -> Batch:
    """The outcome of the executions of a session that are open, and its end, behind its newest event."""
    expander = Expander({define[0]: head_of(newest)}, frames=True)
    define_now: Definition | None = define
    now = clock.now_ns()
    for span_id, repeated in work.running.items():
        span = parse_uuid(span_id)
        payload = repeated | {
            "execution_id": format_uuid(span + EXECUTION),
            "error_code": OUTCOME_UNKNOWN,
            "error_message": DIED_WHILE_IT_RAN,
            "effect": "unknown",
        }
        event = ("action.failed", canonical_json(payload))
        expander.feed(encode_events(number, ids.draw(now // 10**6), now, (event,), span=span, define=define_now))
        define_now = None
    duration = max(0, now - work.started_ns) // 10**6
    ended = {"reason": "error", "duration_ms": duration, "action_count": work.actions}
    event = ("session.ended", canonical_json(ended))
    expander.feed(encode_events(number, ids.draw(now // 10**6), now, (event,), define=define_now))
    batch: Batch | None = expander.take(0)
    assert batch is not None
    return batch


def last_of_its_own(backend: StorageBackend, session_id: str) -> Event | None:
    """The last event of a session that the process itself recorded, behind which a recovery has closed what was open."""
    asked = 2
    while True:
        events = backend.last(session_id, asked)
        for event in reversed(events):
            if not is_of_recovery(event):
                return event
        if len(events) < asked:
            return None
        asked *= 4


def is_of_recovery(event: Event) -> bool:
    """Whether an event that is in no record of a ring may be one with which a recovery closes a session."""
    if event.event_type == "action.failed":
        return bool(event.payload.get("error_message") == DIED_WHILE_IT_RAN)
    return event.event_type == "session.ended"


def head_of(event: Event) -> Head:
    """Where the chain goes on after an event."""
    return event.sequence + 1, event.event_hash, nanoseconds(event.timestamp)
