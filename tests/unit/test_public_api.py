"""The public surface: the names and the call forms that programs are written against."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

import cra

RESOLVER_OPTIONS = {
    "storage": "memory:",
    "ring": None,
    "tracing": "deferred",
    "overflow": "block",
    "overflow_timeout": 5.0,
    "default_decision": "deny",
    "ttl_seconds": 3600,
    "trace_detail": "full",
    "fail_closed": False,
    "durability": "recorded",
    "hash_key": None,
    "redact": None,
    "clock": None,
    "ids": None,
}
SIGNATURES: dict[Any, tuple[str, ...]] = {
    cra.Resolver.load_atlas: ("source", "overlay", "replace"),
    cra.Resolver.unload_atlas: ("atlas_id",),
    cra.Resolver.list_atlases: (),
    cra.Resolver.preload_atlases: ("sources",),
    cra.Resolver.register: ("name", "function"),
    cra.Resolver.action: ("name",),
    cra.Resolver.create_session: ("agent_id", "goal", "context", "scopes", "risk_tier", "atlas_ids", "parent"),
    cra.Resolver.resolve: ("request",),
    cra.Resolver.handle: ("request",),
    cra.Resolver.pending_approvals: (),
    cra.Resolver.approve: ("approval_id", "by", "reason"),
    cra.Resolver.reject: ("approval_id", "by", "reason"),
    cra.Resolver.revoke: ("agent_id",),
    cra.Resolver.flush: ("level", "timeout"),
    cra.Resolver.aflush: ("level", "timeout"),
    cra.Resolver.trace: ("session_id",),
    cra.Resolver.iter_trace: ("session_id",),
    cra.Resolver.subscribe: ("target",),
    cra.Resolver.health: (),
    cra.Resolver.stats: (),
    cra.Resolver.close: (),
    cra.Session.resolve: (
        "goal",
        "risk_tier",
        "context_hints",
        "required_capabilities",
        "context",
        "atlas_ids",
    ),
    cra.Session.execute: ("action_id", "parameters", "resolution", "idempotency_key"),
    cra.Session.aexecute: ("action_id", "parameters", "resolution", "idempotency_key"),
    cra.Session.request_approval: ("approval_id",),
    cra.Session.explain: ("action_id", "parameters"),
    cra.Session.end: ("reason",),
    cra.Resolution.is_allowed: ("action_id",),
    cra.Resolution.to_dict: (),
    cra.Resolution.to_json: (),
    cra.verify_chain: ("events", "anchor"),
    cra.verify_file: ("path", "dialect"),
    cra.canonical_json: ("value",),
    cra.event_hash: ("event",),
    cra.replay: ("events", "atlases"),
    cra.diff: ("events_a", "events_b"),
    cra.load_atlas: ("source",),
    cra.lint_atlas: ("atlas",),
    cra.testing.SeededIds: ("seed",),
    cra.testing.VirtualClock: ("start",),
    cra.testing.VirtualClock.advance: ("seconds",),
    cra.Event.to_dict: (),
}


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    return {name: each for name, each in inspect.signature(function).parameters.items() if name != "self"}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__qualname__)
def test_call_takes_what_is_published(function: Any) -> None:
    """Each name is there; none that is not published has to be given."""
    found = parameters(function)
    assert set(SIGNATURES[function]) <= set(found)
    needed = {name for name, each in found.items() if each.default is inspect.Parameter.empty}
    assert needed <= set(SIGNATURES[function])


def test_resolver_s_options_have_their_defaults() -> None:
    """Every argument is optional; the published ones have the published defaults."""
    found = parameters(cra.Resolver)
    assert {name: found[name].default for name in RESOLVER_OPTIONS} == RESOLVER_OPTIONS
    assert all(each.default is not inspect.Parameter.empty for each in found.values())


def test_executing_needs_its_resolution_by_name() -> None:
    """`resolution=` is never a matter of position."""
    assert parameters(cra.Session.execute)["resolution"].kind is inspect.Parameter.KEYWORD_ONLY


def test_implementation_and_version_are_said() -> None:
    """The implementation is one of two; which one runs where is `test_hotpath`'s matter."""
    assert cra.implementation() in ("compiled", "pure")
    assert cra.__version__.count(".") == 2


def test_the_published_program_runs(make_world: Any, atlas: Any, tmp_path: Any) -> None:
    """The calls of the interface in the order in which a program makes them."""
    manifest = atlas(
        "ticket.get", "ticket.delete", rules=[{"policy_id": "no", "type": "deny", "actions": ["*.delete"]}]
    )
    (tmp_path / "atlas.json").write_text(json.dumps(manifest))
    with cra.Resolver(f"jsonl:///{tmp_path / 'traces'}") as resolver:
        loaded = resolver.load_atlas(tmp_path)
        assert [loaded.atlas_id] == [info.atlas_id for info in resolver.list_atlases()]

        @resolver.action("ticket.get")
        async def get(**parameters: str) -> dict[str, str]:
            return parameters

        with resolver.create_session(agent_id="triage-bot", goal="Triage open issues") as session:
            resolution = session.resolve("Close stale issues", risk_tier=None, context_hints=(), context=None)
            assert ("partial", True) == (resolution.decision.type, resolution.is_allowed("ticket.get"))
            assert ["ticket.get"] == [action.action_id for action in resolution.allowed_actions]
            assert ["ticket.delete"] == [action.action_id for action in resolution.denied_actions]
            outcome = session.execute("ticket.get", {"id": "42"}, resolution=resolution, idempotency_key=None)
            assert ("success", {"id": "42"}) == (outcome.status, outcome.result)
            again = asyncio.run(session.aexecute("ticket.get", {"id": "43"}, resolution=resolution.resolution_id))
            assert {"id": "43"} == again.result
            assert "deny" == session.explain("ticket.delete", {"id": "42"}).result
            asyncio.run(resolver.aflush())
            resolver.flush(level="durable", timeout=10)
        events = resolver.trace(session.session_id)
        assert [0, 1] == [event.sequence for event in resolver.iter_trace(session.session_id)][:2]
        path = tmp_path / "traces" / f"{session.session_id}.trace.jsonl"
    assert (True, len(events)) == (cra.verify_chain(events).valid, cra.verify_file(path).event_count)
    last = events[-1]
    assert cra.verify_chain(events, anchor=(last.session_id, last.sequence, last.event_hash)).valid
    assert last.event_hash == cra.event_hash(last) == cra.event_hash(last.to_dict())
    assert cra.replay(events, [loaded]).valid
    assert "identical" == cra.diff(events, [event.to_dict() for event in events]).grade
    assert [] == [finding for finding in cra.lint_atlas(loaded) if finding.path.startswith("/policies")]


def test_explanation_is_plain(make_world: Any, atlas: Any) -> None:
    """`to_dict` is JSON: lists, not tuples."""
    session = make_world(atlas("a.b")).open()
    explanation = session.explain("a.b").to_dict()
    assert explanation == json.loads(json.dumps(explanation))
    with pytest.raises(cra.ActionNotFound):
        session.explain("a.c")


LATER = {
    *("asyncio", "concurrent.futures", "importlib.metadata", "inspect", "jsonschema_rs", "logging", "pathlib", "rich"),
    *("sqlite3", "tempfile", "typer", "urllib.parse", "zoneinfo"),
}


def test_import_is_cheap() -> None:
    """`import cra` leaves what takes long to import for when it is used, unless msgspec, which it cannot do without, has it."""
    program = f"""
import sys, msgspec
before = set(sys.modules)
import cra
print(sorted((set(sys.modules) - before) & {LATER!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert "[]" == done.stdout.strip()
