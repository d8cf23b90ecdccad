"""The grammar of a TRACE event: what a verifier checks before it looks at any hash.

The hash is taken over fields without separators, so only fields of known shape make it uniquely decodable. Called by the chain
(`cra.reference.chain`) and by the readers of files; it never raises over content, it answers with a sentence.
PROTOCOL: Grammar before hash, Verification (dialects).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cra.errors import InvalidTraceEvent
from cra.ids import UUID_PATTERN
from cra.strictjson import MAX_INTEGER
from cra.trace.event import TRACE_VERSION, Event

FIELDS: Final = Event.__struct_fields__
_SECONDS: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_EVENT_TYPE: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+")

_STRINGS: Final = tuple(
    (name, pattern.fullmatch, form)
    for name, pattern, form in (
        ("trace_version", re.compile(re.escape(TRACE_VERSION)), f'"{TRACE_VERSION}"'),
        ("event_id", UUID_PATTERN, "a lower-case UUID"),
        ("trace_id", UUID_PATTERN, "a lower-case UUID"),
        ("span_id", UUID_PATTERN, "a lower-case UUID"),
        ("session_id", UUID_PATTERN, "a lower-case UUID"),
        ("event_type", _EVENT_TYPE, "lower-case words joined by dots"),
        ("event_hash", _HASH, "64 lower-case hex digits"),
        ("previous_event_hash", _HASH, "64 lower-case hex digits"),
    )
)


class Dialect(msgspec.Struct, frozen=True):
    """How an implementation writes timestamps: the form in the event, and what stands for its `Z` in the hashed text."""

    name: str
    timestamp: re.Pattern[str]
    form: str
    hashed_zone: str


TRACE_1_0: Final = Dialect("trace-1.0", re.compile(_SECONDS + r"\.[0-9]{6}Z"), "six fractional digits and Z", "Z")
CRA_RUST: Final = Dialect("cra-rust", re.compile(_SECONDS + r"\.[0-9]{1,9}Z"), "1-9 fractional digits and Z", "+00:00")
DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in (TRACE_1_0, CRA_RUST)}
ANY_DIALECT: Final = CRA_RUST
"""For readers that do not hash: every form that some dialect has."""


def find_dialect(name: str) -> Dialect:
    """The dialect called `name`; `InvalidTraceEvent` names those that exist."""
    try:
        return DIALECTS[name]
    except KeyError:
        raise InvalidTraceEvent(f"there is no trace dialect {name!r}; use {' or '.join(DIALECTS)}") from None


def fields_of(event: object) -> object:
    """An event's fields as a dict. What is neither an Event nor a mapping is returned as it is, for `find_fault` to name."""
    if isinstance(event, dict):
        return event
    if isinstance(event, Event):
        return event.to_dict()
    return dict(event) if isinstance(event, Mapping) else event


def find_fault(fields: object, dialect: Dialect) -> str | None:
    """What keeps `fields` from being an event of `dialect`, as a sentence; None where nothing does.

    The inside of the payload is not looked at: parsing and canonical JSON refuse what does not belong there.
    """
    if not isinstance(fields, dict):
        return "an event is a JSON object"
    for name, matches, form in _STRINGS:
        value = fields.get(name)
        if not isinstance(value, str) or not matches(value):
            return _describe(fields, name, form)
    parent = fields.get("parent_span_id")
    if parent is not None and not (isinstance(parent, str) and UUID_PATTERN.fullmatch(parent)):
        return _describe(fields, "parent_span_id", "null, absent or a lower-case UUID")
    if not is_sequence(fields.get("sequence")):
        return _describe(fields, "sequence", "an integer from 0 to 2^64−1")
    if not isinstance(fields.get("payload"), dict):
        return _describe(fields, "payload", "an object")
    timestamp = fields.get("timestamp")
    if not isinstance(timestamp, str) or not dialect.timestamp.fullmatch(timestamp):
        return _describe(fields, "timestamp", f"YYYY-MM-DDTHH:MM:SS with {dialect.form}") + _advice(timestamp)
    if len(fields) > len(FIELDS) or (len(fields) == len(FIELDS) and "parent_span_id" not in fields):
        return "an event has no fields but those of the schema; one of its keys is unknown"
    return None


def is_sequence(value: object) -> bool:
    """Whether `value` can be a `sequence`: an integer that canonical JSON can write, never negative."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER


def _describe(fields: dict[str, Any], name: str, form: str) -> str:
    return f"`{name}` is not {form}" if name in fields else f"`{name}` is missing"


def _advice(timestamp: object) -> str:
    if isinstance(timestamp, str) and CRA_RUST.timestamp.fullmatch(timestamp):
        return f"; it has the form of another dialect, try --dialect {CRA_RUST.name}"
    return ""
