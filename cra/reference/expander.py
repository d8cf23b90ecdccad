"""Records to sealed events, as the lines of a trace: a pure function of the records and their order.

The recorder's worker feeds it and takes batches of lines (`cra.trace.batch`). Records are chained in the order in which they
come; that order is the trace's, never a producer's own counter. Expanding the same records again, in another process or after a
crash, gives the same bytes: nothing random is drawn here and no clock is read. Not safe to call from two threads at once.
PROTOCOL: Event, Event hash, Events of a resolve.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from json.encoder import encode_basestring
from typing import Final

from cra.errors import InvalidTraceEvent
from cra.ids import format_uuid
from cra.reference.frames import FRAME, frame, whole_frame
from cra.reference.records import (
    FIRST_EVENT,
    REQUEST,
    RESOLUTION,
    Definition,
    EventsRecord,
    ForgetRecord,
    ResolveRecord,
    TemplateRecord,
    decode,
    refuse,
)
from cra.reference.ring import Ring
from cra.timing.clock import format_timestamp
from cra.trace.batch import BATCH_BYTES, Batch
from cra.trace.event import GENESIS_HASH, TRACE_VERSION

Head = tuple[int, str, int]
"""Where a session's chain stands: the next sequence, the last hash, the latest time (ns)."""
Draft = tuple[str, str]
"""Event type and canonical payload."""

_MAX_ID: Final = 2**128 - 1
_NEW: Final[Head] = (0, GENESIS_HASH, 0)
_RECORD_KINDS: Final = (b"\1", b"\2", b"\3", b"\4")


class _Session:
    """An open session: its definition and its chain head."""

    __slots__ = ("define", "head")

    def __init__(self, define: Definition, head: Head) -> None:
        self.define = define
        self.head = head


