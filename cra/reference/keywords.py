"""Keywords in a goal, and what they select. PROTOCOL: Context.

A word is looked for anywhere in the casefolded goal: `stale` occurs in `Unstaled`. The compiled twin looks for all of them in
one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

MAX_SELECTIONS = 256

Selection = tuple[tuple[int, ...], tuple[int, ...]]
"""The blocks to inject and those cut for their size, both in injection order."""


class KeywordMatcher:
    """`words` are casefolded words and what each triggers; one trigger may have many words. Immutable.

    Raises `ValueError` for an empty word, which would occur in every goal.
    """

    __slots__ = ("_words",)

    def __init__(self, words: Iterable[tuple[str, int]]) -> None:
        self._words = tuple(words)
        if not all(word for word, _ in self._words):
            raise ValueError("a keyword has to have a character")

    def find(self, goal: str) -> tuple[int, ...]:
        """The triggers with a word that occurs in the goal, ascending, each once."""
        text = goal.casefold()
        return tuple(sorted({trigger for word, trigger in self._words if word in text}))


class GoalSelector:
    """What goals select, decided once for each set of triggers: `choose(triggers)` is asked for those not seen of late.

    So goals that trigger the same share one selection, and most cost one pass and one look.
    """

    __slots__ = ("_choose", "_known", "_matcher")

    def __init__(self, matcher: KeywordMatcher, choose: Callable[[tuple[int, ...]], Selection]) -> None:
        self._matcher = matcher
        self._choose = choose
        self._known: dict[tuple[int, ...], Selection] = {}

    def select(self, goal: str) -> Selection:
        """The selection for a goal."""
        found = self._matcher.find(goal)
        selection = self._known.get(found)
        if selection is None:
            selection = self._choose(found)
            if len(self._known) >= MAX_SELECTIONS:  # goals come from agents: what they can fill is bounded
                self._known.clear()
            self._known[found] = selection
        return selection
