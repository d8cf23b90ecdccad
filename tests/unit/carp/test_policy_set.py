"""The atlases of one selection together: which policies are about which actions, and what is the same request.

PROTOCOL: Across atlases, Which actions, Properties.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest

from cra.carp import policy_set as module
from cra.carp.policy_set import PolicySet, policy_set_digest
from cra.errors import Conflict, PolicyEvaluationError
from cra.reference.glob import glob_match
from tests.support.decisions import ALLOW_ALL, atlas, compiled, facts, plan, results, rule

A, B = "com.example.a", "com.example.b"


def about(policies: PolicySet) -> dict[str, list[str]]:
    """For every policy the actions it is about."""
    return {
        policy.policy_id: [policies.actions[position][1].action_id for position in sorted(positions)]
        for policy, positions in zip(policies.policies, policies.positions)
    }


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("deny", {}),
        ("scope", {"required_scopes": ["admin"]}),
        ("require_approval", {}),
        ("rate_limit", {"max_calls": 1, "window_seconds": 1}),
        ("budget", {"max_cost": 1, "cost": 1}),
    ],
)
def test_what_restricts_is_about_the_actions_of_all_atlases(kind: str, parameters: dict[str, Any]) -> None:
    """A restricting policy of any selected atlas applies to all; without `actions` to every action."""
    policies = compiled(
        atlas("x.get", "x.delete", atlas_id=A),
        atlas(
            "y.get",
            atlas_id=B,
            rules=[
                rule("some", kind, "*.get", parameters=parameters),
                rule("every", kind, parameters=parameters),
                rule("none", kind, "z.*", parameters=parameters),
            ],
        ),
    )
    assert {"some": ["x.get", "y.get"], "every": ["x.get", "x.delete", "y.get"], "none": []} == about(policies)


def test_what_allows_is_about_the_actions_of_its_own_atlas() -> None:
    """An atlas can restrict another, never open it."""
    policies = compiled(atlas("x.get", atlas_id=A), atlas("y.get", atlas_id=B, rules=[rule("open", "allow", "*")]))
    assert {"open": ["y.get"]} == about(policies)
    assert {"x.get": "deny", "y.get": "allow"} == results(plan(policies))


def test_an_action_limit_is_about_its_action() -> None:
    """`rate_limit` of an action is a policy `action:<action_id>`, literal even where the id looks like a pattern."""
    limited = {"action_id": "a.b", "name": "x", "description": "", "rate_limit": {"max_calls": 1, "window_seconds": 60}}
    assert {"action:a.b": ["a.b"]} == about(compiled(atlas(limited, "a.bc", "aab")))


def test_actions_are_in_atlas_id_order_then_declaration_order() -> None:
    """PROTOCOL: Which actions."""
    first, second = atlas("z", "a", atlas_id=A), atlas("y", "b", atlas_id=B)
    for order in permutations([first, second]):
        policies = compiled(*order)
        assert ["z", "a", "y", "b"] == [action.action_id for _, action in policies.actions]
        assert {"z": 0, "a": 1, "y": 2, "b": 3} == policies.position


def test_policies_are_in_evaluation_order() -> None:
    """Class, priority descending, atlas id, declaration order: the order in which a denial is named."""
    rules = [rule("n1", "deny", "*"), rule("n2", "deny", "*", priority=5), ALLOW_ALL]
    other = [rule("b1", "deny", "*"), rule("b2", "deny", "*", priority=5)]
    policies = compiled(atlas("y", atlas_id=B, rules=other), atlas("x", atlas_id=A, rules=rules))
    assert ["n2", "b2", "n1", "b1", "all"] == [policy.policy_id for policy in policies.policies]


def test_every_pattern_is_matched_with_every_action_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """PROTOCOL: time is linear in policies × actions. Requests then match no pattern again."""
    looks: list[str] = []

    def counted(pattern: str, text: str) -> bool:
        looks.append(pattern)
        return glob_match(pattern, text)

    monkeypatch.setattr(module, "glob_match", counted)
    rules = [rule(f"p{number}", "deny", "nothing", "none") for number in range(20)]
    policies = compiled(atlas(*(f"a{number}" for number in range(30)), rules=rules))
    assert 20 * 2 * 30 == len(looks)
    plan(policies)
    assert 20 * 2 * 30 == len(looks)


def test_policies_times_actions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would take too long to compile is refused, and says so; up to the bound it is compiled."""
    monkeypatch.setattr(module, "MAX_RULES", 6)
    compiled(atlas("a", "b", "c", rules=[ALLOW_ALL, rule("no", "deny", "a")]))
    with pytest.raises(PolicyEvaluationError, match=r"^3 policies times 3 actions are more than 6; use fewer policies"):
        compiled(atlas("a", "b", "c", rules=[ALLOW_ALL, rule("no", "deny", "a"), rule("nor", "deny", "b")]))


