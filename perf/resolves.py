"""Latency of `resolve`: warm, cold, of many sessions and threads, under limits, into a full ring. Worker and collector run."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cra
from cra.bench.histogram import Histogram, measure, measure_each, nothing
from perf.cases import GITHUB, GOAL, GOLDEN, github_without_limits, latency, paced, resolve, runtime, session_of


@latency("timer", "a call that does nothing: what the timer itself costs, in every row")
def timer(count: int) -> Histogram:
    return measure(nothing, count)


def _warm(
    name: str,
    text: str,
    atlas: Callable[[], Path | dict[str, Any]] = lambda: GOLDEN,
    *,
    storage: str = "null:",
    burst: int = 5_000,
) -> None:
    @latency(name, text)
    def run(count: int) -> Histogram:
        with runtime(atlas(), storage) as resolver:
            session = session_of(resolver)
            return paced(lambda: session.resolve(GOAL), resolver, count, burst)


_warm("resolve 5", "`session.resolve(goal)`, golden atlas, 5 actions, worker busy")
_warm("resolve 117", "the same, GitHub atlas, 117 actions, without its limits", github_without_limits, burst=2_000)
_warm("resolve 117 as is", "the same, GitHub atlas with its limits and context", lambda: GITHUB, burst=2_000)
_warm(
    "resolve memory", "golden atlas, into `memory:`: the worker needs the interpreter lock at times", storage="memory:"
)


@latency("resolve journal", "golden atlas, into `journal:`, its ring on disk: what is recorded survives the process")
def resolve_journal(count: int) -> Histogram:
    with tempfile.TemporaryDirectory() as folder, runtime(storage=f"journal:///{folder}/trace") as resolver:
        session = session_of(resolver)
        return paced(lambda: session.resolve(GOAL), resolver, count, 5_000)


def _timers(name: str, text: str, timing: cra.Timing | None) -> None:
    @latency(name, text)
    def run(count: int) -> Histogram:
        with runtime(timing=timing) as resolver:
            session = session_of(resolver)
            return paced(lambda: session.resolve(GOAL), resolver, count, 5_000)


_timers("resolve untimed", "golden atlas, no timers at all", None)
_timers(
    "resolve timed",
    "the same, a heartbeat every 50 ms, sessions that end by the clock",
    cra.Timing(heartbeat_seconds=0.05),
)


@latency("resolve idle", "golden atlas, worker idle: it has caught up before every call")
def resolve_idle(count: int) -> Histogram:
    with runtime() as resolver:
        session = session_of(resolver)

        def calls() -> Iterator[Callable[[], object]]:
            for _ in range(count // 20):
                resolver.flush()
                yield lambda: session.resolve(GOAL)

        return measure_each(calls())


@latency("resolve many", "1,000 goals × 1,000 sessions, in turn")
def resolve_many(count: int) -> Histogram:
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
                calls.append(partial(session.resolve, goal))
                number += 1
            times += measure_each(calls).times
            resolver.flush()
        return Histogram(times)


@latency("resolve cold", "a caller that slept 2 ms before every call")
def resolve_cold(count: int) -> Histogram:
    with runtime() as resolver:
        session = session_of(resolver)

        def calls() -> Iterator[Callable[[], object]]:
            for _ in range(max(200, count // 50)):
                time.sleep(0.002)
                yield lambda: session.resolve(GOAL)

        return measure_each(calls())


def _threads(number: int) -> None:
    @latency(f"resolve {number} threads", f"from {number} threads at once, a session each")
    def run(count: int) -> Histogram:
        times: list[int] = []

        def work(session: cra.Session) -> None:
            times.extend(measure(lambda: session.resolve(GOAL), max(1, 20_000 // number)).times)

        with runtime() as resolver:
            sessions = [session_of(resolver) for _ in range(number)]
            for _ in range(max(1, count // 20_000)):
                threads = [threading.Thread(target=work, args=(session,)) for session in sessions]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                resolver.flush()
        return Histogram(times)


_threads(4)
_threads(16)


def limited(limits: int, key: str = "session") -> dict[str, Any]:
    """An atlas of five actions, all allowed, each under so many rate limits."""
    policies: list[dict[str, Any]] = [{"policy_id": "all", "type": "allow", "actions": ["*"]}]
    policies += [
        {
            "policy_id": f"limit-{n}",
            "type": "rate_limit",
            "actions": ["*"],
            "parameters": {"max_calls": 1_000_000, "window_seconds": 3_600, "key": key},
        }
        for n in range(limits)
    ]
    return {
        "atlas_version": "1.0",
        "atlas_id": "com.example.limited",
        "version": "1.0.0",
        "name": "Limited",
        "description": "Five actions and limits",
        "actions": [{"action_id": f"item.do{n}", "name": "Do", "description": "Do"} for n in range(5)],
        "policies": policies,
    }


_LIMITS = {0: "no limits", 1: "one rate limit on each, partly used", 5: "five such limits on each"}


def _limits(number: int) -> None:
    @latency(f"resolve {number} limits", f"five actions, {_LIMITS[number]}")
    def run(count: int) -> Histogram:
        with runtime(limited(number)) as resolver:
            resolver.register("item.do0", dict)
            session = session_of(resolver)
            for _ in range(3):
                session.execute("item.do0", {}, resolution=session.resolve(GOAL))
            return paced(lambda: session.resolve(GOAL), resolver, count, 5_000)


for _number in _LIMITS:
    _limits(_number)


# The reference's worker shares the interpreter lock with its callers: there the ring does not fill.
@latency("resolve full ring", "no pause, the ring full: the caller waits for the worker", ("compiled",))
def resolve_full(count: int) -> Histogram:
    with runtime() as resolver:
        session = session_of(resolver)
        ring = resolver._runtime.ring  # `stats()` would have the worker catch up
        for _ in range(100):
            resolve(session, 20_000)
            if ring.used > 0.99 * ring.size:
                return measure(lambda: session.resolve(GOAL), count)
        raise RuntimeError("the worker is faster than the caller: the ring does not fill")
