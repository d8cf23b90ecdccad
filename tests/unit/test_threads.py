"""Everything is safe to call from many threads, and a forked child is told what it has. API: Everything is safe …"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import cra

THREADS = 8
SECONDS = 60.0


def together(*functions: Callable[[], object]) -> list[Any]:
    """Run the functions at once, each in a thread; what each returned or raised."""
    barrier = threading.Barrier(len(functions))
    outcomes: list[Any] = [None] * len(functions)

    def run(number: int, function: Callable[[], object]) -> None:
        barrier.wait(SECONDS)
        try:
            outcomes[number] = function()
        except BaseException as error:
            outcomes[number] = error

    threads = [
        threading.Thread(target=run, args=(number, function), daemon=True) for number, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive(), "deadlock"
    return outcomes


@pytest.fixture(autouse=True)
def _switch_often() -> Any:
    """Threads that take turns often meet often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_one_session_in_many_threads(make_world: Any, atlas: Any) -> None:
    """Every resolve is one block of events in the chain, which verifies (the fixture does it) and replays."""
    manifest = atlas("a.b", "a.c")
    world = make_world(manifest)
    session = world.open()
    together(*[lambda: [session.resolve("x") for _ in range(50)]] * THREADS)
    assert THREADS * 50 == world.resolver.stats().resolutions
    result = cra.replay(world.trace(session), [manifest])
    assert (THREADS * 50, THREADS * 50) == (result.resolutions, result.reproduced)


