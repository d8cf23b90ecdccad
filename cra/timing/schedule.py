"""Timers in the order in which they are due: a heap and a table by id.

Used by the timer backends alone, each under a lock of its own. It reads no clock, runs nothing and starts no thread: a hundred
thousand timers cost memory while they wait, and nothing else.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

Callback = Callable[[], object]
_SLACK = 64
"""Timers that are gone and may stay in the heap whatever its size."""


class Timer:
    """One timer. `interval_ns` is None where it fires once; `missed` counts the times at which it should have fired and did not,
    because it was looked at too late."""

    __slots__ = ("callback", "due_ns", "interval_ns", "is_gone", "missed", "timer_id")

    def __init__(self, timer_id: str, due_ns: int, interval_ns: int | None, callback: Callback) -> None:
        self.timer_id = timer_id
        self.due_ns = due_ns
        self.interval_ns = interval_ns
        self.callback = callback
        self.is_gone = False
        self.missed = 0


class Schedule:
    """See the module. Times are ns on the caller's clock. Of timers due at the same time the one scheduled first comes first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._timers: dict[str, Timer] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._timers)

    def __contains__(self, timer_id: object) -> bool:
        return timer_id in self._timers

    def add(self, timer_id: str, due_ns: int, interval_ns: int | None, callback: Callback) -> None:
        """Schedule a timer, in the place of one with the same id."""
        self.remove(timer_id)
        timer = self._timers[timer_id] = Timer(timer_id, due_ns, interval_ns, callback)
        self._push(timer)

    def remove(self, timer_id: str) -> bool:
        """Forget a timer; False where there is none."""
        timer = self._timers.pop(timer_id, None)
        if timer is None:
            return False
        timer.is_gone = True
        if len(self._heap) > 2 * len(self._timers) + _SLACK:
            self._heap = [entry for entry in self._heap if not entry[2].is_gone]
            heapq.heapify(self._heap)
        return True

    def find(self, timer_id: str) -> Timer | None:
        """The timer of this id."""
        return self._timers.get(timer_id)

    def all(self) -> list[Timer]:
        """All timers, the next one first."""
        return [timer for _, _, timer in sorted(self._heap[:]) if not timer.is_gone]

    def next_due(self) -> int | None:
        """When the next timer is due; None without timers."""
        while self._heap and self._heap[0][2].is_gone:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now_ns: int) -> Timer | None:
        """The next timer that is due. One that repeats is scheduled again, for the first of its times after now."""
        due = self.next_due()
        if due is None or due > now_ns:
            return None
        timer = heapq.heappop(self._heap)[2]
        self._advance(timer, now_ns)
        return timer

    def take(self, timer_id: str, now_ns: int) -> Timer | None:
        """This timer, due or not, as `pop` gives it; None where there is none."""
        timer = self._timers.get(timer_id)
        if timer is None:
            return None
        self.remove(timer_id)
        # A copy: what is in the heap of the old one is passed over from now on.
        taken = self._timers[timer_id] = Timer(timer_id, timer.due_ns, timer.interval_ns, timer.callback)
        taken.missed = timer.missed
        self._advance(taken, now_ns)
        return taken

    def _advance(self, timer: Timer, now_ns: int) -> None:
        """Let go of a timer that fires now, or schedule its next time: on its own beat, so that it never drifts."""
        if timer.interval_ns is None:
            del self._timers[timer.timer_id]
            return
        behind = max(0, now_ns - timer.due_ns) // timer.interval_ns
        timer.missed += behind
        timer.due_ns += (behind + 1) * timer.interval_ns
        self._push(timer)

    def _push(self, timer: Timer) -> None:
        self._number += 1
        heapq.heappush(self._heap, (timer.due_ns, self._number, timer))
