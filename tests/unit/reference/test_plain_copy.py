"""The compiled twin of `cra.strictjson.plain_copy`: the same copies, the same refusals. What these are: test_strictjson."""

from __future__ import annotations

import sys
from collections import OrderedDict
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cra.strictjson import MAX_DEPTH, MAX_INTEGER, JSONProblem
from cra.strictjson import plain_copy as reference

compiled = pytest.importorskip("cra._speedups").plain_copy


class Text(str):
    __slots__ = ()


class Number(IntEnum):
    ONE = 1


odd = st.sampled_from(
    [Text("text"), Number.ONE, OrderedDict(a=1), (1, 2), {1: 2}, {Text("key"): 1}, b"bytes", object, 1j, {"\ud800": 1}]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER - 2, MAX_INTEGER + 2)
    | st.sampled_from([MAX_INTEGER, -MAX_INTEGER, MAX_INTEGER + 1, 2**63, -(2**63), -(2**63) - 1])
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)


plain = st.recursive(scalars, containers, max_leaves=20)
anything = st.recursive(scalars | odd, containers, max_leaves=20)


def outcome(copy: Any, value: object) -> object:
    """What a twin makes of a value, types and order included, or how it refuses it."""
    try:
        return described(copy(value, "/at"))
    except JSONProblem as problem:
        return problem.message, problem.position


def described(value: Any) -> object:
    if isinstance(value, dict):
        return dict, [(type(key), key, described(member)) for key, member in value.items()]
    if isinstance(value, list):
        return list, [described(item) for item in value]
    return type(value), repr(value)


@given(plain | anything)
@example({"a": [1.0, -0.0, {"é€𝄞": None}]})
@example([["\udfff"]])
def test_twins_agree(value: object) -> None:
    """On every value, however odd."""
    assert outcome(reference, value) == outcome(compiled, value)


def nested(levels: int) -> Any:
    value: Any = []
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return value


def shared(levels: int) -> Any:
    """Few objects, and twice as many values with every level."""
    value: Any = []
    for _ in range(levels):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value",
    [nested(MAX_DEPTH), nested(MAX_DEPTH + 1), shared(18), shared(20)],
    ids=["deep", "too deep", "many", "too many"],
)
def test_twins_agree_on_the_bounds(value: object) -> None:
    """As deep and as many as may be, and one level or value more."""

    def refusal(copy: Any) -> object:
        try:
            return copy(value) is value
        except JSONProblem as problem:
            return str(problem)

    assert refusal(reference) == refusal(compiled)


def test_a_copy_shares_nothing() -> None:
    """Every container is new, and the original is untouched and no longer referred to."""
    inner: dict[str, Any] = {"b": [1]}
    value = {"a": inner, "c": "text"}
    before = sys.getrefcount(inner)
    copy = compiled(value)
    assert value == copy
    assert before == sys.getrefcount(inner)
    copy["a"]["b"].append(2)
    assert {"a": {"b": [1]}, "c": "text"} == value
