"""Time windows, group `time-windows`: a deny inside a window, asked at one moment. PROTOCOL: Conditions (`time_window`)."""

from __future__ import annotations

from typing import Any

from conformance.tables.table import Group, atlas, outcome, policy, resolve, session, step

HALF_OPEN = "`time_window`: `start` ≤ local time < `end`, on `days`, in `timezone`"
OVERNIGHT = "over midnight when `end` < `start` and then it belongs to the day it starts"
EQUAL = "equal means 24 hours"
DEFAULTS = "defaults 00:00, 24:00, UTC, all days."
WALL = "Windows, skew and timestamps use the injected wall clock"

# 2026-01-01 is a Thursday; Berlin is at UTC+1 in winter, UTC+2 in summer, New York at UTC-5 and UTC-4.
NINE = {"start": "09:00", "end": "17:00"}
NIGHT = {"start": "22:00", "end": "06:00"}
# name, sentence, window, moment, whether it is inside
TABLE: list[tuple[str, str, dict[str, Any], str, bool]] = [
    ("before", HALF_OPEN, NINE, "2026-01-01T08:59:59.999999Z", False),
    ("at-start", HALF_OPEN, NINE, "2026-01-01T09:00:00Z", True),
    ("inside", HALF_OPEN, NINE, "2026-01-01T12:30:00Z", True),
    ("just-before-end", HALF_OPEN, NINE, "2026-01-01T16:59:59.999999Z", True),
    ("at-end", HALF_OPEN, NINE, "2026-01-01T17:00:00Z", False),
    ("after", HALF_OPEN, NINE, "2026-01-01T23:00:00Z", False),
    ("on-the-day", HALF_OPEN, {**NINE, "days": ["thu"]}, "2026-01-01T12:00:00Z", True),
    ("on-another-day", HALF_OPEN, {**NINE, "days": ["fri"]}, "2026-01-01T12:00:00Z", False),
    ("on-one-of-the-days", HALF_OPEN, {**NINE, "days": ["mon", "thu"]}, "2026-01-01T12:00:00Z", True),
    ("sunday", HALF_OPEN, {"days": ["sun"]}, "2026-01-04T00:00:00Z", True),
    ("saturday-is-no-sunday", HALF_OPEN, {"days": ["sun"]}, "2026-01-03T23:59:59Z", False),
    ("zone-winter-at-start", HALF_OPEN, {**NINE, "timezone": "Europe/Berlin"}, "2026-01-01T08:00:00Z", True),
    ("zone-winter-before", HALF_OPEN, {**NINE, "timezone": "Europe/Berlin"}, "2026-01-01T07:59:59Z", False),
    ("zone-winter-at-end", HALF_OPEN, {**NINE, "timezone": "Europe/Berlin"}, "2026-01-01T16:00:00Z", False),
    ("zone-summer-at-start", HALF_OPEN, {**NINE, "timezone": "Europe/Berlin"}, "2026-07-01T07:00:00Z", True),
    ("zone-summer-at-end", HALF_OPEN, {**NINE, "timezone": "Europe/Berlin"}, "2026-07-01T15:00:00Z", False),
    ("zone-behind", HALF_OPEN, {**NINE, "timezone": "America/New_York"}, "2026-01-01T14:00:00Z", True),
    ("zone-behind-before", HALF_OPEN, {**NINE, "timezone": "America/New_York"}, "2026-01-01T13:59:59Z", False),
    ("zone-day-is-local", HALF_OPEN, {"days": ["fri"], "timezone": "Asia/Tokyo"}, "2026-01-01T15:00:00Z", True),
    ("zone-day-is-local-before", HALF_OPEN, {"days": ["fri"], "timezone": "Asia/Tokyo"}, "2026-01-01T14:59:59Z", False),
    ("zone-half-hour", HALF_OPEN, {**NINE, "timezone": "Asia/Kolkata"}, "2026-01-01T03:30:00Z", True),
    ("zone-half-hour-before", HALF_OPEN, {**NINE, "timezone": "Asia/Kolkata"}, "2026-01-01T03:29:59Z", False),
    ("overnight-evening", OVERNIGHT, NIGHT, "2026-01-01T22:00:00Z", True),
    ("overnight-before", OVERNIGHT, NIGHT, "2026-01-01T21:59:59Z", False),
    ("overnight-midnight", OVERNIGHT, NIGHT, "2026-01-02T00:00:00Z", True),
    ("overnight-morning", OVERNIGHT, NIGHT, "2026-01-02T05:59:59.999999Z", True),
    ("overnight-at-end", OVERNIGHT, NIGHT, "2026-01-02T06:00:00Z", False),
    ("overnight-noon", OVERNIGHT, NIGHT, "2026-01-01T12:00:00Z", False),
    ("overnight-day-evening", OVERNIGHT, {**NIGHT, "days": ["thu"]}, "2026-01-01T23:00:00Z", True),
    ("overnight-day-next-morning", OVERNIGHT, {**NIGHT, "days": ["thu"]}, "2026-01-02T03:00:00Z", True),
    ("overnight-day-same-morning", OVERNIGHT, {**NIGHT, "days": ["thu"]}, "2026-01-01T03:00:00Z", False),
    ("overnight-day-next-evening", OVERNIGHT, {**NIGHT, "days": ["thu"]}, "2026-01-02T23:00:00Z", False),
    ("overnight-sunday-to-monday", OVERNIGHT, {**NIGHT, "days": ["sun"]}, "2026-01-05T03:00:00Z", True),
    ("overnight-monday-has-no-morning", OVERNIGHT, {**NIGHT, "days": ["mon"]}, "2026-01-05T03:00:00Z", False),
    ("equal-at-start", EQUAL, {"start": "09:00", "end": "09:00"}, "2026-01-01T09:00:00Z", True),
    ("equal-before-start", EQUAL, {"start": "09:00", "end": "09:00"}, "2026-01-01T08:59:59Z", True),
    ("equal-midnight", EQUAL, {"start": "00:00", "end": "00:00"}, "2026-01-01T12:00:00Z", True),
    ("defaults", DEFAULTS, {}, "2026-01-01T00:00:00Z", True),
    ("defaults-to-midnight", DEFAULTS, {"start": "18:00"}, "2026-01-01T23:59:59.999999Z", True),
    ("defaults-to-midnight-before", DEFAULTS, {"start": "18:00"}, "2026-01-01T17:59:59Z", False),
    ("defaults-from-midnight", DEFAULTS, {"end": "06:00"}, "2026-01-01T00:00:00Z", True),
    ("defaults-from-midnight-at-end", DEFAULTS, {"end": "06:00"}, "2026-01-01T06:00:00Z", False),
    ("midnight-written-out", DEFAULTS, {"start": "18:00", "end": "24:00"}, "2026-01-01T23:59:59Z", True),
]


