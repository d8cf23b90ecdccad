"""Context selection against the oracle: what is injected, in which order, and what a budget cuts. PROTOCOL: Context."""

from __future__ import annotations

from hypothesis import event, given, settings
from hypothesis import strategies as st

import cra
from cra.carp.context import ContextPlan
from cra.carp.policy_set import PolicySet
from cra.testing import SeededIds, VirtualClock
from tests.property import oracle
from tests.property.oracle import Document, Party
from tests.property.strategies import A, B, described, facts_of, goals, hints, load, parties

both = st.tuples(described(A, "a"), described(B, "b"))
budgets = st.none() | st.integers(0, 12)


class Chosen(ContextPlan):
    """The context for one party, by the ids of its blocks."""

    def __init__(self, atlases: tuple[Document, ...], party: Party) -> None:
        policies = PolicySet(load(*atlases), "deny")
        super().__init__(policies, policies.outcomes(facts_of(party)))

    def ids(self, goal: str, hinted: tuple[str, ...], budget: int | None = None) -> tuple[list[str], list[str]]:
        """The ids of the blocks injected and of those cut."""
        injected, cut = self.select(goal, hinted, budget)
        return [self.blocks[index][1].block_id for index in injected], [self.blocks[i][1].block_id for i in cut]


@settings(max_examples=200)
@given(both, parties, goals, hints, budgets)
def test_the_context_is_what_the_protocol_says(
    atlases: tuple[Document, Document], party: Party, goal: str, hinted: tuple[str, ...], budget: int | None
) -> None:
    """Blocks injected and blocks cut, each once, in order. `also_inject` makes cycles here, and they end."""
    expected = oracle.select_context(atlases, party, goal, hinted, budget)
    event(f"{len(expected[0])} injected")
    found = Chosen(atlases, party).ids(goal, hinted, budget)
    assert expected == found
    assert len(set(found[0] + found[1])) == len(found[0] + found[1])


@given(both, parties, goals, hints)
def test_load_order_changes_nothing(
    atlases: tuple[Document, Document], party: Party, goal: str, hinted: tuple[str, ...]
) -> None:
    """Atlases count in the order of their ids."""
    assert Chosen(atlases, party).ids(goal, hinted) == Chosen(atlases[::-1], party).ids(goal, hinted)


@given(both, parties, goals, hints, st.integers(0, 12))
def test_a_budget_keeps_the_most_important_that_fit(
    atlases: tuple[Document, Document], party: Party, goal: str, hinted: tuple[str, ...], budget: int
) -> None:
    """What is kept fits and is a head of what there was; with the first block that was cut it would not fit."""
    context = Chosen(atlases, party)
    everything, _ = context.select(goal, hinted, None)
    kept, cut = context.select(goal, hinted, budget)
    assert everything == kept + cut
    size = sum(context.blocks[index][1].token_estimate for index in kept)
    assert size <= budget
    assert not cut or size + context.blocks[cut[0]][1].token_estimate > budget


@given(both, parties, goals, hints, budgets)
def test_a_resolve_returns_and_traces_it(
    atlases: tuple[Document, Document], party: Party, goal: str, hinted: tuple[str, ...], budget: int | None
) -> None:
    """The resolution has the blocks, the trace an event for each, injected or redacted, in the same order."""
    clock = VirtualClock(facts_of(party).now_ns)
    with cra.Resolver(clock=clock, ids=SeededIds(1), tracing="immediate") as resolver:
        for document in atlases:
            resolver.load_atlas(document)
        session = resolver.create_session(
            party.agent_id, "work", context=party.context, scopes=party.scopes, risk_tier=party.risk_tier
        )
        resolution = session.resolve(goal, context_hints=hinted, context_budget=budget)
        events = resolver.trace(session.session_id)
    injected, cut = oracle.select_context(atlases, party._replace(required=()), goal, hinted, budget)
    assert injected == [block.block_id for block in resolution.context_blocks]
    told = [(each.event_type, each.payload) for each in events if each.event_type.startswith("context.")]
    blocks = {block["context_id"]: (owner["atlas_id"], block) for owner in atlases for block in owner["context_blocks"]}
    assert [
        *(("context.injected", _injected(*blocks[name])) for name in injected),
        *(("context.redacted", _redacted(*blocks[name])) for name in cut),
    ] == told


def _injected(atlas_id: str, block: Document) -> Document:
    return {
        "block_id": block["context_id"],
        "source": atlas_id,
        "content_type": "text/markdown",
        "token_count": _tokens(block),
        "priority": block.get("priority", 100),
    }


def _redacted(atlas_id: str, block: Document) -> Document:
    return {
        "block_id": block["context_id"],
        "source": atlas_id,
        "token_count": _tokens(block),
        "reason": "token_budget",
    }


def _tokens(block: Document) -> int:
    return -(-len(block["content"].encode()) // 4)
