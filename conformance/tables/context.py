"""Which context is injected, and in what order, group `context`. PROTOCOL: Context, Inline context."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import Group, atlas, resolve, session, step

MODE = "it is injected when `inject_mode` is `always`; or it has no trigger"
KEYWORD = "or a keyword occurs in the goal (casefolded substring)"
TIER = "or its `risk_tiers` has the tier"
HINT = "or a `context_hints` entry equals its id or a keyword"
WHEN = "or a dotted part of an `inject_when` action occurs in the goal"
CONDITIONS = "a block's `conditions` all have to hold, however it is selected"
PULL = "`also_inject` pulls further blocks, each once"
ORDER = "Order: priority descending, then declaration."
TOKENS = "`token_estimate` is ⌈UTF-8 bytes / 4⌉"
CUT = "cut whole blocks, lowest priority first, and say so (`context.redacted`)"
UNKNOWN = "A condition that cannot be evaluated (the key is absent or no scalar)"
SAME = "File-based `context_packs[]` and inline blocks end up as the same thing."
EVENT = "one `context.injected` per block (`block_id`, `source`, `content_type`, `token_count`, `priority`)"

PROD = {"context_matches": {"env": "prod"}}
# name, sentence, the block, facts of the session, the request, whether it is injected
TABLE: list[tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any], bool]] = [
    ("no-trigger", MODE, {}, {}, {}, True),
    ("always", MODE, {"inject_mode": "always"}, {}, {}, True),
    ("always-with-a-keyword", MODE, {"inject_mode": "always", "keywords": ["x"]}, {}, {}, True),
    ("on-match-without-trigger", MODE, {"inject_mode": "on_match"}, {}, {}, True),
    ("on-match-without-match", MODE, {"inject_mode": "on_match", "keywords": ["x"]}, {}, {}, False),
    ("keyword", KEYWORD, {"keywords": ["refund"]}, {}, {"goal": "Please refund it"}, True),
    ("keyword-absent", KEYWORD, {"keywords": ["refund"]}, {}, {"goal": "Please ship it"}, False),
    ("keyword-inside-a-word", KEYWORD, {"keywords": ["fun"]}, {}, {"goal": "Please refund it"}, True),
    ("keyword-second", KEYWORD, {"keywords": ["x", "ship"]}, {}, {"goal": "Please ship it"}, True),
    ("keyword-case", KEYWORD, {"keywords": ["refund"]}, {}, {"goal": "REFUND IT"}, True),
    ("keyword-own-case", KEYWORD, {"keywords": ["ReFund"]}, {}, {"goal": "refund it"}, True),
    ("keyword-casefolded", KEYWORD, {"keywords": ["STRASSE"]}, {}, {"goal": "auf der Straße"}, True),
    ("keyword-casefolded-other-way", KEYWORD, {"keywords": ["straße"]}, {}, {"goal": "STRASSE"}, True),
    ("keyword-casefolded-greek", KEYWORD, {"keywords": ["\u03a3\u03a3"]}, {}, {"goal": "a\u03c3\u03c2"}, True),
    ("keyword-is-no-glob", KEYWORD, {"keywords": ["re*d"]}, {}, {"goal": "refund"}, False),
    ("keyword-of-two-words", KEYWORD, {"keywords": ["pull request"]}, {}, {"goal": "open a pull  request"}, False),
    ("goal-of-the-session", KEYWORD, {"keywords": ["refund"]}, {"goal": "refund"}, {"goal": "ship"}, False),
    ("tier", TIER, {"risk_tiers": ["high"]}, {}, {"risk_tier": "high"}, True),
    ("tier-of-the-host", TIER, {"risk_tiers": ["high"]}, {"risk_tier": "high"}, {}, True),
    ("tier-other", TIER, {"risk_tiers": ["high"]}, {}, {}, False),
    ("tier-or-keyword", TIER, {"risk_tiers": ["high"], "keywords": ["work"]}, {}, {}, True),
    ("hint-id", HINT, {"keywords": ["x"]}, {}, {"context_hints": ["block"]}, True),
    ("hint-keyword", HINT, {"keywords": ["x", "y"]}, {}, {"context_hints": ["y"]}, True),
    ("hint-part", HINT, {"keywords": ["xyz"]}, {}, {"context_hints": ["xy", "bloc"]}, False),
    ("hint-not-the-goal", HINT, {"keywords": ["refund"]}, {}, {"context_hints": ["refund it"]}, False),
    ("when", WHEN, {"inject_when": ["ticket.delete"]}, {}, {"goal": "delete it"}, True),
    ("when-first-part", WHEN, {"inject_when": ["ticket.delete"]}, {}, {"goal": "close tickets"}, True),
    ("when-no-part", WHEN, {"inject_when": ["ticket.delete"]}, {}, {"goal": "close it"}, False),
    ("when-whole", WHEN, {"inject_when": ["a.b", "ticket.close"]}, {}, {"goal": "now close"}, True),
    ("condition-holds", CONDITIONS, {"conditions": PROD}, {"context": {"env": "prod"}}, {}, True),
    ("condition-fails", CONDITIONS, {"conditions": PROD}, {"context": {"env": "test"}}, {}, False),
    ("condition-fails-always", CONDITIONS, {"conditions": PROD, "inject_mode": "always"}, {"context": {"env": "test"}}, {}, False),
    ("condition-fails-keyword", CONDITIONS, {"conditions": PROD, "keywords": ["work"]}, {"context": {"env": "test"}}, {}, False),
    ("condition-fails-hint", CONDITIONS, {"conditions": PROD, "keywords": ["x"]}, {"context": {"env": "test"}}, {"context_hints": ["block"]}, False),
    ("condition-holds-no-match", CONDITIONS, {"conditions": PROD, "keywords": ["x"]}, {"context": {"env": "prod"}}, {}, False),
    ("condition-tiers", CONDITIONS, {"conditions": {"risk_tiers": ["high"]}}, {}, {"risk_tier": "high"}, True),
    ("condition-tiers-fails", CONDITIONS, {"conditions": {"risk_tiers": ["high"]}}, {}, {}, False),
    ("condition-agents", CONDITIONS, {"conditions": {"agents": ["bot-*"]}}, {"agent_id": "bot-1"}, {}, True),
    ("condition-agents-fails", CONDITIONS, {"conditions": {"agents": ["bot-*"]}}, {}, {}, False),
]  # fmt: skip

# content, tokens
ESTIMATES = [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("a" * 400, 100), ("é", 1), ("éé", 1), ("ééa", 2), ("\U0001f600", 1), ("\U0001f600a", 2)]  # fmt: skip


def _block(name: str = "block", content: str = "Read me", **fields: Any) -> dict[str, Any]:
    return {"context_id": name, "name": name, "content": content, **fields}


def _shop(*blocks: Any, atlas_id: str = "com.example.shop", **fields: Any) -> Any:
    return atlas([], [], atlas_id, context_blocks=list(blocks), **fields)


def _ids(*names: str) -> Any:
    return {"r": {"context_blocks": [{"block_id": name} for name in names]}}


def groups() -> list[Group]:
    group = Group("context", "CRA-Minimal")

    def add(name: str, sentence: str, atlases: list[Any], expected: Any, **ask: Any) -> None:
        group.script(name, sentence, atlases, [session(), resolve(**ask)], expected)

    for name, sentence, fields, facts, ask, injected in TABLE:
        expected = _ids("block") if injected else _ids()
        group.script(name, sentence, [_shop(_block(**fields))], [session(**facts), resolve(**ask)], expected)
    for number, (content, tokens) in enumerate(ESTIMATES):
        expected = {"r": {"context_blocks": [{"content": content, "token_estimate": tokens}]}}
        add(f"tokens-{number}", TOKENS, [_shop(_block(content=content))], expected)
    _add_pulls(add)
    _add_order(add)
    _add_budget(group, add)
    fields = {
        "block_id": "block",
        "source": "com.example.shop",
        "content_type": "text/plain",
        "content": "Hi",
        "priority": 7,
    }
    add("fields", SAME, [_shop(_block(content="Hi", content_type="text/plain", priority=7))],
        {"r": {"context_blocks": [{"$exactly": {**fields, "token_estimate": 1}}]}})  # fmt: skip
    steps = [session(), resolve(), step("trace", "t", types="context.")]
    payload = {
        "block_id": "block",
        "source": "com.example.shop",
        "content_type": "text/plain",
        "token_count": 1,
        "priority": 7,
    }
    events = {"events": [{"event_type": "context.injected", "payload": payload}]}
    group.script("event", EVENT, [_shop(_block(content="Hi", content_type="text/plain", priority=7))], steps, {"t": events})  # fmt: skip
    sentence = "from a manifest file given by path, a missing file is a lint warning and injects nothing."
    pack = {"pack_id": "guide", "name": "Guide", "files": ["guide.md"]}
    group.script("missing-file", sentence, [_shop(context_packs=[pack])], [session(), resolve()], _ids())
    return [group]


def _add_pulls(add: Any) -> None:
    def hidden(name: str, **fields: Any) -> Any:
        return _block(name, keywords=["never"], **fields)

    add("also", PULL, [_shop(_block("a", also_inject=["b"]), hidden("b"))], _ids("a", "b"))
    add("also-from-one-not-selected", PULL, [_shop(hidden("a", also_inject=["b"]), hidden("b"))], _ids())
    chain = [_block("a", also_inject=["b"]), hidden("b", also_inject=["c"]), hidden("c")]
    add("also-further", PULL, [_shop(*chain)], _ids("a", "b", "c"))
    ring = [_block("a", also_inject=["b"]), hidden("b", also_inject=["a"])]
    add("also-each-once", PULL, [_shop(*ring)], _ids("a", "b"))
    add("also-itself", PULL, [_shop(_block("a", also_inject=["a"]))], _ids("a"))
    twice = [_block("a", also_inject=["c"]), _block("b", also_inject=["c"]), hidden("c")]
    add("also-by-two", PULL, [_shop(*twice)], _ids("a", "b", "c"))
    closed = [_block("a", also_inject=["b"]), _block("b", conditions={"risk_tiers": ["high"]})]
    add("also-needs-its-conditions", CONDITIONS, [_shop(*closed)], _ids("a"))
    add("also-in-order", ORDER, [_shop(_block("a", also_inject=["b"]), hidden("b", priority=500))], _ids("b", "a"))


def _add_order(add: Any) -> None:
    add(
        "priority",
        ORDER,
        [_shop(_block("a", priority=1), _block("b", priority=9), _block("c", priority=5))],
        _ids("b", "c", "a"),
    )
    add("declaration", ORDER, [_shop(_block("z"), _block("a"), _block("m"))], _ids("z", "a", "m"))
    mixed = [_block("a", priority=1), _block("b", priority=9), _block("c", priority=1), _block("d", priority=9)]
    add("priority-then-declaration", ORDER, [_shop(*mixed)], _ids("b", "d", "a", "c"))
    one = _shop(_block("a", priority=5), atlas_id="com.example.one")
    two = _shop(_block("b", priority=9), atlas_id="com.example.two")
    add("across-atlases", ORDER, [one, two], _ids("b", "a"))
    none = [_block("a", priority=0), _block("b", priority=1000)]
    add("extremes", ORDER, [_shop(*none)], _ids("b", "a"))


def _add_budget(group: Group, add: Any) -> None:
    blocks = [_block("a", "a" * 40, priority=9), _block("b", "b" * 40, priority=5), _block("c", "c" * 40, priority=1)]
    for budget, kept in ((30, "abc"), (29, "ab"), (20, "ab"), (19, "a"), (10, "a"), (9, ""), (0, "")):
        add(f"budget-{budget}", CUT, [_shop(*blocks)], _ids(*kept), context_budget=budget)
    steps = [session(), resolve(context_budget=20), step("trace", "t", types="context.")]
    events = [{"event_type": "context.injected", "payload": {"block_id": name}} for name in "ab"]
    events.append({"event_type": "context.redacted"})
    group.script("budget-says-so", CUT, [_shop(*blocks)], steps, {"t": {"events": {"$contains": events}}})
    equal = [_block("a", "a" * 40), _block("b", "b" * 40)]
    add("budget-equal-priority", CUT, [_shop(*equal)], _ids("a"), context_budget=10)
