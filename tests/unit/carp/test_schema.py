"""Schemas: compiled offline and in linear time; what would be fetched, ignored or misread is refused; validation never raises."""

from __future__ import annotations

import copy
import json
import pickle
import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.carp.schema import Schema, SchemaProblem, unknown_keywords
from cra.carp.schema_check import MAX_SUBSCHEMAS


def problem_of(document: Any, *, strict: bool = False) -> SchemaProblem:
    with pytest.raises(SchemaProblem) as caught:
        Schema(document, strict=strict)
    return caught.value


def doubling(levels: int) -> dict[str, Any]:
    """A schema whose references double at every level."""
    definitions: dict[str, Any] = {
        f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}, {"$ref": f"#/$defs/a{level + 1}"}]}
        for level in range(levels)
    }
    return {"$ref": "#/$defs/a0", "$defs": {**definitions, f"a{levels}": {"type": "string"}}}


def test_a_value_is_accepted_or_has_a_first_error() -> None:
    """The first violation is named with its pointer into the value and a sentence."""
    schema = Schema({"properties": {"amount": {"type": "number", "maximum": 100}}, "required": ["amount"]})
    assert schema.accepts({"amount": 100})
    assert schema.first_error({"amount": 100}) is None
    assert not schema.accepts({"amount": 101})
    assert ("/amount", "the value is greater than the maximum of 100") == schema.first_error({"amount": 101})
    assert ("", '"amount" is a required property') == schema.first_error({})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just((1,)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(json_values)
def test_validation_never_raises(value: object) -> None:
    """Whatever the value is, `accepts` answers, and `first_error` agrees with it."""
    schema = Schema({"anyOf": [{"type": "string", "pattern": "^a"}, {"type": "integer"}, {"items": {"minimum": 3}}]})
    assert schema.accepts(value) == (schema.first_error(value) is None)


@pytest.mark.parametrize(
    ("value", "pointer", "sentence"),
    [
        ({"a": (1,)}, "/a", "a value of type tuple is no JSON value"),
        ([float("nan")], "/0", "NaN and infinities are no JSON numbers"),
        ([10**30], "/0", "an integer is outside ±(2^64 - 1)"),
        (["\ud800"], "/0", "a lone surrogate is no character"),
    ],
)
def test_what_is_no_json_value_satisfies_no_schema(value: object, pointer: str, sentence: str) -> None:
    """Even the empty schema refuses what could not be written down: it fails closed."""
    assert not Schema({}).accepts(value)
    assert (pointer, sentence) == Schema({}).first_error(value)


def test_a_plain_value_is_not_copied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `plain` the answers are the same, and the value is looked at as it is."""
    schema = Schema({"properties": {"a": {"type": "string"}}})
    monkeypatch.setattr("cra.carp.schema.plain_copy", None)
    assert schema.accepts({"a": "x"}, plain=True)
    assert not schema.accepts({"a": 3}, plain=True)
    assert schema.first_error({"a": "x"}, plain=True) is None
    assert ("/a", 'the value is not of type "string"') == schema.first_error({"a": 3}, plain=True)


def test_a_deeply_nested_value_is_refused_before_validation() -> None:
    """A value of 100,000 levels, which would exhaust the validator's stack, satisfies no schema."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert not Schema({"items": {"$ref": "#"}}).accepts(value)


def test_integers_of_64_bits_are_compared_exactly() -> None:
    """2^64−1 is not rounded to a double."""
    schema = Schema({"maximum": 2**64 - 2})
    assert schema.accepts(2**64 - 2)
    assert not schema.accepts(2**64 - 1)


@pytest.mark.parametrize(
    "member",
    [
        "type",
        "enum",
        "pattern",
        "format",
        "anyOf",
        "never",
        "not",
        "propertyNames",
        "uniqueItems",
        "const",
        "maxLength",
    ],
)
def test_sentences_show_no_values(member: str) -> None:
    """What was passed may be a secret: no sentence contains it."""
    schema = Schema(
        {
            "properties": {
                "type": {"type": "number"},
                "enum": {"enum": ["x"]},
                "pattern": {"pattern": "^a"},
                "format": {"format": "email"},
                "anyOf": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                "never": False,
                "not": {"not": {"type": "string"}},
                "propertyNames": {"type": "object", "propertyNames": {"pattern": "^a"}},
                "uniqueItems": {"type": "array", "uniqueItems": True},
                "const": {"const": 3},
                "maxLength": {"maxLength": 2},
            }
        }
    )
    found = schema.first_error({member: "hunter2-secret"})
    assert found is not None
    assert f"/{member}" == found[0]
    assert "hunter2" not in found[1]


def test_sentences_are_short() -> None:
    """A sentence that names a property of 4,000 characters is cut."""
    found = Schema({"properties": {"a": {}}, "additionalProperties": False}).first_error({"name" * 1000: 1})
    assert found is not None
    assert 301 == len(found[1])


@pytest.mark.parametrize("text", ["a@example.com", "2026-01-01"])
def test_format_is_asserted(text: str) -> None:
    """PROTOCOL: Parameter conditions: `format` is asserted, not an annotation."""
    assert Schema({"anyOf": [{"format": "email"}, {"format": "date"}]}).accepts(text)
    assert not Schema({"anyOf": [{"format": "email"}, {"format": "date"}]}).accepts(text + "!")


def test_patterns_run_in_linear_time() -> None:
    """A pattern that makes a backtracking engine run for ever takes no time."""
    started = time.perf_counter()
    assert not Schema({"pattern": "^(a+)+$"}).accepts("a" * 100_000 + "!")
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize(
    ("document", "pointer", "sentence"),
    [
        (True, "", "a schema must be a JSON object"),
        ({"const": (1,)}, "/const", "a value of type tuple is no JSON value"),
        ({"properties": {1: {}}}, "/properties", "a key of type int is no string"),
        ({"properties": {"a/b": {"type": 3}}}, "/properties/a~1b/type", None),
        ({"type": "objekt"}, "/type", None),
        ({"required": "x"}, "/required", 'not a valid JSON Schema: the value is not of type "array"'),
        ({"properties": []}, "/properties", None),
        ({"allOf": {}}, "/allOf", None),
        ({"not": 3}, "/not", None),
        ({"$ref": 3}, "/$ref", None),
        (
            {"$ref": "#a", "$defs": {"x": {"$anchor": "a"}, "y": {"$dynamicAnchor": "a"}}},
            "/$defs/y",
            "the anchor 'a' is used above already; give this one another name",
        ),
        ({"minLength": -1}, "/minLength", None),
        (
            {"items": {"pattern": "(?=a)b"}},
            "/items/pattern",
            "not a pattern that a linear-time engine runs: it has no look-around and no back-references",
        ),
        ({"patternProperties": {"(a)\\1": {}}}, "/patternProperties/(a)\\1", None),
        ({"pattern": "(a{1000}){1000}"}, "/pattern", None),
        ({"items": [{}]}, "/items", "`items` as a list is `prefixItems` in JSON Schema 2020-12"),
        (
            {"not": {"additionalItems": False}},
            "/not/additionalItems",
            "`additionalItems` is `items` next to `prefixItems` in JSON Schema 2020-12",
        ),
        ({"dependencies": {}}, "/dependencies", None),
        ({"$recursiveRef": "#"}, "/$recursiveRef", None),
        ({"allOf": [{"$id": "a"}]}, "/allOf/0/$id", "`$id` below the root is not supported; use `$defs`"),
        ({"$ref": "#/$defs/a"}, "/$ref", "the reference '#/$defs/a' leads to no schema of the document"),
        ({"$ref": "#a", "$defs": {"a": {}}}, "/$ref", "the reference '#a' leads to no schema of the document"),
        ({"$ref": "#/x", "x": {"type": "string"}}, "/$ref", None),
        ({"$ref": "#/enum/0", "enum": [{}]}, "/$ref", None),
        ({"$ref": "#/$defs/%zz", "$defs": {"%zz": {}}}, "", None),
    ],
)
def test_what_is_no_usable_schema_is_refused(document: Any, pointer: str, sentence: str | None) -> None:
    """A `ValueError` with the pointer into the schema and a sentence."""
    problem = problem_of(document)
    assert pointer == problem.pointer
    assert sentence is None or sentence == problem.message
    assert str(problem) == (f"{pointer}: {problem.message}" if pointer else problem.message)


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
@pytest.mark.parametrize(
    "reference",
    ["http://127.0.0.1:9/x", "https://json-schema.org/draft/2020-12/schema", "file:///etc/passwd", "/etc/passwd", "other.json",
     "x#/$defs/a", "", "urn:a:b"],
)  # fmt: skip
@pytest.mark.parametrize("base", [None, "http://127.0.0.1:9/root", "file:///etc/"])
def test_nothing_is_fetched(
    keyword: str, reference: str, base: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """PROTOCOL: Execute: a remote `$ref` is a load error, whatever the schema calls itself; nothing is connected to."""

    def refuse(*args: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    document: dict[str, Any] = {"properties": {"a": {keyword: reference}}, "$defs": {"a": {}}}
    problem = problem_of({**document, "$id": base} if base else document)
    assert f"/properties/a/{keyword}" == problem.pointer
    assert "leaves the document" in problem.message


def test_a_reference_that_only_looks_like_one_is_none() -> None:
    """`$ref` inside `const`, `enum`, `default` or an unknown keyword is data."""
    data = {"$ref": "http://127.0.0.1:9/x"}
    schema = Schema({"enum": [data], "default": data, "examples": [data], "x-note": data, "properties": {"$ref": {}}})
    assert schema.accepts(data)


@pytest.mark.parametrize(
    "reference",
    ["#", "#/$defs/a%25b~1c", "#/definitions/d", "#name", "#dynamic", "#/properties/x"],
)
def test_references_within_the_document_are_followed(reference: str) -> None:
    """Pointers (percent-encoded or not) and anchors lead to the schemas of the document."""
    schema = Schema(
        {
            "$id": "https://example.com/root",
            "type": ["string", "object"],
            "properties": {"x": {"type": "string"}, "y": {"$ref": reference}},
            "$defs": {"a%b/c": {"type": "string"}, "n": {"$anchor": "name", "type": "string"}},
            "definitions": {"d": {"type": "string"}, "e": {"$dynamicAnchor": "dynamic", "type": "string"}},
        }
    )
    assert schema.accepts({"y": "text"})
    assert not schema.accepts({"y": 3})


@pytest.mark.parametrize(
    "dialect",
    ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2019-09/schema",
     "https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#"],
)  # fmt: skip
def test_a_known_dialect_is_read_as_2020_12(dialect: str) -> None:
    """Also below the root: what stands next to a `$ref` counts, which draft-07 would ignore."""
    document = {
        "$schema": dialect,
        "properties": {"a": {"$schema": dialect, "$ref": "#/$defs/text", "maxLength": 3}},
        "$defs": {"text": {"type": "string"}},
    }
    schema = Schema(document)
    assert document == schema.document
    assert not schema.accepts({"a": "long text"})
    assert schema.accepts({"a": "abc"})


@pytest.mark.parametrize("dialect", ["http://json-schema.org/draft-04/schema#", "http://127.0.0.1:9/meta", "", 3, None])
def test_another_dialect_is_refused(dialect: object) -> None:
    """What is written in a dialect that is not known cannot be read as it is meant."""
    problem = problem_of({"not": {"$schema": dialect}})
    assert "/not/$schema" == problem.pointer
    assert problem.message.endswith("is not supported; write the schema in JSON Schema 2020-12")


def test_a_schema_that_doubles_is_refused() -> None:
    """References of references multiply: what would take for ever to validate is not compiled."""
    assert Schema(doubling(10)).accepts("x")
    started = time.perf_counter()
    assert "with its references followed" in problem_of(doubling(60)).message
    assert time.perf_counter() - started < 30


def test_a_schema_that_refers_to_itself_is_fine() -> None:
    """Recursion follows the value, which ends."""
    schema = Schema({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "value": {"type": "integer"}}})
    assert schema.accepts({"left": {"right": {"value": 3}}})
    assert ("/left/right/value", 'the value is not of type "integer"') == schema.first_error(
        {"left": {"right": {"value": "3"}}}
    )


def test_the_number_of_subschemas_is_bounded() -> None:
    """One more than 10,000 is refused."""
    properties = {str(number): {} for number in range(MAX_SUBSCHEMAS - 1)}
    assert Schema({"properties": properties}).accepts({})
    assert (
        "the schema has more than 10000 subschemas; split it up"
        == problem_of({"properties": {**properties, "one more": {}}}).message
    )


def test_a_deeply_nested_schema_is_refused() -> None:
    """100,000 levels are refused before anything recurses over them."""
    document: dict[str, Any] = {}
    for _ in range(100_000):
        document = {"not": document}
    assert "nested deeper than 128 levels" == problem_of(document).message


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"properties": {"a": {"maximun": 3}}}, "/properties/a/maximun"),
        ({"x-note": 1}, "/x-note"),
        ({"format": "no-such-format"}, "/format"),
    ],
)
def test_a_strict_schema_has_nothing_unchecked(document: dict[str, Any], pointer: str) -> None:
    """In a rule an unknown keyword or format is an error; in an action's schema it is not."""
    assert pointer == problem_of(document, strict=True).pointer
    assert Schema(document).accepts({})


