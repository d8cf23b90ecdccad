# What all sessions of a runtime share, and room in the ring; twins of cra.reference.session_core.RuntimeCore and
# cra.reference.ring_room. `direct` says that records of sessions go into the ring without the recorder: nothing here releases the
# GIL between the look at it and the commit.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from cra.timing.clock import SystemClock as _SystemClock

CLOSING_BYTES = 2_048
cdef enum:
    _CLOSING_BYTES = 2_048
    _NS_PER_SECOND = 1_000_000_000
    _NS_PER_MS = 1_000_000
    _FOR_EVER_NS_LOG2 = 62


cdef inline int64_t _read_clock(int which) noexcept:
    cdef timespec now
    clock_gettime(which, &now)
    return <int64_t>now.tv_sec * _NS_PER_SECOND + now.tv_nsec


cdef class RingRoom:
    """Room for one record; see `cra.reference.ring_room.RingRoom`."""

    cdef object _queue, _use
    cdef public Py_ssize_t room, spare
    cdef public bint held

    def __init__(self, queue, use, room, spare):
        self._queue = queue
        self._use = use
        self.room = room
        self.spare = spare
        self.held = True

    def record(self, record):
        """Take the record; it is not refused for want of room or of storage. `InternalError` if used before, or too late."""
        self._use(self, record)

    def release(self):
        """Give the room back. Harmless when it was used or given back before."""
        if self.held:
            self._queue.give_back(self)

    def __del__(self):
        # An exception of a signal handler can come before it is in anybody's hands.
        if self.held:
            self._queue.give_back(self)


cdef class RuntimeCore:
    """What the resolves of all sessions of a runtime share; see `cra.reference.session_core.RuntimeCore`."""

    cdef public object clock, ids
    cdef readonly type resolution_type
    cdef readonly object recorder
    cdef readonly Ring ring
    cdef readonly SlidingWindows limits
    cdef public int64_t epoch, resolutions, idle_ns, life_ns, ttl_seconds
    cdef public bint direct
    cdef bint _system_clock, _random_ids
    # Of the recorder's queue, which never puts others in their place.
    cdef object _queue, _use, _session_numbers, _on_record, _ended
    cdef dict _numbers
    cdef set _rooms
    cdef Py_ssize_t _spare
    cdef bint _has_definitions

    def __init__(
        self,
        *,
        clock,
        ids,
        recorder,
        SlidingWindows limits not None,
        ttl_seconds,
        idle_seconds,
        life_seconds,
        type resolution_type not None,
    ):
        self.clock = clock
        self.ids = ids
        self.recorder = recorder
        self.ring = recorder.ring
        self.limits = limits
        self.ttl_seconds = ttl_seconds
        self.idle_ns = int(min(idle_seconds * _NS_PER_SECOND, 2 ** _FOR_EVER_NS_LOG2))
        self.life_ns = int(min(life_seconds * _NS_PER_SECOND, 2 ** _FOR_EVER_NS_LOG2))
        self.resolution_type = resolution_type
        self.epoch = 0
        self.direct = False
        self.resolutions = 0
        self._system_clock = type(clock) is _SystemClock
        self._random_ids = type(ids) is RandomIds
        self._queue = queue = recorder.queue
        self._use = queue.claim
        self._ended = self._queue.ended
        self._session_numbers = queue.session_numbers
        self._on_record = queue.on_record
        self._numbers = queue.numbers
        self._rooms = queue.rooms
        self._spare = queue.spare
        self._has_definitions = queue.definitions is not None

    def note_change(self):
        """The atlases have changed: no shortcut holds any more."""
        self.epoch += 1

    def reserve(self):
        """Room for a record that closes something; see `cra.reference.session_core.RuntimeCore.reserve`."""
        cdef RingRoom reserved = RingRoom.__new__(RingRoom)  # before the look: to make one may run a finalizer
        if not self.direct or self._spare or not cra_ring_reserve(self.ring.ring, _CLOSING_BYTES):
            return self.recorder.reserve()
        reserved._queue, reserved._use, reserved.room, reserved.held = self._queue, self._use, _CLOSING_BYTES, True
        self._rooms.add(<Py_ssize_t><PyObject *>reserved)
        return reserved

    cdef int64_t now_ns(self) except? -1:
        return _read_clock(CLOCK_REALTIME) if self._system_clock else self.clock.now_ns()

    cdef int64_t monotonic_ns(self) except? -1:
        return _read_clock(CLOCK_MONOTONIC) if self._system_clock else self.clock.monotonic_ns()

    cdef int draw(self, int64_t now_ns, uint8_t *base) except -1:
        if self._random_ids:
            return _draw_uuid7(now_ns // _NS_PER_MS, base)
        _put_uuid_number(base, self.ids.draw(now_ns // _NS_PER_MS))
        return 0
