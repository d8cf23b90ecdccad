"""Latency cases: each gives the histogram of one call, warm, with the worker running and the cycle collector on.

`CASES` is by name; a case returns a `Histogram`, or several by name. What a case measures is in its docstring, which the table
shows.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cra
from perf.histogram import Histogram, measure, measure_each, nothing

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests/data/golden/simple-resolve/atlas.json"
GITHUB = ROOT / "examples/github/atlas"
GOAL = "Manage resources in the test environment"
Case = Callable[[int], "Histogram | dict[str, Histogram]"]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[name] = function
        return function

    return register


def github_without_limits() -> dict[str, Any]:
    """The 117 actions of the GitHub atlas under its team's policies, all but the limits."""
    manifest: dict[str, Any] = json.loads((GITHUB / "atlas.json").read_text())
    manifest["policies"] = [policy for policy in manifest["policies"] if policy["type"] not in ("rate_limit", "budget")]
    manifest["context_packs"] = []
    return manifest


@contextmanager
def runtime(atlas: Path | dict[str, Any] = GOLDEN, storage: str = "null:", **options: Any) -> Iterator[cra.Resolver]:
    """A resolver with one atlas, whose events are expanded, hashed, chained and then discarded."""
    with cra.Resolver(storage=storage, **options) as resolver:
        resolver.load_atlas(atlas)
        yield resolver


def session_of(resolver: cra.Resolver) -> cra.Session:
    session = resolver.create_session(agent_id="bench", goal=GOAL)
    for _ in range(1_000):
        session.resolve(GOAL)
    resolver.flush()
    return session


def paced(session: cra.Session, resolver: cra.Resolver, count: int, burst: int = 5_000) -> Histogram:
    """Resolves in bursts that the ring holds easily; the worker catches up in between."""
    times: list[int] = []
    while len(times) < count:
        times += measure(lambda: session.resolve(GOAL), burst).times
        resolver.flush()
    return Histogram(times)


@case("timer")
def timer(count: int) -> Histogram:
    """A call that does nothing: what the timer itself costs, in every row."""
    return measure(nothing, count)


@case("resolve 5")
def resolve_golden(count: int) -> Histogram:
    """`session.resolve(goal)`, golden atlas, 5 actions, the worker busy"""
    with runtime() as resolver:
        return paced(session_of(resolver), resolver, count)


@case("resolve 117")
def resolve_github(count: int) -> Histogram:
    """the same, GitHub atlas, 117 actions, without its limits"""
    with runtime(github_without_limits()) as resolver:
        return paced(session_of(resolver), resolver, count, burst=2_000)


