"""Where a sentence stands in docs/protocol.md, so that every case points at what it is derived from. Used by `table`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
MAX_WORDS = 20


@lru_cache(maxsize=1)
def _sections() -> dict[str, str]:
    """The text under each heading, on one line."""
    parts = re.split(r"^## ", PROTOCOL.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {heading: " ".join(body.split()) for heading, _, body in (part.partition("\n") for part in parts)}


def unquoted(quotes: Iterable[str]) -> list[str]:
    """The clauses of which none of `quotes` has a part; cut at full stops, semicolons, colons, middle dots and bars of tables.

    What ends in a colon introduces the next, and what has less than two words says nothing; both are left out.
    """
    quotes = set(quotes)
    left = []
    for text in _sections().values():
        spans = [(at.start(), at.end()) for quote in quotes for at in re.finditer(re.escape(quote), text)]
        for clause in re.finditer(r"\S.*?(?:[.;·:|](?=\s)|$)", text):
            said = clause.group()
            words = re.findall(r"[^\W\d_]{2,}", said)
            asked = any(start < clause.end() and clause.start() < end for start, end in spans)
            if len(words) > 1 and not said.endswith(":") and not asked:
                left.append(said)
    return left


def section_of(sentence: str) -> str:
    """The heading of the section that says `sentence`. Raises `ValueError` for one that is not there, or is too long."""
    if len(sentence.split()) > MAX_WORDS:
        raise ValueError(f"a quote has at most {MAX_WORDS} words: {sentence!r}")
    for heading, text in _sections().items():
        if sentence in text:
            return heading
    raise ValueError(f"docs/protocol.md does not say: {sentence!r}")
