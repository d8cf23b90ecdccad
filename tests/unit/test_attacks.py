"""What an attacker found, each as a rule that holds now."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import cra
from cra.testing import VirtualClock


def manifest(atlas_id: str, *actions: Any, policies: Any = None) -> dict[str, Any]:
    """An atlas that allows everything it has, unless told otherwise."""
    return {
        "atlas_version": "1.0",
        "atlas_id": atlas_id,
        "version": "1.0.0",
        "name": "x",
        "description": "x",
        "actions": [{"name": "x", "description": "x", **action} for action in actions],
        "policies": [{"policy_id": "all", "type": "allow", "actions": ["*"]}] if policies is None else policies,
    }


@pytest.fixture
def resolver() -> Any:
    """A runtime with a clock of its own."""
    with cra.Resolver(clock=VirtualClock()) as made:
        yield made


def test_an_atlas_does_not_get_at_the_executor_of_another_ones_action(resolver: cra.Resolver) -> None:
    """`executor` names shared executors only: what is denied under its own action id stays denied. PROTOCOL: Across atlases."""
    denied = [{"policy_id": "no", "type": "deny", "actions": ["pay.*"]}]
    resolver.load_atlas(manifest("com.a", {"action_id": "pay.transfer"}, policies=denied), overlay=True)
    resolver.load_atlas(manifest("com.b", {"action_id": "note.read", "executor": "pay.transfer"}))
    resolver.register("pay.transfer", lambda **_: "paid")
    session = resolver.create_session("bot", "x")
    with pytest.raises(cra.ExecutionError, match="no executor is registered"):
        session.execute("note.read", {}, resolution=session.resolve("x"))


def test_what_was_only_validated_cannot_be_executed(resolver: cra.Resolver) -> None:
    """Nothing in the trace stands behind it. PROTOCOL: Requests."""
    resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}))
    resolver.register("a.b", dict)
    session = resolver.create_session("bot", "x")
    request = {
        "carp_version": "1.0",
        "request_id": "00000000-0000-0000-0000-000000000001",
        "timestamp": "2026-01-01T12:00:00Z",
        "operation": "validate",
        "requester": {"agent_id": "bot", "session_id": session.session_id},
        "task": {"goal": "x"},
    }
    validated = resolver.handle(request)
    assert isinstance(validated, cra.Resolution)
    for resolution in (validated, validated.resolution_id):
        with pytest.raises(cra.ResolutionExpired):
            session.execute("a.b", {}, resolution=resolution)


def test_the_context_that_was_decided_on_stays_what_it_was(resolver: cra.Resolver) -> None:
    """The caller's own dict is copied, deep, for requests and for sessions."""
    rule = {"policy_id": "no", "type": "deny", "conditions": {"context_matches": {"env": "prod"}}}
    allow = {"policy_id": "all", "type": "allow", "actions": ["*"]}
    resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}))
    resolver.register("a.b", dict)
    asked, hosted = {"env": "prod"}, {"env": "prod"}
    by_request, by_host = resolver.create_session("bot", "x"), resolver.create_session("bot", "x", context=hosted)
    resolutions = by_request.resolve("x", context=asked), by_host.resolve("x")
    resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}, policies=[rule, allow]), replace=True)
    asked["env"] = hosted["env"] = "staging"
    for session, resolution in zip((by_request, by_host), resolutions):
        with pytest.raises(cra.ActionDenied):
            session.execute("a.b", {}, resolution=resolution)


class SlowStart:
    """A memory store that lets a test in while the start of an execution is being stored."""

    def __init__(self) -> None:
        from cra.storage.memory import MemoryStorage

        self._inner = MemoryStorage()
        self.entered, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    name, durable, readable = "slow", False, True

    def append(self, batch: Any) -> None:
        if any(event.event_type == "action.approved" for event in batch):
            self.entered.set()
            assert self.go_on.wait(60)
        self._inner.append(batch)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_nothing_runs_for_an_agent_that_was_revoked_meanwhile(asynchronous: bool) -> None:
    """While the start is stored the session ends: the executor is not called, and the limit is given back."""
    store = SlowStart()
    calls: list[str] = []
    with cra.Resolver(storage=store, fail_closed=True, durability="stored") as resolver:  # type: ignore[arg-type]
        resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}))
        resolver.register("a.b", lambda: calls.append("ran"))
        session = resolver.create_session("bot", "x")
        resolution = session.resolve("x")
        errors: list[BaseException] = []

        def run() -> None:
            try:
                if asynchronous:
                    asyncio.run(session.aexecute("a.b", {}, resolution=resolution))
                else:
                    session.execute("a.b", {}, resolution=resolution)
            except cra.CRAError as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        assert store.entered.wait(60)
        assert 1 == resolver.revoke("bot")
        store.go_on.set()
        thread.join(60)
    assert [] == calls
    assert [cra.ExecutionError] == [type(error) for error in errors]


def test_an_atlas_whose_loading_cannot_be_recorded_is_not_loaded() -> None:
    """Room for the event comes first; the same for what is unloaded, and after `close`."""
    resolver = cra.Resolver()
    resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}))
    resolver.close()
    for change in (lambda: resolver.load_atlas(manifest("com.b")), lambda: resolver.unload_atlas("com.a")):
        with pytest.raises(cra.InternalError):
            change()
    assert ["com.a"] == [info.atlas_id for info in resolver.list_atlases()]


