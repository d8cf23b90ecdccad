"""What a schema must be before it is compiled: self-contained, in one dialect, and of bounded cost.

Called by `cra.carp.schema` only. Whether the document is a valid 2020-12 schema is left to the validator; what is checked here is
what the validator would fetch, silently ignore, read differently from what its author meant, or take forever over.
PROTOCOL: Parameter conditions, Execute.
"""

from __future__ import annotations

import re
from itertools import islice

from cra.carp.schema_recursion import (
    MAX_IN_PLACE,
    MAX_UNEVALUATED,
    endless,
    in_place_too_deep,
    unevaluated_too_deep,
    used_by,
)
from cra.carp.schema_walk import REFERENCES, Document, Path, Targets, anchors, references, subschemas, unknown_keywords
from cra.pointer import pointer
from cra.strictjson import plain_copy, shorten

MAX_SUBSCHEMAS = 10_000
MAX_EXPANSION = 1_000_000

_DIALECT = re.compile(r"https?://json-schema\.org/(draft-07|draft/2019-09|draft/2020-12)/schema#?")
_REPLACED = {
    "additionalItems": "`items` next to `prefixItems`",
    "dependencies": "`dependentRequired` or `dependentSchemas`",
    "$recursiveRef": "`$dynamicRef`",
}
_SUSPICIOUS = frozenset(("$schema", "$id", "items", *_REPLACED, *REFERENCES))


class SchemaProblem(ValueError):
    """The document is no schema that can be used; `pointer` is the place in it, `message` the sentence."""

    def __init__(self, message: str, at: str = "") -> None:
        super().__init__(message, at)
        self.message = message
        self.pointer = at

    def __str__(self) -> str:
        return f"{self.pointer}: {self.message}" if self.pointer else self.message


def prepare(document: Document, *, strict: bool) -> Document:
    """What is compiled: `document` without `$schema` and `$id`, so that it is 2020-12 and its references are its own.

    Raises `SchemaProblem` for the first thing in it that would not mean what it says; `strict` adds unknown keywords.
    """
    found = list(islice(subschemas(document), MAX_SUBSCHEMAS + 1))
    if len(found) > MAX_SUBSCHEMAS:
        raise SchemaProblem(f"the schema has more than {MAX_SUBSCHEMAS} subschemas; split it up")
    suspects = [(path, schema) for path, schema in found if not schema.keys().isdisjoint(_SUSPICIOUS)]
    for path, schema in suspects:
        _check_dialect(schema, path)
    if any(keyword in schema for _, schema in suspects for keyword in REFERENCES):
        _check_anchors(found)
        _check_references(document, suspects)
        _check_endless(document, found)
    _check_in_place(document, found)
    _check_unevaluated(document, found)
    unknown = unknown_keywords(document) if strict else []
    if unknown:
        raise SchemaProblem("JSON Schema 2020-12 does not know this keyword; it would never be checked", unknown[0])
    if not any("$schema" in schema or "$id" in schema for _, schema in suspects):
        return document
    compiled: Document = plain_copy(document)
    for _, schema in subschemas(compiled):
        schema.pop("$schema", None)
        schema.pop("$id", None)
    return compiled


def _check_dialect(schema: Document, path: Path) -> None:
    if "$schema" in schema and not _DIALECT.fullmatch(str(schema["$schema"])):
        raise SchemaProblem(
            f"the dialect {shorten(str(schema['$schema']))} is not supported; write the schema in JSON Schema 2020-12",
            pointer("", *path, "$schema"),
        )
    if path and "$id" in schema:
        raise SchemaProblem("`$id` below the root is not supported; use `$defs`", pointer("", *path, "$id"))
    if isinstance(schema.get("items"), list):
        raise SchemaProblem("`items` as a list is `prefixItems` in JSON Schema 2020-12", pointer("", *path, "items"))
    for keyword, replacement in _REPLACED.items():
        if keyword in schema:
            raise SchemaProblem(f"`{keyword}` is {replacement} in JSON Schema 2020-12", pointer("", *path, keyword))


def _check_anchors(found: list[tuple[Path, Document]]) -> None:
    seen: set[str] = set()
    for path, schema in found:
        names = anchors(schema)
        if not names.isdisjoint(seen):
            raise SchemaProblem(
                f"the anchor {shorten(min(names & seen))} is used above already; give this one another name",
                pointer("", *path),
            )
        seen |= names


def _check_references(document: Document, suspects: list[tuple[Path, Document]]) -> None:
    targets = Targets(document)
    for path, schema in suspects:
        for keyword, reference in references(schema):
            if not reference.startswith("#"):
                raise SchemaProblem(
                    f"the reference {shorten(reference)} leaves the document; nothing is fetched, so put what it names "
                    "under `$defs` and refer to that",
                    pointer("", *path, keyword),
                )
            if targets.get(reference) is None:
                raise SchemaProblem(
                    f"the reference {shorten(reference)} leads to no schema of the document",
                    pointer("", *path, keyword),
                )
    if _expansion(document, targets) > MAX_EXPANSION:
        raise SchemaProblem(f"with its references followed, the schema has more than {MAX_EXPANSION} subschemas")


def _check_endless(document: Document, found: list[tuple[Path, Document]]) -> None:
    path = endless(document, found)
    if path is not None:
        raise SchemaProblem(
            "this schema applies itself to the same value again, without end; let it refer to itself for a part of the value "
            "only, below `properties` or `items`",
            pointer("", *path),
        )


def _check_in_place(document: Document, found: list[tuple[Path, Document]]) -> None:
    path = in_place_too_deep(document, found)
    if path is not None:
        raise SchemaProblem(
            f"more than {MAX_IN_PLACE} schemas apply to the same value here, each because of the one before (`$ref`, `allOf` and "
            "the like); refer to the last one directly",
            pointer("", *path),
        )


def _check_unevaluated(document: Document, found: list[tuple[Path, Document]]) -> None:
    path = unevaluated_too_deep(document, found)
    if path is not None:
        raise SchemaProblem(
            "`unevaluatedProperties` and `unevaluatedItems` next to other schemas are allowed up to "
            f"{MAX_UNEVALUATED} levels deep, and not in a schema that refers to itself, since each level doubles the work; "
            "name the properties and use `additionalProperties`",
            pointer("", *path),
        )


def _expansion(document: Document, targets: Targets) -> int:
    """How many subschemas one value can meet, every reference followed once: references of references multiply."""
    sizes: dict[int, int] = {}
    waiting = [document]
    while waiting:
        schema = waiting[-1]
        if id(schema) not in sizes:
            sizes[id(schema)] = 0
            waiting.extend(used for used in used_by(schema, targets) if id(used) not in sizes)
        else:
            waiting.pop()
            sizes[id(schema)] = 1 + sum(sizes[id(used)] for used in used_by(schema, targets))
    return sizes[id(document)]
