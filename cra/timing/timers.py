"""Timers: the `TimerBackend` protocol, and what its four implementations share.

The runtime schedules a handful of timers by id (`cra.timing.manager`); a host may schedule its own. `ThreadTimers`,
`AsyncioTimers`, `ExternalTimers` and, for tests, `cra.testing.VirtualTimers` differ in who looks at the clock.
`cra.testing.timer_contract` tests all of them. PROTOCOL: Timing defaults.
"""

from __future__ import annotations

import math
import threading
from inspect import iscoroutinefunction
from typing import Protocol, runtime_checkable

import msgspec

from cra.timing.clock import NS_PER_SECOND, Clock
from cra.timing.schedule import Callback, Schedule, Timer

LONGEST_DELAY = 10 * 365 * 86_400.0
"""Seconds: a timer that is due in more than ten years is a mistake in a unit."""


class TimerStats(msgspec.Struct, frozen=True):
    """Counts of a timer backend: timers that wait, callbacks run, times missed because nobody looked, callbacks that raised."""

    waiting: int
    fired: int
    missed: int
    errors: int
    last_error: str | None = None


@runtime_checkable
class TimerBackend(Protocol):
    """Calls functions later. Safe to call from any thread, and from within a callback.

    An id names one timer: to schedule it again replaces it. What a callback raises is counted and never ends the backend or a
    repeating timer. Callbacks of one backend run one at a time. Times are those of the backend's own monotonic clock.
    """

    name: str

    def schedule_once(self, timer_id: str, delay: float, callback: Callback) -> None:
        """Call `callback` in `delay` seconds, 0 or more. Raises `ValueError` for what is no delay, `RuntimeError` once closed."""
        ...

    def schedule_repeating(self, timer_id: str, interval: float, callback: Callback) -> None:
        """Call `callback` every `interval` seconds (more than 0), for the first time in `interval` seconds.

        Its beat does not drift: what was missed is counted and not caught up with. Raises as `schedule_once`.
        """
        ...

    def cancel(self, timer_id: str) -> bool:
        """Forget a timer; a callback that runs already is not waited for. False where there is no such timer."""
        ...

    def exists(self, timer_id: str) -> bool:
        """Whether the timer is still to fire."""
        ...

    def time_remaining(self, timer_id: str) -> float | None:
        """Seconds until the timer is due, 0 when it is overdue; None where there is no such timer."""
        ...

    def stats(self) -> TimerStats:
        """Counts since the start."""
        ...

    def close(self) -> None:
        """Forget all timers and schedule no more. Takes no lock that a callback could hold; harmless when repeated."""
        ...


class Timers:
    """What the backends share: a schedule under a lock, and `run_due`, which whoever looks at the clock calls."""

    name = "timers"
    runs_coroutines = False
    """Whether a callback may be a coroutine function."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._schedule = Schedule()
        self._lock = threading.Lock()  # never held while a callback runs
        self._turn = threading.RLock()  # callbacks take turns; reentrant, since one may make time pass
        self._closed = False
        self._fired = self._missed = self._errors = 0
        self._last_error: str | None = None

    def schedule_once(self, timer_id: str, delay: float, callback: Callback) -> None:
        """See `TimerBackend`."""
        self._add(timer_id, _nanoseconds("delay", delay, 0.0), None, callback)

    def schedule_repeating(self, timer_id: str, interval: float, callback: Callback) -> None:
        """See `TimerBackend`."""
        interval_ns = _nanoseconds("interval", interval, 1e-3)
        self._add(timer_id, interval_ns, interval_ns, callback)

    def _add(self, timer_id: str, delay_ns: int, interval_ns: int | None, callback: Callback) -> None:
        if not isinstance(timer_id, str) or not timer_id:
            raise ValueError("a timer's id is a string that is not empty")
        if not callable(callback):
            raise TypeError(f"the callback of timer {timer_id!r} is not callable")
        if iscoroutinefunction(callback) and not self.runs_coroutines:
            raise TypeError(f"{self.name} cannot await the callback of timer {timer_id!r}; use AsyncioTimers")
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self.name} are closed; make new ones")
            due_ns = self._now_ns() + delay_ns
            self._schedule.add(timer_id, due_ns, interval_ns, callback)
            self._note_scheduled(timer_id, due_ns, interval_ns)

    def cancel(self, timer_id: str) -> bool:
        """See `TimerBackend`."""
        with self._lock:
            was_there = self._schedule.remove(timer_id)
            if was_there:
                self._note_cancelled(timer_id)
            return was_there

    def exists(self, timer_id: str) -> bool:
        """See `TimerBackend`."""
        with self._lock:
            return timer_id in self._schedule

    def time_remaining(self, timer_id: str) -> float | None:
        """See `TimerBackend`."""
        with self._lock:
            timer = self._schedule.find(timer_id)
            return None if timer is None else max(0, timer.due_ns - self._now_ns()) / NS_PER_SECOND

    def stats(self) -> TimerStats:
        """See `TimerBackend`."""
        return TimerStats(len(self._schedule), self._fired, self._missed, self._errors, self._last_error)

    def close(self) -> None:
        """See `TimerBackend`. No lock: the collector may call it, in a forked child as well."""
        self._closed = True
        self._schedule = Schedule()

    def run_due(self) -> float | None:
        """Run what is due, in order, on this thread; returns the seconds until the next timer, None without any."""
        with self._turn:
            while True:
                with self._lock:
                    now = self._now_ns()
                    timer = None if self._closed else self._schedule.pop(now)
                    if timer is None:
                        due = self._schedule.next_due()
                        return None if due is None else (due - now) / NS_PER_SECOND
                self._fire(timer)

    def _fire(self, timer: Timer) -> None:
        self._fired += 1
        self._missed += timer.missed
        timer.missed = 0
        try:
            self._call(timer)
        except Exception as error:
            self._note_error(error)

    def _note_error(self, error: BaseException) -> None:
        self._errors += 1
        self._last_error = f"{type(error).__name__}: {error}"

    def _now_ns(self) -> int:
        return self._clock.monotonic_ns()

    def _call(self, timer: Timer) -> None:
        timer.callback()

    def _note_scheduled(self, timer_id: str, due_ns: int, interval_ns: int | None) -> None:
        """The schedule has changed; called under the lock."""

    def _note_cancelled(self, timer_id: str) -> None:
        """A timer is gone that was not due; called under the lock."""


def _nanoseconds(what: str, seconds: float, least: float) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        raise ValueError(f"{what} is {seconds!r}; it has to be a number of seconds")
    if not least <= seconds <= LONGEST_DELAY:
        raise ValueError(f"{what} is {seconds!r}; it has to be between {least:g} and {LONGEST_DELAY:.0f} seconds")
    return round(seconds * NS_PER_SECOND)
