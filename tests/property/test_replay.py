"""Replay reproduces whatever a runtime decides, and nothing else. PROTOCOL: Replay."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

import cra
from cra.reference.chain import seal
from cra.testing import SeededIds, VirtualClock
from cra.trace.event import GENESIS_HASH

ACTIONS = ["a.b", "a.c", "b.b", "b.c.d"]
PATTERNS = ["*", "a.*", "*.b", "b.c.d", "a.?"]
AGENTS = ["boss", "helper"]
TIERS = ["low", "medium", "high", "critical"]
SCOPES = ["read", "write"]
CAPABILITIES = ["one", "two"]
VALUES: list[Any] = ["prod", "dev", "5", 5, True, None, [1]]
WORDS = ["alpha", "beta", "gamma"]


def some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


conditions = st.fixed_dictionaries(
    {},
    optional={
        "risk_tiers": some(TIERS),
        "agents": some(["boss", "h*", "*"]),
        "capabilities": some(CAPABILITIES),
        "context_matches": st.dictionaries(
            st.sampled_from(["env", "zone"]), st.sampled_from(["prod", "5", "true", "null", "p*"]), min_size=1
        ),
        "time_window": st.just({"start": "12:00", "end": "12:10"}),
        "parameters": st.just({"properties": {"n": {"type": "integer", "minimum": 5}}, "required": ["n"]}),
    },
)
KINDS: dict[str, dict[str, Any]] = {
    "deny": {},
    "require_approval": {},
    "scope": {"parameters": {"required_scopes": ["write"]}},
    "rate_limit": {"parameters": {"max_calls": 1, "window_seconds": 60}},
    "budget": {"parameters": {"max_cost": 2, "cost": 1, "key": "session"}},
    "allow": {},
}


@st.composite
def policies(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = []
    for number in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(list(KINDS)))
        policy = {"policy_id": f"p{number}", "type": kind, **KINDS[kind], "priority": draw(st.integers(0, 2))}
        if kind == "allow" or draw(st.booleans()):
            policy["actions"] = draw(some(PATTERNS))
        if draw(st.booleans()):
            policy["conditions"] = draw(conditions)
        if draw(st.integers(0, 4)) == 0:
            policy["mode"] = "shadow"
        made.append(policy)
    return made


@st.composite
def manifests(draw: st.DrawFn) -> list[dict[str, Any]]:
    split = draw(st.integers(0, len(ACTIONS)))
    made = []
    for atlas_id, actions in (("com.example.one", ACTIONS[:split]), ("com.example.two", ACTIONS[split:])):
        made.append(
            {
                "atlas_version": "1.0",
                "atlas_id": atlas_id,
                "version": "1.0.0",
                "name": atlas_id,
                "description": atlas_id,
                "actions": [{"action_id": each, "name": each, "description": each} for each in actions],
                "capabilities": [{"capability_id": "one", "name": "One", "actions": actions[:1]}],
                "policies": [{"policy_id": "all", "type": "allow", "actions": ["*"]}, *draw(policies())],
                "context_blocks": [
                    {
                        "context_id": word,
                        "name": word,
                        "content": word * draw(st.integers(1, 9)),
                        "priority": draw(st.integers(0, 3)),
                        "keywords": [word],
                        "also_inject": draw(st.lists(st.sampled_from(WORDS), max_size=2)),
                        **({"conditions": {"risk_tiers": ["low"]}} if draw(st.booleans()) else {}),
                    }
                    for word in draw(st.lists(st.sampled_from(WORDS), unique=True))
                ],
            }
        )
    return made


contexts = st.dictionaries(st.sampled_from(["env", "zone", "other"]), st.sampled_from(VALUES), max_size=3)
requests = st.fixed_dictionaries(
    {"goal": st.lists(st.sampled_from([*WORDS, "now"]), min_size=1, max_size=3).map(" ".join)},
    optional={
        "risk_tier": st.sampled_from(TIERS),
        "context_hints": st.lists(st.sampled_from(WORDS), max_size=2),
        "required_capabilities": st.lists(st.sampled_from([*CAPABILITIES]), max_size=2),
        "context": contexts,
        "atlas_ids": some(["com.example.one", "com.example.two"]),
        "context_budget": st.integers(0, 30),
    },
)
sessions = st.fixed_dictionaries(
    {"agent_id": st.sampled_from(AGENTS)},
    optional={
        "risk_tier": st.sampled_from(TIERS),
        "scopes": st.lists(st.sampled_from(SCOPES), unique=True),
        "context": contexts,
        "atlas_ids": some(["com.example.one", "com.example.two"]),
    },
)
steps = st.lists(
    st.one_of(
        requests.map(lambda request: ("resolve", request)),
        st.tuples(st.just("execute"), st.sampled_from(ACTIONS), st.integers(0, 9)),
        st.just(("approve",)),
        st.tuples(st.just("advance"), st.integers(1, 400)),
    ),
    min_size=1,
    max_size=12,
)


def run(atlases: list[Any], facts: list[dict[str, Any]], todo: list[Any], **options: Any) -> list[cra.Event]:
    """What a runtime traces of these steps, taken in turns by a session and its child; resolutions are used as they are made."""
    clock = VirtualClock()
    with cra.Resolver(clock=clock, ids=SeededIds(1), **options) as resolver:
        for atlas in atlases:
            resolver.load_atlas(atlas)
        for action_id in ACTIONS:
            resolver.register(action_id, dict)
        opened: list[cra.Session] = []
        for each in facts:
            opened.append(resolver.create_session(goal="work", parent=opened[-1] if opened else None, **each))
        resolutions = [session.resolve("first") for session in opened]
        for number, step in enumerate(todo):
            turn = number % len(opened)
            with contextlib.suppress(cra.CRAError):
                if step[0] == "resolve":
                    resolutions[turn] = opened[turn].resolve(**step[1])
                elif step[0] == "execute":
                    opened[turn].execute(step[1], {"n": step[2]}, resolution=resolutions[turn])
                elif step[0] == "approve":
                    for approval in resolver.pending_approvals():
                        resolver.approve(approval.approval_id, by="alice")
                else:
                    clock.advance(step[1])
        traces = [resolver.trace(session.session_id) for session in opened]
    for trace in traces:
        assert cra.verify_chain(trace).valid
    return [event for trace in traces for event in trace]


known = {str(index): value for index, value in enumerate(VALUES)}


@given(manifests(), st.lists(sessions, min_size=1, max_size=2), steps, st.sampled_from(["full", "decisions"]))
def test_replay_reproduces_everything(atlases: list[Any], facts: list[Any], todo: list[Any], detail: Any) -> None:
    """Any atlases, sessions, requests, executions, approvals and times: every resolution comes out as it was.

    The values behind the hashes are given, so nothing but the state of limits is taken on trust.
    """
    events = run(atlases, facts, todo, trace_detail=detail)
    result = cra.replay(events, atlases, context=known)
    assert () == result.mismatches
    resolves = [event for event in events if event.event_type == "carp.resolution.completed"]
    assert (len(resolves), len(resolves)) == (result.resolutions, result.reproduced)
    limited = any(str(event.payload.get("result")).endswith("rate_limited") for event in events)
    assert limited == (result.not_recomputed > 0)


@given(manifests(), st.lists(sessions, min_size=1, max_size=2), steps, st.binary(min_size=1, max_size=4))
def test_replay_without_the_values_is_never_wrong(
    atlases: list[Any], facts: list[Any], todo: list[Any], key: bytes
) -> None:
    """Hashes alone, keyed ones too: a resolution is reproduced or counted as not recomputed, never called different."""
    events = run(atlases, facts, todo, hash_key=key)
    result = cra.replay(events, atlases, hash_key=key)
    assert () == result.mismatches
    assert result.resolutions <= result.reproduced + result.not_recomputed


def rechain(events: list[cra.Event]) -> list[cra.Event]:
    heads: dict[str, tuple[int, str]] = {}
    sealed = []
    for event in events:
        sequence, previous = heads.get(event.session_id, (0, GENESIS_HASH))
        fields = {**event.to_dict(), "sequence": sequence, "previous_event_hash": previous}
        del fields["event_hash"], fields["trace_version"]
        sealed.append(seal(**fields))
        heads[event.session_id] = sequence + 1, sealed[-1].event_hash
    return sealed


DECIDED = {
    "policy.evaluated": ("policy_id", "result", "action_id"),
    "context.injected": ("block_id", "source", "token_count", "priority"),
    "context.redacted": ("block_id", "source", "token_count"),
    "carp.resolution.completed": (
        "decision_type",
        "allowed_count",
        "denied_count",
        "context_block_count",
        "request_id",
    ),
}


@given(manifests(), st.lists(sessions, min_size=1, max_size=2), steps, st.data())
def test_replay_finds_a_changed_decision(atlases: list[Any], facts: list[Any], todo: list[Any], data: Any) -> None:
    """One field of a decision changed, one of its events left out or moved, and the chain sealed again: it does not come out."""
    events = run(atlases, facts, todo)
    places = [index for index, event in enumerate(events) if event.event_type in DECIDED]
    index = data.draw(st.sampled_from(places))
    event = events[index]
    how = data.draw(st.sampled_from(["change", "remove", "swap"]))
    if how == "change":
        field = data.draw(st.sampled_from(DECIDED[event.event_type]))
        values = [
            "allow",
            "deny",
            "requires_approval",
            "partial",
            "shadow:allow",
            "all",
            "p0",
            "a.b",
            "alpha",
            0,
            1,
            2,
            3,
        ]
        value = data.draw(st.sampled_from(values).filter(lambda value: value != event.payload[field]))
        changed = cra.Event(**{**event.to_dict(), "payload": {**event.payload, field: value}})
        tampered = [*events[:index], changed, *events[index + 1 :]]
    elif how == "remove":
        # Without its evaluations that allow, a resolve says the same in the detail "decisions".
        assume(event.payload.get("result") not in ("allow", "shadow:allow"))
        tampered = [*events[:index], *events[index + 1 :]]
    else:
        other = data.draw(st.sampled_from(places))
        assume(other != index and events[other].payload != event.payload)
        tampered = list(events)
        tampered[index], tampered[other] = tampered[other], tampered[index]
    try:
        result = cra.replay(rechain(tampered), atlases, context=known)
    except cra.ReplayError:
        return
    assert not result.valid
