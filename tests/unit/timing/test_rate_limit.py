"""Sliding windows: exact, atomic, bounded. PROTOCOL: Limits."""

from __future__ import annotations

import contextlib
import random
import threading
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cra.carp.policy import Limit
from cra.reference import sliding_windows
from cra.timing.rate_limit import Charge, LimitReached, LimitState
from tests.support.twins import compiled_twin, twins

SECOND = 1_000_000_000


@pytest.fixture(params=twins(sliding_windows), scope="module")
def twin(request: pytest.FixtureRequest) -> Any:
    """The module under test."""
    return request.param


def calls(amount: int, window_ns: int = 60 * SECOND) -> Limit:
    return Limit(kind="rate_limit", amount=Fraction(amount), window_ns=window_ns)


def budget(amount: str, window_ns: int | None = 60 * SECOND) -> Limit:
    return Limit(kind="budget", amount=Fraction(amount), window_ns=window_ns)


def test_what_was_counted_elsewhere_is_taken_over(twin: Any) -> None:
    """It counts from when it was admitted, shows when it was known, and a key that was reserved anew knows nothing of that."""
    windows, limit = twin.SlidingWindows(), calls(5)
    windows.know("k", limit, 5, 10 * SECOND, 1234)
    assert LimitState(5, 0, 40 * SECOND, True, 1234) == windows.peek("k", limit, 30 * SECOND)
    assert LimitState(0, 5, None, False, 1234) == windows.peek("k", limit, 70 * SECOND)
    windows.know("k", limit, 0, 70 * SECOND, 5678)
    assert LimitState(0, 5, None, False, 5678) == windows.peek("k", limit, 70 * SECOND)
    assert windows.peek("other", limit, 70 * SECOND).as_of_ns is None


def charge(limit: Limit, cost: str = "1", key: object = "k", enforced: bool = True) -> Charge:
    return Charge(key=key, limit=limit, cost=Fraction(cost), enforced=enforced)


def state(used: str, remaining: str, reset_after_ns: int | None, exhausted: bool) -> LimitState:
    return LimitState(Fraction(used), Fraction(remaining), reset_after_ns, exhausted)


class TestWindow:
    """When a call counts."""

    def test_call_counts_until_the_window_has_passed(self, twin: Any) -> None:
        """A call admitted at t counts while now < t + window, and not at t + window."""
        windows = twin.SlidingWindows()
        limit = calls(1, window_ns=10)
        windows.reserve([charge(limit)], 100)
        with pytest.raises(LimitReached):
            windows.reserve([charge(limit)], 109)
        windows.reserve([charge(limit)], 110)
        assert state("1", "0", 10, True) == windows.peek("k", limit, 110)

    def test_window_slides(self, twin: Any) -> None:
        """Calls leave one by one, not all at the end of an interval."""
        windows = twin.SlidingWindows()
        limit = calls(3, window_ns=10)
        for time in (0, 4, 8):
            windows.reserve([charge(limit)], time)
        observed = [windows.peek("k", limit, now).used for now in (8, 9, 10, 13, 14, 17, 18)]
        assert [3, 3, 2, 2, 1, 1, 0] == observed

    def test_time_running_backwards_counts_as_the_latest_seen(self, twin: Any) -> None:
        """An earlier time neither revives nor shortens anything."""
        windows = twin.SlidingWindows()
        limit = calls(2, window_ns=10)
        windows.reserve([charge(limit)], 100)
        windows.reserve([charge(limit)], 50)
        assert state("2", "0", 10, True) == windows.peek("k", limit, 0)
        assert state("0", "2", None, False) == windows.peek("k", limit, 110)

    def test_budget_without_window_never_resets(self, twin: Any) -> None:
        """Without a window a budget holds for the session's life: nothing leaves and waiting does not help."""
        windows = twin.SlidingWindows()
        limit = budget("2", window_ns=None)
        windows.reserve([charge(limit, "2")], 0)
        assert state("2", "0", None, True) == windows.peek("k", limit, 10**30)
        with pytest.raises(LimitReached) as reached:
            windows.reserve([charge(limit)], 10**30)
        assert reached.value.retry_after_ns is None

    @pytest.mark.parametrize("new_window", [1000, 5, None])
    def test_limit_given_another_window_keeps_its_count(self, twin: Any, new_window: int | None) -> None:
        """A replaced atlas that changes a window frees nothing: what is counted then counts as of now."""
        windows = twin.SlidingWindows()
        windows.reserve([charge(budget("5", window_ns=10), "3")], 0)
        assert state("3", "2", new_window, False) == windows.peek("k", budget("5", window_ns=new_window), 9)

    def test_emptied_key_given_another_window_is_unused(self, twin: Any) -> None:
        """What has left the old window does not come back with the new one."""
        windows = twin.SlidingWindows()
        windows.reserve([charge(calls(5, window_ns=10))], 0)
        assert state("0", "5", None, False) == windows.peek("k", calls(5, window_ns=1000), 10)


