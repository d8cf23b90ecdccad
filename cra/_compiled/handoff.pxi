# Work for one waiting thread, handed over without the interpreter lock: whoever is woken finds it free. See cra.reference.handoff.

from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport (
    NOWAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
)

from cra.reference.handoff import LEFT as _LEFT, NOTHING as _NOTHING


cdef extern from "pythread.h":
    ctypedef enum PyLockStatus:
        PY_LOCK_FAILURE
        PY_LOCK_ACQUIRED
        PY_LOCK_INTR
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interruptible) nogil

cdef extern from "handoff.h":
    enum: CRA_FLAG_CLEAR, CRA_FLAG_ASLEEP, CRA_FLAG_LEFT
    ctypedef struct cra_flag:
        pass
    long long cra_flag_now() nogil
    void cra_flag_clear(cra_flag *) nogil
    int cra_flag_set(cra_flag *) nogil
    int cra_flag_await(cra_flag *) nogil
    int cra_flag_leave(cra_flag *, int) nogil

# A hundred years, far below what the lock takes at most.
cdef double _LONGEST = 3.2e9


cdef class Handoff:
    """See `cra.reference.handoff.Handoff`."""

    cdef object _item
    cdef bint _asked, _owes
    cdef cra_flag _given, _done
    cdef PyThread_type_lock _work, _word

    def __cinit__(self):
        self._work = PyThread_allocate_lock()
        self._word = PyThread_allocate_lock()
        if self._work is NULL or self._word is NULL:
            raise MemoryError
        PyThread_acquire_lock(self._work, NOWAIT_LOCK)
        PyThread_acquire_lock(self._word, NOWAIT_LOCK)
        cra_flag_clear(&self._given)
        cra_flag_clear(&self._done)

    def __dealloc__(self):
        if self._work is not NULL:
            PyThread_free_lock(self._work)
        if self._word is not NULL:
            PyThread_free_lock(self._word)

    def give(self, item):
        """See `cra.reference.handoff.Handoff.give`."""
        self._item = item
        self._asked = False
        with nogil:
            _set(&self._given, self._work)

    def ask(self, item, double timeout_s):
        """See `cra.reference.handoff.Handoff.ask`."""
        cdef bint done
        self._item = item
        self._asked = True
        with nogil:
            _set(&self._given, self._work)
            done = cra_flag_await(&self._done)
        if not done:
            try:
                if not _sleep(&self._done, self._word, timeout_s, CRA_FLAG_LEFT):
                    return False
            except BaseException:
                if not cra_flag_leave(&self._done, CRA_FLAG_LEFT):
                    _woken(self._word)
                    cra_flag_clear(&self._done)
                    self.give(_LEFT)
                raise
        cra_flag_clear(&self._done)
        return True

    def next(self, double timeout_s):
        """See `cra.reference.handoff.Handoff.next`."""
        cdef bint owes = self._owes, left = False, given = False
        self._owes = False
        with nogil:
            if owes:
                left = _set(&self._done, self._word) == CRA_FLAG_LEFT
            if not left:
                given = cra_flag_await(&self._given)
        if left:
            cra_flag_clear(&self._done)
            return _LEFT
        if not given:
            try:
                if not _sleep(&self._given, self._work, timeout_s, CRA_FLAG_CLEAR):
                    return _NOTHING
            except BaseException:
                if not cra_flag_leave(&self._given, CRA_FLAG_CLEAR):
                    _woken(self._work)
                raise
        cra_flag_clear(&self._given)
        item = self._item
        self._item = None
        self._owes = self._asked
        return item


cdef int _set(cra_flag *flag, PyThread_type_lock lock) noexcept nogil:
    cdef int before = cra_flag_set(flag)
    if before == CRA_FLAG_ASLEEP:
        PyThread_release_lock(lock)
    return before


cdef bint _sleep(cra_flag *flag, PyThread_type_lock lock, double timeout_s, int on_leaving) except -1:
    """Sleep until the flag is set; False, with the flag in the state `on_leaving`, after `timeout_s` seconds.

    Raises what a signal handler raises; the flag is then as it was.
    """
    cdef PyLockStatus status
    cdef long long end = cra_flag_now() // 1000 + <long long>(min(max(timeout_s, 0.0), _LONGEST) * 1e6)
    cdef long long left
    while True:
        left = max(end - cra_flag_now() // 1000, 0)
        with nogil:
            status = PyThread_acquire_lock_timed(lock, left, 1)
        if status == PY_LOCK_ACQUIRED:
            return True
        if status == PY_LOCK_INTR:
            PyErr_CheckSignals()
        elif cra_flag_leave(flag, on_leaving):
            return False
        else:
            _woken(lock)
            return True


cdef void _woken(PyThread_type_lock lock) noexcept:
    """Take the wake-up that is on its way."""
    with nogil:
        PyThread_acquire_lock_timed(lock, -1, 0)
