"""Lines of a trace as somebody gives them: read as events or refused, and written again as the same events. PROTOCOL: Event."""

from __future__ import annotations

from io import BytesIO

from cra.errors import InvalidTraceEvent
from cra.fuzzing.harness import refusal
from cra.fuzzing.target import Target, expect
from cra.fuzzing.traces import TOKENS, trace
from cra.hotpath import event_hash
from cra.trace.jsonl import dump_line, read_event, read_events


def answer(data: bytes) -> object:
    """The events up to the first line that is none, each as a line and hashed; and that line's fault."""
    found: list[object] = []
    try:
        for event in read_events(BytesIO(data)):
            line = dump_line(event)
            again = read_event(line)
            expect(again == event and dump_line(again) == line, "an event that was written reads back as another")
            expect(event_hash(event.to_dict()) == event_hash(event), "an event and its mapping have two hashes")
            found.append((line, event_hash(event)))
    except InvalidTraceEvent as error:
        return found, refusal(error)
    return found


def seeds() -> list[bytes]:
    """A sound trace, one in another's hand, and one torn off."""
    lines = trace()
    foreign = lines.replace(b'"payload":{', b'"payload": {').replace(b'"parent_span_id":null,', b"")
    return [lines, foreign, lines[:-100], b"\n" + lines, lines.replace(b"\n", b"\r\n")]


TARGET = Target(
    "trace-lines",
    "lines of a trace, read as events and written again",
    answer,
    seeds,
    tokens=TOKENS,
    notation="json lines",
    max_bytes=8192,
)
