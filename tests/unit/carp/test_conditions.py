"""Parsing conditions: in a policy nothing is ignored, in a context block what is unknown is kept by name."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfoNotFoundError, available_timezones

import pytest

from cra.carp.conditions import ALWAYS, DAYS, Conditions, TimeWindow, parse_conditions
from cra.carp.schema import Schema
from cra.errors import InvalidAtlasManifest, InvalidPolicy

AT = "/policies/3/conditions"


def parse(raw: object) -> Conditions:
    return parse_conditions(raw, AT)


def refusal(raw: object) -> tuple[str | None, str]:
    with pytest.raises(InvalidPolicy) as caught:
        parse(raw)
    error = caught.value
    assert error.path is not None
    assert error.path.startswith(AT)
    return error.path.removeprefix(AT), error.message.removeprefix(f"{error.path}: ")


def test_every_condition_is_read() -> None:
    """Each condition of PROTOCOL: Conditions ends up in its field, in the order in which it is written."""
    schema = {"properties": {"amount": {"type": "number", "exclusiveMinimum": 100}}, "required": ["amount"]}
    parsed = parse(
        {
            "risk_tiers": ["high", "critical"],
            "agents": ["bot-*", "x?"],
            "capabilities": ["ticket.read"],
            "context_matches": {"env": "prod*", "region": "eu-?"},
            "time_window": {"start": "22:00", "end": "06:30:15", "timezone": "UTC", "days": ["mon", "sun"]},
            "parameters": schema,
        }
    )
    assert (
        Conditions(
            risk_tiers=("high", "critical"),
            agents=("bot-*", "x?"),
            capabilities=("ticket.read",),
            context_matches=(("env", "prod*"), ("region", "eu-?")),
            time_window=TimeWindow(start=79200, end=23415, timezone="UTC", days=frozenset((0, 6))),
            parameters=Schema(schema, strict=True),
        )
        == parsed
    )


def test_no_conditions_always_hold() -> None:
    """An empty object names no condition; an empty window is every day, 00:00 to 24:00, UTC."""
    assert ALWAYS == parse({})
    assert TimeWindow(0, 86400, "UTC", frozenset(range(7))) == parse({"time_window": {}}).time_window


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("00:00", "24:00", (0, 86400)),
        ("00:00:00", "24:00:00", (0, 86400)),
        ("23:59:59", "00:00", (86399, 0)),
        ("09:30", "09:30", (34200, 34200)),
    ],
)
def test_times_are_seconds_since_midnight(start: str, end: str, expected: tuple[int, int]) -> None:
    """`HH:MM` and `HH:MM:SS` are read; 24:00 only as an end."""
    window = parse({"time_window": {"start": start, "end": end}}).time_window
    assert window is not None
    assert expected == (window.start, window.end)


@pytest.mark.parametrize("member", ["start", "end"])
@pytest.mark.parametrize(
    "text",
    ["24:01", "9:00", "09:60", "09:00:60", "09:00:00.5", "09:00Z", "09:00+02:00", " 09:00", "09:00\n", "", "٠٩:٠٠", 9, None, []],
)  # fmt: skip
def test_other_times_are_refused(member: str, text: object) -> None:
    """A time has no fraction, no offset, no other digits; its zone is `timezone`."""
    message = "has to be a local time, HH:MM or HH:MM:SS, without fraction or offset"
    assert (f"/time_window/{member}", message) == refusal({"time_window": {member: text}})


def test_a_window_does_not_start_at_its_end() -> None:
    """24:00 is no start: it would be the next day's 00:00."""
    assert "/time_window/start" == refusal({"time_window": {"start": "24:00"}})[0]


def test_every_zone_of_the_machine_is_accepted() -> None:
    """Every IANA name that `zoneinfo` lists is one; UTC is one on machines that have no list."""
    for name in sorted(available_timezones() | {"UTC"}):
        window = parse({"time_window": {"timezone": name}}).time_window
        assert window is not None
        assert name == window.timezone


@pytest.mark.parametrize(
    "name",
    ["Mars/Olympus", "../../etc/passwd", "/etc/passwd", "America", "zone.tab", "Europe/../Europe/Berlin", "a\0b", "utc ",
     "a" * 5000, "a/" * 500 + "a"],
)  # fmt: skip
def test_an_unknown_zone_is_refused(name: str) -> None:
    """A name that is no zone is an error at load, also one that names a file or a folder of the machine."""
    path, message = refusal({"time_window": {"timezone": name}})
    assert "/time_window/timezone" == path
    assert message.endswith("is no time zone this machine knows; use an IANA name such as Europe/Berlin, or UTC")
    assert len(message) < 200


