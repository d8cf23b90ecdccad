"""Running executors: on threads, on an event loop, or inline, with timeouts that end the wait whatever the executor does.

Called by execute once everything else has agreed. A hung executor keeps its thread, never its caller, unless it was registered
to run on the caller's own; what comes back after the timeout is dropped. Nothing here knows a policy, records an event, or
retries. The waiting is in real time, whatever clock is injected. PROTOCOL: Execute.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from cra.execution.running import (
    LATE,
    Awaited,
    Call,
    ExecutorTimeout,
    ExecutorUnavailable,
    Threaded,
    Way,
    close,
    is_awaitable,
    run_inline,
    way_of,
)
from cra.hotpath import Handoff
from cra.reference.handoff import LEFT, NOTHING

if TYPE_CHECKING:
    import asyncio

MAX_THREADS = 1_000
IDLE_SECONDS = 30.0
_CLOSE_SECONDS = 1.0
_Given = TypeVar("_Given")


class ExecutorThreads:
    """The threads of one runtime: a pool for synchronous executors, and one event loop for asynchronous ones.

    Pool threads are made when none is idle, at most `max_threads`, and end after `idle_seconds` without work. All are daemons
    that are never joined, so that a hung executor holds up neither `close` nor the end of the process. A forked child starts
    with none. Safe to call from many threads.
    """

    def __init__(self, max_threads: int = MAX_THREADS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._max_threads = max_threads
        self._idle_seconds = idle_seconds
        self._closed = False
        self._start_afresh()
        reset = weakref.WeakMethod(self._start_afresh)

        def in_child() -> None:  # pragma: no cover - runs in forked children only
            start_afresh = reset()
            if start_afresh is not None:
                start_afresh()

        os.register_at_fork(after_in_child=in_child)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Handoff] = []
        """The threads that wait for work, by what they wait at. Each is taken out, or put back, in one step: no lock."""
        self._threads = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def call(
        self, function: Callable[..., Any], parameters: Mapping[str, Any], timeout_s: float, way: Way | None = None
    ) -> Any:
        """`function(**parameters)` for a synchronous caller, who waits at most `timeout_s` seconds.

        `way` None is what `way_of` says: a synchronous function runs on a pool thread; a coroutine function, or an awaitable that
        a function returns, on the event loop of this object, where it is cancelled at the timeout. An `inline` one runs here, and
        whether it took too long is seen when it is back. Context variables are the caller's. Raises what the executor raises,
        `ExecutorTimeout`, `ExecutorCancelled`, or `ExecutorUnavailable` where it was not called.
        """
        way = way or way_of(function)
        if way == "loop":
            return self._await_in_background(function(**parameters), timeout_s)
        deadline = time.monotonic() + timeout_s
        if way == "inline":
            self._check_open()
            value = run_inline(function, parameters, deadline)
        else:
            value = self._run_on_thread(Threaded(function, parameters), timeout_s)
        if is_awaitable(value):
            return self._await_in_background(value, deadline - time.monotonic())
        return value

    async def acall(
        self, function: Callable[..., Any], parameters: Mapping[str, Any], timeout_s: float, way: Way | None = None
    ) -> Any:
        """`call` for a caller on an event loop: what can be awaited runs on that loop, the rest as in `call`.

        When the caller is cancelled so is the executor, without waiting for it.
        """
        way = way or way_of(function)
        if way == "loop":
            return await self._await_here(function(**parameters), timeout_s)
        deadline = time.monotonic() + timeout_s
        if way == "inline":
            self._check_open()
            value = run_inline(function, parameters, deadline)
        else:
            value = await self._await_thread(function, parameters, timeout_s)
        if is_awaitable(value):
            return await self._await_here(value, deadline - time.monotonic())
        return value

    def close(self) -> None:
        """Let idle threads end, cancel what runs on the event loop, and refuse further calls. Waits for nothing."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        self._dismiss()
        if loop is not None:
            _post(loop, loop.stop)

    # The pool

    def _run_on_thread(self, call: Threaded, timeout_s: float) -> Any:
        thread = self._take_thread()
        try:
            if not thread.ask(call, timeout_s):
                raise ExecutorTimeout(LATE)
        except BaseException:
            call.abandon()
            raise
        self._make_idle(thread)
        return call.result()

    async def _await_thread(self, function: Callable[..., Any], parameters: Mapping[str, Any], timeout_s: float) -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        done = loop.create_future()
        call = Threaded(function, parameters, lambda: _post(loop, partial(_finish, done)))
        self._take_thread().give(call)
        await _wait_here(call, done, timeout_s)
        return call.result()

    def _take_thread(self) -> Handoff:
        try:
            return self._idle.pop()
        except IndexError:
            return self._new_thread()

    def _new_thread(self) -> Handoff:
        with self._lock:
            self._check_open()
            if self._threads >= self._max_threads:
                raise ExecutorUnavailable(
                    f"{self._threads} executors are running or hung, as many as may; wait for some of them to end"
                )
            self._threads += 1
        thread = Handoff()
        try:
            _start_thread("cra-executor", self._work, thread)
        except ExecutorUnavailable:
            with self._lock:
                self._threads -= 1
            raise
        return thread

    def _work(self, thread: Handoff) -> None:
        while True:
            call = thread.next(self._idle_seconds)
            if isinstance(call, Threaded):
                call.run()
                # Where nobody waits for the thread it is idle before the caller knows: his next call finds it.
                if call.notify is not None:
                    self._make_idle(thread)
                call.settle()
            elif call is LEFT:
                self._make_idle(thread)
            elif call is not NOTHING or self._retire(thread):
                return
            del call  # not kept alive by an idle thread

    def _make_idle(self, thread: Handoff) -> None:
        self._idle.append(thread)
        if self._closed:
            self._dismiss()

    def _dismiss(self) -> None:
        """Let the idle threads end; called again by whoever makes one idle after the close."""
        while self._idle:
            try:
                thread = self._idle.pop()
            except IndexError:  # pragma: no cover - another thread has just done the same
                return
            thread.give(None)

    def _retire(self, thread: Handoff) -> bool:
        """Whether a thread may end; not, where a call is on its way to it."""
        with self._lock:
            try:
                self._idle.remove(thread)
            except ValueError:
                return False
            self._threads -= 1
            return True

    def _check_open(self) -> None:
        if self._closed:
            raise ExecutorUnavailable("the runtime is closed; make a new Resolver")

    # The event loops

    def _await_in_background(self, awaitable: Awaitable[Any], timeout_s: float) -> Any:
        done = _Signal()
        call = Awaited(awaitable, done.set, self._tasks)
        try:
            loop = self._background_loop()
            # The handle carries the caller's context variables.
            if not _post(loop, call.start):
                raise ExecutorUnavailable("the event loop of the executors has just been closed; execute again")
        except BaseException:
            close(awaitable)
            raise
        try:
            done.wait(timeout_s)
        except BaseException as error:
            _post(loop, call.abandon)
            if isinstance(error, ExecutorTimeout) and not call.started:
                self._give_up(loop)
            raise
        return call.result()

    async def _await_here(self, awaitable: Awaitable[Any], timeout_s: float) -> Any:
        import asyncio

        done = asyncio.get_running_loop().create_future()
        call = Awaited(awaitable, partial(_finish, done), self._tasks)
        call.start()
        await _wait_here(call, done, timeout_s)
        return call.result()

    def _background_loop(self) -> asyncio.AbstractEventLoop:
        """The loop for callers who have none, started when it is first needed."""
        import asyncio

        with self._lock:
            self._check_open()
            if self._loop is None or self._loop.is_closed():
                loop = asyncio.new_event_loop()
                try:
                    self._loop_thread = _start_thread("cra-executor-loop", _serve, loop)
                except ExecutorUnavailable:
                    loop.close()
                    raise
                self._loop = loop
            elif self._loop_thread == threading.get_ident():
                raise ExecutorUnavailable(
                    "an asynchronous executor called execute() for another one, which would wait for itself; use aexecute()"
                )
            return self._loop

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave a loop alone on which something blocks; the next call gets a new one."""
        with self._lock:
            if self._loop is loop:
                self._loop = None


class _Signal:
    """`threading.Event` for one waiter and one shot, at a fraction of its price."""

    __slots__ = ("set", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.set = self._lock.release

    def wait(self, timeout_s: float) -> None:
        if not self._lock.acquire(timeout=min(max(timeout_s, 0.0), threading.TIMEOUT_MAX)):
            raise ExecutorTimeout(LATE)


def _start_thread(name: str, target: Callable[[_Given], None], argument: _Given) -> int | None:
    thread = threading.Thread(target=target, args=(argument,), name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ExecutorUnavailable(f"there is no thread for the executor: {error}") from None
    return thread.ident


async def _wait_here(call: Call, done: asyncio.Future[None], timeout_s: float) -> None:
    """Wait until the call is settled, which finishes `done`. Without `asyncio.wait`, which does the same at twice the price."""
    timer = done.get_loop().call_later(max(timeout_s, 0.0), _finish, done)
    try:
        await done
        if not call.settled:
            raise ExecutorTimeout(LATE)
    except BaseException:
        call.abandon()
        raise
    finally:
        timer.cancel()


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """The thread of a background loop: until it is stopped, and then until what ran on it is cancelled."""
    import asyncio

    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_CLOSE_SECONDS))
        loop.close()


def _post(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> bool:
    """Have `callback` called on the loop; False where the loop is closed, and nobody is there to call it."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return False
    return True
