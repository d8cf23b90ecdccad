"""Records: what the hot path writes down instead of events, as bytes. docs/formats/records.md shows one and lists the rules.

Sessions and the recorder encode, the expander (`cra.reference.expander`) decodes. There are four kinds: EVENTS (events with
payloads of their own), RESOLVE (a resolve: its events are those of a template), TEMPLATE (one ruling of one plan, written
before the first RESOLVE that names it) and FORGET (a template that nobody will name again). Decoding is strict and bounded:
whatever the bytes, it returns a record or raises `InvalidTraceEvent`. What a payload says is never looked at, only that it can
stand in a line.

Identifiers: `base` is one draw of the id source (`cra.ids`). The span is `base`, the request id `base + REQUEST`, the resolution
or execution id `base + RESOLUTION`, and event number i of the record `base + FIRST_EVENT + i`, modulo 2^128.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from struct import Struct, error
from typing import Any, Final

import msgspec

from cra.errors import InvalidTraceEvent
from cra.ids import format_uuid, parse_uuid
from cra.strictjson import shorten

EVENTS: Final = 1
RESOLVE: Final = 2
TEMPLATE: Final = 3
FORGET: Final = 4

DEFINES: Final = 1
HAS_SPAN: Final = 2
PAYLOAD: Final = 1
HAS_REQUEST_ID: Final = 2

REQUEST: Final = 1
RESOLUTION: Final = 2
EXECUTION: Final = 2
FIRST_EVENT: Final = 3

MAX_PAYLOAD_BYTES: Final = 2**24 - 2**17
"""The longest payload in UTF-8: with the longest type (2^16 − 1) its line is still one that readers take (2^24)."""

_EVENTS: Final = Struct("<BBHQq16s")
_EVENT: Final = Struct("<HI")
_DEFINITION: Final = Struct("<16s16s16s")
_RESOLVE: Final = Struct("<BBHH2sQq16sII")
_TEMPLATE: Final = Struct("<BsHIIIII32sI")
_FORGET: Final = Struct("<B3sI")
_LENGTH: Final = Struct("<I")
_UUID_BYTES: Final = 16
_MAX_GOAL_BYTES: Final = MAX_PAYLOAD_BYTES - 128  # as a JSON string, in its payload
_EVENT_TYPE: Final = re.compile(rb"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+")
_DECISION: Final = re.compile(rb"[a-z][a-z_]{0,31}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_CONTROL: Final = re.compile(rb"[\x00-\x1f]")

Text = str | bytes
"""Text or its UTF-8. A payload in it is a canonical JSON object: the caller vouches for that."""
Definition = tuple[str, str, str]
"""What every event of a session shares: session id, trace id, and the span id of its `session.started`."""


class EventsRecord(msgspec.Struct, frozen=True):
    """Events with payloads of their own. `span` None means `base`: an operation of two records names the first one's."""

    session: int
    base: int
    time_ns: int
    events: tuple[tuple[str, str], ...]
    span: int | None = None
    define: Definition | None = None


class ResolveRecord(msgspec.Struct, frozen=True):
    """One resolve. `text` is the goal or, with `payload`, all of `carp.request.received`'s payload; `injected` and `cut` are
    indexes into the template's blocks; `request_id` None means `base + REQUEST`."""

    session: int
    base: int
    time_ns: int
    template: int
    text: str
    payload: bool = False
    request_id: str | None = None
    injected: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()


class TemplateRecord(msgspec.Struct, frozen=True):
    """One ruling of one plan. `evaluations` are the payloads of its `policy.evaluated` events; `blocks` the payloads of
    `context.injected` and `context.redacted` for each block that can be injected or cut."""

    number: int
    decision: str
    allowed: int
    denied: int
    ttl_seconds: int
    policy_set: str
    evaluations: tuple[str, ...]
    blocks: tuple[tuple[str, str], ...]


class ForgetRecord(msgspec.Struct, frozen=True):
    """No RESOLVE after this names the template."""

    number: int


Record = EventsRecord | ResolveRecord | TemplateRecord | ForgetRecord


# Encoding. It refuses what decoding would refuse, but for the inside of a payload.


