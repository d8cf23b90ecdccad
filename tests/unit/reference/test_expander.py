"""Records to sealed lines: which events, in which order, chained how; and both twins to the byte.

PROTOCOL: Event, Event hash, Events of a resolve.
"""

from __future__ import annotations

import io
import threading
import time
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cra
from cra.ids import UUID_PATTERN, format_uuid
from cra.reference import expander as reference
from cra.reference.records import FIRST_EVENT, MAX_PAYLOAD_BYTES, encode_events, encode_forget
from cra.reference.ring import Ring
from cra.trace.batch import Batch
from cra.trace.event import GENESIS_HASH
from cra.trace.jsonl import dump_line, read_events
from tests.support.records import (
    BLOCKS,
    DIGEST,
    EVALUATION,
    NOON,
    RECORDS,
    broken_records,
    definition,
    draw,
    events,
    resolve,
    template,
)
from tests.support.twins import compiled_twin, twins

SECONDS = 10.0


@pytest.fixture(params=twins(reference), scope="module")
def twin(request: pytest.FixtureRequest) -> Any:
    """The module under test."""
    return request.param


@pytest.fixture
def expander(twin: Any) -> Any:
    """An expander without history."""
    return twin.Expander()


def read(batch: Batch | None) -> list[cra.Event]:
    """The events of a batch by the strict reader."""
    return [] if batch is None else list(read_events(io.BytesIO(batch.data)))


def expand(expander: Any, *records: bytes) -> list[cra.Event]:
    """The events of these records."""
    for record in records:
        expander.feed(record)
    return read(expander.take(0))


def check_chains(lines: list[cra.Event]) -> None:
    """Every session's events are a valid chain without warnings."""
    sessions = defaultdict(list)
    for event in lines:
        sessions[event.session_id].append(event)
    for chain in sessions.values():
        result = cra.verify_chain(chain)
        assert (True, ()) == (result.valid, result.warnings), result


# Events


def test_events_of_a_record_follow_each_other(expander: Any) -> None:
    """Sequence from 0, each with the hash of the one before, one span and one time; the chain verifies."""
    made = expand(expander, events(("session.started", {}), ("a.b", {"x": 1})), events(n=1))
    assert [0, 1, 2] == [event.sequence for event in made]
    assert [GENESIS_HASH, made[0].event_hash, made[1].event_hash] == [event.previous_event_hash for event in made]
    assert [("session.started", {}), ("a.b", {"x": 1}), ("a.b", {})] == [(e.event_type, e.payload) for e in made]
    assert 1 == len({event.span_id for event in made[:2]})
    assert {"2026-01-01T12:00:00.000000Z"} == {event.timestamp for event in made}
    assert {definition(1)[:2]} == {(event.session_id, event.trace_id) for event in made}
    check_chains(made)


def test_ids_are_the_record_s_base_and_an_offset(expander: Any) -> None:
    """So that expanding a record again gives the same ids; the span is `base`, or that of the operation's first record."""
    made = expand(expander, events(("a.b", {}), ("a.c", {}), n=5))
    assert [format_uuid(draw(5) + FIRST_EVENT + i) for i in (0, 1)] == [event.event_id for event in made]
    assert {format_uuid(draw(5))} == {event.span_id for event in made}
    assert format_uuid(7) == expand(expander, events(span=7))[0].span_id


def test_ids_stay_within_128_bits(expander: Any) -> None:
    """Even those of a base that leaves no room."""
    record = encode_events(1, 2**128 - 4, NOON, [("a.b", "{}")] * 3, define=definition(1))
    assert [2**128 - 1, 0, 1] == [int(event.event_id.replace("-", ""), 16) for event in expand(expander, record)]


@given(st.integers(0, 10**9))
def test_ids_are_version_7(twin: Any, n: int) -> None:
    """Lower-case UUIDs of version 7 and the RFC's variant, whatever the random bits."""
    (event,) = expand(twin.Expander(), events(n=n))
    assert UUID_PATTERN.fullmatch(event.event_id)
    assert ("7", True) == (event.event_id[14], event.event_id[19] in "89ab")


def test_only_the_first_event_of_a_session_has_no_parent(expander: Any) -> None:
    """Every other span's parent is that of `session.started`."""
    made = expand(expander, events(("session.started", {}), ("a.b", {})), template(), resolve())
    assert [None, *[definition(1)[2]] * (len(made) - 1)] == [event.parent_span_id for event in made]


