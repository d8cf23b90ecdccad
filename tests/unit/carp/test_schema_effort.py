"""The first error: found where the work is bounded; otherwise the value is refused all the same, without the place."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.carp.schema import Schema
from cra.carp.schema_effort import explainable

SELF = {"$ref": "#"}
UNEXPLAINED = ("", "the value does not satisfy the schema; it is too large, or nested too deep, to say where")
NO_BRANCH = "the value is not valid under any of the schemas listed in the 'anyOf' keyword"


def expressions(keyword: str = "anyOf") -> dict[str, Any]:
    """An ordinary recursive schema: expressions, told apart by their operator."""
    operand = {"$ref": "#/$defs/e"}
    operators = [
        {
            "type": "object",
            "properties": {"op": {"const": op}, "left": operand, "right": operand},
            "required": ["op", "left"],
        }
        for op in ("and", "or", "not")
    ]
    field = {"type": "object", "properties": {"field": {"type": "string"}}, "required": ["field"]}
    return {"properties": {"filter": operand}, "$defs": {"e": {keyword: [*operators, field]}}}


def nested(levels: int, leaf: Any, name: str = "left", **others: Any) -> Any:
    for _ in range(levels):
        leaf = {name: leaf, **others}
    return leaf


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
@pytest.mark.parametrize("levels", [6, 9, 100])
def test_a_deep_value_of_a_recursive_union_is_refused_at_once(keyword: str, levels: int) -> None:
    """219 bytes took 12 s and 1.3 GB: an error for every way to choose a branch at every level."""
    schema = Schema(expressions(keyword))
    value = {"filter": nested(levels, {"field": 1}, op="and")}
    started = time.perf_counter()
    assert not schema.accepts(value)
    assert UNEXPLAINED == schema.first_error(value)
    assert time.perf_counter() - started < 30
    assert schema.first_error({"filter": nested(levels, {"field": "x"}, op="and")}) is None


def test_a_shallow_one_is_explained() -> None:
    """As long as it is not too much work, the place is named."""
    assert ("/filter", NO_BRANCH) == Schema(expressions()).first_error({"filter": nested(2, {"field": 1}, op="and")})


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ({"anyOf": [{"items": {"type": "string"}}, {"items": {"type": "object"}}]}, [1] * 100_000),
        ({"oneOf": [{"prefixItems": [{"enum": [f"option {n}" for n in range(100_000)]}]}] * 3}, [1]),
        ({"anyOf": [{"items": {"type": "object"}}, {"type": "string"}]}, ["x" * 1_000_000] * 200),
        ({"anyOf": [{"additionalProperties": {"items": {"type": "object"}}}, {"type": "null"}]}, {"k" * 500_000: [1] * 100}),
        ({"anyOf": [{"maxItems": 1, "minItems": 10**6 + n} for n in range(100)]}, [1] * 10_000),
        ({"anyOf": [{"propertyNames": {"maxLength": 1}}] * 2, "type": "null"}, {f"name {n}": 1 for n in range(10_000)}),
        ({"properties": {"a": SELF, "x": {"type": "string"}}, "patternProperties": {"^a": SELF}}, nested(40, {"x": 1}, "a")),
        ({"anyOf": [{"items": {"additionalProperties": False}}, {"const": 1}]}, [{f"{n}": 1 for n in range(1000)}] * 900),
    ],
    ids=["many errors", "enum", "long strings", "long names", "large lists", "names", "two ways", "unexpected names"],
)  # fmt: skip
def test_too_many_or_too_large_errors_are_not_built(document: dict[str, Any], value: Any) -> None:
    """The value is not satisfied, and it does not take long to say so."""
    schema = Schema(document)
    started = time.perf_counter()
    assert UNEXPLAINED == schema.first_error(value, plain=True)
    assert time.perf_counter() - started < 30


def test_without_branches_and_references_every_value_is_explained() -> None:
    """There is one error, however large the value."""
    schema = Schema({"items": {"type": "integer"}})
    assert ("/300000", 'the value is not of type "integer"') == schema.first_error([1] * 300_000 + ["x"])


@pytest.mark.parametrize(
    ("document", "value", "place"),
    [
        ({"properties": {"a": {"$ref": "#/$defs/n"}}}, {"a": "x", "b": 1}, "/a"),
        ({"additionalProperties": {"$ref": "#/$defs/n"}}, {"b": "x"}, "/b"),
        ({"prefixItems": [{}, {"$ref": "#/$defs/n"}, {}]}, [1, "x"], "/1"),
        ({"items": {"$ref": "#/$defs/n"}}, [1, "x"], "/1"),
        ({"propertyNames": {"$ref": "#/$defs/n"}}, {"a": 1}, ""),
        ({"properties": {"a": {"$ref": "#/$defs/n"}}, "items": {}, "type": "null"}, 3, ""),
    ],
)
def test_the_place_is_found_behind_references(document: dict[str, Any], value: Any, place: str) -> None:
    """Whatever keyword leads there."""
    found = Schema({**document, "$defs": {"n": {"type": "number"}}}).first_error(value)
    assert found is not None
    assert place == found[0]


def test_an_error_that_the_validator_does_not_find_is_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should its two answers ever differ, the value is refused."""

    class Torn:
        def is_valid(self, value: object) -> bool:
            return False

        def validate(self, value: object) -> None:
            return None

    schema = Schema({})
    schema._validator = Torn()  # type: ignore[assignment]
    assert UNEXPLAINED == schema.first_error(1)


VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["op", "left", "field"]), inner),
    max_leaves=8,
)


@given(VALUES)
def test_small_values_are_always_explainable(value: Any) -> None:
    """The bound is for what is out of the ordinary; what is accepted has no error, what is not has one."""
    document = {"items": SELF, "properties": {"field": {"type": "string"}, "left": SELF}}
    schema = Schema(document)
    assert explainable(document, value)
    assert schema.accepts(value) == (schema.first_error(value) is None)
