"""Globs against texts, and against a regular expression that says the same. PROTOCOL: Globs.

A pattern in the first line, a text in each of the others.
"""

from __future__ import annotations

import re

from cra.fuzzing.target import Target, expect
from cra.hotpath import glob_match

_LONGEST = 48  # for the regular expression, which backtracks
_MOST_STARS = 4


def answer(data: bytes) -> object:
    """Which of the texts match."""
    pattern, *texts = data.decode(errors="surrogateescape").split("\n")
    found = [glob_match(pattern, text) for text in texts]
    if pattern.count("*") <= _MOST_STARS:
        oracle = re.compile("".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern), re.DOTALL)
        for text, matches in zip(texts, found):
            if len(text) <= _LONGEST:
                expect(matches == (oracle.fullmatch(text) is not None), f"{pattern!r} and {text!r}")
    return found


def seeds() -> list[bytes]:
    """Patterns as policies have them, and those that make a matcher work."""
    lines = (
        "ticket.*\nticket.get\nticket.\nticket",
        "*.delete\na.delete\n.delete\nadelete",
        "a?c\nabc\nac\naéc\na😀c",
        "*a*b*c\nxxaxxbxxc\nabcabc\ncba",
        "**\n\nx",
        "*" * 20 + "b\n" + "a" * 40,
        "é*ß\nélan ß\nß",
    )
    return [line.encode() for line in lines]


TARGET = Target(
    "globs", "patterns of policies, against texts", answer, seeds, tokens=(b"*", b"?", b"**", b"*?", b"\n", b".")
)
