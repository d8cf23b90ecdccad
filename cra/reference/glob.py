"""Globs: `*` any run of characters, `?` one character, everything else literal; the whole string must match. PROTOCOL: Globs."""

from __future__ import annotations


def glob_match(pattern: str, text: str) -> bool:
    """Whether `pattern` matches the whole of `text`, case-sensitively, in at most len(pattern) × len(text) steps.

    Greedy: on a mismatch only the last `*` has to take one more character, since an earlier one could gain nothing by it.
    """
    if pattern == "*":
        return True
    p = t = 0
    star, resume = -1, 0
    while t < len(text):
        if p < len(pattern) and pattern[p] == "*":
            star, resume = p, t
            p += 1
        elif p < len(pattern) and (pattern[p] == "?" or pattern[p] == text[t]):
            p += 1
            t += 1
        elif star >= 0:
            resume += 1
            p, t = star + 1, resume
        else:
            return False
    return pattern[p:].strip("*") == ""
