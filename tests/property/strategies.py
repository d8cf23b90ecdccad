"""Small atlases, parties and requests, made so that policies, conditions and actions keep meeting one another."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas
from cra.reference.match import Facts
from tests.property.oracle import TIERS, Document, Party
from tests.support.decisions import ALLOW_ALL, action, manifest

A, B = "com.example.a", "com.example.b"
ACTIONS = {A: ["a.get", "a.put", "x"], B: ["b.get", "b.put", "y_1"]}
PATTERNS = ["*", "*", "*.get", "a.*", "?.put", "b.get", "x", "y?1", "nothing"]
RESTRICTING = ["deny", "scope", "require_approval", "rate_limit", "budget"]
KINDS = [*RESTRICTING, *(["allow"] * 3)]
CAPABILITIES = ["read", "write"]
PARAMETERS = {"properties": {"amount": {"type": "number", "exclusiveMinimum": 100}}, "required": ["amount"]}
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)

tiers = st.sampled_from(TIERS)
contexts: st.SearchStrategy[Document] = st.dictionaries(
    st.sampled_from(["env", "team"]), st.sampled_from(["prod", "dev", "", 3, 0.5, True, None, ["prod"], {}]), max_size=2
)
moments = st.integers(0, 7 * 24 * 60).map(lambda minutes: NOON + timedelta(minutes=minutes))

# Each of these is one draw: the fewer choices a policy takes, the more policies are tried.
CONDITIONS: list[Document] = [
    {},
    {},
    {"risk_tiers": ["low"]},
    {"risk_tiers": ["medium", "critical"]},
    {"agents": ["b*"]},
    {"agents": ["other", "?ot"]},
    {"capabilities": ["read"]},
    {"capabilities": ["write", "fly"]},
    {"context_matches": {"env": "prod"}},
    {"context_matches": {"env": "*"}},
    {"context_matches": {"team": "d?v", "env": "*"}},
    {"context_matches": {"team": "3"}},
    {"context_matches": {"team": "true"}},
    {"context_matches": {"env": "null"}},
    {"time_window": {"start": "06:00", "end": "13:30"}},
    {"time_window": {"start": "22:00", "end": "06:00", "days": ["thu", "sun"]}},
    {"time_window": {"start": "12:00", "end": "12:00", "timezone": "Asia/Kolkata", "days": ["fri"]}},
    {"time_window": {"days": ["mon", "thu"], "timezone": "America/New_York"}},
    {"agents": ["bot"], "risk_tiers": ["low", "high"]},
    {"agents": ["*"], "context_matches": {"env": "*"}},
]
ON_PARAMETERS: list[Document] = [{"parameters": PARAMETERS}, {"parameters": PARAMETERS, "agents": ["b*"]}]
SCOPES = [["s"], ["t"], ["s", "t"]]
KEYS: list[Document] = [{}, {}, {"key": "agent"}, {"key": "global"}, {"key": "session"}]
ABOUT = [[first] if first == second else [first, second] for first in PATTERNS for second in PATTERNS]


@st.composite
def policies(draw: st.DrawFn, policy_id: str, kinds: list[str] | None = None) -> Document:
    """One policy; `kinds` are those to choose from."""
    kind = draw(st.sampled_from(kinds or KINDS))
    turns = draw(st.integers(0, 2**8 - 1))

    def turn(bits: int) -> int:
        """The next few bits of a number that was drawn once."""
        nonlocal turns
        taken = turns % (1 << bits)
        turns >>= bits
        return taken

    parameters: Document = {}
    if kind == "scope":
        parameters = {"required_scopes": draw(st.sampled_from(SCOPES))}
    elif kind in ("rate_limit", "budget"):
        own = {"max_calls": 1, "window_seconds": 60} if kind == "rate_limit" else {"max_cost": 1, "cost": 1}
        parameters = own | draw(st.sampled_from(KEYS))
    if turn(1):
        parameters = {**parameters, "reason": "inner"}
    written: Document = {"policy_id": policy_id, "type": kind, "parameters": parameters}
    if turn(1) or kind == "allow":
        written["actions"] = draw(st.sampled_from(ABOUT))
    if turn(1):
        written["conditions"] = draw(st.sampled_from(CONDITIONS + ON_PARAMETERS))
    if turn(1):
        written["reason"] = "top"
    if priority := turn(2):
        written["priority"] = priority - 2
    if turn(2) == 3:
        written["mode"] = "shadow"
    return written


@st.composite
def manifests(draw: st.DrawFn, atlas_id: str) -> Document:
    """An atlas with up to three actions, six policies and two capabilities."""
    names = draw(st.sampled_from([ACTIONS[atlas_id], ACTIONS[atlas_id][:2], ACTIONS[atlas_id][2:], []]))
    limited = draw(st.sampled_from([None, None, *names]))
    named = draw(st.sampled_from([ACTIONS[atlas_id][:2], ACTIONS[atlas_id][1:], []]))
    capabilities = draw(st.sampled_from([CAPABILITIES, CAPABILITIES, CAPABILITIES[:1], []]))
    limit: Document = {"rate_limit": {"max_calls": 1, "window_seconds": 60}}
    return manifest(
        *(action(name, **(limit if name == limited else {})) for name in names),
        rules=[
            *draw(st.sampled_from([[], [ALLOW_ALL], [ALLOW_ALL]])),
            *(draw(policies(f"p{number}")) for number in range(draw(st.integers(0, 5)))),
        ],
        atlas_id=atlas_id,
        capabilities=[
            {"capability_id": each, "name": each, "actions": named if each == "read" else ACTIONS[atlas_id][:1]}
            for each in capabilities
        ],
        context_blocks=[],
    )


both = st.tuples(manifests(A), manifests(B))
parties = st.builds(
    Party,
    agent_id=st.sampled_from(["bot", "other", "robot"]),
    risk_tier=tiers,
    context=contexts,
    scopes=st.frozensets(st.sampled_from(["s", "t"])),
    required=st.sampled_from([(), (), (), (), ("read",), ("write",), ("write", "read"), ("fly",), ("read", "fly")]),
    now=moments,
)


@st.composite
def blocks(draw: st.DrawFn, context_id: str, others: list[str]) -> Document:
    """One inline context block, which may pull the others."""
    words = st.sampled_from(["alpha", "Beta", "STRASSE", "ta ga", "delta"])
    optional: dict[str, st.SearchStrategy[Any]] = {
        "priority": st.integers(0, 3),
        "inject_mode": st.sampled_from(["always", "on_match"]),
        "keywords": st.lists(words, min_size=1, max_size=2),
        "inject_when": st.lists(st.sampled_from(["alpha.do", "do.BETA", "gamma.do"]), min_size=1, max_size=2),
        "risk_tiers": st.lists(tiers, min_size=1, max_size=3),
        "also_inject": st.lists(st.sampled_from([*others, "nobody"]), min_size=1, max_size=2),
        "conditions": st.sampled_from(CONDITIONS),
    }
    content = draw(st.text("xé", max_size=12))
    return {"context_id": context_id, "name": context_id, "content": content} | draw(
        st.fixed_dictionaries({}, optional=optional)
    )


@st.composite
def described(draw: st.DrawFn, atlas_id: str, prefix: str) -> Document:
    """An atlas of context only."""
    names = [f"{prefix}{number}" for number in range(draw(st.integers(0, 6)))]
    return manifest(atlas_id=atlas_id, context_blocks=[draw(blocks(name, names)) for name in names])


goals = st.lists(st.sampled_from(["alpha", "BETA", "straße", "gamma", "x"]), min_size=1, max_size=3).map(" ".join)
hints = st.lists(st.sampled_from(["a0", "b1", "a2", "delta", "Beta", "beta"]), max_size=2).map(tuple)


def load(*documents: Document) -> list[Atlas]:
    """The atlases of these manifests."""
    return [load_atlas(document) for document in documents]


def facts_of(party: Party) -> Facts:
    """A party as the package has it."""
    now_ns = (party.now - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1) * 1000
    return Facts(
        party.agent_id,
        party.risk_tier,
        party.context,
        party.scopes,
        party.required,
        now_ns,
    )