@case("resolve idle")
def resolve_idle(count: int) -> Histogram:
    """the same, golden atlas, the worker idle: it has caught up before every call"""
    with runtime() as resolver:
        session = session_of(resolver)

        def calls() -> Iterator[Callable[[], object]]:
            for _ in range(count // 20):
                resolver.flush()
                yield lambda: session.resolve(GOAL)

        return measure_each(calls())


@case("resolve memory")
def resolve_memory(count: int) -> Histogram:
    """the same, stored in `memory:`, where the worker needs the interpreter lock now and then"""
    with runtime(storage="memory:") as resolver:
        return paced(session_of(resolver), resolver, count)


@case("resolve many")
def resolve_many(count: int) -> Histogram:
    """1,000 goals × 1,000 sessions in turn"""
    with runtime() as resolver:
        sessions = [resolver.create_session(agent_id=f"bench-{n}", goal=GOAL) for n in range(1_000)]
        goals = [f"{GOAL}, case {n}" for n in range(1_000)]
        for session in sessions:
            session.resolve(GOAL)
        times: list[int] = []
        number = 0
        while len(times) < count:
            calls = []
            for _ in range(5_000):
                session, goal = sessions[number * 7 % 1_000], goals[number * 13 % 1_000]
                calls.append(lambda session=session, goal=goal: session.resolve(goal))
                number += 1
            times += measure_each(calls).times
            resolver.flush()
        return Histogram(times)


@case("resolve cold")
def resolve_cold(count: int) -> Histogram:
    """a caller that slept 2 ms before every call"""
    with runtime() as resolver:
        session = session_of(resolver)

        def calls() -> Iterator[Callable[[], object]]:
            for _ in range(max(200, count // 200)):
                time.sleep(0.002)
                yield lambda: session.resolve(GOAL)

        return measure_each(calls())


def _threads(number: int) -> Case:
    def run(count: int) -> Histogram:
        times: list[int] = []

        def work(session: cra.Session) -> None:
            times.extend(measure(lambda: session.resolve(GOAL), max(1, 5_000 // number)).times)

        with runtime() as resolver:
            sessions = [session_of(resolver) for _ in range(number)]
            for _ in range(max(1, count // 5_000)):
                threads = [threading.Thread(target=work, args=(session,)) for session in sessions]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                resolver.flush()
        return Histogram(times)

    run.__doc__ = f"from {number} threads at once, a session each"
    return run


for _number in (4, 16):
    CASES[f"resolve {_number} threads"] = _threads(_number)


LIMITED: dict[str, Any] = {
    "atlas_version": "1.0",
    "atlas_id": "com.example.limited",
    "version": "1.0.0",
    "name": "Limited",
    "description": "Five actions and limits",
    "actions": [{"action_id": f"item.do{n}", "name": "Do", "description": "Do"} for n in range(5)],
}


def _limits(number: int) -> Case:
    def run(count: int) -> Histogram:
        policies: list[dict[str, Any]] = [{"policy_id": "all", "type": "allow", "actions": ["*"]}]
        policies += [
            {
                "policy_id": f"limit-{n}",
                "type": "rate_limit",
                "actions": ["*"],
                "parameters": {"max_calls": 1_000, "window_seconds": 3_600, "key": "session"},
            }
            for n in range(number)
        ]
        with cra.Resolver(storage="null:") as resolver:
            resolver.load_atlas({**LIMITED, "policies": policies})
            resolver.register("item.do0", dict)
            session = session_of(resolver)
            for _ in range(3):
                session.execute("item.do0", {}, resolution=session.resolve(GOAL))
            return paced(session, resolver, count)

    run.__doc__ = f"five actions under {number} limits that are in use"
    return run


for _number in (0, 5):
    CASES[f"resolve {_number} limits"] = _limits(_number)


@case("resolve full ring")
def resolve_full(count: int) -> Histogram:
    """without a pause, into a ring that is full: every call waits for the worker"""
    with runtime() as resolver:
        session = session_of(resolver)
        measure(lambda: session.resolve(GOAL), 60_000)
        return measure(lambda: session.resolve(GOAL), count)


@case("request")
def request(count: int) -> Histogram:
    """`resolver.resolve(request)`: a full CARP request, validated"""
    from cra.ids import RandomIds, format_uuid
    from cra.timing.clock import SystemClock, format_timestamp

    with runtime() as resolver:
        ids = RandomIds()
        times: list[int] = []
        while len(times) < count // 4:
            session = session_of(resolver)
            requests = []
            for _ in range(2_000):
                now = SystemClock.now_ns()
                requests.append(
                    {
                        "carp_version": "1.0",
                        "request_id": format_uuid(ids.draw(now // 10**6)),
                        "timestamp": format_timestamp(now),
                        "operation": "resolve",
                        "requester": {"agent_id": "bench", "session_id": session.session_id},
                        "task": {"goal": GOAL, "risk_tier": "low", "context_hints": [], "required_capabilities": []},
                    }
                )
            times += measure_each([lambda one=one: resolver.resolve(one) for one in requests]).times
            session.end()
            resolver.flush()
        return Histogram(times)


@case("to_json")
def to_json(count: int) -> Histogram:
    """`resolution.to_json()` of a fresh golden resolution"""
    with runtime() as resolver:
        session = session_of(resolver)
        times: list[int] = []
        while len(times) < count // 4:
            resolutions = [session.resolve(GOAL) for _ in range(1_000)]
            times += measure_each([resolution.to_json for resolution in resolutions]).times
            resolver.flush()
        return Histogram(times)


def _execute(inline: bool) -> Case:
    def run(count: int) -> Histogram:
        with runtime() as resolver:
            resolver.register("resource.list", dict, inline=inline)
            session = session_of(resolver)
            resolution = session.resolve(GOAL)
            times: list[int] = []
            while len(times) < count // 4:
                times += measure(lambda: session.execute("resource.list", {}, resolution=resolution), 1_000).times
                resolver.flush()
        return Histogram(times)

    where = (
        "on the caller's thread (`inline=True`)"
        if inline
        else "on a thread of its own, so that a timeout ends the wait"
    )
    run.__doc__ = f"`session.execute` of an executor that does nothing, {where}"
    return run


CASES["execute inline"] = _execute(inline=True)
CASES["execute"] = _execute(inline=False)


@case("session")
def session_life(count: int) -> Histogram:
    """`create_session` and `end`"""
    with runtime() as resolver:
        times: list[int] = []
        while len(times) < count // 4:
            times += measure(lambda: resolver.create_session(agent_id="bench", goal=GOAL).end(), 1_000).times
            resolver.flush()
        return Histogram(times)


@case("record")
def record(count: int) -> Histogram:
    """one `Ring.put` of 150 bytes from Python"""
    from cra.hotpath import Ring

    ring = Ring(8 * 2**20)
    data = bytes(150)
    times: list[int] = []
    while len(times) < count:
        times += measure(lambda: ring.put(data), 10_000).times
        while ring.read() is not None:
            pass
        ring.free(ring.position)
    ring.close()
    return Histogram(times)


@case("load 5")
def load_golden(count: int) -> Histogram:
    """`cra.load_atlas`, golden atlas: read, checked, its schemas compiled"""
    return measure(lambda: cra.load_atlas(GOLDEN), max(20, count // 2_000))


@case("load 117")
def load_github(count: int) -> Histogram:
    """the same, GitHub atlas"""
    return measure(lambda: cra.load_atlas(GITHUB), max(10, count // 5_000))
