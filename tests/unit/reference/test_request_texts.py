"""Timestamps and UUIDs of requests: which texts are one, and what they stand for. RFC 3339, RFC 9562; PROTOCOL: Requests."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cra.reference import request_texts
from tests.support.twins import compiled_twin, twins

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
UUID = "0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f"
SECOND = 1_000_000_000


@pytest.fixture(params=twins(request_texts), scope="module")
def twin(request: pytest.FixtureRequest) -> Any:
    """The module under test."""
    return request.param


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.0000000019999Z", 1),
        ("1970-01-01T00:00:00.5-00:00", SECOND // 2),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T00:01:00-23:59", 0),
        ("2000-02-29T00:00:00Z", 951_782_400 * SECOND),
        ("2262-04-11T23:47:16.854775807Z", 2**63 - 1),
        ("2262-04-11T23:47:16.854775808Z", 2**63),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_800 * SECOND - 1),
        ("0001-01-01T00:00:00Z", -62_135_596_800 * SECOND),
        ("0001-01-01T00:00:00+23:59", (-62_135_596_800 - 86_340) * SECOND),
        ("2016-12-31T23:59:60Z", 1_483_228_800 * SECOND),
        ("2016-12-31T18:59:60.25-05:00", 1_483_228_800 * SECOND + SECOND // 4),
    ],
)
def test_a_timestamp(twin: Any, text: str, ns: int) -> None:
    """In ns since the epoch, exactly; a leap second is the first moment of the next day."""
    assert ns == twin.timestamp_ns(text)


@pytest.mark.parametrize(
    "text",
    ["", "Z", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01 00:00:00Z", "1970-01-01T00:00:00Z\n", "1970-01-01T00:00:00.Z",
     "1970-01-01T00:00Z", "0000-01-01T00:00:00Z", "1970-00-01T00:00:00Z", "1970-13-01T00:00:00Z", "1970-01-00T00:00:00Z",
     "1970-01-32T00:00:00Z", "1900-02-29T00:00:00Z", "1971-02-29T00:00:00Z", "1970-04-31T00:00:00Z", "1970-01-01T24:00:00Z",
     "1970-01-01T00:60:00Z", "1970-01-01T00:00:61Z", "1970-01-01T00:00:60Z", "2016-12-31T23:59:60+01:00",
     "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+00:60", "1970-01-01T00:00:00+0000", "1970-01-01T00:00:00+00",
     "1970-01-01T00:00:00+00:00Z", "+970-01-01T00:00:00Z", "1970-01-01T00:00:-1Z", "１970-01-01T00:00:00Z",
     "1970-01-01T00:00:00.１Z", "1970-01-01T00:00:00é", "1970-01-01T00:00:00.5", "1970-01-01T00:00:00 "],
)  # fmt: skip
def test_no_timestamp(twin: Any, text: str) -> None:
    """Not in the calendar, not in RFC 3339, or without a zone."""
    assert twin.timestamp_ns(text) is None


@given(st.datetimes(), st.integers(0, 999), st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
def test_a_timestamp_is_what_the_calendar_says(twin: Any, moment: datetime, ns: int, east: timedelta) -> None:
    """Of any moment of any year, in any zone."""
    minutes = east // timedelta(minutes=1)
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    text = f"{moment.isoformat(timespec='microseconds')}{ns:03d}{sign}{hours:02d}:{rest:02d}"
    since = moment.replace(tzinfo=timezone.utc) - EPOCH - timedelta(minutes=minutes)
    assert since // timedelta(microseconds=1) * 1000 + ns == twin.timestamp_ns(text)


digits = st.text("0123456789", min_size=1, max_size=4)
parts = st.tuples(st.integers(0, 2400), st.integers(0, 13), st.integers(0, 32), st.integers(22, 25), st.integers(58, 61),
                  st.integers(58, 61), st.sampled_from(["", ".", ".5", ".123456789012", ".１"]),
                  st.sampled_from(["Z", "z", "+00:00", "-01:30", "+24:00", "+23:60", "", "+01:00", "Zz"]))  # fmt: skip
near = parts.map(lambda p: "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}".format(*p))
spoilt = st.builds(
    lambda text, at, letter: text[: at % len(text)] + letter + text[at % len(text) + 1 :],
    near,
    st.integers(0, 40),
    st.sampled_from([*"09T:-+.Zz ", "", "é", "\0", "١"]),
)


@settings(max_examples=1000)
@given(near | spoilt | st.text(max_size=30))
def test_twins_agree_on_timestamps(text: str) -> None:
    """On nearly valid and on any text."""
    assert request_texts.timestamp_ns(text) == compiled_twin().timestamp_ns(text)


def test_a_uuid_in_lower_case_is_itself(twin: Any) -> None:
    """The same object; in upper case another, in lower case."""
    assert UUID is twin.lower_uuid(UUID)
    assert UUID == twin.lower_uuid(UUID.upper())
    assert UUID == twin.lower_uuid(UUID[:9] + UUID[9:].upper())


@pytest.mark.parametrize(
    "text", ["", UUID[:-1], UUID + "\n", UUID + "0", UUID.replace("-", ""), UUID.replace("-", "_"), f"{{{UUID}}}",
             "g" + UUID[1:], UUID[:-1] + "é", UUID[:-1] + "１", " " + UUID[1:]]
)  # fmt: skip
def test_no_uuid(twin: Any, text: str) -> None:
    """Another form, another length, another alphabet."""
    assert twin.lower_uuid(text) is None


@given(st.uuids().map(str), st.integers(0, 35), st.characters() | st.sampled_from("gGfF-/:@`"))
def test_twins_agree_on_uuids(text: str, at: int, letter: str) -> None:
    """On any UUID with one character replaced, in any case."""
    changed = text[:at] + letter + text[at + 1 :]
    for each in (text, text.upper(), changed, changed.upper(), text.swapcase()):
        assert request_texts.lower_uuid(each) == compiled_twin().lower_uuid(each)


def test_no_other_letter_is_a_digit_in_lower_case() -> None:
    """So that looking at ASCII alone is enough: for every character there is."""
    for code in range(128, sys.maxunicode + 1):
        assert not set(chr(code).lower()) <= set("0123456789abcdef-"), code


@pytest.mark.parametrize("name", ["timestamp_ns", "lower_uuid"])
def test_only_strings_are_read(twin: Any, name: str) -> None:
    """As a caller's mistake deserves."""
    for value in (None, 3, b"x" * 36):
        with pytest.raises((TypeError, AttributeError)):
            getattr(twin, name)(value)
