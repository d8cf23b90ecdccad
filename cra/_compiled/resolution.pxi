# The fields of a resolution, twin of cra.reference.resolution_core.
#
# Not tracked by the cycle collector: a header, a plan, a ruling, tuples of numbers and limit states, an ask and what was made of
# them never refer to a resolution.

from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

cimport cython

cdef extern from "json.h" nogil:
    char *cra_put_uuid(char *out, const uint8_t *uuid)
    char *cra_put_timestamp(char *out, int64_t ns)

cdef extern from *:
    """
    static inline PyObject *cra_allocate(PyTypeObject *type, PyObject *no_arguments)
    {
        return type->tp_new(type, no_arguments, NULL);
    }

    /* Since 3.9 every class that is written in Python is tracked, whether it adds anything to its base or not. One that does not
     * is as its base again. */
    static void cra_leave_untracked(PyTypeObject *type)
    {
        PyTypeObject *base = type->tp_base;
        if (type->tp_basicsize == base->tp_basicsize && !PyType_IS_GC(base) && !type->tp_dictoffset
            && !type->tp_weaklistoffset) {
            type->tp_flags &= ~Py_TPFLAGS_HAVE_GC;
            type->tp_traverse = NULL;
            type->tp_clear = NULL;
            type->tp_free = PyObject_Free;
        }
    }
    """
    object cra_allocate(type cls, tuple no_arguments)
    void cra_leave_untracked(type cls)

cdef enum:
    _REQUEST_OFFSET = 1
    _RESOLUTION_OFFSET = 2


@cython.no_gc
cdef class ResolutionCore:
    """See `cra.reference.resolution_core.ResolutionCore`."""

    cdef readonly object header, plan, ruling, given_request_id, asked
    cdef readonly tuple injected, limit_states
    cdef readonly int64_t time_ns, expires_ns, ttl_seconds
    cdef uint8_t[16] _base  # big endian
    cdef dict _cache

    def __init__(
        self,
        *,
        header,
        base,
        request_id,
        int64_t time_ns,
        int64_t expires_ns,
        int64_t ttl_seconds,
        plan,
        ruling,
        tuple injected not None,
        tuple limit_states not None,
        ask,
    ):
        cdef uint8_t drawn[16]
        _put_uuid_number(drawn, base)
        _fill(
            self, header, drawn, request_id, time_ns, expires_ns, ttl_seconds, plan, ruling,
            injected, limit_states, ask,
        )

    @classmethod
    def restore(
        cls, header, base, request_id, time_ns, expires_ns, ttl_seconds, plan, ruling, injected, limit_states, asked
    ):
        """See `cra.reference.resolution_core.ResolutionCore.restore`."""
        cdef uint8_t drawn[16]
        _put_uuid_number(drawn, base)
        return new_resolution(
            cls, header, drawn, request_id, time_ns, expires_ns, ttl_seconds, plan, ruling,
            injected, limit_states, asked,
        )

    def fields(self):
        """See `cra.reference.resolution_core.ResolutionCore.fields`."""
        return (
            self.header, self.base, self.given_request_id, self.time_ns, self.expires_ns, self.ttl_seconds, self.plan,
            self.ruling, self.injected, self.limit_states, self.asked,
        )

    def __setattr__(self, name, value):
        raise AttributeError(f"a resolution cannot be changed: {name}")

    def __delattr__(self, name):
        raise AttributeError(f"a resolution cannot be changed: {name}")

    @property
    def base(self):
        return int.from_bytes((<char *>self._base)[:16], "big")

    @property
    def resolution_id(self):
        return self._id(_RESOLUTION_OFFSET)

    @property
    def request_id(self):
        """The request's own, or the one that was made for it."""
        return self._id(_REQUEST_OFFSET) if self.given_request_id is None else self.given_request_id

    @property
    def timestamp(self):
        """When it was made, as TRACE writes it."""
        cdef char[32] text
        return PyUnicode_DecodeASCII(text, cra_put_timestamp(text, self.time_ns) - text, NULL)

    cdef str _id(self, uint8_t offset):
        """The UUID of the draw plus a small offset."""
        cdef uint8_t[16] derived
        cdef char[40] text
        cdef unsigned int carried = offset
        cdef int place = 15
        memcpy(derived, self._base, 16)
        while carried and place >= 0:
            carried += derived[place]
            derived[place] = carried & 255
            carried >>= 8
            place -= 1
        return PyUnicode_DecodeASCII(text, cra_put_uuid(text, derived) - text, NULL)

    def kept(self, name, make):
        """See `cra.reference.resolution_core.ResolutionCore.kept`."""
        if self._cache is None:
            self._cache = {}
        cdef dict cache = self._cache
        if name not in cache:
            cache[name] = make()
        return cache[name]


def untracked(type cls not None):
    """See `cra.reference.resolution_core.untracked`."""
    if not issubclass(cls, ResolutionCore):
        raise TypeError("only a resolution is known to be in no cycle")
    cra_leave_untracked(cls)
    return cls


cdef int _fill(
    ResolutionCore made,
    object header,
    const uint8_t *base,
    object request_id,
    int64_t time_ns,
    int64_t expires_ns,
    int64_t ttl_seconds,
    object plan,
    object ruling,
    tuple injected,
    tuple limit_states,
    object asked,
) except -1:
    made.header = header
    memcpy(made._base, base, 16)
    made.given_request_id = request_id
    made.time_ns = time_ns
    made.expires_ns = expires_ns
    made.ttl_seconds = ttl_seconds
    made.plan = plan
    made.ruling = ruling
    made.injected = injected
    made.limit_states = limit_states
    made.asked = asked
    return 0


cdef ResolutionCore new_resolution(
    type cls,
    object header,
    const uint8_t *base,
    object request_id,
    int64_t time_ns,
    int64_t expires_ns,
    int64_t ttl_seconds,
    object plan,
    object ruling,
    tuple injected,
    tuple limit_states,
    object asked,
):
    """A `cls`, which has no fields of its own beside those of a `ResolutionCore`, made without calling anything of Python's."""
    cdef ResolutionCore made = <ResolutionCore?>cra_allocate(cls, ())
    _fill(
        made, header, base, request_id, time_ns, expires_ns, ttl_seconds, plan, ruling, injected, limit_states, asked,
    )
    return made
