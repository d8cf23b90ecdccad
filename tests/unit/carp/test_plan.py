"""Plans: what a request class comes to, for every state of its limits. PROTOCOL: Evaluation, Decision, Parameter conditions."""

from __future__ import annotations

from typing import Any

import pytest

from cra.carp import plan as module
from cra.carp.plan import Evaluation
from cra.reference.match import Facts
from tests.support.decisions import (
    ALLOW_ALL,
    ATLAS_ID,
    Document,
    atlas,
    compiled,
    denials,
    facts,
    plan,
    results,
    rule,
)

RATE = {"max_calls": 1, "window_seconds": 60}
BUDGET = {"max_cost": 1, "cost": 1}
AMOUNT = {"properties": {"amount": {"type": "number", "exclusiveMinimum": 100}}, "required": ["amount"]}


def made(*actions: str, rules: list[Document], default: Any = "deny", **options: Any) -> module.Plan:
    return plan(compiled(atlas(*actions, rules=rules), default=default), **options)


def decision(made_plan: module.Plan, exhausted: tuple[int, ...] = ()) -> tuple[str, str | None]:
    ruling = made_plan.ruling(exhausted)
    return ruling.decision, ruling.reason


# Decision


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([ALLOW_ALL], ("allow", None)),
        ([ALLOW_ALL, rule("no", "deny", "*")], ("deny", "All actions are denied by policy")),
        ([], ("deny", "All actions are denied by policy")),
        ([ALLOW_ALL, rule("ask", "require_approval", "*")], ("requires_approval", "Requires approval")),
        (
            [ALLOW_ALL, rule("no", "deny", "a"), rule("ask", "require_approval", "b")],
            ("requires_approval", "Requires approval"),
        ),
        ([ALLOW_ALL, rule("no", "deny", "a")], ("partial", "Some actions are denied by policy")),
        ([ALLOW_ALL, rule("ask", "require_approval", "a")], ("partial", "Some actions are denied by policy")),
    ],
)
def test_the_decision(rules: list[Document], expected: tuple[str, str | None]) -> None:
    """`allow`: everything allowed; `deny`: nothing allowed, nothing held; `requires_approval`: nothing allowed, something
    held; `partial`: anything else, with its reason."""
    assert expected == decision(made("a", "b", rules=rules))


def test_without_any_action_nothing_is_allowed() -> None:
    """Where there is nothing to allow, the decision fails closed and says why."""
    assert ("deny", "No actions are available") == decision(made(rules=[ALLOW_ALL]))


def test_the_default_decision() -> None:
    """Nothing matched: deny, unless the runtime was told otherwise; the policy that decided has no id in a resolution."""
    assert {"a": ("Denied by policy", None)} == denials(made("a", rules=[]))
    assert ("allow", None) == decision(made("a", rules=[], default="allow"))


def test_a_held_action_is_denied_for_now() -> None:
    """It is among the denied ones, with its reason and its policy."""
    held = made("a", rules=[ALLOW_ALL, rule("ask", "require_approval", "*", reason="risky")])
    assert {"a": ("Requires approval", "ask")} == denials(held)
    assert [("ask", 0)] == [(policy.policy_id, index) for policy, index in held.pending]


# Which actions


CAPABLE = {
    "capabilities": [
        {"capability_id": "read", "name": "Read", "actions": ["a.get", "b.get"]},
        {"capability_id": "write", "name": "Write", "actions": ["b.put", "b.get"]},
        {"capability_id": "none", "name": "None"},
    ]
}


