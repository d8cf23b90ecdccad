"""Small decisions from the bytes of an input: a number, a choice, a text. The same bytes are the same decisions, everywhere.

For targets whose door takes calls and not bytes. When the bytes are used up, every decision is the first choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Value = TypeVar("Value")


class Draws:
    """Decisions from `data`, front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there are bytes left."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """The next bytes, as many as there are of `size`."""
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def number(self, size: int = 1) -> int:
        """An unsigned number of `size` bytes, little-endian."""
        return int.from_bytes(self.take(size), "little")

    def choice(self, values: Sequence[Value]) -> Value:
        """One of them."""
        return values[self.number() % len(values)]

    def block(self) -> bytes:
        """Bytes, as many as the two before them say, or as there are."""
        return self.take(self.number(2))

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))


def blocks(*parts: bytes) -> bytes:
    """What `Draws.block` gives back as these parts."""
    return b"".join(len(part).to_bytes(2, "little") + part for part in parts)
