"""Making a disagreement small: first fewer operations, then less in each of them. Called by `campaign`.

Delta debugging over the list of operations (Zeller and Hildebrandt, 2002), then over the parts of the JSON of what is left.
Whatever the twins still disagree about counts, be it another difference than the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from conformance.differential.episode import Episode, Operation

Differs = Callable[[Episode], bool]
_KEPT: Final = frozenset(("do", "slot"))


def minimise(episode: Episode, differs: Differs, seconds: float = 60.0) -> Episode:
    """A small episode for which `differs` still holds, as it does for `episode`; the best that was found in `seconds`."""
    search = _Search(episode.options, differs, time.monotonic() + seconds)
    operations = search.shrink_list(list(episode.operations()))
    options = search.shrink_options(operations)
    return Episode(options, [search.shrink_parts(operations)])


class _Search:
    def __init__(self, options: dict[str, Any], differs: Differs, deadline: float) -> None:
        self._options = options
        self._differs = differs
        self._deadline = deadline

    def _holds(self, operations: list[Operation], options: dict[str, Any] | None = None) -> bool:
        if time.monotonic() > self._deadline:
            return False
        return self._differs(Episode(self._options if options is None else options, [operations]))

    def shrink_list(self, operations: list[Operation]) -> list[Operation]:
        """As few of them as still differ, none of which can be left out alone."""
        parts = 2
        while len(operations) > 1:
            size = -(-len(operations) // parts)
            for start in range(0, len(operations), size):
                rest = operations[:start] + operations[start + size :]
                if self._holds(rest):
                    operations, parts = rest, max(2, parts - 1)
                    break
            else:
                if size == 1:
                    break
                parts = min(len(operations), parts * 2)
        return operations

    def shrink_options(self, operations: list[Operation]) -> dict[str, Any]:
        """Without the options that do not matter."""
        for name in list(self._options):
            fewer = {other: value for other, value in self._options.items() if other != name}
            if self._holds(operations, fewer):
                self._options = fewer
        return self._options

    def shrink_parts(self, operations: list[Operation]) -> list[Operation]:
        """With less in each: members and items left out, strings and numbers made short, until nothing more can be."""
        shrunk = True
        while shrunk:
            shrunk = False
            for index in range(len(operations)):
                for smaller in _smaller(operations[index], top=True):
                    if self._holds([*operations[:index], smaller, *operations[index + 1 :]]):
                        operations = [*operations[:index], smaller, *operations[index + 1 :]]
                        shrunk = True
                        break
        return operations


def _smaller(value: Any, top: bool = False) -> Iterator[Any]:
    """Values that are a little less than `value`, the least first."""
    if isinstance(value, dict):
        for key in value:
            if not (top and key in _KEPT):
                yield {other: member for other, member in value.items() if other != key}
        for key, member in value.items():
            if not (top and key in _KEPT):
                for less in _smaller(member):
                    yield {**value, key: less}
    elif isinstance(value, list):
        if len(value) > 3:
            yield value[: len(value) // 2]
            yield value[len(value) // 2 :]
        for index in range(len(value)):
            yield value[:index] + value[index + 1 :]
        for index, item in enumerate(value):
            for less in _smaller(item):
                yield [*value[:index], less, *value[index + 1 :]]
    elif isinstance(value, str) and value:
        if len(value) > 3:
            yield value[: len(value) // 2]
            yield value[len(value) // 2 :]
        if len(value) < 40:
            for index in range(len(value)):
                yield value[:index] + value[index + 1 :]
    elif type(value) is int and abs(value) > 1:
        yield from (0, 1, value // 2)
