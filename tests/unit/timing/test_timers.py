"""Timer backends: one contract, in virtual time, and what each has of its own. PROTOCOL: Timing defaults."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.testing import VirtualClock, VirtualTimers
from cra.testing.timer_contract import TimerContract
from cra.timing.asyncio_timers import AsyncioTimers
from cra.timing.external_timers import ExternalTimers, ScheduledTimer
from cra.timing.thread_timers import ThreadTimers

PATIENCE = 30.0
START_NS = 1_767_268_800 * 10**9


def settle(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop do what it has to do now."""
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()


class TestVirtualTimers(TimerContract):
    """Advancing the clock is all that there is to it."""

    def open(self) -> VirtualTimers:
        self.clock = VirtualClock()
        return VirtualTimers(self.clock)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def test_callbacks_see_the_time_at_which_they_are_due(self) -> None:
        """Both clocks stand at the timer's time, not at the end of the step."""
        start = self.clock.now_ns()
        seen: list[tuple[float, float]] = []
        self.timers.schedule_repeating(
            "a", 10, lambda: seen.append((self.clock.monotonic_ns() / 1e9, (self.clock.now_ns() - start) / 1e9))
        )
        self.clock.advance(35)
        assert [(10, 10), (20, 20), (30, 30)] == seen
        assert 35 == self.clock.monotonic_ns() / 1e9

    def test_a_callback_may_make_time_pass(self) -> None:
        """What comes due by that fires, and the outer step ends where it would have."""
        self.timers.schedule_once("a", 10, lambda: self.clock.advance(15))
        self.timers.schedule_once("b", 20, self.note("b"))
        self.clock.advance(12)
        assert ["b"] == self.calls
        assert 25 == self.clock.monotonic_ns() / 1e9


class TestThreadTimers(TimerContract):
    """A thread of its own, woken when the test has moved the clock."""

    def open(self) -> ThreadTimers:
        self.clock = VirtualClock()
        return ThreadTimers(self.clock)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        assert isinstance(self.timers, ThreadTimers)
        try:
            done = threading.Event()
            self.timers.schedule_once("advance", 0, done.set)  # due last of what is due
        except RuntimeError:
            return  # closed
        assert done.wait(PATIENCE)

    def test_no_thread_waits_for_no_timers(self) -> None:
        """It begins with the first timer, and there is one for all of them."""
        timers = ThreadTimers()
        assert timers._worker._thread is None
        threads = set()
        for number in range(100):
            timers.schedule_once(f"{number}", 3600, self.note("late"))
            threads.add(timers._worker._thread)
        assert 1 == len(threads)
        timers.close()

    def test_it_fires_in_real_time(self) -> None:
        """A smoke test: once after its delay, and for an earlier timer that was scheduled later the thread wakes up."""
        timers, done = ThreadTimers(), threading.Event()
        timers.schedule_once("late", 3600, self.note("late"))
        start = time.monotonic()
        timers.schedule_once("soon", 0.05, done.set)
        assert done.wait(PATIENCE)
        assert time.monotonic() - start >= 0.05
        assert [] == self.calls
        timers.close()

    def test_a_callback_that_wants_to_end_everything_ends_nothing(self) -> None:
        """What `sys.exit` raises ends a thread without a word, and every timer would be silent from then on."""
        timers, done = ThreadTimers(), threading.Event()
        timers.schedule_once("exit", 0, lambda: sys.exit(3))
        timers.schedule_once("next", 0.01, done.set)
        assert done.wait(PATIENCE)
        assert (1, "SystemExit: 3") == (timers.stats().errors, timers.stats().last_error)
        timers.close()

    def test_closing_ends_the_thread(self) -> None:
        """Also while it waits for a timer that is far away, and from within a callback."""
        timers, done = ThreadTimers(), threading.Event()
        timers.schedule_once("late", 3600, self.note("late"))
        timers.schedule_once("now", 0, lambda: (timers.close(), done.set()))
        assert done.wait(PATIENCE)
        thread = next((each for each in threading.enumerate() if each is timers._worker._thread), None)
        if thread is not None:
            thread.join(PATIENCE)
            assert not thread.is_alive()


