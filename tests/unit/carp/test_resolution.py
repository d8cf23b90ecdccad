"""The answer to a resolve, as the published schema has it. PROTOCOL: Decision, Parameter conditions; schema: carp-resolution."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

import cra
from cra import schemas
from cra.carp.policy import parse_amount
from cra.carp.resolution import number
from cra.errors import InvalidCARPRequest, RateLimitExceeded
from tests.support.decisions import ALLOW_ALL, ATLAS_ID, Document, action, manifest, rule, runtime

PUBLISHED = Path(__file__).resolve().parents[2] / "data" / "spec" / "carp-resolution.schema.json"
RATE = {"max_calls": 2, "window_seconds": 60}
AMOUNT = {"properties": {"amount": {"type": "number", "exclusiveMinimum": 100}}, "required": ["amount"]}
Open = Callable[..., cra.Session]
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
REQUEST_ID = "0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f"

ENOUGH = manifest(
    action(
        "pay.out",
        parameters_schema={"type": "object", "properties": {"amount": {"type": "number"}}},
        returns_schema={"type": "object"},
        risk_tier="high",
        idempotent=True,
        requires_confirmation=True,
        rate_limit={"max_calls": 5, "window_seconds": 10},
    ),
    "pay.in",
    "pay.all",
    "pay.back",
    rules=[
        ALLOW_ALL,
        rule("no", "deny", "pay.all", reason="never"),
        rule("ask", "require_approval", "pay.back", reason="a person decides"),
        rule("big", "deny", "pay.out", conditions={"parameters": AMOUNT}),
        rule("calls", "rate_limit", "pay.*", parameters=RATE),
        rule("money", "budget", parameters={"max_cost": 0.3, "cost": 0.1, "key": "session"}),
    ],
    context_blocks=[{"context_id": "how", "name": "How", "content": "Pay late.", "content_type": "text/plain"}],
)
"""One of everything that a resolution can show."""


@pytest.fixture
def resolver() -> Iterator[cra.Resolver]:
    """A runtime with the atlas `ENOUGH`, whose actions do and return nothing."""
    with runtime(ENOUGH) as made:
        for name in ("pay.out", "pay.in", "pay.back"):
            made.register(name, lambda **_: {})
        yield made


@pytest.fixture
def session(resolver: cra.Resolver) -> cra.Session:
    return resolver.create_session("bot", "work")


def constraints(resolution: cra.Resolution, kind: str | None = None) -> dict[str, Any]:
    """The parameters of the constraints, by id."""
    return {c.constraint_id: c.parameters for c in resolution.constraints if kind in (None, c.type)}


# The published schema


@pytest.mark.parametrize("source", ["published", "widened"])
def test_a_resolution_is_what_the_schema_says(session: cra.Session, source: str) -> None:
    """Strict ids satisfy the published schema as it stands; `format` is asserted."""
    document = json.loads(PUBLISHED.read_text()) if source == "published" else schemas.load("carp-resolution")
    validator = Draft202012Validator(document, validate_formats=True)
    resolution = session.resolve("work")
    validator.validate(resolution.to_dict())
    validator.validate(json.loads(resolution.to_json()))


def test_the_fields_are_in_schema_order(session: cra.Session) -> None:
    """At every level, so that two implementations can be compared byte by byte."""
    document = json.loads(PUBLISHED.read_text())
    shown = session.resolve("work").to_dict()
    assert list(document["properties"]) == list(shown)

    def ordered(value: Document, definition: str) -> None:
        names = list(document["$defs"][definition]["properties"])
        assert [name for name in names if name in value] == list(value)

    ordered(shown["decision"], "Decision")
    for name, definition in [
        ("context_blocks", "ContextBlock"),
        ("allowed_actions", "AllowedAction"),
        ("denied_actions", "DeniedAction"),
        ("constraints", "Constraint"),
    ]:
        assert shown[name]
        for value in shown[name]:
            ordered(value, definition)


def test_a_resolution_to_the_letter(session: cra.Session) -> None:
    """Everything there is, and nothing without a value but the nulls of the decision."""
    shown = session.resolve("work").to_dict()
    ids = {name: shown.pop(name) for name in ("resolution_id", "request_id", "trace_id")}
    assert all(UUID.fullmatch(each) for each in ids.values())
    assert 3 == len(set(ids.values()))
    assert session.trace_id == ids["trace_id"]
    approval_id = shown["decision"]["approval_id"]
    assert UUID.fullmatch(approval_id)
    assert {
        "carp_version": "1.0",
        "timestamp": "2026-01-01T12:00:00.000000Z",
        "decision": {
            "type": "partial",
            "reason": "Some actions are denied by policy",
            "approval_id": approval_id,
            "expires_at": None,
        },
        "context_blocks": [
            {
                "block_id": "how",
                "source": ATLAS_ID,
                "content_type": "text/plain",
                "content": "Pay late.",
                "priority": 100,
                "token_estimate": 3,
            }
        ],
        "allowed_actions": [
            {
                "action_id": "pay.out",
                "name": "Name of pay.out",
                "description": "Does it",
                "parameters_schema": {"type": "object", "properties": {"amount": {"type": "number"}}},
                "returns_schema": {"type": "object"},
                "risk_tier": "high",
                "requires_confirmation": True,
                "idempotent": True,
                "rate_limit": {"max_calls": 5, "window_seconds": 10},
            },
            {
                "action_id": "pay.in",
                "name": "Name of pay.in",
                "description": "Does it",
                "risk_tier": "low",
                "requires_confirmation": False,
                "idempotent": False,
            },
        ],
        "denied_actions": [
            {"action_id": "pay.all", "reason": "never", "policy_id": "no"},
            {"action_id": "pay.back", "reason": "Requires approval", "policy_id": "ask"},
        ],
        "constraints": [
            {
                "constraint_id": "require_approval",
                "type": "require_approval",
                "parameters": {
                    "approvals": [
                        {
                            "approval_id": approval_id,
                            "policy_id": "ask",
                            "atlas_id": ATLAS_ID,
                            "action_id": "pay.back",
                            "reason": "a person decides",
                        }
                    ]
                },
            },
            *(
                {
                    "constraint_id": constraint_id,
                    "type": "rate_limit",
                    "parameters": {
                        "policy_id": policy_id,
                        "atlas_id": ATLAS_ID,
                        "actions": [action_id],
                        "max_calls": most,
                        "key": "action",
                        "remaining": most,
                        "window_seconds": seconds,
                        "reset_after": 0,
                    },
                }
                for constraint_id, policy_id, action_id, most, seconds in [
                    ("calls:pay.out", "calls", "pay.out", 2, 60),
                    ("calls:pay.in", "calls", "pay.in", 2, 60),
                    ("calls:pay.back", "calls", "pay.back", 2, 60),
                    ("action:pay.out", "action:pay.out", "pay.out", 5, 10),
                ]
            ),
            {
                "constraint_id": "money",
                "type": "budget",
                "parameters": {
                    "policy_id": "money",
                    "atlas_id": ATLAS_ID,
                    "actions": ["pay.out", "pay.in", "pay.all", "pay.back"],
                    "max_cost": 0.3,
                    "key": "session",
                    "remaining": 0.3,
                },
            },
            {
                "constraint_id": "big",
                "type": "scope",
                "parameters": {
                    "policy_id": "big",
                    "atlas_id": ATLAS_ID,
                    "effect": "deny",
                    "actions": ["pay.out"],
                    "schema": AMOUNT,
                },
            },
        ],
        "ttl_seconds": 3600,
    } == shown


def test_the_json_is_the_dictionary(session: cra.Session, open_session: Open) -> None:
    """One line, nothing escaped that need not be."""
    resolution = session.resolve("work")
    assert resolution.to_dict() == json.loads(resolution.to_json())
    assert "\n" not in resolution.to_json()
    euro = open_session(actions=({**action("a"), "name": "€"},))
    assert '"name":"€"' in euro.resolve("work").to_json()


def test_what_is_shown_is_a_private_copy(session: cra.Session) -> None:
    """Whoever changes what `to_dict` returns changes nothing else."""
    resolution = session.resolve("work")
    before = resolution.to_json()
    shown = resolution.to_dict()
    shown["allowed_actions"][0]["parameters_schema"]["properties"].clear()
    shown["constraints"][-1]["parameters"]["schema"].clear()
    shown["constraints"][0]["parameters"]["approvals"].clear()
    assert before == resolution.to_json()
    assert (
        before.partition(',"allowed_actions"')[2]
        == session.resolve("work").to_json().partition(',"allowed_actions"')[2]
    )


def test_ids_are_those_that_were_given(resolver: cra.Resolver, session: cra.Session) -> None:
    """A full request has an id of its own; without one, each resolve makes one."""
    request = {
        "carp_version": "1.0",
        "request_id": REQUEST_ID.upper(),
        "timestamp": "2026-01-01T12:00:00Z",
        "operation": "resolve",
        "requester": {"agent_id": "bot", "session_id": session.session_id},
        "task": {"goal": "work"},
    }
    assert REQUEST_ID == resolver.resolve(request).request_id
    first, second = session.resolve("work"), session.resolve("work")
    assert 4 == len({first.request_id, second.request_id, first.resolution_id, second.resolution_id})
    assert session.session_id == first.session_id


def test_repr_says_what_matters(session: cra.Session) -> None:
    """For whoever looks at it in a shell."""
    assert "<Resolution partial: 2 allowed, 2 denied, 1 context blocks>" == repr(session.resolve("work"))


@pytest.mark.parametrize("seconds", [0, 60, 86_400])
def test_the_time_to_live_is_configured(open_session: Open, seconds: int) -> None:
    """3600 unless the runtime says otherwise."""
    assert seconds == open_session(ttl_seconds=seconds).resolve("work").ttl_seconds


# Allowed and refused


@pytest.mark.parametrize(
    ("action_id", "allowed"),
    [("pay.out", True), ("pay.in", True), ("pay.all", False), ("pay.back", False), ("unknown", False), ("", False)],
)
def test_is_allowed(session: cra.Session, action_id: str, allowed: bool) -> None:
    """Not what is unknown, denied, or waiting for a person."""
    assert allowed is session.resolve("work").is_allowed(action_id)


def test_what_may_be_tried_anyway(session: cra.Session) -> None:
    """`execute` may try what was allowed or held, or denied for an exhausted limit alone."""
    resolution = session.resolve("work")
    refusals = {name: resolution.refusal(name) for name in ("pay.out", "pay.all", "pay.back", "unknown")}
    assert refusals["pay.out"] is None
    assert refusals["pay.back"] is None
    assert refusals["pay.all"] is not None
    assert ("never", "no") == (refusals["pay.all"].reason, refusals["pay.all"].policy_id)
    assert refusals["unknown"] is not None
    assert ("Not part of the resolution", None) == (refusals["unknown"].reason, refusals["unknown"].policy_id)
    for _ in range(2):
        session.execute("pay.in", resolution=resolution)
    limited = session.resolve("work")
    assert not limited.is_allowed("pay.in")
    assert limited.refusal("pay.in") is None


# Approvals


def test_each_policy_and_action_has_its_approval_id(open_session: Open) -> None:
    """Derived from session, policy and action: announcing it again gives the same ids, another session gives others."""
    rules = [rule("ask", "require_approval", "*"), rule("also", "require_approval", "b", priority=1)]
    session = open_session(*rules)
    first, second = session.resolve("work"), session.resolve("other words")
    (parameters,) = constraints(first).values()
    announced = [(each["policy_id"], each["action_id"], each["approval_id"]) for each in parameters["approvals"]]
    assert [("ask", "a"), ("also", "b"), ("ask", "b")] == [each[:2] for each in announced]
    assert 3 == len({each[2] for each in announced})
    assert "requires_approval" == first.decision.type
    assert announced[0][2] == first.decision.approval_id == second.decision.approval_id
    assert constraints(first) == constraints(second)
    other = open_session(*rules, seed=2).resolve("work")
    assert other.decision.approval_id not in {each[2] for each in announced}


def test_held_actions_are_those_that_wait_for_a_person(session: cra.Session, open_session: Open) -> None:
    """Denied for now like the others, and told apart from them."""
    (held,) = session.resolve("work").held_actions
    assert ("pay.back", "Requires approval", "ask") == (held.action_id, held.reason, held.policy_id)
    assert () == open_session(rule("no", "deny", "*"), seed=2).resolve("work").held_actions


def test_nothing_held_nothing_announced(open_session: Open) -> None:
    """No approval constraint, and null in the decision."""
    resolution = open_session().resolve("work")
    assert () == resolution.constraints
    assert resolution.decision.approval_id is None
    assert {"type": "allow", "reason": None, "approval_id": None, "expires_at": None} == resolution.to_dict()[
        "decision"
    ]


def test_a_resolve_announces_and_does_not_ask(resolver: cra.Resolver, session: cra.Session) -> None:
    """An approval becomes pending by an execute or by `request_approval`; granted, it is gone from the next resolution."""
    approval_id = session.resolve("work").decision.approval_id
    assert [] == resolver.pending_approvals()
    assert approval_id is not None
    assert approval_id == session.request_approval(approval_id).approval_id
    resolver.approve(approval_id, by="alice")
    again = session.resolve("work")
    assert again.is_allowed("pay.back")
    assert again.decision.approval_id is None


# Limits


def test_limits_are_shown_as_of_the_call(resolver: cra.Resolver, session: cra.Session) -> None:
    """`remaining` and `reset_after` of the moment; a resolution keeps what it said."""
    clock: Any = resolver._runtime.clock
    first = session.resolve("work")
    session.execute("pay.in", resolution=first)
    clock.advance(12.5)
    second = session.resolve("work")
    assert (2, 0) == tuple(constraints(first)["calls:pay.in"][name] for name in ("remaining", "reset_after"))
    assert (1, 47.5) == tuple(constraints(second)["calls:pay.in"][name] for name in ("remaining", "reset_after"))
    assert (2, 0) == tuple(constraints(second)["calls:pay.out"][name] for name in ("remaining", "reset_after"))
    assert 0.2 == constraints(second)["money"]["remaining"]
    assert "reset_after" not in constraints(second)["money"]


def test_an_exhausted_limit_denies_until_it_resets(resolver: cra.Resolver, session: cra.Session) -> None:
    """The denial names the policy and the reason; time alone lifts it, resolving spends nothing."""
    clock: Any = resolver._runtime.clock
    resolution = session.resolve("work")
    for _ in range(2):
        session.execute("pay.in", resolution=resolution)
    for _ in range(10):
        limited = session.resolve("work")
    denied = {each.action_id: (each.reason, each.policy_id) for each in limited.denied_actions}
    assert ("rate_limit_exceeded", "calls") == denied["pay.in"]
    with pytest.raises(RateLimitExceeded):
        session.execute("pay.in", resolution=limited)
    clock.advance(60)
    assert session.resolve("work").is_allowed("pay.in")


def test_an_exhausted_budget_has_its_own_reason(resolver: cra.Resolver, session: cra.Session) -> None:
    """Ten cents three times are thirty cents, exactly."""
    for name in ("pay.in", "pay.out", "pay.out"):
        session.execute(name, {"amount": 1}, resolution=session.resolve("work"))
    limited = session.resolve("work")
    assert {("pay.in", "budget_exceeded", "money")} == {
        (each.action_id, each.reason, each.policy_id) for each in limited.denied_actions if each.action_id == "pay.in"
    }
    assert 0 == constraints(limited)["money"]["remaining"]


def test_the_reason_of_a_limit_is_told_with_it(open_session: Open) -> None:
    """So is that of a parameter condition."""
    session = open_session(
        rule("l", "rate_limit", "a", parameters={**RATE, "reason": "be gentle"}),
        rule("p", "deny", "a", conditions={"parameters": AMOUNT}, reason="too much"),
    )
    shown = constraints(session.resolve("work"))
    assert "be gentle" == shown["l:a"]["reason"]
    assert "too much" == shown["p"]["reason"]


@pytest.mark.parametrize("key", ["session", "agent", "global"])
def test_a_shared_limit_is_one_constraint(open_session: Open, key: str) -> None:
    """Named for its policy, over all its actions."""
    session = open_session(rule("l", "rate_limit", "*", parameters={**RATE, "key": key}))
    assert {"l": ["a", "b"]} == {name: each["actions"] for name, each in constraints(session.resolve("work")).items()}


@pytest.mark.parametrize(
    ("key", "agent_id", "expected"),
    [("global", "child", [1]), ("agent", "bot", [1]), ("agent", "child", [2, 1]), ("session", "bot", [2, 1])],
)
def test_a_child_is_told_of_each_count_once(
    open_session: Open, opened: dict[str, cra.Resolver], key: str, agent_id: str, expected: list[int]
) -> None:
    """Its own and its parent's where they are two, one where they are the same."""
    parent = open_session(rule("l", "rate_limit", "*", parameters={**RATE, "key": key}))
    resolver = opened[parent.session_id]
    resolver.register("a", lambda: None)
    parent.execute("a", resolution=parent.resolve("work"))
    child = resolver.create_session(agent_id, "work", parent=parent)
    assert expected == [each.parameters["remaining"] for each in child.resolve("work").constraints]


