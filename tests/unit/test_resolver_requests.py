"""Full CARP requests: validated, fresh, unrepeated, and of the session's own agent. PROTOCOL: Requests."""

from __future__ import annotations

import enum
import itertools
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import cra
from cra.session import REMEMBERED_REQUESTS

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
numbers = itertools.count(1)


class Text(str):
    """Prints as something else."""

    def __str__(self) -> str:
        return "something else"


def Named(text: str) -> Any:  # noqa: N802  as a type
    """A member of an enumeration of strings."""
    return enum.Enum("Named", {"A": text}, type=str).A  # type: ignore[attr-defined]


def make_request(session: cra.Session, *, at: float = 0.0, operation: str = "resolve", **fields: Any) -> dict[str, Any]:
    """A request of a session, `at` seconds after noon."""
    request = {
        "carp_version": "1.0",
        "request_id": f"00000000-0000-7000-8000-{next(numbers):012x}",
        "timestamp": (NOON + timedelta(seconds=at)).isoformat(),
        "operation": operation,
        "requester": {"agent_id": session.agent_id, "session_id": session.session_id},
        "task": {"goal": "work"},
    }
    return {**request, **fields}


@pytest.fixture
def world(make_world: Any, atlas: Any) -> Any:
    return make_world(atlas("a.b", "a.c"))


class TestResolve:
    """`resolver.resolve(request)`."""

    def test_request_is_answered_like_a_call(self, world: Any) -> None:
        """With its own request id, in the resolution and in the trace; ids come out in lower case."""
        session = world.open()
        request = make_request(session, request_id="0192F3A1-7C4E-7D2A-9B1F-3C5E7A9B1D3F")
        resolution = world.resolver.resolve(request)
        assert "0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f" == resolution.request_id
        received = world.payloads(session, "carp.request.received")[0]
        completed = world.payloads(session, "carp.resolution.completed")[0]
        assert {"request_id": resolution.request_id, "operation": "resolve", "goal": "work"} == received
        assert (resolution.request_id, resolution.resolution_id) == (
            completed["request_id"],
            completed["resolution_id"],
        )
        assert [entry.action_id for entry in session.resolve("work").allowed_actions] == [
            entry.action_id for entry in resolution.allowed_actions
        ]

    def test_request_can_be_built(self, world: Any) -> None:
        """A `cra.Request`, validated like a mapping."""
        session = world.open()
        request = cra.Request.parse(make_request(session))
        assert request.request_id == world.resolver.resolve(request).request_id

    @pytest.mark.parametrize("kind", [Text, Named])
    def test_a_text_of_another_type_is_taken_as_its_value(self, kind: Any, world: Any) -> None:
        """In any field, after a plain resolve, too, which the next one may be answered by."""
        session = world.open()
        child = world.open(parent=session)
        session.resolve("work")
        for session_of, change in (
            (session, lambda request: request["task"].update(goal=kind("work"))),
            (session, lambda request: request.update(timestamp=kind(request["timestamp"]))),
            (session, lambda request: request.update(request_id=kind(request["request_id"]))),
            (session, lambda request: request["requester"].update(session_id=kind(session.session_id))),
            (session, lambda request: request["requester"].update(agent_id=kind(session.agent_id))),
            (child, lambda request: request["requester"].update(parent_session_id=kind(session.session_id))),
        ):
            request = make_request(session_of)
            change(request)
            resolution = world.resolver.resolve(request)
            assert (str, "work") == (type(resolution.request_id), resolution.ask.goal)
            assert type(resolution.ask.goal) is str
        execution = {"resolution_id": kind(resolution.resolution_id), "action_id": kind("a.b"), "parameters": {}}
        world.resolver.register("a.b", dict, inline=True)
        request = make_request(child, operation="execute", execution=execution)
        assert "a.b" == world.resolver.handle(request).action_id

    def test_what_is_not_the_default_is_traced(self, make_world: Any, atlas: Any) -> None:
        """Selection, tier, hints, capabilities, and the context that conditions read, as a hash."""
        rule = {"policy_id": "p", "type": "deny", "conditions": {"context_matches": {"env": "prod", "none": "x"}}}
        world = make_world(atlas("a.b", rules=[rule]))
        session = world.open()
        task = {"goal": "work", "risk_tier": "high", "context_hints": ["h"], "required_capabilities": ["c"]}
        fields = {"task": task, "context": {"env": "dev", "other": 1}, "atlas_ids": ["com.example.shop"]}
        request = make_request(session, **fields)
        world.resolver.resolve(request)
        received = world.payloads(session, "carp.request.received")[0]
        assert {
            "request_id": request["request_id"],
            "operation": "resolve",
            "goal": "work",
            "atlas_ids": ["com.example.shop"],
            "risk_tier": "high",
            "context_hints": ["h"],
            "required_capabilities": ["c"],
            "condition_inputs": {"env": cra.hotpath.hash_value("dev")},
        } == received

    def test_other_operations_are_for_handle(self, world: Any) -> None:
        """`resolve` answers `resolve`."""
        session = world.open()
        with pytest.raises(cra.InvalidCARPRequest, match="/operation"):
            world.resolver.resolve(make_request(session, operation="validate"))

    @pytest.mark.parametrize(
        "change",
        [
            {"carp_version": "2.0"},
            {"timestamp": "yesterday"},
            {"request_id": "x"},
            {"task": {}},
            {"operation": "explode"},
            {"unknown": 1},
            {"requester": {"agent_id": "bot"}},
        ],
        ids=str,
    )
    def test_invalid_request_leaves_no_event(self, change: Any, world: Any) -> None:
        """Refused with the place, before the session is looked at."""
        session = world.open()
        with pytest.raises(cra.InvalidCARPRequest):
            world.resolver.resolve({**make_request(session), **change})
        assert ["session.started"] == world.types(session)


