"""Values that nobody expects: any JSON, and what Python has besides. Called by the generators; `decode` by the worker.

A generated value is JSON as Python's `json` writes it (NaN, infinities and lone surrogates included), so that an episode can be
kept in a file. What JSON cannot say is spelled `{"$py": [kind, …]}`.
"""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any, Final

PY: Final = "$py"

_CHARACTERS: Final = (
    "abcXYZ019 .*?-_/~",
    "abc\x00\x01\x07\b\t\n\f\r\x1f\x7f\"\\/'",
    "aé\xa0ßñÿıİſK",
    "語\u2028\u2029\ufeff\ufffd\uffff\ud7ff\ue000",
    "😀𝒳\U0010ffff",
    "a\udc00\udfff",  # not \ud800 as well: JSON would make one character of a pair
)
_INTEGERS: Final = tuple(
    sign * (2**power + step) for power in (0, 7, 31, 32, 53, 62, 63, 64, 65) for step in (-1, 0, 1) for sign in (1, -1)
)
_FLOATS: Final = (
    0.0, -0.0, 1.0, -1.5, 0.1, 1e15, 1e16, 1e17, 123456789012345680.0, 1e21, 1e22, 1e23, 1e-4, 1e-5, 1e-6, 1e-7, 5e-324,
    2.2250738585072014e-308, 1.7976931348623157e308, 9007199254740993.0, 1.8446744073709552e19, math.nan, math.inf, -math.inf,
)  # fmt: skip
_KEYS: Final = ("", "a", "b", "id", "type", "$ref", "é", "\uff5e", "😀", "a/b~c", "__proto__", "1", "10", "2", "\x00")


def text(rng: Random, most: int = 12) -> str:
    """A string of up to `most` characters of one alphabet; one in fifty may have lone surrogates."""
    alphabet = _CHARACTERS[-1 if rng.random() < 0.02 else rng.choice((0, 0, 0, 1, 2, 3, 4))]
    return "".join(rng.choices(alphabet, k=rng.randrange(most + 1)))


def number(rng: Random) -> int | float:
    """A number; often one at which something changes."""
    turn = rng.randrange(8)
    if turn == 0:
        return rng.choice(_INTEGERS)
    if turn == 1:
        return rng.choice(_FLOATS)
    if turn == 2:
        return float(struct.unpack("<d", rng.randbytes(8))[0])
    if turn == 3:
        return rng.uniform(-1000, 1000)
    if turn == 4:
        return round(rng.uniform(-10, 10), rng.randrange(4))
    if turn == 5:
        return rng.getrandbits(rng.randrange(1, 70)) * rng.choice((1, -1))
    return rng.randrange(-100, 1000)


def scalar(rng: Random) -> Any:
    """A value without parts."""
    turn = rng.randrange(10)
    if turn < 4:
        return text(rng)
    if turn < 8:
        return number(rng)
    return (None, True, False)[rng.randrange(3)]


def value(rng: Random, depth: int = 4, oddities: bool = False) -> Any:
    """Any JSON value, nested up to `depth`; with `oddities` also what is none."""
    if oddities and rng.random() < 0.03:
        return odd(rng, depth)
    turn = rng.randrange(8)
    if depth <= 0 or turn < 4:
        return scalar(rng)
    if turn < 6:
        return [value(rng, depth - 1, oddities) for _ in range(rng.randrange(5))]
    return mapping(rng, depth, oddities)


def mapping(rng: Random, depth: int = 4, oddities: bool = False) -> dict[str, Any]:
    """Any JSON object."""
    return {
        rng.choice(_KEYS) if rng.random() < 0.7 else text(rng, 6): value(rng, depth - 1, oddities)
        for _ in range(rng.randrange(6))
    }