class Expander:
    """The sessions that are open, the templates that may be named, and the lines that nobody has taken yet.

    `heads` continues chains: a session id that is in it goes on from there when a record defines it. `records` and `events`
    count what was expanded, `refused` the records that `drain` met and could not expand.

    Without `lines` events are counted and not made, which costs a fraction; chains stand still meanwhile. With `frames` the
    records that were taken are kept as frames (`cra.reference.frames`), for who stores them as they are.
    """

    def __init__(self, heads: Mapping[str, Head] | None = None, *, lines: bool = True, frames: bool = False) -> None:
        self.lines = lines
        self.frames = frames
        self.records = 0
        self.events = 0
        self.refused = 0
        self._interrupted = False
        self._ring: Ring | None = None
        self._unopened = dict(heads or {})
        self._sessions: dict[int, _Session] = {}
        self._session_ids: set[str] = set()
        self._templates: dict[int, TemplateRecord] = {}
        self._forget_pending()

    def feed(self, record: bytes) -> None:
        """Expand, seal and chain a record; its lines are pending then.

        Raises `InvalidTraceEvent` for bytes that are no record, a session or template that nothing defined, and a definition
        that contradicts an earlier one; then everything is as it was.
        """
        decoded = decode(record)
        if isinstance(decoded, TemplateRecord):
            self._templates[decoded.number] = decoded
        elif isinstance(decoded, ForgetRecord):
            self._templates.pop(decoded.number, None)
        elif isinstance(decoded, ResolveRecord):
            session = self._find_session(decoded.session, None)
            self._chain(session, decoded, list(self._resolve(decoded)))
        else:
            session = self._find_session(decoded.session, decoded.define)
            self._chain(session, decoded, list(decoded.events))
        if self.frames:
            self._keep(frame(record))
        self.records += 1
        self._pending_records += 1

    def feed_frames(self, data: bytes) -> int:
        """Feed the records among the frames of `data`; returns where the last whole frame ends.

        A record that `feed` would not take is counted in `refused` and changes nothing else. Frames that hold no record are
        passed over.
        """
        at = 0
        while (length := whole_frame(data, at)) >= 0:
            content = data[at + FRAME.size : at + FRAME.size + length]
            if content[:1] in _RECORD_KINDS:
                self._feed_or_count(content)
            at += FRAME.size + length
        return at

    def drain(self, ring: Ring, max_bytes: int = BATCH_BYTES) -> int:
        """Feed what `ring` holds until `max_bytes` are pending or nothing is left; returns how many records were taken.

        A record that `feed` would not take is counted in `refused` and changes nothing else.
        """
        taken = 0
        while self._pending_bytes < max_bytes and (record := ring.read()) is not None:
            taken += 1
            self._feed_or_count(record)
        return taken

    def make_lines(self, heads: Mapping[str, Head]) -> None:
        """Make lines from now on. The sessions that are open go on from `heads`; one that is not in it has had no event."""
        self.lines = True
        for session in self._sessions.values():
            session.head = heads.get(session.define[0], _NEW)
        self._unopened = {name: head for name, head in heads.items() if name not in self._session_ids}

    def omit_lines(self) -> None:
        """Count events from now on, and make none. What is pending stays."""
        self.lines = False

    def run(self, ring: Ring, timeout_s: float | None = None) -> bool:
        """Expand what `ring` holds and what comes, for the chains alone: lines are forgotten and the ring is freed at once.

        Returns True after a call of `interrupt`, False when nothing came for `timeout_s`
        seconds (None: wait for ever). Raises what `ring.read` raises.
        """
        self._ring = ring
        try:
            while True:
                taken = self.drain(ring)
                self.discard()
                ring.free(ring.position)
                if self._interrupted:
                    self._interrupted = False
                    return True
                if not taken and not ring.wait(timeout_s):
                    return False
        finally:
            self._ring = None

    def interrupt(self) -> None:
        """Have `run`, the call under way or else the next one, return. For any thread."""
        self._interrupted = True
        ring = self._ring
        if ring is not None:
            ring.wake()

    def take(self, position: int) -> Batch | None:
        """What is pending, as a batch that reaches to `position` in the ring; None where that is nothing, as it is then."""
        batch = None
        if self._lines or self._frames:
            data, frames = b"".join(self._lines), b"".join(self._frames)
            batch = Batch(data, self._runs, position, frames, self._pending_events)
        self._forget_pending()
        return batch

    def discard(self) -> tuple[int, int]:
        """Forget the pending lines, keep the chains. Returns how many records and events were pending."""
        counts = self._pending_records, self._pending_events
        self._forget_pending()
        return counts

    def heads(self) -> dict[str, Head]:
        """The chain heads of the sessions that are open, as the constructor takes them."""
        return self._unopened | {session.define[0]: session.head for session in self._sessions.values()}

    def _forget_pending(self) -> None:
        self._lines: list[bytes] = []
        self._runs: list[tuple[str, int, int]] = []
        self._frames: list[bytes] = []
        self._pending_bytes = 0
        self._pending_records = 0
        self._pending_events = 0

    def _feed_or_count(self, record: bytes) -> None:
        try:
            self.feed(record)
        except InvalidTraceEvent:
            self.refused += 1

    def _keep(self, data: bytes) -> None:
        self._frames.append(data)
        self._pending_bytes += len(data)

    def _find_session(self, number: int, define: Definition | None) -> _Session:
        """The session of a record. One that the record itself defines is not yet in the table."""
        session = self._sessions.get(number)
        if session is None:
            if define is None:
                raise refuse("its session is defined by no record before it")
            if define[0] in self._session_ids:
                raise refuse("it defines a session that is open under another number")
            return _Session(define, self._unopened.get(define[0], _NEW))
        if define is not None and define != session.define:
            raise refuse("it defines its session a second time, with other ids")
        return session

    def _resolve(self, record: ResolveRecord) -> Iterator[Draft]:
        """The events of a resolve, in order. PROTOCOL: Events of a resolve."""
        template = self._templates.get(record.template)
        if template is None:
            raise refuse("its template is defined by no record before it")
        if any(index >= len(template.blocks) for index in (*record.injected, *record.cut)):
            raise refuse("it names a block that its template does not have")
        request_id = record.request_id or _derive(record.base, REQUEST)
        if record.payload:
            yield "carp.request.received", record.text
        else:
            goal = encode_basestring(record.text)
            yield "carp.request.received", f'{{"goal":{goal},"operation":"resolve","request_id":"{request_id}"}}'
        for payload in template.evaluations:
            yield "policy.evaluated", payload
        for index in record.injected:
            yield "context.injected", template.blocks[index][0]
        for index in record.cut:
            yield "context.redacted", template.blocks[index][1]
        completed = (
            f'{{"allowed_count":{template.allowed},"context_block_count":{len(record.injected)}'
            f',"decision_type":"{template.decision}","denied_count":{template.denied}'
            f',"policy_set":"{template.policy_set}","request_id":"{request_id}"'
            f',"resolution_id":"{_derive(record.base, RESOLUTION)}","ttl_seconds":{template.ttl_seconds}}}'
        )
        yield "carp.resolution.completed", completed

    def _chain(self, session: _Session, record: EventsRecord | ResolveRecord, drafts: list[Draft]) -> None:
        """Count the events of a record and, where lines are made, write and chain them."""
        session_id = session.define[0]
        if self.lines:
            self._write(session, record, drafts)
        self.events += len(drafts)
        self._pending_events += len(drafts)
        if drafts and drafts[-1][0] == "session.ended":
            self._sessions.pop(record.session, None)
            self._session_ids.discard(session_id)
        else:
            self._sessions[record.session] = session
            self._session_ids.add(session_id)
        self._unopened.pop(session_id, None)

    def _write(self, session: _Session, record: EventsRecord | ResolveRecord, drafts: list[Draft]) -> None:
        """Timestamps of a session never decrease."""
        session_id, trace_id, session_span = session.define
        sequence, previous_hash, time_ns = session.head
        time_ns = max(time_ns, record.time_ns)
        timestamp = format_timestamp(time_ns)
        span = record.span if isinstance(record, EventsRecord) else None
        span_id = format_uuid(record.base if span is None else span)
        size = 0
        for offset, (event_type, payload) in enumerate(drafts):
            event_id = _derive(record.base, FIRST_EVENT + offset)
            parent = "" if event_type == "session.started" else session_span
            event_hash = hashlib.sha256(
                f"{TRACE_VERSION}{event_id}{trace_id}{span_id}{parent}{session_id}{sequence}{timestamp}"
                f"{event_type}{payload}{previous_hash}".encode()
            ).hexdigest()
            parent = f'"{parent}"' if parent else "null"
            line = (
                f'{{"trace_version":"{TRACE_VERSION}","event_id":"{event_id}","trace_id":"{trace_id}"'
                f',"span_id":"{span_id}","parent_span_id":{parent},"session_id":"{session_id}","sequence":{sequence}'
                f',"timestamp":"{timestamp}","event_type":"{event_type}","payload":{payload}'
                f',"event_hash":"{event_hash}","previous_event_hash":"{previous_hash}"}}\n'
            ).encode()
            self._lines.append(line)
            size += len(line)
            sequence += 1
            previous_hash = event_hash
        self._pending_bytes += size
        session.head = (sequence, previous_hash, time_ns)
        if drafts:
            self._add_run(session_id, size, len(drafts))

    def _add_run(self, session_id: str, size: int, events: int) -> None:
        if self._runs and self._runs[-1][0] == session_id:
            _, size_before, events_before = self._runs.pop()
            size, events = size + size_before, events + events_before
        self._runs.append((session_id, size, events))


def _derive(base: int, offset: int) -> str:
    """The id that far behind a draw, which leaves room for that; of other bases it is modulo 2^128."""
    return format_uuid(base + offset & _MAX_ID)
