"""Timestamps and UUIDs as requests write them, and ids as the runtime does. RFC 3339, RFC 9562; PROTOCOL: Requests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from cra.fuzzing.target import Target, expect
from cra.hotpath import format_uuid, lower_uuid, parse_uuid, timestamp_ns

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def answer(data: bytes) -> object:
    """What each line is: a moment, a UUID, or neither."""
    return [_line(text) for text in data.decode(errors="surrogateescape").split("\n")]


def _line(text: str) -> object:
    moment, lower = timestamp_ns(text), lower_uuid(text)
    if moment is not None and text[17:19] != "60":
        expect(_by_python(text) is None or _by_python(text) == moment // 1000, "Python reads another moment")
    number = None
    if lower is not None:
        expect(lower_uuid(lower) is lower, "a UUID in lower case is not what it is in lower case")
        number = parse_uuid(lower)
        expect(format_uuid(number) == lower, "a UUID that was read is written as another")
    return moment, lower, number


def _by_python(text: str) -> int | None:
    """Microseconds since the epoch by the standard library, which reads up to six digits of a fraction, from 3.11 on."""
    head, dot, tail = text.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
    try:
        found = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    except (ValueError, OverflowError):
        return None
    return None if found.tzinfo is None else (found - _EPOCH) // timedelta(microseconds=1)


def seeds() -> list[bytes]:
    """Moments with every kind of zone and fraction, and ids in both cases."""
    lines = (
        "2026-01-01T12:00:00Z\n2026-01-01t12:00:00.123456789123z",
        "2016-12-31T23:59:60Z\n2017-01-01T00:59:60+01:00\n1970-01-01T00:00:00-23:59",
        "0001-01-01T00:00:00+23:59\n9999-12-31T23:59:59.999999999-23:59",
        "0190a3d4-1111-7000-8000-000000000001\n0190A3D4-1111-7000-8000-00000000000F",
        "2024-02-29T00:00:00Z\n2023-02-29T00:00:00Z",
    )
    return [line.encode() for line in lines]


TARGET = Target(
    "texts", "timestamps and UUIDs", answer, seeds, tokens=(b"\n", b"T", b"Z", b"+00:00", b":60", b".9", b"-02-29")
)