class TestFreshness:
    """PROTOCOL: `timestamp` within 300 s; `request_id` unique per session, remembered for twice the skew."""

    @pytest.mark.parametrize("at", [-300.000001, 300.000001, 10**7])
    def test_stale_and_future_requests_are_refused(self, at: float, world: Any) -> None:
        """More than 300 s away, either way."""
        with pytest.raises(cra.InvalidCARPRequest, match="/timestamp: more than 300 s"):
            world.resolver.resolve(make_request(world.open(), at=at))

    @pytest.mark.parametrize("at", [-300, 0, 300])
    def test_300_seconds_are_within(self, at: float, world: Any) -> None:
        """The bound belongs to what is allowed."""
        assert world.resolver.resolve(make_request(world.open(), at=at)).is_allowed("a.b")

    def test_wall_clock_decides(self, world: Any) -> None:
        """Skew is about the wall clock, which may be set."""
        session = world.open()
        world.clock.set_wall(world.clock.now_ns() + 301 * 10**9)
        with pytest.raises(cra.InvalidCARPRequest):
            world.resolver.resolve(make_request(session))
        assert world.resolver.resolve(make_request(session, at=301)).is_allowed("a.b")

    def test_repeated_request_is_a_conflict(self, world: Any) -> None:
        """In its session, for as long as its timestamp could be accepted; another session has its own."""
        first, second = world.open(), world.open()
        request = make_request(first, at=300)
        world.resolver.resolve(request)
        for seconds in (0, 300, 300):
            world.clock.advance(seconds)
            with pytest.raises(cra.Conflict, match="was made before"):
                world.resolver.resolve(request)
        world.clock.advance(0.000000001)
        with pytest.raises(cra.InvalidCARPRequest, match="/timestamp"):
            world.resolver.resolve(request)
        assert world.resolver.resolve({**request, "timestamp": (NOON + timedelta(seconds=600)).isoformat()})
        again = make_request(second, at=600, request_id=request["request_id"])
        assert world.resolver.resolve(again)

    def test_request_ids_are_bounded(self, world: Any) -> None:
        """65,536 within 600 s; then refused, until the first are old enough."""
        session = world.open()
        for number in range(REMEMBERED_REQUESTS):
            session.remember_request(str(number), 300)
        with pytest.raises(cra.Conflict, match="65536 requests within 600 s"):
            session.remember_request("one more", 300)
        world.clock.advance(600.000000001)
        session.remember_request("one more", 300)
        assert 1 == len(session._request_ids or ())


