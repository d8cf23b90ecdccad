"""Work on a database as steps: a generator that says which statement comes next and is sent what the server answered.

It is written once and run by both backends, which differ in how they wait. An error of the server is raised within the
generator, at its `yield`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Do(NamedTuple):
    """One statement with its values; `data`, where there is some, is what COPY reads, in pieces.

    `seconds` is how long the server may take over it, where that is not what the store's address says.
    """

    text: str
    values: Sequence[Any] | Mapping[str, Any] | None = None
    data: Iterable[bytes] | None = None
    seconds: int | None = None


class Answer(NamedTuple):
    """The rows that a statement gave, and how many it changed."""

    rows: list[tuple[Any, ...]]
    changed: int


Work = Generator[Do, Answer, T]
