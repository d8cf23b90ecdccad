"""The hash chain of a session: how an event is hashed and sealed, and how a chain is verified.

Called by the chainer, which seals events, and by `cra.trace.verify`, which reads files. It never repairs a trace and never raises
over what a trace contains. PROTOCOL: Event hash, Verification.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from cra.errors import InvalidTraceEvent
from cra.reference.canonical import canonical_json, canonical_text
from cra.reference.grammar import DIALECTS, TRACE_1_0, Dialect, fields_of, find_dialect, find_fault, is_sequence
from cra.strictjson import MAX_DEPTH
from cra.trace.event import GENESIS_HASH, TRACE_VERSION, Event

ErrorType = Literal[
    "malformed_event", "session_mismatch", "sequence_gap", "invalid_genesis", "chain_broken", "hash_mismatch"
]
Fault = tuple[ErrorType, str]
Anchor = tuple[str, int, str]

TAIL_NOTICE: Final = (
    "Nothing shows whether events were cut off the end: a chain alone cannot. "
    "To know, verify with an anchor (session, sequence, hash) that was kept elsewhere."
)
_HASHED_STRINGS: Final = (
    "trace_version", "event_id", "trace_id", "span_id", "session_id", "timestamp", "event_type", "previous_event_hash"
)  # fmt: skip
_TIMESTAMP_WIDTH: Final = len("YYYY-MM-DDTHH:MM:SS.fffffffff")
_PAYLOAD_LEVELS: Final = MAX_DEPTH - 1  # the event around it is a level of its own


def hash_value(value: object, key: bytes | None = None) -> str:
    """The lower-case hex SHA-256 of a value's canonical JSON, or its HMAC-SHA-256 where there is a `key`.

    Raises `InvalidTraceEvent` for a value without canonical JSON. PROTOCOL: Events (hashes of values).
    """
    data = canonical_json(value)
    if key is None:
        return hashlib.sha256(data).hexdigest()
    return hmac.digest(key, data, "sha256").hex()


def hash_input(fields: Mapping[str, Any], dialect: Dialect = TRACE_1_0) -> bytes:
    """The bytes that an event's hash is taken over. PROTOCOL: Event hash.

    `event_hash` is not read. Raises `InvalidTraceEvent` where the payload has no canonical JSON.
    """
    return "".join(
        (
            fields["trace_version"],
            fields["event_id"],
            fields["trace_id"],
            fields["span_id"],
            fields.get("parent_span_id") or "",
            fields["session_id"],
            str(int(fields["sequence"])),
            fields["timestamp"].replace("Z", dialect.hashed_zone),
            fields["event_type"],
            canonical_text(fields["payload"], _PAYLOAD_LEVELS, "/payload"),
            fields["previous_event_hash"],
        )
    ).encode()


def seal(
    *,
    event_id: str,
    trace_id: str,
    span_id: str,
    parent_span_id: str | None,
    session_id: str,
    sequence: int,
    timestamp: str,
    event_type: str,
    payload: dict[str, Any],
    previous_event_hash: str,
) -> Event:
    """The event with these fields and its hash.

    The caller vouches for the grammar. Raises `InvalidTraceEvent` where the payload has no canonical JSON. PROTOCOL: Event hash.
    """
    fields: dict[str, Any] = {
        "trace_version": TRACE_VERSION,
        "event_id": event_id,
        "trace_id": trace_id,
        "span_id": span_id,
        "parent_span_id": parent_span_id,
        "session_id": session_id,
        "sequence": sequence,
        "timestamp": timestamp,
        "event_type": event_type,
        "payload": payload,
        "previous_event_hash": previous_event_hash,
    }
    return Event(**fields, event_hash=_digest(fields))


def event_hash(event: Event | Mapping[str, Any]) -> str:
    """The hash of an event by the formula, whatever its `event_hash` says (a mapping may leave that out).

    Raises `InvalidTraceEvent` for a missing field, a field of the wrong type, or a payload without canonical JSON. It does not
    check the grammar, `verify_chain` does: only with it does a hash stand for one event. PROTOCOL: Event hash.
    """
    fields = fields_of(event)
    if not isinstance(fields, dict):
        raise InvalidTraceEvent(f"an event is a cra.Event or a mapping, not {type(event).__name__}")
    for name in _HASHED_STRINGS:
        if not isinstance(fields.get(name), str):
            raise InvalidTraceEvent("the field is missing or no string", path=f"/{name}")
    if not isinstance(fields.get("parent_span_id"), str | None):
        raise InvalidTraceEvent("the field is neither a string nor null", path="/parent_span_id")
    if not is_sequence(fields.get("sequence")):
        raise InvalidTraceEvent("the field is missing or no integer from 0 to 2^64−1", path="/sequence")
    if not isinstance(fields.get("payload"), dict):
        raise InvalidTraceEvent("the field is missing or no object", path="/payload")
    try:
        return _digest(fields)
    except UnicodeEncodeError:
        raise InvalidTraceEvent("a field holds a lone surrogate, which is no character") from None


class ChainVerification(msgspec.Struct, frozen=True):
    """What verification found.

    `event_count` is the number of events given. `error_index` counts from 0 and is None for a valid chain. `last_hash` is the
    hash of the last event, or of the one before the first bad one (None at index 0, and for an empty trace). `message` says
    what is wrong, or, of a valid chain checked without an anchor, what that cannot show. PROTOCOL: Verification.
    """

    valid: bool
    event_count: int
    error_type: ErrorType | None
    error_index: int | None
    last_hash: str | None
    warnings: tuple[str, ...]
    message: str | None


class ChainPosition(NamedTuple):
    """Where a chain without a fault stands, so that one verifier can carry on for another.

    `events` is how many it had, `time` the last timestamp as it is compared, `backwards` how often timestamps ran backwards, and
    `first_backwards` the index of the first event that did.
    """

    session_id: str
    events: int
    sequence: int
    last_hash: str
    time: str
    backwards: int
    first_backwards: int


class ChainVerifier:
    """Verifies one session's chain event by event, in constant memory.

    The first bad event decides; later ones are only counted. PROTOCOL: Verification.
    """

    def __init__(self, *, anchor: Anchor | None = None, dialect: Dialect = TRACE_1_0) -> None:
        self._dialect = dialect
        self._anchor = anchor
        self._anchor_ahead = anchor is not None
        self._count = 0
        self._fault: Fault | None = None
        self._fault_index = 0
        # What the next event has to say. An anchored event that comes first has a link nobody knows: `_previous` is None.
        self._session_id = ""
        self._sequence = 0
        self._previous: str | None = GENESIS_HASH
        self._last_hash: str | None = None
        self._time = ""
        self._backwards: tuple[int, int] | None = None  # first index, how often

    def feed(self, event: object) -> Fault | None:
        """Take the next event (an Event, a mapping, or anything at all). What is wrong with the chain by now, None if nothing."""
        if self._fault is None:
            self._fault = self._check(fields_of(event))
            self._fault_index = self._count
        self._count += 1
        return self._fault

    def result(self) -> ChainVerification:
        """The verdict on what has been fed."""
        fault, index = self._fault, self._fault_index
        if fault is None and self._anchor_ahead:
            fault = "chain_broken", "the trace ends before the anchored event: its tail was cut"
            index = self._count
        error_type, message = fault or (None, None if self._anchor else TAIL_NOTICE)
        return ChainVerification(
            valid=fault is None,
            event_count=self._count,
            error_type=error_type,
            error_index=index if fault else None,
            last_hash=self._last_hash,
            warnings=self._warnings(),
            message=message,
        )

    @property
    def awaits_anchor(self) -> bool:
        """Whether the anchored event is still to come, so that nobody else can carry on."""
        return self._anchor_ahead and self._fault is None

    def position(self) -> ChainPosition | None:
        """Where the chain stands; None before its first event and after its first fault."""
        if self._fault is not None or self._last_hash is None:
            return None
        first, times = self._backwards or (0, 0)
        return ChainPosition(self._session_id, self._count, self._sequence, self._last_hash, self._time, times, first)

    def resume(self, position: ChainPosition) -> None:
        """Go on from where another verifier of the same chain has come: at least one event in, without a fault."""
        self._session_id, self._count, self._sequence, self._last_hash, self._time, times, first = position
        self._previous = self._last_hash
        self._backwards = (first, times) if times else None

    def pass_over(self, events: int) -> None:
        """Count events of a chain whose first fault has been found."""
        self._count += events

    def _warnings(self) -> tuple[str, ...]:
        if self._backwards is None:
            return ()
        index, times = self._backwards
        return (f"timestamps run backwards {times} time(s), first at index {index}",)

    def _check(self, fields: object) -> Fault | None:
        message = find_fault(fields, self._dialect)
        if message is not None:
            return "malformed_event", message
        assert isinstance(fields, dict)  # or find_fault had said so
        try:
            digest = _digest(fields, self._dialect)
        except InvalidTraceEvent as error:
            return "malformed_event", error.message
        if self._last_hash is None:
            self._start(fields)
        fault = self._check_link(fields)
        if fault is not None:
            return fault
        if digest != fields["event_hash"]:
            return "hash_mismatch", "`event_hash` is not the hash of the event: it was changed" + _dialect_advice(
                fields
            )
        self._accept(fields)
        return None

    def _start(self, fields: dict[str, Any]) -> None:
        """Where the chain may begin: at genesis, or with an anchor at its event or at the one after."""
        if self._anchor is None:
            self._session_id = fields["session_id"]
            return
        self._session_id, sequence, anchored_hash = self._anchor
        if fields["sequence"] == sequence:
            self._sequence, self._previous = fields["sequence"], None  # the anchor's may be a float
        elif fields["sequence"] == sequence + 1:
            self._sequence, self._previous, self._anchor_ahead = fields["sequence"], anchored_hash, False

    def _check_link(self, fields: dict[str, Any]) -> Fault | None:
        sequence, previous = fields["sequence"], fields["previous_event_hash"]
        if fields["session_id"] != self._session_id:
            return "session_mismatch", f"the event belongs to another session than {self._session_id}"
        if sequence != self._sequence:
            return "sequence_gap", f"sequence {self._sequence} is due here, not {sequence}"
        if sequence == 0 and previous != GENESIS_HASH:
            return "invalid_genesis", "the `previous_event_hash` of a session's first event is 64 zeros"
        if self._previous is not None and previous != self._previous:
            return "chain_broken", "`previous_event_hash` is not the hash of the event before"
        if self._anchor is not None and sequence == self._anchor[1] and fields["event_hash"] != self._anchor[2]:
            return "chain_broken", "the event is not the anchored one: the trace was rewritten"
        return None

    def _accept(self, fields: dict[str, Any]) -> None:
        time = fields["timestamp"][:-1].ljust(_TIMESTAMP_WIDTH, "0")
        if time < self._time:
            first, times = self._backwards or (self._count, 0)
            self._backwards = (first, times + 1)
        self._time = time
        if self._anchor is not None and fields["sequence"] == self._anchor[1]:
            self._anchor_ahead = False
        self._sequence += 1
        self._last_hash = self._previous = fields["event_hash"]


def verify_chain(
    events: Iterable[Event | Mapping[str, Any]], anchor: Anchor | None = None, dialect: str = "trace-1.0"
) -> ChainVerification:
    """Verify the chain of one session, in the order given.

    With `anchor=(session_id, sequence, event_hash)`, an event known to have existed, the trace begins at genesis and reaches
    that event, or begins at it, or directly after it; a trace that ends before it is `chain_broken` with the number of events
    as index. Without one, a cut tail can not be seen. Never raises over what the events contain; an unknown `dialect` is
    `InvalidTraceEvent`. PROTOCOL: Verification.
    """
    verifier = ChainVerifier(anchor=anchor, dialect=find_dialect(dialect))
    for event in events:
        verifier.feed(event)
    return verifier.result()


def _digest(fields: Mapping[str, Any], dialect: Dialect = TRACE_1_0) -> str:
    return hashlib.sha256(hash_input(fields, dialect)).hexdigest()


def _dialect_advice(fields: dict[str, Any]) -> str:
    for dialect in DIALECTS.values():
        if find_fault(fields, dialect) is None and _digest(fields, dialect) == fields["event_hash"]:
            return f", unless it is written in another dialect: its hash is right with --dialect {dialect.name}"
    return ""
