"""Schemas whose answer would contradict itself, take exponentially long to find, or exhaust the stack, by what they lead to.

Called by `cra.carp.schema_check` only, before anything is compiled. Recursion that follows the value is fine, since the value
ends. Takes time linear in the schema. PROTOCOL: Parameter conditions.
"""

from __future__ import annotations

from collections.abc import Iterator

from cra.carp.schema_walk import DEFINITIONS, IN_PLACE, REFERENCES, Document, Path, Targets, children, references

MAX_IN_PLACE = 32
"""How many schemas in a row may apply to one value, each because of the one before: the validator calls itself for each.

With the nesting of a value, which multiplies it, this takes a fifth of a stack of 8 MB; no schema in use comes near it.
"""

MAX_UNEVALUATED = 5
"""How many schemas with `unevaluatedProperties` or `unevaluatedItems` next to other schemas may lie inside one another."""

_UNEVALUATED = frozenset(("unevaluatedProperties", "unevaluatedItems"))
_APPLIED_IN_PLACE = frozenset((*IN_PLACE, *REFERENCES))
_REEVALUATED = frozenset((*_APPLIED_IN_PLACE, "contains"))


def endless(document: Document, found: list[tuple[Path, Document]]) -> Path | None:
    """The path of a schema that applies itself to the very value that it is applied to, None where there is none.

    `{"not": {"$ref": "#"}}` would hold where it does not hold. `found` is every subschema of the document.
    """
    targets = Targets(document)
    paths = {id(schema): path for path, schema in found}
    entered: set[int] = set()
    left: set[int] = set()
    for _, start in found:
        waiting = [start]
        while waiting:
            schema = waiting[-1]
            if id(schema) in entered:
                left.add(id(waiting.pop()))
                continue
            entered.add(id(schema))
            for used in _in_place(schema, targets):
                if id(used) not in entered:
                    waiting.append(used)
                elif id(used) not in left:
                    return paths[id(used)]
    return None


def in_place_too_deep(document: Document, found: list[tuple[Path, Document]]) -> Path | None:
    """The path of a schema that starts a row of more than `MAX_IN_PLACE` steps, each to a schema for the very same value.

    `found` is every subschema of the document, of which none is `endless`.
    """
    if sum(not _APPLIED_IN_PLACE.isdisjoint(schema) for _, schema in found) <= MAX_IN_PLACE:
        return None  # a row of acyclic steps takes another schema for each
    targets = Targets(document)
    steps: dict[int, int] = {}
    for path, start in found:
        waiting = [start]
        while waiting:
            schema = waiting[-1]
            unknown = [] if id(schema) in steps else [u for u in _in_place(schema, targets) if id(u) not in steps]
            if unknown:
                waiting += unknown
                continue
            waiting.pop()
            steps[id(schema)] = max((1 + steps[id(used)] for used in _in_place(schema, targets)), default=0)
        if steps[id(start)] > MAX_IN_PLACE:
            return path
    return None


def unevaluated_too_deep(document: Document, found: list[tuple[Path, Document]]) -> Path | None:
    """The path of a schema with `MAX_UNEVALUATED` or more others below it that ask for unevaluated members as it does.

    To know what was evaluated, everything next to the keyword is evaluated a second time, and inside of that once more.
    """
    doubling = {id(schema): path for path, schema in found if _doubles(schema)}
    if not doubling:
        return None
    targets = Targets(document)
    users: dict[int, list[int]] = {}
    for _, schema in found:
        for used in used_by(schema, targets):
            users.setdefault(id(used), []).append(id(schema))
    level = set(doubling)
    for _ in range(MAX_UNEVALUATED):
        above: set[int] = set()
        waiting = list(level)
        while waiting:
            new = [user for user in users.get(waiting.pop(), ()) if user not in above]
            above.update(new)
            waiting += new
        level = above & doubling.keys()
    return min((doubling[schema] for schema in level), key=len, default=None)


def used_by(schema: Document, targets: Targets) -> Iterator[Document]:
    """The schemas that `schema` applies, to the value or to a part of it: its children and what it refers to."""
    yield from (child for path, child in children(schema) if path[0] not in DEFINITIONS)
    yield from _referred(schema, targets)


def _in_place(schema: Document, targets: Targets) -> Iterator[Document]:
    yield from (child for path, child in children(schema) if path[0] in IN_PLACE)
    yield from _referred(schema, targets)


def _referred(schema: Document, targets: Targets) -> Iterator[Document]:
    for _, reference in references(schema):
        yield targets[reference][1]


def _doubles(schema: Document) -> bool:
    return not _UNEVALUATED.isdisjoint(schema) and not _REEVALUATED.isdisjoint(schema)
