"""Options in the URL of a store: `?name=value&name=value`, each read strictly, and none of them ignored.

Used by `cra.storage.open`. A name that the store does not have, a value that is none, and a name that comes twice are one clear
error, which says what there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from cra.errors import StorageError

_SIZES: Final = {"": 1, "B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
_TIMES: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_find_number = re.compile(r"([0-9]{1,15})(\.[0-9]{1,6})?([a-zA-Z]*)").fullmatch
Option = tuple[Callable[[str], Any], str]
"""How a value is read (it raises `ValueError`), and what may be written."""


def parse_options(scheme: str, query: str, known: Mapping[str, Option]) -> dict[str, Any]:
    """The options in what follows the `?` of a URL. Raises `StorageError`."""
    found: dict[str, Any] = {}
    for item in query.split("&"):
        name, equals, text = item.partition("=")
        if name not in known or not equals:
            there_are = ", ".join(f"{each}={form}" for each, (_, form) in known.items())
            raise StorageError(f"storage '{scheme}:' has no option {name!r}; there {_is(known)} {there_are}")
        if name in found:
            raise StorageError(f"storage '{scheme}:': the option {name} is given twice; give it once")
        read, form = known[name]
        try:
            found[name] = read(text)
        except ValueError:
            raise StorageError(f"storage '{scheme}:': {name}={text} is no value of it; write {name}={form}") from None
    return found


def _is(known: Mapping[str, Option]) -> str:
    return "is" if len(known) == 1 else "are"


def size(text: str) -> int:
    """Bytes: a whole number, with B, KB, MB, GB or TB (1024 each) behind it or nothing; at least 1. Raises `ValueError`."""
    match = _find_number(text)
    if match is None or match[2] or match[3].upper() not in _SIZES or not int(match[1]):
        raise ValueError
    return int(match[1]) * _SIZES[match[3].upper()]


def duration(text: str) -> float:
    """Seconds: a number, with s, m, h, d or w behind it or nothing; more than 0. Raises `ValueError`."""
    match = _find_number(text)
    if match is None or match[3] not in _TIMES:
        raise ValueError
    seconds = float(match[1] + (match[2] or "")) * _TIMES[match[3]]
    if not seconds:
        raise ValueError
    return seconds


def number(text: str) -> int:
    """A whole number from 1 on. Raises `ValueError`."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not int(text):
        raise ValueError
    return int(text)


def flag(text: str) -> bool:
    """`true` or `false`, or 1 or 0. Raises `ValueError`."""
    if text not in ("true", "false", "1", "0"):
        raise ValueError
    return text in ("true", "1")


def one_of(*choices: str) -> Option:
    """One of these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return read, "|".join(choices)


SIZE: Final = "64MB"
FLAG: Final = "true|false"
