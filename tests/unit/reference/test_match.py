"""Conditions: all have to hold, and what cannot be evaluated holds for what restricts only. PROTOCOL: Conditions."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cra.carp.conditions import DAY_SECONDS, DAYS, RISK_TIERS, Conditions, TimeWindow, parse_conditions
from cra.reference.match import conditions_hold, depends_on_facts, failed_condition, scalar_text, window_contains
from tests.support.decisions import facts

pytestmark = pytest.mark.usefixtures("twin")

EITHER = pytest.mark.parametrize("restricting", [True, False])


def parse(**written: Any) -> Conditions:
    return parse_conditions(written, "/conditions")


def at(text: str) -> int:
    """A date-time with a zone, in ns since the epoch."""
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1) * 1000


@EITHER
def test_no_condition_always_holds(restricting: bool) -> None:
    """A policy without conditions matches every request."""
    assert conditions_hold(Conditions(), facts(), restricting=restricting)
    assert not depends_on_facts(Conditions())


@EITHER
@pytest.mark.parametrize("tier", RISK_TIERS)
def test_risk_tiers_list_the_effective_tier(tier: Any, restricting: bool) -> None:
    """`risk_tiers` is a list, not a threshold: only a listed tier holds."""
    conditions = parse(risk_tiers=["low", "critical"])
    assert (tier in ("low", "critical")) is conditions_hold(conditions, facts(risk_tier=tier), restricting=restricting)


@EITHER
@pytest.mark.parametrize(
    ("agent_id", "expected"),
    [("triage-bot", True), ("ops", True), ("triage-botanist", False), ("Ops", False), ("x", False)],
)
def test_one_of_the_agent_globs_matches(agent_id: str, expected: bool, restricting: bool) -> None:
    """`agents` holds when a glob matches the whole agent id."""
    conditions = parse(agents=["*-bot", "ops"])
    assert expected is conditions_hold(conditions, facts(agent_id=agent_id), restricting=restricting)


@EITHER
@pytest.mark.parametrize(
    ("required", "expected"),
    [((), True), (("a",), True), (("c", "b"), True), (("c",), False), (("a.x",), False), (("*",), False)],
)
def test_one_of_the_capabilities_is_required(required: tuple[str, ...], expected: bool, restricting: bool) -> None:
    """A request that requires none requires all; capabilities are ids, no globs."""
    conditions = parse(capabilities=["a", "b"])
    assert expected is conditions_hold(conditions, facts(capabilities=required), restricting=restricting)


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        ("production", "prod*", True),
        ("staging", "prod*", False),
        ("", "*", True),
        ("", "?*", False),
        (True, "true", True),
        (True, "1", False),
        (False, "false", True),
        (None, "null", True),
        (3, "3", True),
        (3, "3.0", False),
        (3.0, "3", True),
        (-0.0, "0", True),
        (1e21, "1" + 21 * "0", True),
        (0.1, "0.1", True),
        (2**64 - 1, "18446744073709551615", True),
        ("true", "true", True),
        ('"quoted"', '"quoted"', True),
    ],
)
@EITHER
def test_a_context_value_is_matched_as_text(value: object, pattern: str, expected: bool, restricting: bool) -> None:
    """Strings as they are, other scalars as canonical JSON."""
    conditions = parse(context_matches={"key": pattern})
    assert expected is conditions_hold(conditions, facts(context={"key": value}), restricting=restricting)


@EITHER
@pytest.mark.parametrize(
    "context",
    [{}, {"other": "x"}, {"key": []}, {"key": ["x"]}, {"key": {}}, {"key": ()}, {"key": math.nan}, {"key": math.inf},
     {"key": 2**64}, {"key": b"x"}],
)  # fmt: skip
def test_what_cannot_be_evaluated_holds_for_what_restricts_only(context: dict[str, Any], restricting: bool) -> None:
    """A key that is absent or no scalar: the condition holds for a restricting policy and fails for an `allow`."""
    conditions = parse(context_matches={"key": "*"})
    assert restricting is conditions_hold(conditions, facts(context=context), restricting=restricting)


@EITHER
def test_a_key_is_one_name(restricting: bool) -> None:
    """A context key with dots is a name with dots: nothing is looked up inside a value."""
    conditions = parse(context_matches={"a.b": "x"})
    assert conditions_hold(conditions, facts(context={"a.b": "x"}), restricting=restricting)
    assert not conditions_hold(conditions, facts(context={"a.b": "y", "a": {"b": "x"}}), restricting=restricting)


ALL = {
    "risk_tiers": ["low"],
    "agents": ["bot"],
    "capabilities": ["a"],
    "time_window": {"start": "09:00", "end": "17:00"},
    "context_matches": {"env": "prod", "region": "eu-*"},
}
HOLDING: dict[str, Any] = {"capabilities": ("a",), "context": {"env": "prod", "region": "eu-1"}}


@EITHER
@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, None),
        ({"risk_tier": "high"}, "risk_tiers"),
        ({"agent_id": "mallory"}, "agents"),
        ({"capabilities": ("b",)}, "capabilities"),
        ({"now_ns": at("2026-01-01T17:00:00+00:00")}, "time_window"),
        ({"context": {"env": "dev", "region": "eu-1"}}, "context_matches/env"),
        ({"context": {"env": "prod", "region": "us-1"}}, "context_matches/region"),
    ],
)
def test_all_conditions_have_to_hold(change: dict[str, Any], name: str | None, restricting: bool) -> None:
    """One that fails is enough, and it is named as the manifest names it."""
    given_facts = facts(**HOLDING | change)
    assert name == failed_condition(parse(**ALL), given_facts, restricting=restricting)
    assert (name is None) is conditions_hold(parse(**ALL), given_facts, restricting=restricting)


@pytest.mark.parametrize("name", ALL)
def test_each_condition_depends_on_facts(name: str) -> None:
    """Only what depends on facts needs to be looked at again with the next request."""
    assert depends_on_facts(parse(**{name: ALL[name]}))


def test_parameter_conditions_do_not_depend_on_facts() -> None:
    """They are evaluated with the parameters of a call, elsewhere."""
    conditions = parse(parameters={"properties": {"amount": {"type": "number"}}})
    assert not depends_on_facts(conditions)
    assert conditions_hold(conditions, facts(), restricting=False)


def test_subclasses_of_scalars_are_scalars() -> None:
    """A string of a library's own string type is a string."""

    class Text(str):
        pass

    assert "x" == scalar_text(Text("x"))
    assert scalar_text(object()) is None