@pytest.mark.parametrize(
    ("required", "expected"),
    [
        ((), ["b.put", "a.get", "b.get", "other"]),
        (("read",), ["a.get", "b.get"]),
        (("write", "read"), ["b.put", "a.get", "b.get"]),
        (("none",), []),
    ],
)
def test_required_capabilities_narrow_the_actions(required: tuple[str, ...], expected: list[str]) -> None:
    """Only those that the capabilities name, in declaration order, each once."""
    policies = compiled(atlas("b.put", "a.get", "b.get", "other", rules=[ALLOW_ALL], **CAPABLE))
    narrowed = plan(policies, capabilities=required)
    assert expected == list(results(narrowed))
    for position, (_, action) in enumerate(policies.actions):
        index = narrowed.index_of(action.action_id)
        assert (None if action.action_id not in expected else expected.index(action.action_id)) == index, position
    assert narrowed.index_of("unknown") is None


def test_a_capability_that_nobody_defines_denies_everything() -> None:
    """The decision is `deny`, with a reason that names it; the limits of what it hides are of no interest."""
    rules = [ALLOW_ALL, rule("ask", "require_approval", "a.get"), rule("some", "rate_limit", "*", parameters=RATE)]
    policies = compiled(atlas("a.get", "b.get", "b.put", rules=rules, **CAPABLE))
    denied = plan(policies, capabilities=("read", "fly", "swim"))
    reason = "Capability 'fly' is not defined by any selected atlas"
    assert ("deny", reason) == decision(denied)
    assert {"a.get": (reason, None), "b.get": (reason, None)} == denials(denied)
    assert ("deny", reason) == decision(plan(policies, capabilities=("fly",)))
    assert [False, False] == [limit.announced for limit in denied.limits]


# Grants


def test_a_grant_is_for_one_policy_and_one_action() -> None:
    """The other action and the other policy still wait."""
    rules = [ALLOW_ALL, rule("one", "require_approval", "*"), rule("two", "require_approval", "b")]
    policies = compiled(atlas("a", "b", rules=rules))
    grants = frozenset({(ATLAS_ID, "one", "a"), (ATLAS_ID, "one", "b")})
    granted = plan(policies, grants=grants)
    assert {"a": "allow", "b": "requires_approval"} == results(granted)
    assert [("two", 1)] == [(policy.policy_id, index) for policy, index in granted.pending]
    assert {"a": "requires_approval"} | {"b": "requires_approval"} == results(plan(policies))
    other = frozenset({("com.example.other", "one", "a")})
    assert {"a": "requires_approval", "b": "requires_approval"} == results(plan(policies, grants=other))


# Limits


def limited(*rules: Document, actions: tuple[str, ...] = ("a", "b"), **options: Any) -> module.Plan:
    return made(*actions, rules=[ALLOW_ALL, *rules], **options)


def names(made_plan: module.Plan) -> list[tuple[str, list[str]]]:
    """Each limit with the actions that share a count of it."""
    return [
        (limit.policy.policy_id, [made_plan.actions[index][1].action_id for index in limit.actions])
        for limit in made_plan.limits
    ]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, [("l", ["a"]), ("l", ["b"])]),
        ("agent", [("l", ["a", "b"])]),
        ("session", [("l", ["a", "b"])]),
        ("global", [("l", ["a", "b"])]),
    ],
)
def test_one_limit_per_policy_and_key(key: str | None, expected: list[tuple[str, list[str]]]) -> None:
    """Per action by default; else the actions share one count."""
    parameters = RATE if key is None else {**RATE, "key": key}
    shared = limited(rule("l", "rate_limit", "*", parameters=parameters))
    assert expected == names(shared)


def test_an_exhausted_limit_denies_the_actions_it_covers() -> None:
    """`rate_limit_exceeded` and `budget_exceeded`, by their policies; the trace says `rate_limited`."""
    both = limited(rule("calls", "rate_limit", "a", parameters=RATE), rule("cost", "budget", "b", parameters=BUDGET))
    assert ("allow", None) == decision(both)
    assert {"a": ("rate_limit_exceeded", "calls")} == denials(both, (0,))
    assert {"b": ("budget_exceeded", "cost")} == denials(both, (1,))
    assert {"a": "allow", "b": "rate_limited"} == results(both, (1,))
    assert ("partial", "Some actions are denied by policy") == decision(both, (1,))
    assert ("deny", "All actions are denied by policy") == decision(both, (0, 1))
    assert Evaluation("cost", "rate_limited", "b") in both.ruling((1,)).evaluations


