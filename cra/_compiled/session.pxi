# The path that most resolves take, twin of cra.reference.session_core. Nothing here releases the GIL between the look at what a
# shortcut depends on and the commit of its record, so the two are one step for all other threads; where a thread holds the
# session's lock, the long way waits for it. PROTOCOL: Events of a resolve.

from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_AsUTF8AndSize, PyUnicode_GET_LENGTH
from cpython.tuple cimport PyTuple_GET_SIZE, PyTuple_GET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from _thread import RLock as _RLock

MAX_GOAL = 10_000
REMEMBERED_RESOLUTIONS = 1_024
cdef enum:
    _MAX_GOAL = 10_000
    _REMEMBERED = 1_024
    _RESOLVE_KIND = 2
    _RESOLVE_BYTES = 48
    _HAS_REQUEST_ID_FLAG = 2


cdef class SessionLock:
    """The lock of a session; reentrant. `depth` is how often it is held."""

    cdef object _lock
    cdef int depth

    def __cinit__(self):
        self._lock = _RLock()
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


cdef inline bint _is_empty(object listed):
    """Of other types, whatever their truth is, the long way says what is wrong."""
    return not listed if type(listed) is tuple or type(listed) is list else False


cdef class SessionCore:
    """What a session is, and the part of it that resolves and records touch; see `cra.reference.session_core.SessionCore`."""

    cdef readonly RuntimeCore runtime
    cdef readonly object header
    cdef public object session_id, trace_id, agent_id, goal, context, scopes, risk_tier, atlas_ids
    cdef public object parent, ancestors, on_end, status, children, open_calls, limit_keys, lock
    cdef public Py_ssize_t action_count
    cdef public object last_base
    cdef SessionLock _own_lock
    cdef public uint64_t number
    cdef bint _is_recorded  # up to its end
    cdef public int64_t started_ns, active_ns
    # The shortcut; `_plan` None where there is none.
    cdef int64_t _epoch, _second
    cdef object _plan, _ruling
    cdef GoalSelector _selector
    cdef Watches _watches
    cdef uint32_t _template
    cdef list _recent
    cdef Py_ssize_t _oldest

    def __init__(
        self, RuntimeCore runtime not None, header, agent_id, goal, context, scopes, risk_tier, atlas_ids, parent, on_end
    ):
        self.runtime = runtime
        self.header = header
        self.session_id = header.session_id
        self.trace_id = header.trace_id
        self.agent_id = agent_id
        self.goal = goal
        self.context = context
        self.scopes = scopes
        self.risk_tier = risk_tier
        self.atlas_ids = atlas_ids
        self.parent = parent
        self.ancestors = () if parent is None else parent.lineage
        self.on_end = on_end
        self.status = "active"
        self.children = {}
        self.open_calls = {}
        self.limit_keys = set()
        self.action_count = 0
        self.lock = self._own_lock = SessionLock()
        self.number = 0
        self.started_ns = self.active_ns = runtime.monotonic_ns()
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
            and _is_empty(context_hints)
            and _is_empty(required_capabilities)
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
        cdef RuntimeCore runtime = self.runtime
        if not runtime.direct or self._epoch != runtime.epoch or self._own_lock.depth or self.lock is not self._own_lock:
            return None
        if not PyUnicode_CheckExact(goal) or not 1 <= PyUnicode_GET_LENGTH(goal) <= _MAX_GOAL:
            return None
        # Whatever calls into Python may run another thread, which may forget the shortcut or remember another: this one is held.
        cdef object plan = self._plan, ruling = self._ruling
        if plan is None:
            return None  # ended since the caller looked
        cdef GoalSelector selector = self._selector
        cdef Watches watches = self._watches
        cdef int64_t now_ns = runtime.now_ns(), monotonic_ns = runtime.monotonic_ns()
        if self._second != -1 and self._second != now_ns // _NS_PER_SECOND:
            return None
        if monotonic_ns - self.active_ns > runtime.idle_ns or monotonic_ns - self.started_ns > runtime.life_ns:
            return None
        cdef tuple states = watches.unused, limited
        cdef uint32_t template = self._template
        cdef bint exhausted
        if states:
            states = runtime.limits.look_at(watches, monotonic_ns, &exhausted)
            if exhausted:
                limited = watches.exhausted(states)
                if limited:
                    ruling = plan.ruling(limited)
                    template = ruling.template
                    if not template:
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
        runtime.draw(now_ns, base)
        if not runtime.direct or self._epoch != runtime.epoch or self._own_lock.depth or self._plan is not plan:
            return _uuid_number(base)
        if not self._record_resolve(base, now_ns, template, injected, cut, text, text_length, request_id):
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

    cdef bint _record_resolve(
        self,
        const uint8_t *base,
        int64_t now_ns,
        uint32_t template,
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
        cdef cra_ring *ring = self.runtime.ring.ring
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
        memcpy(record + 40, &template, 4)
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

    def touch(self):
        """Check that the session is active, and note that it is used; see `cra.reference.session_core.SessionCore.touch`."""
        cdef RuntimeCore runtime = self.runtime
        cdef int64_t now
        if self.parent is None and self.status == "active":
            now = runtime.monotonic_ns()
            if now - self.active_ns <= runtime.idle_ns and now - self.started_ns <= runtime.life_ns:
                self.active_ns = now
                return
        self._touch()

    def record(self, *events, base=None):
        """Record events as of now; see `cra.reference.session_core.SessionCore.record`."""
        cdef uint8_t used[16]
        cdef bint has_base = base is not None
        if self.runtime.direct:
            if has_base:
                _put_uuid_number(used, base)
            if _put_events(self, events, None, None, used, &has_base):
                self.last_base = _uuid_number(used)
                return self.last_base
            if has_base:
                base = _uuid_number(used)
        return self._record(events, base)

    def record_last(self, RingRoom room not None, event_type, payload, span=None):
        """Record the event that closes something; see `cra.reference.session_core.SessionCore.record_last`."""
        cdef uint8_t used[16]
        cdef bint has_base = False
        if self.runtime.direct:
            if _put_events(self, ((event_type, payload),), room, span, used, &has_base):
                return
        self._record_last(room, event_type, payload, _uuid_number(used) if has_base else None, span)
