"""Timers on a running event loop: callbacks run on it, and may be coroutine functions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable

from cra.timing.clock import Clock, SystemClock
from cra.timing.schedule import Timer
from cra.timing.timers import Timers


class AsyncioTimers(Timers):
    """Made on the event loop that is to run the callbacks, or given it; scheduled and cancelled from any thread.

    A callback that blocks holds up the loop, as everywhere in asyncio; one that is awaited does not hold up other timers, and
    a repeating timer does not call it again before it is done. What still runs at `close` is cancelled. Raises `RuntimeError`
    where there is no loop.
    """

    name = "asyncio timers"
    runs_coroutines = True

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, *, clock: Clock | None = None) -> None:
        super().__init__(clock or SystemClock())
        self._loop = loop or asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._running: dict[Timer, asyncio.Future[object]] = {}

    def wake(self) -> None:
        """Look at the clock soon; for clocks other than the system's, once they were moved."""
        self._call_soon(self._step)

    def close(self) -> None:
        """See `TimerBackend`."""
        super().close()
        self._call_soon(self._stop)

    def _call_soon(self, function: Callable[[], None]) -> None:
        # The loop may be closed, on its own thread and just now: nothing runs there any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def _stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        for task in self._running.values():
            task.cancel()

    def _step(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        left = self.run_due()
        if left is not None:
            self._handle = self._loop.call_later(left, self._step)

    def _call(self, timer: Timer) -> None:
        if timer in self._running:
            self._missed += 1
            return
        result = timer.callback()
        if isawaitable(result):
            task = self._running[timer] = asyncio.ensure_future(_finish(result), loop=self._loop)
            task.add_done_callback(lambda done: self._note_done(timer, done))

    def _note_done(self, timer: Timer, done: asyncio.Future[object]) -> None:
        self._running.pop(timer, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            self._note_error(error)

    def _note_scheduled(self, timer_id: str, due_ns: int, interval_ns: int | None) -> None:
        if self._schedule.next_due() == due_ns:
            self.wake()


async def _finish(result: Awaitable[object]) -> object:
    return await result
