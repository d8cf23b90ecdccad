"""The names of all targets and the modules they are in. A target is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Final

from cra.fuzzing.target import Target

_HOME: Final = "cra.fuzzing.targets"
NAMES: Final = (
    "atlas",
    "canonical-json",
    "chain",
    "command-line",
    "globs",
    "journal",
    "jsonl",
    "keywords",
    "limits",
    "mcp",
    "openapi",
    "parameters",
    "policies",
    "records",
    "replay",
    "requests",
    "ring",
    "sqlite",
    "texts",
    "trace-lines",
)
MODULES: Final = {name: f"{_HOME}.{name.replace('-', '_')}" for name in NAMES}
"""The module of each target."""


def find_target(name: str) -> Target:
    """A target. Raises `KeyError` for a name that none has."""
    target: Target = importlib.import_module(MODULES[name]).TARGET
    return target


def all_targets() -> list[Target]:
    """All of them, by name."""
    return [find_target(name) for name in NAMES]
