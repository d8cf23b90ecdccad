"""Approvals that are asked for in one process and decided in another, over a Redis server of the tests' own.

PROTOCOL: Approvals.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.shared.approvals import SharedApprovals, SharedApprovalsAway
from cra.shared.redis import RedisApprovals
from tests.support.redis_server import RedisServer, own_server

PATIENCE = 30.0
ATLAS = {
    "atlas_version": "1.0",
    "atlas_id": "com.example.shop",
    "version": "1.0.0",
    "name": "Shop",
    "description": "An example",
    "actions": [{"action_id": "shop.buy", "name": "Buy", "description": "Buys"}],
    "policies": [
        {"policy_id": "all", "type": "allow", "actions": ["*"]},
        {"policy_id": "ask", "type": "require_approval", "actions": ["*"]},
    ],
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    own = own_server(tmp_path)
    own.start()
    yield own
    own.stop()


@pytest.fixture
def make(server: RedisServer) -> Iterator[Callable[..., cra.Resolver]]:
    """Resolvers at one board, closed in the end."""
    made: list[cra.Resolver] = []

    def one(manifest: Any = ATLAS, **options: Any) -> cra.Resolver:
        resolver = cra.Resolver(shared_approvals=server.url, **options)
        resolver.load_atlas(manifest)
        resolver.register("shop.buy", lambda: "bought", inline=True)
        made.append(resolver)
        return resolver

    yield one
    for resolver in made:
        resolver.close()


def ask(resolver: cra.Resolver, session: cra.Session) -> str:
    """Execute what is held; the id of its approval."""
    with pytest.raises(cra.ActionRequiresApproval) as held:
        session.execute("shop.buy", resolution=session.resolve("buy"))
    approval_id: str = held.value.approval_id
    return approval_id


def until(condition: Callable[[], object]) -> None:
    """Wait for another thread or process."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_board_has_every_part_of_the_protocol(server: RedisServer) -> None:
    """And shows no password."""
    assert isinstance(RedisApprovals(server.url), SharedApprovals)
    board = RedisApprovals("redis://user:secret@localhost:1/3")
    assert "secret" not in board.name + repr(board)


def test_a_grant_elsewhere_frees_the_action_here(make: Any) -> None:
    """It is seen there, decided there, and recorded here with who and why; a resolve knows it soon, an execution at once."""
    here, there = make(), make()
    session = here.create_session("bot", "x")
    approval_id = ask(here, session)
    seen = there.pending_approvals()
    assert [(approval_id, "bot", "shop.buy", "pending")] == [
        (each.approval_id, each.agent_id, each.action_id, each.status) for each in seen
    ]
    granted = there.approve(approval_id, by="alice", reason="fine")
    assert ("granted", "alice", "fine") == (granted.status, granted.decided_by, granted.decision_reason)
    assert "success" == session.execute("shop.buy", resolution=session.resolve("buy")).status
    assert "allow" == session.resolve("buy").decision.type
    event = next(event for event in here.trace(session.session_id) if event.event_type == "approval.granted")
    assert ("alice", "fine") == (event.payload["by"], event.payload["reason"])
    until(lambda: not there.pending_approvals())


@pytest.mark.parametrize("moment", ["before it looks", "while it asks"])
@pytest.mark.parametrize("decide", ["approve", "reject"])
def test_an_execution_that_is_not_the_first_to_hear_of_a_decision_has_it_too(
    make: Any, monkeypatch: pytest.MonkeyPatch, moment: str, decide: str
) -> None:
    """The board tells at the same time, and one of both is the second to take it over."""
    here, there = make(), make()
    session = here.create_session("bot", "x")
    approval_id = ask(here, session)
    resolution = session.resolve("buy")
    sharing, book = here._runtime.sharing, here._runtime.approvals
    monkeypatch.setattr(sharing, "_note", lambda *_: None)  # the test tells
    take_over, held = sharing.take_over, book.held

    def told_before(*arguments: Any) -> Any:
        take_over(approval_id)
        return held(*arguments)

    def told_meanwhile(wanted: str) -> bool:
        take_over(wanted)
        return bool(take_over(wanted))

    getattr(there, decide)(approval_id, by="alice")
    if moment == "before it looks":
        monkeypatch.setattr(book, "held", told_before)
    else:
        monkeypatch.setattr(sharing, "take_over", told_meanwhile)
    if decide == "approve":
        assert "success" == session.execute("shop.buy", resolution=resolution).status
    else:
        with pytest.raises(cra.ActionDenied):
            session.execute("shop.buy", resolution=resolution)


