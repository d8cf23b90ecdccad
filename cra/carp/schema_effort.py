"""How much work it would be to say where a value breaks a schema.

Called by `cra.carp.schema` before it asks for an error. Whether a value satisfies a schema is found in time that is linear in
both. The error is another matter: for `anyOf` and `oneOf` the validator builds the errors of every branch, and of the branches
inside, which makes 1.3 GB of 219 bytes. PROTOCOL: Execute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cra.carp.schema_walk import IN_PLACE, Document, Targets, children, references, subschemas

MAX_EFFORT = 2_000_000
"""What an error may cost: roughly, bytes that are copied into errors."""

# Every schema that is visited may leave an error, with a copy of its keyword, of the part of the value and of the way there.
_ERROR = 300
_MEMBER = 100
_MULTIPLYING = frozenset(("anyOf", "oneOf", "$ref", "$dynamicRef"))
_TO_ITEMS = frozenset(("items", "contains", "unevaluatedItems"))
_TO_MEMBERS = frozenset(("additionalProperties", "patternProperties", "unevaluatedProperties"))


def explainable(document: Document, value: object) -> bool:
    """Whether the first error of a plain `value` is found with bounded work.

    Walks through all that an error could come from, until it is too much.
    """
    if all(_MULTIPLYING.isdisjoint(schema) for _, schema in subschemas(document)):
        return True
    targets = Targets(document)
    schema_sizes: dict[int, int] = {}
    part_sizes: dict[int, int] = {}
    _measure(value, part_sizes)
    effort = 0
    waiting: list[tuple[Document, Any, int]] = [(document, value, 0)]
    while waiting:
        parent, whole, way = waiting.pop()
        for schema, part, step in _applied(parent, whole, targets):
            if id(schema) not in schema_sizes:
                schema_sizes[id(schema)] = len(json.dumps(schema))
            size = len(part) if isinstance(part, str) else part_sizes.get(id(part), 0)
            effort += _ERROR + schema_sizes[id(schema)] + size + way + step
            if effort > MAX_EFFORT:
                return False
            waiting.append((schema, part, way + step))
    return True


def _measure(value: Any, sizes: dict[int, int]) -> int:
    """The size of a value; `sizes` gets that of every list and object in it, by identity."""
    if isinstance(value, dict):
        sizes[id(value)] = sum(_MEMBER + len(name) + _measure(member, sizes) for name, member in value.items())
    elif isinstance(value, list):
        sizes[id(value)] = sum(_MEMBER + _measure(item, sizes) for item in value)
    else:
        return len(value) if isinstance(value, str) else 0
    return sizes[id(value)]


def _applied(schema: Document, value: Any, targets: Targets) -> Iterator[tuple[Document, Any, int]]:
    """The schemas that `schema` may apply, each with the part of `value` it is applied to and the length of the step there."""
    for _, reference in references(schema):
        yield targets[reference][1], value, 0
    for path, child in children(schema):
        keyword = path[0]
        if keyword in IN_PLACE:
            yield child, value, 0
        elif isinstance(value, dict):
            if keyword in _TO_MEMBERS:
                yield from ((child, member, len(name)) for name, member in value.items())
            elif keyword == "propertyNames":
                yield from ((child, name, 0) for name in value)
            elif keyword == "properties" and path[1] in value:
                yield child, value[path[1]], len(str(path[1]))
        elif isinstance(value, list):
            if keyword in _TO_ITEMS:
                yield from ((child, item, 1) for item in value)
            elif keyword == "prefixItems" and int(path[1]) < len(value):
                yield child, value[int(path[1])], 1
