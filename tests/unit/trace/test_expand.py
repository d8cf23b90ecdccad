"""Records to events: which, in which order, with which payload. PROTOCOL: Events of a resolve."""

from __future__ import annotations

from typing import Any

import pytest

from cra.ids import format_uuid
from cra.trace.expand import expand
from cra.trace.record import RESOLUTION, EventsRecord, ResolveRecord, SessionHeader

BLOCKS = [
    {"context_id": "one", "name": "One", "content": "x" * 8, "priority": 9, "inject_mode": "always"},
    {"context_id": "two", "name": "Two", "content": "x" * 5, "priority": 1, "inject_mode": "always"},
]
DENY = {"policy_id": "no", "type": "deny", "actions": ["a.c"]}


@pytest.fixture
def resolve_record(make_world: Any, atlas: Any) -> Any:
    """A function that makes the record of a resolve in a session with this trace detail and context budget."""

    def make(detail: Any = "full", budget: int | None = None) -> ResolveRecord:
        rules = [DENY, {"policy_id": "try", "type": "allow", "actions": ["a.b"], "mode": "shadow"}]
        world = make_world(atlas("a.b", "a.c", "a.d", rules=rules, context_blocks=BLOCKS))
        session = world.open()
        taken: list[Any] = []
        record = session.runtime.recorder.record
        session.runtime.recorder.record = lambda each: (taken.append(each), record(each))
        session.resolve("x", context_budget=budget)
        made: ResolveRecord = taken[0]
        header = SessionHeader(session.session_id, session.trace_id, made.session.span_id, detail)
        return ResolveRecord(**{name: getattr(made, name) for name in made.__struct_fields__} | {"session": header})

    return make


@pytest.fixture
def atlas(atlas: Any) -> Any:
    """The atlas maker, with an allow for `a.b` and `a.c` alone."""

    def make(*actions: Any, rules: Any, **fields: Any) -> Any:
        allow = {"policy_id": "some", "type": "allow", "actions": ["a.b", "a.c"]}
        return atlas(*actions, **{**fields, "policies": [allow, *rules]})

    return make


def test_events_record_is_its_events() -> None:
    """What has payloads of its own is passed through, in order."""
    events = (("a.b", {"x": 1}), ("a.c", {}))
    record = EventsRecord(SessionHeader("s", "t", "p"), 0, 0, events)
    assert events == tuple(expand(record))


def test_resolve_is_a_request_its_evaluations_its_blocks_and_its_completion(resolve_record: Any) -> None:
    """In this order, an evaluation per action and shadow policy, a block per injected block, with exactly these payloads."""
    record = resolve_record()
    digest = record.plan.policy_set.digest
    block = {"source": "com.example.shop", "content_type": "text/markdown"}
    assert [
        ("carp.request.received", {"request_id": record.request_id, "operation": "resolve", "goal": "x"}),
        ("policy.evaluated", {"policy_id": "some", "result": "allow", "action_id": "a.b"}),
        ("policy.evaluated", {"policy_id": "try", "result": "shadow:allow", "action_id": "a.b"}),
        ("policy.evaluated", {"policy_id": "no", "result": "deny", "action_id": "a.c"}),
        ("policy.evaluated", {"policy_id": "default", "result": "deny", "action_id": "a.d"}),
        ("context.injected", {"block_id": "one", **block, "token_count": 2, "priority": 9}),
        ("context.injected", {"block_id": "two", **block, "token_count": 2, "priority": 1}),
        (
            "carp.resolution.completed",
            {
                "resolution_id": format_uuid(record.base + RESOLUTION),
                "request_id": record.request_id,
                "decision_type": "partial",
                "allowed_count": 1,
                "denied_count": 2,
                "context_block_count": 2,
                "ttl_seconds": 3600,
                "policy_set": digest,
            },
        ),
    ] == list(expand(record))


def test_decisions_leave_out_what_is_allowed(resolve_record: Any) -> None:
    """`trace_detail="decisions"`: no `allow`, shadow ones included; everything else is there."""
    full = list(expand(resolve_record("full")))
    fewer = list(expand(resolve_record("decisions")))
    assert [draft for draft in full if draft[1].get("result") not in ("allow", "shadow:allow")] == fewer
    assert len(full) == len(fewer) + 2


def test_cut_blocks_are_said_to_be_cut(resolve_record: Any) -> None:
    """`context.redacted` after the injected ones, with the reason."""
    drafts = list(expand(resolve_record(budget=2)))
    assert ["context.injected", "context.redacted", "carp.resolution.completed"] == [kind for kind, _ in drafts[-3:]]
    expected = {"block_id": "two", "source": "com.example.shop", "token_count": 2, "reason": "token_budget"}
    assert expected == drafts[-2][1]
    assert 1 == drafts[-1][1]["context_block_count"]


def test_expansion_is_pure(resolve_record: Any) -> None:
    """Twice the same, and what is done to one expansion does not show in the next."""
    record = resolve_record()
    first = list(expand(record))
    first[0][1]["goal"] = "changed"
    second = list(expand(record))
    assert "x" == second[0][1]["goal"]
    assert first[1:] == second[1:]
