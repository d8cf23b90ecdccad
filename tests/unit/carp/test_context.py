"""Which context a resolve injects, in which order, and what is cut for its size. PROTOCOL: Context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas
from cra.carp.context import ContextPlan
from cra.carp.policy_set import PolicySet
from tests.support.decisions import Document, atlas, compiled, facts, manifest

GOAL = "Close the STALE tickets of Straße 7"


def block(context_id: str, **fields: Any) -> Document:
    return {"context_id": context_id, "name": context_id, "content": "12345678", **fields}


def never(context_id: str, **fields: Any) -> Document:
    """A block that nothing but its name makes be injected."""
    return block(context_id, keywords=["\0never"], **fields)


def selected(
    *blocks: Document,
    goal: str = GOAL,
    hints: tuple[str, ...] = (),
    budget: int | None = None,
    **given: Any,
) -> list[str]:
    """The ids of the blocks injected, in order."""
    return chosen(compiled(atlas(context_blocks=list(blocks))), goal, hints, budget, **given)[0]


def chosen(
    policies: PolicySet, goal: str = GOAL, hints: tuple[str, ...] = (), budget: int | None = None, **given: Any
) -> tuple[list[str], list[str]]:
    """The ids of the blocks injected and of those cut."""
    context = ContextPlan(policies, policies.outcomes(facts(**given)))
    injected, cut = context.select(goal, hints, budget)
    return (
        [context.blocks[index][1].block_id for index in injected],
        [context.blocks[index][1].block_id for index in cut],
    )


# What selects a block


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"inject_mode": "on_match"}, True),
        ({"inject_mode": "always", "keywords": ["nothing"]}, True),
        ({"keywords": ["nothing"]}, False),
        ({"keywords": ["nothing", "stale"]}, True),
        ({"keywords": ["ALE TICK"]}, True),
        ({"keywords": ["STRASSE"]}, True),
        ({"keywords": ["stale  tickets"]}, False),
        ({"inject_when": ["ticket.close"]}, True),
        ({"inject_when": ["Ticket.archive"]}, True),
        ({"inject_when": ["issue.archive", "a.close.b"]}, True),
        ({"inject_when": ["issue.archive"]}, False),
        ({"inject_when": ["ticket_close"]}, False),
        ({"risk_tiers": ["low", "high"]}, True),
        ({"risk_tiers": ["high"]}, False),
        ({"risk_tiers": ["high"], "keywords": ["nothing"], "inject_when": ["ticket.x"]}, True),
        ({"also_inject": ["other"]}, True),
    ],
)
def test_what_selects_a_block(fields: dict[str, Any], expected: bool) -> None:
    """`always`; no trigger; a keyword in the goal (casefolded); its risk tier; a dotted part of `inject_when` in the goal."""
    assert (["b"] if expected else []) == selected(block("b", **fields))


@pytest.mark.parametrize(
    ("hints", "expected"),
    [((), False), (("b",), True), (("x", "nothing"), True), (("B",), False), (("noth",), False), (("\0never",), False)],
)
def test_a_hint_equals_an_id_or_a_keyword(hints: tuple[str, ...], expected: bool) -> None:
    """Exactly, not as a part and not in another case."""
    assert (["b"] if expected else []) == selected(block("b", keywords=["nothing"]), hints=hints)


def test_a_hint_can_be_a_block_without_keywords() -> None:
    """Any block has an id."""
    assert ["b"] == selected(block("b", risk_tiers=["critical"]), hints=("b",))


def test_dots_alone_name_nothing() -> None:
    """An `inject_when` without a word occurs in no goal."""
    assert [] == selected(block("b", inject_when=["..", "."]), goal="a. b.. c")


@pytest.mark.parametrize(
    "fields",
    [{}, {"inject_mode": "always"}, {"keywords": ["stale"]}, {"risk_tiers": ["low"]}, {"inject_when": ["stale.x"]}],
)
@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"risk_tiers": ["low"]}, True),
        ({"risk_tiers": ["high"]}, False),
        ({"risk_tiers": ["low"], "agents": ["other"]}, False),
        ({"context_matches": {"env": "*"}}, False),
        ({"unknown": 1}, False),
    ],
)
def test_conditions_hold_however_a_block_is_selected(
    fields: dict[str, Any], conditions: dict[str, Any], expected: bool
) -> None:
    """All have to hold; one that cannot be evaluated does not. Hints and `also_inject` are no way around them."""
    conditional = block("b", conditions=conditions, **fields)
    puller = block("p", priority=0, also_inject=["b"])
    ids = (["b"] if expected else []) + ["p"]
    assert ids == selected(conditional, puller)
    assert ids == selected(conditional, puller, hints=("b",))


def test_a_block_follows_the_effective_facts() -> None:
    """The tier that a session has been raised to counts, for triggers and for conditions."""
    blocks = (block("t", risk_tiers=["high"]), block("c", conditions={"risk_tiers": ["high"]}))
    assert [] == selected(*blocks)
    assert ["t", "c"] == selected(*blocks, risk_tier="high")


# also_inject


def test_also_inject_pulls_each_once() -> None:
    """Chains, diamonds and cycles end, and a block that is not selected pulls nothing."""
    blocks = (
        block("a", also_inject=["b", "c"], keywords=["stale"]),
        never("b", also_inject=["d"]),
        never("c", also_inject=["d", "a", "c"]),
        never("d", also_inject=["a"]),
        never("e", also_inject=["f"]),
        never("f"),
    )
    assert ["a", "b", "c", "d"] == selected(*blocks)
    assert [] == selected(*blocks, goal="something else")
    assert ["e", "f"] == selected(*blocks, goal="something else", hints=("e",))


def test_also_inject_pulls_nothing_through_a_block_whose_conditions_fail() -> None:
    """It is not injected, so it pulls nothing."""
    blocks = (block("a", also_inject=["b"]), never("b", also_inject=["c"], conditions={"agents": ["x"]}), never("c"))
    assert ["a"] == selected(*blocks)
    assert ["a", "b", "c"] == selected(*blocks, agent_id="x")


def test_also_inject_stays_inside_its_atlas() -> None:
    """A name is that of a block of the same atlas; one that nobody has pulls nothing."""
    first = atlas(atlas_id="com.example.a", context_blocks=[block("a", also_inject=["b", "nobody"])])
    second = atlas(atlas_id="com.example.b", context_blocks=[never("b")])
    assert ["a"] == chosen(compiled(first, second))[0]


# Order


def test_the_order_is_priority_then_declaration() -> None:
    """Priority descending; then atlas id order, packs before blocks, as declared; not how they were found."""
    first = atlas(atlas_id="com.example.a", context_blocks=[block("a1"), block("a2", priority=5), block("a3")])
    second = atlas(
        atlas_id="com.example.b", context_blocks=[never("b1", priority=900), block("b2"), block("b3", priority=5)]
    )
    policies = compiled(second, first)
    assert ["b1", "a1", "a3", "b2", "a2", "b3"] == chosen(policies, hints=("b1",))[0]


# Budgets


def sized(context_id: str, tokens: int, **fields: Any) -> Document:
    return block(context_id, content="x" * (4 * tokens), **fields)


@pytest.mark.parametrize(
    ("budget", "injected", "cut"),
    [
        (None, ["a", "b", "c"], []),
        (60, ["a", "b", "c"], []),
        (59, ["a", "b"], ["c"]),
        (30, ["a", "b"], ["c"]),
        (29, ["a"], ["b", "c"]),
        (10, ["a"], ["b", "c"]),
        (9, [], ["a", "b", "c"]),
        (0, [], ["a", "b", "c"]),
    ],
)
def test_a_budget_cuts_whole_blocks_from_the_end(budget: int | None, injected: list[str], cut: list[str]) -> None:
    """Lowest priority first, until the rest fits; what is cut is told."""
    policies = compiled(atlas(context_blocks=[sized("c", 30, priority=1), sized("b", 20, priority=2), sized("a", 10)]))
    assert (injected, cut) == chosen(policies, budget=budget)


def test_an_empty_block_costs_nothing_but_has_its_place() -> None:
    """Cutting stops as soon as the rest fits, so an empty block goes only where it is the lowest of what has to go."""
    policies = compiled(atlas(context_blocks=[sized("a", 2), sized("empty", 0), sized("b", 2)]))
    assert (["a", "empty"], ["b"]) == chosen(policies, budget=3)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("ééé", 2), ("😀", 1)])
def test_tokens_are_estimated_from_bytes(text: str, tokens: int) -> None:
    """⌈UTF-8 bytes / 4⌉."""
    (only,) = atlas(context_blocks=[block("b", content=text)]).context_blocks
    assert tokens == only.token_estimate


@pytest.fixture
def packed(tmp_path: Path) -> Atlas:
    """An atlas with a pack of three files of 10 tokens each and at most 25, one of a single file, and an inline block."""
    for name in ("one.md", "two.json", "three.txt", "alone.md"):
        (tmp_path / name).write_text("x" * 40)
    document = manifest(
        context_packs=[
            {"pack_id": "many", "name": "Many", "files": ["one.md", "two.json", "three.txt"], "max_tokens": 25},
            {"pack_id": "small", "name": "Small", "files": ["alone.md"], "max_tokens": 9, "priority": 5},
        ],
        context_blocks=[block("inline", also_inject=["many"], priority=7)],
    )
    (tmp_path / "atlas.json").write_text(json.dumps(document))
    return load_atlas(tmp_path)


def test_the_budget_of_a_pack_is_its_own(packed: Atlas) -> None:
    """`max_tokens` cuts files of the pack, the last first; what other blocks cost does not count."""
    injected, cut = chosen(compiled(packed))
    assert (["many/one.md", "many/two.json", "inline"], ["many/three.txt", "small"]) == (injected, cut)


def test_what_a_pack_has_cut_costs_the_request_nothing(packed: Atlas) -> None:
    """First the packs, then the whole: 22 tokens are left after the packs."""
    kept = ["many/one.md", "many/two.json", "inline"]
    assert (kept, ["many/three.txt", "small"]) == chosen(compiled(packed), budget=22)
    assert (kept[:2], ["many/three.txt", "inline", "small"]) == chosen(compiled(packed), budget=21)


def test_a_pack_goes_by_its_id(packed: Atlas) -> None:
    """`also_inject` names a pack as a whole, or one file of it."""
    conditional = load_with(packed, {"agents": ["nobody"]})
    assert ["inline"] == chosen(compiled(conditional))[0]
    assert ["many/one.md", "many/two.json", "inline"] == chosen(compiled(conditional), agent_id="nobody")[0]


def load_with(packed: Atlas, conditions: Document) -> Atlas:
    """The same atlas with conditions on its packs."""
    assert packed.source is not None
    path = Path(packed.source)
    document = dict(packed.manifest)
    document["context_packs"] = [{**pack, "conditions": conditions} for pack in document["context_packs"]]
    (path / "atlas.json" if path.is_dir() else path).write_text(json.dumps(document))
    return load_atlas(path)


def test_nothing_to_say() -> None:
    """An atlas without context, and a goal that selects none of it."""
    assert ([], []) == chosen(compiled(atlas()))
    assert ([], []) == chosen(compiled(atlas(context_blocks=[never("b")])))


# What goals share


def test_goals_that_trigger_the_same_share_one_selection() -> None:
    """Nothing is made for a goal that triggers what another did; hints and budgets are decided each time."""
    policies = compiled(
        atlas(context_blocks=[block("a"), block("b", keywords=["stale"]), block("c", keywords=["new"])])
    )
    context = ContextPlan(policies, policies.outcomes(facts()))
    assert ((0,), ()) == context.select("nothing")
    assert context.select("nothing") is context.select("of it")
    assert context.select("STALE issues") is context.select("stale tickets")
    assert ((0, 1), ()) == context.select("stale")
    assert ((0, 1, 2), ()) == context.select("stale", ("c",), None)
    assert ((0,), (1,)) == context.select("stale", (), 2)


def test_what_is_not_eligible_is_not_selected_by_its_words() -> None:
    """All plans of a policy set look for the words of all blocks; each selects of its own."""
    blocks = [block("a", keywords=["stale"], conditions={"agents": ["other"]}), block("b", keywords=["stale"])]
    policies = compiled(atlas(context_blocks=blocks))
    for agent, expected in [("bot", (1,)), ("other", (0, 1))]:
        context = ContextPlan(policies, policies.outcomes(facts(agent_id=agent)))
        assert (expected, ()) == context.select("stale")
        assert (expected, ()) == context.select("stale", ("no such hint",), None)
