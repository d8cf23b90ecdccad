"""Which context a resolve injects: the part known with the plan, and the part that depends on the goal. PROTOCOL: Context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from cra.atlas.manifest import Atlas, ContextBlock
from cra.hotpath import GoalSelector, KeywordMatcher
from cra.reference.keywords import Selection

if TYPE_CHECKING:
    from cra.carp.policy_set import PolicySet


_NO_KEYWORDS = KeywordMatcher(())


class Trigger(msgspec.Struct, frozen=True):
    """What makes one block be injected: `words` occurring in the casefolded goal, or a hint equal to one of `names`."""

    block: int
    words: tuple[str, ...]
    names: frozenset[str]


class Triggers:
    """The triggers of all blocks of a policy set, and one matcher for all their words; shared by its plans."""

    __slots__ = ("by_block", "matcher")

    def __init__(self, blocks: Sequence[tuple[Atlas, ContextBlock]]) -> None:
        self.by_block = {
            index: _trigger(index, block) for index, (_, block) in enumerate(blocks) if _has_trigger(block)
        }
        words = ((word, trigger.block) for trigger in self.by_block.values() for word in trigger.words)
        self.matcher = KeywordMatcher(words)


class ContextPlan:
    """The eligible blocks of a policy set for one vector of outcomes. Block numbers index `PolicySet.blocks`, which is in
    injection order.

    `selector` answers for goals without hints and budget, with selections that goals share.
    """

    __slots__ = ("_always", "_matcher", "_pulls", "_triggers", "blocks", "selector")

    def __init__(self, policy_set: PolicySet, outcomes: tuple[bool, ...]) -> None:
        self.blocks = policy_set.blocks
        triggers = policy_set.triggers
        always: list[int] = []
        self._triggers: dict[int, Trigger] = {}
        names: dict[tuple[str, str], list[int]] = {}
        for index, (atlas, block) in enumerate(self.blocks):
            eligible, tier_listed = policy_set.block_state(index, outcomes)
            if not eligible:
                continue
            for name in {block.block_id, block.pack_id or block.block_id}:
                names.setdefault((atlas.atlas_id, name), []).append(index)
            if block.inject_mode == "always" or tier_listed or index not in triggers.by_block:
                always.append(index)
            else:
                self._triggers[index] = triggers.by_block[index]
        self._pulls = {
            index: tuple(found for name in block.also_inject for found in names.get((atlas.atlas_id, name), ()))
            for index, (atlas, block) in enumerate(self.blocks)
            if block.also_inject
        }
        self._always = tuple(always)
        self._matcher = triggers.matcher if self._triggers else _NO_KEYWORDS
        self.selector = GoalSelector(self._matcher, self._choose)

    def select(self, goal: str, hints: Sequence[str] = (), budget: int | None = None) -> Selection:
        """The blocks to inject and those cut for their size, both in injection order.

        `budget` is the most tokens that all blocks together may have, None for no limit.
        """
        if not hints and budget is None:
            return self.selector.select(goal)
        found = self._matcher.find(goal)
        hinted = (index for index, trigger in self._triggers.items() if not trigger.names.isdisjoint(hints))
        return self._choose((*found, *hinted), budget)

    def _choose(self, found: Sequence[int], budget: int | None = None) -> Selection:
        """What to inject when these blocks are triggered; those of them that are not eligible are not looked at."""
        chosen = dict.fromkeys(self._always)
        chosen.update((index, None) for index in found if index in self._triggers)
        if self._pulls:
            self._follow(chosen)
        if not chosen:
            return (), ()
        return self._cut(sorted(chosen), budget)

    def _follow(self, chosen: dict[int, None]) -> None:
        """Add what `also_inject` pulls, each once, so that a cycle ends."""
        queue = list(chosen)
        while queue:
            for pulled in self._pulls.get(queue.pop(), ()):
                if pulled not in chosen:
                    chosen[pulled] = None
                    queue.append(pulled)

    def _cut(self, chosen: list[int], budget: int | None) -> Selection:
        """Whole blocks go, the last in injection order first, until each pack and then the whole fits."""
        packs: dict[tuple[str, str], list[int]] = {}
        for index in chosen:
            atlas, block = self.blocks[index]
            if block.pack_id is not None and block.max_tokens is not None:
                packs.setdefault((atlas.atlas_id, block.pack_id), []).append(index)
        cut: set[int] = set()
        for members in packs.values():
            cut.update(self._overflow(members, self.blocks[members[0]][1].max_tokens))
        cut.update(self._overflow([index for index in chosen if index not in cut], budget))
        return tuple(i for i in chosen if i not in cut), tuple(i for i in chosen if i in cut)

    def _overflow(self, members: list[int], limit: int | None) -> Iterable[int]:
        if limit is None:
            return
        total = sum(self.blocks[index][1].token_estimate for index in members)
        for index in reversed(members):
            if total <= limit:
                return
            total -= self.blocks[index][1].token_estimate
            yield index


def _has_trigger(block: ContextBlock) -> bool:
    return bool(block.keywords or block.risk_tiers or block.inject_when)


def _trigger(index: int, block: ContextBlock) -> Trigger:
    parts = (part for action in block.inject_when for part in action.split("."))
    words = dict.fromkeys(word.casefold() for word in (*block.keywords, *parts) if word)
    names = frozenset({block.block_id, block.pack_id or block.block_id, *block.keywords})
    return Trigger(index, tuple(words), names)
