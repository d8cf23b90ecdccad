"""UUIDv7 identifiers as 128-bit integers, drawn from an injected source.

One draw per record: everything that hangs off a record (span, events, resolution) is that number plus a small offset
(`cra.trace.record`), so that expanding a record again gives the same ids. PROTOCOL: Event.
"""

from __future__ import annotations

import os
import random
import re
from typing import Protocol

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_A_SHIFT = 64
UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


class IdSource(Protocol):
    """Where identifiers come from."""

    def draw(self, unix_ms: int) -> int:
        """A fresh UUIDv7 (as `make_uuid7` builds it) for the wall-clock time `unix_ms`."""
        ...


def make_uuid7(unix_ms: int, random_bits: int) -> int:
    """The UUIDv7 for a time and 74 random bits.

    The lowest 16 bits are left zero: they are the room for `base + offset`, so that ids derived from two draws can not meet.
    """
    random_a = random_bits >> 62 & 0xFFF
    random_b = random_bits & 0x3FFF_FFFF_FFFF_0000
    return (unix_ms & 0xFFFF_FFFF_FFFF) << 80 | _VERSION_7 | random_a << _RANDOM_A_SHIFT | _VARIANT | random_b


def format_uuid(value: int) -> str:
    """A 128-bit integer in the 8-4-4-4-12 lower-case form. Raises `OverflowError` for any other."""
    text = int.to_bytes(value, 16, "big").hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_uuid(text: str) -> int:
    """The number of a UUID in the form that `format_uuid` writes. Raises `ValueError` for anything else."""
    if not UUID_PATTERN.fullmatch(text):
        raise ValueError("not a UUID in lower case")
    return int(text.replace("-", ""), 16)


class RandomIds:
    """The default source: one userspace generator for the process, seeded by the system and again after a fork."""

    _generator = random.Random(os.urandom(32))

    def draw(self, unix_ms: int) -> int:
        return make_uuid7(unix_ms, self._generator.getrandbits(74))


os.register_at_fork(after_in_child=lambda: RandomIds._generator.seed(os.urandom(32)))
