"""The clock that is passed to everything that reads the time.

Windows, skew and timestamps use the wall clock; lifetimes and limits use the monotonic one (PROTOCOL: Conditions). Nothing
else in the package calls `time`.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Protocol

NS_PER_SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Clock(Protocol):
    """What the runtime needs of a clock; nanoseconds, integers."""

    def now_ns(self) -> int:
        """Wall-clock time since the Unix epoch, ns."""
        ...

    def monotonic_ns(self) -> int:
        """A time that never runs backwards, ns, origin unspecified."""
        ...


class SystemClock:
    """The machine's own clocks."""

    now_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)


def format_timestamp(ns: int) -> str:
    """`ns` since the epoch as TRACE writes it: UTC, six fractional digits, `Z`. PROTOCOL: Event."""
    moment = _EPOCH + timedelta(microseconds=ns // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}Z"
