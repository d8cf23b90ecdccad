"""Changes to JSON texts that leave them JSON, for targets whose door refuses everything else before it is interesting.

The engine takes one of these as often as one of libFuzzer's. A change is drawn from a seed: the same seed is the same change.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from cra.fuzzing.target import Notation

_TEXTS: Final = (
    "",
    "*",
    "a",
    "A.b",
    "é",
    "😀",
    "\ud800",
    "\x00",
    "../x",
    "2026-01-01T12:00:00Z",
    "x" * 300,
    "bot",
    "low",
    "true",
)
_NUMBERS: Final = (0, 1, -1, 2, 3600, 2**31, 2**53, 2**63, 2**64, 0.5, -0.0, 1e-7, 1e21, 1e308, float("nan"))
_MOST_CHANGES: Final = 4
_DEEP: Final = 140


def mutate(data: bytes, notation: Notation, rng: Random) -> bytes | None:
    """A text with one to a few changes; None where it is not in that notation, so that there is nothing to hold on to."""
    lines = data.split(b"\n") if notation == "json lines" else [data]
    at = rng.randrange(len(lines))
    begin = (
        lines[at].find(b"{") if notation == "json lines" else 0
    )  # a byte in front may say what is done with the lines
    try:
        document = json.loads(lines[at][max(begin, 0) :])
    except (ValueError, RecursionError):
        return None
    if len(lines) > 1 and not rng.randrange(4):
        _move_lines(lines, at, rng)
    else:
        for _ in range(rng.randint(1, _MOST_CHANGES)):
            document = _changed(document, rng)
        lines[at] = lines[at][: max(begin, 0)] + _text(document, rng)
    return b"\n".join(lines)


def _text(document: Any, rng: Random) -> bytes:
    try:
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=not rng.randrange(3))
    except (ValueError, RecursionError):
        return b"[]"
    return text.encode(errors="surrogatepass")


def _move_lines(lines: list[bytes], at: int, rng: Random) -> None:
    kind = rng.randrange(3)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(rng.randrange(len(lines)), lines[at])
    else:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]


def _changed(document: Any, rng: Random) -> Any:
    """The document with one change; it is changed itself, and the result may be another."""
    places: list[tuple[Any, Any]] = []
    _collect(document, places)
    if not places:
        return _value(rng)
    owner, key = places[rng.randrange(len(places))]
    change = _CHANGES[rng.randrange(len(_CHANGES))]
    change(owner, key, places, rng)
    return document


def _collect(part: Any, places: list[tuple[Any, Any]]) -> None:
    members = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, member in members:
        places.append((part, key))
        _collect(member, places)


def _replace(owner: Any, key: Any, _: list[Any], rng: Random) -> None:
    owner[key] = _value(rng)


def _edit(owner: Any, key: Any, places: list[Any], rng: Random) -> None:
    old = owner[key]
    if isinstance(old, bool) or not isinstance(old, str | int | float):
        _replace(owner, key, places, rng)
    elif isinstance(old, str):
        at = rng.randrange(len(old) + 1)
        owner[key] = old[:at] + rng.choice(("", "*", "?", "é", ".", "-", "0", "A", old)) + old[at + rng.randrange(2) :]
    else:
        owner[key] = rng.choice((old + 1, old - 1, -old, old * 2, old / 3, 0))


def _remove(owner: Any, key: Any, _: list[Any], rng: Random) -> None:
    del owner[key]


def _copy(owner: Any, key: Any, places: list[Any], rng: Random) -> None:
    """What stands elsewhere, here."""
    other, name = places[rng.randrange(len(places))]
    copied = json.loads(json.dumps(other[name]))
    if isinstance(owner, list):
        owner.insert(key, copied)
    else:
        owner[rng.choice((key, name, _name(rng)))] = copied


def _rename(owner: Any, key: Any, places: list[Any], rng: Random) -> None:
    if isinstance(owner, list):
        _copy(owner, key, places, rng)
    else:
        names = [name for _, name in places if isinstance(name, str)]
        owner[rng.choice((*names, _name(rng)))] = owner.pop(key)


def _nest(owner: Any, key: Any, _: list[Any], rng: Random) -> None:
    levels = 1 if rng.randrange(20) else _DEEP
    for _level in range(levels):
        owner[key] = [owner[key]] if rng.randrange(2) else {_name(rng): owner[key]}


_CHANGES: Final[tuple[Callable[[Any, Any, list[Any], Random], None], ...]] = (
    *(_replace, _edit, _edit, _edit, _remove, _copy, _copy, _rename, _nest),
)  # fmt: skip


def _name(rng: Random) -> str:
    return rng.choice(_TEXTS)


def _value(rng: Random) -> Any:
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice((None, True, False, [], {}))
    if kind == 1:
        return rng.choice(_NUMBERS)
    return rng.choice(_TEXTS) if kind < 5 else [rng.choice(_TEXTS)]
