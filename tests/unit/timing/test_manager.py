"""What a runtime does by the clock: heartbeats, flushes, and letting go. PROTOCOL: Timing defaults."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import cra
from cra import schemas
from cra.testing import VirtualClock, VirtualTimers


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def beats(resolver: cra.Resolver) -> list[dict[str, Any]]:
    """The payloads of the heartbeats so far."""
    return [event.payload for event in resolver.iter_trace(resolver.session_id, types=["runtime.heartbeat"])]


class TestHeartbeats:
    """`runtime.heartbeat` in the runtime's own session."""

    def test_every_thirty_seconds_with_what_happened(self, clock: VirtualClock) -> None:
        """Totals, and what is new since the one before."""
        with cra.Resolver(clock=clock, timers=VirtualTimers(clock), default_decision="allow") as resolver:
            session = resolver.create_session("bot", "x")
            session.resolve("y")
            clock.advance(30)
            session.resolve("y")
            session.resolve("y")
            clock.advance(59)
            first, second = beats(resolver)
            assert (30_000, 1, 1) == (first["uptime_ms"], first["resolutions_total"], first["resolutions"])
            assert (60_000, 3, 2) == (second["uptime_ms"], second["resolutions_total"], second["resolutions"])
            assert {"active": 1, "opened": 1, "timed_out": 0} == first["sessions"]
            assert {"active": 1, "opened": 0, "timed_out": 0} == second["sessions"]
            assert first["memory_bytes"] > 2**20
            clock.advance(3600)
            assert 1 == sum(beat["sessions"]["timed_out"] for beat in beats(resolver))

    def test_they_are_events_that_verify(self, clock: VirtualClock) -> None:
        """And that the strict schema knows."""
        with cra.Resolver(clock=clock, timers=VirtualTimers(clock)) as resolver:
            clock.advance(95)
            events = resolver.trace(resolver.session_id)
            assert cra.verify_chain(events).valid
            assert 3 == sum(event.event_type == "runtime.heartbeat" for event in events)
            schema = jsonschema_rs.validator_for(schemas.load("trace-event"))
            assert all(schema.is_valid(event.to_dict()) for event in events)

    def test_the_host_adds_what_it_wants(self, clock: VirtualClock) -> None:
        """Under a member of its own; where it cannot, the heartbeat comes all the same."""
        answers: list[Any] = [{"queue": 5}, None]
        timing = cra.Timing(heartbeat_seconds=10, heartbeat_payload=lambda: answers.pop(0))
        with cra.Resolver(clock=clock, timers=VirtualTimers(clock), timing=timing) as resolver:
            clock.advance(25)
            first, second = beats(resolver)
            assert {"queue": 5} == first["custom"]
            assert "TypeError" == second["custom_error"]

    @pytest.mark.parametrize(
        "custom",
        [{"x": object()}, {"x": float("nan")}, {"x": "\ud800"}, {1: 2}, {"x": "y" * 3_000_000}],
        ids=["object", "nan", "surrogate", "key", "large"],
    )
    def test_what_cannot_be_recorded_is_left_out(self, clock: VirtualClock, custom: Any) -> None:
        """A heartbeat without it comes all the same, and says so."""
        timers = VirtualTimers(clock)
        timing = cra.Timing(heartbeat_payload=lambda: custom)
        with cra.Resolver(clock=clock, timers=timers, timing=timing) as resolver:
            clock.advance(30)
            (beat,) = beats(resolver)
            assert ("InvalidTraceEvent", None) == (beat["custom_error"], beat.get("custom"))
            assert 0 == timers.stats().errors

    def test_they_pass_by_the_hosts_redaction(self, clock: VirtualClock) -> None:
        """As everything that is recorded."""
        with cra.Resolver(
            clock=clock,
            timers=VirtualTimers(clock),
            redact=lambda kind, payload: {"uptime_ms": 0} if kind == "runtime.heartbeat" else payload,
        ) as resolver:
            clock.advance(30)
            assert [{"uptime_ms": 0}] == beats(resolver)

    def test_none_are_wanted(self, clock: VirtualClock) -> None:
        """Nor timers: `timing=None` is neither heartbeats nor ends by the clock."""
        quiet = cra.Timing(heartbeat_seconds=None)
        with cra.Resolver(clock=clock, timers=VirtualTimers(clock), timing=quiet) as resolver:
            clock.advance(1000)
            assert [] == beats(resolver)
        before = threading.active_count()
        with cra.Resolver("null:", timing=None):
            assert not [thread for thread in threading.enumerate()[before:] if thread.name == "cra-timers"]

    def test_a_beat_without_room_is_missed_and_the_next_one_comes(
        self, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is counted with the timers."""
        timers = VirtualTimers(clock)
        with cra.Resolver(clock=clock, timers=timers) as resolver:

            def full(*_: Any, **__: Any) -> None:
                raise cra.TraceBackpressure("full")

            with monkeypatch.context() as patch:
                patch.setattr(resolver._runtime.recorder, "record", full)
                clock.advance(30)
            clock.advance(30)
            assert 1 == timers.stats().errors
            assert 1 == len(beats(resolver))


def test_flushes_come_by_the_clock(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the level that was asked for."""
    timing = cra.Timing(heartbeat_seconds=None, flush_seconds=5, flush_level="stored")
    with cra.Resolver(clock=clock, timers=VirtualTimers(clock), timing=timing) as resolver:
        levels: list[str] = []
        monkeypatch.setattr(resolver._runtime.recorder, "flush", lambda level, timeout=None: levels.append(level))
        clock.advance(17)
        assert ["stored", "stored", "stored"] == levels
        monkeypatch.undo()


def test_closing_cancels_the_timers_of_the_runtime_alone(clock: VirtualClock) -> None:
    """A host's own on the same backend stay."""
    timers = VirtualTimers(clock)
    timers.schedule_once("mine", 100, lambda: None)
    with cra.Resolver(clock=clock, timers=timers, timing=cra.Timing(flush_seconds=1)):
        assert {"mine", "cra/heartbeat", "cra/flush", "cra/sessions"} == {
            timer.timer_id for timer in timers._schedule.all()
        }
    assert ["mine"] == [timer.timer_id for timer in timers._schedule.all()]
    clock.advance(200)


def test_two_runtimes_share_a_backend_by_names(clock: VirtualClock) -> None:
    """The ids of their timers differ, and each goes on when the other is closed."""
    timers = VirtualTimers(clock)
    first = cra.Resolver(clock=clock, timers=timers, timing=cra.Timing(name="first"))
    second = cra.Resolver(clock=clock, timers=timers, timing=cra.Timing(name="second"))
    clock.advance(30)
    first.close()
    clock.advance(30)
    assert 2 == len(beats(second))
    second.close()


def test_two_runtimes_of_one_name_are_refused(clock: VirtualClock) -> None:
    """The second would take the first one's timers away without a word; once that is closed, the name is free."""
    timers = VirtualTimers(clock)
    first = cra.Resolver(clock=clock, timers=timers)
    with pytest.raises(ValueError, match=r"'cra'.*Timing\.name"):
        cra.Resolver(clock=clock, timers=timers)
    clock.advance(30)
    assert 1 == len(beats(first))
    first.close()
    with cra.Resolver(clock=clock, timers=timers) as second:
        clock.advance(30)
        assert 1 == len(beats(second))


def test_a_resolver_that_cannot_have_its_timers_leaves_nothing_open(tmp_path: Path, clock: VirtualClock) -> None:
    """What was opened before is closed again: the trace of the runtime has its end."""
    timers = VirtualTimers(clock)
    timers.close()
    with pytest.raises(RuntimeError, match="closed"):
        cra.Resolver(f"jsonl:///{tmp_path}", clock=clock, timers=timers)
    events = [json.loads(line) for path in tmp_path.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert ["session.started", "session.ended"] == [events[0]["event_type"], events[-1]["event_type"]]


class TestSchedulerAway:
    """An outside scheduler that cannot be told."""

    def fail(self, *_: object) -> None:
        raise OSError("no route to the scheduler")

    def test_a_runtime_is_closed_all_the_same(self) -> None:
        """Everything is ended and stored, and what the scheduler raised is raised then."""
        resolver = cra.Resolver(timers=cra.ExternalTimers(on_cancel=self.fail))
        session = resolver.create_session("bot", "x")
        with pytest.raises(OSError, match="no route"):
            resolver.close()
        assert "ended" == session.status
        assert resolver._own_ended

    def test_lifetimes_go_on_with_the_next_heartbeat(self, clock: VirtualClock) -> None:
        """A sweep that could not be scheduled is not the last one."""
        is_away = False
        timers = cra.ExternalTimers(on_schedule=lambda _: self.fail() if is_away else None, clock=clock)
        with cra.Resolver(clock=clock, timers=timers, idle_seconds=100) as resolver:
            session = resolver.create_session("bot", "x")
            is_away = True
            clock.advance(101)
            timers.run_due()
            assert not timers.exists("cra/sessions")
            is_away = False
            other = resolver.create_session("bot", "x")
            for _ in range(7):
                clock.advance(30)
                timers.run_due()
            assert ("ended", "ended") == (session.status, other.status)


def test_an_external_scheduler_drives_a_runtime() -> None:
    """By ids that are the same in every run."""
    clock = VirtualClock()
    timers = cra.ExternalTimers(clock=clock)
    with cra.Resolver(clock=clock, timers=timers) as resolver:
        session = resolver.create_session("bot", "x")
        clock.advance(31)
        assert "fired" == timers.fire("cra/heartbeat")
        assert 1 == len(beats(resolver))
        clock.advance(3600)
        while timers.fire("cra/sessions") == "fired":
            pass
        assert "ended" == session.status


def test_a_resolver_has_a_timer_thread_until_it_is_closed() -> None:
    """By default, one."""
    resolver = cra.Resolver("null:")
    thread = resolver._own_timers._worker._thread  # type: ignore[union-attr]
    assert thread is not None
    assert thread.is_alive()
    resolver.close()
    thread.join(30)
    assert not thread.is_alive()


def test_a_forgotten_resolver_is_collected_with_its_timers() -> None:
    """Timers that wait hold nobody alive, and their thread ends."""
    resolver = cra.Resolver("memory:")
    thread, gone = resolver._own_timers._worker._thread, weakref.ref(resolver)  # type: ignore[union-attr]
    resolver.flush()
    del resolver
    for _ in range(3):
        gc.collect()
    assert gone() is None
    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heartbeat_seconds": 0}, "heartbeat_seconds is 0"),
        ({"heartbeat_seconds": "30"}, "heartbeat_seconds is '30'"),
        ({"flush_seconds": -1}, "flush_seconds is -1"),
        ({"warning_seconds": -1}, "warning_seconds is -1"),
        ({"grace_seconds": float("nan")}, "grace_seconds is nan"),
        ({"grace_seconds": 1e300}, "grace_seconds is 1e.300"),
        ({"warning_seconds": 1e300}, "warning_seconds is 1e.300"),
        ({"heartbeat_seconds": 1e12}, "heartbeat_seconds is 1"),
        ({"flush_level": "recorded"}, "flush_level is 'recorded'"),
        ({"heartbeat_payload": 5}, "heartbeat_payload"),
        ({"on_warning": 5}, "on_warning"),
        ({"name": ""}, "name"),
    ],
)
def test_bad_timing_is_refused(options: dict[str, Any], message: str) -> None:
    """Before anything is opened."""
    with pytest.raises(ValueError, match=message):
        cra.Resolver(timing=cra.Timing(**options))


def test_timers_without_timing_are_refused(clock: VirtualClock) -> None:
    """They would be ignored."""
    with pytest.raises(ValueError, match="timers are for what timing says"):
        cra.Resolver(timing=None, timers=VirtualTimers(clock))
