"""Canonical JSON. PROTOCOL: Canonical JSON."""

from __future__ import annotations

import enum
import json
import math
import struct
import sys
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cra.errors import InvalidTraceEvent
from cra.reference.canonical import canonical_json
from cra.strictjson import MAX_DEPTH, MAX_INTEGER, parse

pytestmark = pytest.mark.usefixtures("twin")

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=30)


def same(a: Any, b: Any) -> bool:
    """Equality of JSON values. A double and the integer it is written as are the same double; a bool is no number."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, float) or isinstance(b, float):
        return float(a) == float(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@given(VALUES)
def test_a_value_is_read_back_as_it_was(value: Any) -> None:
    """Parsing canonical JSON gives the value again, where 1.0 is written 1."""
    assert same(value, parse(canonical_json(value)))


@given(VALUES)
def test_canonical_json_of_what_was_read_back_is_the_same(value: Any) -> None:
    """One value has one form: writing, reading and writing again changes no byte."""
    once = canonical_json(value)
    assert once == canonical_json(parse(once))


@given(st.recursive(st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT,
                    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))  # fmt: skip
def test_without_floats_it_is_what_json_writes_sorted_and_compact(value: Any) -> None:
    """An independent writer agrees: sorted by code point, no white space, raw UTF-8."""
    expected = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    assert expected == canonical_json(value)


def test_every_character_of_the_first_plane_is_escaped_as_rfc_8785_says() -> None:
    """Only the quote, the backslash and control characters are escaped, in short form where there is one; U+007F is raw."""
    short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    for code in range(0x10000):
        if 0xD800 <= code <= 0xDFFF:
            continue
        character = chr(code)
        expected = short.get(character, f"\\u{code:04x}" if code < 0x20 else character)
        assert f'"{expected}"'.encode() == canonical_json(character)


def test_keys_are_escaped_like_strings() -> None:
    """A key with a quote, a control character and an emoji is written as the same string value would be."""
    key = '"\x01\u2028😀'
    assert b"{" + canonical_json(key) + b":1}" == canonical_json({key: 1})


def test_keys_are_sorted_by_code_point() -> None:
    """U+FF5E comes before U+1F600, although its UTF-16 unit is the greater: this is not JCS."""
    assert '{"~":1,"😀":2}'.encode().replace(b"~", "～".encode()) == canonical_json({"😀": 2, "～": 1})


def test_members_are_sorted_at_every_depth() -> None:
    """Sorting is not for the outermost object only."""
    assert b'[{"a":{"x":1,"y":2},"b":0}]' == canonical_json([{"b": 0, "a": {"y": 2, "x": 1}}])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.0, "-1"),
        (0.1, "0.1"),
        (-2.5, "-2.5"),
        (100000.0, "100000"),
        (1e15, "1000000000000000"),
        (1e16, "10000000000000000"),
        (1.5e16, "15000000000000000"),
        (-1.2345678901234567e20, "-123456789012345670000"),
        (1e22, "1" + "0" * 22),
        (1e-4, "0.0001"),
        (1e-5, "0.00001"),
        (-1.5e-7, "-0.00000015"),
        (1e-7, "0.0000001"),
        (sys.float_info.max, "17976931348623157" + "0" * 292),
        (5e-324, "0." + "0" * 323 + "5"),
    ],
)
def test_floats_are_written_without_exponent_and_without_a_trailing_zero(value: float, expected: str) -> None:
    """The shortest decimal that round-trips, written out; minus zero is 0."""
    assert expected.encode() == canonical_json(value)


@given(st.integers(0, 2**64 - 1))
@example(0x7FEF_FFFF_FFFF_FFFF)
@example(1)
def test_every_double_is_the_shortest_decimal_and_round_trips(bits: int) -> None:
    """Over all bit patterns: what is written is `repr` without its exponent, and reads back as the same double."""
    (value,) = struct.unpack("<d", bits.to_bytes(8, "little"))
    if not math.isfinite(value):
        return
    text = canonical_json(value).decode()
    expected = format(Decimal(repr(value)), "f")
    expected = (expected.rstrip("0").rstrip(".") if "." in expected else expected) if value else "0"
    assert expected == text
    assert value == float(text)


@pytest.mark.parametrize("value", [0, -1, MAX_INTEGER, -MAX_INTEGER, 2**53 + 1])
def test_integers_are_exact_up_to_64_bits(value: int) -> None:
    """Integers are written in decimal, never by way of a double."""
    assert str(value).encode() == canonical_json(value)


class Colour(str, enum.Enum):
    RED = "red"


class Shouting(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "SHOUT"

    def __lt__(self, other: str) -> bool:
        return not str.__lt__(self, other)


class Metres(float):
    def __repr__(self) -> str:
        return "far"


class Code(enum.IntEnum):
    OK = 7


class Names(list[Any]):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, b"true"),
        (False, b"false"),
        (Code.OK, b"7"),
        (Metres(1.5), b"1.5"),
        (Colour.RED, b'"red"'),
        (Shouting("quiet"), b'"quiet"'),
        (OrderedDict([("b", 1), ("a", 2)]), b'{"a":2,"b":1}'),
        (Names([1]), b"[1]"),
        ({Colour.RED: 1, "blue": 2}, b'{"blue":2,"red":1}'),
        ({Shouting("b"): 1, Shouting("a"): 2, Shouting("c"): 3}, b'{"a":2,"b":1,"c":3}'),
    ],
)
def test_subclasses_count_as_their_plain_value(value: Any, expected: bytes) -> None:
    """Neither how a subclass prints nor how it compares gets into the bytes; a bool is never 1."""
    assert expected == canonical_json(value)


class Distinct(str):
    """Equal to nothing, so that a dict may hold one text twice."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize(
    ("value", "path", "said"),
    [
        ((1, 2), None, "tuple"),
        ({1, 2}, None, "set"),
        (b"x", None, "bytes"),
        (object(), None, "object"),
        (Decimal(1), None, "Decimal"),
        (1j, None, "complex"),
        ([0, {"a/b~c": (1,)}], "/1/a~1b~0c", "tuple"),
        (math.nan, None, "NaN"),
        ([math.inf], "/0", "infinities"),
        ({"x": -math.inf}, "/x", "infinities"),
        (MAX_INTEGER + 1, None, "2^64"),
        ([-MAX_INTEGER - 1], "/0", "2^64"),
        pytest.param({"n": 10**5000}, "/n", "2^64", id="huge"),
        ("\ud800", None, "surrogate"),
        (["é\udfff"], "/0", "surrogate"),
        ({"a": {"\ud800": 1}}, "/a/?", "surrogate"),
        ({1: 2}, None, "key of type int"),
        ({"a": {None: 2}}, "/a", "key of type NoneType"),
        ({"a": 1, 2: 3}, None, "key of type int"),
        ({Distinct("a"): 1, Distinct("a"): 2}, None, "same string"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(value: Any, path: str | None, said: str) -> None:
    """`InvalidTraceEvent` names the JSON pointer and the reason, and the value itself is not in the message."""
    with pytest.raises(InvalidTraceEvent) as caught:
        canonical_json(value)
    assert "INVALID_TRACE_EVENT" == caught.value.code
    assert path == caught.value.path
    assert said in caught.value.message
    caught.value.message.encode()  # can always be printed


def nested(levels: int, leaf: Any = 0) -> Any:
    """Alternating lists and objects, `levels` of them."""
    value = leaf
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_nesting_is_bounded() -> None:
    """`MAX_DEPTH` levels are written and can be read; one more is refused, before Python's own stack is at stake."""
    assert same(nested(MAX_DEPTH), parse(canonical_json(nested(MAX_DEPTH))))
    for levels in (MAX_DEPTH + 1, MAX_DEPTH + 2):
        with pytest.raises(InvalidTraceEvent, match="deeper than 128"):
            canonical_json(nested(levels))


def test_a_value_that_holds_itself_is_refused() -> None:
    """A cycle is nesting without end."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidTraceEvent, match="deeper than 128"):
        canonical_json(loop)
