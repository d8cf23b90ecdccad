"""A thousand agents in one process: each resolves a hundred times, executes what it may, and some fall silent.

Run it: `python examples/swarm/swarm.py` (`--agents`, `--resolves`, `--storage`, `--json`). A live view shows rates, latencies,
the ring, and what the limits refuse; sessions of agents that fall silent end by themselves. The executors are stand-ins; nothing
is searched or paid.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from view import LiveView, Measurements

import cra

ACTIONS = ("web.search", "notes.write", "model.ask", "report.publish")
SILENT = 0.05
"""The share of agents that stop half-way and never say so."""


def open_runtime(storage: str, heard: Measurements) -> cra.Resolver:
    """A runtime for many short-lived agents: heartbeats every second, and sessions end two seconds after their last use."""
    resolver = cra.Resolver(
        storage,
        overflow="fail",  # on an event loop: wait for room instead of being held up
        idle_seconds=2,
        timing=cra.Timing(heartbeat_seconds=1, heartbeat_payload=heard.heartbeat, warning_seconds=0.5),
    )
    resolver.load_atlas(Path(__file__).parent / "atlas.json")
    resolver.register("web.search", lambda query: {"hits": len(query)}, inline=True)
    resolver.register("notes.write", lambda text: {"characters": len(text)}, inline=True)
    resolver.register("model.ask", lambda price: {"answer": "42"}, inline=True)
    return resolver


async def live(resolver: cra.Resolver, number: int, resolves: int, heard: Measurements) -> None:
    """One agent: it asks before every step, does what it is allowed, and takes a refusal for an answer."""
    dice = random.Random(number)
    session = resolver.create_session(f"researcher-{number}", "Find out")
    falls_silent = dice.random() < SILENT
    for step in range(resolves // 2 if falls_silent else resolves):
        resolution = await resolve(resolver, session, f"step {step}", heard)
        if dice.random() < 0.3:
            await execute(session, resolution, dice, heard)
        await asyncio.sleep(0)  # the others
    if not falls_silent:
        session.end()


async def resolve(resolver: cra.Resolver, session: cra.Session, goal: str, heard: Measurements) -> cra.Resolution:
    """A resolve, timed; where the recorder has no room it waits for it. That is how backpressure reaches an agent."""
    while True:
        started = time.perf_counter_ns()
        try:
            resolution = session.resolve(goal)
        except cra.TraceBackpressure:
            heard.waited += 1
            await resolver.await_for_room()
        else:
            heard.note(time.perf_counter_ns() - started)
            return resolution


async def execute(session: cra.Session, resolution: cra.Resolution, dice: random.Random, heard: Measurements) -> None:
    """One action, whichever comes to mind."""
    action = dice.choice(ACTIONS)
    parameters: dict[str, Any] = {
        "web.search": {"query": "lamps"},
        "notes.write": {"text": "a lamp is a light"},
        "model.ask": {"price": 0.1},
    }.get(action, {})
    try:
        await session.aexecute(action, parameters, resolution=resolution)
        heard.executed += 1
    except cra.RateLimitExceeded:
        heard.limited += 1
    except cra.ActionDenied:
        heard.denied += 1
    except cra.TraceBackpressure:
        heard.waited += 1


async def run(resolver: cra.Resolver, agents: int, resolves: int, heard: Measurements, view: LiveView) -> None:
    """All agents at once, and the view beside them; then until the silent ones have timed out."""
    watching = asyncio.ensure_future(view.watch(resolver))
    await asyncio.gather(*(live(resolver, number, resolves, heard) for number in range(agents)))
    heard.finish()
    while resolver.stats().sessions_active:
        await asyncio.sleep(0.1)
    await resolver.aflush()
    watching.cancel()


def check(resolver: cra.Resolver) -> int:
    """Verify what was recorded: the runtime's own session, which has the heartbeats. Returns how many of those there were."""
    events = resolver.trace(resolver.session_id)
    assert cra.verify_chain(events).valid
    return sum(event.event_type == "runtime.heartbeat" for event in events)


def main() -> None:
    """Read the options, run, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--resolves", type=int, default=100)
    parser.add_argument("--storage", default="memory:")
    parser.add_argument("--json", action="store_true", help="figures as JSON, and no view")
    options = parser.parse_args()
    heard = Measurements()
    view = LiveView(heard, shown=not options.json and sys.stderr.isatty())
    with open_runtime(options.storage, heard) as resolver:
        with view:
            asyncio.run(run(resolver, options.agents, options.resolves, heard, view))
        figures = heard.figures() | {"heartbeats": check(resolver), "events": resolver.stats().recorder.events_recorded}
        assert heard.resolved == resolver.stats().resolutions
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<22}{value:>14,}")


if __name__ == "__main__":
    main()
