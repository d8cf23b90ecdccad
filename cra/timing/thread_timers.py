"""Timers on a thread of their own: one thread for all of them, asleep until the next is due."""

from __future__ import annotations

from cra.timing.clock import Clock, SystemClock
from cra.timing.schedule import Timer
from cra.timing.timers import Timers
from cra.trace.worker import Worker


class ThreadTimers(Timers):
    """See the module. The thread begins with the first timer and sleeps without polling.

    `clock` other than the system's: `wake` has to be called when it was moved.
    """

    name = "thread timers"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock or SystemClock())
        self._worker = Worker(self._step, "cra-timers")

    def wake(self) -> None:
        """Look at the clock now."""
        with self._lock:
            self._worker.wake()

    def close(self) -> None:
        """See `TimerBackend`. Does not wait for a callback that runs."""
        super().close()
        self._worker.stop()

    def _step(self) -> float | None:
        return self.run_due()

    def _call(self, timer: Timer) -> None:
        try:
            timer.callback()
        except (
            BaseException
        ) as error:  # of `sys.exit`, say: the thread would end without a word, and all timers with it
            self._note_error(error)

    def _note_scheduled(self, timer_id: str, due_ns: int, interval_ns: int | None) -> None:
        if self._schedule.next_due() == due_ns:  # else the thread wakes up in time anyway
            self._worker.wake()