def test_a_request_to_execute_can_narrow_what_its_resolution_was_for(resolver: cra.Resolver) -> None:
    """Its risk tier counts when it is higher. PROTOCOL: The host says who and where."""
    rule = {"policy_id": "no", "type": "deny", "conditions": {"risk_tiers": ["critical"]}}
    allow = {"policy_id": "all", "type": "allow", "actions": ["*"]}
    resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}, policies=[rule, allow]))
    resolver.register("a.b", dict)
    session = resolver.create_session("bot", "x")
    request = {
        "carp_version": "1.0",
        "timestamp": "2026-01-01T12:00:00Z",
        "operation": "execute",
        "requester": {"agent_id": "bot", "session_id": session.session_id},
        "execution": {"resolution_id": session.resolve("x").resolution_id, "action_id": "a.b", "parameters": {}},
    }
    for number, (tier, atlas_ids) in enumerate([("critical", None), ("low", ["com.a"])]):
        task = {"goal": "x", "risk_tier": tier}
        filled = request | {"request_id": f"00000000-0000-0000-0000-00000000000{number}", "task": task}
        if atlas_ids:
            filled["atlas_ids"] = atlas_ids
        if tier == "critical":
            with pytest.raises(cra.ActionDenied):
                resolver.handle(filled)
        else:
            assert "success" == resolver.handle(filled).status  # type: ignore[union-attr]


@pytest.mark.parametrize("action_id", ["x" * 1001, "a\ud800", "", "a b", 5, ["a"]])
def test_what_is_no_action_id_is_refused_and_recorded_as_such(resolver: cra.Resolver, action_id: Any) -> None:
    """One `action.denied`, which does not repeat what was sent. PROTOCOL: Execute."""
    resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}))
    session = resolver.create_session("bot", "x")
    with pytest.raises(cra.ActionNotFound):
        session.execute(action_id, {}, resolution=session.resolve("x"))
    last = resolver.trace(session.session_id)[-1]
    assert ("action.denied", "(not an action id)") == (last.event_type, last.payload["action_id"])


@pytest.mark.parametrize("resolution", ["x" * 1000, "\ud800", ""])
def test_what_is_no_resolution_id_is_refused_and_recorded_as_such(resolver: cra.Resolver, resolution: str) -> None:
    """The same for the id of a resolution."""
    resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}))
    session = resolver.create_session("bot", "x")
    with pytest.raises(cra.ResolutionExpired):
        session.execute("a.b", {}, resolution=resolution)
    last = resolver.trace(session.session_id)[-2]
    assert ("action.requested", "(not a resolution id)") == (last.event_type, last.payload["resolution_id"])


@pytest.mark.parametrize("by", ["bot", " BOT ", "ｂｏｔ", "Bot\u3000"])
def test_an_agent_under_another_spelling_is_the_same_agent(resolver: cra.Resolver, by: str) -> None:
    """Case, width and white space make nobody else. PROTOCOL: Approvals."""
    hold = {"policy_id": "hold", "type": "require_approval"}
    allow = {"policy_id": "all", "type": "allow", "actions": ["*"]}
    resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}, policies=[hold, allow]))
    session = resolver.create_session("bot", "x")
    approval = session.request_approval(session.resolve("x").decision.approval_id or "")
    with pytest.raises(cra.ActionDenied):
        resolver.approve(approval.approval_id, by=by)
    with pytest.raises(cra.InvalidParameters):
        resolver.approve(approval.approval_id, by=None)  # type: ignore[arg-type]


def test_the_counter_of_an_agent_named_like_its_session_outlives_the_session(resolver: cra.Resolver) -> None:
    """Only counters that last a session are forgotten with it."""
    session_id = "00000000-0000-0000-0000-0000000000aa"
    limit = {
        "policy_id": "few",
        "type": "rate_limit",
        "parameters": {"max_calls": 1, "window_seconds": 60, "key": "agent"},
    }
    allow = {"policy_id": "all", "type": "allow", "actions": ["*"]}
    resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}, policies=[limit, allow]))
    resolver.register("a.b", dict)
    with resolver.create_session(session_id, "x", session_id=session_id) as session:
        session.execute("a.b", {}, resolution=session.resolve("x"))
    again = resolver.create_session(session_id, "x")
    with pytest.raises(cra.RateLimitExceeded):
        again.execute("a.b", {}, resolution=again.resolve("x"))


def test_too_many_rules_are_refused_before_they_cost_anything(resolver: cra.Resolver) -> None:
    """Policies times actions is what a plan costs, so the product is bounded."""
    allow = {"type": "allow", "actions": ["*"]}
    policies = [{"policy_id": f"p{n}", **allow} for n in range(1000)]
    resolver.load_atlas(manifest("com.a", *({"action_id": f"a.b{n}"} for n in range(501)), policies=policies))
    session = resolver.create_session("bot", "x")
    with pytest.raises(cra.PolicyEvaluationError, match="1000 policies times 501 actions"):
        session.resolve("x")


def test_the_result_is_the_one_that_was_hashed(resolver: cra.Resolver) -> None:
    """What the executor does to its own object afterwards is not in the outcome."""
    kept = {"a": [1]}
    resolver.load_atlas(manifest("com.a", {"action_id": "a.b"}))
    resolver.register("a.b", lambda: kept)
    session = resolver.create_session("bot", "x")
    outcome = session.execute("a.b", {}, resolution=session.resolve("x"))
    kept["a"].append(2)
    assert {"a": [1]} == outcome.result


@pytest.mark.parametrize(
    "facts", [{"scopes": [5]}, {"scopes": 5}, {"parent": 5}, {"session_id": 5}, {"atlas_ids": [None]}, {"context": 5}]
)
def test_bad_facts_of_a_session_are_one_clear_error(resolver: cra.Resolver, facts: dict[str, Any]) -> None:
    """No bare Python error reaches a host."""
    with pytest.raises(cra.InvalidCARPRequest, match=rf"^/{next(iter(facts))}"):
        resolver.create_session("bot", "x", **facts)
