"""The records of a dead ring, and what of them a store lacks: what it has is recognised by ids, or by its frames.

Used by `cra.trace.recovery`. Where the machine has started again since, a record is given to a store only where it is known to
go on there (`cra.trace.restarted`). It never guesses, and changes nothing that a store has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cra.errors import InvalidTraceEvent
from cra.hotpath import Expander, encode_events, format_uuid, parse_uuid
from cra.reference.records import Definition, EventsRecord, Record, ResolveRecord, TemplateRecord
from cra.reference.ring_scan import RingRecord, RingScan
from cra.storage.base import ResumedRecords, StorageBackend
from cra.trace.batch import Batch
from cra.trace.closing import Head, head_of, is_of_recovery, last_of_its_own
from cra.trace.event import Event
from cra.trace.record import FIRST_EVENT
from cra.trace.restarted import ends_of_runs
from cra.trace.sound_records import decode_sound

RESOLVE_EVENTS = 2  # the request and the completion, besides those of its template
_EVERYTHING = 2**63  # more events than any session has
_CHUNK = 64  # records that are expanded before they are stored: a record can be a hundred events


class DeadRecords:
    """The records of a dead ring, with what they refer to."""

    def __init__(
        self,
        scan: RingScan,
        records: Sequence[RingRecord],
        sessions: dict[int, Definition],
        templates: dict[int, bytes],
        *,
        restarted: bool,
    ) -> None:
        self.size = scan.size
        self._restarted = restarted
        self._tail = scan.tail
        self._left = 0  # records that could not be told to go on where the stores end
        self.sessions = dict(sessions)
        self._undecodable = 0
        self._refused: set[int] = set()
        self._defined_twice: set[int] = set()
        self._begun: dict[int, int] = {}
        """The sessions whose first record is there, and its place."""
        self._templates: dict[int, bytes] = {}
        self._sizes: dict[int, int] = {}
        self._records: list[tuple[bytes, Record, int]] = []  # bytes, decoded, number of events
        for number, record in templates.items():
            try:
                self._note_template(number, decode_sound(record))
            except InvalidTraceEvent:
                self._undecodable += 1
            else:
                self._templates[number] = record
        kept: list[RingRecord] = []
        for found in records:
            try:
                decoded = decode_sound(found.data)
            except InvalidTraceEvent:
                self._undecodable += 1
                continue
            if isinstance(decoded, TemplateRecord):
                self._note_template(decoded.number, decoded)
            elif isinstance(decoded, EventsRecord) and decoded.define is not None:
                self.sessions[decoded.session] = decoded.define
                # What was freed may have been deleted from the stores since: with that, no session begins again.
                if found.position >= scan.tail:
                    self._begun[decoded.session] = len(self._records)
            self._records.append((found.data, decoded, self._count(decoded)))
            kept.append(found)
        self._positions = [found.position for found in kept]
        self._ends = ends_of_runs(kept) if restarted else [len(kept)] * len(kept)

    @property
    def unreadable(self) -> int:
        """How many records and definitions said nothing, or nothing that could be stored."""
        return self._undecodable + len(self._refused) + len(self._defined_twice) + self._left

    def _note_template(self, number: int, template: Record) -> None:
        assert isinstance(template, TemplateRecord)
        self._sizes[number] = len(template.evaluations)

    def _count(self, record: Record) -> int:
        if isinstance(record, EventsRecord):
            return len(record.events)
        if isinstance(record, ResolveRecord):
            return RESOLVE_EVENTS + self._sizes.get(record.template, 0) + len(record.injected) + len(record.cut)
        return 0

    def store_records(self, series: ResumedRecords) -> int:
        """Give what a dead process wrote the records that it lacks. Returns how many events they are."""
        expander = Expander(lines=False, frames=True)
        self._define(expander, self.sessions)
        frames: list[bytes] = []
        taken: list[Record] = []
        places: list[int] = []
        events = [expander.events]
        for place, (data, record, _) in enumerate(self._records):
            try:
                expander.feed(data)
            except InvalidTraceEvent:
                self._refused.add(place)
                continue
            batch = expander.take(0)
            assert batch is not None
            frames.append(batch.frames)
            taken.append(record)
            places.append(place)
            events.append(expander.events)
        # A template may be there without what comes before it in the ring: an earlier recovery began with definitions.
        known = [b"" if isinstance(record, TemplateRecord) else frame for record, frame in zip(taken, frames)]
        missing, end = self._missing(series, known, places)
        if missing < end:
            named = {
                record.session for record in taken[missing:end] if isinstance(record, (EventsRecord, ResolveRecord))
            }
            series.append(self._define(Expander(frames=True), named) + b"".join(frames[missing:end]))
        return events[end] - events[missing]

    def _missing(self, series: ResumedRecords, frames: list[bytes], places: list[int]) -> tuple[int, int]:
        """Which of the frames, those of the records at `places`, go behind what a dead process wrote: from, to."""
        if not self._restarted:
            return series.first_missing(frames, self.size), len(frames)
        start = series.end_among(frames, self.size)
        if start is None or not frames:
            return 0, 0
        if start == 0 and (self._tail or self._positions[places[0]]):
            return 0, 0  # it has nothing, and what the ring had first is gone
        last = max(0, start - 1)
        end = start
        # Refused records are gaps, too.
        while end < len(frames) and places[end] < self._ends[places[last]] and places[end] - places[last] == end - last:
            end += 1
        return start, end

    def look_for_left(self, backend: StorageBackend) -> None:
        """Count the records that are in the ring and not in this store, after a power cut: no store could be told to lack
        them."""
        if not self._restarted:
            return
        known: dict[int, frozenset[str]] = {}
        for position, (_, record, events) in zip(self._positions, self._records):
            if position < self._tail or not events or not isinstance(record, (EventsRecord, ResolveRecord)):
                continue
            if record.session not in known:
                define = self.sessions.get(record.session)
                stored = () if define is None else backend.events(define[0])
                known[record.session] = frozenset(event.event_id for event in stored)
            self._left += format_uuid(record.base + FIRST_EVENT) not in known[record.session]

    def _define(self, expander: Expander, sessions: Iterable[int]) -> bytes:
        """Have an expander know the templates and these sessions; what it was fed, where it keeps frames."""
        for template in self._templates.values():
            expander.feed(template)
        for number in sorted(self.sessions.keys() & set(sessions)):
            try:
                expander.feed(encode_events(number, 0, 0, (), define=self.sessions[number]))
            except InvalidTraceEvent:  # it is defined under another number, too; its records are refused later
                self._defined_twice.add(number)
        batch = expander.take(0)
        return b"" if batch is None else batch.frames

    def store(self, backends: Sequence[StorageBackend]) -> int:
        """Give every backend what it lacks. Returns how many events that were, in the backend that lacked most."""
        named = {record.session for _, record, _ in self._records if isinstance(record, (EventsRecord, ResolveRecord))}
        heads: dict[str, Head] = {}
        first: dict[int, int] = {}
        limits: dict[int, int] = {}
        last: list[dict[str, int]] = [{} for _ in backends]
        for number in named & self.sessions.keys():
            session_id = self.sessions[number][0]
            ends = [self._where_it_ends(number, session_id, backend) for backend in backends]
            # A store that was not there, or has lost it, gets no session whose beginning the ring has no more.
            lacks_beginning = number not in self._begun and any(end.sequence >= 0 for end in ends)
            for index, end in enumerate(ends):
                takes = not (lacks_beginning and end.sequence < 0) and end.place < end.limit
                last[index][session_id] = end.sequence if takes else _EVERYTHING
            chosen = min(
                [end for end in ends if end.sequence >= 0 or not lacks_beginning],
                key=lambda end: (end.place >= end.limit, end.place, -end.sequence),
            )
            first[number], limits[number] = chosen.place, chosen.limit
            if chosen.head is not None:
                heads[session_id] = chosen.head
        expander = Expander(heads)
        self._define(expander, first)
        stored = [_Progress(backend, last[index]) for index, backend in enumerate(backends)]
        for place, (data, record, _) in enumerate(self._records):
            if isinstance(record, (EventsRecord, ResolveRecord)) and not (
                first.get(record.session, 0) <= place < limits.get(record.session, len(self._records))
            ):
                continue
            try:
                expander.feed(data)
            except InvalidTraceEvent:
                self._refused.add(place)
                if self._restarted and isinstance(record, (EventsRecord, ResolveRecord)):
                    limits[record.session] = place  # what follows would follow something else
            if place % _CHUNK == _CHUNK - 1:
                _hand_over(expander, stored)
        _hand_over(expander, stored)
        return max(each.events for each in stored)

    def _where_it_ends(self, number: int, session_id: str, backend: StorageBackend) -> _End:
        stored = backend.last(session_id, 1)
        if not stored:
            if not self._restarted:
                return _End(0, None, -1, len(self._records))
            begun = self._begun.get(number, len(self._records))
            return _End(begun, None, -1, self._ends[begun] if begun < len(self._records) else begun)
        newest = stored[0]
        found = self._find(number, newest)
        if found is not None:
            place, stored_of_it, events = found
            if stored_of_it == events:
                return _End(place + 1, head_of(newest), newest.sequence, self._ends[place])
            before = backend.last(session_id, stored_of_it + 1)
            head = head_of(before[0]) if len(before) == stored_of_it + 1 else None
            return _End(place, head, newest.sequence, self._ends[place])
        # What an earlier recovery closed, before it was interrupted, is in no record; it goes on behind that.
        own = last_of_its_own(backend, session_id) if is_of_recovery(newest) else None
        found = None if own is None else self._find(number, own)
        if found is not None:
            place, stored_of_it, events = found
            return _End(place + (stored_of_it == events), head_of(newest), newest.sequence, self._ends[place])
        if self._restarted:
            return _End(len(self._records), head_of(newest), newest.sequence, 0)
        return _End(0, head_of(newest), newest.sequence, len(self._records))

    def _find(self, number: int, event: Event) -> tuple[int, int, int] | None:
        """Which record of a session has an event: its place, how many of its events come up to this one, and how many it has."""
        event_id = parse_uuid(event.event_id)
        for place, (_, record, events) in enumerate(self._records):
            if isinstance(record, (EventsRecord, ResolveRecord)) and record.session == number:
                offset = event_id - record.base - FIRST_EVENT
                if 0 <= offset < events:
                    return place, offset + 1, events
        return None


class _End(NamedTuple):
    """Where a session ends in a backend: the place of the first record that it lacks all or part of, the chain head before that,
    the last sequence that it has (-1: none), and the place before which the records end that are known to go on there."""

    place: int
    head: Head | None
    sequence: int
    limit: int


class _Progress:
    """What one backend had before, by session the last sequence, and how many events it was given."""

    def __init__(self, backend: StorageBackend, last: dict[str, int]) -> None:
        self._backend = backend
        self._last = last
        self.events = 0

    def give(self, batch: Batch, heads: Mapping[str, Head]) -> None:
        """Append what is new of a batch, after which the chains are at `heads`."""
        new: Sequence[Event] = batch
        if self._last:
            new = [event for event in batch if event.sequence > self._last.get(event.session_id, -1)]
            self._last = {name: last for name, last in self._last.items() if name in heads and last >= heads[name][0]}
        if new:
            self._backend.append(new)
            self.events += len(new)


def _hand_over(expander: Expander, stored: Iterable[_Progress]) -> None:
    batch = expander.take(0)
    if batch is not None:
        for each in stored:
            each.give(batch, expander.heads())