def groups() -> list[Group]:
    group = Group("time-windows", "CARP-Core")
    for name, sentence, window, moment, inside in TABLE:
        manifest = atlas(["shop.buy"], [policy("allow"), policy("deny", "p", conditions={"time_window": window})])
        expected = outcome([], [("shop.buy", "p")]) if inside else outcome(["shop.buy"])
        group.script(name, sentence, [manifest], [session(), resolve()], {"r": expected}, now=moment)
    manifest = atlas(["shop.buy"], [policy("allow"), policy("deny", "p", conditions={"time_window": NINE})])
    steps = [session(), resolve("inside"), step("advance", seconds=1799), resolve("last")]
    steps += [step("advance", seconds=1), resolve("outside")]
    denied, allowed = outcome([], [("shop.buy", "p")]), outcome(["shop.buy"])
    group.script("as-time-goes-by", WALL, [manifest], steps, {"inside": denied, "last": denied, "outside": allowed},
                 now="2026-01-01T16:30:00Z")  # fmt: skip
    steps = [session(), resolve("outside"), step("set_wall", time="2026-01-01T10:00:00Z"), resolve("inside")]
    group.script("wall-clock-set-back", WALL, [manifest], steps, {"outside": allowed, "inside": denied},
                 now="2026-01-01T18:00:00Z")  # fmt: skip
    return [group]
