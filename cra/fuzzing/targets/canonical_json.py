"""Strict JSON and canonical JSON: a text is read or refused, and what was read has one canonical form.

A text that strict reading refuses is read leniently, as Python does, so that values come by which have no canonical form: NaN,
lone surrogates, integers of any size. PROTOCOL: Canonical JSON.
"""

from __future__ import annotations

import json
from typing import Any

from cra.errors import CRAError
from cra.fuzzing.harness import refusal
from cra.fuzzing.target import Target, expect
from cra.hotpath import canonical_json, canonical_text, hash_value, plain_copy
from cra.strictjson import MAX_INTEGER, JSONProblem, parse

_KEY = b"a key of the host"


def answer(data: bytes) -> object:
    """What reading says, and what the value has for a form, a copy and hashes."""
    try:
        value = parse(data)
    except JSONProblem as problem:
        return problem.message, problem.position, _lenient(data)
    expect(_same(value, json.loads(data)), "strict reading and Python's own disagree about a text that both take")
    canonical = canonical_json(value)
    expect(canonical_json(parse(canonical)) == canonical, "the canonical form reads back as something else")
    copied = plain_copy(value)
    expect(repr(copied) == repr(value), "the copy is another value")
    return canonical, hash_value(value), hash_value(value, _KEY), copied


def _lenient(data: bytes) -> object:
    try:
        value = json.loads(data.decode(errors="surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return [_outcome(lambda: canonical_text(value, 8, "/at")), _outcome(lambda: plain_copy(value, "/at"))]


def _outcome(call: Any) -> object:
    try:
        return call()
    except CRAError as error:
        return refusal(error)
    except JSONProblem as problem:
        return problem.message, problem.position


def _same(strict: Any, other: Any) -> bool:
    """Whether Python's own reader says the same; it keeps integers that strict reading makes doubles."""
    if isinstance(strict, dict):
        return list(strict) == list(other) and all(_same(strict[key], other[key]) for key in strict)
    if isinstance(strict, list):
        return len(strict) == len(other) and all(map(_same, strict, other))
    if isinstance(other, int) and not isinstance(other, bool) and abs(other) > MAX_INTEGER:
        return isinstance(strict, float) and strict == float(other)
    return type(strict) is type(other) and strict == other


def seeds() -> list[bytes]:
    """Every kind of value, and the edges of numbers, texts and nesting."""
    return [
        b'{"b":[1,-0.0,1e21,5e-324,0.1,18446744073709551615,-18446744073709551616],"a":{"":null,"~/":true}}',
        '["é€😀\u2028","\\ud83d\\ude00\\u0000\\n\\"\\\\\\/","\x7f"]'.encode(),
        b'[NaN,-Infinity,"\\ud800",1e999,123456789012345678901234567890]',
        b'{"a":1,"a":2}',
        b"[" * 129 + b"]" * 129,
        b"\xef\xbb\xbf{}",
        b'{"a":"\xed\xa0\x80"}',
    ]


TARGET = Target(
    "canonical-json",
    "strict JSON texts, and the canonical form, copy and hashes of their values",
    answer,
    seeds,
    tokens=(
        b'{"a":', b'"\\ud83d\\ude00"', b"\\u0000", b"\\ud800", b"1e308", b"-0.0", b"18446744073709551616", b"NaN", b"null",
        b"true", b"9007199254740993", b"[[[[", b"]]]]", b"\xef\xbf\xbd", b"\xed\xa0\x80", b"1E+2", b"5e-324",
    ),
    notation="json",
)  # fmt: skip
