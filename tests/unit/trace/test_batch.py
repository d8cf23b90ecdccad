"""Batches: whole lines, decoded exactly and only where somebody looks. ARCHITECTURE: batches."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cra
from cra.reference.canonical import canonical_json
from cra.reference.chain import seal
from cra.strictjson import MAX_INTEGER
from cra.trace import batch as module
from cra.trace.batch import Batch, decode_line
from cra.trace.event import GENESIS_HASH
from cra.trace.jsonl import dump_line, read_events
from tests.support.records import TEXT, definition
from tests.unit.reference.test_canonical import VALUES

SESSION, TRACE, SPAN = definition(1)


def event(
    payload: dict[str, Any], *, sequence: int = 0, parent: str | None = SPAN, session_id: str = SESSION
) -> cra.Event:
    """A sealed event."""
    return seal(
        event_id=TRACE,
        trace_id=TRACE,
        span_id=SPAN,
        parent_span_id=parent,
        session_id=session_id,
        sequence=sequence,
        timestamp="2026-01-01T12:00:00.000000Z",
        event_type="a.b",
        payload=payload,
        previous_event_hash=GENESIS_HASH,
    )


def make(*events: cra.Event) -> Batch:
    """A batch of events, a run each."""
    lines = [dump_line(each) for each in events]
    return Batch(b"".join(lines), [(each.session_id, len(line), 1) for each, line in zip(events, lines)], 7)


def types(value: Any) -> Any:
    """The value with the type of every number in it."""
    if isinstance(value, dict):
        return {key: types(member) for key, member in value.items()}
    if isinstance(value, list):
        return list(map(types, value))
    return (type(value), value)


@given(st.dictionaries(TEXT, VALUES), st.integers(0, MAX_INTEGER), st.none() | st.just(SPAN))
@example({"x": 1e20, "y": 1e300, "z": -1e-300, "n": 2.0**63}, 0, None)
@example({"x": MAX_INTEGER, "y": -MAX_INTEGER, "z": -(2**63) - 1, "n": 10**15, "m": 10**16 + 1}, MAX_INTEGER, SPAN)
@example({"x": 0.1 + 0.2, "y": 9007199254740993, "z": 123456789012345.6, "s": "1234567890123456789012"}, 10**17, SPAN)
def test_a_line_is_decoded_as_the_strict_reader_decodes_it(payload: Any, sequence: int, parent: str | None) -> None:
    """To the type of every number: an integer literal outside ±(2^64−1) is a double, every other one is exact."""
    line = dump_line(event(payload, sequence=sequence, parent=parent))
    (expected,) = read_events(io.BytesIO(line))
    decoded = decode_line(line)
    assert expected == decoded
    assert types(expected.payload) == types(decoded.payload)
    assert line == dump_line(decoded)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_read_back(number: float) -> None:
    """Whichever reader takes its line."""
    read = decode_line(dump_line(event({"x": number}))).payload["x"]
    assert canonical_json(number) == canonical_json(read)
    assert number == float(read)


def test_a_batch_is_a_sequence_of_its_events() -> None:
    """Length, index, slice, iteration, membership, in any order, as a tuple of them has it."""
    events = [event({"n": n}, sequence=n) for n in range(4)]
    batch = make(*events)
    assert 4 == len(batch)
    assert (events[0], events[-1], tuple(events[1:3])) == (batch[0], batch[-1], tuple(batch[1:3]))
    assert events == list(batch)
    assert events[2] in batch
    with pytest.raises(IndexError):
        batch[4]


def test_a_batch_is_its_lines_and_their_runs() -> None:
    """Nothing is decoded for that: a store of lines takes them as they are."""
    events = [event({"text": "\r\n\x85\u2028"}), event({}, sequence=1), event({}, session_id=definition(2)[0])]
    lines = [dump_line(each) for each in events]
    batch = Batch(
        b"".join(lines), [(SESSION, len(lines[0]) + len(lines[1]), 2), (events[2].session_id, len(lines[2]), 1)], 7
    )
    assert lines == batch.lines
    assert [(SESSION, b"".join(lines[:2]), 2), (events[2].session_id, lines[2], 1)] == list(batch.chunks())
    assert (7, sum(map(len, lines)), 3) == (batch.position, batch.size, len(batch))
    assert batch._events is None


def test_a_line_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many subscribers look at it."""
    decoded: list[bytes] = []
    monkeypatch.setattr(module, "decode_line", lambda line: decoded.append(line) or decode_line(line))
    batch = make(event({}), event({"n": 1}, sequence=1))
    assert [*batch] == [*batch] == [batch[0], batch[1]]
    assert decoded == batch.lines
