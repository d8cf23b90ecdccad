"""Two whole copies of the package in one process: one runs the compiled half, the other the reference.

Exchanging single functions would not do: classes have the compiled ones as bases. So the package is imported a second time with
`CRA_PURE_PYTHON` set, and while that world is active its modules are the ones that an import finds. Used by the harness. It is
for one thread: while a world is active, nothing of another may run.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, Final

PACKAGE: Final = "cra"
_CHOICES: Final = ("CRA_PURE_PYTHON", "CRA_REQUIRE_COMPILED")


class World:
    """The copy of the package that this module belongs to, which is always active. `implementation` is `compiled` or `pure`."""

    def __init__(self) -> None:
        self.implementation: str = self.module(PACKAGE).implementation()

    def module(self, name: str) -> Any:
        """A module of this copy. The world is active."""
        return importlib.import_module(name)

    @contextmanager
    def active(self) -> Iterator[None]:
        """While this lasts, imports find this copy."""
        yield


class OtherWorld(World):
    """Another copy, which runs the reference; the one that was imported before is found again when this one is not active."""

    def __init__(self) -> None:
        self._own: dict[str, ModuleType] = {}
        self._others: dict[str, ModuleType] = {}
        self._size = -1
        with self.active():
            super().__init__()
        assert self.implementation == "pure"

    @contextmanager
    def active(self) -> Iterator[None]:
        """Exchange the modules, and the variables that choose an implementation for those that are imported meanwhile."""
        if len(sys.modules) != self._size:
            self._others = _imported()
        choices = {name: os.environ.pop(name, None) for name in _CHOICES}
        os.environ["CRA_PURE_PYTHON"] = "1"
        _exchange(self._others, self._own)
        size = len(sys.modules)
        try:
            yield
        finally:
            if len(sys.modules) != size:
                self._own = _imported()
            _exchange(self._own, self._others)
            self._size = len(sys.modules)
            for name, value in choices.items():
                if value is not None:
                    os.environ[name] = value
                else:
                    os.environ.pop(name, None)


@cache
def worlds() -> list[World]:
    """The world that is imported already, and where that is the compiled one, the reference beside it; made once."""
    first = World()
    return [first] if first.implementation == "pure" else [first, OtherWorld()]


def _imported() -> dict[str, ModuleType]:
    """The modules of the package that an import finds now."""
    return {name: module for name, module in sys.modules.items() if name == PACKAGE or name.startswith(PACKAGE + ".")}


def _exchange(out: dict[str, ModuleType], into: dict[str, ModuleType]) -> None:
    for name in out:
        del sys.modules[name]
    sys.modules.update(into)
