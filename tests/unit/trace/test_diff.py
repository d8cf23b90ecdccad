"""Comparison of two traces. PROTOCOL: Diff."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.errors import InvalidTraceEvent
from cra.testing.traces import make_trace
from cra.trace.diff import Difference, diff

Content = tuple[str, dict[str, Any]]

CONTENTS: list[Content] = [
    ("session.started", {"agent_id": "bot", "goal": "close stale issues"}),
    ("carp.request.received", {"request_id": "r1", "operation": "resolve", "goal": "g"}),
    ("policy.evaluated", {"policy_id": "allow-read", "result": "allow", "action_id": "ticket.get"}),
    ("action.executed", {"action_id": "ticket.get", "execution_id": "e1", "duration_ms": 12, "result_hash": "ab"}),
    ("session.ended", {"reason": "completed", "duration_ms": 400, "action_count": 1}),
]


def entries(a: list[Content], b: list[Content]) -> list[tuple[int, str, str, Any, Any]]:
    result = diff(make_trace(a), make_trace(b, session=2))
    return [(entry.index, entry.path, entry.kind, entry.a, entry.b) for entry in result.entries]


def changed(index: int, **members: Any) -> list[Content]:
    """CONTENTS with some members of one payload replaced."""
    contents = list(CONTENTS)
    contents[index] = (contents[index][0], {**contents[index][1], **members})
    return contents


def grade(a: list[Content], b: list[Content]) -> str:
    return diff(make_trace(a), make_trace(b, session=2)).grade


def test_a_trace_is_identical_to_itself() -> None:
    """No entries; Events and mappings alike; two empty traces too."""
    events = make_trace(CONTENTS)
    result = diff(events, [event.to_dict() for event in events])
    assert ("identical", ()) == (result.grade, result.entries)
    assert "identical" == diff([], []).grade


def test_ids_times_and_chain_hashes_are_ignored() -> None:
    """Another session with the same content, other payload ids, and other times."""
    other = changed(1, request_id="r2")
    other[3] = (other[3][0], {**other[3][1], "execution_id": "e2"})
    assert "identical" == grade(CONTENTS, other)
    expiring: Content = ("approval.requested", {"approval_id": "x", "expires_at": "2026"})
    assert "identical" == grade([expiring], [("approval.requested", {"approval_id": "y", "expires_at": "2027"})])


def test_what_stands_behind_an_id_is_compared() -> None:
    """An id or a time that differs ends nothing: the members after it count."""
    one: Content = ("approval.requested", {"approval_id": "x", "reason": "a"})
    assert [(0, "/payload/reason", "changed", "a", "b")] == entries(
        [one], [(one[0], {"approval_id": "y", "reason": "b"})]
    )


def test_of_equal_events_the_last_is_the_one_too_many() -> None:
    """What both begin with is paired first."""
    one = CONTENTS[2]
    assert [(1, "", "removed")] == [entry[:3] for entry in entries([one, one], [one])]
    assert [(1, "", "added")] == [entry[:3] for entry in entries([one], [one, one])]


def test_other_durations_are_semantically_equivalent() -> None:
    """Measured times differ from run to run; the entries still show them."""
    assert "semantically_equivalent" == grade(CONTENTS, changed(4, duration_ms=401))
    assert [(4, "/payload/duration_ms", "measured", 400, 401)] == entries(CONTENTS, changed(4, duration_ms=401))
    for name in ("evaluation_ms", "retry_after", "reset_after", "uptime_seconds", "wait_us", "wait_ns"):
        assert "semantically_equivalent" == grade([("a.b", {name: 1})], [("a.b", {name: 2.5})])


@pytest.mark.parametrize(
    "name", ["result_hash", "parameters_hash", "policy_set", "policy_id", "ttl_seconds", "agent_id"]
)
def test_content_is_compared(name: str) -> None:
    """Hashes of values stand for the values; names and configured times are content."""
    assert [(0, f"/payload/{name}", "changed", "1", "2")] == entries([("a.b", {name: "1"})], [("a.b", {name: "2"})])
    assert "different" == grade([("a.b", {name: "1"})], [("a.b", {name: "2"})])


def test_an_id_that_only_one_trace_has_is_a_difference() -> None:
    """Ids are ignored, whether there is one is not."""
    assert [(0, "/payload/approval_id", "added", None, "x")] == entries([("a.b", {})], [("a.b", {"approval_id": "x"})])
    assert [(0, "/payload/approval_id", "removed", "x", None)] == entries(
        [("a.b", {"approval_id": "x"})], [("a.b", {})]
    )


def test_a_duration_that_is_no_number_is_a_change() -> None:
    """Only two numbers are two measurements; a bool is none."""
    for value in ("12", None, True, [12]):
        assert "different" == grade([("a.b", {"x_ms": 12})], [("a.b", {"x_ms": value})])


def test_what_the_host_put_into_a_payload_is_compared_by_value() -> None:
    """Only the protocol's own members are ids and times: a `request_id` inside of `condition_inputs` is content."""
    a, b = ({"condition_inputs": {"request_id": value, "at_at": value, "x_ms": 1}} for value in ("1", "2"))
    expected = [
        (0, "/payload/condition_inputs/at_at", "changed", "1", "2"),
        (0, "/payload/condition_inputs/request_id", "changed", "1", "2"),
    ]
    assert expected == entries([("a.b", a)], [("a.b", b)])


