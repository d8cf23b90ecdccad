"""Execution step by step: what is checked is what runs, everything is reserved or nothing, and it is told once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.execution.call import MAX_KEY
from cra.reference.chain import hash_value
from cra.reference.ring_room import CLOSING_BYTES
from cra.storage.memory import MemoryStorage
from cra.trace.event import Event
from tests.support.rings import full_ring

SECONDS = 60.0
HOLD = {"policy_id": "hold", "type": "require_approval"}
BOUND = {**HOLD, "policy_id": "bound", "conditions": {"parameters": {"required": ["id"]}}}
CAP = {"policy_id": "cap", "type": "rate_limit", "parameters": {"max_calls": 1, "window_seconds": 60}}
REFUSE = {**BOUND, "policy_id": "no", "type": "deny"}
PURSE = {"policy_id": "purse", "type": "budget", "parameters": {"max_cost": 10, "cost_field": "amount", "key": "agent"}}


def eventually(condition: Callable[[], object]) -> bool:
    """Whether `condition` comes to hold within a few seconds."""
    waiting = threading.Event()
    for _ in range(2000):
        if condition():
            return True
        waiting.wait(0.005)
    return False


class Gate:
    """An executor that waits until it is let through."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.open = threading.Event()
        self.calls = 0

    def __call__(self, **parameters: Any) -> dict[str, Any]:
        self.calls += 1
        self.started.release()
        assert self.open.wait(SECONDS)
        return {"calls": self.calls}

    def wait_until_started(self) -> None:
        assert self.started.acquire(timeout=SECONDS)


