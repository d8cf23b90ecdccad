"""Which properties does a parameter condition constrain without fixing their type?

`{"exclusiveMinimum": 100}` is satisfied by the string "500": a rule about numbers that does not ask for a number is a hole.
Called by the lint (`untyped_condition`), never at run time. PROTOCOL: Parameter conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cra.carp.schema_walk import Document, Targets, references
from cra.pointer import pointer


class _Known:
    """The schemas that are known to hold for one value: those of the condition on the way to it, and the action's own."""

    def __init__(self, schemas: Iterable[tuple[Document, Targets]]) -> None:
        self._schemas = list(schemas)
        seen = {id(schema) for schema, _ in self._schemas}
        for schema, targets in self._schemas:
            for implied in _implied(schema, targets):
                if id(implied) not in seen:
                    seen.add(id(implied))
                    self._schemas.append((implied, targets))

    def and_also(self, schema: Document, targets: Targets) -> _Known:
        return _Known([*self._schemas, (schema, targets)])

    def inside(self, *path: str) -> _Known:
        """What is known of a member of the value: `inside("properties", "amount")`, `inside("items")`."""
        found = ((_at(schema, path), targets) for schema, targets in self._schemas)
        return _Known((schema, targets) for schema, targets in found if isinstance(schema, dict))

    def fixes_type(self) -> bool:
        return any(_fixes_type(schema, targets, {}) for schema, targets in self._schemas)


def untyped_properties(condition: Document, parameters: Document | None) -> list[str]:
    """JSON pointers, into `condition`, of the properties it names whose type nothing fixes.

    A type is fixed by `type`, `const` or `enum`, in the condition or at the same place of `parameters` (the action's
    `parameters_schema`), directly, by a reference, in an `allOf`, or in all branches of an `anyOf` or `oneOf`.
    """
    targets = Targets(condition)
    known = [(condition, targets)] if parameters is None else [(condition, targets), (parameters, Targets(parameters))]
    return list(_Walk(targets).untyped("", condition, _Known(known)))


class _Walk:
    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._visited: set[int] = set()

    def untyped(self, at: str, schema: Any, known: _Known) -> Iterator[str]:
        """The untyped properties of a schema, given what is known of the value that it is applied to."""
        if not isinstance(schema, dict) or id(schema) in self._visited:
            return
        self._visited.add(id(schema))
        for name, member in _members(schema, "properties"):
            place, inside = pointer(at, "properties", name), known.inside("properties", name)
            if isinstance(member, dict) and not inside.fixes_type():
                yield place
            yield from self.untyped(place, member, inside)
        for keyword in ("items", "contains"):
            yield from self._assumed(pointer(at, keyword), schema.get(keyword), known.inside("items"))
        for index, member in _elements(schema, "allOf"):
            yield from self.untyped(pointer(at, "allOf", index), member, known)
        for keyword in ("anyOf", "oneOf"):
            for index, member in _elements(schema, keyword):
                yield from self._assumed(pointer(at, keyword, index), member, known)
        for name, member in _members(schema, "dependentSchemas"):
            yield from self._assumed(pointer(at, "dependentSchemas", name), member, known)
        for keyword in ("not", "if", "else"):
            yield from self._assumed(pointer(at, keyword), schema.get(keyword), known)
        premise = schema.get("if")
        granted = known.and_also(premise, self._targets) if isinstance(premise, dict) else known
        yield from self._assumed(pointer(at, "then"), schema.get("then"), granted)
        for _, reference in references(schema):
            place, target = self._targets.get(reference) or ("", None)
            yield from self.untyped(place, target, known)

    def _assumed(self, at: str, schema: Any, known: _Known) -> Iterator[str]:
        """A schema that need not hold: inside it, it is taken to."""
        if isinstance(schema, dict):
            yield from self.untyped(at, schema, known.and_also(schema, self._targets))


def _implied(schema: Document, targets: Targets) -> Iterator[Document]:
    """The schemas that hold for every value for which `schema` does."""
    yield from (member for _, member in _elements(schema, "allOf") if isinstance(member, dict))
    for _, reference in references(schema):
        target = targets.get(reference)
        if target is not None:
            yield target[1]


def _fixes_type(schema: Any, targets: Targets, decided: dict[int, bool]) -> bool:
    if not isinstance(schema, dict):
        return False
    if id(schema) not in decided:
        decided[id(schema)] = False  # as long as it is undecided: what refers back to itself fixes nothing
        decided[id(schema)] = (
            not schema.keys().isdisjoint(("type", "const", "enum"))
            or any(_fixes_type(implied, targets, decided) for implied in _implied(schema, targets))
            or any(
                bool(branches) and all(_fixes_type(branch, targets, decided) for _, branch in branches)
                for branches in (_elements(schema, "anyOf"), _elements(schema, "oneOf"))
            )
        )
    return decided[id(schema)]


def _at(schema: Document, path: tuple[str, ...]) -> Any:
    found: Any = schema
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _members(schema: Document, keyword: str) -> list[tuple[str, Any]]:
    value = schema.get(keyword)
    return list(value.items()) if isinstance(value, dict) else []


def _elements(schema: Document, keyword: str) -> list[tuple[int, Any]]:
    value = schema.get(keyword)
    return list(enumerate(value)) if isinstance(value, list) else []
