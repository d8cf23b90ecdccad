"""What a session has open: when it started, how many actions it had, and which of its executions have no outcome yet.

Whoever closes a session for a process that died needs it; it follows from a few of the session's events, in order. A
journal carries
it over in a tombstone where retention takes these events. It reads nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final

from cra.errors import StorageError
from cra.trace.event import Event

TYPES: Final = ("session.started", "action.approved", "action.executed", "action.failed")
"""The types of the events that say something of it."""

_REPEATED: Final = ("action_id", "resolution_id")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class OpenWork:
    """Fed with a session's events, in order; those of other types than `TYPES` change nothing.

    `started_ns` is when it started, 0 where that is not known, `actions` how many were approved. `running` are the executions
    without an outcome, by their span: what the event that closes one repeats of its approval, whose payload may be redacted.
    """

    def __init__(
        self, started_ns: int = 0, actions: int = 0, running: Mapping[str, dict[str, Any]] | None = None
    ) -> None:
        self.started_ns = started_ns
        self.actions = actions
        self.running = dict(running or {})

    def take(self, event: Event) -> None:
        """Learn from the next event. An approval that names its execution repeats the outcome of an earlier one, and is closed
        with it. Raises `StorageError` for a timestamp that no runtime wrote."""
        if event.event_type == "session.started":
            self.started_ns = nanoseconds(event.timestamp)
        elif event.event_type == "action.approved" and "execution_id" not in event.payload:
            self.running[event.span_id] = {name: event.payload[name] for name in _REPEATED if name in event.payload}
            self.actions += 1
        elif event.event_type in ("action.executed", "action.failed"):
            self.running.pop(event.span_id, None)

    def merged(self, other: OpenWork) -> OpenWork:
        """Both together, where each knows a part of the session's events."""
        starts = [each for each in (self.started_ns, other.started_ns) if each]
        return OpenWork(min(starts, default=0), self.actions + other.actions, self.running | other.running)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpenWork) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


def nanoseconds(timestamp: str) -> int:
    """What `format_timestamp` made a timestamp of, to the microsecond: as much as the next one is compared with.

    Raises `StorageError` for what it did not make.
    """
    try:
        moment = datetime.fromisoformat(timestamp[:-1]).replace(tzinfo=timezone.utc)
    except ValueError:
        raise StorageError(
            f"{timestamp!r} is no timestamp of this runtime; it cannot go on with such a trace"
        ) from None
    return ((moment - _EPOCH) // (moment.resolution)) * 1_000
