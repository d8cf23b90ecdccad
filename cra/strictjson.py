"""Strict JSON: what the runtime reads from outside, and what it takes from inside as JSON.

`parse` reads text, `plain_copy` reads Python values. Called by the loaders, the trace reader, requests, schemas and `execute`.
Neither guesses, repairs or keeps the last of two equal keys, and both take time and memory linear in what they are given.
PROTOCOL: Canonical JSON, Grammar before hash.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NoReturn

from cra.pointer import pointer

MAX_DEPTH = 128
"""Levels of nesting, objects and arrays together; deeper input is refused before anything recurses over it."""

MAX_VALUES = 1_000_000
"""How many values one copy may have: a list that holds one list twice, which holds one list twice, and so on, has no end."""

MAX_INTEGER = 2**64 - 1
"""Integers are exact within ±MAX_INTEGER; a literal outside is a double."""

_SHORTEST_TOO_LARGE = len(str(MAX_INTEGER))
_SHOWN = 40
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_DEEPER = {"[": 1, "{": 1, "]": -1, "}": -1}

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{},:]|[^\s"\[\]{},:]+', re.DOTALL)
_NOT_BRACKETS = re.compile(r"[^\[\]{}]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)


class JSONProblem(ValueError):
    """The input is not strict JSON: `message` says what is wrong, `position` where (`line 3 column 7`, `byte 12`, a JSON
    pointer for Python values; empty where it is the input as a whole)."""

    def __init__(self, message: str, position: str = "") -> None:
        super().__init__(message, position)
        self.message = message
        self.position = position

    def __str__(self) -> str:
        return f"{self.message} at {self.position}" if self.position else self.message


def parse(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises `JSONProblem` for text that is not UTF-8 or starts with a byte order mark, is not JSON, has a duplicate key at any
    depth, `NaN`, an infinity, a number too large for a double, a lone surrogate (escaped or not), or more than `MAX_DEPTH`
    levels. Integers outside ±`MAX_INTEGER` become floats.
    """
    text = _decoded(data)
    if text.startswith("\ufeff"):
        raise JSONProblem("the text starts with a byte order mark; save it as UTF-8 without one", "line 1 column 1")
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as problem:
        what = problem.msg.removesuffix(" at").rstrip(": ")  # "Unterminated string starting at", "Invalid \\escape: "
        raise JSONProblem(f"not JSON: {what}", _position(text, problem.pos)) from None
    except _Refused as refused:
        raise JSONProblem(refused.message, _position(text, _literal_offset(text, refused.literal))) from None
    except _Duplicate:
        key, offset = next(_duplicates(text))
        raise JSONProblem(f"the key {shorten(key)} occurs twice in one object", _position(text, offset)) from None
    _check_surrogates(text)
    return value


def plain_copy(value: object, at: str = "") -> Any:
    """A private deep copy of a JSON value, in the exact types dict, list, str, int, float, bool and None.

    Instances of subclasses become the plain type. What its giver does to the original afterwards, or meanwhile in another thread,
    changes nothing. Raises `JSONProblem`, with the pointer (below `at`) as its position, for any other type, a key that is no
    string, NaN, an infinity, an integer outside ±`MAX_INTEGER`, a lone surrogate, more than `MAX_DEPTH` levels, or more than
    `MAX_VALUES` values.
    """
    try:
        return _Copier().copy(value, MAX_DEPTH)
    except _NotPlain as problem:
        raise JSONProblem(problem.message, pointer(at, *reversed(problem.parts))) from None


def shorten(text: str) -> str:
    """`text` as a message may show it: quoted, and cut when it is long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _decoded(data: bytes | str) -> str:
    if isinstance(data, bytes):
        try:
            return data.decode()
        except UnicodeDecodeError as problem:
            raise JSONProblem("the text is not UTF-8", f"byte {problem.start}") from None
    found = None if data.isascii() else _SURROGATE.search(data)
    if found:
        raise JSONProblem("a lone surrogate is no character", _position(data, found.start()))
    return data


def _check_depth(text: str) -> None:
    """Counts brackets outside of strings: quickly first, token by token only where that says too many.

    Up to the first error in a text, both see what the decoder will see; behind it nothing recurses any more.
    """
    unescaped = text.replace("\\\\", "").replace('\\"', "")
    brackets = _NOT_BRACKETS.sub("", "".join(unescaped.split('"')[::2]))
    if max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0) <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += _DEEPER.get(token.group(), 0)
        if depth > MAX_DEPTH:
            raise JSONProblem(_TOO_DEEP, _position(text, token.start()))


def _check_surrogates(text: str) -> None:
    """In a JSON text a backslash only occurs in strings, so that the escapes can be read off without the strings."""
    if _ESCAPED_SURROGATE.search(text):
        for escape in _ESCAPE.finditer(text):
            if escape.group(1):
                raise JSONProblem("a lone surrogate is no character", _position(text, escape.start()))


class _Refused(Exception):
    """A number literal that the decoder's hooks refuse; they do not know its position."""

    def __init__(self, message: str, literal: str) -> None:
        super().__init__(message)
        self.message = message
        self.literal = literal


