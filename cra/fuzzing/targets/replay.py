"""Traces, computed again from an atlas, and compared with others. PROTOCOL: Replay, Diff.

Two traces, a blank line between them; the lines are sealed again where the first byte is a `!`.
"""

from __future__ import annotations

from io import BytesIO

import msgspec

from cra.errors import InvalidTraceEvent, ReplayError
from cra.fuzzing.runtimes import make_runtime, shared_atlas
from cra.fuzzing.target import Target, expect
from cra.fuzzing.traces import TOKENS, sealed_again
from cra.trace.diff import diff
from cra.trace.event import Event
from cra.trace.jsonl import dump_line, read_events
from cra.trace.replay import replay


def answer(data: bytes) -> object:
    """The replay of the first trace, and its difference from the other, which is none from itself."""
    forged = data.startswith(b"!")
    texts = [text.removesuffix(b"\n") + b"\n" for text in data[forged:].split(b"\n\n", 1) if text]
    traces = [list(read_events(BytesIO(sealed_again(text) if forged else text))) for text in texts]
    if not traces:
        return None
    one, other = traces[0], traces[-1]
    expect(diff(one, one).grade == "identical", "a trace differs from itself")
    difference = diff(one, other)
    expect(difference.grade == diff(other, one).grade, "the grade depends on the order")
    return difference.to_dict(), _replayed(one)


def _replayed(events: list[Event]) -> object:
    found = replay(events, [shared_atlas()], context={"env": "prod"})
    expect(found.reproduced <= found.resolutions, "more was reproduced than there is")
    return msgspec.to_builtins(found)


def seeds() -> list[bytes]:
    """The trace of a runtime with that atlas, and two that are nearly the same."""
    traces = []
    for goal, context in (("Close stale tickets", {"env": "prod"}), ("x", {})):
        with make_runtime() as resolver:
            resolver.load_atlas(shared_atlas())
            session = resolver.create_session("bot", goal, context=context, scopes=["write"])
            session.resolve(goal)
            session.end()
            traces.append(b"".join(dump_line(event) for event in resolver.trace(session.session_id)))
    return [traces[0], b"!" + traces[0], traces[0] + b"\n" + traces[1], b"!" + traces[1] + b"\n" + traces[0]]


TARGET = Target(
    "replay",
    "traces computed again from an atlas, and compared",
    answer,
    seeds,
    refusals=(InvalidTraceEvent, ReplayError),
    tokens=(
        *TOKENS,
        b"\n\n",
        b'"decision_type":"',
        b'"policy_set":"',
        b'"result":"deny"',
        b'"host"',
        b'"facts":{',
        b'"context":{',
    ),
    notation="json lines",
    max_bytes=16384,
)
