# The path that most resolves take, twin of cra.reference.session_core. Nothing here releases the GIL between the look at what a
# shortcut depends on and the commit of its record, so the two are one step for all other threads; where a thread holds the
# session's lock, the long way waits for it. PROTOCOL: Events of a resolve.

from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_AsUTF8AndSize, PyUnicode_GET_LENGTH
from cpython.tuple cimport PyTuple_GET_SIZE, PyTuple_GET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

import threading as _threading

from cra.timing.clock import SystemClock as _SystemClock

MAX_GOAL = 10_000
REMEMBERED_RESOLUTIONS = 1_024
cdef enum:
    _MAX_GOAL = 10_000
    _REMEMBERED = 1_024
    _NS_PER_SECOND = 1_000_000_000
    _NS_PER_MS = 1_000_000
    _FOR_EVER_NS_LOG2 = 62
    _RESOLVE_KIND = 2
    _RESOLVE_BYTES = 48
    _HAS_REQUEST_ID_FLAG = 2


cdef inline int64_t _read_clock(int which) noexcept:
    cdef timespec now
    clock_gettime(which, &now)
    return <int64_t>now.tv_sec * _NS_PER_SECOND + now.tv_nsec


cdef class SessionLock:
    """The lock of a session; reentrant. `depth` is how often it is held."""

    cdef object _lock
    cdef int depth

    def __cinit__(self):
        self._lock = _threading.RLock()
        self.depth = 0

    def acquire(self, blocking=True, timeout=-1):
        if self._lock.acquire(blocking, timeout):
            self.depth += 1
            return True
        return False

    def release(self):
        self.depth -= 1
        try:
            self._lock.release()
        except BaseException:
            self.depth += 1
            raise

    def __enter__(self):
        self._lock.acquire()
        self.depth += 1
        return True

    def __exit__(self, *_):
        self.depth -= 1
        self._lock.release()


cdef class RuntimeCore:
    """What the resolves of all sessions of a runtime share; see `cra.reference.session_core.RuntimeCore`."""

    cdef public object clock, ids
    cdef readonly type resolution_type
    cdef readonly Ring ring
    cdef readonly SlidingWindows limits
    cdef public int64_t epoch, resolutions, idle_ns, life_ns, ttl_seconds
    cdef public bint direct
    cdef bint _system_clock, _random_ids

    def __init__(
        self,
        *,
        clock,
        ids,
        Ring ring not None,
        SlidingWindows limits not None,
        ttl_seconds,
        idle_seconds,
        life_seconds,
        type resolution_type not None,
    ):
        self.clock = clock
        self.ids = ids
        self.ring = ring
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

    def note_change(self):
        """The atlases have changed: no shortcut holds any more."""
        self.epoch += 1