def test_a_grant_elsewhere_frees_nothing_that_another_policy_holds(make: Any) -> None:
    """The call goes on to what holds it next, and asks for that."""
    second = {"policy_id": "ask-again", "type": "require_approval", "actions": ["*"]}
    manifest = {**ATLAS, "policies": [*ATLAS["policies"], second]}
    here, there = make(manifest), make(manifest)
    session = here.create_session("bot", "x")
    resolution = session.resolve("buy")
    for policy_id in ("ask", "ask-again"):
        with pytest.raises(cra.ActionRequiresApproval) as held:
            session.execute("shop.buy", resolution=resolution)
        (waiting,) = [each for each in there.pending_approvals() if each.approval_id == held.value.approval_id]
        assert policy_id == waiting.policy_id
        there.approve(waiting.approval_id, by="alice")
    assert "success" == session.execute("shop.buy", resolution=resolution).status


def test_a_rejection_elsewhere_denies_here(make: Any) -> None:
    """For the rest of the session."""
    here, there = make(), make()
    session = here.create_session("bot", "x")
    there.reject(ask(here, session), by="bob", reason="no")
    with pytest.raises(cra.ActionDenied):
        session.execute("shop.buy", resolution=session.resolve("buy"))


def test_who_waits_here_is_woken_by_a_decision_there(make: Any) -> None:
    """Nothing is executed or asked meanwhile: the board tells."""
    here, there = make(), make()
    approval_id = ask(here, here.create_session("bot", "x"))
    there.approve(approval_id, by="alice")
    assert "granted" == here.wait_for_approval(approval_id, PATIENCE).status


def test_the_first_decision_counts(make: Any) -> None:
    """Of two processes, and of the one that asked."""
    here, there, elsewhere = make(), make(), make()
    session = here.create_session("bot", "x")
    approval_id = ask(here, session)
    there.approve(approval_id, by="alice")
    with pytest.raises((cra.Conflict, cra.ApprovalNotFound)):
        elsewhere.reject(approval_id, by="bob")
    assert "success" == session.execute("shop.buy", resolution=session.resolve("buy")).status


def test_no_agent_approves_for_itself_elsewhere(make: Any) -> None:
    """Whatever the case and the width of the letters."""
    here, there = make(), make()
    approval_id = ask(here, here.create_session("bot", "x"))
    for by in ("bot", " BOT ", "ｂｏｔ"):
        with pytest.raises(cra.ActionDenied):
            there.approve(approval_id, by=by)
    with pytest.raises(cra.InvalidParameters):
        there.approve(approval_id, by=" ")
    with pytest.raises(cra.ApprovalNotFound):
        there.approve("00000000-0000-8000-8000-000000000000", by="alice")


def test_what_nobody_waits_for_any_more_is_taken_down(make: Any) -> None:
    """Its session ended, it was decided here, or its process closed."""
    here, there = make(), make()
    session, other, third = (here.create_session("bot", "x") for _ in range(3))
    ask(here, session)
    decided = ask(here, other)
    ask(here, third)
    assert 3 == len(there.pending_approvals())
    session.end()
    here.approve(decided, by="alice")
    until(lambda: len(there.pending_approvals()) == 1)
    here.close()
    assert [] == there.pending_approvals()


def test_a_board_that_is_away_leaves_each_process_its_own(make: Any, server: RedisServer) -> None:
    """Asked for and decided here as without it; only those of others are not to be had, and that is said."""
    here = make()
    session = here.create_session("bot", "x")
    server.kill()
    approval_id = ask(here, session)
    with pytest.raises(cra.StorageError, match="not to be had"):
        here.pending_approvals()
    here.approve(approval_id, by="alice")
    assert "success" == session.execute("shop.buy", resolution=session.resolve("buy")).status


def test_a_decision_made_while_the_line_was_down_is_not_missed(make: Any, server: RedisServer) -> None:
    """The listener asks for everything that waits whenever it is connected anew."""
    here, there = make(), make()
    approval_id = ask(here, here.create_session("bot", "x"))
    board = there._runtime.sharing._board
    board._server.client.client_kill_filter(_type="pubsub")
    there.approve(approval_id, by="alice")
    assert "granted" == here.wait_for_approval(approval_id, PATIENCE).status


