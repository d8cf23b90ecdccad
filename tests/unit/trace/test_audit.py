"""What has to hold of a trace without any atlas: sessions, ids, and what executions rest on. PROTOCOL: Execute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cra
from cra.trace.audit import Audit
from cra.trace.event import Event

Trace = list[Event]
DENY = {"policy_id": "no", "type": "deny", "actions": ["a.no"]}
HOLD = {"policy_id": "hold", "type": "require_approval", "actions": ["a.hold"]}
ONCE = {
    "policy_id": "once",
    "type": "rate_limit",
    "actions": ["a.once"],
    "parameters": {"max_calls": 1, "window_seconds": 60},
}
OTHER = "00000000-0000-7000-8000-000000000000"


def audit(trace: Trace) -> list[tuple[int, str]]:
    """The certain findings, each with the place of its event."""
    auditor = Audit()
    return [
        (index, finding.message)
        for index, event in enumerate(trace)
        for finding in auditor.findings(event)
        if finding.certain
    ]


def edited(event: Event, payload: dict[str, Any] | None = None, **fields: Any) -> Event:
    """The event with some fields changed, and some members of its payload."""
    return Event(**{**event.to_dict(), "payload": {**event.payload, **(payload or {})}, **fields})


def place(trace: Trace, event_type: str, number: int = 0) -> int:
    """Where the event of a type is."""
    return [index for index, event in enumerate(trace) if event.event_type == event_type][number]


@pytest.fixture
def busy(make_world: Any, atlas: Any) -> Callable[..., Trace]:
    """The whole trace of a session in which everything happens that an execution can come to."""

    def make(**options: Any) -> Trace:
        manifest = atlas("a.ok", "a.no", "a.hold", "a.once", "a.bad", "a.none", rules=[DENY, HOLD, ONCE])
        world = make_world(manifest, **options)

        def fail() -> None:
            raise RuntimeError

        for action_id in ("a.ok", "a.no", "a.hold", "a.once"):
            world.resolver.register(action_id, dict)
        world.resolver.register("a.bad", fail)
        session = world.open()
        first = session.resolve("x")

        def attempt(action_id: str, resolution: Any = first, key: str | None = None) -> None:
            try:
                session.execute(action_id, resolution=resolution, idempotency_key=key)
            except cra.ActionRequiresApproval as error:
                world.resolver.approve(error.approval_id, by="alice")
            except cra.CRAError:
                pass

        for action_id in ("a.ok", "a.no", "a.hold", "a.hold", "a.once", "a.once", "a.bad", "a.none", "a.nothing"):
            attempt(action_id)
        attempt("a.ok", resolution=OTHER)
        for _ in range(2):
            attempt("a.ok", key="k")
            attempt("a.bad", key="b")
        session.answer(first.ask, operation="validate")
        second = session.resolve("y")
        world.clock.advance(61)
        attempt("a.once", resolution=second)
        session.end()
        return list(world.trace(session))

    return make


@pytest.mark.parametrize("detail", ["full", "decisions"])
def test_what_a_runtime_writes_has_no_findings(detail: str, busy: Any, make_world: Any, atlas: Any) -> None:
    """Allowed, denied, held and granted, limited, failed, replayed, unknown: all of it fits together."""
    trace = busy(trace_detail=detail)
    assert [] == audit(trace)
    assert {"action.denied", "approval.requested", "action.executed", "action.failed"} <= {e.event_type for e in trace}
    assert 7 == trace[-1].payload["action_count"]


def test_open_session_has_no_findings(busy: Any) -> None:
    """A trace may be read while its session goes on, between any two operations."""
    trace = busy()
    assert [] == audit(trace[: place(trace, "action.executed")])
    assert [] == audit([])


def test_sessions_may_be_interleaved(make_world: Any, atlas: Any) -> None:
    """Each is judged by itself; so is the runtime's own."""
    world = make_world(atlas("a.b"))
    sessions = [world.open(), world.open()]
    for session in sessions:
        session.resolve("x")
    own = world.trace(world.resolver.session_id)
    mixed = [event for pair in zip(*(world.trace(session) for session in sessions)) for event in pair]
    assert [] == audit([*own, *mixed])


