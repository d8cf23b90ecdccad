"""OpenAPI schemas as JSON Schema 2020-12 that stands alone: references inlined, the 3.0 dialect translated.

Called by the OpenAPI importer, once for the parameters and once for the result of an operation. It never changes the document.
"""

from __future__ import annotations

from typing import Any

from cra.atlas.importers.references import References, weight
from cra.errors import InvalidAtlasManifest
from cra.pointer import pointer
from cra.strictjson import MAX_DEPTH

JSONObject = dict[str, Any]

ANNOTATIONS = frozenset(
    ("$comment", "default", "deprecated", "description", "examples", "readOnly", "title", "writeOnly")
)  # fmt: skip
_BARE = ANNOTATIONS | {"$ref"}
_DATA = ANNOTATIONS | frozenset(
    ("const", "contentEncoding", "contentMediaType", "dependentRequired", "enum", "exclusiveMaximum", "exclusiveMinimum",
     "maxContains", "maxItems", "maxLength", "maxProperties", "maximum", "minContains", "minItems", "minLength",
     "minProperties", "minimum", "multipleOf", "pattern", "required", "type", "uniqueItems")
)  # fmt: skip
_SCHEMA = frozenset(
    ("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then",
     "unevaluatedItems", "unevaluatedProperties")
)  # fmt: skip
_SCHEMA_LIST = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_SCHEMA_MAP = frozenset(("dependentSchemas", "patternProperties", "properties"))
_FORMATS = frozenset(
    ("date", "date-time", "duration", "email", "hostname", "idn-email", "idn-hostname", "ipv4", "ipv6", "iri",
     "iri-reference", "json-pointer", "regex", "relative-json-pointer", "time", "uri", "uri-reference", "uri-template",
     "uuid")
)  # fmt: skip
_MOVES_REFERENCES = ("$id", "$dynamicRef")
_DEFINITIONS = "#/$defs/"
_NULL = {"type": "null"}

# A manifest has four levels above a schema, and the data in a schema (a default, an example) a few below.
_ROOT_LEVEL = 4
_MAX_LEVEL = MAX_DEPTH - 8