class Background:
    """A call in a thread of its own; `result` waits for it and returns or raises what it did."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        self._outcome: list[Any] = []
        self._thread = threading.Thread(target=self._run, args=(function, arguments, options), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., Any], arguments: Any, options: Any) -> None:
        try:
            self._outcome.append(function(*arguments, **options))
        except BaseException as error:
            self._outcome.append(error)

    @property
    def done(self) -> bool:
        return bool(self._outcome)

    def result(self) -> Any:
        self._thread.join(SECONDS)
        (outcome,) = self._outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class TestWhatRuns:
    """PROTOCOL: Execute; "from here on a private deep copy"."""

    def test_outcome_and_events_name_each_other(self, make_world: Any, atlas: Any, run: Any) -> None:
        """One execution id, the resolution's id, the hashes of parameters and result; one span for both records."""
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", lambda n: {"n": n})
        session = world.open()
        resolution = session.resolve("x")
        outcome = run(session, "a.b", {"n": 1}, resolution=resolution)
        requested, approved, executed = world.trace(session, of="action")
        names = {"action_id": "a.b", "resolution_id": resolution.resolution_id}
        assert ("success", {"n": 1}, "a.b", False) == (
            outcome.status,
            outcome.result,
            outcome.action_id,
            outcome.replayed,
        )
        assert names | {"parameters_hash": hash_value({"n": 1})} == requested.payload
        assert names == approved.payload
        expected = names | {
            "execution_id": outcome.execution_id,
            "duration_ms": outcome.duration_ms,
            "result_hash": hash_value({"n": 1}),
        }
        assert expected == executed.payload
        assert {requested.span_id} == {approved.span_id, executed.span_id}
        assert outcome.resolution_id == resolution.resolution_id

    def test_what_the_caller_does_to_its_parameters_changes_nothing(
        self, make_world: Any, atlas: Any, run: Any
    ) -> None:
        """Neither what runs nor what is hashed: the copy is made before anything is decided."""
        rule = {
            "policy_id": "no",
            "type": "deny",
            "conditions": {"parameters": {"properties": {"to": {"const": "mallory"}}, "required": ["to"]}},
        }
        world = make_world(atlas("a.b", rules=[rule]))
        seen: list[Any] = []
        given = {"to": "alice", "more": {"x": [1]}}

        def executor(**parameters: Any) -> None:
            seen.append({**parameters, "more": {"x": list(parameters["more"]["x"])}})
            given["to"] = "mallory"
            given["more"]["x"].append(2)  # type: ignore[index]
            seen.append(parameters)

        world.resolver.register("a.b", executor)
        session = world.open()
        run(session, "a.b", given, resolution=session.resolve("x"))
        assert [{"to": "alice", "more": {"x": [1]}}] * 2 == seen

    def test_parameters_that_change_while_they_are_read_are_read_once(
        self, make_world: Any, atlas: Any, run: Any
    ) -> None:
        """A mapping that answers differently the second time is asked no second time."""

        class Shifty(Mapping[str, Any]):
            reads = 0

            def __getitem__(self, key: str) -> Any:
                self.reads += 1
                return self.reads

            def __iter__(self) -> Iterator[str]:
                return iter(["n"])

            def __len__(self) -> int:
                return 1

        schema = {"properties": {"n": {"const": 1}}, "required": ["n"]}
        world = make_world(atlas({"action_id": "a.b", "parameters_schema": schema}))
        world.resolver.register("a.b", lambda n: n)
        session = world.open()
        assert 1 == run(session, "a.b", Shifty(), resolution=session.resolve("x")).result

    def test_executor_cannot_change_what_is_recorded(self, make_world: Any, atlas: Any, run: Any) -> None:
        """Its own parameters are its own: hash and idempotency key are those of what was given."""
        world = make_world(atlas("a.b"))

        def executor(**parameters: Any) -> None:
            parameters["list"].append(1)

        world.resolver.register("a.b", executor)
        session = world.open()
        for _ in range(2):
            run(session, "a.b", {"list": []}, resolution=session.resolve("x"), idempotency_key="k")
        digests = {payload["parameters_hash"] for payload in world.payloads(session, "action.requested")}
        assert {hash_value({"list": []})} == digests

    def test_executor_s_own_name_is_an_executor_for_many_actions(self, make_world: Any, atlas: Any, run: Any) -> None:
        """The one registered for the action goes first, then the one for its `executor`."""
        actions = [{"action_id": each, "executor": "http"} for each in ("a.b", "a.c")]
        world = make_world(atlas(*actions))
        world.resolver.register("http", lambda: "http", shared=True)
        world.resolver.register("a.c", lambda: "own")
        session = world.open()
        resolution = session.resolve("x")
        assert ["http", "own"] == [run(session, each, resolution=resolution).result for each in ("a.b", "a.c")]

    @pytest.mark.parametrize("resolution", [None, 5, {}])
    def test_resolution_is_one_or_its_id(self, resolution: Any, make_world: Any, atlas: Any, run: Any) -> None:
        """Anything else is a mistake of the program."""
        session = make_world(atlas("a.b")).open()
        with pytest.raises(TypeError, match="resolution"):
            run(session, "a.b", resolution=resolution)

    def test_result_that_changes_afterwards_is_replayed_as_it_was(self, make_world: Any, atlas: Any, run: Any) -> None:
        """What the caller does to the result, or the executor later, is not what the key stands for."""
        kept: list[Any] = []
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", lambda: kept)
        session = world.open()
        options = {"resolution": session.resolve("x"), "idempotency_key": "k"}
        first = run(session, "a.b", **options)
        first.result.append("changed")
        second = run(session, "a.b", **options)
        assert ([], True, first.execution_id) == (second.result, second.replayed, second.execution_id)
        second.result.append("changed, too")
        assert [] == run(session, "a.b", **options).result

    @pytest.mark.parametrize("value", [{1: 2}, b"x", float("nan"), 2**64, "\ud800", [[{1}]]], ids=repr)
    def test_result_without_a_hash_is_an_unknown_effect(
        self, value: Any, make_world: Any, atlas: Any, run: Any
    ) -> None:
        """The action has run; what it did is not known."""
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", lambda: value)
        session = world.open()
        with pytest.raises(cra.ExecutionError, match="no JSON value") as caught:
            run(session, "a.b", resolution=session.resolve("x"))
        payload = world.payloads(session, "action.failed")[0]
        assert ("unknown", "unknown", caught.value.execution_id) == (
            caught.value.effect,
            payload["effect"],
            payload["execution_id"],
        )

    def test_exception_that_cannot_be_shown_still_ends_the_execution(
        self, make_world: Any, atlas: Any, run: Any
    ) -> None:
        """The type of the exception is told, whatever its `__str__` does."""

        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no words")

        def executor() -> None:
            raise Mute

        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", executor)
        session = world.open()
        with pytest.raises(cra.ExecutionError, match=r"raised Mute$"):
            run(session, "a.b", resolution=session.resolve("x"))
        assert ["EXECUTION_ERROR"] == [payload["error_code"] for payload in world.payloads(session, "action.failed")]
        assert {} == session.open_calls


