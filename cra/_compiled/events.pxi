# EVENTS records of sessions, made in one pass and put straight into the ring; cra.reference.session_core has the long way, which does
# the rest, and all errors. docs/formats/records.md has the layout.

from cpython.dict cimport PyDict_CheckExact
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cra.errors import SessionAlreadyEnded as _SessionAlreadyEnded
from cra.reference.session_core import CLOSING_PAYLOAD, MAX_PAYLOAD

cdef Py_ssize_t _CLOSING_PAYLOAD = CLOSING_PAYLOAD
cdef Py_ssize_t _MAX_SESSION_PAYLOAD = MAX_PAYLOAD


cdef bint _put_events(
    SessionCore session, tuple events, RingRoom room, object span, uint8_t *base, bint *has_base
) except -1:
    """Put a record of events into the ring, in `room` where that is not None; False where the long way has to.

    `base` is what to use where `has_base` says so, else there is a draw in it afterwards, if it came to that.
    """
    cdef RuntimeCore runtime = session.runtime
    cdef char space[2_048]
    cdef Writer w
    cdef uint16_t count = <uint16_t>PyTuple_GET_SIZE(events)
    cdef bint defines = session.number == 0
    cdef bint ends = _type_of_last(events) == "session.ended"
    cdef int64_t now_ns
    cdef uint64_t number, position
    cdef uint8_t *record
    if room is not None and (not room.held or room.spare or room._queue is not runtime._queue):
        return False
    if session._is_recorded:
        raise _SessionAlreadyEnded(f"session {session.session_id} has ended; create a new one")
    if defines and session.status == "ended":
        return False  # its chain must not begin anew
    if runtime._has_definitions and (defines or ends):
        return False  # the queue's lock is theirs, too
    start_writing(&w, space, sizeof(space))
    try:
        try:
            if not _write_events(&w, session, events, defines, span, _MAX_SESSION_PAYLOAD if room is None else _CLOSING_PAYLOAD):
                return False
        except Exception:
            return False  # the long way says what is wrong
        if room is not None and w.length > <size_t>room.room:
            return False
        now_ns = runtime.now_ns()
        if not has_base[0]:
            runtime.draw(now_ns, base)
            has_base[0] = True
        # The clock and the ids may be written in Python, which may have run another thread.
        if not runtime.direct or (room is not None and not room.held) or defines != (session.number == 0):
            return False
        number = next(runtime._session_numbers) if defines else session.number
        if room is None:
            record = <uint8_t *>cra_ring_claim(runtime.ring.ring, w.length, &position)
        else:
            record = <uint8_t *>cra_ring_claim_reserved(runtime.ring.ring, w.length, room.room, &position)
        if record == NULL:
            return False
        # From here to the commit nothing may fail.
        w.start[0] = _EVENTS_KIND
        w.start[1] = defines * _DEFINES_FLAG + (span is not None) * _HAS_SPAN_FLAG
        memcpy(w.start + 2, &count, 2)
        memcpy(w.start + 4, &number, 8)
        memcpy(w.start + 12, &now_ns, 8)
        memcpy(w.start + 20, base, 16)
        memcpy(record, w.start, w.length)
        cra_ring_commit(runtime.ring.ring, position, w.length)
        # What calls into Python from here on can be interrupted, and this is done all the same.
        if room is not None:
            room.held = False
        if ends:
            session.number = 0
            session._is_recorded = True
        elif defines:
            session.number = number
    finally:
        stop_writing(&w)
    if room is not None:
        runtime._rooms.discard(<Py_ssize_t><PyObject *>room)
    if ends:
        runtime._numbers.pop(session.header.session_id, None)
        runtime._ended.add(session.header)
    elif defines:
        runtime._numbers[session.header.session_id] = number
    if defines:
        runtime._on_record()  # nobody may drain the ring yet
    return True


cdef bint _write_events(
    Writer *w, SessionCore session, tuple events, bint defines, object span, Py_ssize_t most
) except -1:
    """All of a record but the fixed part, for which it leaves room; False where something is unusual."""
    cdef Py_ssize_t index, count = PyTuple_GET_SIZE(events), place
    cdef bytes kind
    cdef object event, payload
    cdef uint16_t kind_length
    cdef uint32_t length
    if not 0 < count <= 0xFFFF:
        return False
    w.length = _EVENTS_BYTES
    if defines:
        header = session.header
        if header.session_id in session.runtime._numbers:
            return False
        for identifier in (header.session_id, header.trace_id, header.span_id):
            _put_uuid_text(<uint8_t *>room_for(w, 16), identifier)
            w.length += 16
    if span is not None:
        _put_uuid_number(<uint8_t *>room_for(w, 16), span)
        w.length += 16
    for index in range(count):
        event = <object>PyTuple_GET_ITEM(events, index)
        if not PyTuple_CheckExact(event) or PyTuple_GET_SIZE(event) != 2:
            return False
        payload = <object>PyTuple_GET_ITEM(event, 1)
        if not PyDict_CheckExact(payload):
            return False
        kind = _type_bytes(<object>PyTuple_GET_ITEM(event, 0))
        if PyBytes_GET_SIZE(kind) > 0xFFFF:
            return False
        kind_length = <uint16_t>PyBytes_GET_SIZE(kind)
        place = w.length
        room_for(w, _EVENT_BYTES)
        w.length += _EVENT_BYTES
        put_bytes(w, PyBytes_AS_STRING(kind), kind_length)
        length = <uint32_t>w.length
        put_value(w, payload, _LEVELS - 1)
        if w.length - length > <size_t>most:
            return False
        length = <uint32_t>(w.length - length)
        memcpy(w.start + place, &kind_length, 2)
        memcpy(w.start + place + 2, &length, 4)
    return True


cdef object _type_of_last(tuple events):
    """The type of the last of some events, None where they are not what events are."""
    if not PyTuple_GET_SIZE(events):
        return None
    event = <object>PyTuple_GET_ITEM(events, PyTuple_GET_SIZE(events) - 1)
    return <object>PyTuple_GET_ITEM(event, 0) if PyTuple_CheckExact(event) and PyTuple_GET_SIZE(event) else None