def odd(rng: Random, depth: int) -> dict[str, Any]:
    """A Python value that is no JSON, or that only looks like it."""
    kind = rng.choice(tuple(_BUILDERS))
    if kind == "deep":
        return {PY: [kind, rng.choice((30, 99, 100, 127, 128, 129, 200)), scalar(rng)]}
    if kind in ("pairs", "ordered"):
        keys: tuple[Any, ...] = (
            ("a", 1, None, True, 1.5, {PY: ["str", "a"]}, "é") if kind == "pairs" else ("b", "a", "c")
        )
        return {PY: [kind, [[rng.choice(keys), scalar(rng)] for _ in range(rng.randrange(4))]]}
    if kind in ("tuple", "list", "set"):
        return {PY: [kind, [scalar(rng) for _ in range(rng.randrange(2 if kind == "set" else 4))]]}
    if kind == "dict":
        return {PY: [kind, mapping(rng, min(depth, 2))]}
    if kind in ("str", "bytes", "surrogate"):
        return {PY: [kind, text(rng, 5)]}
    return {PY: [kind, rng.randrange(-1000, 1000)]}


def mutated(rng: Random, document: Any, changes: int = 1) -> Any:
    """`document` with a few of its parts replaced, removed, doubled or renamed, at random places."""
    for _ in range(changes):
        places: list[tuple[Any, Any]] = []
        _collect(document, places)
        if not places:
            return value(rng, 2)
        document = _changed(document, *rng.choice(places), rng)
    return document


def _collect(part: Any, places: list[tuple[Any, Any]]) -> None:
    for key, member in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        places.append((part, key))
        _collect(member, places)


def _changed(part: Any, owner: Any, key: Any, rng: Random) -> Any:
    """A copy of `part` in which the member `key` of its (or its part's) container `owner` is another."""
    if part is owner:
        turn = rng.randrange(6)
        if isinstance(part, dict):
            members = dict(part)
            if turn == 0:
                del members[key]
            elif turn == 1:
                members[rng.choice(_KEYS)] = members.pop(key)
            elif turn == 2:
                members[rng.choice((*members, text(rng, 5)))] = members[key]
            else:
                members[key] = _replacement(rng, members[key])
            return members
        items = list(part)
        if turn == 0:
            del items[key]
        elif turn == 1:
            items.insert(key, items[key])
        else:
            items[key] = _replacement(rng, items[key])
        return items
    if isinstance(part, dict):
        return {name: _changed(member, owner, key, rng) for name, member in part.items()}
    if isinstance(part, list):
        return [_changed(item, owner, key, rng) for item in part]
    return part


def _replacement(rng: Random, old: Any) -> Any:
    if rng.random() < 0.5:
        if isinstance(old, str):
            place = rng.randrange(len(old) + 1)
            return old[:place] + text(rng, 2) + old[place + rng.randrange(2) :]
        if isinstance(old, int | float) and not isinstance(old, bool):
            return rng.choice((old + 1, -old, 0, number(rng)))
    return value(rng, 2)


class _Str(str):
    __slots__ = ()


class _Int(int):
    def __str__(self) -> str:
        return "not the number"


class _Float(float):
    def __repr__(self) -> str:
        return "not the number"


class _Dict(dict[Any, Any]):
    def __len__(self) -> int:
        return 0


class _List(list[Any]):
    def __iter__(self) -> Any:
        return iter(())


def _deep(levels: int, inner: Any) -> Any:
    for level in range(levels):
        inner = [inner] if level % 2 else {"a": inner}
    return inner


_BUILDERS: Final[dict[str, Callable[..., Any]]] = {
    "bytes": lambda given: given.encode(errors="surrogatepass"),
    "tuple": lambda given: tuple(decode(given)),
    "set": lambda given: set(decode(given)),
    "pairs": lambda given: {decode(key): decode(member) for key, member in given},
    "ordered": lambda given: OrderedDict((decode(key), decode(member)) for key, member in given),
    "str": _Str,
    "int": _Int,
    "float": lambda given: _Float(given / 8),
    "list": lambda given: _List(decode(given)),
    "dict": lambda given: _Dict(decode(given)),
    "decimal": Decimal,
    "complex": complex,
    "object": lambda given: Random,
    "surrogate": lambda given: given + "\ud800",
    "deep": _deep,
}


def decode(given: Any) -> Any:
    """A fresh copy of a generated value, as the Python value it stands for."""
    if isinstance(given, dict):
        if PY in given:
            kind, *arguments = given[PY]
            return _BUILDERS[kind](*arguments)
        return {key: decode(member) for key, member in given.items()}
    return [decode(item) for item in given] if isinstance(given, list) else given