def test_two_atlases_with_one_action_are_a_conflict() -> None:
    """The error names the action and both atlases."""
    with pytest.raises(Conflict) as caught:
        compiled(atlas("x.get", "x.put", atlas_id=A), atlas("y", "x.put", atlas_id=B))
    assert (
        "action 'x.put' is defined by 'com.example.a' and by 'com.example.b'; select one of them with atlas_ids"
        == caught.value.message
    )


def test_a_capability_names_actions_of_its_own_atlas() -> None:
    """A name of another atlas's action, or of none, names nothing; two atlases may define one capability."""

    def capable(capability_id: str, *actions: str) -> list[dict[str, Any]]:
        return [{"capability_id": capability_id, "name": capability_id, "actions": list(actions)}]

    policies = compiled(
        atlas("x", "x2", atlas_id=A, capabilities=capable("read", "x", "y", "nothing")),
        atlas("y", "y2", atlas_id=B, capabilities=capable("read", "y2") + capable("write")),
    )
    assert frozenset({0, 3}) == policies.capability("read")
    assert frozenset() == policies.capability("write")
    assert policies.capability("unknown") is None


def test_the_digest_is_of_ids_versions_contents_and_default() -> None:
    """Load order does not count; every one of the four does."""
    first, second = atlas("x", atlas_id=A), atlas("y", atlas_id=B)
    digest = compiled(first, second).digest
    assert 64 == len(digest)
    assert digest == compiled(second, first).digest == policy_set_digest([second, first], "deny")
    others = [
        compiled(first, second, default="allow").digest,
        compiled(first).digest,
        compiled(atlas("x", atlas_id=A, version="1.0.1"), second).digest,
        compiled(atlas("x2", atlas_id=A), second).digest,
    ]
    assert 5 == len({digest, *others})


# What is one request class


def test_requests_that_come_out_the_same_share_a_plan() -> None:
    """Ten thousand agents share a few plans: a plan knows how conditions came out, no agent id and no context value."""
    rules = [
        ALLOW_ALL,
        rule("guests", "deny", "*", conditions={"agents": ["guest-*"], "context_matches": {"env": "p*"}}),
    ]
    policies = compiled(atlas("x", rules=rules))
    plans = {
        id(plan(policies, facts(agent_id=agent, context={"env": env})))
        for agent in ("guest-1", "guest-2", "staff-1", "staff-2")
        for env in ("prod", "pilot", "dev", "test")
    }
    assert 2 == len(plans) == policies.cached_plans