class TestAgain:
    """PROTOCOL: Execute re-evaluates what resolve said."""

    def test_policy_that_came_since_counts(self, make_world: Any, atlas: Any, run: Any) -> None:
        """A resolution is no pass: the atlas is asked again, as it is now."""
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        world.resolver.load_atlas(atlas("a.b", rules=[{"policy_id": "no", "type": "deny"}]), replace=True)
        with pytest.raises(cra.ActionDenied) as caught:
            run(session, "a.b", resolution=resolution)
        assert "no" == caught.value.policy_id
        assert {"action_id": "a.b", "reason": "Denied by policy", "policy_id": "no"} == (
            world.payloads(session, "action.denied")[0]
        )

    def test_atlas_that_went_since_counts(self, make_world: Any, atlas: Any, run: Any) -> None:
        """An unloaded atlas allows nothing: the action is unknown, or the session's atlas is."""
        world = make_world(atlas("a.b"))
        open_session, bound = world.open(), world.open(atlas_ids=["com.example.shop"])
        resolutions = [session.resolve("x") for session in (open_session, bound)]
        world.resolver.unload_atlas("com.example.shop")
        with pytest.raises(cra.ActionNotFound):
            run(open_session, "a.b", resolution=resolutions[0])
        with pytest.raises(cra.AtlasNotFound):
            run(bound, "a.b", resolution=resolutions[1])
        for session in (open_session, bound):
            assert ["action.requested", "action.denied"] == world.types(session, of="action")

    def test_action_denied_for_a_limit_is_decided_again(self, make_world: Any, atlas: Any, run: Any) -> None:
        """The resolution was refused for the limit alone: once it has room the action runs, and until then it says when."""
        world = make_world(atlas("a.b", rules=[CAP]))
        world.resolver.register("a.b", dict)
        session = world.open()
        run(session, "a.b", resolution=session.resolve("x"))
        world.clock.advance(20)
        limited = session.resolve("x")
        assert not limited.is_allowed("a.b")
        with pytest.raises(cra.RateLimitExceeded) as caught:
            run(session, "a.b", resolution=limited)
        assert (40.0, "cap") == (caught.value.retry_after, caught.value.policy_id)
        world.clock.advance(40)
        assert "success" == run(session, "a.b", resolution=limited).status

    def test_exhausted_limit_decides_before_the_default(self, make_world: Any, atlas: Any, run: Any) -> None:
        """PROTOCOL: Evaluation: 4 and 5 come before 7."""
        allow = {"policy_id": "may", "type": "allow", "actions": ["*"], "conditions": {"risk_tiers": ["low"]}}
        world = make_world({**atlas("a.b"), "policies": [allow, CAP]})
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        denying = {**atlas("a.b"), "policies": [CAP]}
        world.resolver.load_atlas(denying, replace=True)
        with pytest.raises(cra.ActionDenied):
            run(session, "a.b", resolution=resolution)
        world.resolver.load_atlas({**atlas("a.b"), "policies": [allow, CAP]}, replace=True)
        run(session, "a.b", resolution=resolution)
        world.resolver.load_atlas(denying, replace=True)
        with pytest.raises(cra.RateLimitExceeded):
            run(session, "a.b", resolution=resolution)

    def test_undefined_capability_denies_at_execute_too(self, make_world: Any, atlas: Any, run: Any) -> None:
        """What was no part of the resolution is not executed by it."""
        capabilities = [{"capability_id": "some", "name": "Some", "actions": ["a.c"]}]
        world = make_world(atlas("a.b", "a.c", capabilities=capabilities))
        session = world.open()
        for required in (["some"], ["none"]):
            with pytest.raises(cra.ActionDenied):
                run(session, "a.b", resolution=session.resolve("x", required_capabilities=required))


