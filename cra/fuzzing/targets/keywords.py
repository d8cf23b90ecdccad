"""Keywords in a goal, found by automaton and by search. PROTOCOL: Context.

The goal in the first line, a word in each of the others.
"""

from __future__ import annotations

from cra.fuzzing.target import Target, expect
from cra.hotpath import GoalSelector, KeywordMatcher


def answer(data: bytes) -> object:
    """Which words occur, as the matcher and the selector say, the latter twice."""
    goal, *lines = data.decode(errors="replace").split("\n")
    words = [(line.casefold(), number % 5) for number, line in enumerate(lines) if line]
    matcher = KeywordMatcher(words)
    found = matcher.find(goal)
    expect(
        list(found) == sorted({trigger for word, trigger in words if word in goal.casefold()}), "a word is overlooked"
    )
    selector = GoalSelector(matcher, lambda triggers: (triggers, triggers[::-1]))
    expect(
        selector.select(goal) == selector.select(goal) == (found, found[::-1]),
        "a selection changes when it is asked for again",
    )
    return found


def seeds() -> list[bytes]:
    """Words within words, and letters that casefolding makes longer."""
    lines = (
        "Close stale issues\nstale\nissue\nclose\ntale",
        "Straße nach İstanbul\nSTRASSE\nistanbul\nß\ni̇",
        "aaaaab\naab\nab\naaaaaa\nb",
        "ﬃ ſ K\nffi\ns\nk\nﬀ",
        "he she hers\nhe\nshe\nhis\nhers",
    )
    return [line.encode() for line in lines]


TARGET = Target(
    "keywords",
    "words of context blocks, looked for in goals",
    answer,
    seeds,
    tokens=(b"\n", "ß".encode(), "İ".encode()),
)
