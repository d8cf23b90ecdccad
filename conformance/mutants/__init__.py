"""Broken implementations: this project's own, each with one thing wrong, to show that the cases notice.

`python -m conformance.adapter --mutant NAME` applies one inside its own process; nothing else does. tests/conformance holds that
every one of them is caught.
"""

from __future__ import annotations

from conformance.mutants import policies, runtime, traces
from conformance.mutants.registry import MUTANTS, Mutant

__all__ = ["MUTANTS", "Mutant", "apply", "policies", "runtime", "traces"]


def apply(name: str) -> None:
    """Break this process. Raises `KeyError` for a name that is no mutant's."""
    MUTANTS[name].apply()