class TestPeek:
    """Reading a limit."""

    def test_unknown_key_is_unused_and_stays_unknown(self, twin: Any) -> None:
        """Peeking creates nothing."""
        windows = twin.SlidingWindows()
        assert state("0", "5", None, False) == windows.peek("k", calls(5), 0)
        assert 0 == len(windows)

    def test_rate_limit_is_exhausted_when_one_more_is_too_many(self, twin: Any) -> None:
        """Used + 1 > amount."""
        windows = twin.SlidingWindows()
        windows.reserve([charge(calls(2))], 0)
        assert not windows.peek("k", calls(2), 0).exhausted
        windows.reserve([charge(calls(2))], 0)
        assert windows.peek("k", calls(2), 0).exhausted

    @pytest.mark.parametrize(
        ("next_cost", "exhausted"), [("1.2", False), ("1.3", True), ("0", False), (None, False)], ids=str
    )
    def test_budget_is_exhausted_when_the_next_cost_does_not_fit(
        self, twin: Any, next_cost: str | None, exhausted: bool
    ) -> None:
        """Used + next cost > amount; an unknown next cost only when nothing is left."""
        windows = twin.SlidingWindows()
        windows.reserve([charge(budget("3"), "1.8")], 0)
        cost = None if next_cost is None else Fraction(next_cost)
        assert exhausted == windows.peek("k", budget("3"), 0, cost).exhausted

    def test_spent_budget_is_exhausted_for_an_unknown_cost(self, twin: Any) -> None:
        """Used ≥ amount, next cost unknown."""
        windows = twin.SlidingWindows()
        windows.reserve([charge(budget("3"), "3")], 0)
        assert windows.peek("k", budget("3"), 0).exhausted

    def test_remaining_is_never_negative(self, twin: Any) -> None:
        """A limit lowered below what is used has nothing left, not less."""
        windows = twin.SlidingWindows()
        windows.reserve([charge(budget("3"), "3")], 0)
        assert 0 == windows.peek("k", budget("1"), 0).remaining

    def test_key_dropped_between_look_and_lock_is_unused(self, twin: Any) -> None:
        """A key that another thread forgets while a peek waits for the lock reads as unused."""
        windows = twin.SlidingWindows()
        windows.reserve([charge(calls(2))], 0)
        states: list[LimitState] = []
        thread = threading.Thread(target=lambda: states.append(windows.peek("k", calls(2), 0)))
        with windows._lock:
            thread.start()
            thread.join(0.02)
            windows._windows.clear()
        thread.join()
        assert [state("0", "2", None, False)] == states


