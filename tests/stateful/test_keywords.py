"""Two selectors that see the same goals choose the same, and ask as often what to choose. PROTOCOL: Context."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cra.reference import keywords
from tests.stateful.pairs import Pair, built

alphabet = st.sampled_from("aAbSßſéıİ😀語 ")
words = st.text(alphabet, min_size=1, max_size=4).map(str.casefold)


class Selectors(RuleBasedStateMachine):
    """`asked` counts what each was asked to choose: what is remembered, and forgotten, shows in it."""

    @initialize(listed=st.lists(st.tuples(words, st.integers(0, 15)), max_size=20))
    def begin(self, listed: list[tuple[str, int]]) -> None:
        self.asked: list[list[tuple[int, ...]]] = [[], []]
        made = []
        for twin, asked in zip((keywords, import_module("cra._speedups")), self.asked):

            def choose(triggers: tuple[int, ...], asked: list[tuple[int, ...]] = asked) -> Any:
                asked.append(triggers)
                return triggers, triggers[::-1]

            made.append((twin.KeywordMatcher(listed), choose, twin.GoalSelector))
        self.matchers = Pair(*(matcher for matcher, _, _ in made))
        self.selectors = Pair(*(selector(matcher, choose) for matcher, choose, selector in made))
        self.words = [word for word, _ in listed]

    @rule(goal=st.text(alphabet, max_size=30))
    def select(self, goal: str) -> None:
        self.matchers.call("find", goal)
        self.selectors.call("select", goal)

    @rule(data=st.data(), times=st.integers(1, 20))
    def select_words(self, data: st.DataObject, times: int) -> None:
        """Goals that are made of the words, in all their combinations: more of them than are remembered."""
        if self.words:
            for _ in range(times):
                chosen = data.draw(st.lists(st.sampled_from(self.words), max_size=6))
                self.selectors.call("select", " ".join(chosen).upper())

    @invariant()
    def ask_the_same(self) -> None:
        if hasattr(self, "asked"):
            assert self.asked[0] == self.asked[1]


TestSelectors = built(Selectors.TestCase)
TestSelectors.settings = settings(stateful_step_count=20)