def test_unknown_keywords_are_found_where_schemas_are() -> None:
    """Only at places that hold schemas; names of properties, constants and defaults are not keywords."""
    document = {
        "title": "t",
        "nullable": True,
        "properties": {"nullable": {"example": 1}, "b": True},
        "allOf": [{"$defs": {"x": {"foo": 1}}}, True],
        "items": {"a/b": 1},
        "if": {"then": {"bar": 1}},
        "const": {"foo": 1},
        "default": {"foo": 1},
        "dependentSchemas": [],
    }
    assert [
        "/nullable",
        "/properties/nullable/example",
        "/allOf/0/$defs/x/foo",
        "/items/a~1b",
        "/if/then/bar",
    ] == unknown_keywords(document)


def test_a_schema_is_independent_of_what_it_was_made_from() -> None:
    """Changing the caller's document afterwards changes neither `document` nor the answers."""
    document: dict[str, Any] = {"properties": {"a": {"type": "string"}}}
    schema = Schema(document)
    document["properties"]["a"]["type"] = "integer"
    assert {"properties": {"a": {"type": "string"}}} == schema.document
    assert schema.accepts({"a": "x"})


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda schema: pickle.loads(pickle.dumps(schema))])
def test_a_schema_is_equal_to_its_copies(duplicate: Any) -> None:
    """Copies, deep or pickled, are equal, hash alike, print alike and validate alike."""
    schema = Schema({"type": "string", "$defs": {"a": {}}}, strict=True)
    other = duplicate(schema)
    assert (schema, hash(schema), repr(schema)) == (other, hash(other), repr(other))
    assert other.accepts("x")
    assert not other.accepts(3)


def test_equality_is_of_document_and_strictness() -> None:
    """The order of keys does not count; the strictness does; a document is no schema."""
    assert Schema({"type": "string", "minLength": 1}) == Schema({"minLength": 1, "type": "string"})
    assert Schema({"type": "string"}) != Schema({"type": "number"})
    assert Schema({"type": "string"}) != Schema({"type": "string"}, strict=True)
    assert Schema({"type": "string"}) != {"type": "string"}
    assert "Schema({'type': 'string'}, strict=False)" == repr(Schema({"type": "string"}))


@given(st.text())
def test_a_schema_problem_is_picklable(text: str) -> None:
    """Errors cross process boundaries."""
    problem = SchemaProblem("wrong", "/" + json.dumps(text))
    assert str(problem) == str(pickle.loads(pickle.dumps(problem)))