class TestReserve:
    """All or none."""

    def test_first_charge_that_does_not_fit_is_named_and_nothing_is_counted(self, twin: Any) -> None:
        """A refused call spends nothing of any limit; the first refusing one in the given order is reported."""
        windows = twin.SlidingWindows()
        wide, narrow = calls(5), budget("1")
        charges = [charge(wide, key="w"), charge(narrow, "2", key="n1"), charge(narrow, "3", key="n2")]
        with pytest.raises(LimitReached, match=r"^budget is exhausted$") as reached:
            windows.reserve(charges, 0)
        assert charges[1] == reached.value.charge
        assert 0 == len(windows)

    def test_retry_after_is_the_time_until_the_oldest_leaves(self, twin: Any) -> None:
        """PROTOCOL: `retry_after` is the time until the oldest counted one leaves."""
        windows = twin.SlidingWindows()
        limit = calls(2, window_ns=100)
        windows.reserve([charge(limit)], 10)
        windows.reserve([charge(limit)], 50)
        with pytest.raises(LimitReached) as reached:
            windows.reserve([charge(limit)], 60)
        assert 50 == reached.value.retry_after_ns

    def test_cost_above_the_whole_budget_has_no_retry(self, twin: Any) -> None:
        """Waiting does not help a call that costs more than the budget."""
        windows = twin.SlidingWindows()
        windows.reserve([charge(budget("3"), "1")], 0)
        with pytest.raises(LimitReached) as reached:
            windows.reserve([charge(budget("3"), "4")], 0)
        assert reached.value.retry_after_ns is None

    def test_two_charges_of_one_key_are_counted_one_after_the_other(self, twin: Any) -> None:
        """The second charge of a call sees the first."""
        windows = twin.SlidingWindows()
        with pytest.raises(LimitReached):
            windows.reserve([charge(calls(1)), charge(calls(1))], 0)
        assert 0 == windows.peek("k", calls(1), 0).used

    def test_totals_are_exact(self, twin: Any) -> None:
        """Three times 0.1 fits into 0.3, and not a bit more does."""
        windows = twin.SlidingWindows()
        limit = budget("0.3")
        for time in range(3):
            windows.reserve([charge(limit, "0.1")], time)
        with pytest.raises(LimitReached):
            windows.reserve([charge(limit, "1e-300")], 3)

    def test_zero_cost_is_admitted_and_not_stored(self, twin: Any) -> None:
        """A call that costs nothing passes a spent budget and takes no memory."""
        windows = twin.SlidingWindows()
        windows.reserve([charge(budget("0"), "0")], 0)
        assert 0 == len(windows)

    def test_shadow_limit_never_refuses_and_counts_what_it_would_admit(self, twin: Any) -> None:
        """A shadow changes nothing, and its count stays within its amount."""
        windows = twin.SlidingWindows()
        limit = calls(2)
        for time in range(5):
            windows.reserve([charge(limit, enforced=False)], time)
        assert state("2", "0", 60 * SECOND - 4, True) == windows.peek("k", limit, 4)

    def test_threads_admit_exactly_the_limit(self, twin: Any) -> None:
        """A burst from many threads gets exactly `amount` reservations."""
        windows = twin.SlidingWindows()
        limit = calls(100)
        admitted: list[Any] = []
        start = threading.Barrier(8)

        def burst() -> None:
            start.wait()
            for time in range(50):
                with contextlib.suppress(LimitReached):
                    admitted.append(windows.reserve([charge(calls(1000), key="other"), charge(limit)], time))

        threads = [threading.Thread(target=burst) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 100 == len(admitted)
        assert 100 == windows.peek("other", calls(1000), 0).used


class TestRelease:
    """Giving back."""

    def test_release_gives_everything_back_once(self, twin: Any) -> None:
        """A second release of the same reservation does nothing."""
        windows = twin.SlidingWindows()
        windows.reserve([charge(budget("9"), "2"), charge(calls(9), key="c")], 0)
        reservation = windows.reserve([charge(budget("9"), "5"), charge(calls(9), key="c")], 0)
        windows.release(reservation)
        windows.release(reservation)
        assert (Fraction(2), Fraction(1)) == (
            windows.peek("k", budget("9"), 0).used,
            windows.peek("c", calls(9), 0).used,
        )

    def test_release_of_the_only_call_drops_the_key(self, twin: Any) -> None:
        """Nothing counted, nothing held."""
        windows = twin.SlidingWindows()
        windows.release(windows.reserve([charge(budget("9", window_ns=None), "5")], 0))
        assert 0 == len(windows)

    def test_release_after_the_window_gives_nothing_back(self, twin: Any) -> None:
        """What has left the window is not subtracted a second time."""
        windows = twin.SlidingWindows()
        limit = calls(3, window_ns=10)
        old = windows.reserve([charge(limit)], 0)
        windows.reserve([charge(limit)], 10)
        windows.release(old)
        assert 1 == windows.peek("k", limit, 10).used

    def test_release_of_a_forgotten_key_leaves_its_successor_alone(self, twin: Any) -> None:
        """A key that was forgotten and used again keeps the new count."""
        windows = twin.SlidingWindows()
        limit = budget("9", window_ns=None)
        old = windows.reserve([charge(limit, "2")], 0)
        windows.forget(["k", "unknown"])
        windows.reserve([charge(limit, "2")], 0)
        windows.release(old)
        assert 2 == windows.peek("k", limit, 0).used


class TestMemory:
    """What is held is bounded."""

    def test_calls_at_one_time_share_an_entry(self, twin: Any) -> None:
        """A burst under a clock that stands still is one entry."""
        windows = twin.SlidingWindows()
        for _ in range(50):
            windows.reserve([charge(calls(100))], 7)
        assert 1 == len(windows._windows["k"].entries)

    def test_released_entries_are_removed(self, twin: Any) -> None:
        """Reserving and giving back for ever, beside a call that stays, holds one entry."""
        windows = twin.SlidingWindows()
        limit = calls(3)
        windows.reserve([charge(limit)], 0)
        for time in range(1, 200):
            windows.release(windows.reserve([charge(limit)], time))
        assert 1 == len(windows._windows["k"].entries)

    def test_budget_that_needs_too_many_entries_refuses(self, twin: Any) -> None:
        """Beyond the bound a budget fails closed, and says when there is room again; a call at a time it has still fits."""
        windows = twin.SlidingWindows(max_budget_entries=3)
        limit = budget("1000", window_ns=100)
        for time in range(3):
            windows.reserve([charge(limit)], time)
        windows.reserve([charge(limit)], 2)
        with pytest.raises(LimitReached) as reached:
            windows.reserve([charge(limit)], 3)
        assert 97 == reached.value.retry_after_ns
        windows.reserve([charge(limit)], 100)

    def test_emptied_keys_are_dropped_in_the_course_of_later_calls(self, twin: Any) -> None:
        """A thousand agents that called once are gone after as many calls of others, without a pause."""
        windows = twin.SlidingWindows()
        limit = calls(5, window_ns=10)
        for agent in range(1000):
            windows.reserve([charge(limit, key=agent)], 0)
        assert 1000 == len(windows)
        for time in range(10, 600):
            windows.reserve([charge(limit, key="busy")], time * 10)
        assert 1 == len(windows)

    def test_every_reservation_sweeps_two_keys(self, twin: Any) -> None:
        """As long as there are two, whether the first is dropped or not."""
        windows = twin.SlidingWindows()
        for agent in range(7):
            windows.reserve([charge(calls(5, window_ns=10), key=agent)], 0)
        sizes = []
        for _ in range(5):
            windows.reserve([], 10)
            sizes.append(len(windows))
        assert [5, 3, 1, 0, 0] == sizes

    def test_sweep_keeps_what_still_counts(self, twin: Any) -> None:
        """Looking at a key never loses a call that is inside its window."""
        windows = twin.SlidingWindows()
        limit = calls(5)
        for agent in range(10):
            windows.reserve([charge(limit, key=agent)], agent)
        for time in range(10, 50):
            windows.reserve([charge(calls(100), key="busy")], time)
        assert [1] * 10 == [windows.peek(agent, limit, 50).used for agent in range(10)]


class Model:
    """Brute force: every admission as (time, cost), looked through each time."""

    def __init__(self) -> None:
        self.now = 0
        self.admitted: dict[int, list[tuple[str, Limit, int, Fraction]]] = {}

    def used(self, key: str) -> Fraction:
        return sum(
            (
                cost
                for held in self.admitted.values()
                for name, limit, time, cost in held
                if name == key and (limit.window_ns is None or self.now < time + limit.window_ns)
            ),
            Fraction(0),
        )

    def oldest(self, key: str) -> int | None:
        ends = [
            time + limit.window_ns
            for held in self.admitted.values()
            for name, limit, time, cost in held
            if name == key and cost and limit.window_ns is not None and self.now < time + limit.window_ns
        ]
        return min(ends) - self.now if ends else None


LIMITS = {
    "calls": calls(3, window_ns=10),
    "cents": budget("0.7", window_ns=7),
    "life": budget("5", window_ns=None),
}
COSTS = st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(1, 3), Fraction(1), Fraction(3)])
CALLS = st.tuples(st.sampled_from(sorted(LIMITS)), COSTS, st.sampled_from([True, True, True, False]))
STEPS = st.one_of(
    st.tuples(st.just("move"), st.integers(-5, 12)),
    st.tuples(st.just("release"), st.integers(0, 20)),
    st.tuples(st.just("reserve"), st.lists(CALLS, max_size=3)),
)


