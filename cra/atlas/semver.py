"""Semantic versions 2.0.0 and the ranges of npm, for the dependencies between atlases.

Called by the loader (to refuse what is not one) and by the registry (to compare). It never looks at an atlas.
PROTOCOL: Atlas/1.0.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from functools import cache

import msgspec

from cra.strictjson import shorten

MAX_LENGTH = 256

_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRERELEASE = rf"(?:{_NUMBER}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_SUFFIX = rf"(?:-(?P<pre>{_PRERELEASE}(?:\.{_PRERELEASE})*))?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
_VERSION = rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER}){_SUFFIX}"
_ANY = r"[xX*]"
_PARTIAL = (
    rf"(?:(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER})(?:\.(?P<patch>{_NUMBER}){_SUFFIX}|\.{_ANY})?"
    rf"|\.{_ANY}(?:\.{_ANY})?)?|{_ANY}(?:\.{_ANY}){{0,2}})"
)
_SIMPLE = rf"(?P<op>[<>]=?|=|\^|~)? *{_PARTIAL}(?: +|\Z)"
_HYPHEN = re.compile(r"(?P<low>[^ <>=^~]+) +- +(?P<high>[^ <>=^~]+)")

# Compiled when the first version is read: `import cra` would spend a twentieth of its time on these two.
_compiled = cache(re.compile)

Release = tuple[int, int, int]
Precedence = tuple[Release, bool, tuple[tuple[bool, int | str], ...]]
Compare = Callable[[Precedence, Precedence], bool]


class Version(msgspec.Struct, frozen=True):
    """A version. Build metadata is not kept: it has no precedence."""

    release: Release
    prerelease: tuple[int | str, ...] = ()

    @property
    def precedence(self) -> Precedence:
        """What orders versions (semver 2.0.0, 11): without a prerelease after those with one, a number before a word."""
        return self.release, not self.prerelease, tuple((isinstance(part, str), part) for part in self.prerelease)


class Comparator(msgspec.Struct, frozen=True):
    compare: Compare
    bound: Version


class Range(msgspec.Struct, frozen=True):
    """A set of versions: those that satisfy all comparators of one of the alternatives."""

    alternatives: tuple[tuple[Comparator, ...], ...]

    def __contains__(self, version: Version) -> bool:
        return any(_satisfies(version, comparators) for comparators in self.alternatives)


def _satisfies(version: Version, comparators: tuple[Comparator, ...]) -> bool:
    if not all(item.compare(version.precedence, item.bound.precedence) for item in comparators):
        return False
    # A prerelease is for those who asked for one: some bound has to be a prerelease of the same release.
    return not version.prerelease or any(
        item.bound.prerelease and item.bound.release == version.release for item in comparators
    )


def parse_version(text: str) -> Version:
    """`"1.2.3-rc.1"` as a `Version`; raises `ValueError` with a sentence where it is none (or is over 256 characters)."""
    match = _compiled(_VERSION).fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise ValueError(f"{shorten(text)} is not a semantic version; write MAJOR.MINOR.PATCH, such as 1.0.0")
    return Version((int(match["major"]), int(match["minor"]), int(match["patch"])), _prerelease(match))


def parse_range(text: str) -> Range:
    """An npm range: `^1.2.3`, `~1.2`, `>=1.0 <2.0`, `1.2.x`, `1.0 - 2.0`, `*`, an exact version, alternatives with `||`.

    A prerelease is in a range only where a bound of the same release is a prerelease itself. Raises `ValueError` with a
    sentence where it is none (or is over 256 characters).
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"{shorten(text)} is not a version range; it may have {MAX_LENGTH} characters")
    return Range(tuple(_alternative(part.strip(" "), text) for part in text.split("||")))


def _alternative(text: str, whole: str) -> tuple[Comparator, ...]:
    hyphen = _HYPHEN.fullmatch(text)
    if hyphen:
        return (
            *_comparators(_simple(hyphen["low"], 0, whole), ">="),
            *_comparators(_simple(hyphen["high"], 0, whole), "<="),
        )
    found: list[Comparator] = []
    position = 0
    while position < len(text):
        match = _simple(text, position, whole)
        found += _comparators(match, match["op"] or "=")
        position = match.end()
    return tuple(found)


def _simple(text: str, position: int, whole: str) -> re.Match[str]:
    match = _compiled(_SIMPLE).match(text, position)
    if match is None:
        raise ValueError(f"{shorten(whole)} is not a version range; write one such as ^1.2.3, ~1.2, >=1.0 <2.0 or *")
    return match


def _comparators(match: re.Match[str], op: str) -> tuple[Comparator, ...]:
    """The bounds that one part such as `^1.2` stands for. `low` is its first version, `after` the first one beyond it."""
    given = [int(part) for part in match.group("major", "minor", "patch") if part is not None]
    low = Version(_release(given), _prerelease(match))
    if not given:
        return (_below((0, 0, 0)),) if op in ("<", ">") else ()
    exact = len(given) == 3
    if op == "<":
        return (Comparator(operator.lt, low),) if exact else (_below(low.release),)
    if op == ">=":
        return (Comparator(operator.ge, low),)
    if op == ">":
        return (Comparator(operator.gt, low),) if exact else (Comparator(operator.ge, Version(_next(given))),)
    if op == "<=":
        return (Comparator(operator.le, low),) if exact else (_below(_next(given)),)
    if op == "^":
        return Comparator(operator.ge, low), _below(_next(given[: _significant(given)]))
    if op == "~":
        return Comparator(operator.ge, low), _below(_next(given[:2]))
    return (Comparator(operator.eq, low),) if exact else (Comparator(operator.ge, low), _below(_next(given)))


def _release(parts: list[int]) -> Release:
    major, minor, patch = parts + [0] * (3 - len(parts))
    return major, minor, patch


def _next(given: list[int]) -> Release:
    """The first release after all that begin with `given`."""
    return _release([*given[:-1], given[-1] + 1])


def _significant(given: list[int]) -> int:
    """How many parts a caret keeps: up to the first that is not zero."""
    return next((count for count, part in enumerate(given, 1) if part), len(given))


def _below(release: Release) -> Comparator:
    """Before `release` and before all of its prereleases."""
    return Comparator(operator.lt, Version(release, (0,)))


def _prerelease(match: re.Match[str]) -> tuple[int | str, ...]:
    parts = match["pre"].split(".") if match["pre"] else []
    return tuple(int(part) if part.isdigit() else part for part in parts)