cdef class SessionCore:
    """The part of a session that a resolve touches; see `cra.reference.session_core.SessionCore`."""

    cdef readonly RuntimeCore runtime_core
    cdef readonly object header
    cdef public object lock
    cdef SessionLock _own_lock
    cdef public uint64_t number
    cdef public int64_t started_ns, active_ns
    # The shortcut; `_plan` None where there is none.
    cdef int64_t _epoch, _second
    cdef object _plan, _ruling
    cdef GoalSelector _selector
    cdef Watches _watches
    cdef uint32_t _template
    cdef list _recent
    cdef Py_ssize_t _oldest

    def __init__(self, RuntimeCore runtime not None, header):
        self.runtime_core = runtime
        self.header = header
        self.lock = self._own_lock = SessionLock()
        self.number = 0
        self.started_ns = self.active_ns = runtime.clock.monotonic_ns()
        self._recent = []

    def resolve(
        self,
        goal,
        *,
        risk_tier=None,
        context_hints=(),
        required_capabilities=(),
        context=None,
        atlas_ids=None,
        context_budget=None,
    ):
        """What the agent may do towards `goal`, and what it should read first.

        `risk_tier`, `context` and `atlas_ids` can raise, add and narrow, never lower, override or widen what the session has;
        `context_budget` is the most tokens of context to return. Spends nothing.

        Raises `InvalidCARPRequest`, `SessionAlreadyEnded`, `SessionExpired`, `AtlasNotFound`, `Conflict` (two selected atlases
        define one action), `TraceBackpressure`. PROTOCOL: Evaluation, Context.
        """
        cdef object found = None
        if (
            self._plan is not None
            and risk_tier is None
            and context is None
            and atlas_ids is None
            and context_budget is None
            and not context_hints
            and not required_capabilities
        ):
            found = self._take_shortcut(goal, None)
            if found is not None and type(found) is not int:
                return found
        return self._resolve(
            goal, risk_tier, context_hints, required_capabilities, context, atlas_ids, context_budget, found
        )

    def take_shortcut(self, goal, request_id):
        """The answer to a request that asks for `goal` and nothing else; or None for the long way, or the id drawn for it.

        `request_id` None: it had none, and gets one with the draw.
        """
        return None if self._plan is None else self._take_shortcut(goal, request_id)

    cdef object _take_shortcut(self, object goal, object request_id):
        cdef RuntimeCore runtime = self.runtime_core
        if not runtime.direct or self._epoch != runtime.epoch or self._own_lock.depth or self.lock is not self._own_lock:
            return None
        if not PyUnicode_CheckExact(goal) or not 1 <= PyUnicode_GET_LENGTH(goal) <= _MAX_GOAL:
            return None
        # Whatever calls into Python may run another thread, which may forget the shortcut or remember another: this one is held.
        cdef object plan = self._plan, ruling = self._ruling
        cdef GoalSelector selector = self._selector
        cdef Watches watches = self._watches
        cdef int64_t now_ns, monotonic_ns
        if runtime._system_clock:
            now_ns, monotonic_ns = _read_clock(CLOCK_REALTIME), _read_clock(CLOCK_MONOTONIC)
        else:
            now_ns, monotonic_ns = runtime.clock.now_ns(), runtime.clock.monotonic_ns()
        if self._second != -1 and self._second != now_ns // _NS_PER_SECOND:
            return None
        if monotonic_ns - self.active_ns > runtime.idle_ns or monotonic_ns - self.started_ns > runtime.life_ns:
            return None
        cdef tuple states = watches.unused
        if states:
            states = runtime.limits.states(watches, monotonic_ns)
            if watches.exhausted(states):
                return None
        cdef Py_ssize_t text_length
        cdef const char *text
        try:
            text = PyUnicode_AsUTF8AndSize(goal, &text_length)
        except UnicodeEncodeError:
            return None
        cdef object blocks = selector.select(goal)
        cdef tuple injected = <tuple>PyTuple_GET_ITEM(blocks, 0)
        cdef tuple cut = <tuple>PyTuple_GET_ITEM(blocks, 1)
        cdef uint8_t base[16]
        cdef bytes drawn
        if runtime._random_ids:
            _draw_uuid7(now_ns // _NS_PER_MS, base)
        else:
            drawn = runtime.ids.draw(now_ns // _NS_PER_MS).to_bytes(16, "big")
            memcpy(base, <const char *>drawn, 16)
        if not runtime.direct or self._epoch != runtime.epoch or self._own_lock.depth or self._plan is not plan:
            return _uuid_number(base)
        if not self._record(base, now_ns, injected, cut, text, text_length, request_id):
            return _uuid_number(base)
        self.active_ns = monotonic_ns
        cdef object resolution = new_resolution(
            runtime.resolution_type,
            self.header,
            base,
            request_id,
            now_ns,
            monotonic_ns + runtime.ttl_seconds * _NS_PER_SECOND,
            runtime.ttl_seconds,
            plan,
            ruling,
            injected,
            states,
            goal,
        )
        self._keep(resolution)
        runtime.resolutions += 1
        return resolution

    cdef bint _record(
        self,
        const uint8_t *base,
        int64_t now_ns,
        tuple injected,
        tuple cut,
        const char *text,
        Py_ssize_t text_length,
        object request_id,
    ) except -1:
        """Encode the RESOLVE record in place (docs/formats/records.md); False where the ring has no room."""
        cdef Py_ssize_t injected_count = PyTuple_GET_SIZE(injected), cut_count = PyTuple_GET_SIZE(cut), index
        cdef uint64_t length = _RESOLVE_BYTES + 2 * (injected_count + cut_count) + text_length
        cdef uint64_t position
        cdef uint8_t given[16]
        if request_id is not None:
            _put_uuid_text(given, request_id)
            length += 16
        cdef cra_ring *ring = self.runtime_core.ring.ring
        if injected_count > 0xFFFF or cut_count > 0xFFFF:
            return False  # the long way says what is wrong
        cdef uint8_t *record = <uint8_t *>cra_ring_claim(ring, length, &position)
        if record == NULL:
            return False
        cdef uint16_t short_number
        cdef uint32_t number
        record[0] = _RESOLVE_KIND
        record[1] = 0 if request_id is None else _HAS_REQUEST_ID_FLAG
        short_number = <uint16_t>injected_count
        memcpy(record + 2, &short_number, 2)
        short_number = <uint16_t>cut_count
        memcpy(record + 4, &short_number, 2)
        record[6] = record[7] = 0
        memcpy(record + 8, &self.number, 8)
        memcpy(record + 16, &now_ns, 8)
        memcpy(record + 24, base, 16)
        memcpy(record + 40, &self._template, 4)
        number = <uint32_t>text_length
        memcpy(record + 44, &number, 4)
        record += _RESOLVE_BYTES
        if request_id is not None:
            memcpy(record, given, 16)
            record += 16
        for index in range(injected_count):
            short_number = <uint16_t>(<object>PyTuple_GET_ITEM(injected, index))
            memcpy(record, &short_number, 2)
            record += 2
        for index in range(cut_count):
            short_number = <uint16_t>(<object>PyTuple_GET_ITEM(cut, index))
            memcpy(record, &short_number, 2)
            record += 2
        memcpy(record, text, text_length)
        cra_ring_commit(ring, position, length)
        return True

    def set_shortcut(self, epoch, second, plan, ruling, template, Watches watches not None):
        """Remember what a plain resolve came to; `epoch` was read before the plan was looked up."""
        self._epoch = epoch
        self._second = second
        self._ruling = ruling
        self._template = template
        self._selector = plan.context.selector
        self._watches = watches
        self._plan = plan

    def forget_shortcut(self):
        """The next resolve goes the long way: the session has ended, or its grants have changed."""
        self._plan = self._ruling = self._selector = self._watches = None

    def remember(self, resolution):
        """Keep a resolution, to be found by its id: the last 1,024 of them."""
        self._keep(resolution)

    cdef int _keep(self, object resolution) except -1:
        if len(self._recent) < _REMEMBERED:
            self._recent.append(resolution)
        else:
            self._recent[self._oldest] = resolution
            self._oldest = (self._oldest + 1) % _REMEMBERED
        return 0

    def recall(self, base):
        """The resolution that was drawn as `base`, None where it is not among those kept."""
        for found in self._recent:
            if found.base == base:
                return found
        return None

    def forget_resolutions(self):
        self._recent = []
        self._oldest = 0