def encode_events(
    session: int,
    base: int,
    time_ns: int,
    events: Sequence[tuple[str, Text]],
    *,
    span: int | None = None,
    define: Definition | None = None,
) -> bytes:
    """An EVENTS record: `events` are types and payloads, `define` defines the session, with the first record that names it.

    Raises `InvalidTraceEvent` for an id, a type or a size that has no place in a record.
    """
    flags = (define is not None) * DEFINES + (span is not None) * HAS_SPAN
    try:
        parts = [_EVENTS.pack(EVENTS, flags, len(events), session, time_ns, _uuid_bytes(base))]
        if define is not None:
            parts += [_uuid_bytes(parse_uuid(text)) for text in define]
        if span is not None:
            parts.append(_uuid_bytes(span))
        for event_type, payload in events:
            kind, data = type_bytes(event_type), _payload_bytes(payload)
            parts += (_EVENT.pack(len(kind), len(data)), kind, data)
    except (error, OverflowError, ValueError) as problem:
        raise InvalidTraceEvent(f"no EVENTS record can hold this: {problem}") from None
    return b"".join(parts)


def encode_resolve(
    session: int,
    base: int,
    time_ns: int,
    template: int,
    text: Text,
    *,
    payload: bool = False,
    request_id: str | None = None,
    injected: Sequence[int] = (),
    cut: Sequence[int] = (),
) -> bytes:
    """A RESOLVE record: `text` is the goal or, with `payload`, the payload of `carp.request.received`.

    Raises `InvalidTraceEvent` for an id or a size that has no place in a record.
    """
    flags = payload * PAYLOAD + (request_id is not None) * HAS_REQUEST_ID
    try:
        data = _payload_bytes(text) if payload else _utf8(text)
        if not payload and not _fits(data):
            raise InvalidTraceEvent(f"the goal takes more than {_MAX_GOAL_BYTES} bytes as JSON; make it shorter")
        return b"".join(
            (
                _RESOLVE.pack(
                    *(RESOLVE, flags, len(injected), len(cut), b"", session, time_ns, _uuid_bytes(base)),
                    *(template, len(data)),
                ),
                b"" if request_id is None else _uuid_bytes(parse_uuid(request_id)),
                Struct(f"<{len(injected) + len(cut)}H").pack(*injected, *cut),
                data,
            )
        )
    except (error, OverflowError, ValueError) as problem:
        raise InvalidTraceEvent(f"no RESOLVE record can hold this: {problem}") from None


def encode_template(
    number: int,
    decision: str,
    allowed: int,
    denied: int,
    ttl_seconds: int,
    policy_set: str,
    evaluations: Sequence[Text],
    blocks: Sequence[tuple[Text, Text]],
) -> bytes:
    """A TEMPLATE record: `policy_set` in hex, `evaluations` payloads, `blocks` pairs of payloads: injected, redacted.

    Raises `InvalidTraceEvent` for a number or a size that has no place in a record.
    """
    if not _HASH.fullmatch(policy_set) or not _DECISION.fullmatch(decision.encode(errors="replace")):
        raise InvalidTraceEvent("a template has a decision type in lower case and the policy set's SHA-256 in hex")
    try:
        parts = [
            _TEMPLATE.pack(
                *(TEMPLATE, b"", len(blocks), number, len(evaluations), allowed, denied, ttl_seconds),
                *(bytes.fromhex(policy_set), len(decision)),
            ),
            decision.encode(),
        ]
        for payload in (*evaluations, *(payload for pair in blocks for payload in pair)):
            data = _payload_bytes(payload)
            parts += (_LENGTH.pack(len(data)), data)
    except (error, ValueError) as problem:
        raise InvalidTraceEvent(f"no TEMPLATE record can hold this: {problem}") from None
    return b"".join(parts)


def encode_forget(number: int) -> bytes:
    """A FORGET record. Raises `InvalidTraceEvent` for a number that no template has."""
    try:
        return _FORGET.pack(FORGET, b"", number)
    except error as problem:
        raise InvalidTraceEvent(f"no FORGET record can hold this: {problem}") from None


# Decoding


def decode(record: bytes) -> Record:
    """The record in these bytes. Raises `InvalidTraceEvent` with the reason for anything that no encoder would write."""
    reader = _Reader(record)
    kind = record[0] if record else 0
    if kind == EVENTS:
        decoded: Record = _decode_events(reader)
    elif kind == RESOLVE:
        decoded = _decode_resolve(reader)
    elif kind == TEMPLATE:
        decoded = _decode_template(reader)
    elif kind == FORGET:
        _, pad, number = reader.unpack(_FORGET)
        _check_reserved(pad)
        decoded = ForgetRecord(number)
    else:
        raise refuse("there is no record of its kind")
    if reader.left:
        raise refuse("bytes follow its end")
    return decoded


