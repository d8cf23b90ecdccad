"""Exact sliding windows: how much of a rate limit or a budget is used, and the atomic reservation of all limits of a call.

A resolve peeks, an execute reserves; the caller passes the monotonic time and decides what a key is. Nothing here reads a
clock, knows a session, or rounds: totals are exact fractions. PROTOCOL: Limits, Policy parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager
from fractions import Fraction
from threading import RLock
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cra.carp.policy import Limit

MAX_BUDGET_ENTRIES = 100_000
SWEPT_PER_RESERVE = 2

Exact = int | Fraction
"""An exact amount. Whole ones are kept as `int`, whose arithmetic is ten times as fast as that of `Fraction`."""


class LimitState(msgspec.Struct, frozen=True, gc=False):
    """A limit as of one moment.

    `reset_after_ns` is the time until the oldest counted call leaves the window; None when nothing is counted or nothing ever
    leaves. `exhausted`: one more call would not be admitted. `as_of_ns`: of a count that is shared with other processes, the time
    (wall clock) at which this one last knew it.
    """

    used: Exact
    remaining: Exact
    reset_after_ns: int | None
    exhausted: bool
    as_of_ns: int | None = None


class Charge(msgspec.Struct, frozen=True):
    """What a call costs one limit: 1 for a rate limit, its cost for a budget.

    `enforced` False is a shadow limit: it never refuses, and it counts the calls that it would have admitted, so that it shows
    what it would have done.
    """

    key: Hashable
    limit: Limit
    cost: Fraction
    enforced: bool = True


class LimitReached(Exception):
    """An enforced charge does not fit. `retry_after_ns` is None where waiting does not help."""

    def __init__(self, charge: Charge, retry_after_ns: int | None) -> None:
        super().__init__(f"{charge.limit.kind} is exhausted")
        self.charge = charge
        self.retry_after_ns = retry_after_ns


class Watches:
    """The limits that a plan has for one session: each a key, a limit and a next cost as `SlidingWindows.peek` takes them.

    `unused` are the states of all of them while no key has a count.
    """

    __slots__ = ("limits", "unused", "_exhausted")

    def __init__(self, limits: Iterable[tuple[Hashable, Limit, Fraction | None]]) -> None:
        self.limits = tuple(limits)
        self.unused = tuple([standing(limit, next_cost, 0, None) for _, limit, next_cost in self.limits])
        self._exhausted = _exhausted(self.unused)

    def exhausted(self, states: tuple[LimitState, ...]) -> tuple[int, ...]:
        """Which of the limits are exhausted (indexes), given their states."""
        return self._exhausted if states is self.unused else _exhausted(states)


def _exhausted(states: tuple[LimitState, ...]) -> tuple[int, ...]:
    return tuple([index for index, state in enumerate(states) if state.exhausted])


def standing(
    limit: Limit, next_cost: Fraction | None, used: Exact, reset_after_ns: int | None, as_of_ns: int | None = None
) -> LimitState:
    """The state of a limit of which `used` is counted."""
    remaining = exact(limit.amount) - used
    if limit.kind == "rate_limit":
        exhausted = remaining < 1
    elif next_cost is None:
        exhausted = remaining <= 0
    else:
        exhausted = remaining < next_cost
    return LimitState(used, max(remaining, 0), reset_after_ns, exhausted, as_of_ns)


class Reservation:
    """What one call holds of its limits; `SlidingWindows.release` gives it back."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[tuple[Hashable, _Window, int, Exact]] = []


class _Window:
    """What is counted for one key.

    `entries` maps the time of admission to what was charged then, oldest first; an OrderedDict, since the oldest is dropped at
    one end while a release takes from anywhere. Without a window only the total counts. `as_of_ns` is of a count that is shared
    with other processes.
    """

    __slots__ = ("window_ns", "total", "entries", "as_of_ns")

    def __init__(self, window_ns: int | None) -> None:
        self.window_ns = window_ns
        self.as_of_ns: int | None = None
        self.total: Exact = 0
        self.entries: OrderedDict[int, Exact] = OrderedDict()

    def adopt(self, window_ns: int | None, now: int) -> None:
        """Go on under a limit that was given another window: what is counted then counts as of now."""
        if window_ns != self.window_ns:
            self.window_ns = window_ns
            self.entries = OrderedDict({now: self.total} if self.total else {})

    def expire(self, now: int) -> None:
        """Forget what was admitted at t where now ≥ t + window."""
        if self.window_ns is None:
            return
        while self.entries and next(iter(self.entries)) + self.window_ns <= now:
            self.total -= self.entries.popitem(last=False)[1]

    def reset_after(self, now: int) -> int | None:
        if self.window_ns is None or not self.entries:
            return None
        return next(iter(self.entries)) + self.window_ns - now

    def has_room_for(self, cost: Exact, limit: Limit, now: int, max_entries: int) -> bool:
        if self.total + cost > exact(limit.amount):
            return False
        return limit.kind == "rate_limit" or now in self.entries or len(self.entries) < max_entries

    def add(self, cost: Exact, now: int) -> None:
        self.total += cost
        if self.window_ns is not None:
            self.entries[now] = self.entries.get(now, 0) + cost

    def take_back(self, cost: Exact, admitted: int) -> None:
        """Undo `add`, unless what was added has left the window since."""
        if self.window_ns is not None:
            if admitted not in self.entries:
                return
            self.entries[admitted] -= cost
            if not self.entries[admitted]:
                del self.entries[admitted]
        self.total -= cost


