"""Has `tests/fuzz/broken.py` found as a target of the package, in every copy of it."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from cra.fuzzing.registry import MODULES

NAME = "cra.fuzzing.targets.broken"
BOOTSTRAP = "from tests.fuzz.planted import plant\nplant()\n"
"""What a process has to run first that is to know the target, too."""


class Finder:
    """Finds the one module."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As `importlib` asks for it."""
        if name != NAME:
            return None
        return importlib.util.spec_from_file_location(name, Path(__file__).with_name("broken.py"))


def plant() -> None:
    """For the rest of the process."""
    MODULES["broken"] = NAME
    sys.meta_path.insert(0, Finder)  # type: ignore[arg-type] # a class with the method will do
