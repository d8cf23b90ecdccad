"""Parts of real-looking atlases and requests, from a vocabulary in which policies, conditions and actions keep meeting.

Called by the generators.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from conformance.differential import values
from conformance.tables.trace import uuid

Document = dict[str, Any]

ATLAS_IDS: Final = ("com.example.desk", "com.example.shop", "org.acme.ops", "com.example.overlay")
ACTION_IDS: Final = (
    "ticket.get", "ticket.close", "ticket.note.add", "shop.buy", "shop.refund", "ops.deploy-now", "ops_restart", "over.see",
)  # fmt: skip
AGENTS: Final = ("bot", "bot", "bot-2", "planner", "robot", "Ägent")
TIERS: Final = ("low", "medium", "high", "critical")
_OF_ATLAS: Final = {
    ATLAS_IDS[0]: ACTION_IDS[:3],
    ATLAS_IDS[1]: ACTION_IDS[3:5],
    ATLAS_IDS[2]: ACTION_IDS[5:7],
    ATLAS_IDS[3]: ACTION_IDS[7:],
}
_PATTERNS: Final = (
    "*", "*.close", "ticket.*", "shop.?uy", "*.note.*", "ops*", "over.see", "shop.buy", "nothing.*", "*e*t*", "*e", "ticket.get",
)  # fmt: skip
_CONTEXT_VALUES: Final[tuple[Any, ...]] = (
    "prod",
    "prod",
    "dev",
    "staging",
    "",
    3,
    3.0,
    0.5,
    1e21,
    True,
    None,
    ["prod"],
    {},
    "é",
)
_KEYS: Final = ("env", "team", "größe")
_SCOPES: Final = ("read", "write", "admin")
_KINDS: Final = (
    "deny",
    "scope",
    "require_approval",
    "requires_approval",
    "rate_limit",
    "rate_limit",
    "budget",
    "budget",
    "allow",
    "allow",
)
CAPABILITIES: Final = ("tickets", "money", "fly")
_WORDS: Final = ("refund", "Stale", "STRASSE", "straße", "ticket", "deploy now", "é", "語", "😀", "a", "x", "İ")
_GOALS: Final = (
    "Refund the order", "close STALE tickets", "Straße prüfen", "deploy now, please", "語を見る 😀", "unstaled", "x", "Work",
    "nothing that matches", "ticket refund deploy", "İstanbul ı", "line\nbreak \"quoted\" \\ \x01",
)  # fmt: skip
_AMOUNT: Final = {
    "type": "object",
    "properties": {"amount": {"type": "number", "exclusiveMinimum": 100}},
    "required": ["amount"],
}
_PARAMETER_SCHEMAS: Final[tuple[Document, ...]] = (
    {"type": "object"},
    {"type": "object", "properties": {"amount": {"type": "number", "minimum": 0}}, "additionalProperties": True},
    {"type": "object", "properties": {"id": {"type": "string", "maxLength": 4}}, "required": ["id"]},
    {"type": "object", "properties": {"when": {"type": "string", "format": "date"}}, "additionalProperties": False},
)
_RETURN_SCHEMAS: Final[tuple[Document, ...]] = (
    {"type": "object"},
    {"type": ["object", "null"], "properties": {"amount": {"type": "number"}}},
    {"type": "string"},
)


def manifest(rng: Random, atlas_id: str, small: bool = False) -> Document:
    """An atlas of one of `ATLAS_IDS` (or of no actions that they have)."""
    action_ids = [each for each in _OF_ATLAS.get(atlas_id, ("over.see",)) if rng.random() < 0.95]
    if rng.random() < 0.02:
        action_ids.append(rng.choice(ACTION_IDS))  # of another atlas, perhaps: a conflict
    document: Document = {
        "atlas_version": "1.0",
        "atlas_id": atlas_id,
        "version": f"1.{rng.randrange(3)}.{rng.randrange(10)}",
        "name": "Généré",
        "description": "Made up",
        "actions": [action(rng, each) for each in action_ids],
        "policies": policies(rng, rng.randrange(3 if small else 8)),
    }
    if rng.random() < 0.5:
        document["capabilities"] = [
            {"capability_id": each, "name": each, "actions": rng.sample(action_ids, rng.randrange(len(action_ids) + 1))}
            for each in CAPABILITIES[: rng.randrange(3)]
        ]
    if rng.random() < 0.7:
        count = rng.randrange(3 if small else 7)
        document["context_blocks"] = [block(rng, f"block-{number}", count) for number in range(count)]
    if rng.random() < 0.05:
        document["metadata"] = values.mapping(rng, 2)
    return document


def action(rng: Random, action_id: str) -> Document:
    """One action; most have no schema and no limit."""
    made: Document = {"action_id": action_id, "name": action_id.title(), "description": "Does it"}
    members: tuple[tuple[str, float, tuple[Any, ...]], ...] = (
        ("parameters_schema", 0.25, _PARAMETER_SCHEMAS),
        ("returns_schema", 0.1, _RETURN_SCHEMAS),
        ("risk_tier", 0.3, TIERS),
        ("requires_confirmation", 0.1, (True,)),
        ("idempotent", 0.3, (True, False)),
        ("rate_limit", 0.15, ({"max_calls": 1, "window_seconds": 60}, {"max_calls": 3, "window_seconds": 1})),
    )
    for name, chance, choices in members:
        if rng.random() < chance:
            made[name] = rng.choice(choices)
    return made


def policies(rng: Random, count: int) -> list[Document]:
    """Policies of all types, an allow for everything in most sets."""
    made = [policy(rng, f"p{number}") for number in range(count)]
    if rng.random() < 0.9:
        made.insert(rng.randrange(len(made) + 1), {"policy_id": "all", "type": "allow", "actions": ["*"]})
    return made


def policy(rng: Random, policy_id: str) -> Document:
    """One policy."""
    kind = rng.choice(_KINDS)
    written: Document = {"policy_id": policy_id, "type": kind}
    if kind == "allow" or rng.random() < 0.85:
        written["actions"] = rng.sample(_PATTERNS, rng.randrange(1, 3))
    parameters: Document = {}
    if kind == "scope":
        parameters["required_scopes"] = rng.sample(_SCOPES, rng.randrange(1, 3))
    elif kind == "rate_limit":
        parameters |= {"max_calls": rng.randrange(1, 5), "window_seconds": rng.choice((1, 0.5, 60, 3600))}
    elif kind == "budget":
        parameters["max_cost"] = rng.choice((0, 1, 2.5, 10, 100))
        parameters |= rng.choice(({"cost": 1}, {"cost": 0.1}, {"cost": 0.1}, {"cost_field": "amount"}, {"cost": 0}))
        if rng.random() < 0.6:
            parameters["window_seconds"] = rng.choice((1, 60))
    if kind in ("rate_limit", "budget") and rng.random() < 0.5:
        parameters["key"] = rng.choice(("session", "agent", "global"))
    if rng.random() < 0.2:
        parameters["reason"] = rng.choice(("because", "wegen é", "x"))
    if parameters:
        written["parameters"] = parameters
    if rng.random() < 0.5:
        written["conditions"] = conditions(rng)
    if rng.random() < 0.3:
        written["priority"] = rng.randrange(-2, 6)
    if rng.random() < 0.12:
        written["mode"] = "shadow"
    if rng.random() < 0.15:
        written["reason"] = "on top"
    return written


def conditions(rng: Random, context: bool = False) -> Document:
    """One or two conditions; of a context block, none on parameters."""
    makers: tuple[Callable[[], Document], ...] = (
        lambda: {"risk_tiers": rng.sample(TIERS, rng.randrange(1, 4))},
        lambda: {"agents": rng.sample(("bot", "bot*", "?obot", "*", "Ä*", "BOT*"), rng.randrange(1, 3))},
        lambda: {"capabilities": rng.sample(CAPABILITIES, rng.randrange(1, 3))},
        lambda: {
            "context_matches": {rng.choice(_KEYS): rng.choice(("prod", "*", "d?v", "3", "true", "0.*", "null", "é"))}
        },
        lambda: {"time_window": window(rng)},
        lambda: {} if context else {"parameters": _AMOUNT},
    )
    made: Document = {}
    for maker in rng.sample(makers, rng.choice((1, 1, 2))):
        made |= maker()
    return made


def window(rng: Random) -> Document:
    """A time window."""
    made: Document = {}
    if rng.random() < 0.3:
        made |= {"start": rng.choice(("18:00", "22:00")), "end": rng.choice(("02:00", "06:00"))}
    elif rng.random() < 0.7:
        made["start"] = rng.choice(("00:00", "06:00", "12:00", "12:00:01", "22:00", "23:59:59"))
        made["end"] = rng.choice(("24:00", "06:00", "12:00", "13:30", "18:00"))
    if rng.random() < 0.4:
        made["timezone"] = rng.choice(("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"))
    if rng.random() < 0.4:
        made["days"] = rng.sample(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), rng.randrange(1, 4))
    return made


def block(rng: Random, context_id: str, count: int) -> Document:
    """One inline context block, which may pull the others."""
    made: Document = {
        "context_id": context_id,
        "name": context_id,
        "content": values.text(rng, 30).encode(errors="replace").decode(),
    }
    for name, chance, choose in (
        ("priority", 0.6, lambda: rng.randrange(4)),
        ("inject_mode", 0.3, lambda: rng.choice(("always", "on_match"))),
        ("keywords", 0.6, lambda: rng.sample(_WORDS, rng.randrange(1, 4))),
        ("inject_when", 0.2, lambda: [rng.choice(("ticket.refund", "deploy.x", "é.b"))]),
        ("risk_tiers", 0.2, lambda: rng.sample(TIERS, 2)),
        ("also_inject", 0.3, lambda: [f"block-{rng.randrange(count + 1)}"]),
        ("content_type", 0.2, lambda: rng.choice(("text/markdown", "text/plain", "application/json"))),
        ("conditions", 0.2, lambda: conditions(rng, context=True)),
    ):
        if rng.random() < chance:
            made[name] = choose()
    return made


def goal(rng: Random) -> str:
    """What an agent wants."""
    return rng.choice(_GOALS) if rng.random() < 0.8 else " ".join(rng.choices(_WORDS, k=rng.randrange(1, 5)))


def facts(rng: Random) -> Document:
    """What a host says of a session."""
    made: Document = {"agent_id": rng.choice(AGENTS), "goal": goal(rng)}
    if rng.random() < 0.5:
        made["scopes"] = rng.sample(_SCOPES, rng.randrange(4))
    if rng.random() < 0.5:
        made["context"] = context(rng)
    if rng.random() < 0.3:
        made["risk_tier"] = rng.choice(TIERS)
    if rng.random() < 0.05:
        made["atlas_ids"] = rng.sample(ATLAS_IDS[:3], rng.randrange(1, 4))
    return made


def context(rng: Random) -> Document:
    """Context values, of which conditions read some."""
    return {rng.choice((*_KEYS, "other")): rng.choice(_CONTEXT_VALUES) for _ in range(rng.randrange(1, 4))}


def ask(rng: Random) -> Document:
    """What a resolve says; half of them nothing but a goal."""
    made: Document = {"goal": goal(rng)}
    if rng.random() < 0.5:
        return made
    for name, chance, choose in (
        ("risk_tier", 0.3, lambda: rng.choice(TIERS)),
        (
            "context_hints",
            0.3,
            lambda: rng.sample(("block-0", "block-2", "refund", "Refund", "straße"), rng.randrange(3)),
        ),
        ("required_capabilities", 0.15, lambda: rng.sample(CAPABILITIES, rng.randrange(3))),
        ("context", 0.3, lambda: context(rng)),
        ("atlas_ids", 0.08, lambda: rng.sample(ATLAS_IDS, rng.randrange(3))),
        ("context_budget", 0.2, lambda: rng.choice((0, 1, 5, 1000))),
    ):
        if rng.random() < chance:
            made[name] = choose()
    return made


def parameters(rng: Random) -> Any:
    """The parameters of a call, mostly such as the schemas take."""
    return rng.choice(
        (
            None, {}, {"id": "T-1", "amount": 1}, {"id": "T-1", "amount": 250},
            {"amount": rng.choice((0, 1, 5, 99, 100, 100.5, 500, 1e3))}, {"id": "T-1"}, {"id": "T-1", "amount": 250},
            {"amount": "5"}, {"amount": -1}, {"amount": 0.1}, {"when": "2026-01-31"}, {"when": "soon"}, {"id": "much too long"},
        )
    )  # fmt: skip


def request(rng: Random, timestamp: float) -> Document:
    """A full CARP request; the player puts in the session, and the time where `timestamp` is in seconds from now."""
    operation = rng.choice(("resolve", "resolve", "resolve", "validate", "execute"))
    stamp: Any = timestamp if abs(timestamp) < 10**6 else "2026-01-01T12:00:00Z"
    asked = ask(rng)
    task = {
        name: asked[name] for name in ("goal", "risk_tier", "context_hints", "required_capabilities") if name in asked
    }
    document: Document = {
        "carp_version": "1.0",
        "request_id": uuid(9, rng.randrange(2**40)),
        "timestamp": stamp,
        "operation": operation,
        "requester": {"agent_id": rng.choice(AGENTS[:3]), "session_id": uuid(1, 0)},
        "task": task,
    }
    if rng.random() < 0.05:
        task["goal"] = rng.choice(("", "x" * 10_001))
    document |= {name: asked[name] for name in ("context", "atlas_ids") if name in asked}
    if operation == "execute":
        given = parameters(rng)
        document["execution"] = {
            "resolution_id": uuid(1, 1),
            "action_id": rng.choice(ACTION_IDS),
            "parameters": given if given is not None else {},
        }
        if rng.random() < 0.3:
            document["execution"]["idempotency_key"] = rng.choice("kl")
    return document
