"""What exists twice: the parameters that run a test over the reference and, where it is built, over the compiled twin."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest

BUILT = find_spec("cra._speedups") is not None


def twins(reference: ModuleType) -> list[Any]:
    """The modules to take the names of `reference` from, as parameters of a fixture."""
    modules = [pytest.param(reference, id="pure")]
    if BUILT:
        modules.append(pytest.param(import_module("cra._speedups"), id="compiled"))
    return modules


def compiled_twin() -> Any:
    """The compiled module; skips the test where it is not built."""
    return pytest.importorskip("cra._speedups")
