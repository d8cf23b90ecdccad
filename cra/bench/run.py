"""The run of `cra bench`: a runtime with these atlases is asked these questions, and timed call by call.

The runtime's events are made, sealed and discarded (`null:`), its worker and the cycle collector run all the while. An executor
that does nothing stands for all; no limit of the atlas is spent by what is judged, since a resolve spends none.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

import cra
from cra.atlas.manifest import Atlas
from cra.bench.asks import Question, Questions
from cra.bench.bursts import paced_each
from cra.bench.histogram import Histogram, measure, measure_each, nothing
from cra.bench.machine import machine
from cra.bench.report import Report, Row
from cra.hotpath import Ring
from cra.reference.resolve import DefaultDecision
from cra.trace.jsonl import write_events

RING_SHARE = 0.25
"""A burst is so large that its records fill no more of the ring than this."""
MAX_BURST = 2_000
RECORD_BYTES = 150
PAUSE_SECONDS = 0.002
TRIALS = 20
"""So often an action is executed before it is measured: one under a limit, or with other needs, does not come through."""
MAX_SESSIONS = 1_000

Progress = Callable[[int, int], object]


def bench(
    atlases: Sequence[Atlas],
    questions: Questions,
    *,
    count: int,
    budget_ns: int | None = None,
    tries: int = 3,
    default_decision: DefaultDecision = "deny",
    progress: Progress | None = None,
) -> Report:
    """Measure. `count` resolves a try; a resolve over budget is measured again, `tries` times in all.

    Raises what a resolve raises, `Conflict` where two atlases define one action.
    """
    report = Report(
        cra.implementation(),
        machine(),
        [{"atlas_id": a.atlas_id, "version": a.version, "actions": len(a.actions)} for a in atlases],
        {"count": len(questions.asked), "source": questions.source, "left_out": questions.left_out},
        budget_ns=budget_ns,
    )
    tell = progress or (lambda done, total: None)
    report.rows.append(
        Row("timer", "a call that does nothing: what the timer costs, in every row", measure(nothing, count))
    )
    with cra.Resolver(storage="null:", default_decision=default_decision) as resolver:
        for atlas in atlases:
            resolver.load_atlas(atlas)
        calls = list(_calls(resolver, questions.asked))
        burst = _burst(resolver, questions.asked)
        for call in calls:
            call()
        resolver.flush()
        for _ in range(tries):
            before = resolver.stats().recorder.events_recorded
            found = paced_each(calls, resolver, count, burst, lambda done: tell(done, count))
            events = resolver.stats().recorder.events_recorded - before
            report.tries.append(found.summary())
            if report.within_budget:
                break
        report.rows.append(Row("resolve", "session.resolve(goal), the worker at it", found))
        report.figures["events a resolve"] = round(events / len(found.times), 1)
        pauses = max(50, count // 500)
        report.rows.append(Row("resolve cold", "the same by a caller that slept 2 ms before", _cold(calls, pauses)))
        _execute(report, resolver, questions.asked[0], count // 20)
    report.rows.append(Row("record", f"one record of {RECORD_BYTES} bytes into the ring", _records(count)))
    _verify(report, atlases, questions.asked, default_decision, count // 20)
    return report


def _calls(resolver: cra.Resolver, asked: Sequence[Question]) -> Iterator[Callable[[], object]]:
    """A resolve for each question, in a session of its agent; beyond so many agents they share sessions."""
    sessions: dict[str, cra.Session] = {}
    for question in asked:
        agent_id = question.agent_id
        if agent_id not in sessions and len(sessions) < MAX_SESSIONS:
            sessions[agent_id] = resolver.create_session(agent_id=agent_id, goal=question.ask.goal)
        session = sessions.get(agent_id) or next(iter(sessions.values()))
        default = msgspec.structs.asdict(type(question.ask)(goal=question.ask.goal))
        given = {n: value for n, value in msgspec.structs.asdict(question.ask).items() if value != default[n]}
        yield partial(session.resolve, question.ask.goal, **given)


def _burst(resolver: cra.Resolver, asked: Sequence[Question]) -> int:
    """As many resolves as fill a part of the ring, by the longest of the goals."""
    longest = max(len(question.ask.goal.encode()) for question in asked)
    return max(10, min(MAX_BURST, int(resolver._runtime.ring.size * RING_SHARE / (longest + 4 * RECORD_BYTES))))


def _cold(calls: Sequence[Callable[[], object]], count: int) -> Histogram:
    def rested() -> Iterator[Callable[[], object]]:
        for number in range(count):
            time.sleep(PAUSE_SECONDS)
            yield calls[number % len(calls)]

    return measure_each(rested())


def _execute(report: Report, resolver: cra.Resolver, question: Question, count: int) -> None:
    """The first action that is allowed, needs no parameters, and that no limit holds up."""
    session = resolver.create_session(agent_id=question.agent_id, goal=question.ask.goal)
    resolution = session.resolve(question.ask.goal)
    for action in resolution.allowed_actions:
        resolver.register(action.action_id, dict, inline=True)
        call = partial(session.execute, action.action_id, {}, resolution=resolution)
        try:
            for _ in range(TRIALS):
                call()
            found = paced_each([call], resolver, max(count, TRIALS), 500)
        except cra.CRAError:
            continue
        text = f"session.execute of {action.action_id}, an executor that does nothing"
        report.rows.append(Row("execute", text, found))
        return
    report.notes.append("execute was not measured: no action is allowed, takes no parameters and has no limit")


def _records(count: int) -> Histogram:
    ring, data = Ring(8 * 2**20), bytes(RECORD_BYTES)
    times: list[int] = []
    while len(times) < count:
        times += measure(lambda: ring.put(data), min(count, 10_000)).times
        while ring.read() is not None:
            pass
        ring.free(ring.position)
    ring.close()
    return Histogram(times)


def _verify(
    report: Report, atlases: Sequence[Atlas], asked: Sequence[Question], default: DefaultDecision, count: int
) -> None:
    """How many events of a trace of these resolves are verified in a second, and how many bytes one takes in a file."""
    with cra.Resolver(default_decision=default) as resolver, tempfile.TemporaryDirectory() as folder:
        for atlas in atlases:
            resolver.load_atlas(atlas)
        session = resolver.create_session(agent_id=asked[0].agent_id, goal=asked[0].ask.goal)
        wanted = max(1, round(count / report.figures["events a resolve"]))
        for number in range(wanted):
            session.resolve(asked[number % len(asked)].ask.goal)
        path = Path(folder, "bench.trace.jsonl")
        write_events(path, resolver.trace(session.session_id))
        started = time.perf_counter()
        verified: Any = cra.verify_file(path)
        elapsed = time.perf_counter() - started
        report.figures["bytes an event"] = round(path.stat().st_size / verified.event_count)
        report.figures["events verified a second"] = round(verified.event_count / elapsed)
