"""Parameter schemas as atlases bring them, and values against them. PROTOCOL: Execute, Parameter conditions.

A JSON object: `schema` and `values`.
"""

from __future__ import annotations

from cra.carp.schema import Schema, SchemaProblem, unknown_keywords, untyped_properties
from cra.fuzzing.target import Target, expect
from cra.strictjson import JSONProblem, parse


def answer(data: bytes) -> object:
    """Whether there is a schema, in either strictness, and what it says of every value."""
    try:
        document = parse(data)
    except JSONProblem:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("values"), list):
        return None
    schema = document.get("schema")
    return [_verdicts(schema, document["values"], strict) for strict in (False, True)]


def _verdicts(schema: object, values: list[object], strict: bool) -> object:
    try:
        compiled = Schema(schema, strict=strict)  # type: ignore[arg-type]
    except SchemaProblem as problem:
        return problem.message, problem.pointer
    expect(Schema(compiled.document, strict=strict) == compiled, "a schema is another one than its document")
    found = []
    for value in values:
        error = compiled.first_error(value)
        expect(compiled.accepts(value) == (error is None), "a value is accepted and has an error, or neither")
        found.append(error)
    return (
        found,
        unknown_keywords(compiled.document),
        untyped_properties(compiled.document, None),
        compiled.pattern_bytes,
    )


def seeds() -> list[bytes]:
    """Schemas with references, patterns, formats and combinations."""
    return [
        (
            b'{"schema":{"type":"object","properties":{"a":{"type":"integer","minimum":0},"b":{"enum":["x",null]}},'
            b'"required":["a"],"additionalProperties":false},"values":[{"a":1},{"a":-1},{"b":"x"},{"a":1,"c":2},7]}'
        ),
        (
            b'{"schema":{"$defs":{"n":{"anyOf":[{"type":"null"},{"type":"array","items":{"$ref":"#/$defs/n"}}]}},'
            b'"$ref":"#/$defs/n"},"values":[null,[null],[[[]]],[1]]}'
        ),
        b'{"schema":{"type":"string","pattern":"^(a|b)*c{1,3}$","format":"uuid","maxLength":8},"values":["abc",""]}',
        b'{"schema":{"oneOf":[{"const":1},{"multipleOf":0.1}],"not":{"type":"string"}},"values":[1,0.3,"a"]}',
        (
            b'{"schema":{"patternProperties":{"^x-":{}},"propertyNames":{"maxLength":3},"dependentRequired":{"a":["b"]}},'
            b'"values":[{"x-":1},{"a":1},{"abcd":1}]}'
        ),
        b'{"schema":{"prefixItems":[{"type":"number"}],"items":false,"uniqueItems":true,"contains":{"const":1}},"values":[[1],[1,1]]}',
        b'{"schema":{"if":{"required":["a"]},"then":{"required":["b"]},"else":false,"unevaluatedProperties":false},"values":[{}]}',
    ]


TARGET = Target(
    "parameters",
    "JSON Schemas of parameters, and values against them",
    answer,
    seeds,
    tokens=(
        b'"type":"', b'"properties":{', b'"$ref":"#', b'"$defs":{', b'"pattern":"', b'"format":"', b'"anyOf":[', b'"allOf":[',
        b'"enum":[', b'"const":', b'"$schema":"', b'"$id":"', b'"$anchor":"', b'"$dynamicRef":"', b'"unevaluatedItems":',
        b'"not":{',
        b'"minContains":', b'"values":[', b'"schema":{', b"date-time", b"\\\\p{L}", b"(?=a)", b"{1,1000}", b'"items":', b"[^a]",
    ),
    notation="json",
)  # fmt: skip
