"""Does an answer say what a case expects? Called by the runner only; knows nothing of any implementation.

An expectation is JSON with a few wildcards, described in docs/conformance.md (Expectations): what it does not name is not
compared, so that an implementation may say more than the protocol asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

DYNAMIC = "$dynamic"
ABSENT = "$absent"
SAME = "$same"
CONTAINS = "$contains"
EXACTLY = "$exactly"
_MISSING = object()


def differences(expected: Any, actual: Any) -> list[str]:
    """What is wrong with `actual`, each as `<JSON pointer>: <sentence>`; empty where it says what is expected."""
    return list(_differences(expected, actual, "", {}))


def _differences(expected: Any, actual: Any, at: str, bound: dict[str, Any]) -> Iterator[str]:
    if expected == DYNAMIC:
        return
    if isinstance(expected, dict):
        if expected.keys() == {SAME}:
            first = bound.setdefault(expected[SAME], actual)
            if not _equal(first, actual):
                yield f"{at}: the same value as before was expected, {first!r}, not {actual!r}"
        elif expected.keys() == {CONTAINS}:
            yield from _contained(expected[CONTAINS], actual, at)
        elif expected.keys() == {EXACTLY}:
            if not _equal(expected[EXACTLY], actual):
                yield f"{at}: exactly {expected[EXACTLY]!r} was expected, not {actual!r}"
        elif not isinstance(actual, dict):
            yield f"{at}: an object was expected, not {actual!r}"
        else:
            for key, member in expected.items():
                yield from _member(member, actual.get(key, _MISSING), f"{at}/{key}", bound)
    elif isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            yield f"{at}: a list of {len(expected)} was expected, {expected!r}, not {actual!r}"
        else:
            for index, item in enumerate(expected):
                yield from _differences(item, actual[index], f"{at}/{index}", bound)
    elif not _equal(expected, actual):
        yield f"{at}: {expected!r} was expected, not {actual!r}"


def _member(expected: Any, actual: Any, at: str, bound: dict[str, Any]) -> Iterator[str]:
    if expected == ABSENT:
        if actual is not _MISSING:
            yield f"{at}: nothing was expected, not {actual!r}"
    elif actual is _MISSING:
        yield f"{at}: missing"
    else:
        yield from _differences(expected, actual, at, bound)


def _contained(expected: list[Any], actual: Any, at: str) -> Iterator[str]:
    if not isinstance(actual, list):
        yield f"{at}: a list was expected, not {actual!r}"
        return
    for item in expected:
        if all(differences(item, candidate) for candidate in actual):
            yield f"{at}: nothing in {actual!r} is {item!r}"


def _equal(expected: Any, actual: Any) -> bool:
    """Equality of JSON values: numbers by value, and neither of them a boolean; object members in any order."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(_equal(expected[key], actual[key]) for key in expected)
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_equal, expected, actual))
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    return bool(expected == actual)