class TestApprovals:
    """PROTOCOL: Approvals, at the execute."""

    def test_every_held_call_ends_in_approval_requested(self, make_world: Any, atlas: Any, run: Any) -> None:
        """The approval is one, and pending once; the events are as many as the calls."""
        world = make_world(atlas("a.b", rules=[HOLD]))
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        ids = set()
        for _ in range(3):
            with pytest.raises(cra.ActionRequiresApproval) as caught:
                run(session, "a.b", resolution=resolution)
            ids.add(caught.value.approval_id)
        assert {resolution.decision.approval_id} == ids
        assert 1 == len(world.resolver.pending_approvals())
        assert ["action.requested", "approval.requested"] * 3 == world.types(session)[-6:]

    def test_grant_holds_for_the_session(self, make_world: Any, atlas: Any, run: Any) -> None:
        """As often as the agent likes; the resolution that held it is good for it."""
        world = make_world(atlas("a.b", rules=[HOLD]))
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        session.request_approval(resolution.decision.approval_id)
        world.resolver.approve(resolution.decision.approval_id, by="alice")
        for parameters in ({}, {"id": 1}):
            assert "success" == run(session, "a.b", parameters, resolution=resolution).status

    def test_grant_replaces_no_deny_and_no_limit(self, make_world: Any, atlas: Any, run: Any) -> None:
        """Evaluation goes on after it."""
        deny = {"policy_id": "no", "type": "deny", "conditions": {"parameters": {"required": ["bad"]}}}
        world = make_world(atlas("a.b", rules=[HOLD, CAP, deny]))
        world.resolver.register("a.b", lambda **_: None)
        session = world.open()
        resolution = session.resolve("x")
        session.request_approval(resolution.decision.approval_id)
        world.resolver.approve(resolution.decision.approval_id, by="alice")
        with pytest.raises(cra.ActionDenied):
            run(session, "a.b", {"bad": 1}, resolution=resolution)
        run(session, "a.b", resolution=resolution)
        with pytest.raises(cra.RateLimitExceeded):
            run(session, "a.b", resolution=resolution)

    def test_grant_of_a_parameter_condition_is_for_those_parameters_once(
        self, make_world: Any, atlas: Any, run: Any
    ) -> None:
        """Bound to their hash, good for one execution; the next needs an approval of its own."""
        world = make_world(atlas("a.b", rules=[BOUND]))
        world.resolver.register("a.b", lambda **_: None)
        session = world.open()
        resolution = session.resolve("x")
        assert "success" == run(session, "a.b", {}, resolution=resolution).status
        ids = []
        for parameters in ({"id": 1}, {"id": 2}):
            with pytest.raises(cra.ActionRequiresApproval) as caught:
                run(session, "a.b", parameters, resolution=resolution)
            ids.append(caught.value.approval_id)
        assert 2 == len(set(ids))
        world.resolver.approve(ids[0], by="alice")
        with pytest.raises(cra.ActionRequiresApproval):
            run(session, "a.b", {"id": 2}, resolution=resolution)
        assert "success" == run(session, "a.b", {"id": 1}, resolution=resolution).status
        with pytest.raises(cra.ActionRequiresApproval) as caught:
            run(session, "a.b", {"id": 1}, resolution=resolution)
        assert caught.value.approval_id not in ids

    def test_one_grant_is_for_one_of_many_callers(self, make_world: Any, atlas: Any) -> None:
        """Two that come at once do not both run on it."""
        gate = Gate()
        world = make_world(atlas("a.b", rules=[BOUND]))
        world.resolver.register("a.b", gate)
        session = world.open()
        resolution = session.resolve("x")
        with pytest.raises(cra.ActionRequiresApproval) as caught:
            session.execute("a.b", {"id": 1}, resolution=resolution)
        world.resolver.approve(caught.value.approval_id, by="alice")
        consume = session.runtime.approvals.consume
        both = threading.Barrier(2)

        def together(approval_id: str) -> Any:
            both.wait(SECONDS)
            return consume(approval_id)

        session.runtime.approvals.consume = together
        calls = [Background(session.execute, "a.b", {"id": 1}, resolution=resolution) for _ in range(2)]
        assert eventually(lambda: any(call.done for call in calls))
        gate.open.set()
        outcomes = []
        for call in calls:
            try:
                outcomes.append(call.result().status)
            except cra.ActionRequiresApproval:
                outcomes.append("held")
        assert ["held", "success"] == sorted(outcomes)
        assert 1 == gate.calls

    def test_grant_is_given_back_by_a_call_that_did_not_run(self, make_world: Any, atlas: Any, run: Any) -> None:
        """A full trace queue after the grant was taken: it is there for the next try, with the limits."""
        world = make_world(atlas("a.b", rules=[BOUND, CAP]), overflow="fail")
        world.resolver.register("a.b", lambda **parameters: parameters["id"])
        session = world.open()
        resolution = session.resolve("x")
        with pytest.raises(cra.ActionRequiresApproval) as caught:
            run(session, "a.b", {"id": 1}, resolution=resolution)
        world.resolver.approve(caught.value.approval_id, by="alice")
        recorder = session.runtime.recorder
        world.resolver.flush()
        for leaving in (None, CLOSING_BYTES):  # room for nothing; for the closing record, and none for the start
            with full_ring(recorder.ring, leaving), pytest.raises(cra.TraceBackpressure):
                run(session, "a.b", {"id": 1}, resolution=resolution, idempotency_key="k")
        assert (0, 0) == (recorder.stats().reservations, recorder.stats().ring_reserved)
        assert 1 == run(session, "a.b", {"id": 1}, resolution=resolution, idempotency_key="k").result

    def test_too_many_pending_approvals_are_refused(self, make_world: Any, atlas: Any, run: Any) -> None:
        """`Conflict`, as a denial."""
        world = make_world(atlas("a.b", rules=[BOUND]))
        session = world.open()
        session.runtime.approvals._max_pending = 1
        resolution = session.resolve("x")
        with pytest.raises(cra.ActionRequiresApproval):
            run(session, "a.b", {"id": 1}, resolution=resolution)
        with pytest.raises(cra.Conflict):
            run(session, "a.b", {"id": 2}, resolution=resolution)
        assert "action.denied" == world.types(session)[-1]


