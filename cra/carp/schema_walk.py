"""Where a JSON Schema 2020-12 document has schemas in it, and what its local references lead to.

The one table of keywords behind the checks, the lint and the type analysis. It only walks: what is no schema it passes over, and
it never looks into `const`, `enum`, `default` or unknown keywords, whose contents only look like schemas.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cra.pointer import pointer

Document = dict[str, Any]
Path = tuple["str | int", ...]

_SCHEMA = frozenset(
    ("not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems",
     "unevaluatedProperties", "contentSchema")
)  # fmt: skip
_SCHEMA_LIST = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_SCHEMA_MAP = frozenset(("properties", "patternProperties", "dependentSchemas", "$defs", "definitions"))
_OTHER = frozenset(
    ("$schema", "$id", "$ref", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "$comment",
     "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
     "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains",
     "maxProperties", "minProperties", "required", "dependentRequired",
     "title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples",
     "format", "contentEncoding", "contentMediaType")
)  # fmt: skip
_APPLICATORS = _SCHEMA | _SCHEMA_LIST | _SCHEMA_MAP
_KEYWORDS = _APPLICATORS | _OTHER
DEFINITIONS = ("$defs", "definitions")
REFERENCES = ("$ref", "$dynamicRef")
_ANCHORS = ("$anchor", "$dynamicAnchor")
IN_PLACE = frozenset(("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"))
"""What applies schemas to the same value, not to a part of it; references do, too."""


def children(schema: Document) -> Iterator[tuple[Path, Document]]:
    """The schemas directly inside `schema`, each with its path from there: `("properties", "amount")`, `("allOf", 0)`."""
    for keyword, value in schema.items():
        if keyword not in _APPLICATORS:
            continue
        if keyword in _SCHEMA:
            if isinstance(value, dict):
                yield (keyword,), value
        elif keyword in _SCHEMA_LIST:
            if isinstance(value, list):
                yield from (((keyword, index), item) for index, item in enumerate(value) if isinstance(item, dict))
        elif isinstance(value, dict):
            yield from (((keyword, name), item) for name, item in value.items() if isinstance(item, dict))


def subschemas(document: Document) -> Iterator[tuple[Path, Document]]:
    """`document` and every schema inside it, in document order, each with its path."""
    waiting: list[tuple[Path, Document]] = [((), document)]
    while waiting:
        path, schema = waiting.pop()
        yield path, schema
        waiting.extend(reversed([(path + step, child) for step, child in children(schema)]))


def references(schema: Document) -> Iterator[tuple[str, str]]:
    """The references of one schema: keyword and value."""
    for keyword in REFERENCES:
        if isinstance(schema.get(keyword), str):
            yield keyword, schema[keyword]


def anchors(schema: Document) -> set[str]:
    """The names that one schema can be referred to by."""
    return {schema[keyword] for keyword in _ANCHORS if isinstance(schema.get(keyword), str)}


class Targets:
    """What local references of a document can lead to: `#`, `#/a/pointer`, and `#an-anchor`."""

    def __init__(self, document: Document) -> None:
        self._schemas: dict[str, tuple[str, Document]] = {}
        for path, schema in subschemas(document):
            at = pointer("", *path)
            self._schemas["#" + at] = at, schema
            for anchor in anchors(schema):
                self._schemas["#" + anchor] = at, schema

    def __getitem__(self, reference: str) -> tuple[str, Document]:
        return self._schemas[_plain(reference)]

    def get(self, reference: str) -> tuple[str, Document] | None:
        """Pointer and schema; None for a reference that leads out of the document, or to something that is no schema."""
        return self._schemas.get(_plain(reference))


def _plain(reference: str) -> str:
    """A reference without its percent escapes."""
    if "%" not in reference:
        return reference
    from urllib.parse import unquote  # which `import cra` would spend a twentieth of its time on

    return unquote(reference)


def unknown_keywords(document: Document) -> list[str]:
    """JSON pointers of the keywords that 2020-12 does not define, and that validation therefore ignores."""
    return [pointer("", *path, key) for path, schema in subschemas(document) for key in schema if key not in _KEYWORDS]
