"""Whether a record of a dead process can become events that verify: what is inside of its payloads.

Used by recovery alone: who records vouches for the payloads, and nobody looks at them on the hot path. What lies in a file may
have been written by somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator

from cra.errors import InvalidTraceEvent
from cra.hotpath import canonical_json
from cra.reference.records import EventsRecord, Record, ResolveRecord, TemplateRecord, decode
from cra.strictjson import JSONProblem, parse


def decode_sound(data: bytes) -> Record:
    """The record in these bytes. Raises `InvalidTraceEvent` for what is none, or has a payload that is no canonical JSON."""
    record = decode(data)
    for payload in _payloads(record):
        try:
            sound = canonical_json(parse(payload)) == payload.encode()
        except JSONProblem:
            sound = False
        if not sound:
            raise InvalidTraceEvent("a payload is no canonical JSON")
    return record


def _payloads(record: Record) -> Iterator[str]:
    if isinstance(record, EventsRecord):
        yield from (payload for _, payload in record.events)
    elif isinstance(record, ResolveRecord):
        if record.payload:
            yield record.text
    elif isinstance(record, TemplateRecord):
        yield from record.evaluations
        for injected, redacted in record.blocks:
            yield from (injected, redacted)