class _Duplicate(Exception):
    """An object has a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Duplicate
    return members


def _float(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise _Refused("the number is too large for a double", literal)
    return number


def _integer(literal: str) -> int | float:
    if len(literal) < _SHORTEST_TOO_LARGE:
        return int(literal)
    number = _float(literal)
    if abs(number) > 2 * MAX_INTEGER:
        return number
    exact = int(literal)
    return exact if abs(exact) <= MAX_INTEGER else number


def _constant(literal: str) -> NoReturn:
    raise _Refused(f"{literal} is no JSON number", literal)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_integer, parse_constant=_constant)


def _position(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    return f"line {line} column {offset - text.rfind(chr(10), 0, offset)}"


def _literal_offset(text: str, literal: str) -> int:
    """Where the decoder stopped: at the first token that begins with the literal; what stands behind it, it has not read."""
    return next(token.start() for token in _TOKEN.finditer(text) if token.group().startswith(literal))


def _duplicates(text: str) -> Iterator[tuple[str, int]]:
    """Every repeated key of a JSON text and where it stands."""
    keys: list[set[str]] = []
    string, start = "", 0
    for token in _TOKEN.finditer(text):  # pragma: no branch - asked for the first one only, of a text that has it
        mark = token.group()
        if mark in ("{", "["):
            keys.append(set())
        elif mark in ("}", "]"):
            keys.pop()
        elif mark == ":":
            key = json.loads(string)
            if key in keys[-1]:
                yield key, start
            keys[-1].add(key)
        else:
            string, start = mark, token.start()


class _NotPlain(Exception):
    """Not a JSON value; `parts` are the keys and indices that lead to it, innermost first."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.parts: list[str | int] = []


class _Copier:
    """One copy in the making; `_room` is how many more values it may have."""

    def __init__(self) -> None:
        self._room = MAX_VALUES

    def copy(self, value: object, levels: int) -> Any:
        if isinstance(value, str):
            return _plain_text(value)
        if value is None or value is True or value is False:
            return value
        if isinstance(value, dict):
            return self._object(dict.copy(value), levels)
        if isinstance(value, list):
            return self._array(list.copy(value), levels)
        if isinstance(value, int):
            if abs(value) > MAX_INTEGER:
                raise _NotPlain("an integer is outside ±(2^64 - 1)")
            return int.__int__(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise _NotPlain("NaN and infinities are no JSON numbers")
            return float.__float__(value)
        raise _NotPlain(f"a value of type {type(value).__name__} is no JSON value")

    def _object(self, value: dict[Any, Any], levels: int) -> dict[str, Any]:
        self._enter(len(value), levels)
        members = {}
        for key, member in value.items():
            if not isinstance(key, str):
                raise _NotPlain(f"a key of type {type(key).__name__} is no string")
            name = _plain_text(key)
            try:
                members[name] = self.copy(member, levels - 1)
            except _NotPlain as problem:
                problem.parts.append(name)
                raise
        return members

    def _array(self, value: list[Any], levels: int) -> list[Any]:
        self._enter(len(value), levels)
        items: list[Any] = []
        try:
            for item in value:
                items.append(self.copy(item, levels - 1))
        except _NotPlain as problem:
            problem.parts.append(len(items))
            raise
        return items

    def _enter(self, values: int, levels: int) -> None:
        if not levels:
            raise _NotPlain(_TOO_DEEP)
        self._room -= values
        if self._room < 0:
            raise JSONProblem(f"there are more than {MAX_VALUES} values; pass a reference to the data instead")


def _plain_text(text: str) -> str:
    if not text.isascii() and _SURROGATE.search(text):
        raise _NotPlain("a lone surrogate is no character")
    return str.__str__(text)
