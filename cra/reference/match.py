"""Do the conditions of a policy or a context block hold? PROTOCOL: Conditions.

Everything is decided from `Facts`; nothing here reads a clock or a session.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any

import msgspec

from cra.carp.conditions import Conditions, RiskTier, TimeWindow
from cra.errors import InvalidTraceEvent
from cra.reference.canonical import canonical_json
from cra.reference.glob import glob_match

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
# A day inside the ends of the calendar, so that every zone has a local time.
_FIRST_MICROSECOND = (datetime(1, 1, 2, tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
_LAST_MICROSECOND = (datetime(9999, 12, 31, tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND - 1


class Facts(msgspec.Struct, frozen=True):
    """What one party to a request is known to be: the effective values, after host and request have been merged.

    `capabilities` are those the request requires. `now_ns` is the wall clock.
    """

    agent_id: str
    risk_tier: RiskTier
    context: Mapping[str, Any]
    scopes: frozenset[str]
    capabilities: tuple[str, ...]
    now_ns: int


def depends_on_facts(conditions: Conditions) -> bool:
    """Whether `conditions_hold` can come out differently for different facts."""
    c = conditions
    return (c.risk_tiers, c.agents, c.capabilities, c.context_matches, c.time_window) != (None,) * 5


def conditions_hold(conditions: Conditions, facts: Facts, *, restricting: bool) -> bool:
    """Whether all conditions but `parameters` hold; what cannot be evaluated holds for a restricting policy only."""
    return failed_condition(conditions, facts, restricting=restricting) is None


def failed_condition(conditions: Conditions, facts: Facts, *, restricting: bool) -> str | None:
    """The name of the first condition that does not hold, as it stands in the manifest (`context_matches/env`), or None."""
    c = conditions
    if c.risk_tiers is not None and facts.risk_tier not in c.risk_tiers:
        return "risk_tiers"
    if c.agents is not None and not any(glob_match(pattern, facts.agent_id) for pattern in c.agents):
        return "agents"
    if c.capabilities is not None and facts.capabilities and not set(c.capabilities) & set(facts.capabilities):
        return "capabilities"
    if c.time_window is not None and not window_contains(c.time_window, facts.now_ns):
        return "time_window"
    for key, pattern in c.context_matches or ():
        text = scalar_text(facts.context.get(key, ()))
        if not (restricting if text is None else glob_match(pattern, text)):
            return f"context_matches/{key}"
    return None


def scalar_text(value: object) -> str | None:
    """A context value as globs see it: a string as it is, another scalar as canonical JSON, anything else None."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (bool, int, float)):
        try:
            return canonical_json(value).decode()
        except InvalidTraceEvent:
            return None
    return None


def window_contains(window: TimeWindow, now_ns: int) -> bool:
    """Whether the wall-clock time `now_ns` is inside the window; one over midnight belongs to the day it starts.

    Times outside the calendar, whose local time cannot be told, are taken for its first or last day.
    """
    microseconds = min(max(now_ns // 1000, _FIRST_MICROSECOND), _LAST_MICROSECOND)
    local = (_EPOCH + timedelta(microseconds=microseconds)).astimezone(_zone(window.timezone))
    second = local.hour * 3600 + local.minute * 60 + local.second
    today = local.weekday()
    if window.start < window.end:
        return window.start <= second < window.end and today in window.days
    started_today = second >= window.start and today in window.days
    started_yesterday = second < window.end and (today - 1) % 7 in window.days
    return started_today or started_yesterday


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return timezone.utc
    from zoneinfo import ZoneInfo  # with its file system search, for those who have time windows

    return ZoneInfo(name)
