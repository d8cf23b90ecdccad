"""Semantic versions and npm ranges (semver 2.0.0; node-semver's README)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.atlas.semver import MAX_LENGTH, Version, parse_range, parse_version

ASCENDING = [
    "0.0.0-0", "0.0.0", "0.9.0", "1.0.0-0", "1.0.0-2", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta",
    "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0",
]  # fmt: skip
"""The precedence list of semver 2.0.0, section 11, with the rules around it."""

numbers = st.integers(0, 40)
releases = st.tuples(numbers, numbers, numbers)
prereleases = st.lists(st.one_of(st.integers(0, 20), st.sampled_from(["a", "b", "rc", "x-1"])), max_size=3)


@st.composite
def version_texts(draw: st.DrawFn) -> str:
    """A random version."""
    text = ".".join(map(str, draw(releases)))
    suffix = ".".join(map(str, draw(prereleases)))
    return f"{text}-{suffix}" if suffix else text


def allows(text: str, version: str) -> bool:
    """Whether a range has a version."""
    return parse_version(version) in parse_range(text)


def test_precedence_is_that_of_the_specification() -> None:
    """Sorting by precedence gives the order of semver 2.0.0, section 11."""
    shuffled = sorted(ASCENDING, key=len)
    assert sorted(shuffled, key=lambda text: parse_version(text).precedence) == ASCENDING
    assert len({parse_version(text).precedence for text in ASCENDING}) == len(ASCENDING)


def test_build_metadata_has_no_precedence() -> None:
    """Two versions that differ in their build only are the same."""
    assert parse_version("1.0.0-a+x.7") == parse_version("1.0.0-a+y") == Version((1, 0, 0), ("a",))


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3+", "v1.2.3", "1.2.3\n", "１.2.3",
     "1.2.3-ä", "9" * MAX_LENGTH + ".0.0"],
)  # fmt: skip
def test_what_is_no_version_is_refused(text: str) -> None:
    """Anything but a whole semantic version of a sane length is a ValueError that says what to write."""
    with pytest.raises(ValueError, match=r"is not a semantic version; write MAJOR\.MINOR\.PATCH"):
        parse_version(text)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("^1.2.3", "1.2.3 1.2.4 1.99.0", "1.2.2 2.0.0 2.0.0-alpha 1.3.0-alpha 0.9.9"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2 1.0.0"),
        ("^0.0.3", "0.0.3", "0.0.4 0.0.2 0.1.0"),
        ("^1.2", "1.2.0 1.9.9", "1.1.9 2.0.0"),
        ("^0.0", "0.0.0 0.0.9", "0.1.0"),
        ("^0", "0.0.0 0.9.9", "1.0.0"),
        ("^0.x", "0.0.0 0.9.9", "1.0.0"),
        ("^1.2.x", "1.2.0 1.9.9", "1.1.9 2.0.0"),
        ("^1.2.3-beta.2", "1.2.3-beta.2 1.2.3-beta.4 1.2.3 1.4.0", "1.2.3-beta.1 1.2.4-beta.2 2.0.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.3.0 1.2.2"),
        ("~1.2", "1.2.0 1.2.9", "1.3.0 1.1.9"),
        ("~1", "1.0.0 1.9.9", "2.0.0 0.9.9"),
        ("~1.2.3-beta.2", "1.2.3-beta.4 1.2.4", "1.2.4-beta.2 1.3.0"),
        (">=1.0 <2.0", "1.0.0 1.9.9", "0.9.9 2.0.0 2.0.0-rc"),
        (">1.2", "1.3.0", "1.2.0 1.2.9"),
        (">1.2.3", "1.2.4", "1.2.3"),
        ("<1.2", "1.1.9", "1.2.0 1.2.0-rc"),
        ("<1.2.0-rc", "1.1.9 1.2.0-beta", "1.2.0-rc 1.2.0"),
        ("<=1.2", "1.2.9", "1.3.0"),
        ("<=1.2.3", "1.2.3", "1.2.4"),
        ("=1.2.3", "1.2.3 1.2.3+build", "1.2.4"),
        ("1.2.3", "1.2.3", "1.2.2 1.2.4 1.2.3-a"),
        ("1.2.x", "1.2.0 1.2.9", "1.3.0 1.1.9"),
        ("1.X", "1.0.0 1.9.9", "2.0.0"),
        ("1.*.*", "1.0.0 1.9.9", "2.0.0"),
        ("1", "1.0.0 1.9.9", "2.0.0 0.9.9"),
        ("*", "0.0.0 9.9.9", "1.0.0-alpha"),
        ("x.x.x", "0.0.0 9.9.9", "1.0.0-alpha"),
        ("", "0.0.0 9.9.9", "1.0.0-alpha"),
        (">=*", "0.0.0 9.9.9", ""),
        ("<*", "", "0.0.0 0.0.0-0 9.9.9"),
        (">*", "", "0.0.0 9.9.9"),
        ("1.2 - 2.3.4", "1.2.0 2.3.4", "1.1.9 2.3.5"),
        ("1.2.3 - 2.3", "1.2.3 2.3.9", "1.2.2 2.4.0"),
        ("1.2.3 - *", "1.2.3 9.0.0", "1.2.2"),
        ("<1.0.0 || >=2.3.1 <2.4.0 || 3.x", "0.9.0 2.3.1 3.9.9", "1.5.0 2.4.0 4.0.0"),
        (">= 1.0.0   < 2", "1.5.0", "2.0.0"),
        ("~ 1.2", "1.2.9", "1.3.0"),
    ],
)  # fmt: skip
def test_ranges_are_those_of_npm(text: str, inside: str, outside: str) -> None:
    """Each form of range has the versions that npm documents for it, and no others."""
    for version in inside.split():
        assert allows(text, version), f"{version} should be in {text}"
    for version in outside.split():
        assert not allows(text, version), f"{version} should not be in {text}"


@pytest.mark.parametrize(
    "text",
    ["abc", "^", "1.2.3.4", "01.2.3", "1.x.3", "1.2.x-beta", "x.1", "1.0 -2.0", "1 - 2 - 3", ">1 - 2", ">=1.0<2.0", "=>1",
     "1.0 | 2.0", "1\n", "\t1", "v1", ">", "1.2.3 junk", "|| || junk", "1" * (MAX_LENGTH + 1)],
)  # fmt: skip
def test_what_is_no_range_is_refused(text: str) -> None:
    """Anything else is a ValueError, never a range that ignores a part of what was written."""
    with pytest.raises(ValueError, match="is not a version range"):
        parse_range(text)


@given(version_texts(), version_texts())
def test_operators_agree_with_precedence(left: str, right: str) -> None:
    """`<`, `<=`, `>`, `>=` and `=` say what precedence says, wherever the prerelease rule does not intervene."""
    a, b = parse_version(left), parse_version(right)
    applies = not a.prerelease or (bool(b.prerelease) and a.release == b.release)
    assert (applies and a.precedence < b.precedence) == allows(f"<{right}", left)
    assert (applies and a.precedence <= b.precedence) == allows(f"<={right}", left)
    assert (applies and a.precedence > b.precedence) == allows(f">{right}", left)
    assert (applies and a.precedence >= b.precedence) == allows(f">={right}", left)
    assert (a.precedence == b.precedence) == allows(f"={right}", left)


@given(version_texts(), releases)
def test_caret_keeps_the_leftmost_part_that_is_not_zero(base: str, other: tuple[int, int, int]) -> None:
    """A release is in `^base` exactly when it is not before it and agrees with it up to its first part that is not zero."""
    start = parse_version(base)
    kept = next((index for index, part in enumerate(start.release) if part), 2) + 1
    expected = other[:kept] == start.release[:kept] and Version(other).precedence >= start.precedence
    assert expected == (Version(other) in parse_range(f"^{base}"))


@given(version_texts())
def test_a_version_is_in_its_own_range(text: str) -> None:
    """Every version is in the range that is the version itself, and in the union with anything."""
    assert allows(text, text)
    assert allows(f"0.0.1 || {text}", text)


@given(st.text(alphabet="0123456789.xX*^~<>= |-+ab", max_size=24))
def test_reading_a_range_never_fails_otherwise(text: str) -> None:
    """Any text is a range or a ValueError; it is never read in part."""
    try:
        found = parse_range(text)
    except ValueError:
        return
    assert isinstance(Version((1, 0, 0)) in found, bool)
