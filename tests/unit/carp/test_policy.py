"""Parsing policies: what is not understood is refused, with the place; amounts are exact."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.carp.conditions import Conditions
from cra.carp.policy import POLICY_TYPES, Limit, Policy, action_limit_policy, parse_amount, parse_policy
from cra.errors import InvalidPolicy

SECOND = 1_000_000_000
PARAMETERS: dict[str, dict[str, Any]] = {
    "scope": {"required_scopes": ["write"]},
    "rate_limit": {"max_calls": 3, "window_seconds": 60},
    "budget": {"max_cost": 10, "cost": 1},
}


def written(kind: str, **changes: Any) -> dict[str, Any]:
    """A policy of a type with everything it needs; `changes` replace members, None removes them."""
    raw = {"policy_id": "p", "type": kind, "actions": ["a.*"], "parameters": PARAMETERS.get(kind), **changes}
    return {name: value for name, value in raw.items() if value is not None}


def parse(raw: object) -> Policy:
    return parse_policy(raw, atlas_id="com.example", index=3, path="/policies/3")


def refusal(raw: object) -> tuple[str, str]:
    with pytest.raises(InvalidPolicy) as caught:
        parse(raw)
    error = caught.value
    assert error.path is not None
    assert error.path.startswith("/policies/3")
    return error.path.removeprefix("/policies/3"), error.message.removeprefix(f"{error.path}: ")


def limit_of(kind: str, **parameters: Any) -> Limit:
    limit = parse(written(kind, parameters=parameters)).limit
    assert limit is not None
    return limit


def test_every_field_is_read() -> None:
    """A policy with all of its fields; a shadow policy is marked as one."""
    raw = {
        "policy_id": "no-delete",
        "name": "No deletes",
        "description": "Nobody deletes.",
        "type": "deny",
        "priority": 10,
        "conditions": {"agents": ["bot"]},
        "actions": ["*.delete", "x.?"],
        "parameters": {"reason": "Deletes are off"},
        "mode": "shadow",
    }
    expected = Policy(
        atlas_id="com.example",
        policy_id="no-delete",
        type="deny",
        index=3,
        priority=10,
        actions=("*.delete", "x.?"),
        conditions=Conditions(agents=("bot",)),
        reason="Deletes are off",
        shadow=True,
        name="No deletes",
        description="Nobody deletes.",
    )
    assert expected == parse(raw)


@pytest.mark.parametrize("kind", POLICY_TYPES)
def test_what_is_not_written_has_its_default(kind: str) -> None:
    """Every type parses with its required members alone; enforced, priority 0, without conditions."""
    policy = parse(written(kind))
    assert (kind, 0, Conditions(), None, False) == (
        policy.type,
        policy.priority,
        policy.conditions,
        policy.reason,
        policy.shadow,
    )
    assert frozenset(["write"] if kind == "scope" else []) == policy.required_scopes
    assert (kind in ("rate_limit", "budget")) == (policy.limit is not None)


@pytest.mark.parametrize("kind", [kind for kind in POLICY_TYPES if kind != "allow"])
def test_a_restricting_policy_without_actions_is_about_every_action(kind: str) -> None:
    """PROTOCOL: Unknown fields: `actions` missing means every action for a restricting policy."""
    assert parse(written(kind, actions=None)).actions is None


def test_an_allow_policy_names_its_actions() -> None:
    """PROTOCOL: Unknown fields: `actions` missing is an error for `allow`."""
    path, message = refusal(written("allow", actions=None))
    assert "/actions" == path
    assert message.startswith("is missing")


def test_requires_approval_is_a_synonym() -> None:
    """PROTOCOL: `requires_approval` is accepted for `require_approval`."""
    assert "require_approval" == parse(written("requires_approval")).type


@pytest.mark.parametrize(
    ("top", "parameters", "expected"),
    [("top", None, "top"), (None, "inner", "inner"), ("top", "inner", "inner"), (None, None, None)],
)
@pytest.mark.parametrize("kind", POLICY_TYPES)
def test_a_reason_is_taken_from_parameters_first(
    kind: str, top: str | None, parameters: str | None, expected: str | None
) -> None:
    """PROTOCOL: Decision: `parameters.reason`, else `reason`; every type may have one."""
    members = {**PARAMETERS.get(kind, {}), **({"reason": parameters} if parameters else {})}
    assert expected == parse(written(kind, reason=top, parameters=members)).reason


@pytest.mark.parametrize(
    ("raw", "path", "message"),
    [
        (None, "", "a policy has to be an object"),
        ("deny", "", "a policy has to be an object"),
        (
            {"policy_id": "p", "condition": "x", "effect": "y"},
            "/type",
            "is missing; a policy needs a type, one of deny, scope, require_approval, rate_limit, budget, allow",
        ),
        (
            written("forbid"),
            "/type",
            "'forbid' is no policy type; it is one of deny, scope, require_approval, rate_limit, budget, allow",
        ),
        (
            written("deny", type=["deny"]),
            "/type",
            "has to be a string; it is one of deny, scope, require_approval, rate_limit, budget, allow",
        ),
        (
            written("deny", action=["x"]),
            "/action",
            (
                "is no field of a policy; known are actions, conditions, description, mode, name, parameters, "
                "policy_id, priority, reason, type"
            ),
        ),
        (written("deny", **{"a/b": 1}), "/a~1b", None),
        (written("deny", policy_id=None), "/policy_id", "is missing; it has to be a string that is not empty"),
        (written("deny", policy_id=""), "/policy_id", "has to be a string that is not empty"),
        (written("deny", policy_id=3), "/policy_id", "has to be a string that is not empty"),
        (written("deny", policy_id="x" * 256), "/policy_id", "is longer than 255 characters"),
        (
            written("deny", policy_id="default"),
            "/policy_id",
            "'default' is reserved for the runtime; choose another id",
        ),
        (written("deny", policy_id="action:a.b"), "/policy_id", None),
        (written("deny", name=3), "/name", "has to be a string"),
        (written("deny", description=["x"]), "/description", "has to be a string"),
        (written("deny", priority=1.0), "/priority", "has to be an integer"),
        (written("deny", priority=True), "/priority", "has to be an integer"),
        (written("deny", priority="1"), "/priority", "has to be an integer"),
        (written("deny", actions=[]), "/actions", "has to be a list of at least one string"),
        (written("deny", actions="a.*"), "/actions", "has to be a list of at least one string"),
        (written("deny", actions=["a", ""]), "/actions/1", "has to be a string that is not empty"),
        (written("deny", actions=[3]), "/actions/0", "has to be a string that is not empty"),
        (written("deny", conditions=[]), "/conditions", "has to be an object"),
        (written("deny", conditions={"agent": ["x"]}), "/conditions/agent", None),
        (written("deny", mode="dry-run"), "/mode", "has to be one of enforce, shadow"),
        (written("deny", mode=["shadow"]), "/mode", "has to be one of enforce, shadow"),
        (written("deny", reason=""), "/reason", "has to be a string that is not empty"),
        (written("deny", reason="x", parameters={"reason": 3}), "/parameters/reason", None),
        (written("deny", reason=3, parameters={"reason": "x"}), "/reason", None),
        (written("deny", parameters=[]), "/parameters", "has to be an object"),
        (
            written("deny", parameters={"max_calls": 3}),
            "/parameters/max_calls",
            "is no parameter of a policy of type deny; known are reason",
        ),
        (written("allow", parameters={"required_scopes": ["x"]}), "/parameters/required_scopes", None),
        (written("rate_limit", parameters={"max_cost": 3}), "/parameters/max_cost", None),
        (
            written("scope", parameters={}),
            "/parameters/required_scopes",
            "is missing; it has to be a list of at least one string",
        ),
        (written("scope", parameters={"required_scopes": []}), "/parameters/required_scopes", None),
        (written("scope", parameters={"required_scopes": "x"}), "/parameters/required_scopes", None),
        (written("scope", parameters={"required_scopes": ["x", ""]}), "/parameters/required_scopes/1", None),
    ],
)
def test_what_is_not_understood_is_refused(raw: object, path: str, message: str | None) -> None:
    """PROTOCOL: Inside a policy nothing is ignored; the error names the place."""
    found, sentence = refusal(raw)
    assert path == found
    assert message is None or message == sentence


@pytest.mark.parametrize("name", ["priority", "actions", "conditions", "parameters", "mode", "reason", "name"])
def test_null_is_no_way_to_leave_a_field_out(name: str) -> None:
    """A field that is there has a value of its type."""
    assert f"/{name}" == refusal({**written("deny"), name: None})[0]


@pytest.mark.parametrize("key", ["session", "agent", "global"])
def test_a_rate_limit_counts_per_key(key: str) -> None:
    """`key` is one of the three; absent, it is per policy × action × agent."""
    assert Limit("rate_limit", Fraction(3), 60 * SECOND, key) == limit_of(  # type: ignore[arg-type]
        "rate_limit", max_calls=3, window_seconds=60, key=key
    )
    assert "action" == limit_of("rate_limit", max_calls=3, window_seconds=60).key


def test_budgets_are_read_exactly() -> None:
    """A budget has a fixed cost or the name of a parameter; without a window it is for the session's life."""
    assert Limit("budget", Fraction(3, 10), None, "action", Fraction(1, 10)) == limit_of(
        "budget", max_cost=0.3, cost=0.1
    )
    assert Limit("budget", Fraction(0), 500_000_000, "agent", Fraction(1), "amount") == limit_of(
        "budget", max_cost=0, cost_field="amount", window_seconds=0.5, key="agent"
    )
    assert Fraction(0) == limit_of("budget", max_cost=1, cost=0).cost