@given(st.lists(st.integers(-(10**9), 10**9), max_size=20))
def test_timestamps_never_decrease(twin: Any, steps: list[int]) -> None:
    """A wall clock that is set back does not show."""
    expander, now, made = twin.Expander(), NOON, []
    for n, step in enumerate(steps):
        now += step
        made += expand(expander, events(time_ns=now, n=n))
    stamps = [event.timestamp for event in made]
    assert sorted(stamps) == stamps
    check_chains(made)


@pytest.mark.parametrize(
    ("time_ns", "stamp"),
    [
        (-(2**63), "1970-01-01T00:00:00.000000Z"),
        (999, "1970-01-01T00:00:00.000000Z"),
        (951_782_399_999_999_999, "2000-02-28T23:59:59.999999Z"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775Z"),
    ],
)
def test_far_dates_are_written_out(expander: Any, time_ns: int, stamp: str) -> None:
    """All that nanoseconds in 64 bits can name; before the epoch there was no session."""
    assert stamp == expand(expander, events(time_ns=time_ns))[0].timestamp


def test_sessions_are_chains_of_their_own(expander: Any) -> None:
    """Records of several sessions, in any order, do not touch each other."""
    made = expand(expander, *(events(session=n % 3, n=n) for n in range(9)))
    assert [0, 0, 0, 1, 1, 1, 2, 2, 2] == [event.sequence for event in made]
    check_chains(made)


def test_ended_session_is_forgotten(expander: Any) -> None:
    """With its definition: a record that names it then is refused, and one that defines the number begins a new chain."""
    expander.feed(events(("session.started", {})))
    assert [definition(1)[0]] == list(expander.heads())
    expander.feed(events(("a.b", {}), ("session.ended", {}), define=None, n=1))
    assert {} == expander.heads()
    with pytest.raises(cra.InvalidTraceEvent, match="defined by no record before"):
        expander.feed(events(define=None, n=2))
    expander.take(0)
    assert [0] == [event.sequence for event in expand(expander, events(session=2))]


def test_a_session_ends_with_the_last_event_of_a_record_alone(expander: Any) -> None:
    """As `session.ended` in the middle, which nobody writes, ends nothing."""
    expander.feed(events(("session.ended", {}), ("a.b", {})))
    assert {1} == {sequence - 1 for sequence, _, _ in expander.heads().values()}


def test_record_without_events_is_no_link(expander: Any) -> None:
    """It defines its session, and moves its time on."""
    first = expand(expander, encode_events(1, 0, NOON + 10**9, [], define=definition(1)))
    second = expand(expander, events(define=None))
    assert ([], [0]) == (first, [event.sequence for event in second])
    assert "2026-01-01T12:00:01.000000Z" == second[0].timestamp


def test_a_session_may_be_defined_again_but_not_otherwise(expander: Any) -> None:
    """Every segment of a journal begins with definitions; a number stands for one session while it is open."""
    expander.feed(events())
    expander.feed(events())
    with pytest.raises(cra.InvalidTraceEvent, match="a second time, with other ids"):
        expander.feed(events(define=definition(2)))
    assert [0, 1] == [event.sequence for event in read(expander.take(0))]


def test_a_session_is_open_under_one_number_at_a_time(expander: Any) -> None:
    """Or one id would have two chains. Its id is free again once it has ended."""
    expander.feed(events())
    with pytest.raises(cra.InvalidTraceEvent, match="open under another number"):
        expander.feed(events(session=2, define=definition(1)))
    expander.feed(events(("session.ended", {})))
    expander.feed(events(session=2, define=definition(1)))
    assert [0, 1, 0] == [event.sequence for event in read(expander.take(0))]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 3, 1)])
def test_sessions_whose_ids_are_chosen_to_collide_are_kept_apart(expander: Any, order: tuple[int, ...]) -> None:
    """Ids that a table takes for one, opened and ended in any order."""
    multiplier, mask = 0x9E3779B97F4A7C15, 2**64 - 1

    def id_of(n: int) -> str:
        low = n * multiplier & mask  # n * multiplier ^ low is zero for all of them, as the kernel reads the halves
        return format_uuid(int.from_bytes(n.to_bytes(8, "little") + low.to_bytes(8, "little"), "big"))

    for n in (1, 2, 3):
        expander.feed(events(session=n, n=n, define=(id_of(n), *definition(n)[1:])))
    for n in order:
        with pytest.raises(cra.InvalidTraceEvent, match="open under another number"):
            expander.feed(events(session=9, define=(id_of(n), *definition(n)[1:])))
        expander.feed(events(("session.ended", {}), session=n, define=None))
        expander.feed(events(("session.ended", {}), session=9, define=(id_of(n), *definition(n)[1:])))
    assert {} == expander.heads()


