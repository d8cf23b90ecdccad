"""What sessions record themselves: their number in the ring, what has no place there, and the room of what has to come."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import cra
from cra.reference.ring_room import CLOSING_BYTES
from cra.reference.session_core import CLOSING_PAYLOAD, MAX_PAYLOAD

MODES: list[dict[str, Any]] = [
    {},
    {"tracing": "immediate"},
    {"overflow": "drop"},
    {"redact": lambda _, payload: payload},
]
"""The short way into the ring, and three ways around it."""


@pytest.fixture(params=MODES, ids=["short", "immediate", "drop", "redact"])
def world(request: pytest.FixtureRequest, make_world: Any, atlas: Any) -> Any:
    return make_world(atlas("a.b"), **request.param)


def reserved(world: Any) -> tuple[int, int]:
    recorder = world.resolver.stats().recorder
    return recorder.reservations, recorder.ring_reserved


def test_session_has_a_number_from_its_first_record_to_its_last(world: Any) -> None:
    """One of its own, which the queue knows as well."""
    first, second = world.open(), world.open()
    queue = first.runtime.recorder.queue
    assert 0 < first.number != second.number > 0
    assert (first.number, second.number) == (queue.number(first.session_id), queue.number(second.session_id))
    first.end()
    assert 0 == first.number == queue.number(first.session_id)
    assert second.number == queue.number(second.session_id)


def test_ids_and_time_of_a_record(world: Any) -> None:
    """The base is the one given or a draw, and is returned; the events of one record have one span and one time."""
    session = world.open()
    drawn = session.record(("x.one", {"n": 1}), ("x.two", {"n": 2}))
    assert drawn + 65_536 == session.record(("x.three", {"n": 3}), base=drawn + 65_536)
    one, two, three = world.trace(session, of="x.")
    assert [{"n": 1}, {"n": 2}, {"n": 3}] == [one.payload, two.payload, three.payload]
    assert one.span_id == two.span_id == cra.hotpath.format_uuid(drawn)
    assert [drawn + 3, drawn + 4] == [cra.hotpath.parse_uuid(event.event_id) for event in (one, two)]
    assert three.span_id == cra.hotpath.format_uuid(drawn + 65_536)
    assert one.timestamp == two.timestamp == three.timestamp


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (("x.y", {"text": "\ud800"}), "lone surrogate"),
        (("x.y", {"text": "a" * MAX_PAYLOAD}), "payload is larger than"),
        (("Not a type", {}), "not lower-case words"),
    ],
    ids=["surrogate", "large", "type"],
)
def test_refused_event_leaves_nothing(event: Any, message: str, world: Any) -> None:
    """And the next one is recorded, in a session that goes on."""
    session = world.open()
    with pytest.raises(cra.InvalidTraceEvent, match=message):
        session.record(("x.first", {}), event)
    session.record(("x.last", {"text": "a" * (MAX_PAYLOAD - 11)}))
    assert ["session.started", "x.last"] == world.types(session)


def test_room_is_used_once(world: Any) -> None:
    """By the event that closes something, under the span of what began it; then it is nobody's."""
    session = world.open()
    span = session.record(("x.begin", {}))
    room = session.runtime.reserve()
    count, size = reserved(world)
    assert (1, True) == (count, size >= CLOSING_BYTES == room.room)
    session.record_last(room, "x.end", {"n": 1}, span)
    room.release()
    assert (0, 0) == reserved(world)
    assert (1, False) == (len(world.trace(session, of="x.end")), room.held)
    assert {cra.hotpath.format_uuid(span)} == {event.span_id for event in world.trace(session, of="x.")}
    with pytest.raises(cra.InternalError, match="used or given back"):
        session.record_last(room, "x.end", {"n": 2}, span)


def test_room_is_given_back_unused(world: Any) -> None:
    """However often."""
    room = world.open().runtime.reserve()
    room.release()
    room.release()
    assert (0, 0) == reserved(world)


@pytest.mark.parametrize("text", ["\ud800", "a" * CLOSING_PAYLOAD], ids=["surrogate", "large"])
def test_closing_event_is_recorded_whatever_it_says(text: str, world: Any) -> None:
    """Without what has no place in the trace, and with the reason."""
    session = world.open()
    session.record_last(session.runtime.reserve(), "x.end", {"action_id": "a.b", "text": text})
    (payload,) = world.payloads(session, "x.end")
    assert "a.b" == payload["action_id"]
    assert {"action_id", "redaction_error"} == set(payload)
    assert (0, 0) == reserved(world)


def test_ended_session_is_freed_at_once(make_world: Any, atlas: Any) -> None:
    """It is in no cycle: a hundred thousand of them need no collector."""
    world = make_world(atlas("a.b"))
    world.resolver.register("a.b", dict, inline=True)
    gc.collect()
    gc.disable()
    try:
        parent = world.open()
        child = world.open(parent=parent)
        for session in (child, parent):
            session.execute("a.b", resolution=session.resolve("x"))
        gone = [weakref.ref(parent), weakref.ref(child)]
        parent.end()
        del parent, child, session
        assert [None, None] == [reference() for reference in gone]
    finally:
        gc.enable()