def test_a_window_is_never_shorter_than_written() -> None:
    """Windows are rounded up to the nanosecond, so that none is empty."""
    assert 1 == limit_of("rate_limit", max_calls=1, window_seconds=1e-300).window_ns
    assert 100_000_000 == limit_of("rate_limit", max_calls=1, window_seconds=0.1).window_ns
    assert 10**317 == limit_of("rate_limit", max_calls=1, window_seconds=1e308).window_ns


AMOUNT = "has to be a finite number ≥ 0"


@pytest.mark.parametrize(
    ("kind", "changes", "path", "message"),
    [
        ("rate_limit", {"max_calls": None}, "/max_calls", "is missing; it has to be an integer ≥ 1"),
        ("rate_limit", {"max_calls": 0}, "/max_calls", "has to be an integer ≥ 1"),
        ("rate_limit", {"max_calls": True}, "/max_calls", "has to be an integer ≥ 1"),
        ("rate_limit", {"max_calls": 2.0}, "/max_calls", "has to be an integer ≥ 1"),
        ("rate_limit", {"window_seconds": None}, "/window_seconds", "is missing; it has to be a finite number > 0"),
        ("rate_limit", {"window_seconds": 0}, "/window_seconds", "has to be a finite number > 0"),
        ("rate_limit", {"window_seconds": -1}, "/window_seconds", "has to be a finite number > 0"),
        ("rate_limit", {"window_seconds": True}, "/window_seconds", "has to be a finite number > 0"),
        ("rate_limit", {"window_seconds": math.inf}, "/window_seconds", "has to be a finite number > 0"),
        ("rate_limit", {"window_seconds": "60"}, "/window_seconds", "has to be a finite number > 0"),
        ("rate_limit", {"key": "action"}, "/key", "has to be one of session, agent, global"),
        ("rate_limit", {"key": 3}, "/key", "has to be one of session, agent, global"),
        ("budget", {"max_cost": None}, "/max_cost", f"is missing; it {AMOUNT}"),
        ("budget", {"max_cost": -1}, "/max_cost", AMOUNT),
        ("budget", {"max_cost": math.nan}, "/max_cost", AMOUNT),
        ("budget", {"window_seconds": 0}, "/window_seconds", "has to be a finite number > 0"),
        ("budget", {"cost": "1"}, "/cost", AMOUNT),
        ("budget", {"cost": None, "cost_field": ""}, "/cost_field", "has to be a string that is not empty"),
        ("budget", {"cost": None, "cost_field": 3}, "/cost_field", "has to be a string that is not empty"),
        ("budget", {"cost": None}, "", None),
        ("budget", {"cost_field": "amount"}, "", None),
        ("budget", {"key": "policy"}, "/key", "has to be one of session, agent, global"),
    ],
)
def test_the_parameters_of_a_limit_are_checked(
    kind: str, changes: dict[str, Any], path: str, message: str | None
) -> None:
    """A missing, ill-typed or contradictory parameter is an error (None removes one here)."""
    members = {name: value for name, value in {**PARAMETERS[kind], **changes}.items() if value is not None}
    found, sentence = refusal(written(kind, parameters=members))
    assert f"/parameters{path}" == found
    assert message is None or message == sentence


