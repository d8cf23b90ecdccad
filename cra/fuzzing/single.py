"""One target for an engine that brings its own arguments and keeps crashes itself: OSS-Fuzz, ClusterFuzzLite. docs/fuzzing.md."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

from cra.fuzzing.harness import Harness
from cra.fuzzing.mutations import mutate


def prepared(name: str, atheris: Any) -> tuple[Callable[[bytes], None], dict[str, Any]]:
    """What is to be called with every input, and what `atheris.Setup` is to be told besides. The seeds have been asked once, so
    that all that is imported late is imported, and instrumented, now."""
    harness = Harness(name)
    for data in harness.target.seeds():
        with suppress(Exception):  # it is in the corpus, and told of then
            harness.run(data)

    def test(data: bytes) -> None:
        harness.run(data)

    return test, mutator(harness, atheris)


def mutator(harness: Harness, atheris: Any) -> dict[str, Any]:
    """The option of `atheris.Setup` for a target in a notation: half of the mutations are libFuzzer's."""
    notation = harness.target.notation
    if notation == "bytes":
        return {}

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        rng = Random(seed)
        found = mutate(data, notation, rng) if rng.randrange(2) else None
        return bytes(atheris.Mutate(data, most)) if found is None or len(found) > most else found

    return {"custom_mutator": mutated}
