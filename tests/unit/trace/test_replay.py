"""Replay: what a runtime decided comes out again, and what was changed does not. PROTOCOL: Replay."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

import cra
from cra.reference.chain import hash_value, seal
from cra.trace.event import GENESIS_HASH

ENV = {"policy_id": "prod", "type": "deny", "conditions": {"context_matches": {"env": "prod"}}}
WILD = {"policy_id": "wild", "type": "deny", "conditions": {"context_matches": {"env": "prod-*"}}}
CAP = {"policy_id": "cap", "type": "rate_limit", "parameters": {"max_calls": 1, "window_seconds": 60}}
HOLD = {"policy_id": "hold", "type": "require_approval", "actions": ["a.b"]}
Trace = list[cra.Event]
Payload = dict[str, Any]


def rechain(events: Trace) -> Trace:
    """The same events sealed again one after the other: a chain that verifies, whatever was done to them."""
    sealed: Trace = []
    for sequence, event in enumerate(events):
        fields = {**event.to_dict(), "sequence": sequence}
        del fields["event_hash"], fields["trace_version"]
        fields["previous_event_hash"] = sealed[-1].event_hash if sealed else GENESIS_HASH
        sealed.append(seal(**fields))
    assert cra.verify_chain(sealed).valid
    return sealed


def changed(events: Trace, event_type: str, change: Callable[[Payload], Payload], *, number: int = 0) -> Trace:
    """The trace with the payload of one event changed, and sealed again."""
    events = list(events)
    index = [i for i, event in enumerate(events) if event.event_type == event_type][number]
    fields = events[index].to_dict()
    events[index] = cra.Event(**{**fields, "payload": change(dict(fields["payload"]))})
    return rechain(events)


def summary(result: cra.Replay) -> tuple[int, int, int, int]:
    return result.resolutions, result.reproduced, result.not_recomputed, len(result.mismatches)


class TestReproduces:
    """What happened comes out again."""

    @pytest.mark.parametrize("detail", ["full", "decisions"])
    def test_every_resolution_comes_out_the_same(self, detail: str, make_world: Any, atlas: Any) -> None:
        """Tiers, capabilities, hints, budgets, context, with all detail or with decisions alone."""
        blocks = [
            {"context_id": name, "name": name, "content": name * 40, "priority": 5, "keywords": [name]}
            for name in ("one", "two")
        ]
        tier = {"policy_id": "tier", "type": "deny", "actions": ["a.c"], "conditions": {"risk_tiers": ["high"]}}
        manifest = atlas(
            "a.b",
            "a.c",
            rules=[tier, ENV],
            context_blocks=blocks,
            capabilities=[{"capability_id": "some", "name": "Some", "actions": ["a.b"]}],
        )
        world = make_world(manifest, trace_detail=detail)
        session = world.open(risk_tier="medium", scopes=["s"])
        session.resolve("one and two")
        session.resolve("one", risk_tier="high", context_hints=["two"], context_budget=30)
        session.resolve("three", required_capabilities=["some"])
        session.resolve("four", required_capabilities=["none"], context={"env": "prod"}, atlas_ids=["com.example.shop"])
        result = cra.replay(world.trace(session), [manifest])
        assert (True, True, (4, 4, 0, 0)) == (result.valid, result.complete, summary(result))
        assert {
            "valid": True,
            "complete": True,
            "resolutions": 4,
            "reproduced": 4,
            "not_recomputed": 0,
            "mismatches": [],
            "unknown": 0,
            "not_recomputed_reasons": [],
        } == result.to_dict()

    def test_events_can_be_mappings_and_atlases_paths(self, make_world: Any, atlas: Any, tmp_path: Any) -> None:
        """As they are read from a file."""
        import json

        (tmp_path / "atlas.json").write_text(json.dumps(atlas("a.b")))
        world = make_world(str(tmp_path))
        session = world.open()
        session.resolve("x")
        events = [event.to_dict() for event in world.trace(session)]
        assert (1, 1, 0, 0) == summary(cra.replay(events, [tmp_path]))
        assert (1, 1, 0, 0) == summary(cra.replay(events, [cra.load_atlas(tmp_path)]))

    def test_each_resolution_finds_its_own_atlases(self, make_world: Any, atlas: Any) -> None:
        """By `policy_set`, whichever selection, version and default decision it was."""
        one, two = atlas("a.b"), atlas("c.d", atlas_id="com.example.two")
        newer = atlas("a.b", version="2.0.0", rules=[ENV])
        world = make_world(one, two, default_decision="allow")
        session = world.open()
        session.resolve("x")
        session.resolve("x", atlas_ids=["com.example.two"])
        world.resolver.load_atlas(newer, replace=True)
        session.resolve("x")
        assert (3, 3, 0, 0) == summary(cra.replay(world.trace(session), [two, newer, one]))
        result = cra.replay(world.trace(session), [one, two])
        assert (3, 2, 0, 1) == summary(result)
        assert "no selection of the given atlases" in result.mismatches[0].message

    def test_grants_are_followed(self, make_world: Any, atlas: Any) -> None:
        """What was approved is allowed from then on, in the replay too; a grant bound to parameters changes no resolve."""
        bound = HOLD | {"policy_id": "bound", "actions": ["a.c"], "conditions": {"parameters": {"required": ["id"]}}}
        manifest = atlas("a.b", "a.c", rules=[HOLD, bound])
        world = make_world(manifest)
        session = world.open()
        resolution = session.resolve("x")
        for action_id in ("a.b", "a.c"):
            with pytest.raises(cra.ActionRequiresApproval) as caught:
                session.execute(action_id, {"id": 1}, resolution=resolution)
            world.resolver.approve(caught.value.approval_id, by="alice")
        assert session.resolve("x").is_allowed("a.b")
        assert (2, 2, 0, 0) == summary(cra.replay(world.trace(session), [manifest]))

    def test_children_are_evaluated_with_their_parents(self, make_world: Any, atlas: Any) -> None:
        """From the traces of both, in whatever order; without the parent's there is nothing to say."""
        rule = {
            "policy_id": "no",
            "type": "deny",
            "conditions": {"agents": ["boss"], "context_matches": {"env": "prod"}},
        }
        manifest = atlas("a.b", rules=[rule])
        world = make_world(manifest)
        parent = world.open("boss", risk_tier="high", scopes=["s"])
        child = world.open("helper", parent=parent, context={"env": "dev"})
        other = world.open("helper", parent=parent)
        assert child.resolve("x").is_allowed("a.b")
        assert not other.resolve("x").is_allowed("a.b")
        traces = [world.trace(session) for session in (child, other, parent)]
        assert (2, 2, 0, 0) == summary(cra.replay([event for trace in traces for event in trace], [manifest]))
        alone = cra.replay(traces[0], [manifest])
        assert (1, 0, 1, 0) == summary(alone)
        assert (True, False, 1) == (alone.valid, alone.complete, alone.unknown)
        (reason,) = alone.not_recomputed_reasons
        assert (child.session_id, 1) == (reason.session_id, reason.sequence)
        assert f"the trace of the parent session {parent.session_id} is needed as well" == reason.reason

    def test_validate_is_no_resolution(self, make_world: Any, atlas: Any) -> None:
        """It leaves its request alone."""
        world = make_world(atlas("a.b"))
        session = world.open()
        session.answer(session.resolve("x").ask, operation="validate")
        assert (1, 1, 0, 0) == summary(cra.replay(world.trace(session), [atlas("a.b")]))

    def test_nothing_is_valid(self) -> None:
        """An empty trace has no resolution."""
        assert (0, 0, 0, 0) == summary(cra.replay([], []))

    def test_time_windows_are_those_of_the_event(self, make_world: Any, atlas: Any) -> None:
        """Replayed at the time at which it happened."""
        rule = {"policy_id": "noon", "type": "deny", "conditions": {"time_window": {"start": "12:00", "end": "12:01"}}}
        world = make_world(atlas("a.b", rules=[rule]))
        session = world.open()
        assert not session.resolve("x").is_allowed("a.b")
        world.clock.advance(60)
        assert session.resolve("x").is_allowed("a.b")
        assert (2, 2, 0, 0) == summary(cra.replay(world.trace(session), [atlas("a.b", rules=[rule])]))


