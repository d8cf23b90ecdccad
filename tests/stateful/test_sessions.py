"""Whole runtimes, one of each implementation in a process of its own, driven step by step: they answer the same.

Sessions, loads and unloads, executes, approvals, limits, clock moves, requests: what happens in a step is made by the typed
generator of the differential run, from choices that Hypothesis makes and can take back when it shrinks.
"""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from conformance.differential import typed
from conformance.differential.episode import Operation
from conformance.differential.twins import Twins
from tests.stateful.pairs import built

randoms = st.randoms(use_true_random=False)


class Runtimes(RuleBasedStateMachine):
    """The processes are started once, for all examples; each example has a runtime of its own in them."""

    twins: ClassVar[Twins | None] = None

    def __init__(self) -> None:
        super().__init__()
        if Runtimes.twins is None:
            Runtimes.twins = Twins()
        self.pair = Runtimes.twins

    @initialize(random=randoms)
    def begin(self, random: Random) -> None:
        self.same("open", typed.options(random))
        self.play(typed.beginning(random))

    def teardown(self) -> None:
        self.same("close", None)

    def play(self, operations: list[Operation]) -> None:
        for operation in operations:
            self.same("play", operation)

    def same(self, operation: str, question: Any) -> None:
        compiled, pure = self.pair.ask(operation, question)
        assert pure == compiled, question

    @rule(random=randoms)
    def load(self, random: Random) -> None:
        self.play(typed.MOMENTS["load"][1](random))

    @rule(random=randoms)
    def unload(self, random: Random) -> None:
        self.play(typed.MOMENTS["unload"][1](random))

    @rule(random=randoms)
    def open_session(self, random: Random) -> None:
        self.play(typed.MOMENTS["open"][1](random))

    @rule(random=randoms)
    def end_session(self, random: Random) -> None:
        self.play(typed.MOMENTS["end"][1](random))

    @rule(random=randoms)
    def resolve(self, random: Random) -> None:
        self.play(typed.MOMENTS["resolves"][1](random))

    @rule(random=randoms)
    def execute(self, random: Random) -> None:
        self.play(typed.MOMENTS["executes"][1](random))

    @rule(random=randoms)
    def spend(self, random: Random) -> None:
        self.play(typed.MOMENTS["spend"][1](random))

    @rule(random=randoms)
    def pass_time(self, random: Random) -> None:
        self.play(typed.MOMENTS["pass_time"][1](random))

    @rule(random=randoms)
    def decide(self, random: Random) -> None:
        self.play(typed.MOMENTS["decide"][1](random))

    @rule(random=randoms)
    def repeat(self, random: Random) -> None:
        self.play(typed.MOMENTS["repeat"][1](random))

    @rule(random=randoms)
    def request(self, random: Random) -> None:
        self.play(typed.MOMENTS["requests"][1](random))

    @rule(random=randoms)
    def register(self, random: Random) -> None:
        self.play(typed.MOMENTS["register"][1](random))

    @rule(level=st.sampled_from(("recorded", "stored", "durable")))
    def flush(self, level: str) -> None:
        """And then both have stored the same events, session by session."""
        self.play([{"do": "flush", "level": level}, {"do": "stats"}])

    @rule(random=randoms)
    def look(self, random: Random) -> None:
        self.play(typed.MOMENTS["look"][1](random) + typed.MOMENTS["explain"][1](random))


def teardown_module() -> None:
    """End the processes."""
    if Runtimes.twins is not None:
        Runtimes.twins.close()
        Runtimes.twins = None


TestRuntimes = built(Runtimes.TestCase)
TestRuntimes.settings = settings(
    max_examples=max(10, settings().max_examples // 5),
    stateful_step_count=12,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
