"""One call of one executor: how it is to run, how it ends, and who is told.

Used by `cra.execution.executors`, which has the threads and the event loops. Nothing here knows a policy or records an event.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    import asyncio

Way = Literal["thread", "loop", "inline"]
"""Where an executor runs: on a thread of the pool, on an event loop, or on the thread of its caller."""
LATE = "the executor did not come back in time"
_CANCELLED = "the executor was cancelled"
_PLAIN = frozenset((dict, list, str, int, float, bool, type(None)))


class ExecutorTimeout(Exception):
    """The executor was not back in time. It may still act: the effect is unknown."""


class ExecutorCancelled(Exception):
    """The executor cancelled itself, or was cancelled by something other than its caller. The effect is unknown."""


class ExecutorUnavailable(Exception):
    """The executor was never called: there is no thread for it, or the runtime is closed."""


class Executor(msgspec.Struct, frozen=True):
    """A registered function, and how it runs."""

    function: Callable[..., Any]
    way: Way


def way_of(function: Callable[..., Any]) -> Way:
    """How a function runs that nothing was said about."""
    import inspect  # a tenth of the time that `import cra` takes, and a runtime that only resolves needs none of it

    asynchronous = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    return "loop" if asynchronous else "thread"


class Call:
    """One call, between the side that waits and the side that runs. Either may be the first to be done with it.

    Both write before they look at what the other has written, so that one of them at least drops a late result.
    """

    __slots__ = ("value", "error", "settled", "abandoned", "notify")

    def __init__(self, notify: Callable[[], object] | None) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.settled = False
        self.abandoned = False
        self.notify = notify

    def settle(self) -> None:
        self.settled = True
        if self.abandoned:
            close(self.value)
        if self.notify is not None:
            self.notify()

    def abandon(self) -> None:
        self.abandoned = True
        if self.settled:
            close(self.value)

    def result(self) -> Any:
        """What the executor returned; or raises what it raised."""
        error, self.error = self.error, None
        if error is None:
            return self.value
        try:
            _refuse_cancellation(error)
            raise error
        finally:
            del error  # its traceback has this frame


class Threaded(Call):
    """A call on a pool thread. `notify` None: whoever waits for the thread is told by the thread's `Handoff`."""

    __slots__ = ("_function", "_parameters", "_context")

    def __init__(
        self,
        function: Callable[..., Any],
        parameters: Mapping[str, Any],
        notify: Callable[[], object] | None = None,
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


class Awaited(Call):
    """A call on an event loop. `start`, then `abandon`, run on it; `tasks` keeps the task alive after everybody has left."""

    __slots__ = ("started", "_awaitable", "_tasks", "_task")

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
        close(self._awaitable)

    async def _drive(self) -> None:
        # Nothing leaves this: SystemExit out of a task would stop the loop, and an error that nobody fetches is logged.
        try:
            self.value = await self._awaitable
        except BaseException as error:
            self.error = error
        self.settle()


def run_inline(function: Callable[..., Any], parameters: Mapping[str, Any], deadline: float) -> Any:
    """`function(**parameters)` on this very thread, in a copy of its context.

    Raises what it raises; `ExecutorCancelled`, and `ExecutorTimeout` where it came back, whatever with, after `deadline`
    (`time.monotonic`).
    """
    try:
        value = contextvars.copy_context().run(function, **parameters)
    except BaseException as error:
        if time.monotonic() >= deadline and isinstance(error, Exception):
            raise ExecutorTimeout(LATE) from error
        _refuse_cancellation(error)
        raise
    if time.monotonic() >= deadline:
        close(value)
        raise ExecutorTimeout(LATE)
    return value


def is_awaitable(value: object) -> bool:
    """Whether a function has returned something to be awaited, which JSON values are known not to be."""
    if type(value) in _PLAIN:
        return False
    import inspect

    return inspect.isawaitable(value)


def close(value: object) -> None:
    """Close a coroutine that was never started and never will be."""
    import inspect

    if inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
        value.close()


def _refuse_cancellation(error: BaseException) -> None:
    """Nobody has cancelled the caller: an executor that was cancelled has failed."""
    import asyncio

    if isinstance(error, asyncio.CancelledError):
        raise ExecutorCancelled(_CANCELLED) from error
