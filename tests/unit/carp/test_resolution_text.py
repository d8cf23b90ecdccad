"""The JSON of a resolution, joined from pieces: what serialising its dictionary gives, byte for byte. Schema: carp-resolution."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

import cra
from cra.carp import resolution_text
from cra.carp.resolution_text import ResolutionText
from tests.support.decisions import ALLOW_ALL, action, manifest, rule, runtime

RATE = {"max_calls": 2, "window_seconds": 60}
PAYMENT = {"properties": {"amount": {"type": "number", "exclusiveMinimum": 0.5}}, "required": ["amount"]}


def serialised(resolution: cra.Resolution) -> str:
    """The definition."""
    return json.dumps(resolution.to_dict(), ensure_ascii=False, separators=(",", ":"))


def pieces(*names: str) -> tuple[Any, ...]:
    """Rules that make the pieces of a resolution, chosen by name."""
    known = {
        "allow": ALLOW_ALL,
        "deny": rule("no", "deny", "pay.all", reason='never "ever" \\ \u2028 ever\x00'),
        "approval": rule("ask", "require_approval", "pay.back", reason="a person décides"),
        "approvals": rule("also", "require_approval", "*", priority=1),
        "scope": rule("big", "deny", "pay.out", conditions={"parameters": PAYMENT}),
        "scopes": rule("bigger", "deny", "pay.*", conditions={"parameters": PAYMENT}, reason="😀"),
        "limit": rule("calls", "rate_limit", "pay.*", parameters=RATE),
        "shared": rule("all", "rate_limit", parameters={**RATE, "key": "global", "window_seconds": 0.25}),
        "budget": rule("money", "budget", parameters={"max_cost": 0.3, "cost": 0.1, "key": "agent"}),
        "week": rule("weekly", "budget", parameters={"max_cost": 1e300, "window_seconds": 604_800, "cost": 0.1}),
    }
    return tuple({"policy_id": name, **known[name]} | {"policy_id": f"p-{name}"} for name in names)


WAYS = [
    (),
    ("allow",),
    ("deny",),
    ("allow", "deny", "scope"),
    ("allow", "approval", "approvals"),
    ("allow", "limit"),
    ("allow", "shared", "budget", "week", "limit"),
    ("allow", "deny", "approval", "scope", "scopes", "limit", "shared", "budget", "week"),
]


@pytest.mark.parametrize("names", WAYS, ids="-".join)
def test_the_text_is_that_of_the_dictionary(names: tuple[str, ...]) -> None:
    """With everything and without, before and after calls, in two sessions and a child of one, at several times."""
    blocks = [
        {"context_id": "how", "name": "How", "content": 'Pay "late"\n', "keywords": ["pay"]},
        {"context_id": "why", "name": "Why", "content": "Weil’s gut ist", "keywords": ["pay", "why"]},
    ]
    actions = ["pay.in", "pay.all", "pay.back", action("pay.out", rate_limit={"max_calls": 1, "window_seconds": 3})]
    with runtime(manifest(*actions, rules=pieces(*names), context_blocks=blocks)) as resolver:
        clock: Any = resolver._runtime.clock
        for name in ("pay.in", "pay.out"):
            resolver.register(name, dict)
        parent, other = resolver.create_session("bot", "work"), resolver.create_session("other", "work")
        child = resolver.create_session("bot", "work", parent=parent)
        for goal in ("nothing", "pay", "why", "pay"):
            for session in (parent, other, child):
                resolution = session.resolve(goal)
                assert serialised(resolution) == resolution.to_json() == resolution.to_json()
            for name in ("pay.in", "pay.out"):
                if resolution.is_allowed(name):
                    child.execute(name, resolution=resolution)
            clock.advance(0.123456789)


def test_ids_are_quoted(make_world: Callable[..., Any], atlas: Callable[..., Any]) -> None:
    """Of a request, whatever it calls itself."""
    session = make_world(atlas("a")).open()
    for request_id in ('"', "\\", "é\n", "0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f"):
        fields = session.resolve("x").fields()
        resolution = cra.Resolution.restore(*fields[:2], request_id, *fields[3:])
        assert serialised(resolution) == resolution.to_json()
        assert request_id == json.loads(resolution.to_json())["request_id"]


def test_what_a_user_changes_changes_no_other_text(make_world: Callable[..., Any], atlas: Callable[..., Any]) -> None:
    """Pieces are kept as text, which nobody can get at."""
    rules = [rule("ask", "require_approval", "b"), rule("l", "rate_limit", "a", parameters=RATE)]
    session = make_world(atlas("a", "b", rules=rules)).open()
    resolution = session.resolve("x")
    before = resolution.to_json()
    for constraint in resolution.constraints:
        constraint.parameters.clear()
    assert before == resolution.to_json()
    again = session.resolve("x")
    assert serialised(again) == again.to_json()


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of rulings, plans and sessions go when they become too much; what is too long for that is never kept."""
    rules = pieces("allow", "approval", "limit", "scope")
    with runtime(manifest("pay.in", "pay.out", "pay.back", rules=rules)) as resolver:
        sessions = [resolver.create_session(f"bot {number}", "work") for number in range(30)]
        plan = sessions[0].resolve("x").plan
        text: ResolutionText = plan.policy_set.text
        for most in (0, 3_000, resolution_text.MAX_CHARACTERS):
            monkeypatch.setattr(resolution_text, "MAX_CHARACTERS", most)
            for session in sessions:
                resolution = session.resolve("x")
                assert serialised(resolution) == resolution.to_json()
            for kept in (text._rulings, text._plans, text._approvals):
                assert kept._characters <= most
                assert len(kept) * resolution_text._ENTRY_CHARACTERS <= kept._characters
        assert len(sessions) == len(text._approvals)
        assert 1 == len(text._rulings) == len(text._plans)


def test_threads_get_the_same_text(make_world: Callable[..., Any], atlas: Callable[..., Any]) -> None:
    """Whoever makes a piece first."""
    world = make_world(atlas(*(f"a{number}" for number in range(50)), rules=[rule("ask", "require_approval", "a1")]))
    resolution = world.open().resolve("x")
    texts: list[str] = []
    start = threading.Barrier(4)

    def render() -> None:
        start.wait()
        texts.extend(resolution.to_json() for _ in range(20))

    threads = [threading.Thread(target=render) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {serialised(resolution)} == set(texts)
    assert 80 == len(texts)
