"""JSON pointers (RFC 6901): how errors name their place. Used by everything that reads input; nothing is looked up here."""

from __future__ import annotations


def pointer(base: str, *parts: str | int) -> str:
    """`base` extended by member names and array indices: `pointer("/policies", 3, "a/b")` is `/policies/3/a~1b`."""
    return base + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
