"""What a runtime does by the clock: heartbeats, flushes, and letting go. PROTOCOL: Timing defaults."""

from __future__ import annotations

import gc
import threading
import weakref
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
