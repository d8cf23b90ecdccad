"""Timers on a running event loop: callbacks run on it, and may be coroutine functions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from inspect import isawaitable

from cra.timing.clock import Clock, SystemClock
from cra.timing.schedule import Callback
from cra.timing.timers import Timers


class AsyncioTimers(Timers):
    """Made on the event loop that is to run the callbacks, or given it; scheduled and cancelled from any thread.

    A callback that blocks holds up the loop, as everywhere in asyncio; one that is awaited does not hold up other timers, and
    is not called again before it is done. What still runs at `close` is cancelled. Raises `RuntimeError` where there is no loop.
    """

    name = "asyncio timers"
    runs_coroutines = True

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, *, clock: Clock | None = None) -> None:
        super().__init__(clock or SystemClock())
        self._loop = loop or asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._running: dict[Callback, asyncio.Future[object]] = {}

    def wake(self) -> None:
        """Look at the clock soon; for clocks other than the system's, once they were moved."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._step)

    def close(self) -> None:
        """See `TimerBackend`."""
        super().close()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop)

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

    def _call(self, callback: Callback) -> None:
        if callback in self._running:
            self._missed += 1
            return
        result = callback()
        if isawaitable(result):
            task = self._running[callback] = asyncio.ensure_future(_finish(result), loop=self._loop)
            task.add_done_callback(lambda done: self._note_done(callback, done))

    def _note_done(self, callback: Callback, done: asyncio.Future[object]) -> None:
        self._running.pop(callback, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            self._note_error(error)

    def _note_scheduled(self, timer_id: str, due_ns: int, interval_ns: int | None) -> None:
        if self._schedule.next_due() == due_ns:
            self.wake()


async def _finish(result: Awaitable[object]) -> object:
    return await result
