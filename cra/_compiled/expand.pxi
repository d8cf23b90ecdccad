# Records to sealed lines; the twin of cra.reference.expander. The work is done in _kernel/expand.c, mostly without the GIL.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals as _check_signals
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free as _free, malloc as _malloc
from libc.string cimport memcpy as _memcpy

from cra.errors import InternalError as _InternalError, InvalidTraceEvent as _InvalidTraceEvent
from cra.reference.records import refuse as _refuse
from cra.trace.batch import BATCH_BYTES as _BATCH_BYTES, Batch as _Batch

cdef extern from "expand.h" nogil:
    enum: CRA_UUID_ROOM
    enum: CRA_HASH
    ctypedef struct cra_slot:
        void *value
    ctypedef struct cra_table:
        cra_slot *slots
        size_t capacity
    ctypedef struct cra_head:
        char *session_id
        char *previous
        uint64_t sequence
        int64_t time_ns
    ctypedef struct cra_session:
        cra_head head
    ctypedef struct cra_writer:
        uint8_t *lines
        size_t length
    ctypedef struct cra_run:
        char *session_id
        size_t bytes
        size_t events
    ctypedef struct cra_chain_head:
        char *session_id
        char *previous
        uint64_t sequence
        int64_t time_ns
        bint opened
    ctypedef struct cra_expander:
        cra_table sessions
        cra_chain_head *heads
        size_t head_count
        cra_writer writer
        cra_run *runs
        size_t run_count
        uint64_t pending_records
        uint64_t pending_events
        bint omits_lines
        bint keeps_frames
        uint8_t *frames
        size_t frames_length
    ctypedef enum cra_expand_status:
        CRA_FED
        CRA_REFUSED
        CRA_NO_MEMORY
        CRA_DAMAGED_RING
        CRA_INTERRUPTED
        CRA_SIGNALLED
        CRA_CLOSED_RING
    cra_expander *cra_expander_new(cra_chain_head *heads, size_t count)
    void cra_expander_free(cra_expander *expander)
    cra_expand_status cra_expander_feed(cra_expander *expander, const uint8_t *record, size_t length, const char **reason)
    cra_expand_status cra_expander_feed_frames(cra_expander *expander, const uint8_t *data, size_t length, size_t *end)
    void cra_expander_make_lines(cra_expander *expander, cra_chain_head *heads, size_t count)
    cra_expand_status cra_expander_drain(cra_expander *expander, cra_ring *ring, size_t max_bytes, uint64_t *taken)
    cra_expand_status cra_expander_run(cra_expander *expander, cra_ring *ring, int64_t timeout_ns)
    void cra_expander_interrupt(cra_expander *expander)
    void cra_expander_clear(cra_expander *expander)
    uint64_t cra_expander_records(const cra_expander *expander)
    uint64_t cra_expander_events(const cra_expander *expander)
    uint64_t cra_expander_refused(const cra_expander *expander)
    void cra_expander_count_refused(cra_expander *expander)


cdef cra_chain_head *_read_heads(dict heads) except? NULL:
    """The heads as the kernel wants them; NULL for none."""
    cdef cra_chain_head *read
    cdef cra_chain_head *head
    cdef bytes data
    if not heads:
        return NULL
    read = head = <cra_chain_head *>_malloc(len(heads) * sizeof(cra_chain_head))
    if read == NULL:
        raise MemoryError
    try:
        for session_id, (sequence, previous, time_ns) in heads.items():
            for text, size, out in ((session_id, CRA_UUID_ROOM, 0), (previous, CRA_HASH, 1)):
                data = text.encode()
                if PyBytes_GET_SIZE(data) != size:
                    raise ValueError("a chain head is a session id, a sequence, a hash and a time")
                _memcpy(head.previous if out else head.session_id, PyBytes_AS_STRING(data), size)
            head.sequence, head.time_ns, head.opened = sequence, time_ns, False
            head += 1
    except:
        _free(read)
        raise
    return read