# Resolves


def test_resolve_is_a_request_its_evaluations_its_blocks_and_its_completion(expander: Any) -> None:
    """In this order, every evaluation of the template, the blocks that the record names, with exactly these payloads."""
    expander.feed(events())
    expander.take(0)
    expander.feed(template())
    expander.feed(resolve('say "é"\n', n=3, injected=[2, 0], cut=[1]))
    request_id = format_uuid(draw(3) + 1)
    completed = (
        f'{{"allowed_count":1,"context_block_count":2,"decision_type":"partial","denied_count":2,"policy_set":"{DIGEST}"'
        f',"request_id":"{request_id}","resolution_id":"{format_uuid(draw(3) + 2)}","ttl_seconds":3600}}'
    )
    payloads = [
        f'{{"goal":"say \\"é\\"\\n","operation":"resolve","request_id":"{request_id}"}}',
        EVALUATION,
        EVALUATION,
        BLOCKS[2][0],
        BLOCKS[0][0],
        BLOCKS[1][1],
        completed,
    ]
    types = [
        "carp.request.received",
        *["policy.evaluated"] * 2,
        *["context.injected"] * 2,
        "context.redacted",
        "carp.resolution.completed",
    ]
    batch = expander.take(0)
    assert types == [event.event_type for event in batch]
    assert [f'"payload":{payload},"event_hash"' in line.decode() for payload, line in zip(payloads, batch.lines)] == [
        True
    ] * 7


def test_a_request_with_more_than_a_goal_brings_its_payload_and_id(expander: Any) -> None:
    """Both are taken as they stand; the completion names the id."""
    request_id = format_uuid(draw(9))
    record = resolve('{"goal":"x","risk_tier":"high"}', payload=True, request_id=request_id)
    made = expand(expander, events(), template(evaluations=0), record)[1:]
    assert [{"goal": "x", "risk_tier": "high"}, request_id] == [made[0].payload, made[1].payload["request_id"]]
    made = expand(expander, resolve("x", request_id=request_id))
    assert [request_id, request_id] == [made[0].payload["request_id"], made[-1].payload["request_id"]]


def test_a_template_holds_until_it_is_replaced_or_forgotten(expander: Any) -> None:
    """One number, one template; forgetting one that is not there is harmless, naming it is refused."""
    expander.feed(events())
    expander.feed(template(evaluations=0))
    expander.feed(template(evaluations=3))
    assert 1 + 5 == len(expand(expander, resolve()))
    expander.feed(encode_forget(1))
    expander.feed(encode_forget(1))
    with pytest.raises(cra.InvalidTraceEvent, match="its template is defined by no record before it"):
        expander.feed(resolve())


# What is refused


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b"", "no record of its kind"),
        (events(("a.b", {}), define=None, session=9), "its session is defined by no record before it"),
        (resolve(session=9), "its session is defined by no record before it"),
        (resolve(number=9), "its template is defined by no record before it"),
        (resolve(injected=[3]), "it names a block that its template does not have"),
        (resolve(cut=[0, 3]), "it names a block that its template does not have"),
        (events(("a.b", {"x": "y"}), ("a.c", {"x": "y"})).replace(b"y", b"\1"), "a payload is a canonical JSON object"),
        (events(session=2)[:-1], "it ends early"),
    ],
)
def test_a_refused_record_leaves_everything_as_it_was(expander: Any, record: bytes, said: str) -> None:
    """`InvalidTraceEvent` with the reason, no line, no definition, no count; the next record follows the last good one."""
    for good in (events(), template()):
        expander.feed(good)
    before = expander.heads(), expander.records, expander.events, expander.refused
    with pytest.raises(cra.InvalidTraceEvent, match=said):
        expander.feed(record)
    assert before == (expander.heads(), expander.records, expander.events, expander.refused)
    made = expand(expander, events(n=1))
    assert [0, 1] == [event.sequence for event in made]
    check_chains(made)


# Pending lines


def test_a_batch_has_runs_and_a_position(expander: Any) -> None:
    """Lines of one session that follow each other are one run; nothing is pending afterwards."""
    for session, n in ((1, 0), (1, 1), (2, 2), (1, 3)):
        expander.feed(events(session=session, n=n))
    batch = expander.take(77)
    assert 77 == batch.position
    assert [(definition(n)[0], count) for n, count in ((1, 2), (2, 1), (1, 1))] == [(r[0], r[2]) for r in batch.runs]
    assert batch.data == b"".join(chunk for _, chunk, _ in batch.chunks())
    assert (None, 4, 4) == (expander.take(78), expander.records, expander.events)


