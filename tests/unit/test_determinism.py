"""With injected clock and ids two runs are byte-identical. PROTOCOL: TRACE/1.0."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.testing import SeededIds, VirtualClock

RULES = [
    {
        "policy_id": "cap",
        "type": "rate_limit",
        "actions": ["a.b"],
        "parameters": {"max_calls": 2, "window_seconds": 60},
    },
    {"policy_id": "hold", "type": "require_approval", "actions": ["a.c"]},
    {"policy_id": "env", "type": "deny", "actions": ["a.d"], "conditions": {"context_matches": {"env": "prod"}}},
]


def run(folder: Path, manifest: Any, *, seed: int = 7, **options: Any) -> dict[str, bytes]:
    """Everything a runtime does, once; what is in the files, but for the runtime's own session."""
    clock = VirtualClock()
    with cra.Resolver(f"jsonl:///{folder}", clock=clock, ids=SeededIds(seed), **options) as resolver:
        resolver.load_atlas(manifest)
        resolver.register("a.b", lambda n: {"n": n})
        resolver.register("a.c", lambda: 1 / 0)
        parent = resolver.create_session("boss", "Lead", scopes=["s"], context={"env": "dev"})
        child = resolver.create_session("helper", "Help", parent=parent, risk_tier="high")
        for session in (parent, child):
            resolution = session.resolve("Work", context={"x": 1}, context_hints=["h"])
            for number in range(3):
                with contextlib.suppress(cra.CRAError):
                    session.execute("a.b", {"n": number}, resolution=resolution, idempotency_key=str(number % 2))
                clock.advance(0.25)
            with contextlib.suppress(cra.CRAError):
                asyncio.run(session.aexecute("a.c", resolution=resolution))
            for approval in resolver.pending_approvals():
                resolver.approve(approval.approval_id, by="alice")
            with contextlib.suppress(cra.CRAError):
                session.execute("a.c", resolution=resolution)
        parent.end()
        own = resolver.session_id
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(own)}


@pytest.mark.parametrize("options", [{}, {"trace_detail": "decisions", "hash_key": b"k"}], ids=str)
def test_two_runs_have_the_same_bytes(options: Any, tmp_path: Path, atlas: Any) -> None:
    """Deferred twice and immediate: the same files with the same content."""
    manifest = atlas("a.b", "a.c", "a.d", rules=RULES)
    runs = []
    for name, more in (("one", {}), ("two", {}), ("three", {"tracing": "immediate"})):
        (tmp_path / name).mkdir()
        runs.append(run(tmp_path / name, manifest, **options, **more))
    assert 2 == len(runs[0])
    assert runs[0] == runs[1] == runs[2]
    for name in runs[0]:
        assert cra.verify_file(tmp_path / "one" / name).valid


def test_other_ids_are_other_bytes_and_the_same_story(tmp_path: Path, atlas: Any) -> None:
    """The seed shows in ids and hashes alone: `diff` calls them identical."""
    manifest = atlas("a.b", "a.c", "a.d", rules=RULES)
    events = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        files = run(folder, manifest, seed=seed)
        events.append([sorted(folder.iterdir()), files])
    assert set(events[0][1]).isdisjoint(events[1][1])


def test_ids_of_the_runtime_s_own_session_are_a_stream_of_their_own(tmp_path: Path, atlas: Any) -> None:
    """Loading more atlases moves no id of an agent's session."""
    names = []
    for extra in (0, 3):
        with cra.Resolver(clock=VirtualClock(), ids=SeededIds(1)) as resolver:
            for number in range(extra):
                resolver.load_atlas(atlas(atlas_id=f"com.example.a{number}"))
            resolver.load_atlas(atlas("a.b"))
            session = resolver.create_session("bot", "work")
            names.append((session.session_id, session.resolve("x").resolution_id))
    assert names[0] == names[1]


def test_clock_is_the_only_time(make_world: Any, atlas: Any) -> None:
    """Nothing moves while the clock stands still; timestamps and durations are its own."""
    world = make_world(atlas("a.b"))
    world.resolver.register("a.b", dict)
    session = world.open()
    outcome = session.execute("a.b", resolution=session.resolve("x"))
    assert 0 == outcome.duration_ms
    assert {"2026-01-01T12:00:00.000000Z"} == {event.timestamp for event in world.trace(session)}
    world.clock.advance(0.0015)
    session.end()
    last = world.trace(session)[-1]
    assert ("2026-01-01T12:00:00.001500Z", 1) == (last.timestamp, last.payload["duration_ms"])


def test_wall_clock_that_is_set_back_does_not_show(make_world: Any, atlas: Any) -> None:
    """Timestamps of a session never decrease; lifetimes and limits do not care."""
    cap = {"policy_id": "cap", "type": "rate_limit", "parameters": {"max_calls": 1, "window_seconds": 60}}
    world = make_world(atlas("a.b", rules=[cap]))
    world.resolver.register("a.b", dict)
    session = world.open()
    resolution = session.resolve("x")
    session.execute("a.b", resolution=resolution)
    world.clock.set_wall(world.clock.now_ns() - 10**15)
    with pytest.raises(cra.RateLimitExceeded):
        session.execute("a.b", resolution=resolution)
    stamps = [event.timestamp for event in world.trace(session)]
    assert sorted(stamps) == stamps
