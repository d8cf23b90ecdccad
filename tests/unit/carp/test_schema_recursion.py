"""What a schema leads to: recursion has to follow the value, and what doubles the work has a bound."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cra.carp.schema import Schema, SchemaProblem
from cra.carp.schema_recursion import MAX_UNEVALUATED

SELF = {"$ref": "#"}
ENDLESS = (
    "this schema applies itself to the same value again, without end; let it refer to itself for a part of the value only, "
    "below `properties` or `items`"
)
TOO_DEEP = (
    "`unevaluatedProperties` and `unevaluatedItems` next to other schemas are allowed up to 5 levels deep, and not in a schema "
    "that refers to itself, since each level doubles the work; name the properties and use `additionalProperties`"
)


def problem_of(document: dict[str, Any]) -> SchemaProblem:
    with pytest.raises(SchemaProblem) as caught:
        Schema(document)
    return caught.value


def closed(levels: int, keyword: str = "allOf") -> dict[str, Any]:
    """Schemas inside one another that each refuse what the one inside has not named."""
    schema: dict[str, Any] = {"properties": {"a": {}}}
    for _ in range(levels):
        inner = [schema] if keyword in ("allOf", "anyOf", "oneOf") else schema
        schema = {keyword: inner, "unevaluatedProperties": {}}
    return schema


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"not": SELF}, ""),
        (SELF, ""),
        ({"allOf": [{"type": "object"}, SELF]}, ""),
        ({"if": {"type": "object"}, "then": {"anyOf": [SELF]}}, ""),
        ({"if": {"oneOf": [SELF]}}, ""),
        ({"if": {}, "else": SELF}, ""),
        ({"dependentSchemas": {"a": SELF}}, ""),
        ({"$dynamicRef": "#n", "$dynamicAnchor": "n"}, ""),
        ({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}, "/$defs/a"),
        (
            {
                "$ref": "#/$defs/a",
                "$defs": {"a": {"$ref": "#b"}, "b": {"$anchor": "b", "allOf": [{"type": "string"}, {"$ref": "#/$defs/a"}]}},
            },
            "/$defs/a",
        ),
    ],
)  # fmt: skip
def test_a_schema_that_applies_itself_to_the_same_value_is_refused(document: dict[str, Any], pointer: str) -> None:
    """It would answer, and contradict itself: a deny with the condition `{"not": {"$ref": "#"}}` never held."""
    problem = problem_of(document)
    assert (pointer, ENDLESS) == (problem.pointer, problem.message)


@pytest.mark.parametrize(
    "document",
    [
        {"properties": {"a": SELF}},
        {"items": SELF, "prefixItems": [SELF], "contains": SELF, "type": ["array", "string"]},
        {"additionalProperties": {"not": {"properties": {"a": SELF}}}},
        {"propertyNames": SELF},
        {
            "anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {}},
        },
        {"unevaluatedProperties": SELF},
    ],
)  # fmt: skip
def test_a_schema_that_applies_itself_to_a_part_is_fine(document: dict[str, Any]) -> None:
    """The parts come to an end; so does the same schema by two ways."""
    assert Schema(document).accepts("x")


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf", "if"])
def test_unevaluated_members_have_a_bounded_depth(keyword: str) -> None:
    """Each level evaluates what is inside it again: 18 of them took seven seconds."""
    assert Schema(closed(MAX_UNEVALUATED, keyword)).accepts({"a": 1, "b": 2})
    problem = problem_of(closed(MAX_UNEVALUATED + 1, keyword))
    assert ("", TOO_DEEP) == (problem.pointer, problem.message)


def test_unevaluated_members_are_counted_through_references_and_members() -> None:
    """It is the depth that counts, whatever leads there; not how many there are."""
    level = {f"c{n}": {"$ref": f"#/$defs/c{n + 1}", "unevaluatedItems": {}} for n in range(MAX_UNEVALUATED)}
    chain = {**level, f"c{MAX_UNEVALUATED}": {}}
    assert Schema({"properties": {"a": {"$ref": "#/$defs/c0"}}, "$defs": chain}).accepts({"a": []})
    assert "/$defs/c0" == problem_of({"$defs": {**chain, f"c{MAX_UNEVALUATED}": closed(1)}}).pointer
    siblings = {f"p{n}": closed(1) for n in range(4 * MAX_UNEVALUATED)}
    assert Schema({"properties": siblings, "anyOf": [closed(2)], "unevaluatedProperties": False}).accepts({})


def test_unevaluated_members_in_a_schema_that_refers_to_itself_are_refused() -> None:
    """There the depth is that of the value."""
    problem = problem_of({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}, "anyOf": [{}], "unevaluatedItems": False}}})
    assert ("/$defs/a", TOO_DEEP) == (problem.pointer, problem.message)


def test_the_checks_take_linear_time() -> None:
    """Ten thousand subschemas that refer to one another, each with unevaluated members."""
    chain = {f"c{n}": {"properties": {"x": {"$ref": f"#/$defs/c{n + 1}"}}, "unevaluatedItems": {}} for n in range(2500)}
    started = time.perf_counter()
    assert Schema({"$ref": "#/$defs/c0", "$defs": {**chain, "c2500": {}}}).accepts({"x": {}})
    assert time.perf_counter() - started < 30
