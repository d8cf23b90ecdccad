"""What the timers of a runtime do when they fire: record a heartbeat, end sessions and approvals, flush."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cra.errors import InvalidTraceEvent
from cra.timing.clock import NS_PER_SECOND
from cra.timing.heartbeat import Heartbeat
from cra.timing.manager import TimerManager, Timing
from cra.timing.session_ttl import SessionLifetimes
from cra.timing.timers import TimerBackend

if TYPE_CHECKING:
    from cra.runtime import Runtime
    from cra.sessions import SessionTable


def timers_of(
    timers: TimerBackend,
    timing: Timing,
    runtime: Runtime,
    sessions: SessionTable,
    record: Callable[[tuple[str, dict[str, Any]]], None],
    uptime_ms: Callable[[], int],
) -> TimerManager:
    """The timers of a runtime, not started. `record` records an event of its own session."""
    lifetimes = SessionLifetimes(
        sessions,
        idle_ns=runtime.idle_ns,
        life_ns=runtime.life_ns,
        grace_ns=runtime.grace_ns,
        warning_ns=int(timing.warning_seconds * NS_PER_SECOND),
        ttl_ns=runtime.ttl_seconds * NS_PER_SECOND,
        on_warning=timing.on_warning,
    )
    heartbeat = Heartbeat(runtime, sessions, timing.heartbeat_payload)

    def beat() -> None:
        payload = heartbeat.payload(uptime_ms(), lifetimes.timed_out)
        try:
            record(("runtime.heartbeat", payload))
        except InvalidTraceEvent:  # what the host adds is no JSON, or too much
            if payload.pop("custom", None) is None:
                raise
            record(("runtime.heartbeat", payload | {"custom_error": InvalidTraceEvent.__name__}))

    def expire() -> int:
        runtime.expire_approvals()
        return runtime.approvals.next_expiry()

    return TimerManager(
        timers,
        timing,
        runtime.clock,
        lifetimes,
        expire=expire,
        beat=beat,
        flush=lambda: runtime.recorder.flush(timing.flush_level),
    )