class TestAsyncioTimers(TimerContract):
    """On an event loop that the test runs step by step."""

    def open(self) -> AsyncioTimers:
        self.clock = VirtualClock()
        self.loop = asyncio.new_event_loop()
        return AsyncioTimers(self.loop, clock=self.clock)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        assert isinstance(self.timers, AsyncioTimers)
        self.timers.wake()
        settle(self.loop)

    def teardown_method(self) -> None:
        super().teardown_method()
        settle(self.loop)
        self.loop.close()

    def test_a_coroutine_function_is_awaited_and_does_not_hold_up_the_others(self) -> None:
        """While it is not done it is not called again: those times count as missed."""
        gate = asyncio.Event()

        async def wait() -> None:
            self.calls.append("begun")
            await gate.wait()
            self.calls.append("done")

        self.timers.schedule_repeating("slow", 10, wait)
        self.timers.schedule_once("other", 10, self.note("other"))
        self.advance(10)
        self.advance(10)
        assert ["other", "begun"] == self.calls
        assert 1 == self.timers.stats().missed
        gate.set()
        settle(self.loop)
        self.advance(10)
        assert ["other", "begun", "done", "begun", "done"] == self.calls

    def test_two_timers_may_have_one_callback(self) -> None:
        """It is a timer that does not come twice at once, not a function: one that fires once is never lost."""
        gate = asyncio.Event()

        async def wait() -> None:
            self.calls.append("begun")
            await gate.wait()

        self.timers.schedule_once("a", 10, wait)
        self.timers.schedule_once("b", 20, wait)
        self.advance(10)
        self.advance(10)
        settle(self.loop)
        assert (["begun", "begun"], 0) == (self.calls, self.timers.stats().missed)
        gate.set()

    def test_a_loop_that_closes_meanwhile_is_no_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither for who schedules nor for who closes: on another thread, nobody can know."""

        def closed(*_: object) -> None:
            raise RuntimeError("Event loop is closed")

        monkeypatch.setattr(self.loop, "call_soon_threadsafe", closed)
        self.timers.schedule_once("a", 10, self.note("a"))
        self.timers.close()
        monkeypatch.undo()

    def test_a_coroutine_that_raises_is_counted(self) -> None:
        """As any other callback."""

        async def fail() -> None:
            raise ValueError("no")

        self.timers.schedule_once("a", 10, fail)
        self.advance(10)
        settle(self.loop)
        assert (1, "ValueError: no") == (self.timers.stats().errors, self.timers.stats().last_error)

    def test_closing_cancels_what_runs(self) -> None:
        """A callback that waits for ever does not outlive its backend."""
        gate = asyncio.Event()

        async def wait() -> None:
            try:
                await gate.wait()
            except asyncio.CancelledError:
                self.calls.append("cancelled")
                raise

        self.timers.schedule_once("a", 1, wait)
        self.advance(1)
        self.timers.close()
        settle(self.loop)
        assert ["cancelled"] == self.calls

    def test_without_a_loop_it_says_so(self) -> None:
        """Where none runs and none was given."""
        with pytest.raises(RuntimeError):
            AsyncioTimers()

    def test_it_fires_in_real_time_on_the_running_loop(self) -> None:
        """A smoke test: scheduled from another thread."""

        async def main() -> float:
            timers, done, start = AsyncioTimers(), asyncio.Event(), time.monotonic()
            await asyncio.to_thread(timers.schedule_once, "a", 0.05, done.set)
            await asyncio.wait_for(done.wait(), PATIENCE)
            timers.close()
            return time.monotonic() - start

        assert asyncio.run(main()) >= 0.05


class TestExternalTimers(TimerContract):
    """A host that polls; and one that fires by id."""

    def open(self) -> ExternalTimers:
        self.clock = VirtualClock()
        self.told: list[Any] = []
        return ExternalTimers(
            on_schedule=self.told.append, on_cancel=lambda timer_id: self.told.append(timer_id), clock=self.clock
        )

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        assert isinstance(self.timers, ExternalTimers)
        self.timers.run_due()

    def fire(self, timer_id: str) -> str:
        assert isinstance(self.timers, ExternalTimers)
        return self.timers.fire(timer_id)

    def test_the_host_fires_by_id(self) -> None:
        """In time; a second of tolerance is in time."""
        self.timers.schedule_once("a", 10, self.note("a"))
        self.clock.advance(8)
        assert "not_due" == self.fire("a")
        self.clock.advance(1)
        assert "fired" == self.fire("a")
        assert ["a"] == self.calls

    def test_a_second_firing_for_one_time_does_nothing(self) -> None:
        """Schedulers deliver at least once: of a timer that fires once, and of one that repeats."""
        self.timers.schedule_once("once", 10, self.note("once"))
        self.timers.schedule_repeating("beat", 10, self.note("beat"))
        self.clock.advance(10)
        assert ["fired", "unknown"] == [self.fire("once"), self.fire("once")]
        assert ["fired", "not_due"] == [self.fire("beat"), self.fire("beat")]
        assert ["once", "beat"] == self.calls

    def test_an_early_firing_is_not_the_next_one_as_well(self) -> None:
        """Within the tolerance before its time it is that time's firing, and the one after it is an interval later."""
        self.timers.schedule_repeating("beat", 10, self.note("beat"))
        self.clock.advance(9.5)
        assert ["fired", "not_due"] == [self.fire("beat"), self.fire("beat")]
        assert 10.5 == self.timers.time_remaining("beat")

    def test_missed_firings_are_counted_and_not_caught_up_with(self) -> None:
        """The scheduler was away for three beats and a half."""
        self.timers.schedule_repeating("beat", 10, self.note("beat"))
        self.clock.advance(45)
        assert "fired" == self.fire("beat")
        assert ["beat"] == self.calls
        assert 3 == self.timers.stats().missed
        assert 5 == self.timers.time_remaining("beat")

    def test_a_firing_that_nobody_scheduled_is_unknown(self) -> None:
        """It may be left over from an earlier run."""
        assert "unknown" == self.fire("never there")

    def test_the_host_is_told_what_to_schedule(self) -> None:
        """By an id that stays, and the time on the wall clock."""
        self.timers.schedule_repeating("beat", 10, self.note("beat"))
        self.timers.schedule_once("a", 5, self.note("a"))
        self.timers.cancel("a")
        beat = ScheduledTimer("beat", START_NS + 10 * 10**9, 10)
        assert [beat, ScheduledTimer("a", START_NS + 5 * 10**9, None), "a"] == self.told
        assert isinstance(self.timers, ExternalTimers)
        assert [beat] == self.timers.pending()

    def test_a_host_that_refuses_has_nothing_scheduled(self) -> None:
        """Else the timer would wait for a firing that never comes."""

        def refuse(timer: ScheduledTimer) -> None:
            raise ConnectionError("the scheduler is away")

        timers = ExternalTimers(on_schedule=refuse)
        with pytest.raises(ConnectionError):
            timers.schedule_once("a", 1, self.note("a"))
        assert not timers.exists("a")

    def test_two_firings_at_once_run_the_callback_once(self) -> None:
        """From two threads, as a webhook would."""
        self.timers.schedule_once("a", 1, self.note("a"))
        self.clock.advance(1)
        answers: list[str] = []
        threads = [threading.Thread(target=lambda: answers.append(self.fire("a"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ["fired"] + 7 * ["unknown"] == sorted(answers)
        assert ["a"] == self.calls


def test_a_coroutine_function_needs_a_loop() -> None:
    """Elsewhere it would never be awaited: it is refused at once."""

    async def callback() -> None:
        """Never called."""

    for timers in (ThreadTimers(), ExternalTimers(), VirtualTimers(VirtualClock())):
        with pytest.raises(TypeError, match="AsyncioTimers"):
            timers.schedule_once("a", 1, callback)
        timers.close()


def test_forgotten_timers_are_let_go_of() -> None:
    """A backend that nobody refers to and that has nothing to do is collected, and its thread ends."""
    timers, done = ThreadTimers(), threading.Event()
    timers.schedule_once("a", 0, done.set)
    assert done.wait(PATIENCE)
    thread, gone = timers._worker._thread, weakref.ref(timers)
    del timers
    gc.collect()
    assert thread is not None
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert gone() is None


NAMES = st.sampled_from("abcde")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("once"), NAMES, st.integers(0, 20)),
        st.tuples(st.just("repeat"), NAMES, st.integers(1, 7)),
        st.tuples(st.just("cancel"), NAMES, st.just(0)),
        st.tuples(st.just("advance"), st.just(""), st.integers(0, 15)),
    ),
    max_size=40,
)


@given(STEPS)
def test_any_schedule_fires_as_a_list_looked_at_every_second_says(steps: list[tuple[str, str, int]]) -> None:
    """Against a model without a heap: a table of times, looked through second by second."""
    clock = VirtualClock()
    timers = VirtualTimers(clock)
    fired: list[tuple[int, str]] = []
    expected: list[tuple[int, str]] = []
    model: dict[str, list[int]] = {}  # due, interval (0: once), order
    now = order = 0

    def run_model() -> None:
        nonlocal order
        while due := sorted((at, number, name) for name, (at, _, number) in model.items() if at <= now):
            _, _, name = due[0]
            expected.append((now, name))
            interval = model[name][1]
            order += 1
            if interval:
                model[name] = [model[name][0] + interval, interval, order]
            else:
                del model[name]

    for kind, name, number in steps:
        if kind == "advance":
            clock.advance(number)
            for second in range(number + 1):
                now += second > 0
                run_model()
        elif kind == "cancel":
            assert (model.pop(name, None) is not None) == timers.cancel(name)
        else:
            order += 1
            model[name] = [now + number, number if kind == "repeat" else 0, order]
            schedule = timers.schedule_once if kind == "once" else timers.schedule_repeating
            schedule(name, number, lambda name=name: fired.append((clock.monotonic_ns() // 10**9, name)))  # type: ignore[misc]
        for each in "abcde":
            remaining = model[each][0] - now if each in model else None
            assert remaining == timers.time_remaining(each)
    assert expected == fired
