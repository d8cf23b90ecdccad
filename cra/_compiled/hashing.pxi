# Hashes of values and events; the results of cra.reference.chain. PROTOCOL: Event hash.
#
# What is fast here is the usual: an Event, or a dict, whose fields have exactly the types of the schema and whose strings are ASCII.
# Anything else, right or wrong, is answered by the reference, which names what is wrong.

import hmac

from cra.reference import chain as _reference
from cra.trace.event import TRACE_VERSION, Event

from cpython.unicode cimport PyUnicode_DecodeASCII

cdef extern from "sha256.h" nogil:
    void cra_sha256_of(const void *data, size_t length, uint8_t *digest)
    void cra_sha256_hex(const uint8_t *digest, char *hex)

cdef object _Event = Event
cdef object _reference_event_hash = _reference.event_hash
cdef object _reference_seal = _reference.seal
cdef object _mac = hmac.digest
cdef str _VERSION = TRACE_VERSION
cdef Py_ssize_t _PAYLOAD_LEVELS = MAX_DEPTH - 1  # the event around it is a level of its own


cdef str _hex_of(const void *data, size_t length):
    cdef uint8_t digest[32]
    cdef char text[64]
    cra_sha256_of(data, length, digest)
    cra_sha256_hex(digest, text)
    return PyUnicode_DecodeASCII(text, 64, NULL)


def hash_value(value, key=None):
    """The SHA-256 of a value's canonical JSON, keyed or not; see `cra.reference.chain.hash_value`."""
    cdef char room[1024]
    cdef Writer w
    if key is not None:
        return _mac(key, canonical_json(value), "sha256").hex()
    start_writing(&w, room, sizeof(room))
    try:
        put_canonical(&w, value, _LEVELS, "")
        return _hex_of(w.start, w.length)
    finally:
        stop_writing(&w)


cdef inline bint _is_text(object value) noexcept:
    """Whether a field is as usual; then its text can be copied as it stands."""
    return type(value) is str and PyUnicode_IS_COMPACT_ASCII(value)


cdef inline int _put_text(Writer *w, object text) except -1:
    return put_bytes(w, <const char *>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))


cdef int put_hash_input(
    Writer *w, object trace_version, object event_id, object trace_id, object span_id, object parent_span_id,
    object session_id, object sequence, object timestamp, object event_type, object payload, object previous_event_hash,
    const char *hashed_zone,
) except -1:
    """The bytes that an event's hash is taken over. 0 where a field is unusual, and nothing is said about it here; else 1.

    Raises `InvalidTraceEvent` where the payload has no canonical JSON.
    """
    cdef int overflow = 0
    cdef int64_t number
    cdef size_t stop
    cdef char *out
    if not (
        _is_text(trace_version) and _is_text(event_id) and _is_text(trace_id) and _is_text(span_id) and _is_text(session_id)
        and _is_text(timestamp) and _is_text(event_type) and _is_text(previous_event_hash)
        and (parent_span_id is None or _is_text(parent_span_id)) and type(sequence) is int
    ):
        return 0
    number = PyLong_AsLongLongAndOverflow(sequence, &overflow)
    if overflow or number < 0:
        return 0
    _put_text(w, trace_version)
    _put_text(w, event_id)
    _put_text(w, trace_id)
    _put_text(w, span_id)
    if parent_span_id is not None:
        _put_text(w, parent_span_id)
    _put_text(w, session_id)
    out = room_for(w, CRA_INTEGER_ROOM)
    w.length = cra_put_unsigned(out, number) - w.start
    if hashed_zone is NULL:
        _put_text(w, timestamp)
    else:  # a timestamp of the grammar, which has one Z, at its end
        stop = PyUnicode_GET_LENGTH(timestamp) - 1
        put_bytes(w, <const char *>PyUnicode_DATA(timestamp), stop)
        put_bytes(w, hashed_zone, strlen(hashed_zone))
    _put_text(w, event_type)
    put_canonical(w, payload, _PAYLOAD_LEVELS, "/payload")
    _put_text(w, previous_event_hash)
    return 1


cdef str _hash(
    object trace_version, object event_id, object trace_id, object span_id, object parent_span_id, object session_id,
    object sequence, object timestamp, object event_type, object payload, object previous_event_hash,
):
    """The event's hash; None where a field is unusual."""
    cdef char room[2048]
    cdef Writer w
    start_writing(&w, room, sizeof(room))
    try:
        if not put_hash_input(
            &w, trace_version, event_id, trace_id, span_id, parent_span_id, session_id, sequence, timestamp, event_type,
            payload, previous_event_hash, NULL,
        ):
            return None
        return _hex_of(w.start, w.length)
    finally:
        stop_writing(&w)


def event_hash(event):
    """The hash of an event by the formula; see `cra.reference.chain.event_hash`."""
    cdef dict fields
    cdef object payload
    cdef str found = None
    if type(event) is _Event:
        payload = event.payload
        if isinstance(payload, dict):
            found = _hash(
                event.trace_version, event.event_id, event.trace_id, event.span_id, event.parent_span_id, event.session_id,
                event.sequence, event.timestamp, event.event_type, payload, event.previous_event_hash,
            )
    elif type(event) is dict:
        fields = event
        payload = fields.get("payload")
        if isinstance(payload, dict):
            found = _hash(
                fields.get("trace_version"), fields.get("event_id"), fields.get("trace_id"), fields.get("span_id"),
                fields.get("parent_span_id"), fields.get("session_id"), fields.get("sequence"), fields.get("timestamp"),
                fields.get("event_type"), payload, fields.get("previous_event_hash"),
            )
    return _reference_event_hash(event) if found is None else found


def seal(
    *, event_id, trace_id, span_id, parent_span_id, session_id, sequence, timestamp, event_type, payload, previous_event_hash
):
    """The event with these fields and its hash; see `cra.reference.chain.seal`."""
    cdef str found = _hash(
        _VERSION, event_id, trace_id, span_id, parent_span_id, session_id, sequence, timestamp, event_type, payload,
        previous_event_hash,
    )
    if found is None:
        return _reference_seal(
            event_id=event_id, trace_id=trace_id, span_id=span_id, parent_span_id=parent_span_id, session_id=session_id,
            sequence=sequence, timestamp=timestamp, event_type=event_type, payload=payload,
            previous_event_hash=previous_event_hash,
        )
    return _Event(
        _VERSION, event_id, trace_id, span_id, parent_span_id, session_id, sequence, timestamp, event_type, payload, found,
        previous_event_hash,
    )
