# Verification of a chain of Event objects or dicts; the results of cra.reference.chain.verify_chain. PROTOCOL: Verification.
#
# An event that is plainly the next link is checked here. Each other one, right or wrong, goes in its place to the exact verifier.

from libc.string cimport memcmp

from cra.reference.grammar import CRA_RUST, FIELDS, TRACE_1_0, find_dialect

cdef extern from "grammar.h" nogil:
    enum:
        CRA_UUID_LENGTH
        CRA_HASH_LENGTH
        CRA_TIME_LENGTH
    ctypedef enum cra_dialect:
        CRA_DIALECT_TRACE
        CRA_DIALECT_RUST
    bint cra_is_uuid(const char *text)
    bint cra_is_timestamp(const char *text, size_t length, cra_dialect dialect)
    bint cra_is_event_type(const char *text, size_t length)

cdef extern from "links.h" nogil:
    ctypedef struct cra_chain:
        char session_id[36]
        char previous[64]
        char time[29]
        bint faulty
        uint64_t count
        uint64_t sequence
        uint64_t backwards
        uint64_t first_backwards
    ctypedef struct cra_line:
        const char *start
        size_t length
        bint plain
        bint sealed
        uint8_t timestamp_length
        uint64_t sequence
        const char *session_id
        const char *timestamp
        const char *event_hash
        const char *previous
    void cra_chain_start(cra_chain *chain, const char *session_id)
    bint cra_chain_take(cra_chain *chain, const cra_line *line)

cdef object _Verifier = _reference.ChainVerifier
cdef object _Position = _reference.ChainPosition
cdef object _reference_verify_chain = _reference.verify_chain
cdef object _find_dialect = find_dialect
cdef int64_t _LARGEST_SEQUENCE = 2**62
cdef dict _DIALECTS = {TRACE_1_0.name: CRA_DIALECT_TRACE, CRA_RUST.name: CRA_DIALECT_RUST}
cdef bytes _RUST_ZONE = CRA_RUST.hashed_zone.encode()
cdef Py_ssize_t _FIELD_COUNT = len(FIELDS)


cdef object position_of(const cra_chain *chain):
    """Where a chain without a fault stands, for the exact verifier."""
    return _Position(
        PyUnicode_DecodeASCII(chain.session_id, CRA_UUID_LENGTH, NULL), chain.count, chain.sequence,
        PyUnicode_DecodeASCII(chain.previous, CRA_HASH_LENGTH, NULL), PyUnicode_DecodeASCII(chain.time, CRA_TIME_LENGTH, NULL),
        chain.backwards, chain.first_backwards,
    )


cdef int take_position(cra_chain *chain, object position) except -1:
    """Where the exact verifier says that a chain stands, which has had an event."""
    if position is None:
        chain.faulty, chain.count = True, 0
        return 0
    session_id, chain.count, chain.sequence, last_hash, time, chain.backwards, chain.first_backwards = position
    memcpy(chain.session_id, PyUnicode_DATA(session_id), CRA_UUID_LENGTH)
    memcpy(chain.previous, PyUnicode_DATA(last_hash), CRA_HASH_LENGTH)
    memcpy(chain.time, PyUnicode_DATA(time), CRA_TIME_LENGTH)
    return 0


cdef inline const char *_text_of(object value, Py_ssize_t length) noexcept:
    """The characters of a usual string of this length, else NULL."""
    if _is_text(value) and PyUnicode_GET_LENGTH(value) == length:
        return <const char *>PyUnicode_DATA(value)
    return NULL


cdef inline bint _is_uuid_text(object value) noexcept:
    cdef const char *text = _text_of(value, CRA_UUID_LENGTH)
    return text is not NULL and cra_is_uuid(text)


