"""Latencies, call by call: measured into a flat array, told as percentiles and as a histogram."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from time import perf_counter_ns

STEPS = 20
"""Buckets per factor of ten: each is 12 % wide."""
PER_MILLE = {"p50": 500, "p99": 990, "p99.9": 999}


class Histogram:
    """Durations in ns: exact percentiles, and counts in buckets of constant relative width. At least one duration."""

    def __init__(self, times: Iterable[int]) -> None:
        self.times = sorted(times)
        self.buckets = Counter(bucket(time) for time in self.times)

    def percentile(self, per_mille: int) -> int:
        """The smallest duration that this share of all do not exceed (the nearest rank)."""
        rank = -(-len(self.times) * per_mille // 1000)
        return self.times[max(rank, 1) - 1]

    def summary(self) -> dict[str, int]:
        """Median, tail and worst, in ns, and how many there were."""
        found = {name: self.percentile(share) for name, share in PER_MILLE.items()}
        return found | {"worst": self.times[-1], "count": len(self.times)}


def bucket(time_ns: int) -> int:
    """The bucket of a duration; what is below 1 ns is in the first."""
    return math.floor(math.log10(max(1, time_ns)) * STEPS)


def bound(number: int) -> float:
    """Where a bucket begins, in ns."""
    return float(10 ** (number / STEPS))


def beyond(buckets: Iterable[tuple[int, int]]) -> list[tuple[float, float]]:
    """Where each bucket begins (ns), and the share of all durations that are in it or beyond; ascending."""
    ordered = sorted(buckets)
    left = total = sum(count for _, count in ordered)
    points = []
    for number, count in ordered:
        points.append((bound(number), left / total))
        left -= count
    return points


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
    """Time each of these calls once; what making them takes is not in it."""
    times = array("q")
    clock = perf_counter_ns
    for call in calls:
        started = clock()
        call()
        times.append(clock() - started)
    return Histogram(times)


def nothing() -> None:
    """What the timer is measured with."""