# Time windows


@pytest.mark.parametrize(
    ("window", "now", "expected"),
    [
        # start ≤ local time < end
        ({"start": "09:00", "end": "17:00"}, "2026-01-01T08:59:59.999999+00:00", False),
        ({"start": "09:00", "end": "17:00"}, "2026-01-01T09:00:00+00:00", True),
        ({"start": "09:00", "end": "17:00"}, "2026-01-01T16:59:59.999999+00:00", True),
        ({"start": "09:00", "end": "17:00"}, "2026-01-01T17:00:00+00:00", False),
        # defaults: 00:00, 24:00, UTC, all days
        ({}, "2026-01-01T00:00:00+00:00", True),
        ({"start": "23:59:59"}, "2026-01-01T23:59:59.999999+00:00", True),
        ({"end": "00:00:01"}, "2026-01-01T00:00:00.999999+00:00", True),
        ({"end": "00:00:01"}, "2026-01-01T00:00:01+00:00", False),
        # in its zone: Thursday 23:30 in New York is Friday in UTC
        ({"start": "23:00", "timezone": "America/New_York", "days": ["thu"]}, "2026-01-02T04:30:00+00:00", True),
        ({"start": "23:00", "timezone": "America/New_York", "days": ["fri"]}, "2026-01-02T04:30:00+00:00", False),
        # over midnight it belongs to the day it starts
        ({"start": "22:00", "end": "06:00", "days": ["thu"]}, "2026-01-01T22:00:00+00:00", True),
        ({"start": "22:00", "end": "06:00", "days": ["thu"]}, "2026-01-02T05:59:59+00:00", True),
        ({"start": "22:00", "end": "06:00", "days": ["thu"]}, "2026-01-02T06:00:00+00:00", False),
        ({"start": "22:00", "end": "06:00", "days": ["thu"]}, "2026-01-02T22:00:00+00:00", False),
        ({"start": "22:00", "end": "06:00", "days": ["thu"]}, "2026-01-01T05:00:00+00:00", False),
        ({"start": "22:00", "end": "06:00", "days": ["sun"]}, "2026-01-05T05:00:00+00:00", True),
        ({"start": "22:00", "end": "00:00", "days": ["thu"]}, "2026-01-01T23:59:59+00:00", True),
        ({"start": "22:00", "end": "00:00", "days": ["thu"]}, "2026-01-02T00:00:00+00:00", False),
        # equal means 24 hours, from the start on
        ({"start": "09:00", "end": "09:00", "days": ["thu"]}, "2026-01-01T08:59:59+00:00", False),
        ({"start": "09:00", "end": "09:00", "days": ["thu"]}, "2026-01-01T09:00:00+00:00", True),
        ({"start": "09:00", "end": "09:00", "days": ["thu"]}, "2026-01-02T08:59:59+00:00", True),
        ({"start": "09:00", "end": "09:00", "days": ["thu"]}, "2026-01-02T09:00:00+00:00", False),
        ({"start": "00:00", "end": "00:00", "days": ["thu"]}, "2026-01-01T23:59:59+00:00", True),
        ({"start": "00:00", "end": "00:00", "days": ["thu"]}, "2026-01-02T00:00:00+00:00", False),
        # Berlin, 29 March 2026: 02:00 to 03:00 does not exist; 25 October: it comes twice
        ({"start": "02:00", "end": "03:00", "timezone": "Europe/Berlin"}, "2026-03-29T00:59:59+00:00", False),
        ({"start": "02:00", "end": "03:00", "timezone": "Europe/Berlin"}, "2026-03-29T01:00:00+00:00", False),
        ({"start": "02:00", "end": "03:00", "timezone": "Europe/Berlin"}, "2026-10-25T00:30:00+00:00", True),
        ({"start": "02:00", "end": "03:00", "timezone": "Europe/Berlin"}, "2026-10-25T01:30:00+00:00", True),
        # a wall clock that is far off is still a time
        ({"start": "09:00", "end": "17:00"}, "1969-12-31T10:00:00+00:00", True),
    ],
)
def test_window_examples(window: dict[str, Any], now: str, expected: bool) -> None:
    """Every clause of the sentence on `time_window`, at its edges."""
    parsed = parse(time_window=window).time_window
    assert parsed is not None
    assert expected is window_contains(parsed, at(now))
    for restricting in (True, False):
        assert expected is conditions_hold(parse(time_window=window), facts(now_ns=at(now)), restricting=restricting)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
