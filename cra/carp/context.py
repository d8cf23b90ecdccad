"""Which context a resolve injects: the part known with the plan, and the part that depends on the goal. PROTOCOL: Context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from cra.atlas.manifest import ContextBlock

if TYPE_CHECKING:
    from cra.carp.policy_set import PolicySet


class Trigger(msgspec.Struct, frozen=True):
    """What makes one block be injected: `words` occurring in the casefolded goal, or a hint equal to one of `names`."""

    block: int
    words: tuple[str, ...]
    names: frozenset[str]


class ContextPlan:
    """The eligible blocks of a policy set for one vector of outcomes. Block numbers index `PolicySet.blocks`, which is in
    injection order."""

    __slots__ = ("_always", "_pulls", "_triggers", "blocks")

    def __init__(self, policy_set: PolicySet, outcomes: tuple[bool, ...]) -> None:
        self.blocks = policy_set.blocks
        always: list[int] = []
        triggers: list[Trigger] = []
        names: dict[tuple[str, str], list[int]] = {}
        for index, (atlas, block) in enumerate(self.blocks):
            eligible, tier_listed = policy_set.block_state(index, outcomes)
            if not eligible:
                continue
            for name in {block.block_id, block.pack_id or block.block_id}:
                names.setdefault((atlas.atlas_id, name), []).append(index)
            if block.inject_mode == "always" or tier_listed or not _has_trigger(block):
                always.append(index)
            else:
                triggers.append(_trigger(index, block))
        self._pulls = {
            index: tuple(found for name in block.also_inject for found in names.get((atlas.atlas_id, name), ()))
            for index, (atlas, block) in enumerate(self.blocks)
            if block.also_inject
        }
        self._always = tuple(always)
        self._triggers = tuple(triggers)

    def select(self, goal: str, hints: Sequence[str], budget: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The blocks to inject and those cut for their size, both in injection order.

        `budget` is the most tokens that all blocks together may have, None for no limit.
        """
        chosen = dict.fromkeys(self._always)
        if self._triggers:
            text = goal.casefold()
            for trigger in self._triggers:
                if any(word in text for word in trigger.words) or not trigger.names.isdisjoint(hints):
                    chosen[trigger.block] = None
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

    def _cut(self, chosen: list[int], budget: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
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