class TestLimits:
    """PROTOCOL: all limits of a call reserved in one atomic step, all or none, never given back once it ran."""

    def test_failed_execution_has_spent(self, make_world: Any, atlas: Any, run: Any) -> None:
        """The executor was called: nothing is given back."""
        world = make_world(atlas("a.b", rules=[CAP]))
        world.resolver.register("a.b", lambda: 1 / 0)
        session = world.open()
        resolution = session.resolve("x")
        with pytest.raises(cra.ExecutionError):
            run(session, "a.b", resolution=resolution)
        with pytest.raises(cra.RateLimitExceeded):
            run(session, "a.b", resolution=resolution)

    def test_refused_calls_spend_nothing(self, make_world: Any, atlas: Any, run: Any) -> None:
        """All limits of a call or none: a full purse is not touched by a call that its rate refuses, and the other way."""
        world = make_world(atlas("a.b", rules=[CAP, PURSE]))
        world.resolver.register("a.b", lambda amount: amount)
        session = world.open()
        resolution = session.resolve("x")
        for amount in (11, 10.5):
            with pytest.raises(cra.BudgetExceeded) as caught:
                run(session, "a.b", {"amount": amount}, resolution=resolution)
            assert caught.value.retry_after is None
        run(session, "a.b", {"amount": 4}, resolution=resolution)
        with pytest.raises(cra.RateLimitExceeded):
            run(session, "a.b", {"amount": 1}, resolution=resolution)
        world.clock.advance(60)
        assert 6 == run(session, "a.b", {"amount": 6}, resolution=resolution).result

    def test_call_that_could_not_be_started_gives_everything_back(self, make_world: Any, atlas: Any, run: Any) -> None:
        """No thread for the executor: limits, key and grant are as they were."""
        world = make_world(atlas("a.b", rules=[CAP]))
        world.resolver.register("a.b", dict)
        session = world.open()
        threads = session.runtime.threads
        threads._max_threads = 0
        with pytest.raises(cra.ExecutionError, match="was not run"):
            run(session, "a.b", resolution=session.resolve("x"), idempotency_key="k")
        threads._max_threads = 10
        assert not run(session, "a.b", resolution=session.resolve("x"), idempotency_key="k").replayed

    def test_shadow_limits_count_and_never_refuse(self, make_world: Any, atlas: Any, run: Any) -> None:
        """Not even a cost that is none: what changes nothing refuses nothing."""
        world = make_world(atlas("a.b", rules=[CAP | {"mode": "shadow"}, PURSE | {"mode": "shadow"}]))
        world.resolver.register("a.b", lambda **_: None)
        session = world.open()
        for parameters in ({"amount": 1}, {"amount": -1}, {}):
            run(session, "a.b", parameters, resolution=session.resolve("x"))
        shadows = [p["result"] for p in world.payloads(session, "policy.evaluated") if p["policy_id"] == "cap"]
        assert ["shadow:allow", "shadow:rate_limited", "shadow:rate_limited"] == shadows

    @pytest.mark.parametrize(
        ("amount", "path"), [({}, "/amount"), ({"amount": "5"}, "/amount"), ({"amount": -0.5}, "/amount")]
    )
    def test_cost_that_is_none_is_refused(self, amount: Any, path: str, make_world: Any, atlas: Any, run: Any) -> None:
        """With the place, and nothing spent."""
        world = make_world(atlas("a.b", rules=[PURSE]))
        world.resolver.register("a.b", lambda amount: amount)
        session = world.open()
        with pytest.raises(cra.InvalidParameters) as caught:
            run(session, "a.b", amount, resolution=session.resolve("x"))
        assert path == caught.value.path
        assert 10 == run(session, "a.b", {"amount": 10}, resolution=session.resolve("x")).result

    def test_executes_spend_and_resolves_do_not(self, make_world: Any, atlas: Any, run: Any) -> None:
        """PROTOCOL: Spent by execute, never by resolve."""
        world = make_world(atlas("a.b", rules=[CAP]))
        world.resolver.register("a.b", dict)
        session = world.open()
        for _ in range(5):
            assert session.resolve("x").is_allowed("a.b")
        assert "success" == run(session, "a.b", resolution=session.resolve("x")).status


