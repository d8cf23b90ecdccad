"""Policies and their conditions at work: parsed, resolved, explained and enforced in executions.

A JSON object: `policies`, and what they are asked: `facts` of the session (context, scopes, risk_tier, agent), `ask` of a
resolve, `calls` of actions with parameters. PROTOCOL: Conditions, Policy parameters, Execute.
"""

from __future__ import annotations

import json
from typing import Any

from cra.errors import CRAError, InternalError, InvalidAtlasManifest, InvalidCARPRequest, InvalidPolicy
from cra.fuzzing.atlases import ACTIONS, manifest, policies
from cra.fuzzing.harness import refusal
from cra.fuzzing.runtimes import make_runtime
from cra.fuzzing.target import Target, expect
from cra.hotpath import verify_chain
from cra.strictjson import JSONProblem, parse
from cra.testing import VirtualClock
from cra.trace.jsonl import dump_line

_MOST_CALLS = 8


def answer(data: bytes) -> object:
    """What the policies say of every action, of the calls, and what the trace says of that."""
    try:
        document = parse(data)
    except JSONProblem:
        return None
    if not isinstance(document, dict):
        return None
    facts, ask, calls = (_mapping(document, "facts"), _mapping(document, "ask"), document.get("calls"))
    clock = VirtualClock()
    with make_runtime(clock) as resolver:
        resolver.load_atlas({**manifest(), "policies": document.get("policies", [])})
        session = resolver.create_session(
            facts.get("agent_id", "bot"),
            "Work",
            **{
                name: facts[name]
                for name in ("context", "scopes", "risk_tier")
                if isinstance(facts.get(name), (dict, list, str))
            },
        )
        found: list[object] = []
        for parameters in (None, {"id": "1"}, {"amount": 100}):
            found.extend(repr(session.explain(action, parameters)) for action in ACTIONS)
        resolution = session.resolve(ask.get("goal", "Work"), **{name: ask[name] for name in _ASKED if name in ask})
        found.append(resolution.to_json())
        for call in calls[:_MOST_CALLS] if isinstance(calls, list) else []:
            action, parameters, wait = (
                (*call, None, None)[:3] if isinstance(call, list) and call else (call, None, None)
            )
            if isinstance(wait, int) and 0 <= wait <= 10**6:
                clock.advance(wait)
            found.append(_executed(session, action, parameters, resolution))
        events = resolver.trace(session.session_id)
        expect(verify_chain(events).valid, "the runtime's own trace does not verify")
        return found, [dump_line(event) for event in events]


_ASKED = ("risk_tier", "context_hints", "required_capabilities", "context")


def _mapping(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _executed(session: Any, action: Any, parameters: Any, resolution: Any) -> object:
    try:
        return repr(session.execute(action, parameters, resolution=resolution))
    except InternalError:
        raise
    except CRAError as error:
        return refusal(error)


def seeds() -> list[bytes]:
    """Policies of every kind, and one kind alone with calls that meet it."""
    facts = {"agent_id": "bot-2", "context": {"env": "prod-1", "n": 1.5}, "scopes": ["write"], "risk_tier": "low"}
    ask = {"goal": "Close stale tickets", "required_capabilities": ["desk.read"], "context_hints": ["rules"]}
    calls = [
        ["desk.get", {"id": "1"}],
        ["desk.pay", {"amount": 99.5}, 7],
        ["desk.delete", {"id": "1"}],
        ["desk.close", {"id": 1}],
    ]
    documents = [{"policies": policies(), "facts": facts, "ask": ask, "calls": calls}]
    documents += [{"policies": [each], "facts": facts, "calls": calls} for each in policies()]
    return [json.dumps(each, separators=(",", ":")).encode() for each in documents]


TARGET = Target(
    "policies",
    "policies and conditions, resolved, explained and enforced",
    answer,
    seeds,
    refusals=(InvalidPolicy, InvalidAtlasManifest, InvalidCARPRequest),
    tokens=(
        b'"policy_id":"', b'"type":"deny"', b'"type":"allow"', b'"type":"scope"', b'"type":"rate_limit"', b'"type":"budget"',
        b'"type":"require_approval"', b'"conditions":{', b'"risk_tiers":["low"]', b'"agents":["*"]',
        b'"capabilities":["desk.read"]',
        b'"context_matches":{"env":"*"}', b'"time_window":{"start":"11:00","end":"13:00"}', b'"timezone":"UTC"',
        b'"days":["thu"]',
        b'"parameters":{', b'"required_scopes":["write"]', b'"max_calls":1', b'"window_seconds":60', b'"max_cost":1',
        b'"cost":0.5',
        b'"cost_field":"amount"', b'"key":"session"', b'"key":"agent"', b'"key":"global"', b'"mode":"shadow"', b'"priority":1000',
        b'"actions":["*"]', b'"desk.get"', b'"desk.pay"', b'"amount":', b'"calls":[', b'"facts":{', b'"ask":{', b'"scopes":[',
    ),
    notation="json",
)  # fmt: skip
