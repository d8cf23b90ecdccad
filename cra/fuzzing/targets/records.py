"""Records as a ring or a journal holds them, expanded to events: templates, definitions, sessions. docs/formats/records.md.

The input is a list of records, each after its length in two bytes; or, with a first byte that is odd, frames as they come.
"""

from __future__ import annotations

from typing import Any

from cra.errors import InvalidTraceEvent
from cra.fuzzing.draws import Draws, blocks
from cra.fuzzing.harness import refusal
from cra.fuzzing.streams import TOKENS, a_session, definition
from cra.fuzzing.target import Target, expect
from cra.hotpath import Expander, scan_frames, survey_frames
from cra.reference.frames import frame
from cra.reference.records import (
    EventsRecord,
    ForgetRecord,
    ResolveRecord,
    TemplateRecord,
    decode,
    encode_events,
    encode_forget,
    encode_resolve,
    encode_template,
)
from cra.trace.batch import Batch

_SESSION = 1
_HEADS = {definition(_SESSION)[0]: (5, "ab" * 32, 1_767_268_900 * 10**9)}


def answer(data: bytes) -> object:
    """What each record is and comes to; what the frames of them hold; the lines, and that counting alone counts the same."""
    draws = Draws(data)
    how = draws.number()
    records = []
    if how & 1:
        stream = draws.rest()
    else:
        while draws:
            records.append(draws.block())
        stream = b"".join(map(frame, records))
    heads = _HEADS if how & 2 else {}
    expander = Expander(heads, frames=True)
    fed: list[object] = []
    for record in records:
        try:
            decoded = decode(record)
            expect(_encoded(decoded) == record, "a record that is decoded and encoded again is another")
            expander.feed(record)
            fed.append(None)
        except InvalidTraceEvent as error:
            fed.append(refusal(error))
    whole, counting = Expander(heads), Expander(heads, lines=False)
    end = whole.feed_frames(stream)
    expect(counting.feed_frames(stream) == end, "counting alone ends at another frame")
    expect(
        (counting.records, counting.events, counting.refused) == (whole.records, whole.events, whole.refused),
        "counting alone counts differently",
    )
    places, scanned = scan_frames(stream)
    expect(scanned == end, "the scan and the expander end at different frames")
    of_session = scan_frames(stream, 0, _SESSION)
    spans: dict[int, Any] = {}
    survey_frames(stream, 0, end, 3, spans)
    lines = _taken(whole)
    if not how & 1:
        expect(_taken(expander)[:2] == lines[:2], "records and their frames come to different lines")
    return fed, end, places, of_session, spans, lines, sorted(whole.heads().items())


def _taken(expander: Expander) -> Any:
    batch = expander.take(7)
    if batch is None:
        return b"", (), expander.records, expander.events, expander.refused
    assert isinstance(batch, Batch)
    return bytes(batch.data), batch.runs, expander.records, expander.events, expander.refused


def _encoded(record: Any) -> bytes:
    """The record's bytes, written again."""
    if isinstance(record, EventsRecord):
        shared = (record.session, record.base, record.time_ns, record.events)
        return encode_events(*shared, span=record.span, define=record.define)
    if isinstance(record, ResolveRecord):
        return encode_resolve(
            *(record.session, record.base, record.time_ns, record.template, record.text),
            payload=record.payload,
            request_id=record.request_id,
            injected=record.injected,
            cut=record.cut,
        )
    if isinstance(record, TemplateRecord):
        counts = (record.allowed, record.denied, record.ttl_seconds)
        return encode_template(
            record.number, record.decision, *counts, record.policy_set, record.evaluations, record.blocks
        )
    assert isinstance(record, ForgetRecord)
    return encode_forget(record.number)


def seeds() -> list[bytes]:
    """One session, two of them interleaved, one that goes on, and the same as frames."""
    one, other = a_session(), a_session(2, 2)
    mixed = [record for pair in zip(one, other) for record in pair]
    lists = [b"\0" + blocks(*one), b"\0" + blocks(*mixed), b"\2" + blocks(*one), b"\0" + blocks(*one[1:])]
    return [*lists, b"\1" + b"".join(map(frame, mixed)), *(b"\0" + blocks(one[0], one[1], each) for each in one)]


TARGET = Target(
    "records", "records and frames of them, expanded to events", answer, seeds, tokens=TOKENS, max_bytes=4096
)
