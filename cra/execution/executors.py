"""Running executors: on threads or an event loop, with timeouts that end the wait whatever the executor does.

Called by execute once everything else has agreed. A hung executor keeps its thread, never its caller; what comes back after the
timeout is dropped. Nothing here knows a policy, records an event, or retries. The waiting is in real time, whatever clock is
injected. PROTOCOL: Execute.
"""

from __future__ import annotations

import contextvars
import inspect
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

MAX_THREADS = 1_000
IDLE_SECONDS = 30.0
_CLOSE_SECONDS = 1.0
_Given = TypeVar("_Given")


class ExecutorTimeout(Exception):
    """The executor was not back in time. It may still act: the effect is unknown."""


class ExecutorCancelled(Exception):
    """The executor cancelled itself, or was cancelled by something other than its caller. The effect is unknown."""


class ExecutorUnavailable(Exception):
    """The executor was never called: there is no thread for it, or the runtime is closed."""


class _Call:
    """One call, between the side that waits and the side that runs. Either may be the first to be done with it.

    Both write before they look at what the other has written, so that one of them at least drops a late result.
    """

    def __init__(self, notify: Callable[[], object]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.settled = False
        self.abandoned = False
        self._notify = notify

    def settle(self) -> None:
        self.settled = True
        if self.abandoned:
            _close(self.value)
        self._notify()

    def abandon(self) -> None:
        self.abandoned = True
        if self.settled:
            _close(self.value)

    def result(self) -> Any:
        """What the executor returned; or raises what it raised."""
        error, self.error = self.error, None
        if error is None:
            return self.value
        import asyncio

        try:
            if isinstance(error, asyncio.CancelledError):
                raise ExecutorCancelled("the executor was cancelled") from error
            raise error
        finally:
            del error  # its traceback has this frame


class _Threaded(_Call):
    """A call on a pool thread."""

    def __init__(
        self, function: Callable[..., Any], parameters: Mapping[str, Any], notify: Callable[[], object]
    ) -> None:
        super().__init__(notify)
        self._function = function
        self._parameters = parameters
        self._context = contextvars.copy_context()

    def run(self) -> None:
        if self.abandoned:
            return
        try:
            self.value = self._context.run(self._function, **self._parameters)
        except BaseException as error:
            self.error = error


class _Awaited(_Call):
    """A call on an event loop. `start`, then `abandon`, run on it; `tasks` keeps the task alive after everybody has left."""

    def __init__(self, awaitable: Awaitable[Any], notify: Callable[[], object], tasks: set[asyncio.Task[None]]) -> None:
        super().__init__(notify)
        self.started = False
        self._awaitable = awaitable
        self._tasks = tasks
        self._task: asyncio.Task[None]

    def start(self) -> None:
        import asyncio

        self.started = True
        self._task = asyncio.get_running_loop().create_task(self._drive())
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)

    def abandon(self) -> None:
        super().abandon()
        self._task.cancel()
        _close(self._awaitable)

    async def _drive(self) -> None:
        # Nothing leaves this: SystemExit out of a task would stop the loop, and an error that nobody fetches is logged.
        try:
            self.value = await self._awaitable
        except BaseException as error:
            self.error = error
        self.settle()


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
        self._idle: list[SimpleQueue[_Threaded | None]] = []
        self._threads = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, function: Callable[..., Any], parameters: Mapping[str, Any], timeout_s: float) -> Any:
        """`function(**parameters)` for a synchronous caller, who waits at most `timeout_s` seconds.

        A synchronous function runs on a pool thread; a coroutine function, or an awaitable that a function returns, on the
        event loop of this object, where it is cancelled at the timeout. Context variables are the caller's. Raises what the
        executor raises, `ExecutorTimeout`, `ExecutorCancelled`, or `ExecutorUnavailable` where it was not called.
        """
        if _is_coroutine_function(function):
            return self._await_in_background(function(**parameters), timeout_s)
        deadline = time.monotonic() + timeout_s
        done = _Signal()
        call = _Threaded(function, parameters, done.set)
        self._submit(call)
        try:
            done.wait(timeout_s)
        except BaseException:
            call.abandon()
            raise
        value = call.result()
        if inspect.isawaitable(value):
            return self._await_in_background(value, deadline - time.monotonic())
        return value

    async def acall(self, function: Callable[..., Any], parameters: Mapping[str, Any], timeout_s: float) -> Any:
        """`call` for a caller on an event loop: what can be awaited runs on that loop, the rest on a pool thread.

        When the caller is cancelled so is the executor, without waiting for it.
        """
        import asyncio

        if _is_coroutine_function(function):
            return await self._await_here(function(**parameters), timeout_s)
        deadline = time.monotonic() + timeout_s
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        call = _Threaded(function, parameters, lambda: _post(loop, partial(done.set_result, None)))
        self._submit(call)
        await _wait_here(call, done, timeout_s)
        value = call.result()
        if inspect.isawaitable(value):
            return await self._await_here(value, deadline - time.monotonic())
        return value

    def close(self) -> None:
        """Let idle threads end, cancel what runs on the event loop, and refuse further calls. Waits for nothing."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            loop, self._loop = self._loop, None
        for inbox in idle:
            inbox.put(None)
        if loop is not None:
            _post(loop, loop.stop)

    # The pool

    def _submit(self, call: _Threaded) -> None:
        with self._lock:
            self._check_open()
            if self._idle:
                self._idle.pop().put(call)
                return
            if self._threads >= self._max_threads:
                raise ExecutorUnavailable(
                    f"{self._threads} executors are running or hung, as many as may; wait for some of them to end"
                )
            self._threads += 1
        inbox: SimpleQueue[_Threaded | None] = SimpleQueue()
        inbox.put(call)
        try:
            _start_thread("cra-executor", self._work, inbox)
        except ExecutorUnavailable:
            with self._lock:
                self._threads -= 1
            raise

    def _work(self, inbox: SimpleQueue[_Threaded | None]) -> None:
        while True:
            try:
                call = inbox.get(timeout=self._idle_seconds)
            except Empty:
                if self._retire(inbox):
                    return
                continue
            if call is None:
                return
            call.run()
            # Idle before the caller knows: his next call finds this thread.
            with self._lock:
                closed = self._closed
                if not closed:
                    self._idle.append(inbox)
            call.settle()
            if closed:
                return
            del call  # not kept alive by an idle thread

    def _retire(self, inbox: SimpleQueue[_Threaded | None]) -> bool:
        """Whether the thread of `inbox` may end; not, where a call is on its way to it."""
        with self._lock:
            if inbox not in self._idle:
                return False
            self._idle.remove(inbox)
            self._threads -= 1
            return True

    def _check_open(self) -> None:
        if self._closed:
            raise ExecutorUnavailable("the runtime is closed; make a new Resolver")

    # The event loops

    def _await_in_background(self, awaitable: Awaitable[Any], timeout_s: float) -> Any:
        done = _Signal()
        call = _Awaited(awaitable, done.set, self._tasks)
        try:
            loop = self._background_loop()
            # The handle carries the caller's context variables.
            if not _post(loop, call.start):
                raise ExecutorUnavailable("the event loop of the executors has just been closed; execute again")
        except BaseException:
            _close(awaitable)
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
        call = _Awaited(awaitable, partial(done.set_result, None), self._tasks)
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
            raise ExecutorTimeout("the executor did not come back in time")


def _start_thread(name: str, target: Callable[[_Given], None], argument: _Given) -> int | None:
    thread = threading.Thread(target=target, args=(argument,), name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ExecutorUnavailable(f"there is no thread for the executor: {error}") from None
    return thread.ident


async def _wait_here(call: _Call, done: asyncio.Future[None], timeout_s: float) -> None:
    import asyncio

    try:
        await asyncio.wait({done}, timeout=max(timeout_s, 0.0))
        if not call.settled:
            raise ExecutorTimeout("the executor did not come back in time")
    except BaseException:
        call.abandon()
        raise


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


def _is_coroutine_function(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _close(value: object) -> None:
    """Close a coroutine that was never started and never will be."""
    if inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
        value.close()
