"""What a timer backend promises, as tests that anybody's own backend can be run through with pytest, in virtual time.

A test module subclasses `TimerContract` and says how its backend is opened and how time passes; pytest runs every rule of
`cra.TimerBackend` against it. Nothing here imports pytest, and nothing sleeps.
"""

from __future__ import annotations

import math
from typing import Any

from cra.timing.timers import TimerBackend


class TimerContract:
    """The rules of `TimerBackend`, a test each. Subclass it as `Test…` and write `open` and `advance`."""

    def open(self) -> TimerBackend:
        """Open the backend. It is closed when the test is over."""
        raise NotImplementedError

    def advance(self, seconds: float) -> None:
        """Let time pass at once, have what came due run, and return when it has."""
        raise NotImplementedError

    # --- what pytest calls ---

    def setup_method(self) -> None:
        """Before each test."""
        self.timers = self.open()
        self.calls: list[str] = []

    def teardown_method(self) -> None:
        """After each test."""
        self.timers.close()

    def note(self, what: str) -> Any:
        """A callback that notes that it was called."""
        return lambda: self.calls.append(what)

    # --- the protocol ---

    def test_it_has_every_part_of_the_protocol(self) -> None:
        """Attributes and methods are there."""
        assert isinstance(self.timers, TimerBackend)
        assert isinstance(self.timers.name, str)
        assert self.timers.name

    def test_a_timer_fires_once_at_its_time_and_is_gone(self) -> None:
        """Neither before, nor twice."""
        self.timers.schedule_once("a", 10, self.note("a"))
        self.advance(9.75)
        assert [] == self.calls
        assert self.timers.exists("a")
        self.advance(0.25)
        assert ["a"] == self.calls
        assert not self.timers.exists("a")
        self.advance(100)
        assert ["a"] == self.calls

    def test_a_delay_of_nothing_is_due_at_once(self) -> None:
        """As soon as somebody looks."""
        self.timers.schedule_once("a", 0, self.note("a"))
        self.advance(0)
        assert ["a"] == self.calls

    def test_a_repeating_timer_keeps_its_beat(self) -> None:
        """However late somebody looks, the next time is a multiple of the interval after the start."""
        self.timers.schedule_repeating("a", 10, self.note("a"))
        self.advance(10)
        self.advance(13)
        assert ["a", "a"] == self.calls
        assert 7 == self.timers.time_remaining("a")
        self.advance(7)
        assert ["a", "a", "a"] == self.calls

    def test_timers_fire_in_the_order_in_which_they_are_due(self) -> None:
        """Those due at one time in the order in which they were scheduled."""
        for name, delay in (("c", 30), ("a", 10), ("b", 20), ("b2", 20)):
            self.timers.schedule_once(name, delay, self.note(name))
        self.advance(30)
        assert ["a", "b", "b2", "c"] == self.calls

    def test_scheduling_an_id_again_replaces_its_timer(self) -> None:
        """One id, one timer: the old callback is never called, whether the new time is earlier or later."""
        self.timers.schedule_once("a", 10, self.note("old"))
        self.timers.schedule_once("a", 20, self.note("new"))
        self.timers.schedule_repeating("b", 40, self.note("old"))
        self.timers.schedule_once("b", 30, self.note("once"))
        self.advance(100)
        assert ["new", "once"] == self.calls

    def test_a_cancelled_timer_does_not_fire(self) -> None:
        """To cancel says whether there was something to cancel."""
        self.timers.schedule_once("a", 10, self.note("a"))
        self.timers.schedule_repeating("b", 10, self.note("b"))
        assert self.timers.cancel("a")
        assert self.timers.cancel("b")
        assert not self.timers.cancel("a")
        assert not self.timers.cancel("never there")
        self.advance(50)
        assert [] == self.calls
        assert not self.timers.exists("b")

    def test_the_time_remaining_is_told(self) -> None:
        """None where there is no such timer."""
        self.timers.schedule_once("a", 10, self.note("a"))
        assert 10 == self.timers.time_remaining("a")
        self.advance(4)
        assert 6 == self.timers.time_remaining("a")
        assert self.timers.time_remaining("b") is None

    def test_a_callback_may_schedule_and_cancel(self) -> None:
        """Itself and others, also what is due at the same time."""

        def first() -> None:
            self.calls.append("first")
            self.timers.cancel("second")
            self.timers.cancel("again")
            self.timers.schedule_once("third", 5, self.note("third"))

        self.timers.schedule_repeating("again", 10, first)
        self.timers.schedule_once("second", 10, self.note("second"))
        self.advance(10)
        self.advance(10)
        assert ["first", "third"] == self.calls

    def test_a_callback_that_raises_is_counted_and_ends_nothing(self) -> None:
        """Neither its own next time nor the other timers."""

        def fail() -> None:
            self.calls.append("fail")
            raise ValueError("no")

        self.timers.schedule_repeating("a", 10, fail)
        self.timers.schedule_once("b", 10, self.note("b"))
        self.advance(10)
        self.advance(10)
        assert ["fail", "b", "fail"] == self.calls
        stats = self.timers.stats()
        assert (2, "ValueError: no") == (stats.errors, stats.last_error)
        assert stats.fired >= 3

    def test_what_was_asked_wrongly_is_refused(self) -> None:
        """A delay that is no time, a callback that is no function, an id that is none: nothing is scheduled."""
        wrong: list[Any] = [-1, math.nan, math.inf, 1e12, "5", None, True]
        for delay in wrong:
            for schedule in (self.timers.schedule_once, self.timers.schedule_repeating):
                _expect(ValueError, schedule, "a", delay, self.note("a"))
        _expect(ValueError, self.timers.schedule_repeating, "a", 0, self.note("a"))
        _expect(ValueError, self.timers.schedule_once, "", 1, self.note("a"))
        _expect(TypeError, self.timers.schedule_once, "a", 1, "no function")
        assert 0 == self.timers.stats().waiting

    def test_a_hundred_thousand_timers_wait_and_fire(self) -> None:
        """Each once; what is cancelled is let go of."""
        fired = [0]

        def count() -> None:
            fired[0] += 1

        for number in range(100_000):
            self.timers.schedule_once(f"{number}", 10 + number % 7, count)
        for number in range(0, 100_000, 2):
            self.timers.cancel(f"{number}")
        assert 50_000 == self.timers.stats().waiting
        self.advance(20)
        assert 50_000 == fired[0]

    def test_closed_it_fires_and_schedules_no_more(self) -> None:
        """To close it twice is harmless."""
        self.timers.schedule_once("a", 10, self.note("a"))
        self.timers.close()
        self.timers.close()
        self.advance(10)
        assert [] == self.calls
        _expect(RuntimeError, self.timers.schedule_once, "b", 1, self.note("b"))


def _expect(kind: type[Exception], function: Any, *arguments: Any) -> None:
    try:
        function(*arguments)
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was to be raised for {arguments[:2]}")