cdef class _ChainWalk:
    """One verification: how far the chain has come, and the exact verifier for what is not plain."""

    cdef cra_chain chain
    cdef cra_dialect dialect
    cdef object exact
    cdef object anchored  # the sequence of the anchored event, which only the exact verifier judges
    cdef bint has_anchor
    cdef bint begun  # the chain has had an event
    cdef bint beyond  # sequences no longer fit, and the exact verifier does the rest
    cdef bint ahead  # and has come further than the exact verifier knows

    cdef int feed(self, object event) except -1:
        if self.begun and self.chain.faulty:
            self.chain.count += 1
            self.ahead = True
        elif not self.beyond and self._take(event):
            self.begun = self.ahead = True
        else:
            self.tell()
            self.exact.feed(event)
            position = self.exact.position()
            self.beyond = position is not None and position.sequence > _LARGEST_SEQUENCE
            if not self.beyond:
                take_position(&self.chain, position)
            self.begun = True
        return 0

    cdef int tell(self) except -1:
        """The exact verifier is told how far the chain has come."""
        if self.ahead and self.chain.faulty:
            self.exact.pass_over(self.chain.count)
            self.chain.count = 0
        elif self.ahead:
            self.exact.resume(position_of(&self.chain))
        self.ahead = False
        return 0

    cdef bint _take(self, object event) except -1:
        """Whether the event is plainly the next link; then it has been taken."""
        cdef dict fields
        if type(event) is _Event:
            return self._take_fields(
                event.trace_version, event.event_id, event.trace_id, event.span_id, event.parent_span_id, event.session_id,
                event.sequence, event.timestamp, event.event_type, event.payload, event.event_hash, event.previous_event_hash,
            )
        if type(event) is not dict:
            return False
        fields = event
        if len(fields) != _FIELD_COUNT - ("parent_span_id" not in fields):
            return False
        return self._take_fields(
            fields.get("trace_version"), fields.get("event_id"), fields.get("trace_id"), fields.get("span_id"),
            fields.get("parent_span_id"), fields.get("session_id"), fields.get("sequence"), fields.get("timestamp"),
            fields.get("event_type"), fields.get("payload"), fields.get("event_hash"), fields.get("previous_event_hash"),
        )

    cdef bint _take_fields(
        self, object trace_version, object event_id, object trace_id, object span_id, object parent_span_id, object session_id,
        object sequence, object timestamp, object event_type, object payload, object event_hash, object previous_event_hash,
    ) except -1:
        cdef cra_line line
        line.session_id = _text_of(session_id, CRA_UUID_LENGTH)
        line.event_hash = _text_of(event_hash, CRA_HASH_LENGTH)
        line.previous = _text_of(previous_event_hash, CRA_HASH_LENGTH)
        if not (
            trace_version == _VERSION and _is_uuid_text(event_id) and _is_uuid_text(trace_id) and _is_uuid_text(span_id)
            and (parent_span_id is None or _is_uuid_text(parent_span_id)) and _is_uuid_text(session_id)
            and line.event_hash is not NULL and line.previous is not NULL
            and _is_text(timestamp)
            and cra_is_timestamp(<const char *>PyUnicode_DATA(timestamp), PyUnicode_GET_LENGTH(timestamp), self.dialect)
            and _is_text(event_type)
            and cra_is_event_type(<const char *>PyUnicode_DATA(event_type), PyUnicode_GET_LENGTH(event_type))
            and type(sequence) is int and not (self.has_anchor and sequence == self.anchored) and type(payload) is dict
        ):
            return False
        line.timestamp = <const char *>PyUnicode_DATA(timestamp)
        line.timestamp_length = PyUnicode_GET_LENGTH(timestamp)
        line.sealed = self._is_sealed(
            trace_version, event_id, trace_id, span_id, parent_span_id, session_id, sequence, timestamp, event_type, payload,
            line.event_hash, previous_event_hash, &line.sequence,
        )
        if not self.begun:
            if self.has_anchor:
                return False
            cra_chain_start(&self.chain, line.session_id)
        return memcmp(line.session_id, self.chain.session_id, CRA_UUID_LENGTH) == 0 and cra_chain_take(&self.chain, &line)

    cdef bint _is_sealed(
        self, object trace_version, object event_id, object trace_id, object span_id, object parent_span_id, object session_id,
        object sequence, object timestamp, object event_type, object payload, const char *event_hash,
        object previous_event_hash, uint64_t *number,
    ) except -1:
        """Whether the event's hash is right, as far as it can be told here."""
        cdef char room[2048]
        cdef char text[64]
        cdef uint8_t digest[32]
        cdef Writer w
        cdef const char *zone = NULL
        if self.dialect == CRA_DIALECT_RUST:
            zone = _RUST_ZONE
        start_writing(&w, room, sizeof(room))
        try:
            if not put_hash_input(
                &w, trace_version, event_id, trace_id, span_id, parent_span_id, session_id, sequence, timestamp, event_type,
                payload, previous_event_hash, zone,
            ):
                return False
            cra_sha256_of(w.start, w.length, digest)
        except InvalidTraceEvent:
            return False
        finally:
            stop_writing(&w)
        number[0] = sequence
        cra_sha256_hex(digest, text)
        return memcmp(text, event_hash, CRA_HASH_LENGTH) == 0


def verify_chain(events, anchor=None, dialect="trace-1.0"):
    """Verify the chain of one session; see `cra.reference.chain.verify_chain`."""
    cdef _ChainWalk walk = _ChainWalk.__new__(_ChainWalk)
    found = _find_dialect(dialect)
    if anchor is not None and not (type(anchor) is tuple and len(anchor) == 3):
        return _reference_verify_chain(events, anchor, dialect)
    walk.dialect = _DIALECTS[found.name]
    walk.exact = _Verifier(anchor=anchor, dialect=found)
    if anchor is not None:
        walk.has_anchor, walk.anchored = True, anchor[1]
    for event in events:
        walk.feed(event)
    walk.tell()
    return walk.exact.result()