@given(st.lists(STEPS, max_size=40))
def test_agrees_with_brute_force(twin: Any, steps: list[tuple[str, object]]) -> None:
    """Over any schedule of reserve, release and time that may run backwards, decisions and states equal those of a list of all
    admissions; shadow limits among them."""
    windows, model = twin.SlidingWindows(), Model()
    clock = 0
    reservations = [windows.reserve([], clock)]
    for step, argument in steps:
        if step == "move":
            assert isinstance(argument, int)
            clock += argument
            model.now = max(model.now, clock)
            windows.reserve([], clock)
        elif step == "release":
            assert isinstance(argument, int)
            index = argument % len(reservations)
            windows.release(reservations[index])
            model.admitted[index] = []
        else:
            assert isinstance(argument, list)
            charges = [
                charge(LIMITS[name], "1" if name == "calls" else str(cost), key=name, enforced=enforced)
                for name, cost, enforced in argument
            ]
            index = len(reservations)
            model.admitted[index] = held = []
            refused = None
            for item in charges:
                if model.used(str(item.key)) + item.cost > item.limit.amount:
                    if not item.enforced:
                        continue
                    refused = item
                    break
                held.append((str(item.key), item.limit, model.now, item.cost))
            if refused is None:
                reservations.append(windows.reserve(charges, clock))
            else:
                del model.admitted[index]
                with pytest.raises(LimitReached) as reached:
                    windows.reserve(charges, clock)
                waiting_helps = refused.cost <= refused.limit.amount
                expected = model.oldest(str(refused.key)) if waiting_helps else None
                assert (refused, expected) == (reached.value.charge, reached.value.retry_after_ns)
        for name, limit in LIMITS.items():
            used = model.used(name)
            left = limit.amount - used
            exhausted = left < 1 if limit.kind == "rate_limit" else left <= 0
            assert LimitState(used, left, model.oldest(name), exhausted) == windows.peek(name, limit, clock)


