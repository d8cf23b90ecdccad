# The ring over cra/_kernel/ring.h; the algorithm and the texts of cra.reference.ring.
#
# Other parts reach the kernel through `ring.ring`, and keep a reference to the Ring meanwhile: its memory lives as long as the object.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EEXIST, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strerror

import mmap
import os
import time

from cra.errors import InternalError, InvalidTraceEvent, StorageError
from cra.reference.ring_scan import (
    CUT_SHORT, DAMAGED_HEAD, DAMAGED_RECORD, DAMAGED_TAIL, NOT_COMMITTED, RingRecord, RingScan, Torn, identify, read_image
)

cdef extern from "ring.h" nogil:
    ctypedef struct cra_ring:
        uint64_t size
    ctypedef enum cra_ring_status:
        CRA_RING_OPEN, CRA_RING_CLOSED, CRA_RING_FORKED
    const uint64_t CRA_RING_MIN_SIZE, CRA_RING_MAX_SIZE
    cra_ring *cra_ring_open(uint64_t size, int fd, uint64_t secret)
    void cra_ring_close(cra_ring *ring)
    void cra_ring_destroy(cra_ring *ring)
    cra_ring_status cra_ring_state(const cra_ring *ring)
    uint64_t cra_ring_max_record(const cra_ring *ring)
    uint64_t cra_ring_frame_size(uint64_t length)
    void *cra_ring_claim(cra_ring *ring, uint64_t length, uint64_t *position)
    void cra_ring_commit(cra_ring *ring, uint64_t position, uint64_t length)
    bint cra_ring_put(cra_ring *ring, const void *record, uint64_t length)
    bint cra_ring_reserve(cra_ring *ring, uint64_t nbytes)
    bint cra_ring_release(cra_ring *ring, uint64_t nbytes)
    void *cra_ring_claim_reserved(cra_ring *ring, uint64_t length, uint64_t nbytes, uint64_t *position)
    int cra_ring_wait_room(cra_ring *ring, uint64_t nbytes, int64_t timeout_ns)
    int cra_ring_peek(cra_ring *ring, const uint8_t **record, uint32_t *length)
    void cra_ring_advance(cra_ring *ring, uint32_t length)
    bint cra_ring_free(cra_ring *ring, uint64_t position)
    int cra_ring_wait(cra_ring *ring, int64_t timeout_ns)
    void cra_ring_wake(cra_ring *ring)
    uint64_t cra_ring_head(const cra_ring *ring)
    uint64_t cra_ring_tail(const cra_ring *ring)
    uint64_t cra_ring_position(const cra_ring *ring)
    uint64_t cra_ring_reserved(const cra_ring *ring)
    uint64_t cra_ring_puts(const cra_ring *ring)

    ctypedef enum cra_ring_scan_status:
        CRA_RING_SCANNED, CRA_RING_BLANK, CRA_RING_REFUSED, CRA_RING_NO_MEMORY
    ctypedef enum cra_ring_item_kind:
        CRA_RING_END, CRA_RING_RECORD, CRA_RING_NOT_COMMITTED, CRA_RING_DAMAGED_RECORD
        CRA_RING_DAMAGED_HEAD, CRA_RING_DAMAGED_TAIL, CRA_RING_CUT_SHORT
    ctypedef struct cra_ring_item:
        cra_ring_item_kind kind
        uint64_t position, length
        const uint8_t *record
    ctypedef struct cra_ring_scan:
        uint64_t size, pid, head, tail
    cra_ring_scan_status cra_ring_scan_open(cra_ring_scan *scan, const uint8_t *image, size_t length)
    cra_ring_item cra_ring_scan_next(cra_ring_scan *scan)
    void cra_ring_scan_close(cra_ring_scan *scan)


