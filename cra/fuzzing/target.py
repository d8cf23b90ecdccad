"""What a fuzz target is: a door, what is to be said of an input there, and inputs to begin with.

The modules of `cra.fuzzing.targets` make one each; `cra.fuzzing.harness` asks them. A target never judges: `answer` says what an
input comes to, in plain values, and asserts what has to hold of any. That both implementations say the same is the harness's to
see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from cra.errors import CRAError

Notation = Literal["bytes", "json", "json lines"]


class Target(msgspec.Struct, frozen=True):
    """A door.

    `answer(data)` returns what `data` comes to, as a value whose `repr` is the same wherever that is the same; it raises one of
    `refusals`, which the door documents, or `Unexpected` (`expect`) where something does not hold that always has to. Any other
    exception is a bug. `seeds` are inputs that reach far inside, `tokens` what a mutation may be made of, and `notation` says
    whether half of the mutations shall leave JSON what it is. An input has at most `max_bytes`, and may take `seconds` in both
    implementations together, on a slow machine under instrumentation.
    """

    name: str
    about: str
    answer: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    refusals: tuple[type[CRAError], ...] = ()
    tokens: tuple[bytes, ...] = ()
    notation: Notation = "bytes"
    max_bytes: int = 4096
    seconds: int = 20


class Unexpected(AssertionError):
    """Something does not hold that always has to."""


def expect(holds: object, otherwise: str) -> None:
    """Raises `Unexpected` where `holds` is false: unlike an assertion, with every interpreter."""
    if not holds:
        raise Unexpected(otherwise)


def dictionary(target: Target) -> str:
    """The tokens as a dictionary of libFuzzer's: a line each, in quotes, with everything that is no plain character escaped."""
    lines = ('"' + "".join(_escaped(byte) for byte in token) + '"\n' for token in target.tokens)
    return "".join(lines)


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in '"\\':
        return "\\" + character
    return character if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
