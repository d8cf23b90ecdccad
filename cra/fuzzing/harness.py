"""One input, put to a target in both implementations, and what is wrong with the answers.

Called under Atheris (`cra.fuzzing.engine`), by replays and by tests. What is wrong is raised: `Disagreement` where the two say
different things, and whatever a target raised that it does not document.
"""

from __future__ import annotations

import re
from typing import Any, Final

from cra.fuzzing.registry import MODULES
from cra.fuzzing.worlds import World, worlds

_CONTEXT: Final = 120
_PARTED: Final = 40
_IDENTITIES: Final = re.compile(r"0x[0-9a-f]+|[0-9a-f-]{8,}|[0-9]+|'[^']*'")


class Disagreement(AssertionError):
    """The implementations say different things of one input; `parted` is what comes before they part."""

    def __init__(self, message: str, parted: str) -> None:
        super().__init__(message)
        self.parted = parted


class Harness:
    """The target called `name`, in every implementation there is here; `implementations` says which. Raises `KeyError` for a
    name that no target has."""

    def __init__(self, name: str) -> None:
        self._places: list[tuple[World, Any, type[Exception]]] = []
        for world in worlds():
            with world.active():
                target = world.module(MODULES[name]).TARGET
                self._places.append((world, target, world.module("cra.errors").CRAError))
        self.target = self._places[0][1]
        self.implementations = tuple(world.implementation for world, _, _ in self._places)

    def run(self, data: bytes) -> bool:
        """Put `data` to the target; whether the door took it. Raises over what is wrong."""
        answers = [self._answer(*place, data) for place in self._places]
        for other in answers[1:]:
            if other != answers[0]:
                raise Disagreement(*_difference(self.implementations, answers))
        return answers[0].startswith("answered")

    def _answer(self, world: World, target: Any, error_type: type[Exception], data: bytes) -> str:
        """What the target says, as text: the answer, or the refusal with all that a caller can see of it."""
        with world.active():
            try:
                return f"answered {target.answer(data)!r}"
            except error_type as error:
                if not isinstance(error, target.refusals):
                    raise
                return f"refused {refusal(error)!r}"


def refusal(error: Any) -> tuple[Any, ...]:
    """An error of this package as plain values."""
    return type(error).__name__, error.code, error.message, error.path


def _difference(names: tuple[str, ...], answers: list[str]) -> tuple[str, str]:
    """Both answers from a little before where they part, and that little."""
    at = next((at for at, pair in enumerate(zip(*answers)) if len(set(pair)) > 1), min(map(len, answers)))
    begin = max(0, at - _CONTEXT)
    shown = (f"{name}: {answer[begin : at + _CONTEXT]}" for name, answer in zip(names, answers))
    return f"the answers part at character {at}\n" + "\n".join(shown), answers[0][max(0, at - _PARTED) : at]


def shape(message: str) -> str:
    """A message without what differs from input to input: numbers, and what stands in quotes."""
    return _IDENTITIES.sub("_", message)
