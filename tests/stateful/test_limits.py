"""Two counters of limits that are told the same stand the same, and refuse the same. PROTOCOL: Limits."""

from __future__ import annotations

from fractions import Fraction
from importlib import import_module
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cra.carp.policy import Limit
from cra.reference import sliding_windows
from cra.reference.sliding_windows import Charge, LimitReached
from tests.stateful.pairs import Pair, built

KEYS = "abcd"
LIMITS = (
    Limit("rate_limit", Fraction(1), 10),
    Limit("rate_limit", Fraction(3), 100),
    Limit("budget", Fraction(3, 2), 10),
    Limit("budget", Fraction(10**25), None),
    Limit("budget", Fraction(0), 5),
)
keys, limits = st.sampled_from(KEYS), st.sampled_from(LIMITS)
costs = st.sampled_from([Fraction(text) for text in ("0", "1", "1/10", "1/3", "2", "99999999999999999999")])
charges = st.lists(
    st.tuples(keys, limits, costs, st.sampled_from([True, True, True, False])).map(lambda parts: Charge(*parts)),
    max_size=4,
)


class Counters(RuleBasedStateMachine):
    """What a plan watches is given when the machine starts, as it is to a session."""

    @initialize(
        watched=st.lists(st.tuples(keys, limits, st.none() | costs), max_size=4), most=st.sampled_from([2, 100_000])
    )
    def begin(self, watched: list[Any], most: int) -> None:
        twins = (sliding_windows, import_module("cra._speedups"))
        self.counters = Pair(*(twin.SlidingWindows(most) for twin in twins))
        self.watches = Pair(*(twin.Watches(watched) for twin in twins))
        self.held: list[tuple[Any, Any]] = []
        self.now = 0
        self.watches.get("unused")

    @rule(step=st.sampled_from([0, 0, 1, 4, 9, 10, 11, 99, 100, -5]))
    def pass_time(self, step: int) -> None:
        self.now += step

    @rule(charged=charges)
    def reserve(self, charged: list[Charge]) -> None:
        made: list[Any] = []

        def take(counter: Any) -> Any:
            try:
                made.append(counter.reserve(charged, self.now))
            except LimitReached as reached:
                made.append(None)
                return [each is reached.charge for each in charged], reached.retry_after_ns, str(reached)
            return "reserved"

        if self.counters.each(take) == "reserved":
            self.held.append((made[0], made[1]))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.held:
            for counter, reservation in zip(self.counters.both, data.draw(st.sampled_from(self.held))):
                counter.release(reservation)

    @rule(key=keys, limit=limits, cost=st.none() | costs)
    def peek(self, key: str, limit: Limit, cost: Fraction | None) -> None:
        self.counters.call("peek", key, limit, self.now, cost)

    @rule()
    def states(self) -> None:
        def look(counter: Any) -> Any:
            watches = self.watches.both[self.counters.both.index(counter)]
            states = counter.states(watches, self.now)
            return states, states is watches.unused, watches.exhausted(states)

        self.counters.each(look)

    @rule(key=keys, limit=limits, used=st.integers(0, 3), age=st.integers(0, 12))
    def know(self, key: str, limit: Limit, used: int, age: int) -> None:
        """What somebody else has counted; as of a time that shows in the states."""
        self.counters.call("know", key, limit, used, self.now - age, 1000 + self.now)

    @rule(gone=st.lists(keys, max_size=3))
    def forget(self, gone: list[str]) -> None:
        self.counters.call("forget", gone)

    @invariant()
    def hold_as_many_keys(self) -> None:
        if hasattr(self, "counters"):
            self.counters.each(len)


TestCounters = built(Counters.TestCase)
TestCounters.settings = settings(stateful_step_count=40)
