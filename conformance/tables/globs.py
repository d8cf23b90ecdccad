"""Globs, group `globs`. PROTOCOL: Globs."""

from __future__ import annotations

from conformance.tables.table import Group

STAR = "`*` matches any run of characters, dots included"
ONE = "`?` one character"
LITERAL = "everything else is literal"
CASE = "case-sensitive; the whole string must match"
EXAMPLES = "`ticket.*` matches `ticket.a.b`, `*.delete` matches `a.b.delete`, `trace.edit_*` matches `trace.edit_event`"
LINEAR = "Linear in pattern × text."

# sentence, pattern, text, whether it matches
TABLE = [
    (EXAMPLES, "ticket.*", "ticket.a.b", True),
    (EXAMPLES, "*.delete", "a.b.delete", True),
    (EXAMPLES, "trace.edit_*", "trace.edit_event", True),
    (STAR, "*", "", True),
    (STAR, "*", "a.b.c", True),
    (STAR, "a*", "a", True),
    (STAR, "ticket.*", "ticket.", True),
    (STAR, "ticket.*", "ticket", False),
    (STAR, "*ticket*", "my.ticket.get", True),
    (STAR, "a*b*c", "a1b2c", True),
    (STAR, "a*b*c", "abc", True),
    (STAR, "a*b*c", "acb", False),
    (STAR, "*a*a", "aaa", True),
    (STAR, "*a*a", "a", False),
    (STAR, "*ab", "aab", True),
    (STAR, "*aab*", "aaaab", True),
    (STAR, "***", "x", True),
    (STAR, "a**b", "ab", True),
    (STAR, "*\n*", "a\nb", True),
    (STAR, "a*", "a\nb", True),
    (ONE, "?", "a", True),
    (ONE, "?", "", False),
    (ONE, "?", "ab", False),
    (ONE, "a?c", "abc", True),
    (ONE, "a?c", "a.c", True),
    (ONE, "a?c", "ac", False),
    (ONE, "??*", "ab", True),
    (ONE, "??*", "a", False),
    (ONE, "*?", "", False),
    (ONE, "?", "\U0001f600", True),
    (ONE, "?", "\n", True),
    (LITERAL, "a.c", "abc", False),
    (LITERAL, "[ab]", "a", False),
    (LITERAL, "[ab]", "[ab]", True),
    (LITERAL, "{a,b}", "a", False),
    (LITERAL, "a|b", "a", False),
    (LITERAL, "^a$", "a", False),
    (LITERAL, "a+", "aa", False),
    (LITERAL, "(a)", "(a)", True),
    (LITERAL, "\\*", "\\x", True),
    (LITERAL, "\\*", "*", False),
    (LITERAL, "!a", "b", False),
    (CASE, "Ticket.*", "ticket.get", False),
    (CASE, "ticket", "ticket", True),
    (CASE, "ticket", "tickets", False),
    (CASE, "icket", "ticket", False),
    (CASE, "ticket", "ticket\n", False),
    (CASE, "é", "e\u0301", False),
    (CASE, "", "", True),
    (CASE, "", "a", False),
    (LINEAR, "*a" * 30 + "b", "a" * 4000, False),
    (LINEAR, "*a?" * 20, "ab" * 2000, True),
]


def groups() -> list[Group]:
    group = Group("globs", "CARP-Core")
    for number, (sentence, pattern, text, matches) in enumerate(TABLE, 1):
        group.add(f"{number:02d}", sentence, "glob", {"pattern": pattern, "text": text}, {"matches": matches})
    return [group]
