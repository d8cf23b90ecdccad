"""References inside one document: what a `$ref` points to, which references are recursive, and how much may be inlined.

Called by the OpenAPI importer. It resolves JSON pointers into the document it was given and nothing else: no URL, no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from cra.carp.schema_walk import children
from cra.errors import InvalidAtlasManifest
from cra.pointer import pointer
from cra.strictjson import shorten

MAX_VALUES = 200_000
"""The most that one import may expand to: JSON values, a long text counting as one for every 64 characters."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


class Budget:
    """What is left of `MAX_VALUES`."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def spend(self, amount: int, path: str) -> None:
        """Raises `InvalidAtlasManifest` at `path` when nothing is left."""
        self._left -= amount
        if self._left < 0:
            raise InvalidAtlasManifest(
                f"the document expands to more than {MAX_VALUES:,} values once its references are inlined; "
                "import a part of it, with fewer operations or shallower schemas",
                path=path,
            )


def weight(value: object) -> int:
    """How many values a JSON value counts for."""
    total = 0
    rest = [value]
    while rest:
        item = rest.pop()
        total += 1
        if isinstance(item, str):
            total += len(item) // 64
        elif isinstance(item, dict):
            rest.extend(item)
            rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)
    return total


class References:
    """The references of one document (plain JSON types, acyclic)."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.budget = Budget()
        self._document = document
        self._order: dict[str, int] = {}
        self._grouped: set[str] = set()
        self._recursive: set[str] = set()
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def target(self, ref: object, path: str) -> tuple[Any, str]:
        """What `ref`, which stands at `path`, points to, and the pointer to it.

        Raises `InvalidAtlasManifest` for a reference that leaves the document or points to nothing.
        """
        place = pointer(path, "$ref")
        if not isinstance(ref, str):
            raise InvalidAtlasManifest("must be a string", path=place)
        self.budget.spend(weight(ref), place)
        fragment = unquote(ref[1:])
        if not ref.startswith("#") or (fragment and not fragment.startswith("/")):
            raise InvalidAtlasManifest(
                f"the reference {shorten(ref)} is not a JSON pointer into this document; references to other files, URLs and "
                "anchors are refused: bundle the document into one file and import that",
                path=place,
            )
        value: Any = self._document
        at = ""
        for part in fragment.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            at = pointer(at, key)
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif isinstance(value, list) and _INDEX.fullmatch(key) and int(key) < len(value):
                value = value[int(key)]
            else:
                raise InvalidAtlasManifest(
                    f"the reference {shorten(ref)} points to nothing; define what it names", path=place
                )
        return value, at

    def follow(self, value: object, path: str) -> tuple[dict[str, Any], str]:
        """The object at `path`, or the one it refers to (a parameter, body, response or path item, not a schema)."""
        passed: set[str] = set()
        while isinstance(value, dict) and "$ref" in value:
            if path in passed:
                raise InvalidAtlasManifest("the reference leads back to itself; define what it names", path=path)
            passed.add(path)
            value, path = self.target(value["$ref"], path)
        if not isinstance(value, dict):
            raise InvalidAtlasManifest("must be an object", path=path)
        return value, path

    def is_recursive(self, at: str, schema: object) -> bool:
        """Whether the schema at `at` leads back to itself, so that a reference to it has to stay one."""
        if at not in self._order:
            self._explore(at, schema)
        return at in self._recursive

    def definition_name(self, at: str) -> str:
        """The name of the schema at `at` in `$defs`; the same for every schema of the document."""
        if at not in self._names:
            stem = _NOT_IN_NAMES.sub("_", at.rpartition("/")[2]) or "document"
            name, count = stem, 1
            while name in self._taken:
                count += 1
                name = f"{stem}_{count}"
            self._taken.add(name)
            self._names[at] = name
        return self._names[at]

    def _explore(self, start: str, schema: object) -> None:
        """Finds the groups of schemas that lead to each other: Gabow's path-based search, without recursion."""
        work: list[tuple[str, Iterator[tuple[Any, str]]]] = []
        ungrouped: list[str] = []
        heads: list[str] = []

        def enter(at: str, schema: object) -> None:
            self._order[at] = len(self._order)
            work.append((at, self._schema_targets(schema, at)))
            ungrouped.append(at)
            heads.append(at)

        enter(start, schema)
        while work:
            at, targets = work[-1]
            target, place = next(targets, (None, None))
            if place is None:
                work.pop()
                if heads[-1] == at:
                    heads.pop()
                    group = [ungrouped.pop()]
                    while group[-1] != at:
                        group.append(ungrouped.pop())
                    self._grouped.update(group)
                    self._recursive.update(group if len(group) > 1 else ())
            elif place not in self._order:
                enter(place, target)
            elif place not in self._grouped:
                while self._order[heads[-1]] > self._order[place]:
                    heads.pop()
                self._recursive.add(place)

    def _schema_targets(self, schema: object, path: str) -> Iterator[tuple[Any, str]]:
        """What the references in a schema point to; data such as `default` and `enum` holds none."""
        rest = [(schema, path)] if isinstance(schema, dict) else []
        while rest:
            item, at = rest.pop()
            self.budget.spend(1, at)
            if "$ref" in item:
                yield self.target(item["$ref"], at)
            rest.extend((child, pointer(at, *step)) for step, child in children(item))
