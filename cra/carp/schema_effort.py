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
"""What an error may cost; in bytes of memory it is about fifty times as much, in the worst case."""

# A schema that is visited may leave an error, which holds a copy of its keyword and the names of members it does not expect.
_VISIT = 300
_MEMBER = 100
_MULTIPLYING = frozenset(("anyOf", "oneOf", "$ref", "$dynamicRef"))
_TO_ITEMS = frozenset(("items", "contains", "unevaluatedItems"))
_TO_MEMBERS = frozenset(("additionalProperties", "patternProperties", "unevaluatedProperties"))


def explainable(document: Document, value: object) -> bool:
    """Whether the first error of `value` is found with bounded work: by walking all of it once, until it is too much."""
    if all(_MULTIPLYING.isdisjoint(schema) for _, schema in subschemas(document)):
        return True
    targets = Targets(document)
    sizes: dict[int, int] = {}
    effort = 0
    waiting = [(document, value)]
    while waiting:
        for schema, part in _applied(*waiting.pop(), targets):
            if id(schema) not in sizes:
                sizes[id(schema)] = len(json.dumps(schema))
            effort += _VISIT + sizes[id(schema)]
            if isinstance(part, (dict, list)):
                effort += _MEMBER * len(part)
            if effort > MAX_EFFORT:
                return False
            waiting.append((schema, part))
    return True


def _applied(schema: Document, value: Any, targets: Targets) -> Iterator[tuple[Document, Any]]:
    """The schemas that `schema` may apply, each with the part of `value` that it is applied to."""
    for _, reference in references(schema):
        yield targets[reference][1], value
    for path, child in children(schema):
        keyword = path[0]
        if keyword in IN_PLACE:
            yield child, value
        elif isinstance(value, dict):
            if keyword == "properties" and path[1] in value:
                yield child, value[path[1]]
            elif keyword in _TO_MEMBERS:
                yield from ((child, member) for member in value.values())
            elif keyword == "propertyNames":
                yield from ((child, name) for name in value)
        elif isinstance(value, list):
            if keyword == "prefixItems":
                yield from ((child, item) for index, item in enumerate(value) if index == path[1])
            elif keyword in _TO_ITEMS:
                yield from ((child, item) for item in value)