class TestIdempotency:
    """PROTOCOL: Idempotency, through the whole runtime."""

    def test_replay_spends_nothing(self, make_world: Any, atlas: Any, run: Any) -> None:
        """The stored result, though the limit is exhausted; the executor is called once."""
        gate = Gate()
        gate.open.set()
        world = make_world(atlas("a.b", rules=[CAP]))
        world.resolver.register("a.b", gate)
        session = world.open()
        options = {"resolution": session.resolve("x"), "idempotency_key": "k"}
        outcomes = [run(session, "a.b", **options) for _ in range(3)]
        assert [False, True, True] == [outcome.replayed for outcome in outcomes]
        assert 1 == len({outcome.execution_id for outcome in outcomes}) == gate.calls
        replayed = world.payloads(session, "action.executed")[1]
        expected = {"replayed": True, "result_hash": hash_value({"calls": 1}), "execution_id": outcomes[0].execution_id}
        assert expected.items() <= replayed.items()
        session.end()
        assert 1 == world.trace(session)[-1].payload["action_count"]

    def test_second_caller_waits_for_the_same_outcome(self, make_world: Any, atlas: Any, run: Any) -> None:
        """In flight: one executor, two answers."""
        gate = Gate()
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", gate)
        session = world.open()
        options = {"resolution": session.resolve("x"), "idempotency_key": "k"}
        first = Background(session.execute, "a.b", **options)
        gate.wait_until_started()
        second = Background(run, session, "a.b", **options)
        assert not second.done
        gate.open.set()
        assert [{"calls": 1}] * 2 == [first.result().result, second.result().result]
        assert [False, True] == [first.result().replayed, second.result().replayed]

    def test_waiting_caller_takes_over_from_one_that_did_not_run(self, make_world: Any, atlas: Any, run: Any) -> None:
        """Refused before the executor, the key is free: who waited for it begins again."""
        world = make_world(atlas("a.b", rules=[CAP]))
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        reserve = session.runtime.reserve
        held, go = threading.Event(), threading.Event()

        def refuse_first() -> Any:
            if not held.is_set():
                held.set()
                assert go.wait(SECONDS)
                raise cra.TraceBackpressure("full")
            return reserve()

        session.runtime.reserve = refuse_first
        first = Background(session.execute, "a.b", resolution=resolution, idempotency_key="k")
        assert held.wait(SECONDS)
        second = Background(run, session, "a.b", resolution=resolution, idempotency_key="k")
        third = Background(run, session, "a.b", resolution=resolution, idempotency_key="k")
        go.set()
        with pytest.raises(cra.TraceBackpressure):
            first.result()
        assert {True, False} == {second.result().replayed, third.result().replayed}

    def test_failure_is_raised_again(self, make_world: Any, atlas: Any, run: Any) -> None:
        """The stored error, not the same object; a retry needs a new key."""
        calls: list[int] = []

        def executor() -> None:
            calls.append(1)
            raise ValueError("broken")

        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", executor)
        session = world.open()
        resolution = session.resolve("x")
        errors = []
        for key in ("k", "k", "l"):
            with pytest.raises(cra.ExecutionError, match="broken") as caught:
                run(session, "a.b", resolution=resolution, idempotency_key=key)
            errors.append(caught.value)
        assert errors[0] is not errors[1]
        assert errors[0].execution_id == errors[1].execution_id != errors[2].execution_id
        assert 2 == len(calls)

    def test_keys_are_of_an_action_and_a_session(self, make_world: Any, atlas: Any, run: Any) -> None:
        """The same key elsewhere is another one."""
        world = make_world(atlas("a.b", "a.c"))
        for action_id in ("a.b", "a.c"):
            world.resolver.register(action_id, dict)
        for session in (world.open(), world.open()):
            for action_id in ("a.b", "a.c"):
                outcome = run(session, action_id, resolution=session.resolve("x"), idempotency_key="k")
                assert not outcome.replayed

    @pytest.mark.parametrize("key", ["x" * (MAX_KEY + 1), 5, b"k"])
    def test_key_is_a_short_string(self, key: Any, make_world: Any, atlas: Any, run: Any) -> None:
        """Anything else is refused, and said."""
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", dict)
        session = world.open()
        with pytest.raises(cra.InvalidParameters, match="idempotency key"):
            run(session, "a.b", resolution=session.resolve("x"), idempotency_key=key)
        assert "action.denied" == world.types(session)[-1]
        assert "success" == run(session, "a.b", resolution=session.resolve("x"), idempotency_key="x" * MAX_KEY).status

    def test_policy_is_asked_before_the_key(self, make_world: Any, atlas: Any, run: Any) -> None:
        """A stored result is no way around a deny that has come since."""
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", dict)
        session = world.open()
        options = {"resolution": session.resolve("x"), "idempotency_key": "k"}
        run(session, "a.b", **options)
        world.resolver.load_atlas(atlas("a.b", rules=[{"policy_id": "no", "type": "deny"}]), replace=True)
        with pytest.raises(cra.ActionDenied):
            run(session, "a.b", **options)

    def test_session_that_ends_settles_its_keys(self, make_world: Any, atlas: Any) -> None:
        """Who waits for an execution that the end of the session closes is told that its outcome is unknown, or of the end."""
        gate = Gate()
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", gate)
        session = world.open()
        options = {"resolution": session.resolve("x"), "idempotency_key": "k"}
        calls = [Background(session.execute, "a.b", **options)]
        gate.wait_until_started()
        calls.append(Background(session.execute, "a.b", **options))
        session.end()
        gate.open.set()
        with pytest.raises(cra.ExecutionError, match="unknown"):
            calls[0].result()
        with pytest.raises(cra.SessionAlreadyEnded):
            calls[1].result()