def test_of_several_exhausted_limits_the_first_in_order_decides() -> None:
    """Rate limits before budgets whatever their priorities; inside a class by priority."""
    several = limited(
        rule("cost", "budget", "*", parameters=BUDGET, priority=9),
        rule("low", "rate_limit", "*", parameters=RATE),
        rule("high", "rate_limit", "*", parameters=RATE, priority=1),
        actions=("a",),
    )
    assert ["high", "low", "cost"] == [policy_id for policy_id, _ in names(several)]
    for exhausted, expected in [((0, 1, 2), "high"), ((1, 2), "low"), ((2,), "cost")]:
        assert expected == denials(several, exhausted)["a"][1]


def test_a_limit_decides_before_the_default_but_after_all_else() -> None:
    """An exhausted limit is why an action that nothing allows is denied; a deny, a scope or a hold comes first."""
    limit = rule("l", "rate_limit", "*", parameters=RATE)
    assert {"a": ("rate_limit_exceeded", "l")} == denials(made("a", rules=[limit]), (0,))
    assert {"a": ("Denied by policy", None)} == denials(made("a", rules=[limit]))
    for other in (
        rule("first", "deny", "*"),
        rule("first", "scope", "*", parameters={"required_scopes": ["s"]}),
        rule("first", "require_approval", "*"),
    ):
        assert "first" == denials(limited(limit, other, actions=("a",)), (0,))["a"][1]


def test_a_limit_is_announced_where_it_concerns_an_action_that_may_be_executed() -> None:
    """Allowed, or after a grant; what is denied anyway has no limit to know of."""
    rules = [
        rule("no", "deny", "b"),
        rule("ask", "require_approval", "c"),
        rule("l", "rate_limit", "*", parameters=RATE),
    ]
    shown = limited(*rules, actions=("a", "b", "c"))
    assert [True, False, True] == [limit.announced for limit in shown.limits]
    shared = limited(*rules[:2], rule("l", "rate_limit", "*", parameters={**RATE, "key": "agent"}), actions=("a", "b"))
    assert [True] == [limit.announced for limit in shared.limits]