def test_burst_admits_exactly_the_limit(make_world: Any, atlas: Any) -> None:
    """Of a hundred calls at once, from sessions of one agent, ten run; the others are told when."""
    cap = {
        "policy_id": "cap",
        "type": "rate_limit",
        "parameters": {"max_calls": 10, "window_seconds": 60, "key": "agent"},
    }
    purse = {"policy_id": "purse", "type": "budget", "parameters": {"max_cost": 1000, "cost": 1, "key": "global"}}
    world = make_world(atlas("a.b", rules=[cap, purse]))
    calls: list[int] = []
    world.resolver.register("a.b", lambda: calls.append(1))
    sessions = [world.open() for _ in range(4)]
    resolutions = [session.resolve("x") for session in sessions]

    def work(number: int) -> Counter[str]:
        told: Counter[str] = Counter()
        for _ in range(100 // THREADS):
            session, resolution = sessions[number % 4], resolutions[number % 4]
            try:
                told[session.execute("a.b", resolution=resolution).status] += 1
            except cra.RateLimitExceeded as error:
                told[f"again in {error.retry_after:g} s"] += 1
        return told

    outcomes = sum(together(*[lambda n=n: work(n) for n in range(THREADS)]), Counter())
    assert Counter({"success": 10, "again in 60 s": 100 // THREADS * THREADS - 10}) == outcomes
    assert 10 == len(calls)
    remaining = {each.type: each.parameters["remaining"] for each in sessions[0].resolve("x").constraints}
    assert {"rate_limit": 0, "budget": 990} == remaining


def test_one_key_runs_once(make_world: Any, atlas: Any) -> None:
    """However many ask with it at once, by thread or by coroutine."""
    calls: list[int] = []
    world = make_world(atlas("a.b"))
    world.resolver.register("a.b", lambda: calls.append(1))
    session = world.open()
    options = {"resolution": session.resolve("x"), "idempotency_key": "k"}
    outcomes = together(
        *[lambda: session.execute("a.b", **options)] * THREADS,
        *[lambda: asyncio.run(session.aexecute("a.b", **options))] * THREADS,
    )
    assert 1 == len(calls) == len({outcome.execution_id for outcome in outcomes})
    assert 1 == [outcome.replayed for outcome in outcomes].count(False)


def test_replacing_an_atlas_has_no_moment_in_between(make_world: Any, atlas: Any) -> None:
    """Every resolve sees the one version or the other, whole; none is told that the atlas is not there."""
    versions = [
        atlas("a.one", "a.both", version="1.0.0"),
        atlas("a.two", "a.both", version="2.0.0", rules=[{"policy_id": "no", "type": "deny", "actions": ["a.both"]}]),
    ]
    world = make_world(versions[0])
    world.resolver.register("a.both", dict)
    stop = threading.Event()

    def swap() -> None:
        for number in range(60):
            world.resolver.load_atlas(versions[(number + 1) % 2], replace=True)
        stop.set()

    def work() -> set[tuple[str, ...]]:
        seen = set()
        session = world.open(atlas_ids=["com.example.shop"])
        while not stop.is_set():
            resolution = session.resolve("x")
            seen.add(tuple(action.action_id for action in resolution.allowed_actions))
        return seen

    outcomes = together(swap, *[work] * 3)
    assert outcomes[0] is None
    for seen in outcomes[1:]:
        assert seen <= {("a.one", "a.both"), ("a.two",)}


def test_everything_at_once(make_world: Any, atlas: Any, seed: int) -> None:
    """Opening, resolving, executing, approving, ending, revoking, loading and reading, in any order: no deadlock, no surprise,
    and every chain that was written verifies."""
    hold = {"policy_id": "hold", "type": "require_approval", "actions": ["a.c"]}
    cap = {"policy_id": "cap", "type": "rate_limit", "parameters": {"max_calls": 50, "window_seconds": 1}}
    budget = {"policy_id": "purse", "type": "budget", "parameters": {"max_cost": 5, "cost": 1}}
    world = make_world(atlas("a.b", "a.c", rules=[hold, cap, budget]))
    resolver = world.resolver
    resolver.register("a.b", lambda: {"ok": True})
    resolver.register("a.c", dict)
    expected = (
        cra.NotFoundError,
        cra.AuthorizationError,
        cra.ConflictError,
        cra.ExpiredError,
        cra.RateLimitExceeded,
        cra.ExecutionError,
    )
    shared = [world.open("agent0") for _ in range(3)]

    def work(number: int) -> None:
        draw = random.Random(seed * 100 + number)
        for step in range(60):
            try:
                which = draw.randrange(len(shared))
                session = shared[which]
                choice = draw.randrange(14)
                if choice < 4:
                    resolution = session.resolve("x")
                    session.execute("a.b", resolution=resolution, idempotency_key=draw.choice([None, str(step)]))
                elif choice < 6:
                    session.execute("a.c", resolution=session.resolve("x"))
                elif choice == 6:
                    for approval in resolver.pending_approvals()[:2]:
                        draw.choice([resolver.approve, resolver.reject])(approval.approval_id, by="alice")
                elif choice == 7:
                    shared[which] = world.open(f"agent{draw.randrange(3)}", parent=draw.choice([None, *shared]))
                elif choice == 8:
                    session.end()
                elif choice == 9:
                    resolver.load_atlas(atlas(atlas_id=f"com.example.a{draw.randrange(3)}"))
                elif choice == 10:
                    resolver.unload_atlas(f"com.example.a{draw.randrange(3)}")
                elif choice == 11:
                    cra.verify_chain(resolver.trace(session.session_id))
                elif choice == 12:
                    world.clock.advance(draw.choice([0.1, 1, 100, 2000]))
                else:
                    resolver.revoke(f"agent{draw.randrange(2, 9)}")
                    resolver.stats()
            except expected:
                pass

    for outcome in together(*[lambda n=n: work(n) for n in range(THREADS)]):
        assert outcome is None, outcome
    for session in list(resolver._runtime.sessions.values()):
        assert not session.open_calls
    resolver.flush()
    recorder = resolver.stats().recorder
    assert (0, 0) == (recorder.reservations, recorder.ring_reserved)


def test_closing_while_others_work(make_world: Any, atlas: Any) -> None:
    """Whoever comes too late is told so; what was acknowledged is stored."""
    world = make_world(atlas("a.b"))
    world.resolver.register("a.b", dict)
    sessions = [world.open() for _ in range(THREADS)]
    started = threading.Barrier(THREADS + 1)

    def work(session: cra.Session) -> int:
        done = 0
        started.wait(SECONDS)
        try:
            while True:
                session.execute("a.b", resolution=session.resolve("x"))
                done += 1
        except (cra.SessionAlreadyEnded, cra.ExecutionError, cra.InternalError):
            return done

    def close() -> None:
        started.wait(SECONDS)
        threading.Event().wait(0.05)
        world.resolver.close()

    outcomes = together(close, *[lambda s=session: work(s) for session in sessions])
    assert outcomes[0] is None, outcomes[0]
    for session, done in zip(sessions, outcomes[1:]):
        types = [event.event_type for event in world.storage.events(session.session_id)]
        assert isinstance(done, int), done
        assert done <= types.count("action.executed")
        assert types.count("action.approved") == types.count("action.executed") + types.count("action.failed")
        assert "session.ended" == types[-1]


def test_counts_are_told_while_records_come(atlas: Any) -> None:
    """Where nobody looks at the events, the worker has no reason to stop; whoever asks for the counts is one, each time."""
    sys.setswitchinterval(0.005)  # as users have it: records come faster
    stop, busy = threading.Event(), threading.Event()
    with cra.Resolver("null:") as resolver:
        resolver.load_atlas(atlas("a.b"))
        session = resolver.create_session("bot", "work")

        def work() -> None:
            while not stop.is_set():
                for _ in range(1000):
                    session.resolve("x")
                busy.set()

        def look() -> int:
            time.sleep(0.01)  # the worker is at work again
            return resolver.stats().recorder.events_recorded

        def ask() -> list[int]:
            try:
                assert busy.wait(SECONDS)
                return [look() for _ in range(25)]
            finally:
                stop.set()

        told = together(ask, work)[0]
    assert 25 == len(told)
    assert sorted(told) == told


PARENT = """
import faulthandler, gc, os, sys, threading, time
import cra

ATLAS = {
    "atlas_version": "1.0", "atlas_id": "com.example.a", "version": "1.0.0", "name": "A", "description": "A",
    "actions": [{"action_id": "a.b", "name": "A", "description": "A"}],
    "policies": [{"policy_id": "all", "type": "allow", "actions": ["*"]}],
}
resolver = cra.Resolver()
resolver.load_atlas(ATLAS)
resolver.register("a.b", dict)
session = resolver.create_session("bot", "work")
resolution = session.resolve("x")

CALLS = [
    lambda: session.resolve("x"),
    lambda: session.execute("a.b", resolution=resolution),
    lambda: session.request_approval("x"),
    lambda: session.end(),
    lambda: resolver.create_session("bot", "work"),
    lambda: resolver.load_atlas({**ATLAS, "atlas_id": "com.example.b"}),
    lambda: resolver.unload_atlas("com.example.a"),
    lambda: resolver.pending_approvals(),
    lambda: resolver.approve("x", by="alice"),
    lambda: resolver.revoke("bot"),
    lambda: resolver.flush(),
    lambda: resolver.trace(session.session_id),
    lambda: resolver.subscribe(print),
    lambda: resolver.stats(),
    lambda: resolver.close(),
]

def child():
    for number, call in enumerate(CALLS):
        try:
            call()
        except cra.InternalError as error:
            assert "inherited through a fork" in str(error), error
        else:
            raise AssertionError(f"call {number} worked in the child")
    with cra.Resolver() as fresh:
        fresh.load_atlas(ATLAS)
        own = fresh.create_session("bot", "work")
        fresh.register("a.b", dict)
        own.execute("a.b", resolution=own.resolve("x"))
        assert cra.verify_chain(fresh.trace(own.session_id)).valid

def fork():
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    faulthandler.dump_traceback_later(60, exit=True)  # whoever hangs says where
    try:
        child()
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
        os._exit(1)
    os._exit(0)
"""

BUSY = """
stop = threading.Event()

def work():
    while not stop.is_set():
        session.resolve("x")
        resolver.create_session("bot", "work").end()
        resolver.pending_approvals()

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
statuses = []
while len(statuses) < 10 and not any(statuses):
    time.sleep(0.01)
    statuses.append(fork())
stop.set()
for thread in threads:
    thread.join()
assert cra.verify_chain(resolver.trace(session.session_id)).valid
resolver.close()
print(statuses)
"""

HELD = """
LOCKS = type(threading.Lock()), type(threading.RLock()), type(cra.hotpath.SessionLock())
held = []
ready = threading.Event()

def hold():
    for owner in gc.get_objects():
        if str(getattr(type(owner), "__module__", "")).startswith("cra."):
            slots = [name for kind in type(owner).__mro__ for name in getattr(kind, "__slots__", ())]
            for name in [*slots, *getattr(owner, "__dict__", ()), "lock"]:
                lock = getattr(owner, name, None)
                if isinstance(lock, LOCKS) and lock.acquire(timeout=0.1):
                    held.append(f"{type(owner).__name__}.{name}")
    ready.set()
    time.sleep(3600)

resolver.subscribe(lambda delivery: None)
session.execute("a.b", resolution=resolution)
resolver.flush()
threading.Thread(target=hold, daemon=True).start()
ready.wait()
print([fork()], len(held) >= 10, "Session.lock" in held, flush=True)
os._exit(0)
"""


def _run_forking(program: str) -> tuple[int, str, str]:
    # Not measured: a tracer has state and locks of its own, which are not safe to fork while other threads run.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARENT + program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr


def test_forked_child_is_told_and_can_start_afresh() -> None:
    """Whatever it calls on an inherited runtime is a clear error at once, while threads of the parent are at work; a new
    `Resolver` works; the parent notices nothing."""
    assert (0, str([0] * 10), "") == _run_forking(BUSY)


def test_forked_child_waits_for_no_lock_that_the_parent_held() -> None:
    """Every lock of the runtime is held at the fork, by a thread that the child does not have."""
    assert (0, "[0] True True", "") == _run_forking(HELD)
