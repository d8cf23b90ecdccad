"""Strict JSON: what is accepted is what `json` accepts and the protocol allows; everything else is one error with a position."""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import threading
import time
from collections import OrderedDict
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.strictjson import MAX_DEPTH, MAX_INTEGER, JSONProblem, parse, plain_copy, shorten

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner),
    max_leaves=20,
)


def problem_of(data: Any) -> JSONProblem:
    with pytest.raises(JSONProblem) as caught:
        parse(data)
    return caught.value


def problem_of_copying(value: Any) -> JSONProblem:
    with pytest.raises(JSONProblem) as caught:
        plain_copy(value)
    return caught.value


@given(values, st.booleans())
def test_every_json_value_survives_the_round_trip(value: Any, ascii_only: bool) -> None:
    """What `json` writes, `parse` reads back, from bytes and from text, with escapes and without."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert value == parse(text)
    assert value == parse(text.encode())


@given(values)
def test_a_copy_is_equal_and_shares_nothing(value: Any) -> None:
    """A plain copy equals the original and reads the same; its containers are its own."""
    copy = plain_copy(value)
    assert json.dumps(value) == json.dumps(copy)
    assert value is not copy or not isinstance(value, (dict, list))


def number_of(literal: str) -> int | float:
    """An integer literal as the protocol reads it: a double where it is out of range."""
    value = int(literal)
    return value if abs(value) < 2**64 else float(literal)


@given(st.binary(max_size=40) | st.text(max_size=40) | st.text('[]{}",:0aeN\\ud8-.\n ', max_size=40))
def test_no_input_raises_anything_else(data: bytes | str) -> None:
    """Whatever the input, it is a value or a `JSONProblem`; and what is accepted, `json` accepts with the same value."""
    with contextlib.suppress(JSONProblem):
        assert parse(data) == json.loads(data, parse_int=number_of)


FRAGMENTS = [
    *'[]{}",: \\\n\t-+.0',
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1" * 400,
        "1e9",
        "true",
        "null",
        "x",
        '"a"',
        '"a":',
        '\\ud800"',
    ),
    *("\ufeff", "\ud800", "\u00a0", "é", "[" * 150),
]


@given(values, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.sampled_from(FRAGMENTS)), max_size=6))
def test_almost_json_raises_nothing_else(value: Any, edits: list[tuple[int, int, str]]) -> None:
    """JSON with pieces cut out and others put in is a value or a `JSONProblem`, as text and as bytes."""
    text = json.dumps(value)
    for place, cut, fragment in edits:
        place %= len(text) + 1
        text = text[:place] + fragment + text[place + cut :]
    for data in (text, text.encode(errors="surrogatepass")):
        with contextlib.suppress(JSONProblem):
            parse(data)


@pytest.mark.parametrize(
    ("data", "message", "position"),
    [
        ("NaNx", "NaN is no JSON number", "line 1 column 1"),
        ("[NaN1]", "NaN is no JSON number", "line 1 column 2"),
        ('{"a":-Infinityx}', "-Infinity is no JSON number", "line 1 column 6"),
        ("[1e400true]", "the number is too large for a double", "line 1 column 2"),
        ("[1e40, 1e400x, 1e4000]", "the number is too large for a double", "line 1 column 8"),
        ('["a', "not JSON: Unterminated string starting", "line 1 column 2"),
        (r'"\x"', "not JSON: Invalid \\escape", "line 1 column 2"),
        (b'{"a": \xff}', "the text is not UTF-8", "byte 6"),
        (b"\xed\xa0\x80", "the text is not UTF-8", "byte 0"),
        (b"\xef\xbb\xbf{}", "the text starts with a byte order mark; save it as UTF-8 without one", "line 1 column 1"),
        ("", "not JSON: Expecting value", "line 1 column 1"),
        ('{"a": 1,\n "b": }', "not JSON: Expecting value", "line 2 column 7"),
        ('{"a": 1} x', "not JSON: Extra data", "line 1 column 10"),
        ('{"a": "\t"}', "not JSON: Invalid control character", "line 1 column 8"),
        ('{"a": 1,\n "a": 2}', "the key 'a' occurs twice in one object", "line 2 column 2"),
        ('[1, {"b": [{"a:": "{", "a:" : 2}]}]', "the key 'a:' occurs twice in one object", "line 1 column 24"),
        ('{"\\u0061": 1, "a": 2}', "the key 'a' occurs twice in one object", "line 1 column 15"),
        ('{"a": 1, "a": {"b": 1, "b": 2}}', "the key 'a' occurs twice in one object", "line 1 column 10"),
        (
            f'{{"{"k" * 50}": 1, "{"k" * 50}": 2}}',
            f"the key '{'k' * 40}…' occurs twice in one object",
            "line 1 column 59",
        ),
        ('{"NaN": "NaN",\n"a": NaN}', "NaN is no JSON number", "line 2 column 6"),
        ("[Infinity]", "Infinity is no JSON number", "line 1 column 2"),
        ("[-Infinity]", "-Infinity is no JSON number", "line 1 column 2"),
        ('["1e400", 1e400]', "the number is too large for a double", "line 1 column 11"),
        ("-1e400", "the number is too large for a double", "line 1 column 1"),
        ("1" * 400, "the number is too large for a double", "line 1 column 1"),
        ('["\\ud83d\\ude00", "\\\\ud800",\n"\\ud800"]', "a lone surrogate is no character", "line 2 column 2"),
        ('"\\udc00\\ud800"', "a lone surrogate is no character", "line 1 column 2"),
        ('{"\\uDBFF": 1}', "a lone surrogate is no character", "line 1 column 3"),
        ('["é", "\ud800"]', "a lone surrogate is no character", "line 1 column 8"),
        ("[" * 129 + "]" * 129, "nested deeper than 128 levels", "line 1 column 129"),
        ('["[]",' + '{"a":' * 128, "nested deeper than 128 levels", "line 1 column 642"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_its_position(data: Any, message: str, position: str) -> None:
    """Each kind of bad input has its sentence and the place where it stands."""
    problem = problem_of(data)
    assert (message, position) == (problem.message, problem.position)
    assert f"{message} at {position}" == str(problem)


def test_nesting_is_allowed_up_to_the_bound() -> None:
    """`MAX_DEPTH` levels are read; brackets in strings and siblings do not count."""
    value = parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for _ in range(MAX_DEPTH - 1):
        (value,) = value
    assert [] == value
    assert 500 * [["[[{"]] == parse("[" + ",".join(500 * ['["[[{"]']) + "]")
    assert ['\\"' + "[" * 500] == parse('["\\\\\\"' + "[" * 500 + '"]')


def test_the_quick_depth_count_only_asks_for_the_exact_one() -> None:
    """A text with a stray backslash is no JSON, not too deep: what stands behind its first error is never recursed over."""
    assert "not JSON: Expecting value" == problem_of('\\"' + "[" * 500).message


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("-18446744073709551615", -(2**64) + 1),
        ("18446744073709551616", 2.0**64),
        ("-18446744073709551616", -(2.0**64)),
        ("9999999999999999999", 9999999999999999999),
        ("1" + "0" * 300, 1e300),
        ("-0", 0),
        ("-0.0", -0.0),
        ("5e-324", 5e-324),
        ("1e-400", 0.0),
    ],
)
def test_integers_are_exact_within_64_bits_and_doubles_outside(literal: str, expected: float) -> None:
    """PROTOCOL: Canonical JSON: when reading, an integer literal outside ±(2^64−1) is a double."""
    value = parse(literal)
    assert (type(expected), repr(expected)) == (type(value), repr(value))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 300_000,
        '{"a":' * 300_000,
        "1" * 1_000_000,
        "0." + "1" * 1_000_000 + "e9",
        '"' + "\\n" * 500_000 + '"',
        '"' + "\\ud83d\\ude00" * 100_000 + "\\ud800",
        '"' + "\\" * 999_999,
        '{"a": "' + "x" * 1_000_000 + '", "a": 1}',
        "{" + ",".join(f'"{i}":[{{}}]' for i in range(100_000)) + ',"7":1}',
    ],
    ids=["arrays", "objects", "digits", "fraction", "escapes", "surrogates", "backslashes", "string", "keys"],
)
def test_large_input_takes_linear_time(text: str) -> None:
    """A megabyte of the worst is read or refused in far less than the time that quadratic work would take, traced or not."""
    started = time.process_time()
    with contextlib.suppress(JSONProblem):
        parse(text)
    assert time.process_time() - started < 60


class Colour(str, Enum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


class Ratio(float):
    def __repr__(self) -> str:
        return "ratio"


def test_subclasses_are_copied_as_their_plain_type() -> None:
    """A copy holds exact types only, whatever the originals print or iterate as."""
    copy = plain_copy(OrderedDict({Colour.RED: [Size.LARGE, Ratio(0.5), True, None]}))
    assert {"red": [3, 0.5, True, None]} == copy
    assert (dict, str, int, float) == (type(copy), type(next(iter(copy))), type(copy["red"][0]), type(copy["red"][1]))


@pytest.mark.parametrize(
    ("value", "message", "position"),
    [
        ((1,), "a value of type tuple is no JSON value", ""),
        ({"a": [1, {"b/c": b"x"}]}, "a value of type bytes is no JSON value", "/a/1/b~1c"),
        ({"a": {1: 2}}, "a key of type int is no string", "/a"),
        ([math.nan], "NaN and infinities are no JSON numbers", "/0"),
        ([0, -math.inf], "NaN and infinities are no JSON numbers", "/1"),
        ([2**64], "an integer is outside ±(2^64 - 1)", "/0"),
        ([-(2**64)], "an integer is outside ±(2^64 - 1)", "/0"),
        ({"a": "\ud800"}, "a lone surrogate is no character", "/a"),
        ({"a": {"\ud800": 1}}, "a lone surrogate is no character", "/a"),
    ],
)
def test_what_is_no_json_value_is_not_copied(value: object, message: str, position: str) -> None:
    """Each other value is refused with the pointer of where it stands."""
    problem = problem_of_copying(value)
    assert (message, position) == (problem.message, problem.position)


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}], ids=["array", "object"])
def test_a_copy_is_bounded_in_depth(wrap: Any) -> None:
    """`MAX_DEPTH` levels are copied, one more is refused, and so is a value that contains itself."""
    value = 0
    for _ in range(MAX_DEPTH):
        value = wrap(value)
    assert value == plain_copy(value)
    assert "nested deeper than 128 levels" == problem_of_copying(wrap(value)).message
    endless: list[Any] = []
    endless.append(endless)
    assert "nested deeper than 128 levels" == problem_of_copying(endless).message


def test_the_pointer_of_a_copy_starts_where_the_caller_says() -> None:
    """`at` is put in front, so that the error names the place in the whole document."""
    with pytest.raises(JSONProblem, match=r"^a value of type set is no JSON value at /actions/3/a$"):
        plain_copy({"a": set()}, "/actions/3")


def test_a_problem_without_position_is_its_sentence() -> None:
    """The input as a whole has no position; and a problem survives pickling."""
    problem = JSONProblem("empty")
    assert "empty" == str(problem)
    assert str(JSONProblem("empty", "byte 3")) == str(pickle.loads(pickle.dumps(JSONProblem("empty", "byte 3"))))


def test_shown_text_is_quoted_and_short() -> None:
    """Messages show at most 40 characters of what was given, on one line."""
    assert "'a\\nb'" == shorten("a\nb")
    assert repr("x" * 40 + "…") == shorten("x" * 41)


def test_a_copy_is_not_disturbed_by_another_thread() -> None:
    """A container that changes while it is copied is copied as it was at one moment, without an error."""
    value: dict[str, Any] = {"list": [], "dict": {}}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) % 1000
            value["dict"][str(number)] = number
            value["list"].append(number)
            if not number:
                value["dict"].clear()
                value["list"].clear()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            copy = plain_copy(value)
            assert copy["list"] == list(range(1, len(copy["list"]) + 1)) or 0 in copy["list"]
    finally:
        stop.set()
        thread.join()


def test_a_copy_has_a_bounded_number_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """`MAX_VALUES` are copied, one more is not; shared parts count each time, and the work is bounded, too."""
    monkeypatch.setattr("cra.strictjson.MAX_VALUES", 1000)
    assert {"a": [0] * 999} == plain_copy({"a": [0] * 999})
    assert "there are more than 1000 values; pass a reference to the data instead" == str(
        problem_of_copying({"a": [0] * 1000})
    )
    shared: list[Any] = []
    for _ in range(100):
        shared = [shared, shared]
    assert "there are more than 1000 values" in problem_of_copying(shared).message