cdef class Expander:
    """See `cra.reference.expander.Expander`."""
    cdef cra_expander *_expander
    cdef bint _busy
    cdef Ring _ring  # of the run under way

    def __cinit__(self, heads=None, *, bint lines=True, bint frames=False):
        cdef dict known = dict(heads or {})
        cdef cra_chain_head *read = _read_heads(known)
        self._expander = cra_expander_new(read, len(known))
        if self._expander == NULL:
            _free(read)
            raise MemoryError
        self._expander.omits_lines = not lines
        self._expander.keeps_frames = frames

    def __dealloc__(self):
        cra_expander_free(self._expander)

    @property
    def records(self):
        return cra_expander_records(self._expander)

    @property
    def events(self):
        return cra_expander_events(self._expander)

    @property
    def refused(self):
        return cra_expander_refused(self._expander)

    @property
    def lines(self):
        return not self._expander.omits_lines

    @property
    def frames(self):
        return bool(self._expander.keeps_frames)

    cdef int _check_idle(self) except -1:
        """What runs without the GIL must not be met by a second call."""
        if self._busy:
            raise _InternalError("the expander is at work in another thread; call it from one at a time")
        return 0

    def feed(self, bytes record not None):
        """Expand, seal and chain a record; its lines are pending then. Raises `InvalidTraceEvent`, and nothing has changed."""
        cdef const char *reason = NULL
        self._check_idle()
        status = cra_expander_feed(self._expander, <const uint8_t *>PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record), &reason)
        if status == CRA_NO_MEMORY:
            raise MemoryError
        if status == CRA_REFUSED:
            raise _refuse(reason.decode())

    def feed_frames(self, bytes data not None):
        """Feed the records among the frames of `data`; returns where the last whole frame ends."""
        cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef size_t length = PyBytes_GET_SIZE(data), end = 0
        cdef cra_expand_status status
        self._check_idle()
        self._busy = True
        with nogil:
            status = cra_expander_feed_frames(self._expander, begin, length, &end)
        self._busy = False
        if status == CRA_NO_MEMORY:
            raise MemoryError
        return end

    def make_lines(self, heads):
        """Make lines from now on; the sessions that are open go on from `heads`."""
        cdef dict known = dict(heads)
        self._check_idle()
        cra_expander_make_lines(self._expander, _read_heads(known), len(known))

    def omit_lines(self):
        """Count events from now on, and make none."""
        self._check_idle()
        self._expander.omits_lines = True

    def take(self, position):
        """What is pending, as a batch that reaches to `position` in the ring; None where that is nothing."""
        cdef cra_expander *x = self._expander
        self._check_idle()
        batch = None
        if x.run_count or x.frames_length:
            runs = [
                (x.runs[i].session_id[:CRA_UUID_ROOM].decode(), x.runs[i].bytes, x.runs[i].events)
                for i in range(x.run_count)
            ]
            batch = _Batch(
                PyBytes_FromStringAndSize(<char *>x.writer.lines, x.writer.length), runs, position,
                PyBytes_FromStringAndSize(<char *>x.frames, x.frames_length), x.pending_events,
            )
        cra_expander_clear(x)
        return batch

    def discard(self):
        """Forget the pending lines, keep the chains. Returns how many records and events were pending."""
        self._check_idle()
        counts = self._expander.pending_records, self._expander.pending_events
        cra_expander_clear(self._expander)
        return counts

    def heads(self):
        """The chain heads of the sessions that are open."""
        cdef cra_expander *x = self._expander
        cdef cra_head *head
        cdef size_t i
        self._check_idle()
        known = {}
        for i in range(x.head_count):
            if not x.heads[i].opened:
                known[x.heads[i].session_id[:CRA_UUID_ROOM].decode()] = (
                    x.heads[i].sequence, x.heads[i].previous[:CRA_HASH].decode(), x.heads[i].time_ns
                )
        for i in range(x.sessions.capacity):
            if x.sessions.slots[i].value != NULL:
                head = &(<cra_session *>x.sessions.slots[i].value).head
                known[head.session_id[:CRA_UUID_ROOM].decode()] = (
                    head.sequence, head.previous[:CRA_HASH].decode(), head.time_ns
                )
        return known

    def drain(self, ring, size_t max_bytes=_BATCH_BYTES):
        """Feed what `ring` holds until `max_bytes` are pending or nothing is left; returns how many records were taken."""
        cdef uint64_t taken = 0
        cdef cra_expand_status status
        cdef Ring own
        self._check_idle()
        if type(ring) is not Ring:
            return self._drain_other(ring, max_bytes)
        own = ring
        own.check()
        self._busy = True
        with nogil:
            status = cra_expander_drain(self._expander, own.ring, max_bytes, &taken)
        self._busy = False
        _check_drained(status, own)
        return taken

    cdef object _drain_other(self, ring, size_t max_bytes):
        """The same with a ring of the reference."""
        taken = 0
        while self._expander.writer.length + self._expander.frames_length < max_bytes:
            record = ring.read()
            if record is None:
                break
            taken += 1
            try:
                self.feed(record)
            except _InvalidTraceEvent:
                cra_expander_count_refused(self._expander)
        return taken

    def run(self, Ring ring not None, timeout_s=None):
        """Expand for the chains alone what `ring` holds and what comes; True once interrupted, False when nothing came."""
        cdef int64_t timeout = _ring_nanoseconds(timeout_s)
        cdef cra_expand_status status = CRA_SIGNALLED
        self._check_idle()
        ring.check()
        self._ring = ring
        try:
            while status == CRA_SIGNALLED:
                self._busy = True
                with nogil:
                    status = cra_expander_run(self._expander, ring.ring, timeout)
                self._busy = False
                _check_signals()
        finally:
            self._ring = None
        _check_drained(status, ring)
        return status == CRA_INTERRUPTED

    def interrupt(self):
        """Have `run`, the call under way or else the next one, return. For any thread."""
        cra_expander_interrupt(self._expander)
        ring = self._ring
        if ring is not None:
            ring.wake()


cdef int _check_drained(cra_expand_status status, Ring ring) except -1:
    """Raise what a drain ended with. Where the ring is the reason, reading says what is wrong with it."""
    if status == CRA_NO_MEMORY:
        raise MemoryError
    if status == CRA_DAMAGED_RING or status == CRA_CLOSED_RING:
        ring.read()
    return 0
