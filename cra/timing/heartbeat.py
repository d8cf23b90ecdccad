"""Heartbeats: what a runtime says of itself every so often, as `runtime.heartbeat` in its own session.

PROTOCOL: Timing defaults.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cra.runtime import Runtime
    from cra.sessions import SessionTable

CustomPayload = Callable[[], Mapping[str, Any]]


class Heartbeat:
    """Makes the payloads.

    `custom` is called for each, and what it returns is the member `custom`; where it raises, that is `custom_error`, the name of
    the exception, and the heartbeat comes all the same. It has to be quick: other timers wait for it.
    """

    def __init__(self, runtime: Runtime, sessions: SessionTable, custom: CustomPayload | None = None) -> None:
        self._runtime = runtime
        self._sessions = sessions
        self._custom = custom
        self._before = (0, 0, 0)

    def payload(self, uptime_ms: int, timed_out: int) -> dict[str, Any]:
        """The payload of a heartbeat now; what it says of an interval is since the call before.

        `resolutions` are those of the interval, `memory_bytes` is what of the process is in memory.
        """
        runtime, sessions = self._runtime, self._sessions
        now = runtime.resolutions, sessions.opened, timed_out
        resolutions, opened, expired = (each - before for each, before in zip(now, self._before))
        self._before = now
        recorder = runtime.recorder.stats()
        payload: dict[str, Any] = {
            "uptime_ms": uptime_ms,
            "resolutions_total": runtime.resolutions,
            "resolutions": resolutions,
            "executions_total": runtime.executions,
            "sessions": {"active": len(sessions), "opened": opened, "timed_out": expired},
            "approvals_pending": len(runtime.approvals.pending()),
            "records_waiting": recorder.records_waiting,
            "records_lost": recorder.records_lost,
            "ring_used": recorder.ring_used,
            "memory_bytes": memory_bytes(),
        }
        if self._custom is not None:
            try:
                payload["custom"] = dict(self._custom())
            except Exception as error:
                payload["custom_error"] = type(error).__name__
        return payload


def memory_bytes() -> int:
    """The resident memory of this process; where the system does not tell, the most that it ever was."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # pragma: no cover - systems without /proc
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
