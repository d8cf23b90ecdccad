"""The two implementations, for tests that hold for both: which names have a compiled twin, and how one of them is made to run."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest

from cra import hotpath
from cra.errors import CRAError

IMPLEMENTATIONS = ("pure", "compiled")
BUILT = find_spec("cra._speedups") is not None
TESTED = IMPLEMENTATIONS[: 1 if os.environ.get("CRA_PURE_PYTHON") == "1" else 2]
"""Those for which tests that hold for both are run: the reference alone, where that is what runs; both in any other run."""


def twins(reference: ModuleType) -> list[Any]:
    """The modules to take the names of `reference` from, as parameters of a fixture."""
    modules = [pytest.param(reference, id="pure")]
    if BUILT and "compiled" in TESTED:
        modules.append(pytest.param(importlib.import_module("cra._speedups"), id="compiled"))
    return modules


def compiled_twin() -> Any:
    """The compiled module; skips the test where it is not built."""
    return pytest.importorskip("cra._speedups")


def compiled_names() -> list[str]:
    """The public names of the compiled half that were made there."""
    compiled = importlib.import_module("cra._speedups")
    return sorted(
        name
        for name, value in vars(compiled).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == compiled.__name__
    )


def reference_homes() -> dict[str, str]:
    """The module of every reference, as `cra.hotpath` shows it to type checkers."""
    source = ast.parse(inspect.getsource(hotpath))
    shown = next(node for node in source.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    return {
        alias.name: node.module
        for node in shown.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def pairs() -> dict[str, tuple[Any, Any]]:
    """The reference and the compiled twin of every name that has both."""
    compiled = importlib.import_module("cra._speedups")
    homes = reference_homes()
    return {
        name: (getattr(importlib.import_module(homes[name]), name), getattr(compiled, name))
        for name in compiled_names()
    }


@contextmanager
def running(implementation: str, *modules: ModuleType) -> Iterator[None]:
    """Let one implementation run wherever the package, or one of these modules, has either.

    Inside of itself the reference stays the reference.
    """
    chosen = IMPLEMENTATIONS.index(implementation)
    places = [
        module
        for name, module in list(sys.modules.items())
        if (name == "cra" or name.startswith("cra.")) and not name.startswith(("cra.reference", "cra._speedups"))
    ]
    changed = []
    for pair in pairs().values() if BUILT else ():
        for place in [*places, *modules]:
            for name, value in list(vars(place).items()):
                if value is pair[1 - chosen] and place.__name__ != pair[0].__module__:
                    setattr(place, name, pair[chosen])
                    changed.append((place, name, value))
    try:
        yield
    finally:
        for place, name, value in changed:
            setattr(place, name, value)


def outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    """What a call comes to: its result with its type, or everything that an error says."""
    try:
        result = call()
    except CRAError as error:
        return type(error), error.code, error.message, error.path
    except Exception as error:
        return type(error), str(error)
    return type(result), result


def both(reference: Callable[..., Any], twin: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Both come to the same."""
    expected = outcome(lambda: reference(*arguments, **options))
    assert expected == outcome(lambda: twin(*arguments, **options))
