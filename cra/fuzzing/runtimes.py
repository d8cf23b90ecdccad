"""A runtime for one input: in memory, with a clock and ids of its own, a ring that is quickly made, and the atlas that all
share."""

from __future__ import annotations

from functools import cache
from typing import Final

from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas
from cra.fuzzing.atlases import ACTIONS, manifest
from cra.resolver import Resolver
from cra.testing import SeededIds, VirtualClock
from cra.trace import recorder

RING_BYTES: Final = 2**18


@cache
def shared_atlas() -> Atlas:
    """The atlas, loaded once."""
    return load_atlas(manifest())


def make_runtime(clock: VirtualClock | None = None) -> Resolver:
    """A runtime without atlases, in which every action of the atlas has an executor that returns its parameters."""
    usual = recorder.DEFAULT_RING_BYTES
    assert usual >= RING_BYTES
    vars(recorder)["DEFAULT_RING_BYTES"] = RING_BYTES
    try:
        resolver = Resolver("memory:", clock=clock or VirtualClock(), ids=SeededIds(1), tracing="immediate")
    finally:
        vars(recorder)["DEFAULT_RING_BYTES"] = usual
    for action in ACTIONS:
        resolver.register(action, lambda **parameters: parameters, inline=True)
    return resolver
