"""A batch: sealed events as the lines that were hashed, and as `Event` objects only where somebody looks at one.

The expander makes batches, the outbox hands them to backends and subscribers. Stores of lines write `data` or `chunks` as they
are and never decode. A batch never changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, overload

import msgspec

from cra.errors import StorageError
from cra.strictjson import JSONProblem, parse
from cra.trace.event import GENESIS_HASH, Event

BATCH_BYTES: Final = 2**20
"""About as much as a batch holds, where nobody says otherwise."""
Run = tuple[str, int, int]
"""Session id, bytes, events: lines of one session that follow each other."""

_decode_plain: Final = msgspec.json.Decoder(Event).decode
_UUID: Final = "0" * 36
_IDS: Final = len(
    f'{{"trace_version":"1.0","event_id":"{_UUID}","trace_id":"{_UUID}","span_id":"{_UUID}","parent_span_id":null'
    f',"session_id":"{_UUID}"'
)
_HASHES: Final = len(f',"event_hash":"{GENESIS_HASH}","previous_event_hash":"{GENESIS_HASH}"}}\n')
_find_long_number: Final = re.compile(rb"[0-9]{16}").search


def decode_line(line: bytes) -> Event:
    """The event in a line that `cra.trace.jsonl.dump_line` or an expander wrote; the same as reading it strictly gives.

    For lines of the runtime's own making only: of others, `cra.trace.jsonl.read_events` says what is wrong with them. What is no
    event raises `StorageError`: a store, or the ring that it was recovered from, was changed by somebody else.
    """
    try:
        return _decoded(line)
    except (msgspec.DecodeError, UnicodeDecodeError, JSONProblem, TypeError) as problem:
        raise StorageError(f"a line is stored that is no event: {problem}; verify the store") from None


def _decoded(line: bytes) -> Event:
    # Numbers of up to 15 digits are the same to every reader; what longer ones are, the exact reader says. The hashes, which may
    # look like one, end the line, and no number stands in the ids that it begins with.
    if _find_long_number(line, _IDS, len(line) - _HASHES):
        return Event(**parse(line))
    return _decode_plain(line)


class Batch(Sequence[Event]):
    """The events of `data`, whole lines of the JSONL form. `runs` covers them in order; `position` is how far in the ring they
    reach.

    `frames` are the records that they were made of, where somebody takes these. Where nobody takes lines there are none, and
    `events` says how many there would be.
    """

    __slots__ = ("_events", "_length", "data", "frames", "position", "runs")

    def __init__(
        self, data: bytes, runs: Sequence[Run], position: int, frames: bytes = b"", events: int | None = None
    ) -> None:
        self.data = data
        self.runs = tuple(runs)
        self.position = position
        self.frames = frames
        self._length = sum(events for _, _, events in self.runs) if events is None else events
        self._events: tuple[Event, ...] | None = None

    @property
    def lines(self) -> list[bytes]:
        """The lines, each with its newline."""
        return self.data.splitlines(keepends=True)  # of bytes, which end at \n and \r; a canonical line has no \r

    def chunks(self) -> Iterator[tuple[str, bytes, int]]:
        """Session id, lines and number of events of every run, in order; a session may come several times."""
        start = 0
        for session_id, size, events in self.runs:
            yield session_id, self.data[start : start + size], events
            start += size

    @property
    def size(self) -> int:
        """Bytes of all lines and frames."""
        return len(self.data) + len(self.frames)

    @property
    def has_lines(self) -> bool:
        """Whether its events can be looked at."""
        return bool(self.data) or not self._length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        return self._decoded()[index]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._decoded())

    def _decoded(self) -> tuple[Event, ...]:
        """All events, decoded once however many look at them."""
        events = self._events
        if events is None:
            events = self._events = tuple(map(decode_line, self.lines))
        return events
