"""Clearances: what the policies say of a call is remembered, within bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import cra
from cra.execution import call, clearance

Run = Callable[..., cra.Outcome]


def test_what_is_remembered_is_bounded_and_changes_no_answer(
    make_world: Callable[..., Any], atlas: Callable[..., Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many different calls there are, what was said of some is forgotten before there are too many."""
    monkeypatch.setattr(clearance, "MAX_CLEARANCES", 3)
    sizes, evaluated = [], []
    clear, evaluation = clearance.clear, clearance._Evaluation

    def measure(session: Any, ask: Any, policy_set: Any, *call: Any) -> clearance.Clearance:
        cleared = clear(session, ask, policy_set, *call)
        sizes.append(len(policy_set.cleared))
        return cleared

    monkeypatch.setattr(call, "clear", measure)
    monkeypatch.setattr(clearance, "_Evaluation", lambda *about: evaluated.append(about[2]) or evaluation(*about))
    actions = [f"a.do{n}" for n in range(5)]
    world = make_world(atlas(*actions, rules=[{"policy_id": "ask", "type": "require_approval", "actions": ["a.do3"]}]))
    for action_id in actions:
        world.resolver.register(action_id, lambda: None)
    session = world.open()
    resolution = session.resolve("do")
    answers = []
    for action_id in actions * 3:
        for _ in range(2):
            try:
                run(session, action_id, {}, resolution=resolution)
                answers.append((action_id, "allow"))
            except cra.ActionRequiresApproval:
                answers.append((action_id, "ask"))
    assert [(each, "ask" if each == "a.do3" else "allow") for each in actions * 3 for _ in range(2)] == answers
    assert 3 == max(sizes)
    assert actions * 3 == evaluated, "the second call of each was remembered"