def test_utc_needs_no_zone_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a zone database UTC still is one, and any other zone is an error."""

    def missing(name: str) -> None:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr("zoneinfo.ZoneInfo", missing)
    assert TimeWindow() == parse({"time_window": {"timezone": "UTC"}}).time_window
    assert "/time_window/timezone" == refusal({"time_window": {"timezone": "Europe/Berlin"}})[0]


LIST = "has to be a list of at least one string"
STRING = "has to be a string that is not empty"


@pytest.mark.parametrize(
    ("raw", "path", "message"),
    [
        (None, "", "has to be an object"),
        ([], "", "has to be an object"),
        (
            {"agent": ["x"]},
            "/agent",
            "is no known condition; known are risk_tiers, agents, capabilities, context_matches, time_window, parameters",
        ),
        ({"a/b": 1}, "/a~1b", None),
        ({"risk_tiers": []}, "/risk_tiers", LIST),
        ({"risk_tiers": "high"}, "/risk_tiers", LIST),
        ({"risk_tiers": None}, "/risk_tiers", LIST),
        ({"risk_tiers": ["low", "hihg"]}, "/risk_tiers/1", "'hihg' is no risk tier; it is one of low, medium, high, critical"),
        ({"risk_tiers": ["low", ["high"]]}, "/risk_tiers/1", STRING),
        ({"agents": []}, "/agents", LIST),
        ({"agents": ["a", ""]}, "/agents/1", STRING),
        ({"agents": [3]}, "/agents/0", STRING),
        ({"capabilities": {}}, "/capabilities", LIST),
        ({"context_matches": {}}, "/context_matches", "has to name at least one context key"),
        ({"context_matches": ["env"]}, "/context_matches", "has to be an object"),
        ({"context_matches": {"a": "x", "b": 3}}, "/context_matches/b", STRING),
        ({"context_matches": {"b": ""}}, "/context_matches/b", STRING),
        ({"time_window": []}, "/time_window", "has to be an object"),
        (
            {"time_window": {"begin": "09:00"}},
            "/time_window/begin",
            "is no known condition; known are start, end, timezone, days",
        ),
        ({"time_window": {"days": []}}, "/time_window/days", LIST),
        ({"time_window": {"days": ["monday"]}}, "/time_window/days/0", f"'monday' is no day; it is one of {', '.join(DAYS)}"),
        ({"time_window": {"timezone": ""}}, "/time_window/timezone", STRING),
        ({"time_window": {"timezone": 3}}, "/time_window/timezone", STRING),
        ({"parameters": True}, "/parameters", "has to be an object"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(raw: object, path: str, message: str | None) -> None:
    """PROTOCOL: Inside a policy nothing is ignored; the error names the place."""
    found, sentence = refusal(raw)
    assert path == found
    assert message is None or message == sentence


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "objekt"}, "/type"),
        ({"properties": {"a": {"maximun": 3}}}, "/properties/a/maximun"),
        ({"properties": {"a": {"format": "e-mail"}}}, "/properties/a/format"),
        ({"properties": {"a": {"$ref": "http://example.com/a"}}}, "/properties/a/$ref"),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "/properties/a/pattern"),
        ({"const": 2**64}, "/const"),
    ],
)
def test_a_parameter_condition_is_a_schema_without_anything_unchecked(schema: dict[str, Any], path: str) -> None:
    """A typo in a rule is an error, with the pointer into the rule."""
    place, message = refusal({"parameters": schema})
    assert "/parameters" + path == place
    assert len(message) > len("None")


def test_a_context_block_keeps_unknown_conditions_by_name() -> None:
    """Unknown keys of a block, `parameters` and those of its window are collected; the known ones are read."""
    raw = {"agents": ["a"], "moon": "full", "parameters": {}, "time_window": {"start": "09:00", "holidays": True}}
    parsed = parse_conditions(raw, "/context_blocks/0/conditions", error=InvalidAtlasManifest, context=True)
    expected = Conditions(
        agents=("a",),
        time_window=TimeWindow(start=32400),
        unknown=("moon", "parameters", "time_window.holidays"),
    )
    assert expected == parsed


def test_a_context_block_refuses_what_is_ill_typed() -> None:
    """A known condition that is ill-typed is an error of the manifest."""
    with pytest.raises(InvalidAtlasManifest, match=r"^/context_blocks/0/conditions/agents: has to be a list"):
        parse_conditions({"agents": []}, "/context_blocks/0/conditions", error=InvalidAtlasManifest, context=True)
