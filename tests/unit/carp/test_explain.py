"""`Session.explain`: what decides about one action now, and why; nothing is spent and nothing is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import cra
from cra.carp.explain import Explanation, Step
from cra.errors import ActionNotFound, InvalidParameters
from tests.support.decisions import ATLAS_ID, rule

Open = Callable[..., cra.Session]
Trace = Callable[[cra.Session], list[cra.Event]]
RATE = {"max_calls": 1, "window_seconds": 60}
BUDGET = {"max_cost": 5, "cost_field": "amount"}
AMOUNT = {"properties": {"amount": {"type": "number", "exclusiveMinimum": 100}}, "required": ["amount"]}
SMALL = {"properties": {"amount": {"type": "number", "maximum": 100}}, "required": ["amount"]}

RULES = [
    rule("big", "deny", "a", conditions={"parameters": AMOUNT}),
    rule("small", "allow", "a", conditions={"parameters": SMALL}),
]


def outcome(explanation: Explanation) -> tuple[str, str, str | None]:
    return explanation.result, explanation.policy_id, explanation.reason


def matched(explanation: Explanation) -> dict[str, bool | None]:
    """For every policy whether it matched."""
    return {step.policy_id: step.matched for step in explanation.steps}


def test_every_policy_about_the_action_in_evaluation_order(open_session: Open) -> None:
    """With the condition that failed of those that do not match; policies about other actions are not there."""
    session = open_session(
        rule("other", "deny", "b"),
        rule("high", "deny", "*", conditions={"risk_tiers": ["high"]}),
        rule("prod", "deny", "*", conditions={"context_matches": {"env": "prod"}}, priority=3),
        rule("admin", "scope", "*", parameters={"required_scopes": ["admin"]}),
        rule("shadow", "deny", "*", mode="shadow"),
        host={"scopes": ["admin"], "context": {"env": "dev"}},
    )
    assert Explanation(
        "a",
        "allow",
        "all",
        None,
        (
            Step("prod", ATLAS_ID, "deny", "bot", False, "context_matches/env"),
            Step("high", ATLAS_ID, "deny", "bot", False, "risk_tiers"),
            Step("shadow", ATLAS_ID, "deny", "bot", True, shadow=True),
            Step("admin", ATLAS_ID, "scope", "bot", False, "required_scopes"),
            Step("all", ATLAS_ID, "allow", "bot", True),
        ),
    ) == session.explain("a")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], ("allow", "all", None)),
        ([rule("no", "deny", "a", reason="never")], ("deny", "no", "never")),
        ([rule("no", "deny", "a")], ("deny", "no", "Denied by policy")),
        ([rule("s", "scope", "a", parameters={"required_scopes": ["x"]})], ("deny", "s", "Denied by policy")),
        ([rule("ask", "require_approval", "a")], ("requires_approval", "ask", "Requires approval")),
        ([rule("l", "rate_limit", "a", parameters=RATE)], ("allow", "all", None)),
    ],
)
def test_the_result_is_that_of_a_resolve(
    open_session: Open, rules: list[Any], expected: tuple[str, str, str | None]
) -> None:
    """Result, deciding policy and reason."""
    assert expected == outcome(open_session(*rules).explain("a"))


def test_what_nobody_speaks_of_is_the_default_s(open_session: Open) -> None:
    """The default has a name here, as in traces."""
    session = open_session(fields={"policies": []})
    assert Explanation("a", "deny", "default", "Denied by policy", ()) == session.explain("a")
    generous = open_session(fields={"policies": []}, default_decision="allow", seed=2)
    assert Explanation("a", "allow", "default", None, ()) == generous.explain("a")


def test_facts_of_the_request_count(open_session: Open) -> None:
    """The tier, the capabilities and the context that a request would bring."""
    session = open_session(
        rule("high", "deny", "a", conditions={"risk_tiers": ["high"]}),
        rule("env", "deny", "a", conditions={"context_matches": {"env": "p*"}}),
        rule("pay", "deny", "a", conditions={"capabilities": ["pay"]}),
        fields={
            "capabilities": [
                {"capability_id": "pay", "name": "P"},
                {"capability_id": "c", "name": "C", "actions": ["a"]},
            ]
        },
        host={"context": {"env": "dev"}},
    )
    assert {"high": False, "env": False, "pay": True, "all": True} == matched(session.explain("a"))
    asked = session.explain("a", risk_tier="high", context={"env": "prod"}, required_capabilities=["c"])
    assert {"high": True, "env": False, "pay": False, "all": True} == matched(asked)


@pytest.mark.parametrize(
    ("required", "expected"),
    [
        ((), ("allow", "all", None)),
        (("c",), ("allow", "all", None)),
        (("d", "c"), ("allow", "all", None)),
        (("d",), ("deny", "default", "Not named by a required capability")),
        (("c", "fly"), ("deny", "default", "Capability 'fly' is not defined by any selected atlas")),
    ],
)
def test_capabilities_that_leave_the_action_out(
    open_session: Open, required: tuple[str, ...], expected: tuple[str, str, str | None]
) -> None:
    """A resolve that requires them would not allow it."""
    capabilities = [
        {"capability_id": "c", "name": "C", "actions": ["a"]},
        {"capability_id": "d", "name": "D", "actions": ["b"]},
    ]
    session = open_session(fields={"capabilities": capabilities})
    assert expected == outcome(session.explain("a", required_capabilities=required))
    assert (expected[0] == "allow") is session.resolve("x", required_capabilities=required).is_allowed("a")


def test_without_parameters_conditions_on_them_are_undecided(open_session: Open) -> None:
    """A restriction does not decide, an allow counts, as in a resolve."""
    session = open_session(fields={"policies": RULES})
    assert ("allow", "small", None) == outcome(session.explain("a"))
    assert {"big": None, "small": None} == matched(session.explain("a"))


@pytest.mark.parametrize(
    ("parameters", "expected", "steps"),
    [
        ({"amount": 100}, ("allow", "small", None), {"big": False, "small": True}),
        ({"amount": 101}, ("deny", "big", "Denied by policy"), {"big": True, "small": False}),
        ({}, ("deny", "default", "Denied by policy"), {"big": False, "small": False}),
    ],
)
def test_with_parameters_everything_is_decided(
    open_session: Open, parameters: dict[str, Any], expected: tuple[str, str, str | None], steps: dict[str, bool]
) -> None:
    """As an execute would decide it; the condition that failed is `parameters`."""
    explanation = open_session(fields={"policies": RULES}).explain("a", parameters)
    assert expected == outcome(explanation)
    assert steps == matched(explanation)
    assert {step.failed for step in explanation.steps if not step.matched} <= {"parameters"}


def test_an_approval_is_shown_with_its_grant(open_session: Open, opened: dict[str, cra.Resolver]) -> None:
    """Not granted: held; granted: the evaluation goes on."""
    session = open_session(rule("ask", "require_approval", "a"))
    assert [False, None] == [step.granted for step in session.explain("a").steps]
    approval_id = session.resolve("x").decision.approval_id
    assert approval_id is not None
    session.request_approval(approval_id)
    opened[session.session_id].approve(approval_id, by="alice")
    explanation = session.explain("a")
    assert ("allow", "all", None) == outcome(explanation)
    assert [True, None] == [step.granted for step in explanation.steps]


def test_a_grant_bound_to_parameters_is_for_those(open_session: Open, opened: dict[str, cra.Resolver]) -> None:
    """Other parameters, or none, still wait."""
    session = open_session(rule("ask", "require_approval", "a", conditions={"parameters": AMOUNT}))
    opened[session.session_id].register("a", lambda **_: None)
    with pytest.raises(cra.ActionRequiresApproval) as caught:
        session.execute("a", {"amount": 200}, resolution=session.resolve("x"))
    opened[session.session_id].approve(caught.value.approval_id, by="alice")
    assert "allow" == session.explain("a", {"amount": 200}).result
    assert "requires_approval" == session.explain("a", {"amount": 201}).result
    assert "allow" == session.explain("a", {"amount": 1}).result
    assert None is session.explain("a").steps[0].matched


def test_an_exhausted_limit(open_session: Open, opened: dict[str, cra.Resolver]) -> None:
    """The step says so, and the result names the limit and its reason; a shadow limit refuses nothing."""
    session = open_session(
        rule("calls", "rate_limit", "a", parameters=RATE),
        rule("shadow", "rate_limit", "a", parameters=RATE, mode="shadow"),
        rule("money", "budget", "b", parameters=BUDGET),
        rule("free", "rate_limit", "b", parameters=RATE, mode="shadow"),
    )
    for name in ("a", "b"):
        opened[session.session_id].register(name, lambda **_: None)
    assert [False, False, None] == [step.exhausted for step in session.explain("a").steps]
    resolution = session.resolve("x")
    session.execute("a", resolution=resolution)
    session.execute("b", {"amount": 5}, resolution=resolution)
    explanation = session.explain("a")
    assert ("rate_limited", "calls", "rate_limit_exceeded") == outcome(explanation)
    assert [True, True, None] == [step.exhausted for step in explanation.steps]
    assert ("rate_limited", "money", "budget_exceeded") == outcome(session.explain("b"))


def test_a_limit_decides_before_the_default(open_session: Open, opened: dict[str, cra.Resolver]) -> None:
    """Where nothing allows, an exhausted limit is why; a shared one that another action has used up."""
    shared = rule("l", "rate_limit", parameters={**RATE, "key": "session"})
    session = open_session(fields={"policies": [rule("some", "allow", "a"), shared]})
    opened[session.session_id].register("a", lambda **_: None)
    assert ("deny", "default", "Denied by policy") == outcome(session.explain("b"))
    session.execute("a", resolution=session.resolve("x"))
    assert ("rate_limited", "l", "rate_limit_exceeded") == outcome(session.explain("b"))


def test_an_ancestor_is_explained_after_its_child(open_session: Open, opened: dict[str, cra.Resolver]) -> None:
    """Each step names the agent it is about; the strictest verdict counts."""
    parent = open_session(
        rule("ask", "require_approval", "*", conditions={"agents": ["child"]}),
        rule("no", "deny", "*", conditions={"agents": ["parent"]}),
        host={"agent_id": "parent"},
    )
    child = opened[parent.session_id].create_session("child", "work", parent=parent)
    explanation = child.explain("a")
    assert ("deny", "no", "Denied by policy") == outcome(explanation)
    assert [
        ("no", "child", False),
        ("ask", "child", True),
        ("all", "child", True),
        ("no", "parent", True),
        ("ask", "parent", False),
        ("all", "parent", True),
    ] == [(step.policy_id, step.agent_id, step.matched) for step in explanation.steps]


def test_it_spends_and_records_nothing(open_session: Open, trace: Trace) -> None:
    """However often it is asked."""
    session = open_session(rule("l", "rate_limit", "a", parameters=RATE))
    for _ in range(5):
        assert "allow" == session.explain("a", {"amount": 1}).result
    assert ["session.started"] == [event.event_type for event in trace(session)]


def test_an_unknown_action(open_session: Open) -> None:
    """There is nothing to explain."""
    with pytest.raises(ActionNotFound, match=r"^no selected atlas defines the action 'z'$"):
        open_session().explain("z")


def test_parameters_that_are_no_json(open_session: Open) -> None:
    """The same error that an execute gives."""
    with pytest.raises(InvalidParameters):
        open_session().explain("a", {"x": object()})


def test_an_explanation_is_plain_data(open_session: Open) -> None:
    """For programs: `to_dict` holds JSON types."""
    shown = open_session(rule("no", "deny", "a")).explain("a").to_dict()
    assert shown == json.loads(json.dumps(shown))
    assert ["action_id", "result", "policy_id", "reason", "steps"] == list(shown)
    assert {"policy_id": "no", "atlas_id": ATLAS_ID, "type": "deny", "agent_id": "bot", "matched": True} == {
        name: value for name, value in shown["steps"][0].items() if value not in (None, False)
    }
