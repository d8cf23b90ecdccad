"""Latency of all but a bare resolve: requests, JSON, executions, sessions, a record, an atlas. Worker and collector run."""

from __future__ import annotations

from functools import partial
from typing import Any

import cra
from cra.bench.histogram import Histogram, measure, measure_each
from cra.hotpath import RandomIds, Ring, format_uuid
from cra.timing.clock import SystemClock, format_timestamp
from perf.cases import GITHUB, GOAL, GOLDEN, latency, paced, runtime, session_of


@latency("request", "`resolver.resolve(request)`: a full CARP request, validated")
def request(count: int) -> Histogram:
    with runtime() as resolver:
        times: list[int] = []
        while len(times) < count // 4:
            session = session_of(resolver)
            requests = [full_request(session.session_id) for _ in range(2_000)]
            times += measure_each([partial(resolver.resolve, one) for one in requests]).times
            session.end()
            resolver.flush()
        return Histogram(times)


def full_request(session_id: str) -> dict[str, Any]:
    """A request of now, as an agent sends it, under an id of its own."""
    now = SystemClock.now_ns()
    return {
        "carp_version": "1.0",
        "request_id": format_uuid(RandomIds().draw(now // 10**6)),
        "timestamp": format_timestamp(now),
        "operation": "resolve",
        "requester": {"agent_id": "bench", "session_id": session_id},
        "task": {"goal": GOAL, "risk_tier": "low", "context_hints": [], "required_capabilities": []},
    }


@latency("to_json", "`resolution.to_json()` of a fresh golden resolution")
def to_json(count: int) -> Histogram:
    with runtime() as resolver:
        session = session_of(resolver)
        times: list[int] = []
        while len(times) < count // 4:
            resolutions = [session.resolve(GOAL) for _ in range(1_000)]
            times += measure_each([resolution.to_json for resolution in resolutions]).times
            resolver.flush()
        return Histogram(times)


def _execute(name: str, text: str, inline: bool) -> None:
    @latency(name, text)
    def run(count: int) -> Histogram:
        with runtime() as resolver:
            resolver.register("resource.list", dict, inline=inline)
            session = session_of(resolver)
            resolution = session.resolve(GOAL)
            return paced(
                lambda: session.execute("resource.list", {}, resolution=resolution), resolver, count // 4, 1_000
            )


_execute(
    "execute inline", "`session.execute`, an executor that does nothing, on the caller's thread (`inline=True`)", True
)
_execute("execute", "the same on a thread of its own, so that a timeout ends the wait", False)


@latency("session", "`create_session` and `end`")
def session_life(count: int) -> Histogram:
    with runtime() as resolver:

        def live() -> None:
            resolver.create_session(agent_id="bench", goal=GOAL).end()

        paced(live, resolver, 1_000, 1_000)
        return paced(live, resolver, count // 4, 1_000)


@latency("record", "one `Ring.put` of 150 bytes from Python")
def record(count: int) -> Histogram:
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


@latency("load 5", "`cra.load_atlas`, golden atlas: read, checked, its schemas compiled")
def load_golden(count: int) -> Histogram:
    return measure(lambda: cra.load_atlas(GOLDEN), max(50, count // 1_000))


@latency("load 117", "the same, GitHub atlas, 117 actions")
def load_github(count: int) -> Histogram:
    return measure(lambda: cra.load_atlas(GITHUB), max(20, count // 2_000))
