"""The generators by name."""

from __future__ import annotations

from typing import Final

from conformance.differential import tiny, typed, wild
from conformance.differential.episode import Generator

GENERATORS: Final[dict[str, Generator]] = {each.GENERATOR.name: each.GENERATOR for each in (wild, typed, tiny)}
SHARES: Final = {"wild": 0.84, "typed": 0.1, "tiny": 0.06}
"""How many of the cases of a run come from each."""
