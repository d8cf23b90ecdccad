"""Timers that somebody else fires: cron, a scheduler service, a webhook.

The host is told what is scheduled, by ids that stay the same from run to run, and calls `fire(timer_id)` when it is time, from
any thread, in its own good time. Too early, twice or unknown: nothing happens, and the answer says which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from cra.timing.clock import NS_PER_SECOND, Clock, SystemClock
from cra.timing.timers import Timers, _nanoseconds

Firing = Literal["fired", "not_due", "unknown"]


class ScheduledTimer(msgspec.Struct, frozen=True):
    """A timer as its host has to know it. `due_ns` is on the wall clock, ns since the epoch; `interval` in seconds, None where
    it fires once."""

    timer_id: str
    due_ns: int
    interval: float | None


class ExternalTimers(Timers):
    """See the module.

    `on_schedule(ScheduledTimer)` and `on_cancel(timer_id)` are called for every change, to register it with the scheduler; they
    must not call back. What they raise is raised by whoever schedules, and nothing is scheduled then; a runtime looks after its
    sessions again with its next heartbeat. A firing that comes at
    most `tolerance` seconds before its time is in time. With no scheduler to tell, poll: `run_due()`.
    """

    name = "external timers"

    def __init__(
        self,
        *,
        on_schedule: Callable[[ScheduledTimer], object] | None = None,
        on_cancel: Callable[[str], object] | None = None,
        tolerance: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock or SystemClock())
        self._on_schedule = on_schedule
        self._on_cancel = on_cancel
        self._tolerance_ns = _nanoseconds("tolerance", tolerance, 0.0)

    def fire(self, timer_id: str) -> Firing:
        """Run a timer that is due.

        `"not_due"`: it is before its time, as the second of two firings for one time is. `"unknown"`: it is not scheduled,
        since it fired or was cancelled. What was missed in the meantime is counted, and not caught up with.
        """
        with self._turn:
            with self._lock:
                now = self._now_ns()
                found = self._schedule.find(timer_id)
                if found is None:
                    return "unknown"
                if now + self._tolerance_ns < found.due_ns:
                    return "not_due"
                timer = self._schedule.take(timer_id, now)
            assert timer is not None
            self._fire(timer)
            return "fired"

    def pending(self) -> list[ScheduledTimer]:
        """What is scheduled, the next one first."""
        with self._lock:
            return [self._describe(timer.timer_id, timer.due_ns, timer.interval_ns) for timer in self._schedule.all()]

    def _describe(self, timer_id: str, due_ns: int, interval_ns: int | None) -> ScheduledTimer:
        wall_ns = self._clock.now_ns() + due_ns - self._now_ns()
        return ScheduledTimer(timer_id, wall_ns, None if interval_ns is None else interval_ns / NS_PER_SECOND)

    def _note_scheduled(self, timer_id: str, due_ns: int, interval_ns: int | None) -> None:
        if self._on_schedule is not None:
            try:
                self._on_schedule(self._describe(timer_id, due_ns, interval_ns))
            except BaseException:
                self._schedule.remove(timer_id)
                raise

    def _note_cancelled(self, timer_id: str) -> None:
        if self._on_cancel is not None:
            self._on_cancel(timer_id)
