"""The published golden case, and the real atlases: what this runtime answers is what the contract shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.testing import SeededIds, VirtualClock
from cra.testing.golden import compare_golden, compare_golden_trace

DATA = Path(__file__).resolve().parents[1] / "data"
CASE = DATA / "golden" / "simple-resolve"
ATLASES = DATA / "atlases"


def read(name: str) -> Any:
    return json.loads((CASE / name).read_text(encoding="utf-8"))


@pytest.fixture(params=["deferred", "immediate"])
def answered(request: pytest.FixtureRequest) -> Any:
    """The golden request, asked in the session that it names: the resolution and the trace."""
    asked = read("request.json")
    clock = VirtualClock(cra.Request.parse(asked).time_ns)
    with cra.Resolver(clock=clock, ids=SeededIds(1), tracing=request.param) as resolver:
        resolver.load_atlas(CASE / "atlas.json")
        requester = asked["requester"]
        session = resolver.create_session(
            requester["agent_id"], asked["task"]["goal"], session_id=requester["session_id"]
        )
        resolution = resolver.resolve(asked)
        yield resolution, resolver.trace(session.session_id)


def test_resolution_is_the_golden_one(answered: Any) -> None:
    """Every field that the golden resolution has, with its value, in its order."""
    resolution, _ = answered
    golden = read("expected-resolution.json")
    assert [] == compare_golden(resolution.to_dict(), golden)
    assert [key for key in golden if not key.startswith("$")] == list(resolution.to_dict())
    assert resolution.to_dict() == json.loads(resolution.to_json())


def test_trace_is_the_golden_one(answered: Any) -> None:
    """The same events in the same order, up to `carp.resolution.completed`; and the chain verifies."""
    _, events = answered
    golden = [json.loads(line) for line in (CASE / "expected-trace.jsonl").read_text().splitlines()]
    assert [] == compare_golden_trace(events, golden)
    assert "carp.resolution.completed" == golden[-1]["event_type"]
    assert len(golden) == len(events)
    assert list(golden[0]) == list(events[0].to_dict())
    assert cra.verify_chain(events).valid


def test_golden_atlas_is_strict(answered: Any) -> None:
    """It keeps to the published identifiers, so the strict form of the schema takes it."""
    atlas = cra.load_atlas(CASE / "atlas.json", strict=True)
    assert "com.cra.conformance.simple" == atlas.atlas_id


def test_golden_trace_replays(answered: Any) -> None:
    """From its own trace and atlas."""
    _, events = answered
    result = cra.replay(events, [CASE / "atlas.json"])
    assert (1, 1, 0, ()) == (result.resolutions, result.reproduced, result.not_recomputed, result.mismatches)


@pytest.mark.parametrize("path", sorted(ATLASES.glob("*.json")), ids=lambda path: path.stem)
def test_real_atlas_is_resolved_or_refused_with_its_place(path: Path) -> None:
    """Each loads and answers, with the lint it deserves; the one whose policies have no type is refused, and says where."""
    with cra.Resolver(clock=VirtualClock(), ids=SeededIds(1), default_decision="allow") as resolver:
        if path.stem == "cra-bootstrap":
            with pytest.raises(cra.InvalidPolicy, match=r"^/policies/0/type: is missing"):
                resolver.load_atlas(path)
            return
        atlas = resolver.load_atlas(path)
        session = resolver.create_session("bot", "work")
        resolution = session.resolve("Create a session and add a trace event", risk_tier="critical")
        assert len(atlas.actions) == len(resolution.allowed_actions) + len(resolution.denied_actions)
        assert {block.source for block in resolution.context_blocks} <= {atlas.atlas_id}
        assert [] == [finding for finding in atlas.findings if not finding.path.startswith("/")]
        events = resolver.trace(session.session_id)
        assert cra.verify_chain(events).valid
        assert () == cra.replay(events, [path]).mismatches