cdef class Ring:
    """A ring of records; see `cra.reference.ring.Ring`."""

    cdef cra_ring *ring
    cdef object __weakref__

    def __cinit__(self, size=8 * 2**20, int fd=-1):
        smallest = max(CRA_RING_MIN_SIZE, mmap.PAGESIZE)
        if not (smallest <= size <= CRA_RING_MAX_SIZE and size & (size - 1) == 0):
            raise ValueError(f"a ring's size is a power of two from {smallest} to {CRA_RING_MAX_SIZE}, not {size}")
        self.ring = cra_ring_open(size, fd, int.from_bytes(os.urandom(8), "little"))
        if self.ring == NULL:
            if errno == EEXIST:
                raise StorageError("the file of a new ring is not empty; recover what is in it, or use another")
            raise StorageError(f"a ring of {size} bytes cannot be made: {strerror(errno).decode()}")

    def __dealloc__(self):
        if self.ring != NULL:
            cra_ring_destroy(self.ring)

    def put(self, data not None):
        """Append a record; False when there is no room."""
        cdef Py_buffer view
        cdef bint done
        if PyBytes_CheckExact(data):
            if cra_ring_put(self.ring, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
                return True
            self.check()
            self.frame(PyBytes_GET_SIZE(data))
            return False
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.check()
            self.frame(view.len)
            return cra_ring_put(self.ring, view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def reserve(self, Py_ssize_t nbytes):
        """Set room aside for one later record; False when there is none."""
        self.check()
        self.frame(nbytes)
        return cra_ring_reserve(self.ring, nbytes)

    def put_reserved(self, data not None, Py_ssize_t nbytes):
        """Append a record in reserved room, and give back what it leaves of that."""
        cdef Py_buffer view
        cdef uint64_t position
        cdef void *place
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.check()
            if view.len > nbytes:
                raise ValueError(f"a record of {view.len} bytes does not fit into a reservation of {nbytes}")
            self.frame(nbytes)
            place = cra_ring_claim_reserved(self.ring, view.len, nbytes, &position)
            if place == NULL:
                raise InternalError(f"{nbytes} bytes were not reserved, or were used or given back before")
            memcpy(place, view.buf, view.len)
            cra_ring_commit(self.ring, position, view.len)
        finally:
            PyBuffer_Release(&view)

    def release(self, Py_ssize_t nbytes):
        """Give reserved room back."""
        self.check()
        self.frame(nbytes)
        if not cra_ring_release(self.ring, nbytes):
            raise InternalError(f"{nbytes} bytes were not reserved, or were used or given back before")

    def wait_room(self, Py_ssize_t nbytes, timeout_s):
        """Sleep until a record of `nbytes` has room; whether it has."""
        cdef int64_t left = _ring_nanoseconds(timeout_s)
        cdef int result = -1
        self.check()
        self.frame(nbytes)
        end = None if left < 0 else time.monotonic_ns() + left
        while True:
            with nogil:
                result = cra_ring_wait_room(self.ring, nbytes, left)
            if result >= 0:
                return result == 1
            PyErr_CheckSignals()
            left = -1 if end is None else max(0, end - time.monotonic_ns())

    def read(self):
        """The record at `position`, which moves on; None while it is not committed."""
        cdef const uint8_t *record
        cdef uint32_t length
        cdef int found = cra_ring_peek(self.ring, &record, &length)
        if found == 0:
            self.check()
            return None
        if found < 0:
            raise StorageError(f"the ring is damaged at position {self.position}: somebody else wrote to its memory")
        data = PyBytes_FromStringAndSize(<const char *>record, length)
        cra_ring_advance(self.ring, length)
        return data

    def free(self, position):
        """Move the tail to `position`."""
        self.check()
        if not self.tail <= position <= self.position or not cra_ring_free(self.ring, position):
            raise ValueError(
                f"position {position} is not one from the tail {self.tail} to what was read, {self.position}"
            )

    def wait(self, timeout_s):
        """Sleep until there is something to read, or until `wake`; False after `timeout_s`."""
        cdef int64_t left = _ring_nanoseconds(timeout_s)
        cdef int result = -1
        self.check()
        end = None if left < 0 else time.monotonic_ns() + left
        while True:
            with nogil:
                result = cra_ring_wait(self.ring, left)
            if result >= 0:
                return result == 1
            PyErr_CheckSignals()
            left = -1 if end is None else max(0, end - time.monotonic_ns())

    def wake(self):
        """Make the consumer's `wait` return."""
        self.check()
        cra_ring_wake(self.ring)

    def close(self):
        """Take and give no more records. Harmless when repeated."""
        cra_ring_close(self.ring)

    @property
    def size(self):
        return self.ring.size

    @property
    def head(self):
        self.check_fork()
        return cra_ring_head(self.ring)

    @property
    def tail(self):
        self.check_fork()
        return cra_ring_tail(self.ring)

    @property
    def position(self):
        self.check_fork()
        return cra_ring_position(self.ring)

    @property
    def used(self):
        self.check_fork()
        return cra_ring_head(self.ring) - cra_ring_tail(self.ring)

    @property
    def reserved(self):
        self.check_fork()
        return cra_ring_reserved(self.ring)

    @property
    def puts(self):
        self.check_fork()
        return cra_ring_puts(self.ring)

    @property
    def max_record(self):
        return cra_ring_max_record(self.ring)

    cdef int check(self) except -1:
        if cra_ring_state(self.ring) != CRA_RING_OPEN:
            self.check_fork()
            raise InternalError("the ring is closed; it takes and gives no more records")
        return 0

    cdef int check_fork(self) except -1:
        if cra_ring_state(self.ring) == CRA_RING_FORKED:
            raise InternalError("this ring was inherited through a fork; create a new Resolver in the child process")
        return 0

    cdef int frame(self, Py_ssize_t length) except -1:
        if length < 0 or <uint64_t>length > cra_ring_max_record(self.ring):
            raise InvalidTraceEvent(
                f"a record of {length} bytes does not fit into a ring of {self.ring.size} bytes, which takes at most"
                f" {cra_ring_max_record(self.ring)}; use a larger ring"
            )
        return 0


cdef int64_t _ring_nanoseconds(timeout_s) except? -2:
    """A timeout as the kernel takes it: negative for ever."""
    if timeout_s is None or timeout_s > 9e9:
        return -1
    return max(0, int(timeout_s * 1e9))


def scan_ring(source not None):
    """What a ring holds that nobody drains any more; see `cra.reference.ring_scan.scan_ring`."""
    cdef bytes image = read_image(source) if isinstance(source, int) else bytes(source)
    cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(image)
    cdef size_t length = PyBytes_GET_SIZE(image)
    cdef cra_ring_scan scan
    cdef cra_ring_item item
    cdef cra_ring_scan_status status
    with nogil:
        status = cra_ring_scan_open(&scan, start, length)
    if status == CRA_RING_NO_MEMORY:
        raise MemoryError
    if status == CRA_RING_REFUSED:
        identify(image)
        raise InternalError("the kernel refuses a ring that the reference reads")
    if status == CRA_RING_BLANK:
        return RingScan(0, 0, 0, 0, [], [])
    cdef list records = [], torn = []
    try:
        while True:
            with nogil:
                item = cra_ring_scan_next(&scan)
            if item.kind == CRA_RING_END:
                return RingScan(scan.size, scan.pid, scan.head, scan.tail, records, torn)
            if item.kind == CRA_RING_RECORD:
                records.append(RingRecord(item.position, PyBytes_FromStringAndSize(<const char *>item.record, item.length)))
            else:
                torn.append(Torn(item.position, item.length, _ring_reason(item.kind)))
    finally:
        cra_ring_scan_close(&scan)


cdef str _ring_reason(cra_ring_item_kind kind):
    if kind == CRA_RING_NOT_COMMITTED:
        return NOT_COMMITTED
    if kind == CRA_RING_DAMAGED_RECORD:
        return DAMAGED_RECORD
    if kind == CRA_RING_DAMAGED_HEAD:
        return DAMAGED_HEAD
    if kind == CRA_RING_DAMAGED_TAIL:
        return DAMAGED_TAIL
    return CUT_SHORT
