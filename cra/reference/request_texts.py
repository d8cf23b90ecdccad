"""Timestamps and UUIDs as requests write them: what is one, and what it stands for. RFC 3339, RFC 9562; PROTOCOL: Requests."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from cra.ids import UUID_PATTERN

DAY_SECONDS = 86400
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def timestamp_ns(text: str) -> int | None:
    """An RFC 3339 date-time with a zone, in ns since the epoch, rounded down; None for any other text.

    A leap second is the first moment of the next day, and only there.
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    leap = second == 60  # RFC 3339 allows it; datetime does not
    try:
        moment = datetime(year, month, day, hour, minute, second - leap, tzinfo=timezone.utc)
    except ValueError:
        return None
    offset_hours, offset_minutes = int(match[9] or 0), int(match[10] or 0)
    if offset_hours > 23 or offset_minutes > 59:
        return None
    offset = timedelta(hours=offset_hours, minutes=offset_minutes) * (-1 if match[8] == "-" else 1)
    seconds = (moment - _EPOCH - offset) // timedelta(seconds=1) + leap
    if leap and seconds % DAY_SECONDS:  # it is the last of a day in UTC
        return None
    return seconds * 1_000_000_000 + int((match[7] or "0").ljust(9, "0"))


def lower_uuid(text: str) -> str | None:
    """A UUID in lower case, the same object where it is in lower case already; None for any other text."""
    lower = text.lower()
    if not UUID_PATTERN.fullmatch(lower):
        return None
    return text if lower == text else lower