class SlidingWindows:
    """The counters of all limits of a runtime, by key. Safe to call from many threads.

    Times are monotonic nanoseconds given by the caller; one that is earlier than a time seen before counts as that one. A key
    belongs to one limit, whose amount and window may change (a replaced atlas); what was counted stays counted. Memory:
    a rate limit holds at most `amount` entries, a budget `max_budget_entries` (what would need more is refused), calls at the
    same time share one, and a key whose window has emptied is dropped in the course of later reservations.
    """

    def __init__(self, max_budget_entries: int = MAX_BUDGET_ENTRIES) -> None:
        self._max_budget_entries = max_budget_entries
        # Reentrant: a signal handler or a finalizer may resolve, too.
        self._lock: AbstractContextManager[Any] = RLock()
        self._latest: int | None = None
        self._windows: OrderedDict[Hashable, _Window] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._windows)

    def peek(self, key: Hashable, limit: Limit, now_ns: int, next_cost: Fraction | None = None) -> LimitState:
        """The state of `limit` for `key`, without counting anything.

        A rate limit is exhausted when one more call is too many; a budget when `next_cost` is, or, where the cost of the next
        call is not known (None), when nothing is left.
        """
        used: Exact = 0
        reset_after = as_of_ns = None
        # A key without a window is the common case and needs no lock.
        if key in self._windows:
            with self._lock:
                now = self._advance(now_ns)
                window = self._windows.get(key)
                if window is not None:
                    window.expire(now)
                    window.adopt(limit.window_ns, now)
                    used, reset_after, as_of_ns = window.total, window.reset_after(now), window.as_of_ns
        return standing(limit, next_cost, used, reset_after, as_of_ns)

    def states(self, watches: Watches, now_ns: int) -> tuple[LimitState, ...]:
        """`peek` at all of them. While no key has a window it is `watches.unused` itself."""
        if not any(key in self._windows for key, _, _ in watches.limits):
            return watches.unused
        return tuple([self.peek(key, limit, now_ns, next_cost) for key, limit, next_cost in watches.limits])

    def lock_out(self, lock: AbstractContextManager[Any]) -> None:
        """Use another lock from now on: one that tells a forked child that it may not count here."""
        self._lock = lock

    def reserve(self, charges: Iterable[Charge], now_ns: int) -> Reservation:
        """Count `charges` (costs ≥ 0), all or none of them.

        Raises `LimitReached` for the first enforced one that does not fit. PROTOCOL: Execute.
        """
        reservation = Reservation()
        with self._lock:
            now = self._advance(now_ns)
            self._sweep(now)
            for charge in charges:
                cost = exact(charge.cost)
                window = self._windows.get(charge.key) or _Window(charge.limit.window_ns)
                window.expire(now)
                window.adopt(charge.limit.window_ns, now)
                if not window.has_room_for(cost, charge.limit, now, self._max_budget_entries):
                    if not charge.enforced:
                        continue
                    self._give_back(reservation)
                    raise LimitReached(charge, window.reset_after(now) if cost <= charge.limit.amount else None)
                if cost:
                    window.add(cost, now)
                    self._windows[charge.key] = window
                    reservation._held.append((charge.key, window, now, cost))
        return reservation

    def release(self, reservation: Reservation) -> None:
        """Give everything back, for a call whose executor was never called. A second time does nothing."""
        with self._lock:
            self._give_back(reservation)

    def know(self, key: Hashable, limit: Limit, used: Exact, admitted_ns: int, as_of_ns: int) -> None:
        """Take over what is counted for `key` elsewhere: `used` ≥ 0 in all, the oldest of it admitted at the monotonic time
        `admitted_ns`, as somebody who counts for several processes said at `as_of_ns` on the wall clock."""
        with self._lock:
            window = _Window(limit.window_ns)
            window.as_of_ns = as_of_ns
            if used:
                window.add(used, admitted_ns)
            self._windows[key] = window

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Drop the counters of `keys`: those of an ended session, which no window empties. Unknown keys are ignored."""
        with self._lock:
            for key in keys:
                self._windows.pop(key, None)

    def _advance(self, now_ns: int) -> int:
        if self._latest is None or now_ns > self._latest:
            self._latest = now_ns
        return self._latest

    def _give_back(self, reservation: Reservation) -> None:
        for key, window, admitted, cost in reservation._held:
            window.take_back(cost, admitted)
            # A key that was forgotten since may have a new window by now.
            if not window.total and self._windows.get(key) is window:
                del self._windows[key]
        reservation._held.clear()

    def _sweep(self, now: int) -> None:
        """Look at the next few keys, round robin, and drop the empty ones: every reservation pays for a constant number."""
        for _ in range(min(SWEPT_PER_RESERVE, len(self._windows))):
            key, window = next(iter(self._windows.items()))
            window.expire(now)
            # Never absent in between: `peek` looks without the lock.
            if window.total:
                self._windows.move_to_end(key)
            else:
                del self._windows[key]


def exact(amount: Fraction) -> Exact:
    """An amount as it is kept."""
    return amount.numerator if amount.denominator == 1 else amount
