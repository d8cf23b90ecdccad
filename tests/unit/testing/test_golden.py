"""Comparison with golden cases, and the traces made for tests. PROTOCOL: Golden comparison."""

from __future__ import annotations

from typing import Any

import pytest

from cra.reference.chain import verify_chain
from cra.testing.golden import compare_golden, compare_golden_trace
from cra.testing.traces import make_trace


@pytest.mark.parametrize(
    ("actual", "golden"),
    [
        (1, 1),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": "any"}, {"a": "$dynamic"}),
        ({"a": {"goal": "x", "agent_id": "y"}}, {"a": {"goal": "z", "agent_id": "w"}}),
        ({}, {"goal": "z"}),
        ({}, {"$comment": "a remark"}),
        ([1, [None]], [1, [None]]),
        ([1, 2], ["$dynamic", 2]),
    ],
)
def test_what_a_golden_case_leaves_open_matches(actual: Any, golden: Any) -> None:
    """`$dynamic` values, keys that the golden does not have, remarks, and the two contradicted keys."""
    assert [] == compare_golden(actual, golden)


@pytest.mark.parametrize(
    ("actual", "golden", "expected"),
    [
        (1, 2, [": 2 was expected, not 1"]),
        (1, True, [": True was expected, not 1"]),
        (1, 1.0, [": 1.0 was expected, not 1"]),
        ({}, {"a/b": "$dynamic"}, ["/a~1b: missing"]),
        ([{"x": 1, "y": 1}], [{"x": 2, "y": 2}], ["/0/x: 2 was expected, not 1", "/0/y: 2 was expected, not 1"]),
        ([1], [1, 2], [": a list of 2 items was expected, not 1 items"]),
        ({"a": None}, {"a": []}, ["/a: a list of 0 items was expected, not NoneType"]),
        ({"a": []}, {"a": {}}, ["/a: an object was expected, not list"]),
    ],
)
def test_every_mismatch_is_named_by_its_place(actual: Any, golden: Any, expected: list[str]) -> None:
    """A JSON pointer and a sentence each; numbers have the golden's type."""
    assert expected == compare_golden(actual, golden)


def test_a_trace_may_go_on_after_its_golden_part() -> None:
    """Events and mappings; a trace that ends too early does not match."""
    events = make_trace([("session.started", {"goal": "x"}), ("a.b", {"n": 1})])
    golden = [{"event_type": "session.started", "event_id": "$dynamic", "payload": {"goal": "y"}}]
    assert [] == compare_golden_trace(events, golden)
    assert [] == compare_golden_trace([event.to_dict() for event in events], golden)
    assert [": a list of 3 items was expected, not 2 items"] == compare_golden_trace(events, golden * 3)


def test_made_traces_are_valid_and_the_same_every_time() -> None:
    """A chain that verifies; another session number is another session with other ids."""
    contents: list[tuple[str, dict[str, Any]]] = [("a.b", {"n": 1}), ("a.c", {})]
    events = make_trace(contents)
    assert verify_chain(events).valid
    assert events == make_trace(contents)
    others = make_trace(contents, session=2)
    assert events[0].session_id != others[0].session_id
    assert not {event.event_id for event in events} & {event.event_id for event in others}
    assert [] == make_trace([])
