"""Means of what is too short to time call by call, by pyperf: `python -m perf.micro -o FILE`.

With `CRA_PURE_PYTHON=1` it measures the reference. It takes the options of pyperf (`--fast`, `--rigorous`, …). Workers inherit
what chooses the implementation, and every run has the one that ran in its metadata. `python -m pyperf compare_to pure.json
compiled.json --table` compares. Run it in the checkout; needs the extra `perf`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pyperf

import cra
from cra.hotpath import (
    GoalSelector,
    KeywordMatcher,
    RandomIds,
    Ring,
    canonical_json,
    event_hash,
    glob_match,
    verify_chain,
)
from cra.testing.traces import make_trace
from perf.cases import GITHUB, GOAL, GOLDEN, runtime
from perf.one import SWITCHES

METADATA = "cra_implementation"
PAYLOAD = {"policy_id": "allow-read", "result": "allow", "action_id": "resource.get", "reason": None, "evaluated": 5}
CHAIN = 100


def timed(call: Callable[..., object], *arguments: object) -> Callable[[int], float]:
    """A function that makes so many of these calls and gives the seconds they took."""

    def run(loops: int) -> float:
        repeat = range(loops)
        started = perf_counter()
        for _ in repeat:
            call(*arguments)
        return perf_counter() - started

    return run


def record(loops: int) -> float:
    """`Ring.put` of 150 bytes; the ring is emptied outside the measured time."""
    ring, data, taken = Ring(8 * 2**20), bytes(150), 0.0
    while loops:
        batch = min(loops, 10_000)
        taken += timed(ring.put, data)(batch)
        while ring.read() is not None:
            pass
        ring.free(ring.position)
        loops -= batch
    return taken


def create_session(loops: int) -> float:
    """`create_session` and `end`; the worker catches up outside the measured time."""
    taken = 0.0
    with runtime() as resolver:
        while loops:
            batch = min(loops, 1_000)
            taken += timed(lambda: resolver.create_session(agent_id="bench", goal=GOAL).end())(batch)
            resolver.flush()
            loops -= batch
    return taken


def benchmarks() -> dict[str, tuple[Callable[[int], float], int]]:
    """By name: what takes the loops and gives the seconds, and how many operations a loop has."""
    chain = make_trace([("policy.evaluated", PAYLOAD)] * CHAIN)
    words = [(f"keyword{number}", number) for number in range(20)]
    selector = GoalSelector(KeywordMatcher(words), lambda found: (found, ()))
    goal = "Close the stale issues of the repository, and mention keyword7 and keyword13 in it"
    return {
        "record": (record, 1),
        "canonical_json": (timed(canonical_json, PAYLOAD), 1),
        "event_hash": (timed(event_hash, chain[1]), 1),
        "verify_chain, an event": (timed(verify_chain, chain), CHAIN),
        "uuid draw": (timed(RandomIds().draw, 1_767_268_800_000), 1),
        "glob": (timed(glob_match, "repository.*.delete", "repository.branch.delete"), 1),
        "20 keywords": (timed(selector.select, goal), 1),
        "load_atlas, 5 actions": (timed(cra.load_atlas, GOLDEN), 1),
        "load_atlas, 117 actions": (timed(cra.load_atlas, GITHUB), 1),
        "create_session and end": (create_session, 1),
    }


def main() -> None:
    running = cra.implementation()
    runner = pyperf.Runner(program_args=("-m", "perf.micro"), metadata={METADATA: running})
    options = runner.parse_args()
    options.inherit_environ = [*(options.inherit_environ or ()), *SWITCHES.values()]
    for name, (function, operations) in benchmarks().items():
        check(runner.bench_time_func(name, function, inner_loops=operations), running)


def check(result: Any, running: str) -> None:
    """End the program unless every run of this result is of the implementation that this process was asked for."""
    if result is not None:  # a worker that was started for another one has none
        ran = result.get_metadata().get(METADATA)  # what all runs have in common
        if ran != running:
            sys.exit(f"{result.get_name()}: asked for {running}, and the workers ran {ran or 'different ones'}")


if __name__ == "__main__":
    main()
