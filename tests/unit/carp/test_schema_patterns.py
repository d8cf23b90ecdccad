"""Patterns: what is refused, and why, and what they take together."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cra.carp.schema import Schema, SchemaProblem
from cra.carp.schema_patterns import MAX_ALL_PATTERN_BYTES, MAX_PATTERN, TOO_MANY

KB = 1024
BACKTRACKING = "not a pattern that a linear-time engine runs: it has no look-around and no back-references"
TOO_LARGE = "this pattern takes more than 2 MB once compiled; shorten its repetitions"
WRONG = "not a regular expression: its syntax is wrong"


def problem_of(document: dict[str, Any]) -> SchemaProblem:
    with pytest.raises(SchemaProblem) as caught:
        Schema(document)
    return caught.value


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(?=a)b", BACKTRACKING),
        ("(?<!a)b", BACKTRACKING),
        (r"(a)\1", BACKTRACKING),
        (r"\pL{170}", TOO_LARGE),
        ("(a{1000}){1000}", TOO_LARGE),
        (r"\w{2,60000}", TOO_LARGE),
        ("(", WRONG),
        ("a)", WRONG),
        ("[z-a]", WRONG),
        ("a{3,2}", WRONG),
        ("*", WRONG),
        (r"\p{Nonsense}", WRONG),
        ("a" * (MAX_PATTERN + 1), "a pattern has at most 10,000 characters"),
        ("(" * MAX_PATTERN, WRONG),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_the_reason(pattern: str, sentence: str) -> None:
    """Wherever it stands, at its place, and at once."""
    started = time.perf_counter()
    problem = problem_of({"items": {"pattern": pattern}})
    assert ("/items/pattern", sentence) == (problem.pointer, problem.message)
    problem = problem_of({"patternProperties": {"^a": {}, pattern: {}}})
    assert f"/patternProperties/{pattern}" == problem.pointer
    assert sentence == problem.message
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize(
    ("pattern", "accepted", "refused"),
    [
        (r"^[\w.+-]+@[\w-]+\.[\w.]+$", "a@example.com", "a@b"),
        (r"^\p{L}+$", "Größe", "a1"),
        (r"^[^/]{1,100}/[^/]{1,100}$", "a/b", "a"),
        (r"^.{1,1000}$", "a", ""),
        (r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "01234567-0123-0123-0123-0123456789ab", "x"),
        (r"^(?i)abc$", "ABC", "ab"),
        ("|".join(f"^word{n}$" for n in range(800)), "word799", "word800"),
    ],
)
def test_ordinary_patterns_are_accepted(pattern: str, accepted: str, refused: str) -> None:
    """Classes, bounded repetitions, Unicode, long alternatives."""
    schema = Schema({"pattern": pattern})
    assert schema.accepts(accepted)
    assert not schema.accepts(refused)


def test_the_size_of_patterns_is_rounded_up_and_counts_each_once() -> None:
    """The same pattern in several places is compiled once."""
    assert 0 == Schema({"properties": {"pattern": {"type": "string"}}}).pattern_bytes
    assert 4 * KB == Schema({"pattern": "^a+$", "items": {"patternProperties": {"^a+$": {}}}}).pattern_bytes
    assert (4 + 1024) * KB == Schema({"items": {"pattern": r"\pL{20}"}, "pattern": "^a+$"}).pattern_bytes


def test_what_is_no_pattern_is_an_ordinary_problem() -> None:
    """Ill-typed keywords are named by the validator."""
    assert "/pattern" == problem_of({"pattern": 3}).pointer
    assert "/patternProperties" == problem_of({"patternProperties": [1]}).pointer


def test_the_patterns_of_a_schema_have_a_bound_together() -> None:
    """16 KB of manifest took 48 s and 2.6 GB."""
    large = {f"p{n}": {"pattern": rf"\pL{{20}}{n}"} for n in range(MAX_ALL_PATTERN_BYTES // (1024 * KB) + 1)}
    started = time.perf_counter()
    problem = problem_of({"properties": large})
    assert ("/properties/p32/pattern", TOO_MANY) == (problem.pointer, problem.message)
    assert time.perf_counter() - started < 30
    large.popitem()
    assert MAX_ALL_PATTERN_BYTES == Schema({"properties": large}).pattern_bytes