class TestSessions:
    """A session begins once, ends once, and is one trace."""

    def test_it_begins_with_session_started(self, busy: Any) -> None:
        """Whatever else comes first is not the beginning."""
        assert [(0, "the session does not begin with session.started")] == audit(busy()[1:])

    def test_it_begins_once(self, busy: Any) -> None:
        """A second beginning could change who the agent is."""
        trace = busy()
        again = edited(trace[0], {"agent_id": "root"}, event_id=OTHER)
        assert [(1, "the session begins a second time")] == audit([trace[0], again, *trace[1:]])

    def test_nothing_follows_its_end(self, busy: Any) -> None:
        """The end is the end."""
        trace = busy()
        late = edited(trace[place(trace, "approval.granted")], event_id=OTHER)
        assert [(len(trace), "the session has ended before")] == audit([*trace, late])

    def test_it_is_one_trace(self, busy: Any) -> None:
        """The trace_id is that of the first event."""
        trace = busy()
        trace[3] = edited(trace[3], trace_id=OTHER)
        assert [(3, "the trace_id is not the one that the session began with")] == audit(trace)

    @pytest.mark.parametrize("count", [0, 6, 8, None, "7"])
    def test_it_counts_its_executions(self, count: Any, busy: Any) -> None:
        """`action_count` is what started; replays did not."""
        trace = busy()
        trace[-1] = edited(trace[-1], {"action_count": count})
        assert [(len(trace) - 1, "action_count is not 7, the number of executions that started")] == audit(trace)

    def test_executions_cannot_be_left_out(self, busy: Any) -> None:
        """Without them the count is wrong."""
        trace = [event for event in busy() if not event.event_type.startswith("action.")]
        assert [(len(trace) - 1, "action_count is not 0, the number of executions that started")] == audit(trace)


class TestIds:
    """What is named once is named once."""

    def test_event_ids_are_unique(self, busy: Any) -> None:
        """In the whole trace, whatever the session."""
        trace = busy()
        trace[5] = edited(trace[5], event_id=trace[2].event_id)
        assert [(5, "another event has the same event_id")] == audit(trace)
        other = edited(trace[0], session_id=OTHER)
        assert (len(trace), "another event has the same event_id") in audit([*trace, other])

    def test_request_ids_are_unique(self, busy: Any) -> None:
        """In a session, also between a resolve and a validate."""
        trace = busy()
        first, validate, second = (place(trace, "carp.request.received", number) for number in range(3))
        for index, other in ((validate, first), (second, validate)):
            same = {"request_id": trace[other].payload["request_id"]}
            tampered = [edited(event, same) if i == index else event for i, event in enumerate(trace)]
            assert [(index, "another request of the session has the same request_id")] == audit(tampered)

    def test_resolution_ids_are_unique(self, busy: Any) -> None:
        """Or a later resolution could take the place of the one that an execution rests on."""
        trace = busy()
        first, second = (place(trace, "carp.resolution.completed", number) for number in range(2))
        trace[second] = edited(trace[second], {"resolution_id": trace[first].payload["resolution_id"]})
        assert (second, "another resolution of the session has the same resolution_id") in audit(trace)


