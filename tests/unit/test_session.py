"""Sessions: what host and request say together, how long they live, and how they end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

import cra
from cra.reference.session_core import REMEMBERED_RESOLUTIONS
from cra.trace import record_queue

SECRET = {"policy_id": "prod", "type": "deny", "conditions": {"context_matches": {"env": "prod"}}}
NIGHT = {"policy_id": "high", "type": "deny", "conditions": {"risk_tiers": ["high", "critical"]}}
SCOPED = {"policy_id": "staff", "type": "scope", "parameters": {"required_scopes": ["staff"]}}
HOLD = {"policy_id": "hold", "type": "require_approval"}


def allowed(resolution: cra.Resolution) -> list[str]:
    return [action.action_id for action in resolution.allowed_actions]


class Undecided(list[str]):
    """A list that is neither true nor false, as arrays are."""

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


@pytest.mark.parametrize("name", ["context_hints", "required_capabilities"])
@pytest.mark.parametrize("value", [None, 0, "", False, {}])
def test_what_is_no_list_is_refused_whatever_came_before(name: str, value: Any, make_world: Any, atlas: Any) -> None:
    """After a plain resolve as before it."""
    session = make_world(atlas("a.b")).open()
    for _ in range(2):
        with pytest.raises(cra.InvalidCARPRequest) as caught:
            session.resolve("work", **{name: value})
        assert f"/{name}" == caught.value.path
        session.resolve("work")


def test_a_list_s_truth_is_not_asked_for(make_world: Any, atlas: Any) -> None:
    """Before a plain resolve and after it."""
    session = make_world(atlas("a.b")).open()
    for _ in range(2):
        assert ("c",) == session.resolve("work", context_hints=Undecided("c")).ask.context_hints
        session.resolve("work")


@pytest.mark.parametrize("context", [range(0), 5, "text", [1]])
def test_a_context_that_is_no_mapping_is_refused(context: Any, make_world: Any, atlas: Any) -> None:
    """Whatever it is."""
    session = make_world(atlas("a.b")).open()
    with pytest.raises(cra.InvalidCARPRequest) as caught:
        session.resolve("work", context=context)
    assert "/context" == caught.value.path


class TestMerging:
    """PROTOCOL: The host says who and where, the agent says what for."""

    @pytest.mark.parametrize(
        ("host", "asked", "result"),
        [
            ("low", None, True),
            ("low", "medium", True),
            ("low", "high", False),
            ("high", "low", False),
            ("high", None, False),
        ],
    )
    def test_request_can_raise_the_risk_tier_and_not_lower_it(
        self, host: Any, asked: Any, result: bool, make_world: Any, atlas: Any
    ) -> None:
        """The effective tier is the higher of both."""
        session = make_world(atlas("a.b", rules=[NIGHT])).open(risk_tier=host)
        assert result == session.resolve("x", risk_tier=asked).is_allowed("a.b")

    def test_request_adds_context_and_overrides_none(self, make_world: Any, atlas: Any) -> None:
        """A key that the host has set is the host's; another one is the request's."""
        world = make_world(atlas("a.b", rules=[SECRET]))
        assert not world.open(context={"env": "prod"}).resolve("x", context={"env": "dev"}).is_allowed("a.b")
        assert world.open(context={"env": "dev"}).resolve("x", context={"env": "prod"}).is_allowed("a.b")
        assert world.open().resolve("x", context={"env": "dev"}).is_allowed("a.b")

    def test_scopes_are_the_session_s_alone(self, make_world: Any, atlas: Any) -> None:
        """No field of a request gives scopes."""
        world = make_world(atlas("a.b", rules=[SCOPED]))
        assert not world.open().resolve("x", context={"scopes": ["staff"]}).is_allowed("a.b")
        assert world.open(scopes=["staff", "other"]).resolve("x").is_allowed("a.b")

    def test_atlas_selections_intersect(self, make_world: Any, atlas: Any) -> None:
        """A request narrows the session's atlases; one that the session does not have stays out."""
        world = make_world(atlas("a.b"), atlas("c.d", atlas_id="com.example.two"))
        both = world.open()
        assert ["a.b", "c.d"] == allowed(both.resolve("x"))
        assert ["c.d"] == allowed(both.resolve("x", atlas_ids=["com.example.two"]))
        one = world.open(atlas_ids=["com.example.shop"])
        assert ["a.b"] == allowed(one.resolve("x"))
        assert [] == allowed(one.resolve("x", atlas_ids=["com.example.two"]))
        with pytest.raises(cra.AtlasNotFound):
            one.resolve("x", atlas_ids=["com.example.three"])

    def test_overlay_is_part_of_every_selection(self, make_world: Any, atlas: Any) -> None:
        """What an overlay denies is denied, whatever session and request select."""
        world = make_world(atlas("a.b"))
        no = atlas(atlas_id="com.example.law", rules=[{"policy_id": "no", "type": "deny"}], policies=[])
        no["policies"] = [{"policy_id": "no", "type": "deny"}]
        world.resolver.load_atlas(no, overlay=True)
        session = world.open(atlas_ids=["com.example.shop"])
        assert not session.resolve("x", atlas_ids=["com.example.shop"]).is_allowed("a.b")

    @pytest.mark.parametrize(
        "options",
        [
            {"goal": ""},
            {"goal": "x" * 10_001},
            {"goal": 5},
            {"risk_tier": "extreme"},
            {"context_hints": "one"},
            {"required_capabilities": "one"},
            {"atlas_ids": "com.example.shop"},
            {"context_hints": [1]},
            {"context_budget": -1},
            {"context_budget": True},
            {"context": []},
        ],
        ids=repr,
    )
    def test_bad_arguments_are_refused_before_anything_is_recorded(
        self, options: Any, make_world: Any, atlas: Any
    ) -> None:
        """`InvalidCARPRequest`, and no event."""
        world = make_world(atlas("a.b"))
        session = world.open()
        with pytest.raises(cra.InvalidCARPRequest):
            session.resolve(**{"goal": "x", **options})
        assert ["session.started"] == world.types(session)

    def test_goal_that_cannot_be_hashed_is_refused(self, make_world: Any, atlas: Any) -> None:
        """A lone surrogate raises where it is given, not later in the worker."""
        session = make_world(atlas("a.b")).open()
        with pytest.raises(cra.InvalidTraceEvent):
            session.resolve("x\ud800")

    def test_two_atlases_with_one_action_conflict(self, make_world: Any, atlas: Any) -> None:
        """Both are named; a selection of one of them works. PROTOCOL: Policy parameters."""
        world = make_world(atlas("a.b"), atlas("a.b", atlas_id="com.example.two"))
        session = world.open()
        with pytest.raises(cra.Conflict, match=r"com\.example\.shop.*com\.example\.two"):
            session.resolve("x")
        assert ["a.b"] == allowed(session.resolve("x", atlas_ids=["com.example.two"]))


