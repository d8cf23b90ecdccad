"""Globs against a matcher that tries everything, and in few steps whatever the pattern. PROTOCOL: Globs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.reference.glob import glob_match

pytestmark = pytest.mark.usefixtures("twin")


def brute_force(pattern: str, text: str) -> bool:
    """The definition: a `*` stands for any run of characters, so try every one."""

    @cache
    def matches(p: int, t: int) -> bool:
        if p == len(pattern):
            return t == len(text)
        if pattern[p] == "*":
            return any(matches(p + 1, end) for end in range(t, len(text) + 1))
        return t < len(text) and pattern[p] in ("?", text[t]) and matches(p + 1, t + 1)

    return matches(0, 0)


few = st.text("ab.", max_size=12)
patterns = st.text("ab.*?", max_size=10)


@given(patterns, few)
def test_a_glob_matches_what_trying_everything_matches(pattern: str, text: str) -> None:
    """Every pattern over a tiny alphabet, where near misses are likely."""
    assert brute_force(pattern, text) is glob_match(pattern, text)


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_glob_matches_what_trying_everything_matches_in_any_alphabet(pattern: str, text: str) -> None:
    """Any character of Unicode is one character, line ends included, and nothing else is special."""
    assert brute_force(pattern, text) is glob_match(pattern, text)


@st.composite
def matching(draw: st.DrawFn) -> tuple[str, str]:
    """A pattern, and a text made of it: every `*` a run and every `?` a character of the text's own."""
    pattern = draw(patterns)
    return pattern, "".join(
        draw(st.text("ab.*?\n", max_size=4)) if c == "*" else draw(st.sampled_from("ab.*?\n")) if c == "?" else c
        for c in pattern
    )


@given(matching())
def test_what_a_pattern_stands_for_matches(pair: tuple[str, str]) -> None:
    """Filling in the wildcards of a pattern gives a text that it matches."""
    assert glob_match(*pair)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("ticket.*", "ticket.a.b", True),
        ("*.delete", "a.b.delete", True),
        ("trace.edit_*", "trace.edit_event", True),
        ("ticket.*", "ticket.", True),
        ("ticket.*", "ticket", False),
        ("ticket.?", "ticket.", False),
        ("ticket.?", "ticket.ab", False),
        ("ticket", "ticket.get", False),
        ("ticket", "a.ticket", False),
        ("*", "", True),
        ("*", "a.b\nc", True),
        ("", "", True),
        ("", "a", False),
        ("a*", "a\n", True),
        ("a", "a\n", False),
        ("?", "\n", True),
        ("?", "😀", True),
        ("?", "e\N{COMBINING ACUTE ACCENT}", False),
        ("é", "e\N{COMBINING ACUTE ACCENT}", False),
    ],
)
def test_examples(pattern: str, text: str, expected: bool) -> None:
    """The protocol's own, and the edges: `*` takes dots, `?` exactly one character, and the whole text has to match."""
    assert expected is glob_match(pattern, text)


@pytest.mark.parametrize("letter", "[]!^$+(){}|\\#-/,")
def test_nothing_else_is_special(letter: str) -> None:
    """What other matchers treat as special is literal here."""
    assert glob_match(f"a{letter}*", f"a{letter}b")
    assert not glob_match(f"a{letter}b", "aab")
    assert not glob_match("[ab]", letter)


@given(st.text("abAB", min_size=1, max_size=4))
def test_case_matters(text: str) -> None:
    """A text matches itself, and not itself in the other case."""
    assert glob_match(text, text)
    assert not glob_match(text, text.swapcase())


class Counted(str):
    """A string that counts how often a character of it is looked at."""

    looks = 0

    def __getitem__(self, index: object) -> str:
        type(self).looks += 1
        return super().__getitem__(index)  # type: ignore[index]


HOSTILE: list[Callable[[int], tuple[str, str]]] = [
    lambda n: ("a*" * n + "b", "a" * 2 * n),
    lambda n: ("*a" * n + "*b", "a" * 2 * n),
    lambda n: ("*" * n + "b", "a" * 2 * n),
    lambda n: ("*" + "?" * n + "b", "a" * 2 * n),
    lambda n: ("*" + "a" * n + "b", "a" * 2 * n),
    lambda n: ("*" + "ab" * n + "c", "ab" * 2 * n),
]


@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize("size", [10, 100, 400])
def test_steps_are_linear_in_pattern_times_text(make: Callable[[int], tuple[str, str]], size: int, twin: str) -> None:
    """No pattern needs more looks at the pattern than a small multiple of pattern × text; compiled, it looks past `str`."""
    pattern, text = make(size)
    Counted.looks = 0
    assert not glob_match(Counted(pattern), text)
    assert twin == "compiled" or 0 < Counted.looks <= 4 * (len(pattern) + 1) * (len(text) + 1)
