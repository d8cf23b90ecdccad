"""Conditions: when a policy or a context block applies. Parsed here, evaluated by `cra.reference.match`.

In a policy nothing is ignored: whatever is not understood is an error. In a context block an unknown condition is kept by name,
so that the block is never injected. PROTOCOL: Conditions, Unknown fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, cast, get_args

import msgspec

from cra.carp.schema import Schema, SchemaProblem
from cra.errors import CRAError, InvalidPolicy
from cra.pointer import pointer
from cra.strictjson import shorten

RiskTier = Literal["low", "medium", "high", "critical"]
RISK_TIERS: tuple[RiskTier, ...] = get_args(RiskTier)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

DAY_SECONDS = 86400
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
_MIDNIGHT = ("24:00", "24:00:00")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")


class TimeWindow(msgspec.Struct, frozen=True):
    """`start` ≤ local time < `end` (seconds since midnight; `end` may be 86400) on `days` (0 = Monday) in `timezone` (IANA).

    `start` == `end` is 24 hours; `end` < `start` runs over midnight and belongs to the day it starts.
    """

    start: int = 0
    end: int = DAY_SECONDS
    timezone: str = "UTC"
    days: frozenset[int] = frozenset(range(7))


class Conditions(msgspec.Struct, frozen=True):
    """All that are not None have to hold."""

    risk_tiers: tuple[RiskTier, ...] | None = None
    agents: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    context_matches: tuple[tuple[str, str], ...] | None = None
    time_window: TimeWindow | None = None
    parameters: Schema | None = None
    unknown: tuple[str, ...] = ()
    """Condition keys of a context block that this version does not know: it is never injected. Always empty in a policy."""


ALWAYS = Conditions()


def parse_conditions(
    raw: object, path: str, *, error: type[CRAError] = InvalidPolicy, context: bool = False
) -> Conditions:
    """The conditions at the JSON pointer `path`: of a policy, or of a context block (`context`).

    Raises `error` with the pointer of whatever is ill-typed, empty or unknown. Unknown keys of a context block are no error but
    end up in `unknown` (`parameters` too: a block is selected without any), those of its time window as `time_window.<key>`.
    """
    reader = _Reader(error, context)
    members = reader.members(raw, path)
    found: dict[str, Any] = {}
    for key, value in members.items():
        parse = _POLICY_CONDITIONS.get(key)
        if parse is None or (context and key == "parameters"):
            reader.unknown_key(key, pointer(path, key), list(_POLICY_CONDITIONS))
        else:
            found[key] = parse(reader, value, pointer(path, key))
    return Conditions(**found, unknown=tuple(reader.unknown))


class _Reader:
    """Reads one conditions object; raises `error`, and collects what a context block may have and this version does not know."""

    def __init__(self, error: type[CRAError], context: bool) -> None:
        self.error = error
        self.context = context
        self.unknown: list[str] = []

    def members(self, raw: object, path: str) -> dict[str, Any]:
        if not isinstance(raw, dict):
            raise self.error("has to be an object", path=path)
        return raw

    def strings(self, raw: object, path: str) -> tuple[str, ...]:
        if not isinstance(raw, list) or not raw:
            raise self.error("has to be a list of at least one string", path=path)
        return tuple(self.string(item, pointer(path, index)) for index, item in enumerate(raw))

    def string(self, raw: object, path: str) -> str:
        if not isinstance(raw, str) or not raw:
            raise self.error("has to be a string that is not empty", path=path)
        return raw

    def unknown_key(self, name: str, path: str, known: list[str]) -> None:
        if not self.context:
            raise self.error(f"is no known condition; known are {', '.join(known)}", path=path)
        self.unknown.append(name)


def _risk_tiers(reader: _Reader, raw: object, path: str) -> tuple[RiskTier, ...]:
    return cast("tuple[RiskTier, ...]", _listed(reader, raw, path, RISK_TIERS, "risk tier"))


def _listed(reader: _Reader, raw: object, path: str, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    values = reader.strings(raw, path)
    for index, value in enumerate(values):
        if value not in known:
            raise reader.error(
                f"{shorten(value)} is no {what}; it is one of {', '.join(known)}", path=pointer(path, index)
            )
    return values


def _context_matches(reader: _Reader, raw: object, path: str) -> tuple[tuple[str, str], ...]:
    patterns = reader.members(raw, path)
    if not patterns:
        raise reader.error("has to name at least one context key", path=path)
    return tuple((key, reader.string(pattern, pointer(path, key))) for key, pattern in patterns.items())


def _time_window(reader: _Reader, raw: object, path: str) -> TimeWindow:
    found: dict[str, Any] = {}
    for key, value in reader.members(raw, path).items():
        parse = _WINDOW_MEMBERS.get(key)
        if parse is None:
            reader.unknown_key(f"time_window.{key}", pointer(path, key), list(_WINDOW_MEMBERS))
        else:
            found[key] = parse(reader, value, pointer(path, key))
    return TimeWindow(**found)


def _start(reader: _Reader, raw: object, path: str) -> int:
    match = _TIME.fullmatch(raw) if isinstance(raw, str) else None
    if match is None:
        raise reader.error("has to be a local time, HH:MM or HH:MM:SS, without fraction or offset", path=path)
    hours, minutes, seconds = match.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


def _end(reader: _Reader, raw: object, path: str) -> int:
    return DAY_SECONDS if raw in _MIDNIGHT else _start(reader, raw, path)


def _timezone(reader: _Reader, raw: object, path: str) -> str:
    name = reader.string(raw, path)
    if name != "UTC" and not _is_zone(name):
        raise reader.error(
            f"{shorten(name)} is no time zone this machine knows; use an IANA name such as Europe/Berlin, or UTC",
            path=path,
        )
    return name


def _is_zone(name: str) -> bool:
    """`ZoneInfo` opens a file by that name: only what looks like a zone gets there, and what it finds may be no zone."""
    if not _ZONE.fullmatch(name):
        return False
    from zoneinfo import ZoneInfo  # with its file system search, for those who have time windows

    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return False
    return True


def _days(reader: _Reader, raw: object, path: str) -> frozenset[int]:
    return frozenset(DAYS.index(day) for day in _listed(reader, raw, path, DAYS, "day"))


def _parameters(reader: _Reader, raw: object, path: str) -> Schema:
    try:
        return Schema(reader.members(raw, path), strict=True)
    except SchemaProblem as problem:
        raise reader.error(problem.message, path=path + problem.pointer) from None


_Parse = Callable[[_Reader, object, str], object]

_POLICY_CONDITIONS: dict[str, _Parse] = {
    "risk_tiers": _risk_tiers,
    "agents": _Reader.strings,
    "capabilities": _Reader.strings,
    "context_matches": _context_matches,
    "time_window": _time_window,
    "parameters": _parameters,
}
_WINDOW_MEMBERS: dict[str, _Parse] = {"start": _start, "end": _end, "timezone": _timezone, "days": _days}