def test_long_random_run_stays_exact_and_bounded(twin: Any, seed: int) -> None:
    """Ten thousand random calls of many agents: never more than the amount within any window, few keys left."""
    chance = random.Random(seed)
    windows = twin.SlidingWindows()
    limit = calls(4, window_ns=50)
    admitted: dict[int, list[int]] = {}
    now = 0
    for _ in range(10_000):
        now += chance.randrange(3)
        agent = chance.randrange(200)
        recent = [time for time in admitted.get(agent, []) if now < time + 50]
        try:
            windows.reserve([charge(limit, key=agent)], now)
        except LimitReached:
            assert 4 == len(recent)
        else:
            recent.append(now)
            assert len(recent) <= 4
        admitted[agent] = recent
    assert len(windows) <= 200


class TestWatches:
    """All limits of a plan at once."""

    def test_states_are_shared_while_nothing_is_counted(self, twin: Any) -> None:
        """Nothing is made for a plan whose limits nobody has used, or whose windows have been swept."""
        windows = twin.SlidingWindows()
        watches = twin.Watches([("a", calls(2, window_ns=10), None), ("b", budget("5"), Fraction(1))])
        assert (state("0", "2", None, False), state("0", "5", None, False)) == watches.unused
        windows.reserve([charge(calls(9), key="other")], 0)
        assert watches.unused is windows.states(watches, 0)
        windows.reserve([charge(calls(2, window_ns=10), key="a")], 0)
        assert (state("1", "1", 8, False), watches.unused[1]) == windows.states(watches, 2)
        assert watches.unused == windows.states(watches, 10)
        windows.reserve([], 10)
        assert watches.unused is windows.states(watches, 10)

    def test_which_are_exhausted(self, twin: Any) -> None:
        """By their place; a budget of nothing from the beginning."""
        windows = twin.SlidingWindows()
        watches = twin.Watches([("a", calls(1), None), ("b", budget("0"), Fraction(1)), ("c", calls(1), None)])
        assert (1,) == watches.exhausted(windows.states(watches, 0))
        windows.reserve([charge(calls(1), key="c")], 0)
        assert (1, 2) == watches.exhausted(windows.states(watches, 0))

    def test_nothing_watched(self, twin: Any) -> None:
        """A plan without limits."""
        watches = twin.Watches([])
        assert ((), ()) == (twin.SlidingWindows().states(watches, 0), watches.exhausted(()))

    def test_two_limits_may_look_at_one_key_in_turn(self, twin: Any) -> None:
        """A policy and its replacement: each is told what it would be told alone."""
        windows = twin.SlidingWindows()
        old, new = budget("5", window_ns=10), budget("7", window_ns=10)
        windows.reserve([charge(old, "3")], 0)
        for _ in range(2):
            assert state("3", "2", 6, False) == windows.peek("k", old, 4)
            assert state("3", "4", 6, False) == windows.peek("k", new, 4)
            assert state("3", "2", 6, True) == windows.peek("k", old, 4, Fraction(3))

    def test_a_lock_of_another_is_taken(self, twin: Any) -> None:
        """A forked child is refused instead of waiting for ever."""
        windows = twin.SlidingWindows()

        @contextlib.contextmanager
        def refuse() -> Any:
            raise RuntimeError("forked")
            yield

        windows.lock_out(refuse())
        with pytest.raises(RuntimeError, match=r"^forked$"):
            windows.reserve([], 0)

    def test_what_interrupts_a_reservation_may_look(self, twin: Any) -> None:
        """A signal handler may resolve while its thread executes; it must not wait for itself."""
        windows = twin.SlidingWindows()
        limit = calls(2)
        seen: list[LimitState] = []

        def interrupted() -> Any:
            yield charge(limit)
            seen.append(windows.peek("k", limit, 0))

        thread = threading.Thread(target=lambda: windows.reserve(interrupted(), 0), daemon=True)
        thread.start()
        thread.join(60)
        assert [state("1", "1", 60 * SECOND, False)] == seen

    def test_a_look_never_sees_half_a_reservation(self, twin: Any) -> None:
        """A call that one of its limits refuses is not seen in another, whatever the threads are doing."""
        windows = twin.SlidingWindows()
        wide, narrow = budget("0.9"), budget("0")
        windows.reserve([charge(wide, "0.1", key="wide")], 0)
        done = threading.Event()

        def refuse() -> None:
            while not done.is_set():
                with contextlib.suppress(LimitReached):
                    windows.reserve([charge(wide, "0.3", key="wide"), charge(narrow, key="narrow")], 0)

        threads = [threading.Thread(target=refuse) for _ in range(3)]
        for thread in threads:
            thread.start()
        observed = {windows.peek("wide", wide, 0).used for _ in range(3000)}
        done.set()
        for thread in threads:
            thread.join()
        assert {Fraction(1, 10)} == observed


