"""What users import in their own tests: a clock they advance, ids they can repeat, assertions, golden traces, rules for backends.

The fixtures for pytest are in the plugin (`pytest_cra`), policy tests in `cra.testing.policies`. docs/testing-atlases.md."""

from __future__ import annotations

import random
import threading
from datetime import datetime, timedelta, timezone

from cra.ids import make_uuid7
from cra.testing.assertions import assert_allowed, assert_denied, assert_held
from cra.testing.timers import VirtualTimers
from cra.timing.clock import NS_PER_SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=timezone.utc)


class VirtualClock:
    """A clock that stands still until it is told to move.

    `start` is a datetime with a zone, or ns since the epoch; by default 2026-01-01T12:00:00Z. The monotonic clock starts at 0.
    """

    def __init__(self, start: datetime | int | None = None) -> None:
        if isinstance(start, int):
            self._now_ns = start
        else:
            moment = _START if start is None else start
            if moment.tzinfo is None:
                raise ValueError("start needs a time zone, such as datetime(2026, 1, 1, tzinfo=timezone.utc)")
            self._now_ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
        self._monotonic_ns = 0
        self._lock = threading.RLock()  # reentrant: what a timer runs may make time pass
        self._timers: list[VirtualTimers] = []

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks; `seconds` ≥ 0. Timers that it drives fire on the way, each at its time."""
        if seconds < 0:
            raise ValueError("time does not run backwards; use set_wall to move the wall clock alone")
        with self._lock:
            end = self._monotonic_ns + round(seconds * NS_PER_SECOND)
            while True:
                due = min((due for each in self._timers if (due := each.next_due()) is not None), default=end + 1)
                self._reach(min(due, end))
                if due > end:
                    return
                for each in list(self._timers):
                    each.run_due()

    def drive(self, timers: VirtualTimers) -> None:
        """Have `advance` run these timers, too; they call this themselves."""
        self._timers.append(timers)

    def _reach(self, monotonic_ns: int) -> None:
        step = max(0, monotonic_ns - self._monotonic_ns)
        self._now_ns += step
        self._monotonic_ns += step

    def set_wall(self, now_ns: int) -> None:
        """Set the wall clock alone, as an administrator or NTP does; it may jump backwards."""
        with self._lock:
            self._now_ns = now_ns


class SeededIds:
    """An id source that repeats itself: the same seed draws the same ids."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def draw(self, unix_ms: int) -> int:
        return make_uuid7(unix_ms, self._random.getrandbits(74))


__all__ = ["SeededIds", "VirtualClock", "VirtualTimers", "assert_allowed", "assert_denied", "assert_held"]