def test_a_decision_that_could_not_be_fetched_is_fetched_later(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, and the board may be away just then."""
    here, there = make(), make()
    board = here._runtime.sharing._board
    fetch, decided, failed, is_back = board.decision, threading.Event(), threading.Event(), threading.Event()

    def decision(wanted: str) -> Any:
        if is_back.is_set():
            return fetch(wanted)
        if decided.is_set():
            failed.set()
        raise SharedApprovalsAway("away")

    monkeypatch.setattr(board, "decision", decision)  # before it is asked for: the listener looks once when it begins
    approval_id = ask(here, here.create_session("bot", "x"))
    there.approve(approval_id, by="alice")
    decided.set()
    assert failed.wait(PATIENCE)
    assert "pending" == here.wait_for_approval(approval_id, 0.3).status
    is_back.set()
    assert "granted" == here.wait_for_approval(approval_id, 10).status


def test_a_connection_that_was_taken_away_does_not_end_the_listener(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What redis-py raises on a file that is closed is no error of its own."""
    board, told = RedisApprovals(server.url), threading.Event()
    pubsub, failed = board._server.client.pubsub, threading.Event()

    def closed(**options: Any) -> Any:
        if failed.is_set():
            return pubsub(**options)
        failed.set()
        raise ValueError("I/O operation on closed file.")

    monkeypatch.setattr(board._server.client, "pubsub", closed)
    board.listen(lambda _: told.set())
    assert told.wait(PATIENCE)
    assert failed.is_set()
    board.close()


def test_a_decision_that_cannot_be_read_or_recorded_stops_no_other(make: Any) -> None:
    """Whatever stands at the board, and whatever the host's `redact` raises: the next decision is taken over."""

    def redact(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
        if kind == "approval.granted" and payload["by"] == "mallory":
            raise ValueError("no")
        return payload

    here, there = make(redact=redact), make()
    first, second, third = (ask(here, here.create_session("bot", "x")) for _ in range(3))
    board = there._runtime.sharing._board
    board._server.client.hset(board._keys + first, "decision", "{")
    board._server.client.publish(board._channel, first)
    there.approve(second, by="mallory")
    there.approve(third, by="alice")
    assert "granted" == here.wait_for_approval(third, 10).status
    with pytest.raises(cra.StorageError):
        there.approve(first, by="alice")


def test_an_approval_whose_session_ends_while_it_is_announced_is_taken_down(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked for what nobody waits for, and nothing of it is kept."""
    here, there = make(), make()
    session = here.create_session("bot", "x")
    board = here._runtime.sharing._board
    announce = board.announce

    def slow(approval: Any, lifetime: float) -> None:
        announce(approval, lifetime)
        session.end()

    monkeypatch.setattr(board, "announce", slow)
    ask(here, session)
    until(lambda: not there.pending_approvals())
    until(lambda: not here._runtime.sharing._announced)
    assert not here._runtime.approvals._watchers


def test_what_dead_processes_have_put_up_does_not_pile_up(make: Any) -> None:
    """Whoever announces something takes down what has expired, though nobody lists it."""
    here = make()
    board = here._runtime.sharing._board
    board._server.client.zadd(board._waiting, {"of a dead process": 1})
    approval_id = ask(here, here.create_session("bot", "x"))
    assert [approval_id] == board._server.client.zrange(board._waiting, 0, -1)


PROCESS = """
import json, sys
import cra
resolver = cra.Resolver(shared_approvals=sys.argv[1])
resolver.load_atlas(json.loads(sys.argv[2]))
resolver.register("shop.buy", lambda: "bought")
session = resolver.create_session("bot", "x")
try:
    session.execute("shop.buy", resolution=session.resolve("buy"))
except cra.ActionRequiresApproval as held:
    print(held.approval_id, flush=True)
    print(resolver.wait_for_approval(held.approval_id, 60).status, flush=True)
print(session.execute("shop.buy", resolution=session.resolve("buy")).status, flush=True)
resolver.close()
"""


def test_an_approval_given_in_one_process_frees_the_action_in_another(make: Any, server: RedisServer) -> None:
    """For real: another interpreter asks and waits, this one lists and grants."""
    command = [sys.executable, "-c", PROCESS, server.url, json.dumps(ATLAS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        approval_id = process.stdout.readline().strip()
        here = make()
        assert [approval_id] == [approval.approval_id for approval in here.pending_approvals()]
        here.approve(approval_id, by="alice")
        assert ["granted", "success"] == process.stdout.read().split()
    assert 0 == process.returncode
