"""Canonical JSON: the one byte string that stands for a value, so that equal values have equal hashes.

Called by everything that hashes: the chain, value hashes, atlas digests. It never reads JSON and never guesses: what has no
canonical form is refused. PROTOCOL: Canonical JSON.
"""

from __future__ import annotations

from json.encoder import encode_basestring as _quote

from cra.errors import InvalidTraceEvent
from cra.pointer import pointer
from cra.strictjson import MAX_DEPTH, MAX_INTEGER


class _Refused(Exception):
    """A value without a canonical form; `steps` leads to it, innermost first."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.steps: list[str | int] = []


def canonical_json(value: object) -> bytes:
    """The canonical JSON of `value`, as UTF-8.

    `value` is made of dict (with str keys), list, str, int, float, bool and None, or subclasses of them, which count as their
    plain value; at most `MAX_DEPTH` levels. Raises `InvalidTraceEvent` with the JSON pointer of the first part that has no
    canonical form: another type, NaN, an infinity, a lone surrogate, a key that is no string, an integer outside ±(2^64−1).
    PROTOCOL: Canonical JSON.
    """
    return canonical_text(value).encode()


def canonical_text(value: object, levels: int = MAX_DEPTH, root: str = "") -> str:
    """`canonical_json` as a str (which always encodes). At most `levels` of nesting; `root` is put before pointers in errors."""
    try:
        return _text(value, levels)
    except _Refused as refused:
        raise InvalidTraceEvent(
            refused.message, path=_printable(pointer(root, *reversed(refused.steps))) or None
        ) from None


def _printable(text: str) -> str:
    """A key may hold a lone surrogate; a message with one could not be written anywhere."""
    return text.encode(errors="replace").decode()


def _text(value: object, levels: int) -> str:
    kind = type(value)
    if kind is str:
        return _string(value)  # type: ignore[arg-type]
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return _integer(value)  # type: ignore[arg-type]
    if value is None:
        return "null"
    if kind is float:
        return _float(value)  # type: ignore[arg-type]
    if kind is dict:
        return _object(value, levels)  # type: ignore[arg-type]
    if kind is list:
        return _array(value, levels)  # type: ignore[arg-type]
    return _text(_plain(value), levels)


def _plain(value: object) -> object:
    """The plain value of a subclass instance, whatever the subclass prints or compares as."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list):
        return list(value)
    raise _Refused(
        f"a value of type {type(value).__name__} has no canonical JSON; use dict, list, str, int, float, bool or None"
    )


def _string(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Refused("a string holds a lone surrogate, which is no character; replace it") from None
    return _quote(value)


def _integer(value: int) -> str:
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise _Refused("an integer is outside ±(2^64−1); pass it as a string")
    return str(value)


def _float(value: float) -> str:
    """The shortest decimal that reads back as `value`: `repr`, with its exponent written out."""
    text = repr(value)
    if text.endswith(".0"):
        return "0" if value == 0 else text[:-2]
    if text[-1] in "fn":  # inf, -inf, nan
        raise _Refused("NaN and infinities are no JSON numbers; leave them out or pass null")
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits, point = whole + fraction, len(whole) + int(exponent)
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    # repr uses an exponent from 1e16 on, with at most 17 digits: here the digits end before the point.
    return sign + digits.ljust(point, "0")


def _object(value: dict[str, object], levels: int) -> str:
    if levels == 0:
        raise _Refused(f"the value is nested deeper than {MAX_DEPTH} levels")
    for key in value:
        if type(key) is not str:
            value = _plain_keys(value)
            break
    members = []
    for key in sorted(value):  # str compares by code point
        try:
            members.append(f"{_string(key)}:{_text(value[key], levels - 1)}")
        except _Refused as refused:
            refused.steps.append(key)
            raise
    return "{" + ",".join(members) + "}"


def _plain_keys(value: dict[str, object]) -> dict[str, object]:
    plain: dict[str, object] = {}
    for key, member in value.items():
        if not isinstance(key, str):
            raise _Refused(f"an object has a key of type {type(key).__name__}; keys are strings")
        plain[str.__str__(key)] = member
    if len(plain) < len(value):
        raise _Refused("an object has two keys that are the same string")
    return plain


def _array(value: list[object], levels: int) -> str:
    if levels == 0:
        raise _Refused(f"the value is nested deeper than {MAX_DEPTH} levels")
    items = []
    for index, item in enumerate(value):
        try:
            items.append(_text(item, levels - 1))
        except _Refused as refused:
            refused.steps.append(index)
            raise
    return "[" + ",".join(items) + "]"
