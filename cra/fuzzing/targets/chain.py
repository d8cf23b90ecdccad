"""Verification: a trace file, whole and session by session, as it is or chained anew by a forger. PROTOCOL: Verification.

The first byte says which dialect, whether the lines are sealed again first, and whether there is an anchor.
"""

from __future__ import annotations

from io import BytesIO

from cra.errors import InvalidTraceEvent
from cra.fuzzing.scratch import scratch
from cra.fuzzing.target import Target, expect
from cra.fuzzing.traces import TOKENS, sealed_again, trace
from cra.hotpath import verify_chain
from cra.reference.grammar import DIALECTS
from cra.trace.event import Event
from cra.trace.jsonl import read_events
from cra.trace.verify import verify_file

_OTHER_DIALECT, _SEALED, _ANCHORED = 1, 2, 4


def answer(data: bytes) -> object:
    """The verdict on the file, and on the events of every session in it."""
    how, lines = data[0] if data else 0, data[1:]
    dialect = list(DIALECTS)[how & _OTHER_DIALECT]
    if how & _SEALED:
        lines = sealed_again(lines)
    with scratch() as folder:
        path = folder / "trace.jsonl"
        path.write_bytes(lines)
        whole = verify_file(path, dialect)
    sessions: dict[str, list[Event]] = {}
    try:
        for event in read_events(BytesIO(lines)):
            sessions.setdefault(event.session_id, []).append(event)
    except InvalidTraceEvent:
        expect(not whole.valid, "a file that cannot be read is verified")
        return whole
    verdicts = {name: verify_chain(events, dialect=dialect) for name, events in sessions.items()}
    if whole.valid:
        expect(all(each.valid for each in verdicts.values()), "the file is sound, and a session of it is not")
        expect(
            whole.event_count == sum(each.event_count for each in verdicts.values()),
            "the file and its sessions have different numbers of events",
        )
    for name, verdict in verdicts.items():
        expect(whole.sessions[name] == verdict, "a session has two verdicts")
    if not how & _ANCHORED:
        return whole, verdicts
    anchors = {name: (name, len(events) // 2, events[len(events) // 2].event_hash) for name, events in sessions.items()}
    return whole, [verify_chain(sessions[name], anchor, dialect=dialect) for name, anchor in anchors.items()]


def seeds() -> list[bytes]:
    """A sound trace, two sessions in one file, and both after a change, sealed again and not."""
    one, other = trace(), trace(session=2)
    mixed = b"".join(b"".join(pair) for pair in zip(one.splitlines(True), other.splitlines(True)))
    changed = mixed.replace(b"allow", b"deny", 1)
    return [bytes([how]) + lines for how in range(8) for lines in (one, mixed, changed)]


TARGET = Target(
    "chain", "trace files and chains, verified", answer, seeds, tokens=TOKENS, notation="json lines", max_bytes=8192
)
