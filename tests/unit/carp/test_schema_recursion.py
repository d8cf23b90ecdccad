"""What a schema leads to: recursion has to follow the value, and what doubles the work has a bound."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

import pytest

from cra.carp.schema import Schema, SchemaProblem
from cra.carp.schema_recursion import MAX_IN_PLACE, MAX_UNEVALUATED

SELF = {"$ref": "#"}
ENDLESS = (
    "this schema applies itself to the same value again, without end; let it refer to itself for a part of the value only, "
    "below `properties` or `items`"
)
TOO_DEEP = (
    "`unevaluatedProperties` and `unevaluatedItems` next to other schemas are allowed up to 5 levels deep, and not in a schema "
    "that refers to itself, since each level doubles the work; name the properties and use `additionalProperties`"
)
TOO_LONG = (
    "more than 32 schemas apply to the same value here, each because of the one before (`$ref`, `allOf` and the like); refer to "
    "the last one directly"
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


def in_a_row(steps: int, keyword: str, last: dict[str, Any]) -> dict[str, Any]:
    """`last`, which applies to the value because of `steps` schemas around it, or before it."""
    if keyword in ("$ref", "$dynamicRef"):
        names = [f"s{n}" for n in range(steps)]
        schemas: list[dict[str, Any]] = [{keyword: f"#{name}"} for name in names] + [last]
        anchored = {name: {"$anchor": name, **schema} for name, schema in zip(names, schemas[1:])}
        return {**schemas[0], "$defs": anchored}
    schema = last
    for _ in range(steps):
        inner: Any = [{}, schema] if keyword in ("allOf", "anyOf", "oneOf") else schema
        schema = {keyword: {"a": inner} if keyword == "dependentSchemas" else inner}
        if keyword in ("then", "else"):
            schema["if"] = keyword == "then"
    return schema


IN_PLACE_KEYWORDS = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "$ref", "$dynamicRef"]


@pytest.mark.parametrize("keyword", IN_PLACE_KEYWORDS)
def test_schemas_for_the_same_value_are_at_most_32_in_a_row(keyword: str) -> None:
    """Each takes its part of the stack, once for every level of the value: 500 with a value of 127 levels ended the process."""
    Schema(in_a_row(MAX_IN_PLACE, keyword, {"type": "string"}))
    problem = problem_of(in_a_row(MAX_IN_PLACE + 1, keyword, {"type": "string"}))
    assert ("", TOO_LONG) == (problem.pointer, problem.message)


def test_a_row_is_counted_across_keywords_and_wherever_it_starts() -> None:
    """References and branches in one row; what applies to a part of the value begins a new one."""
    half = in_a_row(MAX_IN_PLACE // 2, "not", {"$ref": "#rest"})
    rest = in_a_row(MAX_IN_PLACE // 2, "allOf", {})
    document = {"properties": {"p": {"properties": {"q": half}}}, "$defs": {"rest": {"$anchor": "rest", **rest}}}
    assert ("/properties/p/properties/q", TOO_LONG) == ((at := problem_of(document)).pointer, at.message)
    parts = in_a_row(MAX_IN_PLACE, "not", {"items": in_a_row(MAX_IN_PLACE, "not", {"type": "string"})})
    assert Schema(parts).accepts(["x"])


def test_many_short_rows_are_fine() -> None:
    """It is the length of one row that counts, not how many there are, nor by how many ways a schema is reached."""
    layers = [[f"s{layer}-{n}" for n in range(20)] for layer in range(8)]
    schemas: dict[str, Any] = {name: {} for name in layers[-1]}
    for layer, after in pairwise(layers):
        branches = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in after[:3]]}
        schemas |= dict.fromkeys(layer, branches)
    assert Schema({"properties": {name: {"$ref": f"#/$defs/{name}"} for name in schemas}, "$defs": schemas}).accepts({})


DEEPEST = """
import sys, threading
from cra.carp.schema import Schema

names = [f"s{n}" for n in range(17)]
steps = {name: {"anyOf": [False, {"$ref": f"#/$defs/{after}"}]} for name, after in zip(names, names[1:])}
schema = Schema({"$ref": "#/$defs/s1", "$defs": {**steps, "s16": {"properties": {"a": {"allOf": [{"$ref": "#/$defs/s1"}]}}}}})
value = {}
for _ in range(126):
    value = {"a": value}

def validate():
    print(schema.accepts(value), schema.first_error(value))

threading.stack_size(4 * 1024 * 1024)
thread = threading.Thread(target=validate)
thread.start()
thread.join()
"""


def test_the_longest_row_and_the_deepest_value_leave_most_of_the_stack() -> None:
    """Half of the stack that a thread usually has is enough, in a process of its own because it would be the end of this one."""
    done = subprocess.run([sys.executable, "-c", DEEPEST], capture_output=True, text=True, timeout=120, check=False)
    assert (0, "True None\n", "") == (done.returncode, done.stdout, done.stderr)


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