def test_places_are_json_pointers_into_the_event() -> None:
    """Objects by key (escaped), lists by index; what one side lacks is added or removed."""
    a = {"a/b": [1, {"x": 1}, 3], "same": [1]}
    b = {"a/b": [1, {"y": 1}], "same": [1]}
    expected = [
        (0, "/payload/a~1b/1/x", "removed", 1, None),
        (0, "/payload/a~1b/1/y", "added", None, 1),
        (0, "/payload/a~1b/2", "removed", 3, None),
    ]
    assert expected == entries([("a.b", a)], [("a.b", b)])


@pytest.mark.parametrize(
    ("a", "b", "same"), [(1, 1.0, True), (0, -0.0, True), (1, True, False), (None, False, False), ([], {}, False)]
)
def test_values_are_equal_when_their_canonical_json_is(a: Any, b: Any, same: bool) -> None:
    """Numbers by value; `true` is not 1, and null is not false."""
    assert same == (grade([("a.b", {"x": a})], [("a.b", {"x": b})]) == "identical")


def test_null_is_not_absent() -> None:
    """A member that is null is there."""
    assert [(0, "/payload/x", "added", None, None)] == entries([("a.b", {})], [("a.b", {"x": None})])


def test_events_of_different_types_are_one_entry() -> None:
    """Their payloads are not compared."""
    assert [(0, "/event_type", "changed", "a.b", "a.c")] == entries([("a.b", {"x": 1})], [("a.c", {"y": 2})])


@given(st.integers(0, 4), st.booleans())
def test_one_event_more_is_one_entry(index: int, in_b: bool) -> None:
    """What both traces begin and end with is paired, durations aside, wherever the event is."""
    extra: Content = ("action.denied", {"action_id": "ticket.delete", "reason": "no"})
    longer = changed(4, duration_ms=9)
    longer.insert(index, extra)
    whole = {"event_type": extra[0], "payload": extra[1]}
    if in_b:
        found = entries(CONTENTS, longer)
        assert [(index, "", "added", None, whole), (4, "/payload/duration_ms", "measured", 400, 9)] == found
    else:
        found = entries(longer, CONTENTS)
        assert [(index, "", "removed", whole, None), (5, "/payload/duration_ms", "measured", 9, 400)] == found


def test_a_trace_against_nothing_is_all_removed() -> None:
    """And nothing against a trace is all added."""
    assert ["removed"] * 5 == [kind for _, _, kind, _, _ in entries(CONTENTS, [])]
    assert ["added"] * 5 == [kind for _, _, kind, _, _ in entries([], CONTENTS)]


PAYLOADS = st.dictionaries(st.sampled_from(["policy_id", "x_ms", "request_id", "n"]), st.integers(0, 2), max_size=3)
TRACES = st.lists(st.tuples(st.sampled_from(["a.b", "a.c"]), PAYLOADS), max_size=5)


@given(TRACES, TRACES)
def test_the_grade_is_symmetric_and_follows_from_the_entries(a: list[Content], b: list[Content]) -> None:
    """Swapping the traces swaps the sides and changes no grade."""
    kinds = {entry[2] for entry in entries(a, b)}
    expected = "different" if kinds - {"measured"} else "semantically_equivalent" if kinds else "identical"
    assert expected == grade(a, b)
    assert expected == grade(b, a)


@given(TRACES)
def test_every_trace_is_identical_to_itself(contents: list[Content]) -> None:
    """Nothing in a trace differs from itself."""
    assert "identical" == grade(contents, contents)


def test_a_difference_can_be_written_as_json() -> None:
    """`to_dict` gives plain types with the names of the interface."""
    result = diff(make_trace(CONTENTS), make_trace(changed(0, goal="other")))
    entry = {"index": 0, "path": "/payload/goal", "kind": "changed", "a": "close stale issues", "b": "other"}
    assert {"grade": "different", "entries": [entry]} == json.loads(json.dumps(result.to_dict()))
    assert (Difference(**entry),) == result.entries


@pytest.mark.parametrize(
    ("event", "path"),
    [(None, "/1"), ({}, "/1"), ({**make_trace(CONTENTS)[0].to_dict(), "payload": {"x": [{1}]}}, "/1/payload/x/0")],
)
def test_what_is_no_event_is_refused(event: Any, path: str) -> None:
    """`InvalidTraceEvent` with the index: a comparison of something else would mean nothing."""
    good = make_trace(CONTENTS)[0]
    for pair in (([good, event], [good]), ([good], [good, event])):
        with pytest.raises(InvalidTraceEvent) as caught:
            diff(*pair)
        assert path == caught.value.path
        assert ": None" not in caught.value.message
