"""The chainer: order, time, identity and hash of every event. PROTOCOL: Event."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cra
from cra.ids import UUID_PATTERN, format_uuid
from cra.testing import SeededIds
from cra.trace.chainer import Chainer
from cra.trace.event import GENESIS_HASH
from cra.trace.record import FIRST_EVENT, EventsRecord, SessionHeader

NOON = 1_767_268_800 * 10**9


def header(number: int = 1) -> SessionHeader:
    base = SeededIds(number).draw(NOON // 10**6)
    return SessionHeader(format_uuid(base), format_uuid(base + 1), format_uuid(base + 2))


def record(*events: Any, session: int = 1, time_ns: int = NOON, n: int = 0, span: int | None = None) -> EventsRecord:
    base = SeededIds(1000 + n).draw(NOON // 10**6)
    return EventsRecord(header(session), base, time_ns, tuple(events) or (("a.b", {}),), span=span)


def test_events_of_a_record_follow_each_other() -> None:
    """Sequence from 0, each with the hash of the one before, one span and one time; the chain verifies."""
    chainer = Chainer()
    events = [*chainer.events(record(("session.started", {}), ("a.b", {"x": 1}))), *chainer.events(record(n=1))]
    assert [0, 1, 2] == [event.sequence for event in events]
    assert [GENESIS_HASH, events[0].event_hash, events[1].event_hash] == [e.previous_event_hash for e in events]
    assert cra.verify_chain(events).valid
    assert 1 == len({event.span_id for event in events[:2]})
    assert {"2026-01-01T12:00:00.000000Z"} == {event.timestamp for event in events}


def test_ids_are_the_record_s_base_and_an_offset() -> None:
    """So that expanding a record again gives the same ids; the span is `base`, or that of the operation's first record."""
    made = record(("a.b", {}), ("a.c", {}))
    events = Chainer().events(made)
    assert [format_uuid(made.base + FIRST_EVENT + i) for i in (0, 1)] == [event.event_id for event in events]
    assert {format_uuid(made.base)} == {event.span_id for event in events}
    assert format_uuid(7) == Chainer().events(record(span=7))[0].span_id


def test_only_the_first_event_of_a_session_has_no_parent() -> None:
    """Every other span's parent is that of `session.started`."""
    first, second = Chainer().events(record(("session.started", {}), ("a.b", {})))
    assert (None, header().span_id) == (first.parent_span_id, second.parent_span_id)


@given(st.lists(st.integers(-(10**9), 10**9), max_size=20))
def test_timestamps_never_decrease(steps: list[int]) -> None:
    """A wall clock that is set back does not show."""
    chainer, now, events = Chainer(), NOON, []
    for n, step in enumerate(steps):
        now += step
        events += chainer.events(record(time_ns=now, n=n))
    stamps = [event.timestamp for event in events]
    assert sorted(stamps) == stamps
    assert cra.verify_chain(events).warnings == ()


def test_sessions_are_chains_of_their_own() -> None:
    """Records of several sessions, in any order, do not touch each other."""
    chainer = Chainer()
    events = [event for n in range(6) for event in chainer.events(record(session=n % 2, n=n))]
    for number in (0, 1):
        assert cra.verify_chain([e for e in events if e.session_id == header(number).session_id]).valid


def test_ended_session_is_forgotten() -> None:
    """Its head leaves memory with `session.ended`."""
    chainer = Chainer()
    chainer.events(record(("session.started", {})))
    chainer.events(record(("a.b", {}), ("session.ended", {}), n=1))
    assert {} == chainer._heads


def test_record_that_cannot_be_sealed_leaves_the_chain_as_it_was() -> None:
    """`InvalidTraceEvent`, and the next record follows the last good one."""
    chainer = Chainer()
    events = chainer.events(record())
    with pytest.raises(cra.InvalidTraceEvent):
        chainer.events(record(("a.b", {}), ("a.c", {"x": float("nan")}), n=1))
    events += chainer.events(record(n=2))
    assert (True, 2) == (cra.verify_chain(events).valid, len(events))


def test_record_without_events_changes_nothing() -> None:
    """Nothing to chain is no link."""
    chainer = Chainer()
    first = chainer.events(record())
    empty = EventsRecord(header(), 0, NOON, ())
    assert [] == chainer.events(empty)
    assert cra.verify_chain([*first, *chainer.events(record(n=1))]).valid


@given(st.integers(0, 2**64))
def test_ids_are_version_7(seed: int) -> None:
    """Lower-case UUIDs of version 7 and the RFC's variant, whatever the random bits."""
    base = SeededIds(seed).draw(NOON // 10**6)
    (event,) = Chainer().events(EventsRecord(header(), base, NOON, (("a.b", {}),)))
    assert UUID_PATTERN.fullmatch(event.event_id)
    assert ("7", True) == (event.event_id[14], event.event_id[19] in "89ab")
