"""Policies, capabilities and limits against the oracle, and every property that the protocol states of them.

PROTOCOL: Evaluation, Across atlases, Properties, Which actions, Decision, The host says who and where.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

import cra
from cra import schemas
from cra.carp.plan import Plan, Ruling
from cra.carp.policy_set import PolicySet
from cra.errors import ActionDenied, ActionRequiresApproval, RateLimitExceeded
from cra.testing import SeededIds, VirtualClock
from tests.property import oracle
from tests.property.oracle import TIERS, Covered, Document, Party
from tests.property.strategies import (
    ACTIONS,
    RESTRICTING,
    A,
    B,
    both,
    contexts,
    facts_of,
    load,
    moments,
    parties,
    policies,
    tiers,
)
from tests.support.decisions import runtime

RESOLUTION_SCHEMA = Draft202012Validator(schemas.load("carp-resolution"), validate_formats=True)
defaults = st.sampled_from(["deny", "allow"])


class Case(NamedTuple):
    """Two atlases, who asks, what is granted and which limits are exhausted."""

    atlases: tuple[Document, Document]
    party: Party
    default: Any
    grants: Covered
    exhausted: Covered

    def plan(self, *atlases: Document, lineage: Iterable[Party] = (), grants: Covered | None = None) -> Plan:
        """The plan for these atlases instead, or for a session with ancestors."""
        made = PolicySet(load(*(atlases or self.atlases)), self.default)
        members = tuple(made.outcomes(facts_of(each)) for each in (self.party, *lineage))
        return made.plan(members, self.party.required, self.grants if grants is None else grants)

    def ruling(self, *atlases: Document, exhausted: Covered | None = None, **options: Any) -> Ruling:
        plan = self.plan(*atlases, **options)
        return plan.ruling(spent(plan, self.exhausted if exhausted is None else exhausted))

    def answer(self, *atlases: Document, **options: Any) -> oracle.Answer:
        """What the plan says, in the words of the oracle."""
        plan = self.plan(*atlases)
        return answer(plan, plan.ruling(spent(plan, options.get("exhausted", self.exhausted))))


def spent(plan: Plan, exhausted: Covered) -> tuple[int, ...]:
    """The limits of a plan that are exhausted."""
    return tuple(
        number
        for number, limit in enumerate(plan.limits)
        if any(
            (limit.policy.atlas_id, limit.policy.policy_id, plan.actions[index][1].action_id) in exhausted
            for index in limit.actions
        )
    )


def answer(plan: Plan, ruling: Ruling) -> oracle.Answer:
    denied = {denial.action: denial for denial in ruling.denied}
    found = {}
    evaluations = [each for each in ruling.evaluations if not each.result.startswith("shadow:")]
    assert [action.action_id for _, action in plan.actions] == [each.action_id for each in evaluations]
    for index, each in enumerate(evaluations):
        denial = denied.get(index)
        policy_id = None if each.policy_id == "default" else each.policy_id
        assert (denial is None) is (index in ruling.allowed)
        assert denial is None or denial.policy_id == policy_id
        found[each.action_id] = each.result, policy_id, None if denial is None else denial.reason
    return oracle.Answer(ruling.decision, ruling.reason, found)


def allowed(plan: Plan, ruling: Ruling) -> set[str]:
    return {plan.actions[index][1].action_id for index in ruling.allowed}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    atlases = draw(both)
    ids = [name for names in ACTIONS.values() for name in names]
    rules = list(oracle.rules_of(atlases))
    approvals = [(*rule.key, name) for rule in rules if rule.kind == "require_approval" for name in ids]
    grants = draw(st.sets(st.sampled_from(approvals))) if approvals else set()
    exhausted: set[tuple[str, str, str]] = set()
    for rule in rules:
        if rule.kind in ("rate_limit", "budget"):
            alone = "key" not in rule.written.get("parameters", {})
            names = draw(st.sets(st.sampled_from(ids))) if alone else set(ids) if draw(st.booleans()) else set()
            exhausted |= {(*rule.key, name) for name in names}
    return Case(atlases, draw(parties), draw(defaults), frozenset(grants), frozenset(exhausted))


# The oracle


@settings(max_examples=300)
@given(cases())
def test_every_evaluation_is_what_the_protocol_says(case: Case) -> None:
    """Decision and reason; and of each action its result, its policy and its reason, in order."""
    expected = oracle.evaluate(
        case.atlases, case.party, default=case.default, grants=case.grants, exhausted=case.exhausted
    )
    event(f"decision {expected.decision}")
    for result, _, _ in expected.actions.values():
        event(f"result {result}")
    assert expected == case.answer()


@given(
    both,
    st.sampled_from(["bot", "other"]),
    st.tuples(tiers, st.none() | tiers),
    st.tuples(contexts, contexts),
    st.frozensets(st.sampled_from(["s", "t"])),
    st.tuples(
        *(st.none() | st.frozensets(st.sampled_from([A, B])) for _ in range(2)), st.sampled_from([None, None, A, B])
    ),
    st.lists(st.sampled_from(["read", "write"]), max_size=1).map(tuple),
    moments,
    defaults,
)
def test_a_resolve_is_what_the_protocol_says(
    atlases: tuple[Document, Document],
    agent_id: str,
    tier: tuple[Any, Any],
    context: tuple[Document, Document],
    scopes: frozenset[str],
    selection: tuple[frozenset[str] | None, frozenset[str] | None, str | None],
    required: tuple[str, ...],
    now: Any,
    default: Any,
) -> None:
    """From loading to the trace: what the host says and what the request says are merged, and overlays always count."""
    host, asked, overlay = selection
    with cra.Resolver(
        default_decision=default, clock=VirtualClock(now), ids=SeededIds(1), record_values=True
    ) as resolver:
        for document in atlases:
            resolver.load_atlas(document, overlay=document["atlas_id"] == overlay)
        session = resolver.create_session(
            agent_id, "work", context=context[0], scopes=scopes, risk_tier=tier[0], atlas_ids=host
        )
        resolution = session.resolve(
            "work",
            risk_tier=tier[1],
            context=context[1],
            required_capabilities=required,
            atlas_ids=None if asked is None else sorted(asked),
        )
        events = resolver.trace(session.session_id)
    selected = {A, B} if host is None else set(host)
    if asked is not None:
        selected &= asked
    party = Party(
        agent_id,
        max(tier[0], tier[1] or "low", key=TIERS.index),
        {**context[1], **context[0]},
        scopes,
        required,
        now,
    )
    chosen = [document for document in atlases if document["atlas_id"] in selected | {overlay}]
    expected = oracle.evaluate(chosen, party, default=default)

    assert (expected.decision, expected.reason) == (resolution.decision.type, resolution.decision.reason)
    assert [name for name, (result, _, _) in expected.actions.items() if result == "allow"] == [
        each.action_id for each in resolution.allowed_actions
    ]
    assert [
        (name, reason, policy_id) for name, (result, policy_id, reason) in expected.actions.items() if result != "allow"
    ] == [(each.action_id, each.reason, each.policy_id) for each in resolution.denied_actions]
    assert all((result == "allow") is resolution.is_allowed(name) for name, (result, _, _) in expected.actions.items())
    evaluated = [event.payload for event in events if event.event_type == "policy.evaluated"]
    assert [
        {"policy_id": policy_id or "default", "result": result, "action_id": name}
        for name, (result, policy_id, _) in expected.actions.items()
    ] == [payload for payload in evaluated if not payload["result"].startswith("shadow:")]
    RESOLUTION_SCHEMA.validate(resolution.to_dict())
    assert json.dumps(resolution.to_dict(), ensure_ascii=False, separators=(",", ":")) == resolution.to_json()
    assert cra.verify_chain(events).valid


# Properties


@given(cases(), policies("added", ["deny"]), st.sampled_from([0, 1]))
def test_deny_wins(case: Case, deny: Document, owner: int) -> None:
    """Whatever else matches, whatever its priority, in whichever atlas: an action that a deny matches is denied."""
    deny = {name: deny[name] for name in deny if name not in ("mode", "conditions")}
    ruled = case.answer(*with_rule(case.atlases, owner, deny))
    for name, (result, _, _) in ruled.actions.items():
        if any(oracle.glob(pattern, name) for pattern in deny.get("actions", ["*"])):
            assert "deny" == result


@given(cases())
def test_load_order_changes_nothing(case: Case) -> None:
    """Not the decision, not the order of actions, not what is announced, not the digest."""
    first, second = case.atlases
    plan, reversed_plan = case.plan(first, second), case.plan(second, first)
    assert plan.policy_set.digest == reversed_plan.policy_set.digest
    assert case.ruling(first, second) == case.ruling(second, first)
    assert (plan.limits, plan.announcements, plan.pending) == (
        reversed_plan.limits,
        reversed_plan.announcements,
        reversed_plan.pending,
    )


@given(cases(), policies("added", RESTRICTING), st.sampled_from([0, 1]), st.integers(0, 6), st.data())
def test_one_more_restricting_policy_never_allows_more(
    case: Case, added: Document, owner: int, place: int, data: st.DataObject
) -> None:
    """Of any kind, at any place, in any atlas, its limit exhausted or not."""
    more = with_rule(case.atlases, owner, added, place)
    key = (case.atlases[owner]["atlas_id"], "added")
    used_up = {(*key, name) for names in ACTIONS.values() for name in names} if data.draw(st.booleans()) else set()
    before, after = case.plan(), case.plan(*more)
    ruled = case.ruling(*more, exhausted=case.exhausted | frozenset(used_up))
    assert allowed(after, ruled) <= allowed(before, case.ruling())


@given(cases())
def test_one_more_selected_atlas_never_allows_more_of_what_was_there(case: Case) -> None:
    """It restricts, and opens nothing of another. (A capability that nobody defined before is another question then.)"""
    for document in case.atlases:
        defined = {each["capability_id"] for each in document["capabilities"]}
        if not set(case.party.required) <= defined:
            continue
        alone, together = case.plan(document), case.plan()
        assert allowed(together, case.ruling()) & set(alone.policy_set.position) <= allowed(
            alone, case.ruling(document)
        )


@given(cases(), st.data())
def test_a_copy_of_a_policy_under_another_id_changes_no_decision(case: Case, data: st.DataObject) -> None:
    """Wherever it stands, with the state of the original: what is granted for one is granted for the other."""
    rules = [(number, rule) for number, document in enumerate(case.atlases) for rule in document["policies"]]
    assume(rules)
    owner, original = data.draw(st.sampled_from(rules))
    atlas_id = case.atlases[owner]["atlas_id"]
    place = case.atlases[owner]["policies"].index(original)

    def doubled(covered: Covered) -> Covered:
        key = atlas_id, original["policy_id"]
        return covered | {(atlas_id, "copy", name) for *policy, name in covered if tuple(policy) == key}

    def copied_to(index: int) -> oracle.Answer:
        twice = case._replace(grants=doubled(case.grants), exhausted=doubled(case.exhausted))
        return twice.answer(*with_rule(case.atlases, owner, {**original, "policy_id": "copy"}, index))

    before, anywhere = case.answer(), copied_to(data.draw(st.integers(0, 5)))
    assert before == copied_to(place + 1)
    assert before[:2] == anywhere[:2]
    assert _results(before) == _results(anywhere)


def _results(answer: oracle.Answer) -> dict[str, str]:
    return {name: result for name, (result, _, _) in answer.actions.items()}


@given(cases(), st.lists(parties, min_size=1, max_size=2))
def test_a_child_is_allowed_exactly_what_it_and_its_ancestors_are(case: Case, ancestors: list[Party]) -> None:
    """Never more than its parent, whatever it is told; and no less than what all of them agree on."""
    ancestors = [each._replace(required=case.party.required, now=case.party.now) for each in ancestors]
    together = case.plan(lineage=ancestors)
    each_alone = []
    for member in (case.party, *ancestors):
        alone = case._replace(party=member)
        each_alone.append(allowed(alone.plan(), alone.ruling()))
    assert set.intersection(*each_alone) == allowed(together, case.ruling(lineage=ancestors))


selections = st.none() | st.frozensets(st.sampled_from([A, B]))
hosts = st.fixed_dictionaries(
    {"risk_tier": tiers, "scopes": st.none() | st.frozensets(st.sampled_from(["s", "t"])), "context": contexts},
    optional={"atlas_ids": selections},
)


@given(both, hosts, hosts, tiers, contexts, moments, defaults)
def test_a_child_session_is_never_allowed_more_than_its_parent(
    atlases: tuple[Document, Document],
    host: Document,
    child_host: Document,
    tier: Any,
    asked: Document,
    now: Any,
    default: Any,
) -> None:
    """Whatever its host says of it: of two sessions that ask the same, the child gets no more, and no scope or tier it lacks."""
    with runtime(*atlases, clock=VirtualClock(now), default_decision=default) as resolver:
        parent = resolver.create_session("bot", "work", **host)
        child = resolver.create_session("other", "work", parent=parent, **child_host)
        assert child.scopes <= parent.scopes
        assert TIERS.index(child.risk_tier) >= TIERS.index(parent.risk_tier)
        assert parent.atlas_ids is None or (child.atlas_ids is not None and child.atlas_ids <= parent.atlas_ids)
        assert parent.context == {name: child.context[name] for name in parent.context}
        # What the child's host has added and narrowed, the parent could have asked for.
        narrowed = None if child.atlas_ids is None else sorted(child.atlas_ids)
        context = {**asked, **child.context}
        most = parent.resolve("work", risk_tier=tier, context=context, atlas_ids=narrowed)
        got = child.resolve("work", risk_tier=tier, context=asked)
    names = {each.action_id for each in most.allowed_actions}
    assert {each.action_id for each in got.allowed_actions} <= names


@given(cases())
def test_shadow_mode_changes_nothing(case: Case) -> None:
    """With shadow policies or without them: the same ruling, but for the evaluations that begin with `shadow:`."""
    bare = [
        {**document, "policies": [each for each in document["policies"] if each.get("mode") != "shadow"]}
        for document in case.atlases
    ]
    with_them, without = case.plan(), case.plan(*bare)
    ruling, plain = case.ruling(), case.ruling(*bare)
    shadows = [each for each in ruling.evaluations if each.result.startswith("shadow:")]
    assert plain.evaluations == tuple(each for each in ruling.evaluations if each not in shadows)
    assert (plain.decision, plain.reason, plain.allowed, plain.denied) == (
        ruling.decision,
        ruling.reason,
        ruling.allowed,
        ruling.denied,
    )
    assert _announced(without) == _announced(with_them)


def _announced(plan: Plan) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(each.policy.atlas_id, each.policy.policy_id, each.actions) for each in plan.limits if each.announced]


@given(cases())
def test_a_shadow_policy_says_what_it_would_do(case: Case) -> None:
    """One evaluation for every action that it matches, parameters aside, and the result that it alone would give."""
    enforced = [[{**rule, "mode": "enforce"} for rule in document["policies"]] for document in case.atlases]
    for number, written in enumerate(enforced[0]):
        case.atlases[0]["policies"] = [*enforced[0][:number], {**written, "mode": "shadow"}, *enforced[0][number + 1 :]]
        case.atlases[1]["policies"] = enforced[1]
        ruling = case.ruling()
        told = {each.action_id: each.result for each in ruling.evaluations if each.result.startswith("shadow:")}
        rule = oracle.Rule(A, number, written)
        assert told == {
            action.action_id: would_do(rule, action.action_id, case)
            for atlas, action in case.plan().actions
            if oracle.applies(rule, atlas.atlas_id, action.action_id, case.party)
            and not (rule.on_parameters and rule.kind != "allow")
        }


def would_do(rule: oracle.Rule, action_id: str, case: Case) -> str:
    if rule.kind in ("rate_limit", "budget"):
        return "shadow:rate_limited" if (*rule.key, action_id) in case.exhausted else "shadow:allow"
    return {"require_approval": "shadow:requires_approval", "allow": "shadow:allow"}.get(rule.kind, "shadow:deny")


def with_rule(
    atlases: tuple[Document, Document], owner: int, rule: Document, place: int | None = None
) -> tuple[Document, ...]:
    """The atlases with one policy more in one of them."""
    changed = copy.deepcopy(atlases)
    written = changed[owner]["policies"]
    written.insert(len(written) if place is None else min(place, len(written)), rule)
    return changed


# What explains and what executes agree with what decides

CALLS = st.sampled_from([{}, {"amount": 100}, {"amount": 100.5}, {"amount": "much"}])


@given(both, parties, defaults, st.lists(st.tuples(st.integers(0, 5), CALLS), max_size=4))
def test_resolve_explain_and_execute_agree(
    atlases: tuple[Document, Document], party: Party, default: Any, calls: list[tuple[int, Document]]
) -> None:
    """Before and after a few calls: the same result for every action; with parameters, what `execute` does."""
    clock = VirtualClock(facts_of(party).now_ns)
    with cra.Resolver(default_decision=default, clock=clock, ids=SeededIds(1), tracing="immediate") as resolver:
        for document in atlases:
            resolver.load_atlas(document)
            for each in document["actions"]:
                resolver.register(each["action_id"], lambda **_: None)
        session = resolver.create_session(
            party.agent_id, "work", context=party.context, scopes=party.scopes, risk_tier=party.risk_tier
        )
        names = [each["action_id"] for document in atlases for each in document["actions"]]
        for turn, parameters in [*calls, (0, {})]:
            resolution = session.resolve("work", required_capabilities=party.required)
            shown = {each.action_id: (each.reason, each.policy_id) for each in resolution.denied_actions}
            for name in names:
                explained = session.explain(name, required_capabilities=party.required)
                assert (explained.result == "allow") is resolution.is_allowed(name)
                if name in shown:
                    policy_id = None if explained.policy_id == "default" else explained.policy_id
                    assert shown[name] == (explained.reason, policy_id)
            if names:
                name = names[turn % len(names)]
                explained = session.explain(name, parameters, required_capabilities=party.required)
                expected = explained.result if resolution.refusal(name) is None else "deny"
                assert expected == outcome(session, name, parameters, resolution)


def outcome(session: cra.Session, name: str, parameters: Document, resolution: cra.Resolution) -> str:
    """What comes of a call, in the words of an explanation."""
    try:
        session.execute(name, parameters, resolution=resolution)
    except ActionDenied:
        return "deny"
    except ActionRequiresApproval:
        return "requires_approval"
    except RateLimitExceeded:
        return "rate_limited"
    return "allow"