KEYS = st.sampled_from(["a", "b", ("c", 1)])
AMOUNTS = st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(1, 3), Fraction(1), Fraction(3), Fraction(10**30)])
WINDOWS = st.sampled_from([None, 1, 7, 10, 10**25])
ANY_LIMIT = st.builds(
    Limit, kind=st.just("rate_limit"), amount=st.integers(1, 3).map(Fraction), window_ns=st.integers(1, 12)
) | st.builds(Limit, kind=st.just("budget"), amount=AMOUNTS, window_ns=WINDOWS)
ANY_STEP = st.one_of(
    st.tuples(st.just("reserve"), st.lists(st.tuples(KEYS, st.integers(0, 3), AMOUNTS, st.booleans()), max_size=3)),
    st.tuples(st.just("peek"), st.tuples(KEYS, st.integers(0, 3), st.none() | AMOUNTS)),
    st.tuples(st.just("states"), st.lists(st.tuples(KEYS, st.integers(0, 3), st.none() | AMOUNTS), max_size=4)),
    st.tuples(st.just("release"), st.integers(0, 9)),
    st.tuples(st.just("forget"), st.lists(KEYS, max_size=2)),
)


@settings(max_examples=400)
@given(
    st.lists(ANY_LIMIT, min_size=4, max_size=4),
    st.lists(st.tuples(st.integers(-20, 20) | st.just(10**30), ANY_STEP), max_size=40),
)
def test_twins_agree(limits: list[Limit], schedule: list[tuple[int, tuple[str, Any]]]) -> None:
    """Over any schedule, with clocks that run backwards or leap, keys that change their limit, amounts of any size: the same
    answers, refusals and sizes."""
    pure, compiled = (Played(module, limits) for module in (sliding_windows, compiled_twin()))
    now = 0
    for moved, (step, argument) in schedule:
        now += moved
        assert pure.play(step, argument, now) == compiled.play(step, argument, now)
        assert len(pure.windows) == len(compiled.windows)


class Played:
    """One twin, and what it holds."""

    def __init__(self, module: Any, limits: list[Limit]) -> None:
        self.module = module
        self.limits = limits
        self.windows = module.SlidingWindows(max_budget_entries=3)
        self.held: list[Any] = []

    def play(self, step: str, argument: Any, now: int) -> object:
        """Do it, and return all there is to see."""
        if step == "peek":
            key, number, cost = argument
            return self.windows.peek(key, self.limits[number], now, cost)
        if step == "states":
            watches = self.module.Watches([(key, self.limits[number], cost) for key, number, cost in argument])
            states = self.windows.states(watches, now)
            return states, states is watches.unused, watches.exhausted(states)
        if step == "reserve":
            charges = [Charge(key, self.limits[number], cost, enforced) for key, number, cost, enforced in argument]
            try:
                self.held.append(self.windows.reserve(charges, now))
            except LimitReached as reached:
                return reached.charge, reached.retry_after_ns, str(reached)
        elif step == "release" and self.held:
            self.windows.release(self.held[argument % len(self.held)])
        elif step == "forget":
            self.windows.forget(argument)
        return None