def test_discarded_lines_are_chained_all_the_same(expander: Any) -> None:
    """Only their bytes are gone, and are counted."""
    expander.feed(template())
    expander.feed(events())
    expander.feed(resolve())
    assert (3, 5) == expander.discard()
    assert (0, 0) == expander.discard()
    (event,) = expand(expander, events(n=1))
    assert (5, 4, 6) == (event.sequence, expander.records, expander.events)
    assert GENESIS_HASH != event.previous_event_hash


def test_chains_go_on_from_given_heads(twin: Any) -> None:
    """An expander that takes over another's heads writes what that one would have written."""
    first, whole = twin.Expander(), twin.Expander()
    stream = [events(time_ns=NOON + 5), events(session=2)]
    for record in stream:
        first.feed(record)
        whole.feed(record)
    whole.discard()
    second = twin.Expander(first.heads())
    assert first.heads() == second.heads()
    for record in (events(session=2, n=2), events(n=1)):
        second.feed(record)
        whole.feed(record)
    assert second.take(1).data == whole.take(1).data
    assert first.heads().keys() == second.heads().keys()
    assert {2} == {sequence for sequence, _, _ in second.heads().values()}


def test_a_head_is_used_once(twin: Any) -> None:
    """After its session has ended, the id begins anew; a record that is refused uses nothing."""
    expander = twin.Expander({definition(1)[0]: (5, "ab" * 32, NOON)})
    with pytest.raises(cra.InvalidTraceEvent):
        expander.feed(events().replace(b"{}", b"{\1"))
    made = expand(expander, events(("session.ended", {})), events(n=1))
    assert [(5, "ab" * 32), (0, GENESIS_HASH)] == [(event.sequence, event.previous_event_hash) for event in made]


def test_many_sessions_and_the_longest_lines(expander: Any) -> None:
    """Thousands of open sessions, and payloads of every size up to the largest."""
    made = expand(expander, *(events(session=n, n=n) for n in range(3000)))
    assert 3000 == len(made) == len(expander.heads())
    for size in (0, 1, 63, 64, 65, 70_000, MAX_PAYLOAD_BYTES - 8):
        expander.feed(encode_events(1, draw(size), NOON, [("a.b", f'{{"x":"{"y" * size}"}}')]))
        batch = expander.take(0)
        assert size + 8 == batch.data.index(b',"event_hash"') - batch.data.index(b'{"x"')
        assert cra.event_hash(batch[0]) == batch[0].event_hash


# Rings


def test_drain_takes_what_is_committed_up_to_a_limit(twin: Any, expander: Any) -> None:
    """Records come in order, what cannot be expanded is counted, and the ring's position is where the next drain begins."""
    ring = getattr(twin, "Ring", Ring)(2**16)
    stream = [events(), b"nonsense", events(n=1), events(n=2)]
    for record in stream:
        assert ring.put(record)
    assert 3 == expander.drain(ring, 700)
    assert (2, 1) == (expander.events, expander.refused)
    assert (1, 0) == (expander.drain(ring), expander.drain(ring))
    assert [0, 1, 2] == [event.sequence for event in expander.take(ring.position)]
    assert (ring.head, 0) == (ring.position, ring.tail)


def test_any_ring_can_be_drained(expander: Any) -> None:
    """Also one of the other implementation."""
    ring = Ring(2**16)
    for record in (events(), b"nonsense", events(n=1)):
        assert ring.put(record)
    assert (1, 2) == (expander.drain(ring, 1), expander.drain(ring))
    assert (2, 2, 1) == (expander.records, expander.events, expander.refused)


def test_a_closed_ring_cannot_be_drained(twin: Any, expander: Any) -> None:
    """As it cannot be read."""
    ring = getattr(twin, "Ring", Ring)(2**16)
    ring.close()
    for call in (expander.drain, expander.run):
        with pytest.raises(cra.InternalError, match="closed"):
            call(ring)


