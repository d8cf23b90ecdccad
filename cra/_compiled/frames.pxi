# Scanning frames; the twin of cra.reference.frames. The walk is _kernel/frames.c.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "frames.h" nogil:
    enum: CRA_FRAME
    ctypedef struct cra_frame:
        const uint8_t *content
        uint32_t length
    bint cra_frame_at(const uint8_t *data, size_t length, cra_frame *frame)
    bint cra_frame_matters(const cra_frame *frame)
    bint cra_frame_session(const cra_frame *frame, uint64_t *session)
    bint cra_frame_is_template(const cra_frame *frame)
    bint cra_frame_has_events(const cra_frame *frame)


cdef bint _next_that_matters(const uint8_t *data, size_t size, size_t *at, cra_frame *frame, bint any_session, uint64_t session) noexcept nogil:
    """Move `at` behind the next frame that a scan wants; False at the end of the whole frames."""
    cdef uint64_t number
    cdef bint wanted
    while cra_frame_at(data + at[0], size - at[0], frame):
        at[0] += CRA_FRAME + frame.length
        if any_session:
            wanted = cra_frame_matters(frame)
        else:
            wanted = cra_frame_is_template(frame) or (cra_frame_session(frame, &number) and number == session)
        if wanted:
            return True
    return False


def scan_frames(bytes data not None, Py_ssize_t start=0, session=None):
    """See `cra.reference.frames.scan_frames`."""
    cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef size_t size = PyBytes_GET_SIZE(data), at = min(max(start, 0), size)
    cdef bint any_session = session is None, more
    cdef uint64_t number = 0 if session is None else session
    cdef cra_frame frame
    cdef list found = []
    while True:
        with nogil:
            more = _next_that_matters(begin, size, &at, &frame, any_session, number)
        if not more:
            return found, (at if at >= <size_t>start else start)
        found.append((frame.content - begin, frame.length))


def survey_frames(bytes data not None, Py_ssize_t start, Py_ssize_t end, offset, dict spans not None):
    """See `cra.reference.frames.survey_frames`."""
    cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef size_t size = PyBytes_GET_SIZE(data), stop = max(end, 0), at = start, first = 0, behind = 0
    cdef uint64_t number = 0, current = 0, records = 0
    cdef bint is_open = False
    cdef cra_frame frame
    while at < stop and cra_frame_at(begin + at, size - at, &frame):
        if cra_frame_session(&frame, &number):
            if not is_open or number != current:
                if is_open:
                    _note_span(spans, current, offset + first, offset + behind, records)
                is_open, current, first, records = True, number, at, 0
            records += cra_frame_has_events(&frame)
            behind = at + CRA_FRAME + frame.length
        at += CRA_FRAME + frame.length
    if is_open:
        _note_span(spans, current, offset + first, offset + behind, records)


cdef int _note_span(dict spans, number, first, end, records) except -1:
    """A run of records of one session."""
    before = spans.get(number)
    if before is not None:
        first, records = before[0], before[2] + records
    spans[number] = (first, end, records)
    return 0
