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


cdef enum:
    _AT_ONCE = 256  # places that are found before the interpreter lock is taken for them: it may be long in coming

cdef struct _place:
    size_t at
    uint32_t length

cdef struct _run:
    uint64_t number
    size_t first
    size_t behind
    uint64_t records


cdef size_t _places(const uint8_t *data, size_t size, size_t *at, _place *places, bint any_session, uint64_t session) noexcept nogil:
    """The next contents that a scan wants; fewer than `_AT_ONCE` at the end of the whole frames."""
    cdef cra_frame frame
    cdef size_t found = 0
    while found < _AT_ONCE and _next_that_matters(data, size, at, &frame, any_session, session):
        places[found].at = frame.content - data
        places[found].length = frame.length
        found += 1
    return found


cdef size_t _runs(const uint8_t *data, size_t size, size_t stop, size_t *at, _run *runs) noexcept nogil:
    """The next runs of records of one session each; fewer than `_AT_ONCE` where `stop` or the whole frames end."""
    cdef cra_frame frame
    cdef size_t found = 0
    cdef uint64_t number = 0
    while at[0] < stop and cra_frame_at(data + at[0], size - at[0], &frame):
        if cra_frame_session(&frame, &number):
            if found == 0 or runs[found - 1].number != number:
                if found == _AT_ONCE:
                    return found
                runs[found].number, runs[found].first, runs[found].records = number, at[0], 0
                found += 1
            runs[found - 1].records += cra_frame_has_events(&frame)
            runs[found - 1].behind = at[0] + CRA_FRAME + frame.length
        at[0] += CRA_FRAME + frame.length
    return found


def scan_frames(bytes data not None, Py_ssize_t start=0, session=None):
    """See `cra.reference.frames.scan_frames`."""
    cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef size_t size = PyBytes_GET_SIZE(data), at = min(max(start, 0), size), count = _AT_ONCE, n
    cdef bint any_session = session is None
    cdef uint64_t number = 0 if session is None else session
    cdef _place[_AT_ONCE] places
    cdef list found = []
    while count == _AT_ONCE:
        with nogil:
            count = _places(begin, size, &at, places, any_session, number)
        for n in range(count):
            found.append((places[n].at, places[n].length))
    return found, (at if at >= <size_t>start else start)


def survey_frames(bytes data not None, Py_ssize_t start, Py_ssize_t end, offset, dict spans not None):
    """See `cra.reference.frames.survey_frames`."""
    cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef size_t size = PyBytes_GET_SIZE(data), stop = max(end, 0), at = start, count = _AT_ONCE, n
    cdef _run[_AT_ONCE] runs
    while count == _AT_ONCE:
        with nogil:
            count = _runs(begin, size, stop, &at, runs)
        for n in range(count):
            _note_span(spans, runs[n].number, offset + runs[n].first, offset + runs[n].behind, runs[n].records)


cdef int _note_span(dict spans, number, first, end, records) except -1:
    """A run of records of one session."""
    before = spans.get(number)
    if before is not None:
        first, records = before[0], before[2] + records
    spans[number] = (first, end, records)
    return 0
