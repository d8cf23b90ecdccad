"""Durations, written and read."""

from __future__ import annotations

import pytest

from cra.bench.machine import duration, parse_duration


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("50us", 50_000), ("1.5 ms", 1_500_000), ("800ns", 800), ("2s", 2 * 10**9), ("7µs", 7_000)],
)
def test_a_duration_is_read_with_its_unit(text: str, nanoseconds: int) -> None:
    """And written so that it can be read again."""
    assert nanoseconds == parse_duration(text)
    assert nanoseconds == parse_duration(duration(nanoseconds))


@pytest.mark.parametrize("text", ["", "50", "us", "-1us", "0ns", "0.1ns", "1e3us", "nan s", "٥us", "1" * 13 + "s"])
def test_anything_else_is_refused(text: str) -> None:
    """With what to write."""
    with pytest.raises(ValueError, match="such as 50us"):
        parse_duration(text)
