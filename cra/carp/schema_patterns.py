"""The regular expressions of schemas: linear-time ones only, and of bounded size once they are compiled.

Called by `cra.carp.schema` before a schema is compiled, and by the atlas loader, which adds up what the patterns of one atlas
take. A short pattern can compile to megabytes: `\\pL{170}` does. PROTOCOL: Unknown fields, Parameter conditions.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from cra.carp.schema_check import SchemaProblem
from cra.carp.schema_walk import Document, Path, subschemas
from cra.pointer import pointer

if TYPE_CHECKING:
    from jsonschema_rs import FancyRegexOptions, RegexOptions

MAX_PATTERN = 10_000
"""Characters of one pattern."""
MAX_PATTERN_BYTES = 2 << 20
"""What one pattern may take once compiled."""
MAX_ALL_PATTERN_BYTES = 32 << 20
"""What the patterns of one schema, and of all schemas of one atlas, may take together."""

TOO_MANY = (
    f"the patterns up to here take more than {MAX_ALL_PATTERN_BYTES >> 20} MB once compiled; remove some, or shorten their "
    "repetitions and Unicode classes"
)

# A pattern counts as the first of these that it fits in: an ordinary one as the first, `[^/]{1,100}` as the third.
_SIZES = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, MAX_PATTERN_BYTES)
_BYTES_PER_CHARACTER = 20
_LAZY_BYTES = 64 << 10
_COUNT = re.compile(r"\{([0-9]{1,9})(?:,([0-9]{0,9}))?\}")


def pattern_bytes(document: Document) -> int:
    """What the distinct patterns of a schema take once compiled, rounded up.

    Raises `SchemaProblem` at the first that is no pattern, that needs backtracking, or that is one too many.
    """
    seen: set[str] = set()
    total = 0
    for path, pattern in _patterns(document):
        if pattern not in seen:
            seen.add(pattern)
            total += _compiled_bytes(pattern, pointer("", *path))
            if total > MAX_ALL_PATTERN_BYTES:
                raise SchemaProblem(TOO_MANY, pointer("", *path))
    return total


@cache
def linear_time(size: int = MAX_PATTERN_BYTES) -> RegexOptions:
    """The options that make jsonschema-rs match in linear time, and refuse a pattern of more than `size` bytes."""
    from jsonschema_rs import RegexOptions

    return RegexOptions(size_limit=size, dfa_size_limit=_LAZY_BYTES)


def _patterns(document: Document) -> list[tuple[Path, str]]:
    """Every pattern with its path. What is ill-typed is left to the validator."""
    found: list[tuple[Path, str]] = []
    for path, schema in subschemas(document):
        if isinstance(schema.get("pattern"), str):
            found.append(((*path, "pattern"), schema["pattern"]))
        named = schema.get("patternProperties")
        if isinstance(named, dict):
            found += (((*path, "patternProperties", name), name) for name in named)
    return found


def _compiled_bytes(pattern: str, at: str) -> int:
    if len(pattern) > MAX_PATTERN:
        raise SchemaProblem(f"a pattern has at most {MAX_PATTERN:,} characters", at)
    for size in _SIZES:
        if _BYTES_PER_CHARACTER * len(pattern) <= size and _compiles(pattern, linear_time(size)):
            return size
    raise SchemaProblem(_why_not(pattern), at)


def _why_not(pattern: str) -> str:
    from jsonschema_rs import FancyRegexOptions

    if _compiles(pattern, FancyRegexOptions(size_limit=MAX_PATTERN_BYTES, dfa_size_limit=_LAZY_BYTES)):
        return "not a pattern that a linear-time engine runs: it has no look-around and no back-references"
    if _compiles(_COUNT.sub(_uncounted, pattern), linear_time(10 * MAX_PATTERN_BYTES)):
        return f"this pattern takes more than {MAX_PATTERN_BYTES >> 20} MB once compiled; shorten its repetitions"
    return "not a regular expression: its syntax is wrong"


def _uncounted(count: re.Match[str]) -> str:
    """`*` for a repetition count, so that only the syntax is left to judge; what is no count stays."""
    low, high = count.groups()
    return count.group() if high and int(high) < int(low) else "*"


def _compiles(pattern: str, options: RegexOptions | FancyRegexOptions) -> bool:
    from jsonschema_rs import Draft202012Validator, ValidationError

    try:
        Draft202012Validator({"pattern": pattern}, pattern_options=options)
    except ValidationError:
        return False
    return True
