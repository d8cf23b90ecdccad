"""Traces as a user reads them: options that shape them, reading, flushing, full queues, subscribers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import queue
import threading
from collections.abc import Sequence
from typing import Any

import pytest

import cra
from cra import schemas
from cra.errors import StorageError
from cra.storage.memory import MemoryStorage
from cra.storage.null import NullStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace.event import Event
from tests.support.rings import full_ring

SECONDS = 60.0
ENV = {"policy_id": "env", "type": "deny", "actions": ["a.c"], "conditions": {"context_matches": {"env": "pro*"}}}


class Stuck(MemoryStorage):
    """Takes no events while it is closed."""

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


class TestShape:
    """TRACE: what is recorded, and what is not."""

    def test_every_event_satisfies_the_published_schema(self, make_world: Any, atlas: Any) -> None:
        """Of sessions, resolves, executes, approvals, atlases and the runtime."""
        from cra.carp.schema import Schema

        hold = {"policy_id": "hold", "type": "require_approval", "actions": ["a.c"]}
        blocks = [
            {"context_id": n, "name": n, "content": "x" * 9, "priority": 1, "inject_mode": "always"} for n in "ab"
        ]
        world = make_world(atlas("a.b", "a.c", rules=[hold, ENV], context_blocks=blocks))
        world.resolver.register("a.b", lambda: 1 / 0)
        session = world.open(context={"env": "dev"}, scopes=["s"])
        resolution = session.resolve("x", context_budget=3)
        with pytest.raises(cra.ExecutionError):
            session.execute("a.b", resolution=resolution)
        with pytest.raises(cra.ActionRequiresApproval) as caught:
            session.execute("a.c", resolution=resolution)
        world.resolver.reject(caught.value.approval_id, by="alice", reason="no")
        with pytest.raises(cra.ActionDenied):
            session.execute("a.c", resolution=resolution)
        session.end()
        world.resolver.unload_atlas("com.example.shop")
        schema = Schema(schemas.load("trace-event"))
        for event in [*world.trace(session), *world.trace(world.resolver.session_id)]:
            assert schema.first_error(json.loads(json.dumps(event.to_dict()))) is None, event

    def test_one_span_an_operation(self, make_world: Any, atlas: Any) -> None:
        """All events of a resolve share one, of an execute one; the parent of all is the session's."""
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        session.execute("a.b", resolution=resolution)
        session.end()
        events = world.trace(session)
        spans = {event.event_type: event.span_id for event in events}
        assert 4 == len({event.span_id for event in events})
        assert spans["carp.request.received"] == spans["policy.evaluated"] == spans["carp.resolution.completed"]
        assert spans["action.requested"] == spans["action.approved"] == spans["action.executed"]
        assert {None, spans["session.started"]} == {event.parent_span_id for event in events}
        assert {session.trace_id} == {event.trace_id for event in events}
        assert resolution.trace_id == session.trace_id

    def test_decisions_leave_out_what_allows(self, make_world: Any, atlas: Any) -> None:
        """`trace_detail="decisions"`."""
        world = make_world(atlas("a.b", "a.c", rules=[ENV]), trace_detail="decisions")
        session = world.open(context={"env": "prod"})
        session.resolve("x")
        assert [("a.c", "deny")] == [(p["action_id"], p["result"]) for p in world.payloads(session, "policy.evaluated")]

    def test_hash_key_makes_hashes_keyed(self, make_world: Any, atlas: Any) -> None:
        """Parameters, results and context values: nobody can guess short values."""

        def keyed(value: object) -> str:
            return hmac.new(b"secret", cra.canonical_json(value), hashlib.sha256).hexdigest()

        world = make_world(atlas("a.b", "a.c", rules=[ENV]), hash_key=b"secret")
        world.resolver.register("a.b", lambda n: [n])
        session = world.open(context={"env": "dev"})
        session.execute("a.b", {"n": 1}, resolution=session.resolve("x"))
        assert {"env": keyed("dev")} == world.payloads(session, "carp.request.received")[0]["condition_inputs"]
        assert keyed({"n": 1}) == world.payloads(session, "action.requested")[0]["parameters_hash"]
        assert keyed([1]) == world.payloads(session, "action.executed")[0]["result_hash"]

    def test_values_stay_out_unless_asked_for(self, make_world: Any, atlas: Any) -> None:
        """`record_values` records the context that conditions read, and nothing more."""
        for option, expected in ((False, cra.hotpath.hash_value("dev-secret")), (True, "dev-secret")):
            world = make_world(atlas("a.b", "a.c", rules=[ENV]), record_values=option)
            world.resolver.register("a.b", lambda **_: "result-secret")
            session = world.open(context={"env": "dev-secret", "unread": "unread-secret"})
            session.execute("a.b", {"n": "parameter-secret"}, resolution=session.resolve("x"))
            assert {"env": expected} == world.payloads(session, "carp.request.received")[0]["condition_inputs"]
            text = str(world.trace(session))
            assert [] == [word for word in ("unread-secret", "parameter-secret", "result-secret") if word in text]

    def test_context_that_no_condition_can_read_is_not_recorded(self, make_world: Any, atlas: Any) -> None:
        """Lists and objects match no glob: they are as absent. What is no JSON is refused where it is given."""
        world = make_world(atlas("a.b", "a.c", rules=[ENV]))
        for bad in (object(), float("nan"), b"prod"):
            with pytest.raises(cra.InvalidCARPRequest, match="/context/env"):
                world.open(context={"env": bad})
        for value in ([1], {"a": 1}):
            session = world.open(context={"env": value})
            assert not session.resolve("x").is_allowed("a.c")
            assert "condition_inputs" not in world.payloads(session, "carp.request.received")[0]

    def test_redaction_replaces_what_is_recorded(self, make_world: Any, atlas: Any) -> None:
        """Before anything is recorded, in every event, with its type."""
        types: set[str] = set()

        def redact(event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
            types.add(event_type)
            return {key: "***" if key == "goal" else value for key, value in payload.items()}

        world = make_world(atlas("a.b"), redact=redact)
        session = world.open(goal="secret")
        session.resolve("secret")
        session.end()
        assert "secret" not in str(world.trace(session))
        assert {"session.started", "carp.request.received", "session.ended", "runtime.started"} <= types

    @pytest.mark.parametrize(
        "value", [None, [], "text", {"x": float("nan")}, {"x": (1,)}, {1: 2}, {"x": "y" * 2**21}], ids=str
    )
    def test_redaction_that_returns_no_payload_is_refused(self, value: Any, make_world: Any, atlas: Any) -> None:
        """By the call that would have recorded it: a chain never holds what cannot be verified."""
        world = make_world(
            atlas("a.b"), redact=lambda kind, payload: value if payload.get("goal") == "bad" else payload
        )
        session = world.open()
        with pytest.raises(cra.InvalidTraceEvent):
            session.resolve("bad")
        session.resolve("good")
        with pytest.raises(cra.InvalidTraceEvent):
            world.open(goal="bad")
        assert 1 == world.resolver.stats().sessions_active

    def test_largest_request_is_recorded(self, make_world: Any, atlas: Any) -> None:
        """A goal of 10,000 characters, all of which need escapes or several bytes."""
        session = make_world(atlas("a.b")).open(goal="\x01" * 10_000)
        assert session.resolve("€" * 10_000, context_hints=["x" * 255] * 100)


class TestReading:
    """`trace`, `iter_trace`, `flush`."""

    def test_trace_is_flushed_first(self, make_world: Any, atlas: Any) -> None:
        """What was recorded before the call is in it."""
        world = make_world(atlas("a.b"))
        session = world.open()
        for number in range(20):
            session.resolve("x")
            assert number + 1 == len(world.payloads(session, "carp.resolution.completed"))

    def test_iter_trace_narrows(self, make_world: Any, atlas: Any) -> None:
        """By sequence and by type, one by one."""
        world = make_world(atlas("a.b"))
        session = world.open()
        session.resolve("x")
        events = world.trace(session)
        later = world.resolver.iter_trace(session.session_id, after=1)
        assert next(later) == events[2]
        assert events[3:] == list(later)
        types = ["policy.evaluated"]
        assert [e for e in events if e.event_type in types] == list(
            world.resolver.iter_trace(session.session_id, types=types)
        )

    def test_unknown_session_has_no_trace(self, make_world: Any) -> None:
        """`SessionNotFound`, at once."""
        with pytest.raises(cra.SessionNotFound):
            make_world().resolver.iter_trace("00000000-0000-7000-8000-000000000000")

    def test_storage_that_keeps_nothing_cannot_be_read(self) -> None:
        """`null:` alone, or a store of one's own that says so; beside one that can be read it does no harm."""

        class Unreadable(NullStorage):
            name = "mine:"

        for storage in ("null:", Unreadable()):
            with cra.Resolver(storage) as resolver:
                session = resolver.create_session("bot", "work")
                with pytest.raises(StorageError, match="none of the storages keeps events"):
                    resolver.trace(session.session_id)
        with cra.Resolver(["null:", Unreadable(), "memory:"]) as resolver:
            session = resolver.create_session("bot", "work", session_id="0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f")
            assert 1 == len(resolver.trace(session.session_id))

    def test_levels_that_are_not_to_be_had_are_errors(self, make_world: Any) -> None:
        """`recorded` is volatile here; memory is never durable; other levels do not exist."""
        world = make_world()
        with pytest.raises(StorageError, match="volatile"):
            world.resolver.flush("recorded")
        with pytest.raises(StorageError, match="cannot make events durable"):
            world.resolver.flush("durable")
        with pytest.raises(ValueError, match="level is"):
            world.resolver.flush("eternal")
        asyncio.run(world.resolver.aflush())

    def test_flush_raises_what_fails_and_what_takes_too_long(self, make_world: Any) -> None:
        """Nothing is lost by it."""
        storage = Failing()
        world = make_world(storage=storage)
        world.resolver.flush()
        storage.error = StorageError("the disk is full")
        session = world.open()
        with pytest.raises(StorageError, match="the disk is full"):
            world.resolver.flush()
        storage.error = None
        assert 1 == len(world.trace(session))
        stuck = Stuck()
        world = make_world(storage=stuck)
        world.resolver.flush()
        stuck.go.clear()
        world.open()
        with pytest.raises(StorageError, match="within"):
            world.resolver.flush(timeout=0.02)
        stuck.go.set()


class TestFullQueue:
    """ARCHITECTURE: nothing is dropped silently."""

    @pytest.mark.parametrize(("overflow", "timeout"), [("fail", 5.0), ("block", 0.05)])
    def test_full_queue_refuses_everything_that_has_to_be_recorded(
        self, overflow: Any, timeout: float, make_world: Any, atlas: Any
    ) -> None:
        """`TraceBackpressure`, with nothing spent, opened or half done; afterwards it goes on."""
        storage = Stuck()
        world = make_world(atlas("a.b"), storage=storage, overflow=overflow, overflow_timeout=timeout)
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        world.resolver.flush()
        other = atlas("c.d", atlas_id="com.example.two")
        with full_ring(session.runtime.recorder.ring):
            for call in (
                lambda: session.resolve("x"),
                lambda: session.execute("a.b", resolution=resolution),
                lambda: world.open(),
                lambda: session.end(),
                lambda: world.resolver.load_atlas(other),
            ):
                with pytest.raises(cra.TraceBackpressure):
                    call()
        assert ("active", 1, 0) == (
            session.status,
            world.resolver.stats().sessions_active,
            world.resolver.stats().executions,
        )
        assert ["com.example.shop"] == [info.atlas_id for info in world.resolver.list_atlases()]
        assert world.resolver.stats().recorder.records_refused >= 5
        session.execute("a.b", resolution=session.resolve("x"))

    def test_stuck_store_fills_the_queue(self, make_world: Any, atlas: Any) -> None:
        """Without any trick: a backend that hangs, until there is no more room; then it is all there."""
        storage = Stuck()
        world = make_world(atlas("a.b"), storage=storage, overflow="fail")
        session = world.open()
        world.resolver.flush()
        storage.go.clear()
        resolved: list[cra.Resolution] = []

        def resolve_on() -> None:
            while len(resolved) < 10_000:
                resolved.append(session.resolve("x"))

        with full_ring(session.runtime.recorder.ring, 5_000):
            with pytest.raises(cra.TraceBackpressure, match=r"the trace ring is full \(8388608 bytes\)"):
                resolve_on()
            storage.go.set()
        assert 50 <= len(resolved) <= 5_000 / 48
        assert len(resolved) == len(world.payloads(session, "carp.resolution.completed"))

    def test_drop_loses_resolves_and_says_so(self, make_world: Any, atlas: Any) -> None:
        """Counted, and chained where they would have been; what is no resolve is never dropped."""
        storage = Stuck()
        world = make_world(atlas("a.b"), storage=storage, overflow="drop", overflow_timeout=0.05)
        session = world.open()
        world.resolver.flush()
        session.resolve("warm")  # its plan has its template: that is never dropped
        world.resolver.flush()
        with full_ring(session.runtime.recorder.ring):
            for _ in range(5):
                assert session.resolve("x").is_allowed("a.b")
            with pytest.raises(cra.TraceBackpressure):
                session.end()
        session.resolve("x")
        lost = world.payloads(session, "runtime.lost")
        assert 5 == sum(payload["count"] for payload in lost) == world.resolver.stats().recorder.records_lost
        own = world.payloads(world.resolver.session_id, "runtime.lost")
        assert 5 == sum(payload["count"] for payload in own)
        assert ["warm", "x"] == [p["goal"] for p in world.payloads(session, "carp.request.received")]


class TestSubscribers:
    """The live stream."""

    def test_subscriber_gets_what_is_stored(self, make_world: Any, atlas: Any) -> None:
        """By callback or queue, numbered from 1, narrowed by type and session."""
        world = make_world(atlas("a.b"))
        session, other = world.open(), world.open()
        world.resolver.flush()
        seen: list[cra.Delivery] = []
        inbox: queue.Queue[cra.Delivery] = queue.Queue()
        all_of_it = world.resolver.subscribe(seen.append)
        world.resolver.subscribe(inbox, types=["carp.resolution.completed"], session_id=session.session_id)
        other.resolve("x")
        session.resolve("x")
        world.resolver.flush()
        assert all_of_it.wait_idle(SECONDS)
        assert list(range(1, 7)) == [delivery.number for delivery in seen]
        assert [*world.trace(other)[1:], *world.trace(session)[1:]] == [delivery.event for delivery in seen]
        delivery = inbox.get(timeout=SECONDS)
        assert (1, "carp.resolution.completed", session.session_id) == (
            delivery.number,
            delivery.event.event_type,
            delivery.event.session_id,
        )
        assert inbox.empty()
        all_of_it.close()
        session.resolve("x")
        world.resolver.flush()
        assert 6 == len(seen)

    def test_slow_and_broken_subscribers_hold_up_nothing(self, make_world: Any, atlas: Any) -> None:
        """The runtime goes on; the slow one sees by the numbers what it missed."""
        world = make_world(atlas("a.b"))
        go = threading.Event()
        numbers: list[int] = []

        def slow(delivery: cra.Delivery) -> None:
            go.wait(SECONDS)
            numbers.append(delivery.number)

        def broken(delivery: cra.Delivery) -> None:
            raise ValueError("broken")

        world.resolver.flush()
        before = len(world.trace(world.resolver.session_id))
        slowly = world.resolver.subscribe(slow, capacity=2)
        badly = world.resolver.subscribe(broken)
        session = world.open()
        for _ in range(5):
            session.resolve("x")
            world.resolver.flush()
        everything = len(world.trace(session)) + len(world.trace(world.resolver.session_id)) - before
        go.set()
        assert slowly.wait_idle(SECONDS)
        assert badly.wait_idle(SECONDS)
        assert everything == badly.errors
        assert everything == len(numbers) + slowly.dropped
        assert slowly.dropped > 0
        assert sorted(numbers) == numbers


class TestImmediate:
    """`tracing="immediate"`: stored on return."""

    def test_events_are_there_without_a_flush(self, atlas: Any) -> None:
        """And the same ones, from the same calls."""
        traces = []
        for tracing in ("immediate", "deferred"):
            storage = MemoryStorage()
            with cra.Resolver(storage, tracing=tracing, clock=VirtualClock(), ids=SeededIds(1)) as resolver:
                resolver.load_atlas(atlas("a.b"))
                resolver.register("a.b", dict)
                session = resolver.create_session("bot", "work")
                session.execute("a.b", resolution=session.resolve("x"))
                if tracing == "immediate":
                    assert 7 == storage.count(session.session_id)
                session.end()
            traces.append(list(storage.events(session.session_id)))
        assert traces[0] == traces[1]

    def test_failing_store_stops_what_would_come_next(self, atlas: Any) -> None:
        """`StorageError` where it happens; once the store is back, everything that was kept is there, in order."""
        storage = Failing()
        with cra.Resolver(storage, tracing="immediate") as resolver:
            session = resolver.create_session("bot", "work")
            storage.error = StorageError("the disk is full")
            for _ in range(2):
                with pytest.raises(StorageError, match="the disk is full"):
                    session.resolve("x")
            storage.error = None
            session.resolve("x")
            events = resolver.trace(session.session_id)
            assert cra.verify_chain(events).valid
            assert 2 == [event.event_type for event in events].count("carp.resolution.completed")
