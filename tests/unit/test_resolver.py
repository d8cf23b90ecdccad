"""The front door: options, atlases, executors, sessions, and closing."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.execution import approvals
from cra.reference.ring_room import CLOSING_BYTES
from cra.storage.jsonl import JsonlStorage
from cra.storage.memory import MemoryStorage
from cra.storage.null import NullStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace.event import Event
from tests.support.rings import full_ring

DENY = {"policy_id": "no", "type": "deny"}
HOLD = {"policy_id": "hold", "type": "require_approval"}


class TestOptions:
    """What a `Resolver` can be told, and what it refuses to be told."""

    def test_a_storage_that_cannot_give_the_durability_is_closed_again(self, tmp_path: Any) -> None:
        """As are those beside it: nobody has a resolver that would."""
        beside = JsonlStorage(tmp_path)
        with pytest.raises(StorageError, match="'memory:' cannot make anything durable"):
            cra.Resolver([beside, "memory:"], durability="durable")
        with pytest.raises(StorageError, match="closed"):
            beside.append([])

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"tracing": "later"}, ValueError, "tracing is 'later'; it is one of deferred, immediate"),
            ({"overflow": "explode"}, ValueError, "overflow is"),
            ({"default_decision": "maybe"}, ValueError, "default_decision is"),
            ({"trace_detail": "none"}, ValueError, "trace_detail is"),
            ({"durability": "eternal"}, ValueError, "durability is"),
            ({"ttl_seconds": -1}, ValueError, "ttl_seconds is -1"),
            ({"ttl_seconds": 86_401}, ValueError, "ttl_seconds is 86401"),
            ({"ttl_seconds": "soon"}, ValueError, "ttl_seconds is 'soon'; it has to be a whole number"),
            ({"overflow_timeout": -1}, ValueError, "overflow_timeout is -1"),
            ({"overflow_timeout": float("nan")}, ValueError, "overflow_timeout is nan"),
            ({"overflow_timeout": None}, ValueError, "overflow_timeout is None"),
            ({"redact": "everything"}, ValueError, "redact has to be a function"),
            ({"hash_key": "text"}, ValueError, "hash_key has to be bytes"),
            ({"ring": "/dev/null/ring"}, StorageError, "folder '/dev/null/ring' for rings cannot be used"),
            ({"durability": "durable"}, StorageError, "'memory:' cannot make anything durable"),
            ({"storage": ["memory:", "null:"], "durability": "durable"}, StorageError, "cannot make anything durable"),
            ({"storage": "redis:///x"}, StorageError, "is not known"),
            ({"storage": []}, StorageError, "storage is"),
        ],
        ids=str,
    )
    def test_bad_option_is_refused_with_what_it_may_be(self, options: Any, error: Any, message: str) -> None:
        """At once, by name."""
        with pytest.raises(error, match=message):
            cra.Resolver(**options)

    def test_every_option_has_a_default(self) -> None:
        """`Resolver()` works as it is, on real clocks and random ids."""
        with cra.Resolver() as resolver:
            session = resolver.create_session("bot", "work")
            assert "deny" == session.resolve("x").decision.type
            stats = resolver.stats()
            assert (1, 0, 1, 0, 0) == (
                stats.resolutions,
                stats.executions,
                stats.sessions_active,
                stats.atlases,
                stats.approvals_pending,
            )
            assert (1, 0) == (stats.plans_cached, stats.recorder.records_lost)

    def test_default_decision_allow_allows_what_no_policy_speaks_of(self, make_world: Any, atlas: Any) -> None:
        """For atlases written for runtimes that default to allow."""
        manifest = {**atlas("a.b"), "policies": []}
        assert make_world(manifest, default_decision="allow").open().resolve("x").is_allowed("a.b")
        assert not make_world(manifest).open().resolve("x").is_allowed("a.b")


class TestAtlases:
    """Loading, replacing and unloading, with what the runtime's own session says of it."""

    def test_runtime_s_own_session_tells(self, make_world: Any, atlas: Any) -> None:
        """Its start with version, process and host; every atlas with id, version and digest; its end."""
        world = make_world(atlas("a.b"))
        resolver = world.resolver
        resolver.unload_atlas("com.example.shop")
        types = ["session.started", "runtime.started", "runtime.atlas_loaded", "runtime.atlas_unloaded"]
        assert types == world.types(resolver.session_id)
        started, runtime, loaded, unloaded = (event.payload for event in world.trace(resolver.session_id))
        assert "cra.runtime" == started["agent_id"]
        assert (cra.__version__, cra.implementation(), os.getpid()) == (
            runtime["version"],
            runtime["implementation"],
            runtime["process"],
        )
        assert {"version", "implementation", "process", "host"} == set(runtime)
        digest = cra.load_atlas(atlas("a.b")).digest
        assert {"atlas_id": "com.example.shop", "version": "1.0.0", "sha256": digest} == loaded
        assert {"atlas_id": "com.example.shop"} == unloaded
        resolver.close()
        assert "session.ended" == list(world.storage.events(resolver.session_id))[-1].event_type

    def test_failed_load_changes_and_says_nothing(self, make_world: Any, atlas: Any) -> None:
        """Nothing is half loaded."""
        world = make_world(atlas("a.b"))
        for source, error in (
            (atlas("a.b"), cra.AtlasAlreadyLoaded),
            ({**atlas("a.b"), "policies": [{"policy_id": "x"}]}, cra.InvalidPolicy),
            ("/nowhere/at/all", cra.AtlasNotFound),
        ):
            with pytest.raises(error):
                world.resolver.load_atlas(source)
        assert ["com.example.shop"] == [info.atlas_id for info in world.resolver.list_atlases()]
        assert 1 == len(world.payloads(world.resolver.session_id, "runtime.atlas_loaded"))

    def test_replace_swaps_for_the_sessions_that_are_open(self, make_world: Any, atlas: Any) -> None:
        """The next resolve is decided by the new version; what was handed out stays as it was."""
        world = make_world(atlas("a.b"))
        session = world.open(atlas_ids=["com.example.shop"])
        before = session.resolve("x")
        world.resolver.load_atlas(atlas("a.b", version="2.0.0", rules=[DENY]), replace=True)
        assert [True, False] == [before.is_allowed("a.b"), session.resolve("x").is_allowed("a.b")]

    def test_preload_loads_all_or_none(self, make_world: Any, atlas: Any) -> None:
        """Off the event loop, each with its event."""
        world = make_world()
        sources = [atlas("a.b"), atlas("c.d", atlas_id="com.example.two")]
        loaded = asyncio.run(world.resolver.preload_atlases(sources))
        assert ["com.example.shop", "com.example.two"] == [each.atlas_id for each in loaded]
        with pytest.raises(cra.InvalidAtlasManifest):
            asyncio.run(world.resolver.preload_atlases([atlas("e.f", atlas_id="com.example.three"), {}]))
        assert (
            2 == len(world.resolver.list_atlases()) == len(world.payloads(world.resolver.session_id, "runtime.atlas"))
        )

    def test_unloaded_atlas_is_gone_at_once(self, make_world: Any, atlas: Any) -> None:
        """A session that selects it by name is told; one that takes what there is gets nothing."""
        world = make_world(atlas("a.b"))
        named, everything = world.open(atlas_ids=["com.example.shop"]), world.open()
        for session in (named, everything):
            assert session.resolve("x").is_allowed("a.b")
        world.resolver.unload_atlas("com.example.shop")
        with pytest.raises(cra.AtlasNotFound):
            named.resolve("x")
        assert "deny" == everything.resolve("x").decision.type
        with pytest.raises(cra.AtlasNotFound):
            world.resolver.unload_atlas("com.example.shop")

    def test_evicted_atlas_leaves_memory_and_comes_back(self, tmp_path: Any, make_world: Any, atlas: Any) -> None:
        """What no session uses is read again when it is needed; nothing compiled holds on to it."""
        import json

        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            manifest = atlas(f"{name}.b", atlas_id=f"com.example.{name}")
            (tmp_path / name / "atlas.json").write_text(json.dumps(manifest))
        size = cra.load_atlas(tmp_path / "one").size_bytes
        world = make_world(atlas_cache_bytes=size + size // 2)
        world.resolver.load_atlas(tmp_path / "one")
        with world.open(atlas_ids=["com.example.one"]) as session:
            session.resolve("x")
        world.resolver.load_atlas(tmp_path / "two")
        assert [False, True] == [info.resident for info in world.resolver.list_atlases()]
        assert 0 == world.resolver.stats().plans_cached
        with world.open(atlas_ids=["com.example.one"]) as session:
            assert session.resolve("x").is_allowed("one.b")

    def test_policy_sets_are_bounded(self, make_world: Any, atlas: Any) -> None:
        """Any number of selections is served; only so many stay compiled."""
        from cra.runtime import MAX_POLICY_SETS

        atlases = [atlas(f"a{n}.b", atlas_id=f"com.example.a{n}") for n in range(7)]
        world = make_world(*atlases)
        session = world.open()
        for number in range(1, 2**7):
            chosen = [f"com.example.a{n}" for n in range(7) if number >> n & 1]
            assert len(chosen) == len(session.resolve("x", atlas_ids=chosen).allowed_actions)
        assert len(session.runtime._policy_sets) <= MAX_POLICY_SETS


class TestExecutors:
    """Registration."""

    def test_decorator_and_call_register_alike(self, make_world: Any, atlas: Any) -> None:
        """The function stays what it was; a later registration replaces an earlier one."""
        world = make_world(atlas("a.b"))

        @world.resolver.action("a.b")
        def first() -> str:
            return "first"

        session = world.open()
        resolution = session.resolve("x")
        assert ("first", "first") == (first(), session.execute("a.b", resolution=resolution).result)
        world.resolver.register("a.b", lambda: "second")
        assert "second" == session.execute("a.b", resolution=resolution).result
        with pytest.raises(TypeError, match="not callable"):
            world.resolver.register("a.b", "function")

    @pytest.mark.parametrize("shared", [False, True])
    def test_inline_executors_run_on_the_thread_of_their_caller(
        self, shared: bool, make_world: Any, atlas: Any
    ) -> None:
        """Registered by call or by decorator, for one action or for all that share it; the others do not."""
        world = make_world(atlas({"action_id": "a.b", "executor": "here"}))
        name = "here" if shared else "a.b"
        session = world.open()
        resolution = session.resolve("x")

        def run() -> int:
            result: int = session.execute("a.b", resolution=resolution).result
            return result

        world.resolver.register(name, threading.get_ident, shared=shared, inline=True)
        assert threading.get_ident() == run()
        world.resolver.register(name, threading.get_ident, shared=shared)
        assert threading.get_ident() != run()

        @world.resolver.action(name, shared=shared, inline=True)
        def where() -> int:
            return threading.get_ident()

        assert threading.get_ident() == where() == run()

    def test_inline_executors_are_synchronous(self, make_world: Any, atlas: Any) -> None:
        """Nobody could await one on the caller's thread; what was registered before stays."""
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", lambda: "first")

        async def second() -> str:
            return "second"

        with pytest.raises(TypeError, match=r"'a\.b' is asynchronous and cannot run inline; leave out inline"):
            world.resolver.register("a.b", second, inline=True)
        session = world.open()
        assert "first" == session.execute("a.b", resolution=session.resolve("x")).result


class TestSessions:
    """Opening, finding, revoking."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"agent_id": ""}, "/agent_id: a string of 1 to 255"),
            ({"agent_id": "x" * 256}, "/agent_id"),
            ({"agent_id": None}, "/agent_id"),
            ({"goal": ""}, "/goal"),
            ({"goal": "x" * 10_001}, "/goal"),
            ({"risk_tier": "extreme"}, "/risk_tier: risk_tier is one of low, medium, high, critical"),
            ({"scopes": "admin"}, "/scopes: a list of strings"),
            ({"atlas_ids": "com.example.shop"}, "/atlas_ids: a list of strings"),
            ({"context": []}, "/context"),
            ({"session_id": "x"}, "/session_id: a UUID is needed"),
        ],
        ids=str,
    )
    def test_bad_facts_are_refused(self, options: Any, message: str, make_world: Any, atlas: Any) -> None:
        """With the place; nothing is opened."""
        world = make_world(atlas("a.b"))
        with pytest.raises(cra.InvalidCARPRequest, match=message):
            world.resolver.create_session(**{"agent_id": "bot", "goal": "work", **options})
        assert 0 == world.resolver.stats().sessions_active

    def test_session_started_says_what_the_host_said(self, make_world: Any, atlas: Any) -> None:
        """Agent and goal, and what is not the default; without a parent span."""
        world = make_world(atlas("a.b"))
        plain = world.open()
        assert {"agent_id": "bot", "goal": "work"} == world.trace(plain)[0].payload
        facts = {"scopes": ["b", "a"], "risk_tier": "high", "atlas_ids": ["com.example.shop"], "context": {"secret": 1}}
        parent = world.open(scopes=["a", "b", "c"])
        event = world.trace(world.open(parent=parent, **facts))[0]
        expected = {"scopes": ["a", "b"], "risk_tier": "high", "atlas_ids": ["com.example.shop"]}
        assert {"agent_id": "bot", "goal": "work", "parent_session_id": parent.session_id} | expected == event.payload
        assert (None, 0) == (event.parent_span_id, event.sequence)

    def test_unknown_atlas_is_refused(self, make_world: Any, atlas: Any) -> None:
        """A session cannot select what is not loaded; what it pinned is free again when opening fails."""
        world = make_world(atlas("a.b"))
        with pytest.raises(cra.AtlasNotFound):
            world.open(atlas_ids=["com.example.none"])
        world.resolver.revoke("bad")
        with pytest.raises(cra.ActionDenied):
            world.open("bad", atlas_ids=["com.example.shop"])
        assert not world.resolver._runtime.registry._pins

    def test_given_session_id_is_used_once(self, make_world: Any, atlas: Any) -> None:
        """In lower case; not again while it is open, nor after, nor when a store has it from before."""
        session_id = "0192F3A1-7C4E-7D2A-9B1F-3C5E7A9B1D3F"
        storage = Outliving()
        world = make_world(atlas("a.b"), storage=storage)
        session = world.open(session_id=session_id)
        assert session_id.lower() == session.session_id
        for _ in range(2):
            with pytest.raises(cra.SessionAlreadyExists):
                world.open(session_id=session_id)
            if session.status == "active":
                session.end()
        world.resolver.flush()
        again = make_world(atlas("a.b"), storage=[Unreadable(), storage], seed=2)
        with pytest.raises(cra.SessionAlreadyExists):
            again.open(session_id=session_id)
        again.storage = storage

    def test_sessions_are_found_by_id(self, make_world: Any, atlas: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Active ones; those that ended last are known to have ended, older ones are not known."""
        monkeypatch.setattr("cra.sessions.REMEMBERED_SESSIONS", 1)
        world = make_world(atlas("a.b"))
        first, second = world.open(), world.open()
        assert first is world.resolver.session(first.session_id)
        first.end()
        with pytest.raises(cra.SessionAlreadyEnded):
            world.resolver.session(first.session_id)
        second.end()
        with pytest.raises(cra.SessionNotFound):
            world.resolver.session(first.session_id)

    def test_revoked_agent_has_no_sessions(self, make_world: Any, atlas: Any) -> None:
        """Its sessions end as `cancelled`, and it gets no new ones; others go on."""
        world = make_world(atlas("a.b"))
        parent, other = world.open("bad"), world.open("good")
        child = world.open("bad", parent=parent)
        assert 2 >= world.resolver.revoke("bad") >= 1
        for session in (parent, child):
            assert ["cancelled"] == [payload["reason"] for payload in world.payloads(session, "session.ended")]
        with pytest.raises(cra.ActionDenied, match="'bad' is revoked"):
            world.open("bad")
        assert 0 == world.resolver.revoke("bad")
        other.resolve("x")

    def test_child_that_cannot_be_ended_yet_can_do_nothing_any_more(self, make_world: Any, atlas: Any) -> None:
        """A full trace queue stops the cascade half-way: the parent has ended, so the child ends at its next call."""
        world = make_world(atlas("a.b"), overflow="fail")
        parent = world.open()
        child = world.open(parent=parent)
        world.resolver.flush()
        recorder = parent.runtime.recorder
        with full_ring(recorder.ring, CLOSING_BYTES), recorder._drain.busy, pytest.raises(cra.TraceBackpressure):
            parent.end()
        assert ("ended", "active") == (parent.status, child.status)
        with pytest.raises(cra.SessionAlreadyEnded, match="the parent, has ended"):
            child.resolve("x")
        assert ["cancelled"] == [payload["reason"] for payload in world.payloads(child, "session.ended")]


class Unreadable(NullStorage):
    """A store of a user's own that cannot be read."""

    name = "mine:"


class Outliving(MemoryStorage):
    """A store that outlives the resolver it was given to."""

    def close(self) -> None:
        pass


class Failing(MemoryStorage):
    """Takes events until it is given an error to raise instead."""

    error: Exception | None = None

    def append(self, batch: Sequence[Event]) -> None:
        if self.error is not None:
            raise self.error
        super().append(batch)


class TestApprovals:
    """What the front door adds to the book of approvals."""

    def test_decision_is_recorded_or_not_made(self, make_world: Any, atlas: Any) -> None:
        """What cannot be recorded — no JSON, or the redaction fails — is not decided; `redact` sees the whole payload."""
        seen: list[dict[str, Any]] = []

        def redact(event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
            if event_type == "approval.granted":
                seen.append(payload)
                if payload["reason"] == "bad":
                    raise OSError("no rules")
                return payload | {"by": "somebody"}
            return payload

        world = make_world(atlas("a.b", rules=[HOLD]), redact=redact)
        session = world.open()
        wanted = session.request_approval(session.resolve("x").decision.approval_id).approval_id
        with pytest.raises(OSError, match="no rules"):
            world.resolver.approve(wanted, by="alice", reason="bad")
        with pytest.raises(cra.InvalidTraceEvent):
            world.resolver.approve(wanted, by="alice", reason="\ud800")
        assert 1 == len(world.resolver.pending_approvals())
        assert "alice" == world.resolver.approve(wanted, by="alice").decided_by
        assert {"approval_id", "atlas_id", "policy_id", "action_id", "by", "reason"} == set(seen[0])
        assert ["somebody"] == [payload["by"] for payload in world.payloads(session, "approval.granted")]

    def test_expired_approvals_are_recorded_though_the_queue_was_full(self, make_world: Any, atlas: Any) -> None:
        """What could not be recorded is recorded with the next call."""
        world = make_world(atlas("a.b", "a.c", rules=[HOLD]), overflow="fail", idle_seconds=10**6, life_seconds=10**6)
        session = world.open()
        for entry in session.resolve("x").constraints[0].parameters["approvals"]:
            session.request_approval(entry["approval_id"])
        world.clock.advance(86_400)
        world.resolver.flush()
        recorder = session.runtime.recorder
        with full_ring(recorder.ring, 250), recorder._drain.busy, pytest.raises(cra.TraceBackpressure):
            world.resolver.pending_approvals()  # room for one of the two
        assert 1 == recorder.stats().records_waiting
        assert [] == world.resolver.pending_approvals()
        assert ["approval.requested"] * 2 + ["approval.expired"] * 2 == world.types(session, of="approval")

    def test_grant_is_in_the_trace_before_what_it_allows(self, make_world: Any, atlas: Any) -> None:
        """No resolve sees a grant that is not recorded yet: they share the session's lock."""
        world = make_world(atlas("a.b", rules=[HOLD]))
        session = world.open()
        wanted = session.request_approval(session.resolve("x").decision.approval_id).approval_id
        grant = session.runtime.approvals.grant
        results: list[bool] = []
        thread = threading.Thread(target=lambda: results.append(session.resolve("x").is_allowed("a.b")))

        def slow(*arguments: Any, **options: Any) -> approvals.Approval:
            approval = grant(*arguments, **options)
            thread.start()
            thread.join(0.1)
            return approval

        session.runtime.approvals.grant = slow
        world.resolver.approve(wanted, by="alice")
        thread.join(60)
        assert [True] == results
        types = world.types(session)
        assert types.index("approval.granted") < len(types) - 1 - types[::-1].index("carp.request.received")
        assert () == cra.replay(world.trace(session), [atlas("a.b", rules=[HOLD])]).mismatches


class TestClose:
    """The end of a runtime."""

    def test_close_ends_everything_that_is_open(self, make_world: Any, atlas: Any) -> None:
        """Sessions as `cancelled`, then the runtime's own; a second close does nothing; nothing opens any more."""
        world = make_world(atlas("a.b"))
        session = world.open()
        world.open(parent=session)
        with world.resolver:
            pass
        world.resolver.close()
        endings = [
            e.payload["reason"] for e in world.storage.events(session.session_id) if e.event_type == "session.ended"
        ]
        assert ["cancelled"] == endings
        with pytest.raises(cra.SessionAlreadyEnded, match="resolver is closed"):
            world.open()
        with pytest.raises(cra.SessionAlreadyEnded):
            session.resolve("x")
        with pytest.raises(cra.InternalError, match="closed"):
            world.resolver.load_atlas(atlas("c.d", atlas_id="com.example.two"))

    def test_close_stops_though_sessions_cannot_be_ended(self, make_world: Any, atlas: Any) -> None:
        """The queue is full and the store stuck: the error is raised, and nothing goes on running."""
        storage = Failing()
        resolver = cra.Resolver(storage, overflow="fail", clock=VirtualClock(), ids=SeededIds(1))
        resolver.create_session("bot", "work")
        resolver.flush()
        recorder = resolver._runtime.recorder
        with full_ring(recorder.ring), pytest.raises(cra.TraceBackpressure):
            resolver.close()
        assert "closed" == recorder.queue.state
        resolver.close()

    def test_close_says_what_was_lost(self) -> None:
        """A store that takes nothing: `StorageError` with the numbers."""
        storage = Failing()
        resolver = cra.Resolver(storage, clock=VirtualClock())
        resolver.create_session("bot", "work")
        resolver.flush()
        storage.error = StorageError("the disk is full")
        recorder = resolver._runtime.recorder
        close = recorder.close
        recorder.close = lambda: close(timeout=0.05)
        with pytest.raises(StorageError, match="the disk is full"):
            resolver.close()

    def test_runtime_s_own_chain_is_not_taken_up_again(self, make_world: Any, atlas: Any) -> None:
        """An atlas that is loaded while the runtime closes, or after, is refused, not recorded after the end."""
        late = cra.Resolver()
        load = late._runtime.registry.load

        def load_slowly(*arguments: Any, **options: Any) -> cra.Atlas:
            loaded = load(*arguments, **options)
            closing.start()
            while not late._own_ended:
                closing.join(0.001)
            return loaded

        closing = threading.Thread(target=late.close)
        late._runtime.registry.load = load_slowly
        with pytest.raises(cra.InternalError, match="this resolver is closed"):
            late.load_atlas(atlas("a.b"))
        closing.join(60)
        own = list(late._backends[0].events(late.session_id))
        assert "session.ended" == own[-1].event_type
        world = make_world()
        recorder = world.resolver._runtime.recorder
        close = recorder.close
        errors: list[BaseException] = []

        def load_and_close() -> None:
            try:
                world.resolver.load_atlas(atlas("a.b"))
            except cra.InternalError as error:
                errors.append(error)
            close()

        recorder.close = load_and_close
        world.resolver.close()
        assert 1 == len(errors)