class Stuck(MemoryStorage):
    """Takes no events until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def append(self, batch: Sequence[Event]) -> None:
        assert self.go.wait(SECONDS)
        super().append(batch)


class Failing(MemoryStorage):
    """Takes events until it is given an error to raise instead."""

    error: Exception | None = None

    def append(self, batch: Sequence[Event]) -> None:
        if self.error is not None:
            raise self.error
        super().append(batch)


class TestFailClosed:
    """ARCHITECTURE: with `fail_closed`, execute waits for its own record before the executor runs."""

    @pytest.mark.parametrize("level", ["stored", "durable"])
    def test_start_is_on_disk_before_the_executor_runs(
        self, level: Any, make_world: Any, atlas: Any, run: Any, tmp_path: Any
    ) -> None:
        """What the executor sees in the store is its own `action.approved`."""
        from cra.storage.jsonl import JsonlStorage

        storage = JsonlStorage(tmp_path)
        world = make_world(atlas("a.b"), storage=storage, fail_closed=True, durability=level)
        seen: list[str] = []

        def executor() -> None:
            seen.extend((tmp_path / f"{session.session_id}.trace.jsonl").read_text().splitlines())

        world.resolver.register("a.b", executor)
        session = world.open()
        run(session, "a.b", resolution=session.resolve("x"))
        assert '"action.approved"' in seen[-1]

    def test_recorded_is_what_every_execute_has(self, make_world: Any, atlas: Any, run: Any) -> None:
        """With the level `recorded` there is nothing more to wait for."""
        world = make_world(atlas("a.b"), fail_closed=True)
        world.resolver.register("a.b", dict)
        session = world.open()
        assert "success" == run(session, "a.b", resolution=session.resolve("x")).status

    def test_nothing_runs_that_cannot_be_stored(self, make_world: Any, atlas: Any, run: Any) -> None:
        """`StorageError`; limits and key are free again when the store is back."""
        storage = Failing()
        world = make_world(atlas("a.b", rules=[CAP]), storage=storage, fail_closed=True, durability="stored")
        calls: list[int] = []
        world.resolver.register("a.b", lambda: calls.append(1))
        session = world.open()
        resolution = session.resolve("x")
        world.resolver.flush()
        storage.error = StorageError("the disk is full")
        with pytest.raises(StorageError, match="the disk is full"):
            run(session, "a.b", resolution=resolution, idempotency_key="k")
        storage.error = None
        assert [] == calls
        assert not run(session, "a.b", resolution=resolution, idempotency_key="k").replayed
        assert [1] == calls
        assert "STORAGE_ERROR" == world.payloads(session, "action.failed")[0]["error_code"]

    def test_store_that_hangs_is_waited_for_as_long_as_the_executor_may_take(
        self, make_world: Any, atlas: Any, run: Any
    ) -> None:
        """No call waits without end."""
        storage = Stuck()
        manifest = atlas({"action_id": "a.b", "timeout_seconds": 1})
        world = make_world(manifest, storage=storage, fail_closed=True, durability="stored")
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        world.resolver.flush()
        storage.go.clear()
        try:
            with pytest.raises(StorageError, match="within 1"):
                run(session, "a.b", resolution=resolution)
        finally:
            storage.go.set()
        assert "action.failed" == world.types(session)[-1]

    def test_cancelled_while_the_start_is_stored(self, make_world: Any, atlas: Any) -> None:
        """Closed as unknown; the executor is not called, and nothing stays open."""
        storage = Stuck()
        world = make_world(atlas("a.b"), storage=storage, fail_closed=True, durability="stored")
        calls: list[int] = []
        world.resolver.register("a.b", lambda: calls.append(1))
        session = world.open()
        resolution = session.resolve("x")
        world.resolver.flush()
        storage.go.clear()

        async def cancel() -> None:
            task = asyncio.create_task(session.aexecute("a.b", resolution=resolution))
            while not session.open_calls:
                await asyncio.sleep(0.001)
            task.cancel()
            storage.go.set()
            await task

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(cancel())
        assert ([], {}) == (calls, session.open_calls)
        assert "action.failed" == world.types(session)[-1]

    def test_error_of_another_kind_is_an_internal_one_in_the_trace(
        self, make_world: Any, atlas: Any, run: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Interrupted while it waits for the store: told, given back, and raised as it is."""
        world = make_world(atlas("a.b", rules=[CAP]), fail_closed=True, durability="stored")
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        with monkeypatch.context() as patch:

            def interrupt(*_: Any) -> None:
                raise RuntimeError("interrupted")

            patch.setattr(session.runtime.recorder, "flush", interrupt)
            with pytest.raises(RuntimeError, match="interrupted"):
                run(session, "a.b", resolution=resolution)
        assert "INTERNAL_ERROR" == world.payloads(session, "action.failed")[0]["error_code"]
        assert "success" == run(session, "a.b", resolution=resolution).status


