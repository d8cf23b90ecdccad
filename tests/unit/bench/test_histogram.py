"""The arithmetic under every figure: percentiles by the nearest rank, buckets, the share beyond a duration."""

from __future__ import annotations

import random

import pytest

from cra.bench.histogram import STEPS, Histogram, beyond, bound, bucket, measure, measure_each, nothing


@pytest.mark.parametrize(
    ("count", "p50", "p99", "tail"), [(1, 1, 1, 1), (2, 1, 2, 2), (100, 50, 99, 100), (1_000, 500, 990, 999)]
)
def test_a_percentile_is_the_smallest_time_that_its_share_does_not_exceed(
    count: int, p50: int, p99: int, tail: int
) -> None:
    """Of the times 1, 2, …, n: the rank is the count's share, rounded up."""
    times = list(range(1, count + 1))
    random.Random(count).shuffle(times)
    assert {"p50": p50, "p99": p99, "p99.9": tail, "worst": count, "count": count} == Histogram(times).summary()


def test_one_slow_call_in_a_thousand_shows_as_the_worst_alone() -> None:
    """And two of them are the p99.9."""
    assert (10, 9_999) == (Histogram([10] * 999 + [9_999]).percentile(999), Histogram([10] * 999 + [9_999]).times[-1])
    assert Histogram([10] * 998 + [9_999] * 2).percentile(999) == 9_999


def test_a_duration_is_between_the_bounds_of_its_bucket() -> None:
    """Buckets have no gaps, and their relative width is the same everywhere."""
    for time in (1, 2, 9, 10, 11, 99, 100, 12_345, 999_999, 10**9):
        number = bucket(time)
        assert bound(number) <= time * (1 + 1e-9)
        assert time < bound(number + 1)
    assert bound(bucket(1) + STEPS) == pytest.approx(10)
    assert bucket(1) == bucket(0)


def test_a_histogram_counts_every_duration_once() -> None:
    """In whatever order they come."""
    times = [3, 1_000, 5, 5, 70]
    assert len(times) == sum(Histogram(times).buckets.values())


def test_what_is_beyond_the_first_bucket_is_everything() -> None:
    """And then less with every bucket, whatever order they come in."""
    points = beyond([(40, 1), (20, 3), (60, 1)])
    assert [(bound(20), 1.0), (bound(40), 0.4), (bound(60), 0.2)] == points


def test_every_call_is_made_and_timed_once() -> None:
    """The same call many times, or many calls once."""
    made: list[int] = []
    assert len(measure(lambda: made.append(1), 7).times) == 7
    assert len(measure_each([lambda: made.append(2), nothing]).times) == 2
    assert [1] * 7 + [2] == made
