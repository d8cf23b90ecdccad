# Sliding windows, twin of cra.reference.sliding_windows: the same steps, and what a window stood at is kept until it changes.
#
# Whatever changes a window holds the lock and first forgets what it stood at (`_touch`). So a look that finds it kept, which takes
# no lock, sees a moment before or after any reservation, never one in between. PROTOCOL: Limits.

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject

from collections import OrderedDict as _OrderedDict
from threading import RLock as _ReentrantLock

from cra.reference.sliding_windows import MAX_BUDGET_ENTRIES, SWEPT_PER_RESERVE
from cra.reference.sliding_windows import LimitReached as _LimitReached
from cra.reference.sliding_windows import LimitState as _LimitState
from cra.reference.sliding_windows import standing as _standing

cdef Py_ssize_t _SWEPT = SWEPT_PER_RESERVE


cdef object _exact(object amount):
    """See `cra.reference.sliding_windows.exact`."""
    numerator, denominator = amount.as_integer_ratio()
    return numerator if denominator == 1 else amount


cdef class _Window:
    """See `cra.reference.sliding_windows._Window`. `_limit` is the limit that what is kept is of, None when nothing is kept."""

    cdef object window_ns, total
    cdef readonly object entries
    cdef object as_of_ns
    cdef object _limit, _cost, _used, _remaining, _exhausted
    cdef object _leaves  # when the oldest leaves, None: never; as of `_leaves_known`
    cdef bint _leaves_known
    cdef object _amount, _amount_of  # of the limit that was last asked for room, whole amounts as int

    def __cinit__(self, window_ns):
        self.window_ns = window_ns
        self.total = 0
        self.entries = _OrderedDict()

    cdef void _touch(self) noexcept:
        self._limit = None

    cdef int adopt(self, window_ns, now) except -1:
        if window_ns is not self.window_ns and window_ns != self.window_ns:
            self._touch()
            self._leaves_known = False
            self.window_ns = window_ns
            self.entries = _OrderedDict({now: self.total} if self.total else {})
        return 0

    cdef int expire(self, now) except -1:
        while self.leaves() is not None and self._leaves <= now:
            self._touch()
            self._leaves_known = False
            self.total -= self.entries.popitem(last=False)[1]
        return 0

    cdef object leaves(self):
        if not self._leaves_known:
            self._leaves = None
            if self.window_ns is not None and self.entries:
                self._leaves = next(iter(self.entries)) + self.window_ns
            self._leaves_known = True
        return self._leaves

    cdef object reset_after(self, now):
        leaves = self.leaves()
        return None if leaves is None else leaves - now

    cdef bint has_room_for(self, cost, limit, now, max_entries) except -1:
        if self._amount_of is not limit:
            self._amount, self._amount_of = _exact(limit.amount), limit
        if self.total + cost > self._amount:
            return False
        return limit.kind == "rate_limit" or now in self.entries or len(self.entries) < max_entries

    cdef int add(self, cost, now) except -1:
        self._touch()
        self.total += cost
        if self.window_ns is not None:
            if not self.entries:
                self._leaves_known = False
            self.entries[now] = self.entries.get(now, 0) + cost
        return 0

    cdef int take_back(self, cost, admitted) except -1:
        if self.window_ns is not None:
            if admitted not in self.entries:
                return 0
            self._touch()
            self._leaves_known = False
            self.entries[admitted] -= cost
            if not self.entries[admitted]:
                del self.entries[admitted]
        self._touch()
        self.total -= cost
        return 0

    cdef object keep(self, limit, next_cost, now):
        """The state as of `now`, kept for later looks."""
        leaves = self.leaves()
        state = _standing(limit, next_cost, self.total, None if leaves is None else leaves - now, self.as_of_ns)
        self._cost, self._used, self._remaining, self._exhausted = next_cost, self.total, state.remaining, state.exhausted
        self._limit = limit
        return state


cdef class Watches:
    """See `cra.reference.sliding_windows.Watches`."""

    cdef readonly tuple limits, unused
    cdef tuple _exhausted

    def __init__(self, limits):
        self.limits = tuple(limits)
        self.unused = tuple([_standing(limit, next_cost, 0, None) for _, limit, next_cost in self.limits])
        self._exhausted = _exhausted(self.unused)

    def exhausted(self, tuple states not None):
        """See `cra.reference.sliding_windows.Watches.exhausted`."""
        return self._exhausted if states is self.unused else _exhausted(states)


cdef tuple _exhausted(tuple states):
    cdef list found = None
    cdef Py_ssize_t index
    for index in range(len(states)):
        if states[index].exhausted:
            if found is None:
                found = []
            found.append(index)
    return () if found is None else tuple(found)


cdef class Reservation:
    """See `cra.reference.sliding_windows.Reservation`."""

    cdef list _held

    def __cinit__(self):
        self._held = []


