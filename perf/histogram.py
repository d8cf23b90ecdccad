"""Latencies, call by call: measured into a flat array, told as percentiles and as a histogram that runs can be added up in."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from time import perf_counter_ns

STEPS = 20
"""Buckets per factor of ten: each is 12 % wide."""
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


class Histogram:
    """Durations in ns, in buckets of constant relative width, with the exact percentiles of what was given last."""

    def __init__(self, times: Iterable[int] = ()) -> None:
        self.times = sorted(times)
        self.buckets = Counter(bucket(time) for time in self.times)

    def percentiles(self) -> dict[str, float]:
        """Median, tail and worst, in ns."""
        count = len(self.times)
        found = {name: float(self.times[min(count - 1, int(count * share))]) for name, share in PERCENTILES.items()}
        return found | {"worst": float(self.times[-1]), "count": count}


def bucket(time_ns: int) -> int:
    """The bucket of a duration; `bound` is its inverse."""
    return math.floor(math.log10(max(1, time_ns)) * STEPS)


def bound(number: int) -> float:
    """Where a bucket begins, in ns."""
    return float(10 ** (number / STEPS))


def measure(call: Callable[[], object], count: int) -> Histogram:
    """Time `count` calls one by one. What the timer costs is in every one of them: `measure(nothing, count)` says how much."""
    times = array("q", bytes(8 * count))
    clock = perf_counter_ns
    for index in range(count):
        started = clock()
        call()
        times[index] = clock() - started
    return Histogram(times)


def measure_each(calls: Iterable[Callable[[], object]]) -> Histogram:
    """Time each of these calls once."""
    times = array("q")
    clock = perf_counter_ns
    for call in calls:
        started = clock()
        call()
        times.append(clock() - started)
    return Histogram(times)


def nothing() -> None:
    """What the timer is measured with."""
