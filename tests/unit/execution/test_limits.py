"""Which counters a limit uses, and what a call costs them. PROTOCOL: Limits, Policy parameters."""

from __future__ import annotations

import gc
from fractions import Fraction
from typing import Any

import pytest

import cra
from cra.execution.limits import charges, limit_key, limit_state, limit_states, limit_watches


def limit(policy_id: str = "cap", kind: str = "rate_limit", **parameters: Any) -> dict[str, Any]:
    defaults = {"rate_limit": {"max_calls": 2, "window_seconds": 60}, "budget": {"max_cost": 5, "cost": 1}}[kind]
    return {"policy_id": policy_id, "type": kind, "parameters": {**defaults, **parameters}}


def policies(session: cra.Session) -> dict[str, Any]:
    found = session.runtime.policy_set(None).policies
    return {policy.policy_id: policy for policy in found if policy.limit is not None}


class TestKeys:
    """Per policy × action × agent, unless `key` says otherwise."""

    @pytest.mark.parametrize(
        ("key", "shared"),
        [
            (None, {"same agent"}),
            ("session", {"another action"}),
            ("agent", {"another action", "same agent"}),
            ("global", {"another action", "same agent", "another agent"}),
        ],
    )
    def test_who_shares_a_counter(self, key: Any, shared: set[str], make_world: Any, atlas: Any) -> None:
        """`session` is one session's, all actions together; `agent` all of the agent's sessions; `global` everybody's."""
        rule = limit(**({} if key is None else {"key": key}))
        world = make_world(atlas("a.b", "a.c", rules=[rule]))
        session = world.open("bot")
        policy = policies(session)["cap"]
        own = limit_key(policy, session, "a.b")
        others = {
            "another action": limit_key(policy, session, "a.c"),
            "same agent": limit_key(policy, world.open("bot"), "a.b"),
            "another agent": limit_key(policy, world.open("other"), "a.b"),
        }
        assert shared == {name for name, other in others.items() if own == other}

    @pytest.mark.parametrize(
        ("key", "lives"), [(None, "session"), ("session", "session"), ("agent", "runtime"), ("global", "runtime")]
    )
    def test_budget_without_a_window_lives_as_long_as_its_key(
        self, key: Any, lives: str, make_world: Any, atlas: Any
    ) -> None:
        """The session's life by default; a key beyond the session makes it the runtime's."""
        rule = limit(kind="budget", **({} if key is None else {"key": key}))
        world = make_world(atlas("a.b", rules=[rule]))
        world.resolver.register("a.b", dict)
        first = world.open()
        for _ in range(5):
            first.execute("a.b", resolution=first.resolve("x"))
        assert not first.resolve("x").is_allowed("a.b")
        world.clock.advance(3000)
        assert not first.resolve("x").is_allowed("a.b")
        first.end()
        assert (0 if lives == "session" else 1) == len(first.runtime.limits)
        assert (lives == "session") == world.open().resolve("x").is_allowed("a.b")

    def test_a_budget_without_a_window_is_each_sessions_own(self, make_world: Any, atlas: Any) -> None:
        """Side by side, too: what one session of an agent has used up, another one has."""
        world = make_world(atlas("a.b", rules=[limit(kind="budget")]))
        world.resolver.register("a.b", dict)
        first, second = world.open("bot"), world.open("bot")
        for _ in range(5):
            first.execute("a.b", resolution=first.resolve("x"))
        assert (False, True) == (first.resolve("x").is_allowed("a.b"), second.resolve("x").is_allowed("a.b"))

    def test_policies_of_two_atlases_are_two(self, make_world: Any, atlas: Any) -> None:
        """A policy is identified by atlas and id."""
        other = {**atlas(atlas_id="com.example.two"), "policies": [limit(max_calls=1)]}
        world = make_world(atlas("a.b", rules=[limit()]), other)
        session = world.open()
        assert 2 == len(
            {limit_key(policy, session, "a.b") for policy in session.runtime.policy_set(None).policies if policy.limit}
        )