cdef class SlidingWindows:
    """See `cra.reference.sliding_windows.SlidingWindows`."""

    cdef readonly object _lock, _windows
    cdef object _latest, _max_budget_entries

    def __init__(self, max_budget_entries=MAX_BUDGET_ENTRIES):
        self._max_budget_entries = max_budget_entries
        self._lock = _ReentrantLock()
        self._windows = _OrderedDict()

    def __len__(self):
        return len(self._windows)

    def peek(self, key, limit, now_ns, next_cost=None):
        """See `cra.reference.sliding_windows.SlidingWindows.peek`."""
        cdef bint exhausted
        state = self._look(key, limit, now_ns, next_cost, &exhausted)
        return _standing(limit, next_cost, 0, None) if state is None else state

    def states(self, Watches watches not None, now_ns):
        """See `cra.reference.sliding_windows.SlidingWindows.states`."""
        cdef bint exhausted
        return self.look_at(watches, now_ns, &exhausted)

    cdef tuple look_at(self, Watches watches, now_ns, bint *exhausted):
        """The states; and whether any of them may be exhausted."""
        cdef list states = None
        cdef Py_ssize_t index, count = len(watches.limits)
        cdef tuple watch
        exhausted[0] = len(watches._exhausted) > 0
        for index in range(count):
            watch = <tuple?>watches.limits[index]
            state = self._look(watch[0], watch[1], now_ns, watch[2], exhausted)
            if state is None:
                continue
            if count == 1:
                return (state,)
            if states is None:
                states = list(watches.unused)
            states[index] = state
        return watches.unused if states is None else tuple(states)

    cdef object _look(self, key, limit, now_ns, next_cost, bint *exhausted):
        """The state, None where nothing is counted."""
        cdef PyObject *found = PyDict_GetItemWithError(self._windows, key)
        if found is NULL:
            return None
        cdef _Window window = <_Window>found
        if window._limit is not limit or window._cost is not next_cost:
            return self._look_anew(key, limit, now_ns, next_cost, exhausted)
        now = self._advance(now_ns)
        if window._leaves is None:
            reset_after = None
        elif now < window._leaves:
            reset_after = window._leaves - now
        else:
            return self._look_anew(key, limit, now_ns, next_cost, exhausted)
        if window._exhausted:
            exhausted[0] = True
        return _LimitState(window._used, window._remaining, reset_after, window._exhausted, window.as_of_ns)

    cdef object _look_anew(self, key, limit, now_ns, next_cost, bint *exhausted):
        cdef _Window window
        with self._lock:
            now = self._advance(now_ns)
            window = self._windows.get(key)
            if window is None:
                return None
            window.expire(now)
            window.adopt(limit.window_ns, now)
            state = window.keep(limit, next_cost, now)
            if window._exhausted:
                exhausted[0] = True
            return state

    def lock_out(self, lock):
        """See `cra.reference.sliding_windows.SlidingWindows.lock_out`."""
        self._lock = lock

    def reserve(self, charges, now_ns):
        """See `cra.reference.sliding_windows.SlidingWindows.reserve`."""
        cdef Reservation reservation = Reservation()
        cdef _Window window
        with self._lock:
            now = self._advance(now_ns)
            self._sweep(now)
            for charge in charges:
                cost, limit, key = _exact(charge.cost), charge.limit, charge.key
                window = self._windows.get(key)
                if window is None:
                    window = _Window(limit.window_ns)
                window.expire(now)
                window.adopt(limit.window_ns, now)
                if not window.has_room_for(cost, limit, now, self._max_budget_entries):
                    if not charge.enforced:
                        continue
                    self._give_back(reservation)
                    raise _LimitReached(charge, window.reset_after(now) if cost <= limit.amount else None)
                if cost:
                    window.add(cost, now)
                    self._windows[key] = window
                    reservation._held.append((key, window, now, cost))
        return reservation

    def release(self, Reservation reservation not None):
        """See `cra.reference.sliding_windows.SlidingWindows.release`."""
        with self._lock:
            self._give_back(reservation)

    def know(self, key, limit, used, admitted_ns, as_of_ns):
        """See `cra.reference.sliding_windows.SlidingWindows.know`."""
        cdef _Window window
        with self._lock:
            window = _Window(limit.window_ns)
            window.as_of_ns = as_of_ns
            if used:
                window.add(used, admitted_ns)
            self._windows[key] = window

    def forget(self, keys):
        """See `cra.reference.sliding_windows.SlidingWindows.forget`."""
        with self._lock:
            for key in keys:
                self._windows.pop(key, None)

    cdef object _advance(self, now_ns):
        if self._latest is None or now_ns > self._latest:
            self._latest = now_ns
        return self._latest

    cdef int _give_back(self, Reservation reservation) except -1:
        cdef _Window window
        for key, window, admitted, cost in reservation._held:
            window.take_back(cost, admitted)
            if not window.total and self._windows.get(key) is window:
                del self._windows[key]
        reservation._held.clear()
        return 0

    cdef int _sweep(self, now) except -1:
        cdef _Window window
        cdef Py_ssize_t _, rounds = min(_SWEPT, <Py_ssize_t>len(self._windows))
        for _ in range(rounds):
            key = next(iter(self._windows))
            window = self._windows[key]
            window.expire(now)
            if window.total:
                self._windows.move_to_end(key)
            else:
                del self._windows[key]
        return 0
