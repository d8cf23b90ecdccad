"""Templates: what the resolves of one ruling have in common, as their events say it. PROTOCOL: Events of a resolve."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cra.carp.request import make_ask
from cra.reference.records import TemplateRecord, decode
from cra.trace.template import TraceDetail, make_template

BLOCKS = [
    {"context_id": "one", "name": "One", "content": "x" * 8, "priority": 9, "inject_mode": "always"},
    {"context_id": "two", "name": "Two", "content": "x" * 5, "priority": 1, "inject_mode": "always"},
]
POLICIES = [
    {"policy_id": "some", "type": "allow", "actions": ["a.b", "a.c"]},
    {"policy_id": "no", "type": "deny", "actions": ["a.c"]},
    {"policy_id": "try", "type": "allow", "actions": ["a.b"], "mode": "shadow"},
]


@pytest.fixture
def template(make_world: Any, atlas: Any) -> Any:
    """A function that makes the template of a plan with this trace detail."""

    def make(detail: TraceDetail) -> tuple[TemplateRecord, Any]:
        world = make_world(atlas("a.b", "a.c", "a.d", policies=POLICIES, context_blocks=BLOCKS))
        plan = world.open().plan(make_ask("x"), world.clock.now_ns())
        record = decode(make_template(5, plan, plan.ruling(()), detail, 3600))
        assert isinstance(record, TemplateRecord)
        return record, plan

    return make


def test_a_template_says_what_its_ruling_says(template: Any) -> None:
    """An evaluation per action and shadow policy, a pair of payloads per context block, and what the completion needs."""
    record, plan = template("full")
    assert [
        {"policy_id": "some", "result": "allow", "action_id": "a.b"},
        {"policy_id": "try", "result": "shadow:allow", "action_id": "a.b"},
        {"policy_id": "no", "result": "deny", "action_id": "a.c"},
        {"policy_id": "default", "result": "deny", "action_id": "a.d"},
    ] == [json.loads(payload) for payload in record.evaluations]
    one = {"block_id": "one", "source": "com.example.shop", "token_count": 2}
    two = one | {"block_id": "two"}
    assert [
        (one | {"content_type": "text/markdown", "priority": 9}, one | {"reason": "token_budget"}),
        (two | {"content_type": "text/markdown", "priority": 1}, two | {"reason": "token_budget"}),
    ] == [(json.loads(injected), json.loads(redacted)) for injected, redacted in record.blocks]
    assert (5, "partial", 1, 2, 3600, plan.policy_set.digest) == (
        *(record.number, record.decision, record.allowed, record.denied, record.ttl_seconds),
        record.policy_set,
    )


def test_decisions_leave_out_what_is_allowed(template: Any) -> None:
    """`trace_detail="decisions"`: no `allow`, shadow ones included; everything else is there."""
    full, fewer = template("full")[0], template("decisions")[0]
    assert [each for each in full.evaluations if "allow" not in json.loads(each)["result"]] == list(fewer.evaluations)
    assert (2, 2) == (len(full.evaluations) - len(fewer.evaluations), len(fewer.blocks))