def test_shadow_limits_are_not_announced(open_session: Open) -> None:
    """They restrict nothing."""
    session = open_session(rule("l", "rate_limit", "*", parameters=RATE, mode="shadow"))
    assert () == session.resolve("work").constraints


@pytest.mark.parametrize(("written", "shown"), [(3, 3), (0.1, 0.1), (2.0, 2), (1e300, 10**300)])
def test_amounts_are_shown_as_json_has_them(written: float, shown: float) -> None:
    """Whole amounts as integers, others as the decimal they were written as."""
    assert shown == number(parse_amount(written))
    assert type(shown) is type(number(parse_amount(written)))


def test_the_limit_of_an_action_is_announced_by_its_own_id(open_session: Open) -> None:
    """`action:<action_id>` names the action already."""
    session = open_session(actions=(action("a", rate_limit={"max_calls": 1, "window_seconds": 60}),))
    assert ["action:a"] == list(constraints(session.resolve("work")))


# What was asked


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"goal": ""}, "/goal"),
        ({"goal": "x" * 10_001}, "/goal"),
        ({"goal": 3}, "/goal"),
        ({"risk_tier": "extreme"}, "/risk_tier"),
        ({"context_hints": [1]}, "/context_hints/0"),
        ({"required_capabilities": ["a", None]}, "/required_capabilities/1"),
        ({"context": []}, "/context"),
        ({"atlas_ids": [1]}, "/atlas_ids/0"),
        ({"context_budget": -1}, "/context_budget"),
        ({"context_hints": "stale"}, "/context_hints"),
        ({"context_hints": 5}, "/context_hints"),
        ({"required_capabilities": "read"}, "/required_capabilities"),
        ({"atlas_ids": ATLAS_ID}, "/atlas_ids"),
        ({"context": {"key": float("nan")}}, "/context/key"),
        ({"context": {"key": "x" * 70_000}}, "/context"),
        ({"context_hints": ["x"] * 101}, "/context_hints"),
        ({"required_capabilities": ["x" * 256]}, "/required_capabilities"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_recorded(
    resolver: cra.Resolver, session: cra.Session, arguments: Document, path: str | None
) -> None:
    """One error that names the argument; the session goes on."""
    with pytest.raises(InvalidCARPRequest) as caught:
        session.resolve(**{"goal": "work", **arguments})
    assert path == caught.value.path
    assert ["session.started"] == [event.event_type for event in resolver.trace(session.session_id)]
    assert "partial" == session.resolve("work").decision.type
