"""Running executors: off the caller's hands at the timeout, whatever they do. PROTOCOL: Execute."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest

from cra.execution import executors as module
from cra.execution.executors import ExecutorThreads
from cra.execution.running import Awaited, ExecutorCancelled, ExecutorTimeout, ExecutorUnavailable, Threaded

SOON = 0.03
AMPLE = 60.0
Run = Callable[..., Any]
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture
def threads() -> Iterator[ExecutorThreads]:
    threads = ExecutorThreads()
    yield threads
    threads.close()


@pytest.fixture(params=["call", "acall"])
def run(request: pytest.FixtureRequest, threads: ExecutorThreads) -> Run:
    """`call`, or `acall` on a loop of its own: most rules hold for both."""
    if request.param == "call":
        return threads.call
    return lambda *arguments: asyncio.run(threads.acall(*arguments))


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether `condition` comes to hold within a few seconds."""
    deadline = time.monotonic() + AMPLE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


def double(number: int) -> int:
    return 2 * number


async def adouble(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


class Doubler:
    async def __call__(self, number: int) -> int:
        return await adouble(number)


class Promise:
    """An awaitable that is no coroutine."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __await__(self) -> Generator[Any, None, int]:
        return adouble(self.number).__await__()


def returning_coroutine(number: int) -> Coroutine[Any, Any, int]:
    return adouble(number)


def raising(error: BaseException) -> Callable[[], None]:
    """A function that raises it."""

    def fail() -> None:
        raise error

    return fail


KINDS: list[Callable[..., Any]] = [
    double,
    adouble,
    Doubler(),
    Promise,
    returning_coroutine,
    functools.partial(double),
    functools.partial(adouble),
    lambda number: 2 * number,
    lambda number: adouble(number),
]


class TestResult:
    """What comes back."""

    @pytest.mark.parametrize("timeout_s", [AMPLE, 1e30])
    @pytest.mark.parametrize("function", KINDS, ids=lambda kind: getattr(kind, "__name__", type(kind).__name__))
    def test_every_kind_of_function(self, run: Run, function: Run, timeout_s: float) -> None:
        """Functions, coroutine functions, partials, objects, and functions that return an awaitable give their value."""
        assert 42 == run(function, {"number": 21}, timeout_s)

    def test_any_name_is_a_parameter(self, run: Run) -> None:
        """Parameters are keyword arguments, whatever they are called."""
        parameters = {"self": 1, "callable": 2, "function": 3, "timeout_s": 4}
        assert parameters == run(lambda **given: given, parameters, AMPLE)

    def test_runs_on_another_thread(self, run: Run) -> None:
        """A synchronous executor never runs on the thread of its caller."""
        assert threading.get_ident() != run(threading.get_ident, {}, AMPLE)

    @pytest.mark.parametrize("kind", ["function", "coroutine function"])
    def test_context_variables_are_the_callers(self, run: Run, kind: str) -> None:
        """An executor sees the caller's context variables, and what it sets stays its own."""

        def read() -> str:
            seen = VARIABLE.get()
            VARIABLE.set("changed by the executor")
            return seen

        async def aread() -> str:
            return read()

        token = VARIABLE.set("of the caller")
        try:
            assert "of the caller" == run(read if kind == "function" else aread, {}, AMPLE)
            assert "of the caller" == VARIABLE.get()
        finally:
            VARIABLE.reset(token)

    def test_acall_awaits_on_the_callers_loop(self, threads: ExecutorThreads) -> None:
        """A client that belongs to the caller's loop works in a coroutine function, and in a coroutine that is returned."""

        async def main() -> None:
            async def loop_of() -> asyncio.AbstractEventLoop:
                return asyncio.get_running_loop()

            here = asyncio.get_running_loop()
            assert [here, here] == [
                await threads.acall(loop_of, {}, AMPLE),
                await threads.acall(lambda: loop_of(), {}, AMPLE),
            ]

        asyncio.run(main())

    def test_call_awaits_on_one_background_loop(self, threads: ExecutorThreads) -> None:
        """All calls share a loop, so that a client opened in one call can be used in the next."""

        async def loop_of() -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        assert threads.call(loop_of, {}, AMPLE) is threads.call(lambda: loop_of(), {}, AMPLE)


class TestError:
    """What is raised."""

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
    @pytest.mark.parametrize("kind", ["function", "coroutine function"])
    def test_is_delivered_as_it_is(self, threads: ExecutorThreads, error: BaseException, kind: str) -> None:
        """The caller gets the very exception, SystemExit included; threads and loop go on."""

        def fail() -> None:
            raise error

        async def afail() -> None:
            raise error

        for _ in range(2):
            with pytest.raises(type(error)) as caught:
                threads.call(fail if kind == "function" else afail, {}, AMPLE)
            assert error is caught.value
        assert 42 == threads.call(adouble, {"number": 21}, AMPLE)
        assert 1 >= threads._threads

    def test_is_delivered_to_a_coroutine(self, threads: ExecutorThreads) -> None:
        """SystemExit of an executor reaches the task that called it and does not stop the caller's loop by itself."""

        async def leave() -> None:
            raise SystemExit(3)

        async def main() -> None:
            with pytest.raises(SystemExit):
                await threads.acall(leave, {}, AMPLE)
            with pytest.raises(ZeroDivisionError):
                await threads.acall(lambda: 1 / 0, {}, AMPLE)

        asyncio.run(main())

    def test_wrong_parameters_are_the_executors_error(self, run: Run) -> None:
        """A parameter that the function does not take is its TypeError."""
        for function in (double, adouble):
            with pytest.raises(TypeError, match="unexpected keyword"):
                run(function, {"nummer": 1}, AMPLE)

    @pytest.mark.parametrize("kind", ["function", "coroutine function"])
    def test_cancelling_itself_is_a_failure_and_no_cancellation_of_the_caller(self, run: Run, kind: str) -> None:
        """CancelledError would tell the caller's task that it was cancelled, which it was not."""

        def cancel() -> None:
            raise asyncio.CancelledError

        async def acancel() -> None:
            raise asyncio.CancelledError

        with pytest.raises(ExecutorCancelled, match="the executor was cancelled"):
            run(cancel if kind == "function" else acancel, {}, AMPLE)

    def test_nothing_keeps_an_error_alive(self, threads: ExecutorThreads) -> None:
        """What the executor's frames held is free once the caller has dealt with the error."""

        class Big:
            pass

        seen: list[weakref.ref[Big]] = []

        def fail() -> None:
            big = Big()
            seen.append(weakref.ref(big))
            raise ValueError

        gc.disable()
        try:
            with pytest.raises(ValueError, match=r"^$"):
                threads.call(fail, {}, AMPLE)
            assert eventually(lambda: seen[0]() is None)
        finally:
            gc.enable()


class TestTimeout:
    """The wait ends."""

    def test_hung_function_keeps_its_thread_and_nobody_else(self, run: Run, threads: ExecutorThreads) -> None:
        """The caller is back after the timeout; the next call gets another thread; the hung one comes back into the pool."""
        release = threading.Event()
        started = time.monotonic()
        with pytest.raises(ExecutorTimeout, match="did not come back in time"):
            run(release.wait, {}, SOON)
        assert SOON <= time.monotonic() - started < AMPLE
        assert 42 == run(double, {"number": 21}, AMPLE)
        assert 2 == threads._threads
        release.set()
        assert eventually(lambda: 2 == len(threads._idle))

    def test_coroutine_is_cancelled(self, run: Run) -> None:
        """At the timeout an asynchronous executor is told to stop."""
        cancelled = threading.Event()

        async def hang() -> None:
            try:
                await asyncio.sleep(AMPLE)
            finally:
                cancelled.set()

        with pytest.raises(ExecutorTimeout):
            run(hang, {}, SOON)
        assert cancelled.wait(AMPLE)

    def test_coroutine_that_will_not_be_cancelled_is_left_alone(self, threads: ExecutorThreads) -> None:
        """Nobody waits for it, and its late result goes nowhere."""
        release, done = threading.Event(), threading.Event()

        async def stubborn() -> str:
            try:
                await asyncio.sleep(AMPLE)
            except asyncio.CancelledError:
                while not release.is_set():
                    await asyncio.sleep(0.001)
            done.set()
            return "late"

        with pytest.raises(ExecutorTimeout):
            threads.call(stubborn, {}, SOON)
        assert 42 == threads.call(adouble, {"number": 21}, AMPLE)
        assert not done.is_set()
        release.set()
        assert done.wait(AMPLE)

    def test_coroutine_that_blocks_the_loop_costs_one_more_timeout(self, threads: ExecutorThreads) -> None:
        """A background loop that does not even start a call is given up; the call after that gets a new one."""
        release = threading.Event()

        async def block() -> None:
            release.wait()

        try:
            for function in (block, functools.partial(adouble, number=1)):
                with pytest.raises(ExecutorTimeout):
                    threads.call(function, {}, SOON)
            assert 42 == threads.call(adouble, {"number": 21}, AMPLE)
        finally:
            release.set()

    def test_a_loop_is_given_up_once(self, threads: ExecutorThreads) -> None:
        """Of several that wait for a blocked loop, none gives up the loop that has replaced it."""
        threads.call(adouble, {"number": 1}, AMPLE)
        first = threads._loop
        assert first is not None
        for _ in range(2):
            threads._give_up(first)
            threads.call(adouble, {"number": 1}, AMPLE)
            replacement = threads._loop
        threads._give_up(first)
        assert replacement is threads._loop is not first
        module._post(first, first.stop)

    def test_returned_awaitable_has_what_is_left_of_the_time(self, run: Run) -> None:
        """The timeout covers both the function and the coroutine that it returns."""

        def slow_to_start() -> Coroutine[Any, Any, int]:
            time.sleep(SOON)
            return asyncio.sleep(AMPLE, 1)

        started = time.monotonic()
        with pytest.raises(ExecutorTimeout):
            run(slow_to_start, {}, 1.5 * SOON)
        assert time.monotonic() - started < AMPLE / 2

    def test_time_used_up_by_the_function_leaves_none_for_its_coroutine(
        self, run: Run, threads: ExecutorThreads
    ) -> None:
        """With nothing left the coroutine ends with a timeout and without a warning that it was never awaited."""
        release = threading.Event()

        def late() -> Coroutine[Any, Any, int]:
            release.wait()
            return adouble(1)

        with pytest.raises(ExecutorTimeout):
            run(late, {}, SOON)
        release.set()
        assert eventually(lambda: 1 == len(threads._idle))
        gc.collect()

    def test_no_time_at_all(self, run: Run) -> None:
        """A timeout that is over already ends the wait at once."""
        for timeout_s in (0, -1.0):
            with pytest.raises(ExecutorTimeout):
                run(asyncio.sleep, {"delay": AMPLE}, timeout_s)

    def test_coroutine_abandoned_before_it_starts_never_runs(self) -> None:
        """It is closed, without a warning that nobody awaited it."""
        ran: list[bool] = []

        async def act() -> None:
            ran.append(True)

        async def main() -> None:
            call = Awaited(act(), lambda: None, set())
            call.start()
            call.abandon()
            await asyncio.sleep(0)

        asyncio.run(main())
        gc.collect()
        assert [] == ran

    def test_call_abandoned_before_it_starts_is_never_made(self) -> None:
        """A thread that comes too late does not run the executor any more."""
        made: list[bool] = []
        call = Threaded(lambda: made.append(True), {}, lambda: None)
        call.abandon()
        call.run()
        call.settle()
        assert [] == made

    def test_result_that_crosses_the_timeout_is_dropped(self) -> None:
        """Settled just before it is abandoned: the coroutine in it is closed, by whoever comes second."""
        call = Threaded(adouble, {"number": 1}, lambda: None)
        call.run()
        call.settle()
        call.abandon()
        assert call.value.cr_frame is None


class TestInline:
    """On the thread of the caller."""

    @pytest.fixture
    def run(self, run: Run) -> Run:
        return lambda *arguments: run(*arguments, "inline")

    @pytest.mark.parametrize("function", [double, Promise, returning_coroutine, functools.partial(double)])
    def test_every_kind_of_function(self, run: Run, function: Run) -> None:
        """What an inline function returns is the result; what it returns to be awaited is awaited, as ever."""
        assert 42 == run(function, {"number": 21}, AMPLE)

    def test_runs_on_the_callers_thread(self, threads: ExecutorThreads) -> None:
        """No thread is made, for a synchronous caller and for one on an event loop."""
        assert threading.get_ident() == threads.call(threading.get_ident, {}, AMPLE, "inline")
        assert threading.get_ident() == asyncio.run(threads.acall(threading.get_ident, {}, AMPLE, "inline"))
        assert 0 == threads._threads

    def test_context_variables_are_the_callers(self, run: Run) -> None:
        """An executor sees the caller's context variables, and what it sets stays its own, though the thread is the same."""

        def read() -> str:
            seen = VARIABLE.get()
            VARIABLE.set("changed by the executor")
            return seen

        token = VARIABLE.set("of the caller")
        try:
            assert "of the caller" == run(read, {}, AMPLE)
            assert "of the caller" == VARIABLE.get()
        finally:
            VARIABLE.reset(token)

    def test_an_error_is_delivered_as_it_is(self, threads: ExecutorThreads) -> None:
        """The caller gets the very exception, SystemExit included."""
        for error in (ValueError("no"), SystemExit(3), KeyboardInterrupt()):
            with pytest.raises(type(error)) as caught:
                threads.call(raising(error), {}, AMPLE, "inline")
            assert error is caught.value

    def test_cancelling_itself_is_a_failure_and_no_cancellation_of_the_caller(self, run: Run) -> None:
        """As on a thread of its own."""
        with pytest.raises(ExecutorCancelled, match="the executor was cancelled"):
            run(raising(asyncio.CancelledError()), {}, AMPLE)

    @pytest.mark.parametrize(
        "late", [lambda: time.sleep(SOON), lambda: time.sleep(SOON) or 1 / 0], ids=["result", "error"]
    )
    def test_what_comes_too_late_is_a_timeout(self, run: Run, late: Run) -> None:
        """Whatever it comes back with: seen when it is back, and not before."""
        started = time.monotonic()
        with pytest.raises(ExecutorTimeout, match="did not come back in time"):
            run(late, {}, SOON / 2)
        assert SOON <= time.monotonic() - started

    def test_late_exits_are_exits(self, run: Run) -> None:
        """Somebody wants the process to end; that the executor was late is not what he has to be told."""

        def leave() -> None:
            time.sleep(SOON)
            raise SystemExit

        with pytest.raises(SystemExit):
            run(leave, {}, SOON / 2)

    def test_a_late_coroutine_is_closed(self, run: Run) -> None:
        """Without a warning that nobody awaited it."""

        def late() -> Coroutine[Any, Any, int]:
            time.sleep(SOON)
            return adouble(1)

        with pytest.raises(ExecutorTimeout):
            run(late, {}, SOON / 2)
        gc.collect()

    def test_no_time_at_all(self, run: Run) -> None:
        """A timeout that is over already makes every result late."""
        for timeout_s in (0, -1.0):
            with pytest.raises(ExecutorTimeout):
                run(double, {"number": 1}, timeout_s)

    def test_closed_refuses(self, run: Run, threads: ExecutorThreads) -> None:
        """No call after the end, though no thread would be needed."""
        threads.close()
        with pytest.raises(ExecutorUnavailable, match="the runtime is closed; make a new Resolver"):
            run(double, {"number": 1}, AMPLE)

    def test_nothing_keeps_an_error_alive(self, threads: ExecutorThreads) -> None:
        """What the executor's frames held is free once the caller has dealt with the error."""
        gone: list[weakref.ref[threading.Event]] = []

        def fail() -> None:
            held = threading.Event()
            gone.append(weakref.ref(held))
            raise ValueError

        gc.disable()
        try:
            with pytest.raises(ValueError, match=r"^$"):
                threads.call(fail, {}, AMPLE, "inline")
            assert gone[0]() is None
        finally:
            gc.enable()


class TestCancellation:
    """The caller leaves."""

    @pytest.mark.parametrize("kind", ["function", "coroutine function"])
    def test_cancelled_caller_leaves_at_once(self, threads: ExecutorThreads, kind: str) -> None:
        """Its coroutine is cancelled with it; a function goes on without it, and its result goes nowhere."""
        release, cancelled = threading.Event(), threading.Event()

        async def hang() -> None:
            try:
                await asyncio.sleep(AMPLE)
            finally:
                cancelled.set()

        async def main() -> None:
            task = asyncio.create_task(threads.acall(release.wait if kind == "function" else hang, {}, AMPLE))
            await asyncio.sleep(SOON)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if kind == "function":
                release.set()
                while not threads._idle:
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(0)
                assert cancelled.is_set()

        asyncio.run(main())

    def test_result_for_a_loop_that_is_gone(self, threads: ExecutorThreads) -> None:
        """A thread that comes back after its caller's loop was closed goes on with the next call."""
        release = threading.Event()
        with pytest.raises(ExecutorTimeout):
            asyncio.run(threads.acall(release.wait, {}, SOON))
        release.set()
        assert eventually(lambda: 1 == len(threads._idle))
        assert 42 == threads.call(double, {"number": 21}, AMPLE)
        assert 1 == threads._threads


class TestPool:
    """How many threads there are."""

    def test_calls_one_after_the_other_share_a_thread(self, run: Run, threads: ExecutorThreads) -> None:
        """A thread is idle before its caller knows the result."""
        assert 1 == len({run(threading.get_ident, {}, AMPLE) for _ in range(50)})
        assert 1 == threads._threads

    def test_calls_at_the_same_time_have_their_own(self, threads: ExecutorThreads) -> None:
        """Eight executors that wait for each other all get through."""
        together = threading.Barrier(8)
        callers = [threading.Thread(target=threads.call, args=(together.wait, {}, AMPLE)) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert (8, False) == (threads._threads, together.broken)

    def test_no_more_than_allowed(self, run: Run) -> None:
        """When hung executors have taken all threads, calls are refused clearly, until one ends."""
        threads, release = ExecutorThreads(max_threads=1), threading.Event()
        with pytest.raises(ExecutorTimeout):
            threads.call(release.wait, {}, SOON)
        with pytest.raises(ExecutorUnavailable, match=r"^1 executors are running or hung, as many as may; wait"):
            threads.call(double, {"number": 21}, AMPLE)
        release.set()
        assert eventually(lambda: 1 == len(threads._idle))
        assert 42 == threads.call(double, {"number": 21}, AMPLE)
        threads.close()

    @pytest.mark.parametrize("function", [double, adouble])
    def test_machine_out_of_threads(
        self, threads: ExecutorThreads, monkeypatch: pytest.MonkeyPatch, function: Run
    ) -> None:
        """A thread that can not be started is a refusal, and nothing is counted or left open."""

        def refuse(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ExecutorUnavailable, match="can't start new thread"):
                threads.call(function, {"number": 21}, AMPLE)
        assert (0, None) == (threads._threads, threads._loop)
        assert 42 == threads.call(function, {"number": 21}, AMPLE)

    def test_idle_threads_end(self) -> None:
        """A burst does not keep its threads."""
        threads = ExecutorThreads(idle_seconds=0.01)
        threads.call(double, {"number": 1}, AMPLE)
        assert eventually(lambda: (0, []) == (threads._threads, threads._idle))
        assert 42 == threads.call(double, {"number": 21}, AMPLE)
        threads.close()

    def test_call_that_meets_a_retiring_thread_is_run(self) -> None:
        """A thread that was given a call while it was about to end stays for it."""
        threads = ExecutorThreads(idle_seconds=0.05)
        threads.call(double, {"number": 1}, AMPLE)
        done = threading.Event()
        with threads._lock:
            thread = threads._idle.pop()
            time.sleep(0.1)  # its wait is over by now, and it stands at the lock
            thread.give(Threaded(done.set, {}, lambda: None))
        assert done.wait(AMPLE)
        threads.close()


class TestClose:
    """The end of a runtime."""

    @pytest.mark.parametrize("function", [double, adouble])
    def test_closed_refuses(self, threads: ExecutorThreads, function: Run) -> None:
        """No call after the end; closing twice does nothing."""
        threads.close()
        threads.close()
        with pytest.raises(ExecutorUnavailable, match="the runtime is closed; make a new Resolver"):
            threads.call(function, {"number": 1}, AMPLE)

    def test_threads_end(self) -> None:
        """Idle ones at once, busy ones when their executor comes back, its result still delivered."""
        threads, release, busy = ExecutorThreads(), threading.Event(), threading.Event()
        workers: list[threading.Thread] = []
        results: list[str] = []

        def note(result: str) -> str:
            workers.append(threading.current_thread())
            busy.set()
            if result == "busy":
                release.wait()
            return result

        caller = threading.Thread(target=lambda: results.append(threads.call(note, {"result": "busy"}, AMPLE)))
        caller.start()
        assert busy.wait(AMPLE)
        threads.call(note, {"result": "idle"}, AMPLE)
        threads.close()
        workers[1].join(AMPLE)
        release.set()
        workers[0].join(AMPLE)
        caller.join(AMPLE)
        assert ([False, False], ["busy"]) == ([worker.is_alive() for worker in workers], results)

    def test_what_runs_on_the_loop_is_cancelled(self) -> None:
        """Its caller is told so, and the loop's thread ends."""
        threads = ExecutorThreads()
        running = threading.Event()
        errors: list[BaseException] = []
        loops: list[threading.Thread] = []

        async def hang() -> None:
            loops.append(threading.current_thread())
            running.set()
            await asyncio.sleep(AMPLE)

        def call() -> None:
            try:
                threads.call(hang, {}, AMPLE)
            except ExecutorCancelled as error:
                errors.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        assert running.wait(AMPLE)
        threads.close()
        caller.join(AMPLE)
        loops[0].join(AMPLE)
        assert (1, False) == (len(errors), loops[0].is_alive())


class TestLoop:
    """The background loop."""

    def test_waiting_for_itself_is_refused(self, threads: ExecutorThreads) -> None:
        """An asynchronous executor that executes another one synchronously gets an error instead of a deadlock."""

        async def outer() -> Any:
            return threads.call(adouble, {"number": 21}, AMPLE)

        with pytest.raises(ExecutorUnavailable, match=r"which would wait for itself; use aexecute\(\)"):
            threads.call(outer, {}, AMPLE)

    def test_loop_that_was_stopped_is_replaced(self, threads: ExecutorThreads) -> None:
        """An executor that ends the loop ends it for itself only."""

        async def stop() -> None:
            asyncio.get_running_loop().stop()

        threads.call(stop, {}, AMPLE)
        stopped = threads._loop
        assert stopped is not None
        assert eventually(stopped.is_closed)
        assert 42 == threads.call(adouble, {"number": 21}, AMPLE)

    def test_loop_that_closes_under_the_callers_hands(
        self, threads: ExecutorThreads, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Closed between being looked up and being used: a refusal, since nothing was called."""
        closed = asyncio.new_event_loop()
        closed.close()
        monkeypatch.setattr(threads, "_background_loop", lambda: closed)
        with pytest.raises(ExecutorUnavailable, match="execute again"):
            threads.call(adouble, {"number": 21}, AMPLE)


SCRIPT = """
import asyncio, os, sys, threading
from cra.execution.executors import ExecutorThreads
from cra.execution.running import ExecutorTimeout

async def adouble(number):
    return 2 * number

threads = ExecutorThreads()
dropped = ExecutorThreads()
assert threads.call(lambda number: 2 * number, {"number": 1}, 10) == 2
assert threads.call(adouble, {"number": 2}, 10) == 4
del dropped
threads._lock.acquire()
child = os.fork()
if child == 0:
    print(threads.call(lambda number: 2 * number, {"number": 3}, 10), threads.call(adouble, {"number": 4}, 10), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
threads._lock.release()
try:
    threads.call(threading.Event().wait, {}, 0.01)
except ExecutorTimeout:
    print("timeout", flush=True)
"""


def test_forked_child_starts_afresh_and_a_hung_executor_does_not_hold_up_the_exit() -> None:
    """A child forked while a lock was held, with idle threads and a loop that it does not have, works; the process ends."""
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert ("6 8\ntimeout\n", "", 0) == (finished.stdout, finished.stderr, finished.returncode)