def test_run_frees_what_comes_until_it_is_interrupted(twin: Any, expander: Any) -> None:
    """Nobody else is needed to drain a ring whose lines nobody wants; the counts can be read meanwhile."""
    ring = getattr(twin, "Ring", Ring)(2**16)
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(expander.run(ring)), daemon=True)
    thread.start()
    for n in range(2000):
        assert ring.put(events(n=n)) or (ring.wait_room(200, SECONDS) and ring.put(events(n=n)))
    assert ring.put(b"nonsense") or (ring.wait_room(200, SECONDS) and ring.put(b"nonsense"))
    assert ring.wait_room(ring.size // 2, SECONDS)
    expander.interrupt()
    thread.join(SECONDS)
    assert [True] == ended
    expander.drain(ring)
    assert (2000, 1) == (expander.events, expander.refused)


def test_run_comes_back_when_nothing_comes_or_it_was_interrupted_before(twin: Any, expander: Any) -> None:
    """False after the time it was given; an interrupt is not lost, and counts once."""
    ring = getattr(twin, "Ring", Ring)(2**16)
    assert expander.run(ring, 0.01) is False
    expander.interrupt()
    assert expander.run(ring, SECONDS) is True
    ring.put(events())
    assert expander.run(ring, 0.01) is False
    assert (1, ring.head) == (expander.events, ring.tail)


def test_a_second_thread_is_kept_out_of_a_run(twin: Any, expander: Any) -> None:
    """Where the interpreter's lock is not held, a call from elsewhere would be a race; it is an error instead."""
    if twin is reference:
        pytest.skip("the reference holds the interpreter's lock")
    ring = twin.Ring(2**16)
    thread = threading.Thread(target=expander.run, args=(ring,), daemon=True)
    thread.start()
    assert ring.put(events())
    deadline = time.monotonic() + SECONDS
    while not expander.records and time.monotonic() < deadline:
        time.sleep(0.001)
    for call in (expander.discard, expander.heads, lambda: expander.take(0), lambda: expander.feed(events())):
        with pytest.raises(cra.InternalError, match="at work in another thread"):
            call()
    expander.interrupt()
    thread.join(SECONDS)


# Both twins


def feed(expander: Any, record: bytes) -> str | None:
    """What is said about the record."""
    try:
        expander.feed(record)
    except cra.InvalidTraceEvent as error:
        return str(error)
    return None


BETWEEN = st.none() | st.just(b"discard")


def agreed_lines(stream: list[bytes | None]) -> bytes:
    """What both twins make of a stream, with a `take` at every None: the same lines, runs, counts, heads and refusals."""
    pure, compiled = reference.Expander(), compiled_twin().Expander()
    lines = b""
    for position, record in enumerate([*stream, None]):
        if record is None:
            batch, other = pure.take(position), compiled.take(position)
            assert (batch is None) == (other is None)
            if batch is not None:
                assert (batch.data, batch.runs, position) == (other.data, other.runs, other.position)
                lines += batch.data
        elif record == b"discard":
            assert pure.discard() == compiled.discard()
        else:
            assert feed(pure, record) == feed(compiled, record)
        assert pure.heads() == compiled.heads()
        assert (pure.records, pure.events) == (compiled.records, compiled.events)
    return lines


@given(st.lists(RECORDS | RECORDS | BETWEEN, max_size=25))
@example([events(("session.started", {})), template(), *[resolve("é" * 40, injected=[0, 1, 2])] * 30])
def test_twins_agree_on_any_stream_of_records(stream: list[bytes | None]) -> None:
    """And what they write is what the strict reader reads, the JSONL form writes, and the formula hashes."""
    lines = agreed_lines(stream)
    made = list(read_events(io.BytesIO(lines)))
    assert lines == b"".join(map(dump_line, made))
    assert all(cra.event_hash(event) == event.event_hash for event in made)


@given(st.lists(RECORDS | broken_records() | BETWEEN, max_size=25))
def test_twins_agree_on_broken_records(stream: list[bytes | None]) -> None:
    """Which of them are refused, why, and what the others are. The inside of a payload is not looked at."""
    agreed_lines(stream)


@given(st.lists(RECORDS | broken_records(), max_size=25), st.integers(1, 5000))
def test_twins_agree_on_a_drained_ring(stream: list[bytes], limit: int) -> None:
    """Sealing many records at once makes no difference, wherever a drain stops."""
    rings = Ring(2**17), compiled_twin().Ring(2**17)
    twins = reference.Expander(), compiled_twin().Expander()
    for record in stream:
        assert {True} == {ring.put(record) for ring in rings}
    while True:
        taken, other = (expander.drain(ring, limit) for expander, ring in zip(twins, rings))
        assert taken == other
        assert rings[0].position == rings[1].position
        batch, twin_batch = (expander.take(0) for expander in twins)
        assert (batch and batch.data) == (twin_batch and twin_batch.data)
        if not taken:
            break
    assert twins[0].refused == twins[1].refused
    assert twins[0].heads() == twins[1].heads()