class TestExecutions:
    """What was executed was asked for, allowed, and came to one end."""

    @pytest.fixture
    def one(self, make_world: Any, atlas: Any) -> Trace:
        """A session with one execution: started, requested, approved, executed, ended at the end."""
        world = make_world(atlas("a.ok", "a.no", rules=[DENY]))
        world.resolver.register("a.ok", dict)
        session = world.open()
        session.execute("a.ok", resolution=session.resolve("x"))
        session.end()
        trace: Trace = world.trace(session)
        assert [] == audit(trace)
        return trace

    @pytest.mark.parametrize("action_id", ["a.no", "a.ok", None])
    def test_denied_action_was_not_executed(self, action_id: str | None, one: Trace) -> None:
        """The action that was executed is one that its resolution did not deny."""
        named = {"action_id": action_id}
        tampered = [edited(event, named) if event.event_type.startswith("action.") else event for event in one]
        expected = [(place(one, "action.approved"), "executed without a resolution that allows it")]
        assert (expected if action_id == "a.no" else []) == audit(tampered)

    def test_recomputed_resolution_counts_instead_of_what_the_trace_says(self, one: Trace) -> None:
        """What permits an action is what the replay computed, as soon as it has."""
        auditor, found = Audit(), []
        for event in one:
            found += auditor.findings(event)
            if event.event_type == "carp.resolution.completed":
                auditor.permit(event, {"a.other"}.__contains__)
        assert ["executed without a resolution that allows it"] == [finding.message for finding in found]

    @pytest.mark.parametrize("resolution_id", [OTHER, None])
    def test_execution_rests_on_a_resolution_of_the_trace(self, resolution_id: str | None, one: Trace) -> None:
        """One that comes before it, in the same session."""
        named = {"resolution_id": resolution_id}
        tampered = [edited(event, named) if event.event_type.startswith("action.") else event for event in one]
        expected = [(place(one, "action.approved"), "executed without a resolution that allows it")]
        assert expected == audit(tampered)
        without = [event for event in one if not event.event_type.startswith(("carp.", "policy."))]
        assert [(place(without, "action.approved"), expected[0][1])] == audit(without)

    def test_lost_resolution_is_not_held_against_it(self, one: Trace) -> None:
        """Where the trace says that it lost records, nobody can tell; a denied action is still a denied one."""
        lost = edited(one[1], event_type="runtime.lost", event_id=OTHER)
        without = [one[0], lost, *(event for event in one[1:] if not event.event_type.startswith(("carp.", "policy.")))]
        auditor = Audit()
        assert [("executed with a resolution that the trace has lost", False)] == [
            finding for event in without for finding in auditor.findings(event)
        ]
        denied = {"action_id": "a.no"}
        tampered = [edited(event, denied) if event.event_type.startswith("action.") else event for event in one]
        assert 1 == len(audit([one[0], lost, *tampered[1:]]))

    @pytest.mark.parametrize(
        ("event_type", "messages"),
        [
            (
                "action.requested",
                [
                    "action.approved without an execution that waits for it",
                    "action.executed without an execution that was approved",
                    "action_count is not 0, the number of executions that started",
                ],
            ),
            (
                "action.approved",
                [
                    "action.executed without an execution that was approved",
                    "action_count is not 0, the number of executions that started",
                ],
            ),
            (
                "action.executed",
                [
                    "the session ends with 1 executions that have no outcome",
                    "action_count is not 0, the number of executions that started",
                ],
            ),
        ],
    )
    def test_no_part_of_it_can_be_left_out_or_doubled(self, event_type: str, messages: list[str], one: Trace) -> None:
        """Requested, approved, and one outcome."""
        index = place(one, event_type)
        assert messages == [message for _, message in audit(one[:index] + one[index + 1 :])]
        doubled = audit([*one[: index + 1], edited(one[index], event_id=OTHER), *one[index + 1 :]])
        assert index + 1 == doubled[0][0]

    @pytest.mark.parametrize("event_type", ["action.approved", "action.executed"])
    @pytest.mark.parametrize("field", ["action_id", "resolution_id", "span_id"])
    def test_its_events_are_about_the_same_execution(self, event_type: str, field: str, one: Trace) -> None:
        """One span, one action, one resolution."""
        index = place(one, event_type)
        change: dict[str, Any] = {"span_id": OTHER} if field == "span_id" else {"payload": {field: OTHER}}
        one[index] = edited(one[index], **change)
        where, message = audit(one)[0]
        assert index == where
        assert message.startswith(f"{event_type} without an execution that wa")

    @pytest.mark.parametrize("event_type", ["action.denied", "approval.requested"])
    def test_refusal_does_not_follow_an_approval(self, event_type: str, one: Trace) -> None:
        """What has started ends executed or failed."""
        index = place(one, "action.executed")
        one[index] = edited(one[index], event_type=event_type)
        assert (index, f"{event_type} without an execution that waits for it") == audit(one)[0]

    def test_denial_needs_a_request(self, one: Trace) -> None:
        """An approval can be asked for on its own, a denial answers something."""
        alone = edited(one[1], event_type="action.denied", event_id=OTHER, span_id=OTHER)
        assert [(1, "action.denied without an execution that waits for it")] == audit([one[0], alone, *one[1:]])
        alone = edited(alone, event_type="approval.requested")
        assert [] == audit([one[0], alone, *one[1:]])

    def test_closing_event_that_could_not_be_redacted_still_closes(self, make_world: Any, atlas: Any) -> None:
        """It names less, but its span and its action are there."""

        def redact(event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
            if event_type == "action.executed":
                raise ValueError
            return payload

        world = make_world(atlas("a.ok"), redact=redact)
        world.resolver.register("a.ok", dict)
        session = world.open()
        session.execute("a.ok", resolution=session.resolve("x"))
        session.end()
        assert "resolution_id" not in world.payloads(session, "action.executed")[0]
        assert [] == audit(world.trace(session))


@given(st.data())
def test_events_in_any_order_are_judged_without_an_error(data: st.DataObject) -> None:
    """Shuffled, doubled and left out: there are findings, and nothing is raised."""
    with cra.Resolver() as resolver:
        resolver.load_atlas(
            {
                "atlas_version": "1.0",
                "atlas_id": "com.example.a",
                "version": "1.0.0",
                "name": "A",
                "description": "A",
                "actions": [{"action_id": "a.ok", "name": "ok", "description": "ok"}],
                "policies": [{"policy_id": "all", "type": "allow", "actions": ["*"]}],
            }
        )
        resolver.register("a.ok", dict)
        session = resolver.create_session("bot", "x")
        session.execute("a.ok", resolution=session.resolve("x"))
        session.end()
        trace = resolver.trace(session.session_id)
    drawn = data.draw(st.lists(st.sampled_from(range(len(trace))), min_size=1))
    found = audit([trace[index] for index in drawn])
    assert (0, "the session does not begin with session.started") in found or 0 == drawn[0]
    assert len(drawn) - len(set(drawn)) == [message for _, message in found].count(
        "another event has the same event_id"
    )