class TestChildren:
    """PROTOCOL: a child session is never allowed more than its parent."""

    def test_child_inherits_what_it_does_not_say(self, make_world: Any, atlas: Any) -> None:
        """Scopes, context, tier and atlases are the parent's."""
        world = make_world(atlas("a.b"))
        facts = {"scopes": ["s"], "context": {"k": 1}, "risk_tier": "high", "atlas_ids": ["com.example.shop"]}
        child = world.open(parent=world.open(**facts))
        assert frozenset({"s"}) == child.scopes
        assert {"k": 1} == child.context
        assert "high" == child.risk_tier
        assert frozenset({"com.example.shop"}) == child.atlas_ids

    def test_child_narrows(self, make_world: Any, atlas: Any) -> None:
        """What it says itself only takes away: fewer scopes and atlases, a higher tier, more context."""
        world = make_world(atlas("a.b"), atlas("c.d", atlas_id="com.example.two"))
        parent = world.open(
            scopes=["s", "t"], context={"k": 1}, risk_tier="medium", atlas_ids=["com.example.shop", "com.example.two"]
        )
        child = world.open(
            parent=parent.session_id,
            scopes=["t", "u"],
            context={"k": 2, "l": 3},
            risk_tier="low",
            atlas_ids=["com.example.two"],
        )
        assert frozenset({"t"}) == child.scopes
        assert {"k": 1, "l": 3} == child.context
        assert "medium" == child.risk_tier
        assert frozenset({"com.example.two"}) == child.atlas_ids
        assert "critical" == world.open(parent=parent, risk_tier="critical").risk_tier
        assert (
            frozenset({"com.example.two"}) == world.open(parent=world.open(), atlas_ids=["com.example.two"]).atlas_ids
        )

    def test_policies_about_the_parent_s_agent_hold_for_the_child(self, make_world: Any, atlas: Any, run: Any) -> None:
        """Another agent id does not get a child past what the parent is denied, at resolve and at execute."""
        rule = {"policy_id": "no", "type": "deny", "conditions": {"agents": ["boss"]}}
        world = make_world(atlas("a.b", rules=[rule]))
        child = world.open("helper", parent=world.open("boss"))
        resolution = child.resolve("x")
        assert not resolution.is_allowed("a.b")
        with pytest.raises(cra.ActionDenied):
            run(child, "a.b", resolution=resolution)
        assert world.open("helper").resolve("x").is_allowed("a.b")

    def test_child_s_calls_count_for_the_parent(self, make_world: Any, atlas: Any, run: Any) -> None:
        """A limit of one call is one call for parent and children together."""
        rule = {"policy_id": "cap", "type": "rate_limit", "parameters": {"max_calls": 1, "window_seconds": 9}}
        world = make_world(atlas("a.b", rules=[rule]))
        world.resolver.register("a.b", dict)
        parent = world.open("boss")
        child = world.open("helper", parent=parent)
        run(child, "a.b", resolution=child.resolve("x"))
        with pytest.raises(cra.RateLimitExceeded):
            run(parent, "a.b", resolution=parent.resolve("x"))
        other = world.open("second", parent=parent)
        with pytest.raises(cra.RateLimitExceeded):
            run(other, "a.b", resolution=other.resolve("x"))

    def test_counters_of_a_parent_s_session_end_with_it(self, make_world: Any, atlas: Any, run: Any) -> None:
        """A budget for the session's life that a child has spent from leaves memory when the parent ends."""
        rule = {"policy_id": "purse", "type": "budget", "parameters": {"max_cost": 5, "cost": 1}}
        world = make_world(atlas("a.b", rules=[rule]))
        world.resolver.register("a.b", dict)
        parent = world.open("boss")
        child = world.open("helper", parent=parent)
        run(child, "a.b", resolution=child.resolve("x"))
        limits = parent.runtime.limits
        assert 2 == len(limits)
        parent.end()
        assert 0 == len(limits)

    def test_ending_a_parent_ends_its_children(self, make_world: Any, atlas: Any) -> None:
        """All of them, down to the last generation, as `cancelled`."""
        world = make_world(atlas("a.b"))
        parent = world.open()
        child = world.open(parent=parent)
        grandchild = world.open(parent=child)
        parent.end()
        for session, reason in ((parent, "completed"), (child, "cancelled"), (grandchild, "cancelled")):
            assert "ended" == session.status
            assert [reason] == [payload["reason"] for payload in world.payloads(session, "session.ended")]

    def test_child_of_an_ended_parent_cannot_be_opened(self, make_world: Any, atlas: Any) -> None:
        """Neither by object nor by id."""
        world = make_world(atlas("a.b"))
        parent = world.open()
        parent.end()
        for reference in (parent, parent.session_id):
            with pytest.raises(cra.SessionAlreadyEnded):
                world.open(parent=reference)
        with pytest.raises(cra.SessionNotFound):
            world.open(parent="00000000-0000-7000-8000-000000000000")

    def test_parent_that_ends_while_a_child_is_opened_leaves_no_orphan(
        self, make_world: Any, atlas: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The child is refused, however late the parent's end comes."""
        world = make_world(atlas("a.b"))
        parent = world.open()
        draw = parent.runtime.ids.draw

        def end_and_draw(unix_ms: int) -> int:
            monkeypatch.undo()
            parent.end()
            return draw(unix_ms)

        monkeypatch.setattr(parent.runtime.ids, "draw", end_and_draw)
        with pytest.raises(cra.SessionAlreadyEnded):
            world.open(parent=parent)
        assert 0 == world.resolver.stats().sessions_active

    def test_child_of_an_expired_parent_can_do_nothing(self, make_world: Any, atlas: Any) -> None:
        """A parent that is past its life ends its children's, too, though nobody has noticed its end yet."""
        world = make_world(atlas("a.b"), idle_seconds=50, life_seconds=100)
        parent = world.open()
        world.clock.advance(40)
        child = world.open(parent=parent)
        world.clock.advance(40)
        child.resolve("x")
        world.clock.advance(21)
        with pytest.raises(cra.SessionExpired):
            child.resolve("x")
        assert "ended" == child.status

    def test_child_at_work_keeps_its_parent_from_idling(self, make_world: Any, atlas: Any) -> None:
        """A parent that waits for its child is in use."""
        world = make_world(atlas("a.b"), idle_seconds=50)
        parent = world.open()
        child = world.open(parent=parent)
        for _ in range(3):
            world.clock.advance(40)
            child.resolve("x")
        parent.resolve("x")


class TestLife:
    """PROTOCOL: Timing defaults; TRACE: session.ended."""

    def test_end_says_what_was(self, make_world: Any, atlas: Any, run: Any) -> None:
        """Reason, duration and number of actions; nothing but reading is possible after."""
        world = make_world(atlas("a.b"))
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        run(session, "a.b", resolution=resolution)
        world.clock.advance(1.5)
        session.end("error")
        assert {"reason": "error", "duration_ms": 1500, "action_count": 1} == world.trace(session)[-1].payload
        assert "ended>" in repr(session)
        for call in (session.end, lambda: session.resolve("x"), lambda: session.request_approval("x")):
            with pytest.raises(cra.SessionAlreadyEnded):
                call()
        with pytest.raises(cra.SessionAlreadyEnded):
            world.resolver.session(session.session_id)
        assert "session.ended" == world.types(session)[-1]

    @pytest.mark.parametrize(("error", "reason"), [(None, "completed"), (ValueError, "error")])
    def test_with_block_ends_the_session(self, error: Any, reason: str, make_world: Any, atlas: Any) -> None:
        """`completed` on the way out, `error` when something was raised."""
        world = make_world(atlas("a.b"))
        try:
            with world.open() as session:
                if error is not None:
                    raise error
        except ValueError:
            pass
        assert reason == world.trace(session)[-1].payload["reason"]

    def test_with_block_leaves_an_ended_session_alone(self, make_world: Any, atlas: Any) -> None:
        """Ending it inside is no error."""
        world = make_world(atlas("a.b"))
        with world.open() as session:
            session.end("cancelled")
        assert ["cancelled"] == [payload["reason"] for payload in world.payloads(session, "session.ended")]

    @pytest.mark.parametrize(
        ("steps", "alive"),
        [([3600], True), ([3600.000000001], False), ([3000] * 28, True), ([3000] * 29, False)],
        ids=["idle for as long as may be", "a nanosecond longer", "within its life", "past its life"],
    )
    def test_session_expires(self, steps: list[float], alive: bool, make_world: Any, atlas: Any) -> None:
        """Unused for more than 3,600 s, or older than 86,400 s; then it ends as `timeout`, and says so."""
        world = make_world(atlas("a.b"))
        session = world.open()
        for seconds in steps[:-1]:
            world.clock.advance(seconds)
            session.resolve("x")
        world.clock.advance(steps[-1])
        if alive:
            session.resolve("x")
        else:
            with pytest.raises(cra.SessionExpired):
                session.resolve("x")
            assert "timeout" == world.trace(session)[-1].payload["reason"]
            with pytest.raises(cra.SessionAlreadyEnded):
                session.resolve("x")

    def test_end_closes_what_is_open_first(self, make_world: Any, atlas: Any) -> None:
        """An execution whose end nobody will see is closed as unknown, before `session.ended`."""
        started, go, errors = threading.Event(), threading.Event(), []
        world = make_world(atlas("a.b"))

        def wait() -> None:
            started.set()
            assert go.wait(60)

        def call() -> None:
            try:
                session.execute("a.b", resolution=resolution)
            except cra.CRAError as error:
                errors.append(error)

        world.resolver.register("a.b", wait)
        session = world.open()
        resolution = session.resolve("x")
        thread = threading.Thread(target=call)
        thread.start()
        assert started.wait(60)
        session.end()
        go.set()
        thread.join(60)
        assert ["action.requested", "action.approved", "action.failed", "session.ended"] == world.types(session)[-4:]
        assert "OUTCOME_UNKNOWN" == world.payloads(session, "action.failed")[0]["error_code"]
        assert ["unknown"] == [error.effect for error in errors]


class TestResolutions:
    """PROTOCOL: A Resolution is its own proof; by id, a session knows its last 1,024."""

    def test_last_1024_are_known_by_id(self, make_world: Any, atlas: Any, run: Any) -> None:
        """The 1,025th makes the first unknown; as an object it is still good."""
        world = make_world(atlas("a.b"), storage=None)
        world.resolver.register("a.b", dict)
        session = world.open()
        first = session.resolve("x")
        second = session.resolve("x")
        for _ in range(REMEMBERED_RESOLUTIONS - 1):
            session.resolve("x")
        assert second is session.resolution(second.resolution_id)
        with pytest.raises(cra.ResolutionExpired):
            run(session, "a.b", resolution=first.resolution_id)
        assert "success" == run(session, "a.b", resolution=first).status
        assert "success" == run(session, "a.b", resolution=second.resolution_id).status

    @pytest.mark.parametrize("text", ["", "x", "00000000-0000-7000-8000-000000000000", "9" * 5000, "\ud800"])
    def test_what_is_no_known_id_is_expired(self, text: str, make_world: Any, atlas: Any) -> None:
        """Anything at all can stand where an id belongs."""
        session = make_world(atlas("a.b")).open()
        with pytest.raises(cra.ResolutionExpired):
            session.resolution(text)

    def test_resolution_lives_for_its_ttl(self, make_world: Any, atlas: Any, run: Any) -> None:
        """Up to, and not including, `ttl_seconds` after it was made."""
        world = make_world(atlas("a.b"), ttl_seconds=10)
        world.resolver.register("a.b", dict)
        session = world.open()
        resolution = session.resolve("x")
        assert 10 == resolution.ttl_seconds
        world.clock.advance(9.999999999)
        run(session, "a.b", resolution=resolution)
        world.clock.advance(0.000000001)
        with pytest.raises(cra.ResolutionExpired):
            run(session, "a.b", resolution=resolution)


class TestInterrupted:
    """A resolve may be interrupted wherever it calls into Python: by another thread, a signal handler, a finalizer."""

    @pytest.mark.parametrize("part", ["now_ns", "monotonic_ns", "draw"])
    def test_session_that_ends_meanwhile_records_nothing_more(
        self, part: str, make_world: Any, atlas: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The caller is told, and no resolve comes after the end or is lost."""
        world = make_world(atlas("a.b"))
        session = world.open()
        session.resolve("x")
        before = world.types(session)
        interrupt(monkeypatch, part_of(session, part), part, session.end)
        with pytest.raises(cra.SessionAlreadyEnded):
            session.resolve("x")
        assert [*before, "session.ended"] == world.types(session)
        assert 0 == world.resolver.stats().recorder.records_lost

    @pytest.mark.parametrize("part", ["now_ns", "monotonic_ns", "draw"])
    def test_grant_that_comes_meanwhile_counts(
        self, part: str, make_world: Any, atlas: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What comes after it in the trace is resolved with it, though another resolve has remembered that plan already."""
        world = make_world(atlas("a.b", rules=[HOLD]))
        session = world.open()
        approval = session.request_approval(session.resolve("x").decision.approval_id)

        def grant() -> None:
            world.resolver.approve(approval.approval_id, by="alice")
            session.resolve("y")

        interrupt(monkeypatch, part_of(session, part), part, grant)
        assert session.resolve("x").is_allowed("a.b")
        decisions = [payload["decision_type"] for payload in world.payloads(session, "carp.resolution.completed")]
        assert ["requires_approval", "allow", "allow"] == decisions

    @pytest.mark.parametrize(
        "call",
        [
            lambda session, resolution, approval_id: session.execute("a.b", resolution=resolution),
            lambda session, resolution, approval_id: session.execute("a.c", resolution=resolution),
            lambda session, resolution, approval_id: session.request_approval(approval_id),
        ],
        ids=["execute", "refused", "request_approval"],
    )
    @pytest.mark.parametrize("direct", [True, False])
    def test_session_that_ends_while_its_record_is_made_has_one_chain(
        self, direct: bool, call: Callable[..., object], make_world: Any, atlas: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A signal handler ends it: what the interrupted call would record after that is refused, and begins no other chain."""
        hold = {"policy_id": "hold", "type": "require_approval", "actions": ["a.d"]}
        no = {"policy_id": "no", "type": "deny", "actions": ["a.c"]}
        world = make_world(atlas("a.b", "a.c", "a.d", rules=[hold, no]))
        ran: list[int] = []
        world.resolver.register("a.b", lambda: ran.append(1))
        session = world.open()
        resolution = session.resolve("x")
        approval_id = resolution.constraints[0].parameters["approvals"][0]["approval_id"]
        before = world.types(session)
        interrupt_record(monkeypatch, session, direct)
        with pytest.raises(cra.SessionAlreadyEnded):
            call(session, resolution, approval_id)
        assert [] == ran
        assert [*before, "session.ended"] == world.types(session)
        recorder = world.resolver.stats().recorder
        assert (0, 0, 0) == (recorder.records_lost, recorder.reservations, recorder.ring_reserved)

    @pytest.mark.parametrize("direct", [True, False])
    def test_execution_whose_session_ends_while_its_close_is_recorded_is_unknown(
        self, direct: bool, make_world: Any, atlas: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its closing record is refused, and the room for it given back."""
        world = make_world(atlas("a.b"))
        session = world.open()
        world.resolver.register("a.b", lambda: interrupt_record(monkeypatch, session, direct))
        with pytest.raises(cra.ExecutionError, match="the session ended while it ran"):
            session.execute("a.b", resolution=session.resolve("x"))
        assert "session.ended" == world.types(session)[-1]
        recorder = world.resolver.stats().recorder
        assert (0, 0, 0) == (recorder.records_lost, recorder.reservations, recorder.ring_reserved)

    def test_session_that_is_ending_resolves_no_more(
        self, make_world: Any, atlas: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even for what interrupts the end itself, when that is recorded already."""
        world = make_world(atlas("a.b"))
        session = world.open()
        session.resolve("x")
        interrupt(monkeypatch, session.runtime.approvals, "end_session", lambda: session.resolve("x"))
        with pytest.raises(cra.SessionAlreadyEnded):
            session.end()
        assert "session.ended" == world.types(session)[-1]
        assert 0 == world.resolver.stats().recorder.records_lost


def interrupt_record(monkeypatch: pytest.MonkeyPatch, session: cra.Session, direct: bool) -> None:
    """Have the session end while its next record of events is made: for the ring itself, or on the long way to it."""
    if direct:
        interrupt(monkeypatch, session.runtime.ids, "draw", session.end)
    else:
        session.runtime.direct = False
        interrupt(monkeypatch, record_queue, "encode_events", session.end)


def part_of(session: cra.Session, name: str) -> Any:
    """The session's clock or id source, whichever has a method of this name."""
    return session.runtime.ids if name == "draw" else session.runtime.clock


def interrupt(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, what: Callable[[], object]) -> None:
    """Have the next call of `owner.name` do something else first."""
    function = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        what()
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


class TestApprovals:
    """PROTOCOL: Approvals, as a session sees them."""

    def test_announced_approval_becomes_pending_on_request(self, make_world: Any, atlas: Any, run: Any) -> None:
        """Resolve only announces; `request_approval` makes it pending, once, with its event; a grant then opens."""
        world = make_world(atlas("a.b", "a.c", rules=[HOLD]))
        world.resolver.register("a.c", dict)
        session = world.open()
        resolution = session.resolve("x")
        announced = resolution.constraints[0].parameters["approvals"]
        assert [] == world.resolver.pending_approvals()
        assert announced[0]["approval_id"] == resolution.decision.approval_id
        wanted = announced[1]["approval_id"]
        approval = session.request_approval(wanted)
        assert approval == session.request_approval(wanted)
        assert [approval] == world.resolver.pending_approvals()
        assert ("pending", "a.c") == (approval.status, approval.action_id)
        assert [wanted] == [payload["approval_id"] for payload in world.payloads(session, "approval.requested")]
        world.clock.advance(5)
        granted = world.resolver.approve(wanted, by="alice", reason="fine")
        assert ("granted", "alice", "fine") == (granted.status, granted.decided_by, granted.decision_reason)
        assert "success" == run(session, "a.c", resolution=resolution).status
        payload = world.payloads(session, "approval.granted")[0]
        assert {
            "approval_id": wanted,
            "by": "alice",
            "reason": "fine",
            "policy_id": "hold",
            "action_id": "a.c",
        }.items() <= (payload.items())
        assert ["a.c"] == allowed(session.resolve("x"))

    @pytest.mark.parametrize("text", ["", "x", "00000000-0000-7000-8000-000000000000"])
    def test_unknown_approval_is_not_found(self, text: str, make_world: Any, atlas: Any) -> None:
        """What no policy of the session derives cannot be asked for, nor decided."""
        world = make_world(atlas("a.b", rules=[HOLD]))
        with pytest.raises(cra.ApprovalNotFound):
            world.open().request_approval(text)
        with pytest.raises(cra.ApprovalNotFound):
            world.resolver.approve(text, by="alice")

    def test_approval_of_a_shadow_policy_cannot_be_asked_for(self, make_world: Any, atlas: Any) -> None:
        """A policy that changes nothing holds nothing."""
        from cra.execution.approvals import approval_id

        world = make_world(atlas("a.b", rules=[HOLD | {"mode": "shadow"}]))
        session = world.open()
        with pytest.raises(cra.ApprovalNotFound):
            session.request_approval(approval_id(session.session_id, "com.example.shop", "hold", "a.b"))

    def test_approval_is_for_its_session(self, make_world: Any, atlas: Any, run: Any) -> None:
        """Another session of the same agent is held as before."""
        world = make_world(atlas("a.b", rules=[HOLD]))
        first, second = world.open(), world.open()
        approval = first.request_approval(first.resolve("x").decision.approval_id)
        world.resolver.approve(approval.approval_id, by="alice")
        with pytest.raises(cra.ActionRequiresApproval) as caught:
            run(second, "a.b", resolution=second.resolve("x"))
        assert caught.value.approval_id == second.resolve("x").decision.approval_id != approval.approval_id
        with pytest.raises(cra.ApprovalNotFound):
            second.request_approval(approval.approval_id)

    def test_agent_does_not_approve_itself(self, make_world: Any, atlas: Any) -> None:
        """`by` is never the session's agent; the approval goes on waiting."""
        world = make_world(atlas("a.b", rules=[HOLD]))
        session = world.open("bot")
        approval = session.request_approval(session.resolve("x").decision.approval_id)
        with pytest.raises(cra.ActionDenied):
            world.resolver.approve(approval.approval_id, by="bot")
        with pytest.raises(cra.InvalidParameters):
            world.resolver.approve(approval.approval_id, by=" ")
        assert [approval] == world.resolver.pending_approvals()
        world.resolver.reject(approval.approval_id, by="alice", reason="no")
        with pytest.raises(cra.Conflict):
            world.resolver.approve(approval.approval_id, by="alice")
        assert ["approval.requested", "approval.rejected"] == world.types(session, of="approval")

    def test_pending_approval_expires(self, make_world: Any, atlas: Any) -> None:
        """After 24 hours of its own, with its event; it can be asked for again."""
        world = make_world(atlas("a.b", rules=[HOLD]), life_seconds=10**6, idle_seconds=10**6)
        session = world.open()
        approval = session.request_approval(session.resolve("x").decision.approval_id)
        world.clock.advance(86_399)
        assert [approval] == world.resolver.pending_approvals()
        world.clock.advance(1)
        assert [] == world.resolver.pending_approvals()
        with pytest.raises(cra.ApprovalNotFound):
            world.resolver.approve(approval.approval_id, by="alice")
        assert approval.approval_id == session.request_approval(approval.approval_id).approval_id
        expected = ["approval.requested", "approval.expired", "approval.requested"]
        assert expected == world.types(session, of="approval")

    def test_expiry_in_an_ended_session_leaves_no_event(self, make_world: Any, atlas: Any) -> None:
        """Its chain is closed."""
        world = make_world(atlas("a.b", rules=[HOLD]), life_seconds=10**6, idle_seconds=10**6)
        session = world.open()
        session.request_approval(session.resolve("x").decision.approval_id)
        world.clock.advance(86_400)
        book = session.runtime.approvals
        taken = book.expire_due()
        book.expire_due = lambda: list(taken)  # what another thread holds while the session ends
        session.end()
        session.runtime.expire_approvals()
        session.runtime.sessions[session.session_id] = session
        session.runtime.expire_approvals()
        del session.runtime.sessions[session.session_id]
        assert "session.ended" == world.types(session)[-1]

    def test_decision_that_comes_with_the_end_of_the_session_leaves_no_event(
        self, make_world: Any, atlas: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A chain is not taken up again after `session.ended`: the approval is gone, and the caller is told so."""
        world = make_world(atlas("a.b", rules=[HOLD]))
        session = world.open()
        approval = session.request_approval(session.resolve("x").decision.approval_id)
        reserve = session.runtime.recorder.reserve
        started, ended = threading.Event(), threading.Event()

        def end_meanwhile(room: int) -> Any:
            monkeypatch.undo()
            started.set()
            ended.wait(0.1)
            return reserve(room)

        def end() -> None:
            started.wait(60)
            session.end()
            ended.set()

        monkeypatch.setattr(session.runtime.recorder, "reserve", end_meanwhile)
        thread = threading.Thread(target=end)
        thread.start()
        with contextlib.suppress(cra.ApprovalNotFound):
            world.resolver.approve(approval.approval_id, by="alice")
        thread.join(60)
        assert "session.ended" == world.types(session)[-1]

    def test_expiry_in_two_sessions_at_once_does_not_deadlock(self, make_world: Any, atlas: Any) -> None:
        """No call holds the lock of one session while it waits for that of another."""
        world = make_world(atlas("a.b", rules=[HOLD]), life_seconds=10**6, idle_seconds=10**6)
        first, second = world.open(), world.open()
        ids = [s.resolve("x").decision.approval_id for s in (first, second)]
        second.request_approval(ids[1])
        world.clock.advance(86_400)
        with second.lock:
            thread = threading.Thread(target=first.request_approval, args=(ids[0],), daemon=True)
            thread.start()
            thread.join(0.2)
            assert first.lock.acquire(timeout=60)
            first.lock.release()
        thread.join(60)
        assert not thread.is_alive()


class TestExhaustedLimits:
    """A resolve whose limits are exhausted takes the short way, too. PROTOCOL: Decision, Limits."""

    def test_the_short_way_gives_what_the_long_way_gives(self, make_world: Any, atlas: Any) -> None:
        """Before, while and after a limit is exhausted: the same decisions and the same events, asked plainly or with a hint."""
        limit = {
            "policy_id": "few",
            "type": "rate_limit",
            "actions": ["a.b"],
            "parameters": {"max_calls": 2, "window_seconds": 60, "key": "session"},
        }
        traces = []
        for hints in ((), ("unknown",)):
            world = make_world(atlas("a.b", "a.c", rules=[limit]))
            world.resolver.register("a.b", lambda: 1, inline=True)
            session = world.open()
            seen = []
            for step in range(12):
                resolution = session.resolve("x", context_hints=hints)
                seen.append((resolution.decision.type, resolution.is_allowed("a.b"), resolution.constraints))
                if step < 2:
                    session.execute("a.b", resolution=resolution)
                if step == 8:
                    world.clock.advance(61)
            events = [
                (
                    event.event_type,
                    {k: v for k, v in event.payload.items() if not k.endswith("_id") and k != "context_hints"},
                )
                for event in world.trace(session)
            ]
            traces.append((seen, events))
        assert traces[0] == traces[1]
        assert [True] * 2 + [False] * 7 + [True] * 3 == [allowed for _, allowed, _ in traces[0][0]]