@given(st.decimals(0, 10**6, places=4), st.integers(1, 1000))
def test_amounts_add_up_as_decimals(amount: Any, times: int) -> None:
    """n times the cost c is n·c: a budget of 0.3 takes three calls of 0.1, which floats would refuse."""
    assert Fraction(amount) * times == sum([parse_amount(float(amount))] * times)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (-0.0, 0), (7, 7), (0.1, Fraction(1, 10)), (1e308, 10**308), (5e-324, Fraction(5, 10**324)), (10**400, 10**400)],
    ids=["zero", "minus zero", "seven", "tenth", "large", "small", "larger than a double"],
)  # fmt: skip
def test_an_amount_is_the_decimal_it_is_written_as(value: float, expected: Fraction) -> None:
    """Amounts are exact, large and small ones included."""
    amount = parse_amount(value)
    assert Fraction(expected) == amount
    assert Fraction is type(amount)


@pytest.mark.parametrize("value", [True, False, None, "1", [1], math.nan, math.inf, -math.inf, -1, -1e-9, Fraction(1)])
def test_what_is_no_amount_is_refused(value: object) -> None:
    """Only finite numbers ≥ 0 are amounts; a bool is no number."""
    with pytest.raises(ValueError, match=f"^{AMOUNT}$"):
        parse_amount(value)


def test_an_actions_own_limit_is_a_policy() -> None:
    """PROTOCOL: Policy parameters: an action's own `rate_limit` is a rate_limit policy `action:<action_id>`."""
    expected = Policy(
        atlas_id="com.example",
        policy_id="action:ticket.get",
        type="rate_limit",
        index=7,
        actions=("ticket.get",),
        limit=Limit("rate_limit", Fraction(5), 60 * SECOND),
    )
    assert expected == action_limit_policy("com.example", "ticket.get", 5, 60, 7)
