"""Sessions end by the clock: idle, old, warned before, and with grace for what is under way. PROTOCOL: Timing defaults."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cra
from cra.testing import SeededIds, VirtualClock, VirtualTimers
from cra.timing.session_ttl import SessionLifetimes

QUIET = cra.Timing(heartbeat_seconds=None)


@pytest.fixture
def timed(make_world: Any, atlas: Any) -> Callable[..., Any]:
    """A world whose clock drives its timers."""

    def make(timing: cra.Timing = QUIET, **options: Any) -> Any:
        clock = VirtualClock()
        return make_world(atlas("a.b"), clock=clock, timers=VirtualTimers(clock), timing=timing, **options)

    return make


def test_an_idle_session_ends_by_itself(timed: Any) -> None:
    """Nobody has to use it for that, and what it held is let go of."""
    world = timed(idle_seconds=1000)
    session = world.open()
    world.clock.advance(1000)
    assert "active" == session.status
    world.clock.advance(1)
    assert "ended" == session.status
    assert {"action_count": 0, "duration_ms": 1_000_000, "reason": "timeout"} == world.trace(session)[-1].payload
    assert 0 == world.resolver.stats().sessions_active
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None


def test_use_keeps_a_session_alive(timed: Any) -> None:
    """A resolve stores a time; the timer that was set before it looks at that and comes again."""
    world = timed(idle_seconds=1000)
    session = world.open()
    for _ in range(5):
        world.clock.advance(900)
        session.resolve("x")
    world.clock.advance(1000)
    assert "active" == session.status
    world.clock.advance(0.001)
    assert "ended" == session.status


def test_a_session_in_use_ends_at_its_life(timed: Any) -> None:
    """However much it is used."""
    world = timed(idle_seconds=1000, life_seconds=3000)
    session = world.open()
    for _ in range(5):
        world.clock.advance(599)
        session.resolve("x")
    world.clock.advance(5)
    assert "active" == session.status
    world.clock.advance(1)
    assert "ended" == session.status
    assert "timeout" == world.trace(session)[-1].payload["reason"]


def test_children_end_with_a_parent_that_timed_out(timed: Any) -> None:
    """As with one that was ended."""
    world = timed(idle_seconds=1000, life_seconds=3000)
    parent = world.open()
    world.clock.advance(900)
    child = world.open(parent=parent)
    for _ in range(6):
        world.clock.advance(420)
        if child.status == "active":
            child.resolve("x")
    assert ["ended", "ended"] == [parent.status, child.status]
    assert "cancelled" == world.trace(child)[-1].payload["reason"]


class TestWarning:
    """`session.expiring`, some time before."""

    def test_the_trace_and_the_host_are_told(self, timed: Any) -> None:
        """Once, at its time, of the end that comes first."""
        told: list[Any] = []
        world = timed(cra.Timing(heartbeat_seconds=None, on_warning=lambda *about: told.append(about)))
        session = world.open()
        world.clock.advance(3299)
        assert [] == told
        world.clock.advance(250)
        assert [(session, 300.0)] == told
        assert [{"cause": "idle", "seconds_left": 300}] == world.payloads(session, "session.expiring")

    def test_a_warning_does_not_keep_the_session_alive(self, timed: Any) -> None:
        """It is the runtime's word, not the agent's."""
        world = timed()
        session = world.open()
        world.clock.advance(3601)
        assert ["session.started", "session.expiring", "session.ended"] == world.types(session)

    def test_each_end_is_warned_of(self, timed: Any) -> None:
        """Used after a warning the session has a new end; the last is that of its life."""
        world = timed(life_seconds=8000)
        session = world.open()
        world.clock.advance(3400)
        session.resolve("x")
        world.clock.advance(3500)
        session.resolve("x")
        world.clock.advance(1000)
        assert ["idle", "idle", "life"] == [each["cause"] for each in world.payloads(session, "session.expiring")]

    @pytest.mark.parametrize(
        ("idle", "life", "uses"), [(1000, 1500, [400, 1201]), (300, 500, [201]), (300, 500, [200, 201])]
    )
    def test_a_use_shortly_before_the_end_may_make_it_the_end_of_its_life(
        self, timed: Any, idle: int, life: int, uses: list[int]
    ) -> None:
        """Which is warned of within a second then, and not when the timer would have looked at the old end."""
        world = timed(idle_seconds=idle, life_seconds=life)
        session = world.open()
        for before, use in zip([0, *uses], uses):
            world.clock.advance(use - before)
            session.resolve("x")
        world.clock.advance(1)
        assert {"cause": "life", "seconds_left": life - uses[-1] - 1} == world.payloads(session, "session.expiring")[-1]

    def test_a_session_shorter_than_the_warning_is_not_warned(self, timed: Any) -> None:
        """It would be warned as soon as it is opened."""
        world = timed(idle_seconds=200)
        session = world.open()
        world.clock.advance(201)
        assert ["session.started", "session.ended"] == world.types(session)

    def test_what_on_warning_raises_ends_nothing(self, timed: Any) -> None:
        """It is counted with the timers, every session is warned, and they end at their time."""

        def fail(session: cra.Session, left: float) -> None:
            raise ValueError("no")

        clock = VirtualClock()
        timers = VirtualTimers(clock)
        with cra.Resolver(
            clock=clock, timers=timers, timing=cra.Timing(on_warning=fail, heartbeat_seconds=None)
        ) as resolver:
            sessions = [resolver.create_session("bot", "x") for _ in range(3)]
            clock.advance(3300)
            assert "ValueError: no" == timers.stats().last_error
            for session in sessions:
                assert ["session.started", "session.expiring"] == [
                    event.event_type for event in resolver.trace(session.session_id)
                ]
            clock.advance(301)
            assert 0 == resolver.stats().sessions_active


def test_a_warning_that_redaction_prevents_does_not_keep_a_session_alive() -> None:
    """Whatever the host's function raises is counted, and the session is looked at again."""

    def redact(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
        if kind == "session.expiring":
            raise ValueError("no")
        return payload

    clock = VirtualClock()
    timers = VirtualTimers(clock)
    with cra.Resolver(clock=clock, timers=timers, timing=QUIET, redact=redact) as resolver:
        sessions = [resolver.create_session("bot", "x") for _ in range(3)]
        clock.advance(3602)
        assert "ValueError: no" == timers.stats().last_error
        assert ["ended"] * 3 == [session.status for session in sessions]


@pytest.mark.parametrize("field", ["idle_seconds", "life_seconds"])
@pytest.mark.parametrize("value", [float("nan"), -1, "60", None, True])
def test_a_lifetime_that_is_none_is_refused(field: str, value: Any) -> None:
    """With the name of what is wrong."""
    with pytest.raises(ValueError, match=f"{field} is "):
        cra.Resolver(**{field: value})


def test_sessions_may_live_for_ever() -> None:
    """Infinity is a number of seconds."""
    clock = VirtualClock()
    with cra.Resolver(
        clock=clock, timers=VirtualTimers(clock), idle_seconds=float("inf"), life_seconds=float("inf"), timing=QUIET
    ) as resolver:
        session = resolver.create_session("bot", "x")
        clock.advance(10**7)
        assert "active" == session.status


class TestGrace:
    """Executions that are under way when their session expires."""

    def run_over(self, world: Any, advance: Callable[[cra.Session], None]) -> cra.Session:
        """A session that expires while its executor runs, which then does `advance`."""
        session: cra.Session = world.open()
        world.resolver.register("a.b", lambda: advance(session), inline=True)
        session.execute("a.b", resolution=session.resolve("x"))
        return session

    def test_an_execution_may_come_back_within_the_grace(self, timed: Any) -> None:
        """Its outcome is recorded, nothing new is begun, and then the session ends."""
        world = timed()

        def work(session: cra.Session) -> None:
            world.clock.advance(3601 + 59)
            assert "active" == session.status
            with pytest.raises(cra.SessionExpired):
                session.resolve("more")

        session = self.run_over(world, work)
        assert "active" == session.status
        world.clock.advance(1)
        assert "ended" == session.status
        assert ["action.executed", "session.ended"] == world.types(session)[-2:]
        assert 1 == world.trace(session)[-1].payload["action_count"]

    def test_after_the_grace_it_is_closed_as_unknown(self, timed: Any) -> None:
        """The session does not wait for ever."""
        world = timed()
        with pytest.raises(cra.CRAError):
            self.run_over(world, lambda session: world.clock.advance(3600 + 61))
        world.resolver.flush()
        session_id = next(each for each in world.storage.sessions() if each != world.resolver.session_id)
        failed, ended = world.trace(session_id)[-2:]
        assert ("action.failed", "unknown") == (failed.event_type, failed.payload["effect"])
        assert "timeout" == ended.payload["reason"]

    def test_without_timers_its_user_ends_it(self, make_world: Any, atlas: Any) -> None:
        """Within the grace it is refused, after it ended."""
        world = make_world(atlas("a.b"))
        seen: list[str] = []

        def work(session: cra.Session) -> None:
            for seconds in (3601, 59.5):
                world.clock.advance(seconds)
                with pytest.raises(cra.SessionExpired):
                    session.resolve("more")
                seen.append(session.status)

        with pytest.raises(cra.CRAError):
            self.run_over(world, work)
        assert ["active", "ended"] == seen


def test_resolutions_that_nobody_can_use_are_let_go_of(timed: Any) -> None:
    """A session that lives on without resolving does not hold 1,024 of them."""
    world = timed(ttl_seconds=60)
    session = world.open()
    resolution_id = session.resolve("x").resolution_id
    world.clock.advance(59)
    assert session.resolution(resolution_id) is not None
    world.clock.advance(2)
    with pytest.raises(cra.ResolutionExpired, match="does not remember"):
        session.resolution(resolution_id)
    again = session.resolve("x").resolution_id
    world.clock.advance(30)
    assert session.resolution(again) is not None


def test_a_session_that_cannot_be_ended_now_ends_later(timed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for its last event: it is tried again every second, and no other session waits for it."""
    world = timed(idle_seconds=100)
    first, second = world.open(), world.open()

    ended = cra.Session.end

    def end(session: cra.Session, reason: Any = "completed") -> None:
        if session is first and not allowed:
            raise cra.TraceBackpressure("full")
        ended(session, reason)

    allowed: list[int] = []
    monkeypatch.setattr(cra.Session, "end", end)
    world.clock.advance(150)
    assert ["active", "ended"] == [first.status, second.status]
    allowed.append(1)
    world.clock.advance(1)
    assert "ended" == first.status


def test_ended_sessions_take_up_no_memory(timed: Any) -> None:
    """Those that were seen by a sweep and ended since are forgotten long before their time would have come."""
    world = timed(idle_seconds=10_000)
    lifetimes: SessionLifetimes = world.resolver._manager._lifetimes
    for _ in range(20):
        sessions = [world.open() for _ in range(100)]
        lifetimes.sweep(world.clock.monotonic_ns())
        for session in sessions:
            session.end()
    lifetimes.sweep(world.clock.monotonic_ns())
    assert len(lifetimes._heap) <= 64
    assert len(lifetimes._watches) <= 64


def test_ten_thousand_sessions_end_at_their_times(timed: Any) -> None:
    """Opened ten seconds apart, a hundred at a time."""
    world = timed(idle_seconds=1000)
    for _ in range(100):
        for _ in range(100):
            world.open()
        world.clock.advance(10)
    assert 10_000 == world.resolver.stats().sessions_active
    world.clock.advance(500.5)
    assert 4900 == world.resolver.stats().sessions_active
    world.clock.advance(500)
    assert 0 == world.resolver.stats().sessions_active


STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "use", "end", "advance", "advance"]), st.integers(0, 3), st.integers(1, 700)),
    max_size=40,
)


@example([("open", 0, 1), ("advance", 0, 201), ("use", 0, 1), ("advance", 0, 1)], (300, 500, 300))
@given(STEPS, st.sampled_from([(500, 2000, 100), (300, 500, 300), (1000, 900, 60)]))
def test_random_activity_ends_sessions_when_a_model_says(
    steps: list[tuple[str, int, int]], spans: tuple[int, int, int]
) -> None:
    """Against a model that computes every end from the times of use, and looks at them second by second."""
    idle, life, warning = spans
    clock = VirtualClock()
    timing = cra.Timing(heartbeat_seconds=None, warning_seconds=warning)
    with cra.Resolver(
        clock=clock,
        ids=SeededIds(1),
        timers=VirtualTimers(clock),
        timing=timing,
        idle_seconds=idle,
        life_seconds=life,
        default_decision="allow",
    ) as resolver:
        sessions: list[cra.Session] = []
        model: list[dict[str, Any]] = []
        now = 0

        def pass_second() -> None:
            for each in model:
                if each["ended"] is not None:
                    continue
                by_idle, by_life = each["used"] + idle, each["opened"] + life
                end, span = (by_life, life) if by_life < by_idle else (by_idle, idle)
                if now > end:
                    each["ended"] = "timeout"
                elif warning < span and now >= end - warning and each["warned"] != end:
                    each["warned"] = end
                    each["warnings"] += 1

        for what, number, seconds in steps:
            if what == "open":
                sessions.append(resolver.create_session("bot", "x"))
                model.append({"used": now, "opened": now, "ended": None, "warned": None, "warnings": 0})
            elif what == "advance":
                clock.advance(seconds)
                for _ in range(seconds):
                    now += 1
                    pass_second()
            elif number < len(sessions) and model[number]["ended"] is None and sessions[number].status == "active":
                if what == "use":
                    sessions[number].resolve("y")
                    model[number]["used"] = now
                else:
                    sessions[number].end()
                    model[number]["ended"] = "completed"
        for session, expected in zip(sessions, model):
            events = resolver.trace(session.session_id)
            reasons = [event.payload["reason"] for event in events if event.event_type == "session.ended"]
            if session.active_ns + idle * 10**9 != clock.monotonic_ns() - 1:  # the model looks at whole seconds
                assert ([] if expected["ended"] is None else [expected["ended"]]) == reasons
            assert expected["warnings"] == sum(event.event_type == "session.expiring" for event in events)


def test_time_runs_out_while_other_threads_resolve() -> None:
    """Real threads, virtual time: no session ends twice, none that was used in time ends early, every chain is whole."""
    clock = VirtualClock()
    with cra.Resolver(clock=clock, timers=VirtualTimers(clock), timing=QUIET, idle_seconds=5) as resolver:
        refused: list[str] = []

        def work() -> None:
            while len(refused) < 100:
                session = resolver.create_session("bot", "x")
                try:
                    for _ in range(100):
                        session.resolve("y")
                        clock.advance(0.1)
                    clock.advance(6)
                    session.resolve("y")
                except (cra.SessionExpired, cra.SessionAlreadyEnded) as error:
                    refused.append(type(error).__name__)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        clock.advance(6)
        assert refused
        assert 0 == resolver.stats().sessions_active
        resolver.flush()
        for backend in resolver._backends:
            for session_id in backend.sessions():
                events = list(backend.events(session_id))
                assert cra.verify_chain(events).valid
                assert sum(event.event_type == "session.ended" for event in events) <= 1