def test_rulings_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not remembered is computed again, to the same effect."""
    monkeypatch.setattr(module, "MAX_RULINGS", 2)
    several = limited(rule("l", "rate_limit", "*", parameters=RATE))
    assert several.ruling((0,)) is several.ruling((0,))
    assert several.ruling((1,)) is not several.ruling((1,))
    assert several.ruling((1,)) == several.ruling((1,))


# Parameter conditions


def conditional(policy_id: str, kind: str, *actions: str, **fields: Any) -> Document:
    return rule(policy_id, kind, *actions, conditions={"parameters": AMOUNT}, **fields)


def announced(made_plan: module.Plan) -> list[tuple[str, list[str]]]:
    return [
        (each.policy.policy_id, [made_plan.actions[index][1].action_id for index in each.actions])
        for each in made_plan.announcements
    ]


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("deny", {}),
        ("scope", {"required_scopes": ["s"]}),
        ("require_approval", {}),
        ("rate_limit", RATE),
        ("budget", BUDGET),
    ],
)
def test_a_restriction_on_parameters_does_not_decide_a_resolve(kind: str, parameters: dict[str, Any]) -> None:
    """It is announced for the actions it is about, and for no action that is denied anyway."""
    told = limited(conditional("cap", kind, parameters=parameters), rule("no", "deny", "b"))
    assert {"a": "allow", "b": "deny"} == results(told)
    assert () == told.limits
    assert [("cap", ["a"])] == announced(told)


def test_a_restriction_whose_other_conditions_fail_is_not_announced() -> None:
    """All conditions have to hold, those on parameters among them."""
    conditions = {"parameters": AMOUNT, "risk_tiers": ["high"]}
    policies = compiled(atlas("a", rules=[ALLOW_ALL, rule("cap", "deny", "*", conditions=conditions)]))
    assert [] == announced(plan(policies))
    assert [("cap", ["a"])] == announced(plan(policies, facts(risk_tier="high")))


def test_an_allow_on_parameters_counts_and_is_announced_where_nothing_else_allows() -> None:
    """At a resolve it counts as matching; where an unconditional allow covers the action it restricts nothing."""
    told = made("a", "b", "c", rules=[rule("plain", "allow", "b"), conditional("small", "allow", "a", "b")])
    assert {"a": "allow", "b": "allow", "c": "deny"} == results(told)
    assert [("small", ["a"])] == announced(told)


def test_announcements_concern_held_actions_too() -> None:
    """Once granted, the condition counts; announcements are in evaluation order."""
    told = limited(conditional("later", "budget", "*", parameters=BUDGET), conditional("first", "deny", "*"))
    assert [("first", ["a", "b"]), ("later", ["a", "b"])] == announced(told)
    held = limited(conditional("cap", "deny", "*"), rule("ask", "require_approval", "*"), actions=("a",))
    assert [("cap", ["a"])] == announced(held)


# Shadow mode

RESULTS = [
    ("deny", {}, "shadow:deny"),
    ("scope", {"required_scopes": ["s"]}, "shadow:deny"),
    ("require_approval", {}, "shadow:requires_approval"),
    ("rate_limit", RATE, "shadow:allow"),
    ("budget", BUDGET, "shadow:allow"),
    ("allow", {}, "shadow:allow"),
]


@pytest.mark.parametrize(("kind", "parameters", "result"), RESULTS)
@pytest.mark.parametrize("rules", [[], [ALLOW_ALL], [ALLOW_ALL, rule("no", "deny", "*")]])
def test_a_shadow_policy_changes_nothing_but_is_traced(
    kind: str, parameters: dict[str, Any], result: str, rules: list[Document]
) -> None:
    """Its result follows that of the action, as `shadow:<result>`."""
    shadow = rule("s", kind, "a", parameters=parameters, mode="shadow")
    with_it, without = made("a", "b", rules=[*rules, shadow]), made("a", "b", rules=rules)
    plain, shadowed = without.ruling(()), with_it.ruling(())
    assert (plain.decision, plain.reason, plain.allowed, plain.denied) == (
        shadowed.decision,
        shadowed.reason,
        shadowed.allowed,
        shadowed.denied,
    )
    first, second = plain.evaluations
    assert (first, Evaluation("s", result, "a"), second) == shadowed.evaluations
    assert with_it.announcements == without.announcements
    assert with_it.pending == without.pending
    assert not any(limit.announced for limit in with_it.limits)


@pytest.mark.parametrize("kind", ["rate_limit", "budget"])
def test_an_exhausted_shadow_limit_says_so_and_refuses_nothing(kind: str) -> None:
    """`shadow:rate_limited` for the actions it covers, and the decision as it was."""
    parameters = RATE if kind == "rate_limit" else BUDGET
    enforced = rule("e", kind, "a", parameters=parameters)
    both = limited(enforced, rule("s", kind, "*", parameters=parameters, mode="shadow"))
    assert ["e", "s", "s"] == [policy_id for policy_id, _ in names(both)]
    ruling = both.ruling((1,))
    assert "allow" == ruling.decision
    assert [
        Evaluation("all", "allow", "a"),
        Evaluation("s", "shadow:rate_limited", "a"),
        Evaluation("all", "allow", "b"),
        Evaluation("s", "shadow:allow", "b"),
    ] == list(ruling.evaluations)
    assert Evaluation("s", "shadow:allow", "a") in both.ruling((0,)).evaluations


def test_a_shadow_restriction_on_parameters_says_nothing_at_a_resolve() -> None:
    """It would not decide there if it were enforced."""
    assert [Evaluation("all", "allow", "a")] == list(
        limited(conditional("s", "deny", "*", mode="shadow"), actions=("a",)).ruling(()).evaluations
    )


# A session and its ancestors

PARENT, CHILD = facts(agent_id="parent"), facts(agent_id="child")


def lineage(
    *rules: Document, members: tuple[Facts, ...] = (CHILD, PARENT), actions: tuple[str, ...] = ("a",)
) -> module.Plan:
    return plan(compiled(atlas(*actions, rules=list(rules))), *members)


def of(agent: str) -> Document:
    return {"conditions": {"agents": [agent]}}


def test_a_child_is_allowed_what_both_are_allowed() -> None:
    """An allow for one of them alone is none."""
    assert {"a": "deny"} == results(lineage(rule("child", "allow", "*", **of("child"))))
    assert {"a": "deny"} == results(lineage(rule("parent", "allow", "*", **of("parent"))))
    assert {"a": "allow"} == results(lineage(rule("both", "allow", "*")))


def test_a_childs_policy_is_named_before_its_parents() -> None:
    """Of two denials the nearest is told."""
    rules = [ALLOW_ALL, rule("p", "deny", "*", priority=9, **of("parent")), rule("c", "deny", "*", **of("child"))]
    assert "c" == denials(lineage(*rules))["a"][1]
    assert "p" == denials(lineage(*rules[:2]))["a"][1]


def test_what_the_parent_is_denied_is_not_held_for_the_child() -> None:
    """A person would be asked in vain."""
    rules = [ALLOW_ALL, rule("ask", "require_approval", "*", **of("child")), rule("no", "deny", "*", **of("parent"))]
    denied = lineage(*rules)
    assert {"a": ("Denied by policy", "no")} == denials(denied)
    assert () == denied.pending
    assert "deny" == denied.ruling(()).decision


def test_an_exhausted_limit_of_the_parent_denies_the_child() -> None:
    """Each counts its own; both count."""
    limit = rule("l", "rate_limit", "*", parameters=RATE)
    both = lineage(ALLOW_ALL, limit)
    assert [0, 1] == [each.member for each in both.limits]
    for exhausted in ((0,), (1,), (0, 1)):
        assert {"a": ("rate_limit_exceeded", "l")} == denials(both, exhausted)


def test_a_limit_counts_for_the_member_whose_verdict_it_changes() -> None:
    """The parent is refused by the default: its own exhausted limit is why, the child's is not."""
    rules = [rule("child", "allow", "*", **of("child")), rule("l", "rate_limit", "*", parameters=RATE)]
    refused = lineage(*rules)
    assert {"a": ("Denied by policy", None)} == denials(refused, (0,))
    assert {"a": ("rate_limit_exceeded", "l")} == denials(refused, (1,))


def test_the_context_is_that_of_the_session() -> None:
    """What its ancestors would read is theirs."""
    block = {"context_id": "b", "name": "b", "content": "c", "conditions": {"agents": ["child"]}}
    policies = compiled(atlas("a", context_blocks=[block]))
    assert ((0,), ()) == plan(policies, CHILD, PARENT).context.select("goal", (), None)
    assert ((), ()) == plan(policies, PARENT, CHILD).context.select("goal", (), None)


def test_a_condition_on_parameters_is_announced_for_whomever_it_restricts() -> None:
    """The parent's unconditional allow does not cover the child, for whom the condition is the only way."""
    rules = [rule("free", "allow", "*", **of("parent")), conditional("small", "allow", "*")]
    assert [("small", ["a"])] == announced(lineage(*rules))
    assert [] == announced(lineage(rule("free", "allow", "*"), conditional("small", "allow", "*")))