class TestEnds:
    """Whatever happens meanwhile, an execution is told once, and a closed chain stays closed."""

    @pytest.mark.parametrize("rules", [[], [HOLD], [CAP], [BOUND], [REFUSE]], ids=str)
    def test_session_that_ends_during_the_checks_gets_no_more_events(
        self, rules: Any, make_world: Any, atlas: Any, run: Any
    ) -> None:
        """Nothing follows `session.ended`, whichever way the call would have gone."""

        class View(Mapping[str, Any]):
            def __getitem__(self, key: str) -> Any:
                return 1

            def __iter__(self) -> Iterator[str]:
                session.end()
                return iter(["id"])

            def __len__(self) -> int:
                return 1

        world = make_world(atlas("a.b", rules=rules))
        world.resolver.register("a.b", lambda **_: None)
        session = world.open()
        with pytest.raises((cra.SessionAlreadyEnded, cra.ActionDenied)):
            run(session, "a.b", View(), resolution=session.resolve("x"), idempotency_key="k")
        assert "session.ended" == world.types(session)[-1]
        assert [] == world.resolver.pending_approvals()

    @pytest.mark.parametrize("fails", [False, True])
    def test_late_end_of_an_execution_changes_nothing(self, fails: bool, make_world: Any, atlas: Any, run: Any) -> None:
        """The session has closed it as unknown: its caller is told so, whatever the executor says in the end."""
        world = make_world(atlas("a.b"))

        def executor() -> None:
            session.end()
            if fails:
                raise ValueError("too late")

        world.resolver.register("a.b", executor)
        session = world.open()
        with pytest.raises(cra.ExecutionError) as caught:
            run(session, "a.b", resolution=session.resolve("x"), idempotency_key="k")
        assert "unknown" == caught.value.effect
        assert 1 == world.types(session).count("action.failed")

    def test_redaction_that_fails_does_not_hide_what_happened(self, make_world: Any, atlas: Any, run: Any) -> None:
        """The closing record says what it can, and that it could not be redacted."""

        def redact(event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
            if event_type in ("action.executed", "session.ended"):
                raise OSError("no rules")
            return payload

        world = make_world(atlas("a.b"), redact=redact)
        world.resolver.register("a.b", dict)
        session = world.open()
        outcome = run(session, "a.b", resolution=session.resolve("x"))
        executed = world.payloads(session, "action.executed")[0]
        assert ("OSError", outcome.execution_id) == (executed["redaction_error"], executed["execution_id"])
        assert "resolution_id" not in executed
        session.end()
        assert {"redaction_error": "OSError", "duration_ms": 0} == world.trace(session)[-1].payload

    def test_redaction_that_fails_before_stops_the_call(self, make_world: Any, atlas: Any, run: Any) -> None:
        """What cannot be recorded does not run, and holds nothing."""

        def redact(event_type: str, payload: dict[str, Any]) -> Any:
            return None if event_type == "action.approved" and broken else payload

        broken = True
        world = make_world(atlas("a.b", rules=[CAP]), redact=redact)
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        with pytest.raises(cra.InvalidTraceEvent, match="redact has to return a dict, not NoneType"):
            run(session, "a.b", resolution=resolution, idempotency_key="k")
        broken = False
        assert not run(session, "a.b", resolution=resolution, idempotency_key="k").replayed

    def test_asynchronous_executors_run_on_the_caller_s_loop(self, make_world: Any, atlas: Any) -> None:
        """`aexecute` awaits them there; `execute` on a loop of the runtime's own."""
        world = make_world(atlas("a.b"))

        async def executor() -> int:
            return id(asyncio.get_running_loop())

        world.resolver.register("a.b", executor)
        session = world.open()
        resolution = session.resolve("x")

        async def main() -> bool:
            outcome = await session.aexecute("a.b", resolution=resolution)
            return id(asyncio.get_running_loop()) == outcome.result

        assert asyncio.run(main())
        assert isinstance(session.execute("a.b", resolution=resolution).result, int)