def _decode_events(reader: _Reader) -> EventsRecord:
    _, flags, count, session, time_ns, base = reader.unpack(_EVENTS)
    _check_flags(flags, DEFINES | HAS_SPAN)
    define = None
    if flags & DEFINES:
        session_id, trace_id, span_id = (format_uuid(_number(data)) for data in reader.unpack(_DEFINITION))
        define = session_id, trace_id, span_id
    span = _number(reader.take(_UUID_BYTES)) if flags & HAS_SPAN else None
    events = []
    for _ in range(count):
        type_length, length = reader.unpack(_EVENT)
        event_type = reader.take(type_length)
        if not _EVENT_TYPE.fullmatch(event_type):
            raise refuse("an event type is lower-case words joined by dots")
        events.append((event_type.decode(), reader.payload(length)))
    return EventsRecord(session, _number(base), time_ns, tuple(events), span, define)


def _decode_resolve(reader: _Reader) -> ResolveRecord:
    _, flags, injected, cut, pad, session, time_ns, base, template, length = reader.unpack(_RESOLVE)
    _check_flags(flags, PAYLOAD | HAS_REQUEST_ID)
    _check_reserved(pad)
    request_id = format_uuid(_number(reader.take(_UUID_BYTES))) if flags & HAS_REQUEST_ID else None
    indexes = reader.unpack(Struct(f"<{injected + cut}H"))
    is_payload = bool(flags & PAYLOAD)
    text = reader.payload(length) if is_payload else reader.goal(length)
    return ResolveRecord(
        session, _number(base), time_ns, template, text, is_payload, request_id, indexes[:injected], indexes[injected:]
    )


def _decode_template(reader: _Reader) -> TemplateRecord:
    _, pad, blocks, number, evaluations, allowed, denied, ttl_seconds, policy_set, length = reader.unpack(_TEMPLATE)
    _check_reserved(pad)
    decision = reader.take(length)
    if not _DECISION.fullmatch(decision):
        raise refuse("a decision type is one lower-case word")
    fragments = [reader.payload(*reader.unpack(_LENGTH)) for _ in range(evaluations + 2 * blocks)]
    pairs = zip(fragments[evaluations::2], fragments[evaluations + 1 :: 2])
    return TemplateRecord(
        *(number, decision.decode(), allowed, denied, ttl_seconds, policy_set.hex()),
        *(tuple(fragments[:evaluations]), tuple(pairs)),
    )


class _Reader:
    """Takes bytes off the front of a record, never more than there are."""

    def __init__(self, record: bytes) -> None:
        self._record = record
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._record) - self._at

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise refuse("it ends early")
        self._at += length
        return self._record[self._at - length : self._at]

    def unpack(self, layout: Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def goal(self, length: int) -> str:
        data = self.take(length)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise refuse("a goal is text in UTF-8") from None
        if not _fits(data):
            raise refuse("a goal is too long")
        return text

    def payload(self, length: int) -> str:
        if length > MAX_PAYLOAD_BYTES:
            raise refuse("a payload is too long")
        data = self.take(length)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = ""
        if len(text) < 2 or text[0] != "{" or text[-1] != "}" or _CONTROL.search(data):
            raise refuse("a payload is a canonical JSON object")
        return text


def refuse(reason: str) -> InvalidTraceEvent:
    """The error for a record that says nothing, or nothing that can be expanded."""
    return InvalidTraceEvent(f"a trace record cannot be read: {reason}")


def _check_flags(flags: int, known: int) -> None:
    if flags & ~known:
        raise refuse("it has unknown flags")


def _check_reserved(pad: bytes) -> None:
    if pad.strip(b"\0"):
        raise refuse("its reserved bytes are not zero")


# What both directions share


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _uuid_bytes(number: int) -> bytes:
    return int.to_bytes(number, _UUID_BYTES, "big")


def _utf8(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else text


@lru_cache(maxsize=256)
def type_bytes(event_type: str) -> bytes:
    """An event type in UTF-8. Raises `InvalidTraceEvent` for what is none."""
    data = event_type.encode()
    if not _EVENT_TYPE.fullmatch(data):
        raise InvalidTraceEvent(f"the event type {shorten(event_type)} is not lower-case words joined by dots")
    return data


def _payload_bytes(payload: Text) -> bytes:
    data = _utf8(payload)
    if len(data) < 2 or data[:1] != b"{" or data[-1:] != b"}":
        raise InvalidTraceEvent("a payload is a canonical JSON object")
    if len(data) > MAX_PAYLOAD_BYTES:
        raise InvalidTraceEvent(
            f"the payload takes {len(data)} bytes, more than the {MAX_PAYLOAD_BYTES} that are allowed"
        )
    return data


def _fits(goal: bytes) -> bool:
    """Whether a goal's payload is short enough. A character may take six bytes as JSON, so most are known to be."""
    if 6 * len(goal) + 2 <= _MAX_GOAL_BYTES:
        return True
    return len(encode_basestring(goal.decode()).encode()) <= _MAX_GOAL_BYTES