class TestCharges:
    """What a call costs."""

    def test_each_counter_is_charged_once(self, make_world: Any, atlas: Any) -> None:
        """A policy that holds for parent and child with one counter counts the call once; with two, twice."""
        rules = [limit("wide", key="global"), limit("narrow", kind="budget", cost=0.5)]
        world = make_world(atlas("a.b", rules=rules))
        child = world.open("helper", parent=world.open("boss"))
        found = policies(child)
        both = [(member, found[name]) for member in (0, 1) for name in ("wide", "narrow")]
        made = list(charges(child, both, "a.b", {}))
        assert [Fraction(1), Fraction(1, 2), Fraction(1, 2)] == [charge.cost for charge in made]
        assert 3 == len({charge.key for charge in made})
        assert all(charge.enforced for charge in made)

    def test_shadow_charge_is_not_enforced(self, make_world: Any, atlas: Any) -> None:
        """And one without a cost is passed over; those after it count."""
        rules = [limit(), limit("purse", "budget"), limit("late")]
        rules = [rule | {"mode": "shadow"} for rule in rules]
        rules[1]["parameters"] = {"max_cost": 5, "cost_field": "amount"}
        session = make_world(atlas("a.b", rules=rules)).open()
        found = policies(session)
        made = list(charges(session, [(0, found[name]) for name in ("cap", "purse", "late")], "a.b", {}))
        assert [("cap", False), ("late", False)] == [(charge.key[1], charge.enforced) for charge in made]

    def test_cost_that_is_none_is_refused(self, make_world: Any, atlas: Any) -> None:
        """An enforced budget that does not learn its cost stops the call."""
        rule = limit("purse", "budget")
        rule["parameters"] = {"max_cost": 5, "cost_field": "amount"}
        session = make_world(atlas("a.b", rules=[rule])).open()
        with pytest.raises(cra.InvalidParameters):
            list(charges(session, [(0, policies(session)["purse"])], "a.b", {}))