class Inliner:
    """Builds one schema of an action. What several parts of it refer to recursively ends up once in its `$defs`."""

    def __init__(self, references: References, *, openapi_30: bool) -> None:
        self._references = references
        self._openapi_30 = openapi_30
        self._pending: dict[str, tuple[Any, str]] = {}

    def schema(self, schema: object, path: str) -> JSONObject:
        """The schema at `path` of the document, as an object.

        Keywords that JSON Schema 2020-12 does not know (`xml`, `discriminator`, `x-…`) and formats it does not define
        (`int32`) are left out. Raises `InvalidAtlasManifest` with the pointer of what is no schema.
        """
        converted = self._convert(schema, path, _ROOT_LEVEL + 2)
        if isinstance(converted, bool):
            return {} if converted else {"not": {}}
        return converted

    def definitions(self) -> JSONObject:
        """The recursive schemas that the schemas built so far refer to, for their common `$defs`."""
        definitions: JSONObject = {}
        while missing := [name for name in self._pending if name not in definitions]:
            for name in missing:
                schema, path = self._pending[name]
                definitions[name] = self._convert(schema, path, _ROOT_LEVEL + 2)
        for name in definitions:
            self._check_says_something(name, definitions)
        return definitions

    def _check_says_something(self, name: str, definitions: JSONObject) -> None:
        """A circle of definitions that only refer to each other would accept every value."""
        passed: set[str] = set()
        schema = definitions[name]
        while isinstance(schema, dict) and "$ref" in schema and schema.keys() <= _BARE:
            reference = schema["$ref"]
            if reference in passed:
                raise InvalidAtlasManifest(
                    "the schema refers to nothing but itself; define what it is", path=self._pending[name][1]
                )
            passed.add(reference)
            schema = definitions[reference.removeprefix(_DEFINITIONS)]

    def _convert(self, schema: object, path: str, level: int) -> JSONObject | bool:
        self._references.budget.spend(1, path)
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise InvalidAtlasManifest("a schema must be an object", path=path)
        if level > _MAX_LEVEL:
            raise InvalidAtlasManifest(
                f"with its references inlined the schema nests deeper than an atlas may ({MAX_DEPTH} levels); flatten it",
                path=path,
            )
        if "$ref" in schema:
            return self._reference(schema, path, level)
        for keyword in _MOVES_REFERENCES:
            if keyword in schema:
                raise InvalidAtlasManifest(
                    "cannot be inlined; refer to schemas of this document by JSON pointers, without base URIs of their own",
                    path=pointer(path, keyword),
                )
        converted: JSONObject = {}
        for keyword, value in schema.items():
            self._keyword(converted, keyword, value, pointer(path, keyword), level)
        if self._openapi_30:
            self._references.budget.spend(weight(schema.get("example")), path)
            return _from_openapi_30(schema, converted)
        return converted

    def _keyword(self, converted: JSONObject, keyword: str, value: Any, path: str, level: int) -> None:
        if keyword in _SCHEMA:
            converted[keyword] = self._convert(value, path, level + 1)
        elif keyword in _SCHEMA_LIST:
            if not isinstance(value, list):
                raise InvalidAtlasManifest("must be a list of schemas", path=path)
            converted[keyword] = [
                self._convert(item, pointer(path, index), level + 2) for index, item in enumerate(value)
            ]
        elif keyword in _SCHEMA_MAP:
            if not isinstance(value, dict):
                raise InvalidAtlasManifest("must be an object of schemas", path=path)
            self._references.budget.spend(weight(list(value)), path)
            converted[keyword] = {
                name: self._convert(item, pointer(path, name), level + 2) for name, item in value.items()
            }
        elif keyword in _DATA or (keyword == "format" and isinstance(value, str) and value in _FORMATS):
            self._references.budget.spend(weight(value), path)
            converted[keyword] = value

    def _reference(self, schema: JSONObject, path: str, level: int) -> JSONObject | bool:
        target, at = self._references.target(schema["$ref"], path)
        converted: JSONObject | bool
        if self._references.is_recursive(at, target):
            name = self._references.definition_name(at)
            self._pending.setdefault(name, (target, at))
            converted = {"$ref": _DEFINITIONS + name}
        else:
            converted = self._convert(target, at, level + 1)
        if self._openapi_30:
            return converted  # 3.0 ignores what stands beside a $ref
        beside = self._convert({key: value for key, value in schema.items() if key != "$ref"}, path, level)
        assert isinstance(beside, dict)
        if beside.keys() <= ANNOTATIONS and isinstance(converted, dict):
            return {**converted, **beside}
        return {**beside, "allOf": [converted, *beside.get("allOf", ())]}


def _from_openapi_30(schema: JSONObject, converted: JSONObject) -> JSONObject:
    """3.0 has its own `nullable`, `example` and boolean `exclusiveMinimum`.

    `nullable` counts beside an `enum` and without a `type` as well: that is how it is meant where it is written.
    """
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(converted.get(exclusive), bool) and converted.pop(exclusive) and bound in converted:
            converted[exclusive] = converted.pop(bound)
    if not isinstance(converted.get("examples", []), list):
        del converted["examples"]
    if "example" in schema:
        converted.setdefault("examples", [schema["example"]])
    if schema.get("nullable") is not True:
        return converted
    if isinstance(converted.get("type"), str):
        converted["type"] = [converted["type"], "null"]
        if isinstance(converted.get("enum"), list) and None not in converted["enum"]:
            converted["enum"] = [*converted["enum"], None]
        return converted
    if converted.keys() <= ANNOTATIONS:
        return converted
    constraints = {key: value for key, value in converted.items() if key not in ANNOTATIONS}
    annotations = {key: value for key, value in converted.items() if key in ANNOTATIONS}
    return {**annotations, "anyOf": [constraints, _NULL]}
