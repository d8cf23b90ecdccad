"""Timers in virtual time: they fire when a `VirtualClock` is told to advance, each at exactly its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cra.timing.timers import Timers

if TYPE_CHECKING:
    from cra.testing import VirtualClock


class VirtualTimers(Timers):
    """`clock.advance(seconds)` runs every callback that comes due on the way, on the caller's thread, with the clock at its time.

    Pass the clock and these to the runtime: `Resolver(clock=clock, timers=VirtualTimers(clock))`.
    """

    name = "virtual timers"

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        clock.drive(self)

    def next_due(self) -> int | None:
        """When the next callback is due, on the monotonic clock, ns."""
        with self._lock:
            return self._schedule.next_due()
