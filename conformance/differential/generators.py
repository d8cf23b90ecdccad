"""The generators by name."""

from __future__ import annotations

from typing import Final

from conformance.differential import tiny, typed, wild
from conformance.differential.episode import Generator

GENERATORS: Final[dict[str, Generator]] = {each.GENERATOR.name: each.GENERATOR for each in (wild, typed, tiny)}
SHARES: Final = {"wild": 0.78, "typed": 0.14, "tiny": 0.08}
"""How many of the cases of a run come from each."""