class TestTakenOnTrust:
    """What a trace cannot hold is counted in `not_recomputed`."""

    @pytest.mark.parametrize("mode", ["enforce", "shadow"])
    @pytest.mark.parametrize("key", ["action", "agent"])
    def test_limits_are_taken_from_the_trace(self, mode: str, key: str, make_world: Any, atlas: Any) -> None:
        """An exhausted limit is one that the trace says was exhausted: reproduced, and counted."""
        rule = {**CAP, "mode": mode, "parameters": {**CAP["parameters"], **({"key": key} if key != "action" else {})}}
        manifest = atlas("a.b", "a.c", rules=[rule])
        world = make_world(manifest)
        world.resolver.register("a.b", dict)
        session = world.open()
        session.execute("a.b", resolution=session.resolve("x"))
        again = session.resolve("x")
        assert (mode == "shadow") == again.is_allowed("a.b")
        result = cra.replay(world.trace(session), [manifest])
        assert (2, 2, 1, 0) == summary(result)
        assert (True, 0, ()) == (result.complete, result.unknown, result.not_recomputed_reasons)

    def test_limits_of_one_name_are_told_apart(self, make_world: Any, atlas: Any) -> None:
        """Two atlases may use one policy id: the one that is exhausted limits its own actions only."""
        wide = {**CAP, "parameters": {"max_calls": 5, "window_seconds": 60, "key": "agent"}}
        law = atlas(atlas_id="com.example.law")
        law["policies"] = [wide]
        manifest = atlas("a.b", "a.c", rules=[{**CAP, "actions": ["a.b"]}])
        world = make_world(manifest, law)
        world.resolver.register("a.b", dict)
        session = world.open()
        session.execute("a.b", resolution=session.resolve("x"))
        assert ["a.c"] == [action.action_id for action in session.resolve("x").allowed_actions]
        assert (2, 2, 1, 0) == summary(cra.replay(world.trace(session), [manifest, law]))

    @pytest.mark.parametrize(
        ("value", "pattern"),
        [
            ("prod", "prod"),
            ("dev", "prod"),
            (5, "5"),
            ("5", "5"),
            (1.5, "1.5"),
            (1.0, "1.0"),
            (1, "1.0"),
            (True, "true"),
            (None, "null"),
            ([1], "prod"),
            ({"a": 1}, "prod"),
            ("{", "{"),
            ("5", '"5"'),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("key", [None, b"key"])
    def test_hash_of_a_literal_is_undone(
        self, value: Any, pattern: str, key: bytes | None, make_world: Any, atlas: Any
    ) -> None:
        """Where all patterns are literals the hash says all that matters, whatever kind of value it was."""
        rule = {"policy_id": "no", "type": "deny", "conditions": {"context_matches": {"env": pattern}}}
        may = {
            "policy_id": "may",
            "type": "allow",
            "actions": ["a.c"],
            "conditions": {"context_matches": {"env": pattern}},
        }
        manifest = atlas("a.b", "a.c", rules=[{**rule, "actions": ["a.b"]}])
        manifest["policies"][0] = {"policy_id": "all", "type": "allow", "actions": ["a.b"]}
        manifest["policies"].append(may)
        world = make_world(manifest, hash_key=key)
        session = world.open(context={"env": value})
        session.resolve("x")
        assert (1, 1, 0, 0) == summary(cra.replay(world.trace(session), [manifest], hash_key=key))

    def test_hash_under_a_wildcard_needs_the_value(self, make_world: Any, atlas: Any) -> None:
        """Not recomputed, unless `context` supplies what was hashed."""
        manifest = atlas("a.b", rules=[ENV, WILD])
        world = make_world(manifest)
        session = world.open()
        for env in ("prod-1", "dev", "prod"):
            session.resolve("x", context={"env": env})
        result = cra.replay(world.trace(session), [manifest])
        assert (3, 1, 2, 0) == summary(result)
        assert (True, False, 2) == (result.valid, result.complete, result.unknown)
        requests = [event.sequence for event in world.trace(session, of="carp.request")]
        hidden = "of the context value 'env' the trace has a hash only; pass it as context"
        assert [(each, hidden) for each in requests[:2]] == [
            (each.sequence, each.reason) for each in result.not_recomputed_reasons
        ]
        assert hidden == result.to_dict()["not_recomputed_reasons"][1]["reason"]
        assert (3, 2, 1, 0) == summary(cra.replay(world.trace(session), [manifest], context={"env": "prod-1"}))

    def test_reasons_are_bounded(self, make_world: Any, atlas: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A long trace of which nothing can be recomputed is counted to its end, and explained by its first resolutions."""
        monkeypatch.setattr("cra.trace.replay.MAX_REASONS", 2)
        manifest = atlas("a.b", rules=[WILD])
        world = make_world(manifest)
        session = world.open(context={"env": "dev"})
        for _ in range(3):
            session.resolve("x")
        result = cra.replay(world.trace(session), [manifest])
        assert (3, 2) == (result.unknown, len(result.not_recomputed_reasons))

    @pytest.mark.parametrize("value", ["prod-1", "dev", 5, "f" * 64, "e" * 64, "x" * 64])
    def test_recorded_values_need_nothing(self, value: Any, make_world: Any, atlas: Any) -> None:
        """With `record_values` the trace has what the conditions read, also where it looks like a hash."""
        literal = {"policy_id": "lit", "type": "deny", "conditions": {"context_matches": {"env": "f" * 64}}}
        manifest = atlas("a.b", rules=[literal])
        world = make_world(manifest, record_values=True)
        session = world.open()
        session.resolve("x", context={"env": value, "other": "secret"})
        assert {"env": value} == world.payloads(session, "carp.request.received")[0]["condition_inputs"]
        assert (1, 1, 0, 0) == summary(cra.replay(world.trace(session), [manifest]))


class TestDetects:
    """A trace that was changed, and sealed again so that its chain verifies, does not come out."""

    @pytest.fixture
    def manifest(self, atlas: Any) -> Any:
        blocks = [{"context_id": "one", "name": "One", "content": "One", "priority": 5, "inject_mode": "always"}]
        deny = {"policy_id": "no", "type": "deny", "actions": ["a.c"]}
        return atlas("a.b", "a.c", "a.d", rules=[deny, CAP], context_blocks=blocks)

    @pytest.fixture
    def trace(self, make_world: Any, manifest: Any) -> Trace:
        world = make_world(manifest)
        session = world.open()
        session.resolve("x")
        session.resolve("y")
        trace: Trace = world.trace(session)
        return trace

    def test_untouched_trace_is_reproduced(self, trace: Trace, manifest: Any) -> None:
        """Sealing again changes nothing by itself."""
        assert (2, 2, 0, 0) == summary(cra.replay(rechain(trace), [manifest]))

    @pytest.mark.parametrize(
        ("event_type", "change"),
        [
            ("policy.evaluated", {"result": "deny"}),
            ("policy.evaluated", {"policy_id": "other"}),
            ("policy.evaluated", {"action_id": "a.c"}),
            ("policy.evaluated", {"result": "rate_limited"}),
            ("policy.evaluated", {"extra": 1}),
            ("context.injected", {"block_id": "two"}),
            ("context.injected", {"token_count": 2}),
            ("context.injected", {"priority": 6}),
            ("carp.resolution.completed", {"decision_type": "allow"}),
            ("carp.resolution.completed", {"allowed_count": 3}),
            ("carp.resolution.completed", {"denied_count": 0}),
            ("carp.resolution.completed", {"context_block_count": 0}),
            ("carp.resolution.completed", {"request_id": "00000000-0000-7000-8000-000000000000"}),
            ("carp.resolution.completed", {"policy_set": "0" * 64}),
            ("carp.request.received", {"risk_tier": "high", "required_capabilities": ["x"]}),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("number", [0, 1])
    def test_changed_decision_is_a_mismatch(
        self, event_type: str, change: Payload, number: int, trace: Trace, manifest: Any
    ) -> None:
        """Named with its session and the sequence of its request; the other resolution is reproduced."""
        per_resolve = sum(event.event_type == event_type for event in trace) // 2
        tampered = changed(trace, event_type, lambda payload: payload | change, number=number * per_resolve)
        result = cra.replay(tampered, [manifest])
        assert (False, 2, 1) == (result.valid, result.resolutions, result.reproduced)
        (mismatch,) = result.mismatches
        request = [event for event in tampered if event.event_type == "carp.request.received"][number]
        assert (request.session_id, request.sequence) == (mismatch.session_id, mismatch.sequence)

    def test_limit_outcome_of_its_own_policy_is_believed(self, trace: Trace, manifest: Any) -> None:
        """The state of a limit is not in the trace: this one is counted instead, and the counts have to fit."""
        change = {"policy_id": "cap", "result": "rate_limited"}
        tampered = changed(trace, "policy.evaluated", lambda payload: payload | change)
        assert (2, 1, 1, 1) == summary(cra.replay(tampered, [manifest]))
        counts = {"allowed_count": 1, "denied_count": 2}
        tampered = changed(tampered, "carp.resolution.completed", lambda payload: payload | counts)
        assert (2, 2, 1, 0) == summary(cra.replay(tampered, [manifest]))

    @pytest.mark.parametrize("event_type", ["policy.evaluated", "context.injected"])
    def test_missing_and_doubled_events_are_mismatches(self, event_type: str, trace: Trace, manifest: Any) -> None:
        """What was expected and what was found are shown, or that there is nothing."""
        index = next(i for i, event in enumerate(trace) if event.event_type == event_type)
        without = cra.replay(rechain(trace[:index] + trace[index + 1 :]), [manifest])
        again = cra.Event(**trace[index].to_dict() | {"event_id": "00000000-0000-7000-8000-000000000000"})
        doubled = cra.replay(rechain([*trace[:index], again, *trace[index:]]), [manifest])
        assert [1, 1] == [len(without.mismatches), len(doubled.mismatches)]
        assert event_type == without.mismatches[0].expected["event_type"]
        assert event_type == doubled.mismatches[0].actual["event_type"]

    def test_what_is_too_much_is_shown_against_the_completion(self, trace: Trace, manifest: Any) -> None:
        """Where nothing more was expected, the end of the resolve was."""
        completed = next(i for i, event in enumerate(trace) if event.event_type == "carp.resolution.completed")
        fields = trace[completed].to_dict() | {"event_type": "context.injected", "event_id": trace[0].session_id}
        tampered = rechain([*trace[:completed], cra.Event(**fields), *trace[completed:]])
        result = cra.replay(tampered, [manifest])
        assert 1 == len(result.mismatches)
        assert "carp.resolution.completed" == result.mismatches[0].expected["event_type"]
        assert "context.injected" == result.mismatches[0].actual["event_type"]

    @pytest.mark.parametrize("event_type", ["carp.request.received", "carp.resolution.completed"])
    def test_resolve_without_beginning_or_end_is_no_trace(self, event_type: str, trace: Trace, manifest: Any) -> None:
        """A resolve cannot be made to vanish by half."""
        indexes = [i for i, event in enumerate(trace) if event.event_type == event_type]
        for index in indexes:
            with pytest.raises(cra.ReplayError, match=r"belongs to no resolve|the trace is cut"):
                cra.replay(rechain(trace[:index] + trace[index + 1 :]), [manifest])

    @pytest.mark.parametrize(
        ("host", "asked", "had", "lacks"),
        [
            (None, ["com.example.shop", "com.example.two"], ["com.example.shop"], "com.example.two"),
            (["com.example.two"], None, ["com.example.shop"], "com.example.two"),
            (["com.example.two"], ["com.example.shop", "com.example.two"], ["com.example.shop"], "com.example.two"),
            (["com.example.shop", "com.example.two"], ["com.example.two"], ["com.example.shop"], "com.example.two"),
        ],
    )
    def test_policy_set_has_what_is_selected(
        self, host: Any, asked: Any, had: Any, lacks: str, make_world: Any, manifest: Any, atlas: Any
    ) -> None:
        """What session and request name together has to be in it: an atlas cannot be left out and named all the same."""
        other = atlas("b.b", atlas_id="com.example.two")
        world = make_world(manifest, other)
        session = world.open()
        session.resolve("x", atlas_ids=had)
        tampered = world.trace(session)
        if host is not None:
            tampered = changed(tampered, "session.started", lambda payload: payload | {"atlas_ids": host})
        request = {"atlas_ids": asked}
        tampered = changed(
            tampered,
            "carp.request.received",
            lambda payload: {k: v for k, v in (payload | request).items() if v is not None},
        )
        result = cra.replay(tampered, [manifest, other])
        assert (1, 0, 0, 1) == summary(result)
        assert f"the policy set lacks {lacks}, which session and request select" == result.mismatches[0].message

    def test_overlays_are_part_of_every_selection(self, make_world: Any, manifest: Any, atlas: Any) -> None:
        """A policy set may have more than was named; nothing named, nothing missing."""
        law = atlas(atlas_id="com.example.law")
        world = make_world(manifest)
        world.resolver.load_atlas(law, overlay=True)
        session = world.open(atlas_ids=["com.example.shop"])
        session.resolve("x", atlas_ids=["com.example.law"])
        session.resolve("x")
        assert (2, 2, 0, 0) == summary(cra.replay(world.trace(session), [manifest, law]))

    def test_resolve_that_becomes_a_validate_is_no_trace(self, trace: Trace, manifest: Any) -> None:
        """A validate has no evaluations."""
        tampered = changed(trace, "carp.request.received", lambda payload: payload | {"operation": "validate"})
        with pytest.raises(cra.ReplayError, match="belongs to no resolve"):
            cra.replay(tampered, [manifest])


class TestNoTrace:
    """What is no trace is a `ReplayError`, whatever it is."""

    @pytest.mark.parametrize(
        "change",
        [
            {"goal": 5},
            {"goal": None},
            {"risk_tier": "extreme"},
            {"required_capabilities": [["a"]]},
            {"required_capabilities": 5},
            {"condition_inputs": [1]},
            {"context_budget": "much"},
            {"operation": None},
        ],
        ids=str,
    )
    def test_ill_typed_request(self, change: Payload, make_world: Any, atlas: Any) -> None:
        """One error with advice, never a `TypeError`; and not in Python's words, which differ between the implementations."""
        block = {"context_id": "one", "name": "One", "content": "One", "priority": 5, "keywords": ["one"]}
        manifest = atlas("a.b", context_blocks=[block], rules=[ENV])
        world = make_world(manifest)
        session = world.open()
        session.resolve("one")
        with pytest.raises(cra.ReplayError, match=r"the [a-z.]+ at sequence \d+ ") as info:
            cra.replay(changed(world.trace(session), "carp.request.received", lambda p: p | change), [manifest])
        assert not re.search("Error|object|argument", str(info.value), re.IGNORECASE)

    def test_missing_fields_and_bad_times(self, make_world: Any, atlas: Any) -> None:
        """What a resolve needs has to be there."""
        world = make_world(atlas("a.b"))
        session = world.open()
        session.resolve("one")
        events = [event.to_dict() for event in world.trace(session)]
        for bad in (
            [{**event, "timestamp": "yesterday"} for event in events],
            [{**event, "payload": {}} for event in events],
            [{**event, "payload": []} for event in events],
            [*events[:-1], {**events[-1], "timestamp": "9999-99-99T99:99:99.999999Z"}],
            [{}],
            [None],
        ):
            with pytest.raises(cra.ReplayError, match="verify it first"):
                cra.replay(bad, [atlas("a.b")])  # type: ignore[arg-type]

    @pytest.mark.parametrize("year", ["0001-01-01", "9999-12-31"])
    def test_times_at_the_ends_of_the_calendar(self, year: str, make_world: Any, atlas: Any) -> None:
        """They are times: a window is open or closed then, and nothing is raised."""
        rule = {"policy_id": "w", "type": "deny", "conditions": {"time_window": {"timezone": "America/New_York"}}}
        tokyo = {"policy_id": "t", "type": "deny", "conditions": {"time_window": {"timezone": "Asia/Tokyo"}}}
        manifest = atlas("a.b", rules=[rule, tokyo])
        world = make_world(manifest)
        session = world.open()
        session.resolve("x")
        moved = [cra.Event(**{**e.to_dict(), "timestamp": f"{year}T23:59:59.000000Z"}) for e in world.trace(session)]
        assert (1, 1, 0, 0) == summary(cra.replay(rechain(moved), [manifest]))

    def test_session_that_is_its_own_ancestor(self, make_world: Any, atlas: Any) -> None:
        """Refused, not followed for ever."""
        world = make_world(atlas("a.b"))
        session = world.open()
        session.resolve("x")
        me = {"parent_session_id": session.session_id}
        with pytest.raises(cra.ReplayError, match="its own ancestor"):
            cra.replay(changed(world.trace(session), "session.started", lambda p: p | me), [atlas("a.b")])

    def test_trace_without_its_beginning(self, make_world: Any, atlas: Any) -> None:
        """A mismatch; and nothing is known of the session, so nothing is recomputed: neither grants nor resolutions."""
        world = make_world(atlas("a.b", rules=[HOLD]))
        session = world.open()
        approval = session.request_approval(session.resolve("x").decision.approval_id)
        world.resolver.approve(approval.approval_id, by="alice")
        session.resolve("x")
        result = cra.replay(world.trace(session)[1:], [atlas("a.b", rules=[HOLD])])
        assert (2, 0, 2, 1) == summary(result)
        assert (session.session_id, 1) == (result.mismatches[0].session_id, result.mismatches[0].sequence)
        assert {"the trace does not have the beginning of the session"} == {
            each.reason for each in result.not_recomputed_reasons
        }

    def test_too_many_atlases(self, atlas: Any) -> None:
        """Their selections are tried, so there is a bound."""
        with pytest.raises(cra.ReplayError, match="too many atlases"):
            cra.replay([], [atlas(atlas_id=f"com.example.a{n}") for n in range(13)])
        cra.replay([], [atlas(atlas_id=f"com.example.a{n}") for n in range(11)])

    def test_hash_of_a_value_is_the_chain_s(self) -> None:
        """What `condition_inputs` hold is `hash_value`, so that a caller can prepare a `context`."""
        assert hash_value("prod") == hash_value("prod", None)
        assert hash_value("prod") != hash_value("prod", b"key")
