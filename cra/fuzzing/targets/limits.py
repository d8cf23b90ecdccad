"""Rate limits and budgets: a script of reservations, looks and releases against exact sliding windows. PROTOCOL: Limits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

from cra.carp.policy import Limit
from cra.fuzzing.draws import Draws
from cra.fuzzing.target import Target
from cra.hotpath import SlidingWindows, Watches
from cra.reference.sliding_windows import Charge, LimitReached

_AMOUNTS: Final = tuple(map(Fraction, ("1", "2", "5", "0", "0.1", "0.3", "1e17", "1/3", "18446744073709551616")))
_WINDOWS: Final = (1, 10, 1000, 10**9, 2**62, None)
_KEYS: Final = "abcd"
_MOST_STEPS: Final = 200


def answer(data: bytes) -> object:
    """What every step comes to."""
    draws = Draws(data)
    limits = [_limit(draws) for _ in _KEYS]
    windows = SlidingWindows(draws.choice((1, 3, 8, 100_000)))
    watches = Watches([(key, limit, None) for key, limit in zip(_KEYS, limits)])
    held: list[Any] = []
    found: list[object] = []
    now = 0
    for _ in range(_MOST_STEPS):
        if not draws:
            break
        now += draws.choice((0, 1, 5, 10, 999, 10**9, 2**61))
        found.append(_step(draws, windows, watches, limits, held, now))
    return found, [repr(state) for state in windows.states(watches, now)]


def _step(draws: Draws, windows: Any, watches: Any, limits: list[Limit], held: list[Any], now: int) -> object:
    kind = draws.number() % 8
    if kind <= 3:
        charges = []
        for _ in range(1 + kind % 2):
            at = draws.number() % len(_KEYS)
            charges.append(Charge(_KEYS[at], limits[at], draws.choice(_AMOUNTS), bool(draws.number() % 4)))
        try:
            held.append(windows.reserve(charges, now))
        except LimitReached as reached:
            return charges.index(reached.charge), reached.retry_after_ns
        return len(windows)
    if kind == 4 and held:
        return windows.release(held[draws.number() % len(held)])
    if kind == 5:
        return windows.forget(draws.choice(_KEYS))
    if kind == 6:
        at = draws.number() % len(_KEYS)
        return repr(windows.peek(_KEYS[at], limits[at], now, draws.choice((None, *_AMOUNTS))))
    states = windows.states(watches, now)
    return repr(states), watches.exhausted(states)


def _limit(draws: Draws) -> Limit:
    if draws.number() % 2:
        return Limit("rate_limit", Fraction(1 + draws.number() % 4), draws.choice(_WINDOWS[:-1]))
    return Limit("budget", draws.choice(_AMOUNTS), draws.choice(_WINDOWS))


def seeds() -> list[bytes]:
    """Scripts of every kind of step."""
    head = bytes((1, 1, 2, 0, 1, 3, 1, 3, 2, 0, 4, 5, 3))
    reserves = bytes((0, 0, 0, 0, 1)) * 5
    mixed = bytes((1, 1, 0, 0, 1, 2, 1, 1, 2, 6, 0, 0, 0, 4, 0, 3, 5, 0, 1, 7, 0, 6, 1, 3))
    return [head + reserves, head + mixed * 3, bytes(13) + reserves + mixed]


TARGET = Target("limits", "rate limits and budgets, reserved and released", answer, seeds, max_bytes=1024)