class TestWhoAsks:
    """PROTOCOL: the session exists, is active, belongs to `agent_id`."""

    def test_unknown_session(self, world: Any) -> None:
        """`SessionNotFound`."""
        request = make_request(world.open())
        request["requester"]["session_id"] = "00000000-0000-7000-8000-000000000000"
        with pytest.raises(cra.SessionNotFound):
            world.resolver.resolve(request)

    def test_ended_session(self, world: Any) -> None:
        """`SessionAlreadyEnded`."""
        session = world.open()
        session.end()
        with pytest.raises(cra.SessionAlreadyEnded):
            world.resolver.resolve(make_request(session))

    def test_expired_session(self, world: Any) -> None:
        """`SessionExpired`, and it has ended."""
        session = world.open()
        world.clock.advance(3601)
        with pytest.raises(cra.SessionExpired):
            world.resolver.resolve(make_request(session, at=3601))

    def test_somebody_else_s_session(self, world: Any) -> None:
        """As if it were not there; its request ids are not used up."""
        session = world.open("bot")
        request = make_request(session)
        stolen = {**request, "requester": {**request["requester"], "agent_id": "mallory"}}
        with pytest.raises(cra.SessionNotFound, match="agent 'mallory' has no session"):
            world.resolver.resolve(stolen)
        assert world.resolver.resolve(request)

    def test_parent_is_checked(self, world: Any) -> None:
        """`parent_session_id` is that of the session's parent, where it is given."""
        parent = world.open()
        child = world.open(parent=parent)
        for session, parent_id, right in ((child, parent.session_id, True), (child, child.session_id, False)):
            request = make_request(session)
            request["requester"]["parent_session_id"] = parent_id
            if right:
                assert world.resolver.resolve(request)
            else:
                with pytest.raises(cra.InvalidCARPRequest, match="/requester/parent_session_id"):
                    world.resolver.resolve(request)
        orphan = make_request(parent)
        orphan["requester"]["parent_session_id"] = child.session_id
        with pytest.raises(cra.InvalidCARPRequest):
            world.resolver.resolve(orphan)


class TestHandle:
    """`resolver.handle(request)` serves every operation."""

    def test_resolve_then_execute(self, world: Any) -> None:
        """A resolution, and the outcome of an execution that names it; idempotent where there is a key."""
        world.resolver.register("a.b", lambda n: n)
        session = world.open()
        resolution = world.resolver.handle(make_request(session))
        execution = {
            "resolution_id": resolution.resolution_id.upper(),
            "action_id": "a.b",
            "parameters": {"n": 5},
            "idempotency_key": "k",
        }
        first = world.resolver.handle(make_request(session, operation="execute", execution=execution))
        second = world.resolver.handle(make_request(session, operation="execute", execution=execution))
        assert [(5, False), (5, True)] == [(each.result, each.replayed) for each in (first, second)]

    def test_execute_is_refused_like_a_call(self, world: Any) -> None:
        """With the same errors and events."""
        session = world.open()
        execution = {
            "resolution_id": "00000000-0000-7000-8000-000000000000",
            "action_id": "a.b",
            "parameters": {},
        }
        with pytest.raises(cra.ResolutionExpired):
            world.resolver.handle(make_request(session, operation="execute", execution=execution))
        assert ["action.requested", "action.denied"] == world.types(session, of="action")

    def test_validate_evaluates_and_records_the_request_alone(self, make_world: Any, atlas: Any) -> None:
        """Spends nothing, and is answered like a resolve."""
        cap = {"policy_id": "cap", "type": "rate_limit", "parameters": {"max_calls": 1, "window_seconds": 60}}
        world = make_world(atlas("a.b", rules=[cap]))
        session = world.open()
        request = make_request(session, operation="validate")
        resolution = world.resolver.handle(request)
        assert (True, request["request_id"]) == (resolution.is_allowed("a.b"), resolution.request_id)
        assert ["session.started", "carp.request.received"] == world.types(session)
        received = world.payloads(session, "carp.request.received")[0]
        assert {"request_id": request["request_id"], "operation": "validate", "goal": "work"} == received
        assert 0 == len(session.runtime.limits)
