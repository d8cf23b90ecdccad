"""How a mutant gets into a running process: one function of `cra` replaced wherever the package holds it.

Used by the modules beside it, which hold the mutants.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True)
class Mutant:
    """`breaks` says what is wrong with it; `groups` are those whose cases should notice."""

    name: str
    breaks: str
    groups: tuple[str, ...]
    apply: Callable[[], None]


MUTANTS: dict[str, Mutant] = {}


def mutant(*groups: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Enter a function, which breaks the process it is called in, under its name; its docstring says how."""

    def enter(apply: Callable[[], None]) -> Callable[[], None]:
        name = apply.__name__.replace("_", "-")
        MUTANTS[name] = Mutant(name, (apply.__doc__ or "").strip(), groups, apply)
        return apply

    return enter


def replace(original: Function, build: Callable[[Function], Function]) -> None:
    """Put `build(original)` in the place of a function, in every module that has it, and in nothing else.

    Raises `LookupError` where no module has it: a mutant that changes nothing would prove nothing.
    """
    broken = build(original)
    found = False
    for module in [module for name, module in sys.modules.items() if name == "cra" or name.startswith("cra.")]:
        for name, value in list(vars(module).items()):
            if value is original:
                setattr(module, name, broken)
                found = True
    if not found:
        raise LookupError(f"no module of cra has {original!r}")


def replace_method(owner: type, name: str, build: Callable[[Function], Function]) -> None:
    """The same for a method of a class; `AttributeError` where it has none of that name."""
    setattr(owner, name, build(getattr(owner, name)))


def set_global(module: Any, name: str, value: object) -> None:
    """Give a module another value for one of its globals, or for a builtin that it uses."""
    vars(module)[name] = value
