"""Broken implementations: this project's own, each with one thing wrong, to show that the cases notice.

`CRA_PURE_PYTHON=1 python -m conformance.adapter --mutant NAME` applies one inside its own process; nothing else does. What they break
is the reference implementation. tests/conformance holds that every one of them is caught.
"""

from __future__ import annotations

import cra
from conformance.mutants import policies, runtime, traces
from conformance.mutants.registry import MUTANTS, Mutant

__all__ = ["MUTANTS", "Mutant", "apply", "policies", "runtime", "traces"]


def apply(name: str) -> None:
    """Break this process. Raises `KeyError` for a name that is no mutant's, and `RuntimeError` where the compiled implementation
    runs, which nothing here would break."""
    mutant = MUTANTS[name]
    if cra.implementation() != "pure":
        raise RuntimeError("mutants break the reference implementation; set CRA_PURE_PYTHON=1")
    mutant.apply()
