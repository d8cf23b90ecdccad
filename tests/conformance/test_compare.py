"""Expectations and their wildcards, as docs/conformance.md has them."""

from __future__ import annotations

from typing import Any

import pytest

from cra.conformance.compare import differences


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (1, 1.0),
        ("a", "a"),
        (None, None),
        (True, True),
        ({}, {"a": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ([1, {"a": 1}], [1, {"a": 1, "b": 2}]),
        ("$dynamic", None),
        ({"a": "$dynamic"}, {"a": [1]}),
        ({"a": "$absent"}, {"b": 1}),
        ({"a": {"$same": "x"}, "b": {"$same": "x"}}, {"a": [1], "b": [1.0]}),
        ({"$contains": [1, {"a": 1}]}, [{"a": 1, "b": 2}, 2, 1]),
        ({"$contains": []}, []),
        ({"$exactly": {"a": [1]}}, {"a": [1.0]}),
    ],
)
def test_equal(expected: Any, actual: Any) -> None:
    """These answers say what is expected."""
    assert [] == differences(expected, actual)


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        (1, 2, ": 1 was expected, not 2"),
        (1, True, ": 1 was expected, not True"),
        (0, False, ": 0 was expected, not False"),
        (True, 1, ": True was expected, not 1"),
        (1, "1", ": 1 was expected, not '1'"),
        (None, {}, ": None was expected, not {}"),
        ({"a": 1}, [], ": an object was expected, not []"),
        ({"a": 1}, {}, "/a: missing"),
        ({"a": None}, {}, "/a: missing"),
        ({"a": "$dynamic"}, {}, "/a: missing"),
        ({"a": "$absent"}, {"a": None}, "/a: nothing was expected, not None"),
        ([1], [1, 2], ": a list of 1 was expected, [1], not [1, 2]"),
        ([1], {"0": 1}, ": a list of 1 was expected, [1], not {'0': 1}"),
        ([{"a": [1]}], [{"a": [2]}], "/0/a/0: 1 was expected, not 2"),
        ([{"$same": "x"}, {"$same": "x"}], [1, 2], "/1: the same value as before was expected, 1, not 2"),
        ({"$contains": [3]}, [1, 2], ": nothing in [1, 2] is 3"),
        ({"$contains": [3]}, 3, ": a list was expected, not 3"),
        ({"$exactly": {"a": 1}}, {"a": 1, "b": 2}, ": exactly {'a': 1} was expected, not {'a': 1, 'b': 2}"),
        ({"$exactly": [1]}, [1, 2], ": exactly [1] was expected, not [1, 2]"),
    ],
)
def test_different(expected: Any, actual: Any, difference: str) -> None:
    """These do not, and the difference names the place."""
    assert [difference] == differences(expected, actual)
