"""The combining rule: which of the policies that match decides. PROTOCOL: Evaluation, per action."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.carp.policy import Policy
from cra.reference.resolve import (
    CLASSES,
    DENIED,
    HELD,
    DefaultDecision,
    Verdict,
    decide,
    evaluation_order,
    strictest,
)
from tests.support.decisions import policy

PARAMETERS: dict[str, dict[str, Any]] = {
    "deny": {},
    "scope": {"required_scopes": ["admin"]},
    "require_approval": {},
    "rate_limit": {"max_calls": 1, "window_seconds": 60},
    "budget": {"max_cost": 1, "cost": 1},
    "allow": {},
}


def one(kind: str, policy_id: str | None = None, **fields: Any) -> Policy:
    """A policy of a kind, about everything, by default named for its kind."""
    parameters = {**PARAMETERS[kind], **fields.pop("parameters", {})}
    return policy(policy_id or kind, kind, "*", parameters=parameters, **fields)


def judge(
    matching: Iterable[Policy], *, granted: Iterable[str] = (), default: DefaultDecision = "deny"
) -> tuple[str, str, str | None]:
    """Result, policy and reason, with these policies granted."""
    given_grants = set(granted)
    ordered = sorted(matching, key=evaluation_order)
    verdict = decide(ordered, lambda each: each.policy_id in given_grants, default)
    return verdict.result, verdict.policy_id, verdict.reason


def test_the_classes_are_those_of_the_protocol() -> None:
    """deny, scope, require_approval, rate_limit, budget, allow: in this order."""
    assert ("deny", "scope", "require_approval", "rate_limit", "budget", "allow") == CLASSES


@pytest.mark.parametrize("kinds", [kinds for n in range(7) for kinds in combinations(CLASSES, n)])
@pytest.mark.parametrize("default", ["deny", "allow"])
def test_the_first_class_decides(kinds: tuple[str, ...], default: DefaultDecision) -> None:
    """All 64 sets of classes under both defaults; limits are open, so they do not decide here."""
    expected: tuple[str, str, str | None]
    if "deny" in kinds:
        expected = ("deny", "deny", DENIED)
    elif "scope" in kinds:
        expected = ("deny", "scope", DENIED)
    elif "allow" not in kinds and default == "deny":
        expected = ("deny", "default", DENIED)
    elif "require_approval" in kinds:
        expected = ("requires_approval", "require_approval", HELD)
    elif "allow" in kinds:
        expected = ("allow", "allow", None)
    else:
        expected = ("allow", "default", None)
    assert expected == judge(map(one, kinds), default=default)


@pytest.mark.parametrize("kind", CLASSES)
def test_no_priority_lifts_a_policy_out_of_its_class(kind: str) -> None:
    """Priority counts inside a class only."""
    lifted = one(kind, "lifted", priority=1000)
    others = [one(each) for each in CLASSES if each != kind]
    assert judge([*others, one(kind, "lifted")]) == judge([*others, lifted])


@given(st.permutations(range(3)), st.sampled_from(["deny", "scope", "allow", "require_approval"]))
def test_inside_a_class_priority_then_atlas_then_declaration(order: list[int], kind: str) -> None:
    """Higher priority first; then the atlas id; then the order in which they are written."""
    ranked = [
        one(kind, "first", priority=2, atlas_id="com.example.z", index=9),
        one(kind, "second", priority=1, atlas_id="com.example.a", index=8),
        one(kind, "third", priority=1, atlas_id="com.example.b", index=1),
    ]
    shuffled = [ranked[index] for index in order]
    for expected in ("first", "second", "third"):
        allowing = [] if kind == "allow" else [one("allow")]
        assert expected == judge([*shuffled, *allowing])[1]
        shuffled = [each for each in shuffled if each.policy_id != expected]


def test_declaration_order_breaks_the_tie() -> None:
    """Two policies of one atlas with one priority: the one that is written first."""
    later, earlier = one("deny", "a", index=2), one("deny", "b", index=1)
    assert "b" == judge([later, earlier])[1]


@pytest.mark.parametrize("kind", ["deny", "scope"])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "Denied by policy"),
        ({"reason": "top"}, "top"),
        ({"parameters": {"reason": "inner"}}, "inner"),
        ({"reason": "top", "parameters": {"reason": "inner"}}, "inner"),
    ],
)
def test_the_reason_of_a_denial(kind: str, fields: dict[str, Any], expected: str) -> None:
    """`parameters.reason`, else `reason`, else `Denied by policy`."""
    assert ("deny", kind, expected) == judge([one(kind, **fields)])


def test_a_hold_gives_its_own_reason() -> None:
    """What waits for a person says so, whatever reason the policy gives that person."""
    assert ("requires_approval", "ask", HELD) == judge([one("require_approval", "ask", reason="risky"), one("allow")])
    assert "Requires approval" == HELD


def test_held_until_each_matching_one_has_its_grant() -> None:
    """Two approvals are two grants; the first that is missing is named."""
    rules = [one("require_approval", "a"), one("require_approval", "b"), one("allow")]
    assert ("requires_approval", "a", HELD) == judge(rules)
    assert ("requires_approval", "b", HELD) == judge(rules, granted=["a"])
    assert ("requires_approval", "a", HELD) == judge(rules, granted=["b"])
    assert ("allow", "allow", None) == judge(rules, granted=["a", "b"])


def test_a_grant_replaces_neither_an_allow_nor_a_limit_nor_a_deny() -> None:
    """After the grant the evaluation goes on at the limits."""
    approval, limit = one("require_approval"), one("rate_limit")
    assert ("deny", "default", DENIED) == judge([approval], granted=["require_approval"])
    assert ("deny", "deny", DENIED) == judge([approval, one("deny"), one("allow")], granted=["require_approval"])
    verdict = decide([approval, limit, one("allow")], lambda _: True, "deny")
    assert ("allow", (limit,)) == (verdict.result, verdict.limits)


def test_what_the_default_would_refuse_is_denied_not_held() -> None:
    """Asking a person would be in vain where nothing allows."""
    assert ("deny", "default", DENIED) == judge([one("require_approval")])
    assert ("requires_approval", "require_approval", HELD) == judge([one("require_approval")], default="allow")


def test_limits_decide_before_the_default_and_after_a_hold() -> None:
    """Rate limits first, then budgets; none where a deny, a scope or a missing approval has decided already."""
    limits = (one("rate_limit"), one("budget"))
    assert limits == decide([*limits, one("allow")], lambda _: False, "deny").limits
    assert limits == decide(limits, lambda _: False, "deny").limits
    assert limits == decide(limits, lambda _: False, "allow").limits
    for kind in ("deny", "scope"):
        assert () == decide([one(kind), *limits, one("allow")], lambda _: False, "deny").limits
    assert () == decide([one("require_approval"), *limits, one("allow")], lambda _: False, "deny").limits


def test_the_pending_approvals_are_those_without_a_grant() -> None:
    """In evaluation order, so that the first is the decision's."""
    low, high = one("require_approval", "low"), one("require_approval", "high", priority=5)
    other = one("require_approval", "other", priority=9)
    ordered = sorted([low, high, other, one("allow")], key=evaluation_order)
    assert (high, low) == decide(ordered, lambda each: each is other, "deny").pending


def test_the_default_has_a_name_in_traces_only() -> None:
    """A resolution leaves out the policy that does not exist; a trace calls it `default`."""
    verdict = decide([], lambda _: False, "deny")
    assert (None, "default") == (verdict.named_policy, verdict.policy_id)


ALLOWED, HELD_BACK, REFUSED = Verdict("allow"), Verdict("requires_approval"), Verdict("deny")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([ALLOWED], 0),
        ([REFUSED], 0),
        ([ALLOWED, ALLOWED], 0),
        ([ALLOWED, REFUSED], 1),
        ([REFUSED, ALLOWED], 0),
        ([ALLOWED, HELD_BACK], 1),
        ([HELD_BACK, ALLOWED], 0),
        ([HELD_BACK, REFUSED], 1),
        ([REFUSED, HELD_BACK], 0),
        ([ALLOWED, HELD_BACK, REFUSED], 2),
        ([ALLOWED, REFUSED, REFUSED], 1),
    ],
)
def test_the_strictest_member_of_a_lineage_counts(verdicts: list[Verdict], expected: int) -> None:
    """A denial before a hold before an allow; of equals the nearest. What an ancestor is denied nobody is asked about."""
    assert expected == strictest(verdicts)
