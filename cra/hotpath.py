"""The one place that chooses between compiled and reference implementations.

This version has the reference only, so `CRA_REQUIRE_COMPILED=1` is an error and `CRA_PURE_PYTHON=1` changes nothing.
Everything else in the package imports these names from here.
"""

from __future__ import annotations

import os

from cra.reference.canonical import canonical_json
from cra.reference.chain import event_hash, hash_value, seal, verify_chain
from cra.reference.glob import glob_match
from cra.reference.match import conditions_hold, window_contains

if os.environ.get("CRA_REQUIRE_COMPILED", "") not in ("", "0"):
    raise ImportError("CRA_REQUIRE_COMPILED is set, but this version of cra has no compiled implementation; unset it")


def implementation() -> str:
    """Which implementation runs: `"compiled"` or `"pure"`."""
    return "pure"


__all__ = [
    "canonical_json",
    "conditions_hold",
    "event_hash",
    "glob_match",
    "hash_value",
    "implementation",
    "seal",
    "verify_chain",
    "window_contains",
]
