"""The timers of a runtime: heartbeats, lifetimes of sessions, periodic flushes. Made, started and stopped by `cra.resolver`.

It schedules three timers by ids that stay the same from run to run, and holds nothing alive: a runtime that nobody refers to is
collected with its timers still scheduled. PROTOCOL: Timing defaults.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

import msgspec

from cra.timing.clock import NS_PER_SECOND, Clock
from cra.timing.heartbeat import CustomPayload
from cra.timing.session_ttl import SessionLifetimes
from cra.timing.timers import LONGEST_DELAY, TimerBackend

if TYPE_CHECKING:
    from cra.session import Session


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What a runtime does by the clock. Times are seconds; None switches off.

    - `heartbeat_seconds`: between two `runtime.heartbeat` events; `heartbeat_payload()` gives what else they say.
    - `warning_seconds`: how long before its end an expiring session is warned (`session.expiring`); `on_warning(session,
      seconds_left)` is called then.
    - `grace_seconds`: how long executions that are under way when their session expires have to come back.
    - `flush_seconds`, `flush_level`: flush every so often, to `"stored"` or `"durable"`.
    - `name`: what the ids of the timers begin with, where a `TimerBackend` serves several runtimes.
    """

    heartbeat_seconds: float | None = 30.0
    heartbeat_payload: CustomPayload | None = None
    warning_seconds: float = 300.0
    on_warning: Callable[[Session, float], object] | None = None
    grace_seconds: float = 60.0
    flush_seconds: float | None = None
    flush_level: Literal["stored", "durable"] = "stored"
    name: str = "cra"

    def check(self) -> None:
        """Raises `ValueError` for what is out of range."""
        for field, least in (("heartbeat_seconds", 1e-3), ("flush_seconds", 1e-3)):
            seconds = getattr(self, field)
            if seconds is not None and not _is_number(seconds, least):
                raise ValueError(
                    f"{field} is {seconds!r}; it has to be a number of seconds, {least:g} to {LONGEST_DELAY:.0f}, or None"
                )
        for field in ("warning_seconds", "grace_seconds"):
            seconds = getattr(self, field)
            if not _is_number(seconds, 0):
                raise ValueError(f"{field} is {seconds!r}; it has to be a number of seconds, 0 to {LONGEST_DELAY:.0f}")
        for field in ("heartbeat_payload", "on_warning"):
            if getattr(self, field) is not None and not callable(getattr(self, field)):
                raise ValueError(f"{field} has to be a function")
        if self.flush_level not in ("stored", "durable"):
            raise ValueError(f"flush_level is {self.flush_level!r}; it has to be 'stored' or 'durable'")
        if not isinstance(self.name, str) or not self.name:
            raise ValueError("name has to be a string that is not empty")


# Which runtime's timers have a name, by backend, which lives as long as its runtimes do.
_served: weakref.WeakValueDictionary[tuple[int, str], TimerManager] = weakref.WeakValueDictionary()


class TimerManager:
    """See the module.

    `expire` records the approvals that nobody decided in time and returns when it wants to be called again (monotonic, ns),
    `beat` records a heartbeat, `flush` flushes; what they raise, the timers count.
    """

    def __init__(
        self,
        timers: TimerBackend,
        timing: Timing,
        clock: Clock,
        lifetimes: SessionLifetimes,
        *,
        expire: Callable[[], int],
        beat: Callable[[], object],
        flush: Callable[[], object],
    ) -> None:
        self._timers = timers
        self._timing = timing
        self._clock = clock
        self._lifetimes = lifetimes
        self._expire = expire
        self._beat = beat
        self._flush = flush
        self._stopped = False
        self._sweep_id, self._beat_id, self._flush_id = (
            f"{timing.name}/{what}" for what in ("sessions", "heartbeat", "flush")
        )

    @property
    def timed_out(self) -> int:
        """Sessions that were ended by the clock."""
        return self._lifetimes.timed_out

    def start(self) -> None:
        """Schedule the timers.

        Raises `ValueError` for an interval that the backend does not take, or where it serves another runtime of this name, and
        whatever else the backend raises.
        """
        timing = self._timing
        if _served.setdefault((id(self._timers), timing.name), self) is not self:
            raise ValueError(
                f"these timers serve another runtime whose name is {timing.name!r}; close that one, or give this one a"
                " Timing.name of its own"
            )
        if timing.heartbeat_seconds is not None:
            self._timers.schedule_repeating(self._beat_id, timing.heartbeat_seconds, _weakly(self._do_beat))
        if timing.flush_seconds is not None:
            self._timers.schedule_repeating(self._flush_id, timing.flush_seconds, _weakly(self._do_flush))
        self._do_sweep()

    def stop(self) -> None:
        """Cancel the timers. Harmless when repeated. Raises what the backend raises, when all of them are cancelled."""
        self._stopped = True
        place = id(self._timers), self._timing.name
        if _served.get(place) is not self:
            return
        with ExitStack() as stack:
            stack.callback(_served.pop, place, None)
            for timer_id in (self._beat_id, self._flush_id, self._sweep_id):
                stack.callback(self._timers.cancel, timer_id)

    def _do_beat(self) -> None:
        if self._stopped:
            return
        try:
            self._beat()
        finally:
            if not self._timers.exists(self._sweep_id):  # the backend could not be told of it
                self._do_sweep()

    def _do_flush(self) -> None:
        if not self._stopped:
            self._flush()

    def _do_sweep(self) -> None:
        if self._stopped:
            return
        now = self._clock.monotonic_ns()
        again = now + NS_PER_SECOND  # where the sweep raises
        try:
            again = min(self._expire(), self._lifetimes.sweep(now))
        finally:
            if not self._stopped:
                delay = max(0, again - self._clock.monotonic_ns()) / NS_PER_SECOND
                self._timers.schedule_once(self._sweep_id, delay, _weakly(self._do_sweep))


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    """A call of a method as long as its object lives."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        found = reference()
        if found is not None:
            found()

    return call


def _is_number(seconds: object, least: float) -> bool:
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and least <= seconds <= LONGEST_DELAY