def test_the_plans_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes; what a request would get is the same as before."""
    monkeypatch.setattr(module, "MAX_PLANS", 3)
    policies = compiled(atlas("x", rules=[ALLOW_ALL]))
    first = plan(policies, capabilities=("c0",))
    for number in range(5):
        plan(policies, capabilities=(f"c{number}",))
    assert 3 == policies.cached_plans
    again = plan(policies, capabilities=("c0",))
    assert again is not first
    assert again.ruling(()) == first.ruling(())


CONDITIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"risk_tiers": ["high"]}, {"risk_tier": "high"}),
    ({"agents": ["x*"]}, {"agent_id": "xy"}),
    ({"capabilities": ["c"]}, {"capabilities": ("d",)}),
    ({"context_matches": {"k": "v"}}, {"context": {"k": "v"}}),
    ({"time_window": {"start": "13:00"}}, {"now_ns": 1_767_268_800_000_000_000 + 3_600_000_000_000}),
]


@pytest.mark.parametrize(("conditions", "change"), CONDITIONS)
def test_the_outcomes_are_all_that_differs(conditions: dict[str, Any], change: dict[str, Any]) -> None:
    """Facts that a condition reads change the outcomes; facts that none reads do not."""
    conditional = compiled(atlas("x", rules=[rule("r", "deny", "*", conditions=conditions)]))
    plain = compiled(atlas("x", rules=[rule("r", "deny", "*")]))
    # the context key is absent at first, which holds for a deny, so set it to something else
    before, after = facts(context={"k": "w"}), facts(**{"context": {"k": "w"}} | change)
    assert conditional.outcomes(before) != conditional.outcomes(after)
    assert () == plain.outcomes(before) == plain.outcomes(after)


def matching(policies: PolicySet, shadow: bool = False, **given: Any) -> Iterator[str]:
    found = policies.matching(0, policies.outcomes(facts(**given)), shadow=shadow)
    return (policies.policies[rank].policy_id for rank in found)


def test_a_scope_policy_matches_where_the_scopes_do_not_suffice() -> None:
    """All of `required_scopes` are needed, and the policy's conditions have to hold too."""
    rules = [
        rule("both", "scope", "*", parameters={"required_scopes": ["a", "b"]}),
        rule("high", "scope", "*", parameters={"required_scopes": ["c"]}, conditions={"risk_tiers": ["high"]}),
    ]
    policies = compiled(atlas("x", rules=rules))
    assert ["both"] == list(matching(policies))
    assert ["both"] == list(matching(policies, scopes=frozenset({"a"})))
    assert [] == list(matching(policies, scopes=frozenset({"a", "b", "z"})))
    assert ["both", "high"] == list(matching(policies, risk_tier="high"))
    assert ["both"] == list(matching(policies, risk_tier="high", scopes=frozenset({"c"})))


def test_what_cannot_be_evaluated_matches_for_what_restricts_only() -> None:
    """A context key that nobody set: the deny holds, the allow does not, and a block is not injected."""
    unknown = {"context_matches": {"env": "prod"}}
    rules = [rule("no", "deny", "*", conditions=unknown), rule("yes", "allow", "*", conditions=unknown)]
    block = {"context_id": "b", "name": "b", "content": "c", "conditions": unknown}
    policies = compiled(atlas("x", rules=rules, context_blocks=[block]))
    assert ["no"] == list(matching(policies))
    assert ["no", "yes"] == list(matching(policies, context={"env": "prod"}))
    assert [] == list(matching(policies, context={"env": "dev"}))
    assert (False, False) == policies.block_state(0, policies.outcomes(facts()))


def test_shadow_policies_match_apart() -> None:
    """They never are among those that decide."""
    policies = compiled(atlas("x", rules=[rule("s", "deny", "*", mode="shadow"), rule("e", "deny", "*")]))
    assert ["e"] == list(matching(policies))
    assert ["s"] == list(matching(policies, shadow=True))


def test_the_context_keys_that_conditions_read() -> None:
    """Of policies and of context blocks, with every pattern that they are matched with."""
    block = {
        "context_id": "b",
        "name": "b",
        "content": "c",
        "conditions": {"context_matches": {"env": "dev", "team": "*"}},
    }
    rules = [
        rule("r", "deny", "*", conditions={"context_matches": {"env": "p*"}}),
        rule("s", "deny", "*", conditions={"context_matches": {"env": "q*"}}, mode="shadow"),
    ]
    policies = compiled(atlas("x", rules=rules, context_blocks=[block]))
    assert {"env": ["p*", "q*", "dev"], "team": ["*"]} == policies.context_patterns


def test_a_block_with_an_unknown_condition_never_holds() -> None:
    """What this version does not understand is not injected."""
    block = {"context_id": "b", "name": "b", "content": "c", "conditions": {"moon": "full"}}
    policies = compiled(atlas("x", context_blocks=[block]))
    assert (False, False) == policies.block_state(0, policies.outcomes(facts()))