class TestStates:
    """What a resolve shows."""

    def test_states_are_those_of_the_plan_s_limits(self, make_world: Any, atlas: Any) -> None:
        """In its order, as of the moment that is given."""
        world = make_world(atlas("a.b", "a.c", rules=[limit(), limit("purse", "budget", key="agent")]))
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        session.execute("a.b", resolution=resolution)
        plan = session.plan(resolution.ask, world.clock.now_ns())
        states = limit_states(session, plan, world.clock.monotonic_ns())
        remaining = {
            (bound.policy.policy_id, plan.actions[bound.actions[0]][1].action_id): state.remaining
            for bound, state in zip(plan.limits, states)
        }
        assert {("cap", "a.b"): 1, ("cap", "a.c"): 2, ("purse", "a.b"): 4} == remaining

    def test_budget_with_a_fixed_cost_is_exhausted_when_the_next_call_does_not_fit(
        self, make_world: Any, atlas: Any
    ) -> None:
        """Something may be left, as long as it is less than a call costs; a resolve, and whoever explains it, say the same."""
        world = make_world(atlas("a.b", rules=[limit("purse", "budget", max_cost=5, cost=2)]))
        world.resolver.register("a.b", dict)
        session = world.open()
        policy = policies(session)["purse"]
        for exhausted in (False, True):
            session.execute("a.b", resolution=session.resolve("x"))
            assert exhausted == limit_state(session, policy, 0, "a.b", world.clock.monotonic_ns()).exhausted
            assert exhausted == (not session.resolve("x").is_allowed("a.b"))
            assert exhausted == (session.explain("a.b").result == "rate_limited")

    def test_budget_without_known_cost_is_exhausted_when_nothing_is_left(self, make_world: Any, atlas: Any) -> None:
        """A resolve does not know what the next call costs; an execute does."""
        rule = limit("purse", "budget")
        rule["parameters"] = {"max_cost": 5, "cost_field": "amount"}
        world = make_world(atlas("a.b", rules=[rule]))
        world.resolver.register("a.b", lambda amount: amount)
        session = world.open()
        policy = policies(session)["purse"]
        for spent, exhausted in ((4.5, False), (0.5, True)):
            session.execute("a.b", {"amount": spent}, resolution=session.resolve("x"))
            assert exhausted == limit_state(session, policy, 0, "a.b", world.clock.monotonic_ns()).exhausted

    def test_remaining_and_reset_are_announced(self, make_world: Any, atlas: Any) -> None:
        """As of the call: calls left, and the seconds until the oldest leaves; three times 0.1 is 0.3."""
        world = make_world(atlas("a.b", rules=[limit(), limit("purse", "budget", max_cost=0.3, cost=0.1)]))
        world.resolver.register("a.b", dict)
        session = world.open()
        session.execute("a.b", resolution=session.resolve("x"))
        world.clock.advance(15)
        by_id = {each.constraint_id: each.parameters for each in session.resolve("x").constraints}
        assert (1, 45) == (by_id["cap:a.b"]["remaining"], by_id["cap:a.b"]["reset_after"])
        assert 0.2 == by_id["purse:a.b"]["remaining"]
        world.clock.advance(60)
        for _ in range(2):
            session.execute("a.b", resolution=session.resolve("x"))
        with pytest.raises(cra.RateLimitExceeded):
            session.execute("a.b", resolution=session.resolve("x"))
        world.clock.advance(60)
        with pytest.raises(cra.BudgetExceeded):
            session.execute("a.b", resolution=session.resolve("x"))

    def test_window_slides(self, make_world: Any, atlas: Any) -> None:
        """A call admitted at t counts while now < t + 60 s, to the nanosecond."""
        world = make_world(atlas("a.b", rules=[limit()]))
        world.resolver.register("a.b", dict)
        session = world.open()
        for pause in (0, 30):
            world.clock.advance(pause)
            session.execute("a.b", resolution=session.resolve("x"))
        world.clock.advance(29.999999999)
        with pytest.raises(cra.RateLimitExceeded) as caught:
            session.execute("a.b", resolution=session.resolve("x"))
        assert 1e-9 == caught.value.retry_after
        world.clock.advance(0.000000001)
        session.execute("a.b", resolution=session.resolve("x"))
        with pytest.raises(cra.RateLimitExceeded) as caught:
            session.execute("a.b", resolution=session.resolve("x"))
        assert 30 == caught.value.retry_after

    def test_action_s_own_rate_limit_is_a_policy(self, make_world: Any, atlas: Any) -> None:
        """With the id `action:<action_id>`, per agent."""
        world = make_world(atlas({"action_id": "a.b", "rate_limit": {"max_calls": 1, "window_seconds": 5}}))
        world.resolver.register("a.b", dict)
        session = world.open()
        session.execute("a.b", resolution=session.resolve("x"))
        with pytest.raises(cra.RateLimitExceeded) as caught:
            session.execute("a.b", resolution=session.resolve("x"))
        assert "action:a.b" == caught.value.policy_id

    def test_keys_are_made_once_for_a_session_and_a_plan(self, make_world: Any, atlas: Any) -> None:
        """And belong to that session alone; they go with it."""
        world = make_world(atlas("a.b", "a.c", rules=[limit(), limit("purse", "budget", key="session")]))
        session, other = world.open(), world.open()
        plan = session.plan(session.resolve("x").ask, world.clock.now_ns())
        watches = limit_watches(session, plan)
        assert watches is limit_watches(session, plan)
        assert [limit_key(p.policy, session, plan.actions[p.actions[0]][1].action_id) for p in plan.limits] == [
            key for key, _, _ in watches.limits
        ]
        assert watches.limits != limit_watches(other, plan).limits
        other.end()
        del other
        gc.collect()
        assert [session] == list(plan.watches)
