"""A batch as the lines of its sessions, which is what stores of lines write: a batch of the recorder's has them already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from cra.trace.batch import Batch
from cra.trace.event import Event
from cra.trace.jsonl import dump_line

Chunk = tuple[str, bytes, int, bool]
"""Session id, lines, how many, and whether the last one ends the session."""

_TYPE = b'"event_type":"'
_ENDED = _TYPE + b'session.ended"'


def chunks_of(batch: Sequence[Event]) -> Iterator[Chunk]:
    """The events of a batch in order, joined where they follow each other in one session; a session may come several times.

    Raises `InvalidTraceEvent` as `dump_line` does.
    """
    if isinstance(batch, Batch):
        for session_id, lines, events in batch.chunks():
            last = lines.rfind(b"\n", 0, -1) + 1
            # The first there is: before it there are ids, a number and a time, after it whatever the payload holds.
            yield session_id, lines, events, lines.startswith(_ENDED, lines.find(_TYPE, last))
    else:
        for session_id, group in groupby(batch, lambda event: event.session_id):
            events_of = list(group)
            yield (
                session_id,
                b"".join(map(dump_line, events_of)),
                len(events_of),
                events_of[-1].event_type == "session.ended",
            )
