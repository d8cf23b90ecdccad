"""What the generators make and the worker plays: an episode, a list of cases in one runtime. Plain JSON throughout.

A case is a list of operations (`{"do": name, …}`), one answer each. The cases of an episode follow each other in one runtime, so
that each finds what those before it have left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

Operation = dict[str, Any]


@dataclass(frozen=True)
class Episode:
    """`options` are those of the runtime (`world.World`)."""

    options: dict[str, Any]
    cases: list[list[Operation]]

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Episode:
        return cls(document["options"], document["cases"])

    def to_json(self) -> dict[str, Any]:
        return {"options": self.options, "cases": self.cases}

    def operations(self) -> Iterator[Operation]:
        """All of them, in order."""
        return chain.from_iterable(self.cases)


@dataclass(frozen=True)
class Generator:
    """A source of episodes, the same in every process: `make(seed, number, size)` has `size` cases.

    `size` is how many cases an episode has unless fewer are wanted; `space` the number of cases there are, None for no end.
    """

    name: str
    size: int
    make: Callable[[int, int, int], Episode]
    space: int | None = None
