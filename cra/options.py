"""What a `Resolver` can be told in a word or a number, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import msgspec

from cra.reference.resolve import DefaultDecision
from cra.trace.record_queue import Overflow
from cra.trace.recorder import Level, Tracing, check_choice
from cra.trace.template import TraceDetail

Redact = Callable[[str, dict[str, Any]], dict[str, Any]]
_CHOICES = {
    "tracing": Tracing,
    "overflow": Overflow,
    "default_decision": DefaultDecision,
    "trace_detail": TraceDetail,
    "durability": Level,
}
_SECONDS = ("overflow_timeout", "idle_seconds", "life_seconds")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a `Resolver`; see there. `grace_seconds` is what its `Timing` says."""

    tracing: Tracing
    overflow: Overflow
    overflow_timeout: float
    default_decision: DefaultDecision
    ttl_seconds: int
    trace_detail: TraceDetail
    fail_closed: bool
    durability: Level
    hash_key: bytes | None
    redact: Redact | None
    record_values: bool
    idle_seconds: float
    life_seconds: float
    grace_seconds: float

    def check(self) -> None:
        """Raises `ValueError` for what is out of range."""
        for field, choices in _CHOICES.items():
            check_choice(field, getattr(self, field), get_args(choices))
        if not isinstance(self.ttl_seconds, int) or not 0 <= self.ttl_seconds <= 86_400:
            raise ValueError(f"ttl_seconds is {self.ttl_seconds!r}; it has to be a whole number between 0 and 86400")
        for field in _SECONDS:
            seconds = getattr(self, field)
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
                raise ValueError(f"{field} is {seconds!r}; it has to be a number of seconds, 0 or more")
        if self.redact is not None and not callable(self.redact):
            raise ValueError("redact has to be a function of an event type and a payload")
        if self.hash_key is not None and not isinstance(self.hash_key, bytes):
            raise ValueError("hash_key has to be bytes")