@given(now_ns=st.integers() | st.integers(-(2**80), 2**80))
@example(now_ns=at("0001-01-01T00:00:00+00:00"))
@example(now_ns=at("9999-12-31T23:59:59.999999+00:00"))
@example(now_ns=10**40)
def test_windows_have_an_answer_at_any_time(zone: str, now_ns: int) -> None:
    """The calendar has ends, and near them some zones have no local time: never an error, and all day is all day."""
    window = parse(time_window={"timezone": zone}).time_window
    assert window is not None
    assert window_contains(window, now_ns)


def covered_minutes(window: TimeWindow) -> set[int]:
    """The minutes of a local week that a window covers: from each of its days on, minute by minute, until it ends."""
    covered = set()
    for day in window.days:
        minute = window.start // 60
        while True:
            covered.add((day * 1440 + minute) % (7 * 1440))
            minute += 1
            if minute * 60 % DAY_SECONDS == window.end % DAY_SECONDS:
                break
    return covered


times = st.integers(0, 1439).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
windows = st.fixed_dictionaries(
    {},
    optional={
        "start": times,
        "end": times | st.just("24:00"),
        "timezone": st.sampled_from(
            ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Kiritimati"]
        ),
        "days": st.lists(st.sampled_from(DAYS), min_size=1, unique=True),
    },
)
CHANGES = ["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04", "2026-12-31"]
"""When the clocks of these zones change, and the turn of a year."""


@settings(max_examples=25)
@given(windows, st.sampled_from(CHANGES))
@example({"start": "02:30", "end": "02:30", "timezone": "Europe/Berlin", "days": ["sat"]}, "2026-03-29")
@example({"start": "22:00", "end": "06:00", "timezone": "America/New_York", "days": ["sun"]}, "2026-11-01")
def test_windows_minute_by_minute(written: dict[str, Any], day: str) -> None:
    """Every minute of the days around a change of the clocks is inside exactly when the local week says so."""
    window = parse(time_window=written).time_window
    assert window is not None
    covered = covered_minutes(window)
    zone = ZoneInfo(window.timezone)
    moment = datetime.fromisoformat(f"{day}T00:00:00+00:00") - timedelta(days=1)
    for _ in range(3 * 1440):
        local = moment.astimezone(zone)
        minute = (local.weekday() * 24 + local.hour) * 60 + local.minute
        assert (minute in covered) is window_contains(window, at(moment.isoformat())), local
        moment += timedelta(minutes=1)
