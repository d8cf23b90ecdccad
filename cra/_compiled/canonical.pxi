# Canonical JSON, written into one buffer; the structure and the errors of cra.reference.canonical. PROTOCOL: Canonical JSON.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Keys
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_Compare, PyUnicode_DecodeUTF8
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset, strchr, strlen

from cra.errors import InvalidTraceEvent
from cra.pointer import pointer
from cra.strictjson import MAX_DEPTH, MAX_INTEGER

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object)
    char *PyOS_double_to_string(double value, char format, int precision, int flags, int *kind) except NULL
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    int Py_DTSF_ADD_DOT_0

cdef extern from "json.h" nogil:
    char *cra_put_escaped(char *out, const char *text, size_t length)
    char *cra_put_integer(char *out, int64_t value)
    char *cra_put_unsigned(char *out, uint64_t value)
    int CRA_INTEGER_ROOM

cdef Py_ssize_t _LEVELS = MAX_DEPTH
cdef object _MAX_INTEGER = MAX_INTEGER
cdef object _LOWEST = -MAX_INTEGER
cdef str _TOO_DEEP = f"the value is nested deeper than {MAX_DEPTH} levels"

# Text in the making: in the room that its owner gives it, then on the heap.
cdef struct Writer:
    char *start
    size_t length
    size_t room
    char *heap


cdef inline void start_writing(Writer *w, char *room, size_t size) noexcept:
    w.start, w.length, w.room, w.heap = room, 0, size, NULL


cdef inline void stop_writing(Writer *w) noexcept:
    PyMem_Free(w.heap)


cdef inline char *room_for(Writer *w, size_t more) except NULL:
    """Where to write at most `more` bytes; the writer's length is the caller's to move."""
    if w.room - w.length < more:
        _grow(w, more)
    return w.start + w.length


cdef int _grow(Writer *w, size_t more) except -1:
    cdef size_t room = 2 * w.room + more
    cdef char *heap = <char *>PyMem_Realloc(w.heap, room)
    if heap is NULL:
        raise MemoryError
    if w.heap is NULL:
        memcpy(heap, w.start, w.length)
    w.start = w.heap = heap
    w.room = room
    return 0


cdef inline int put_bytes(Writer *w, const char *data, size_t length) except -1:
    memcpy(room_for(w, length), data, length)
    w.length += length
    return 0


class _Refused(Exception):
    """A value without a canonical form; `steps` leads to it, innermost first."""

    def __init__(self, message):
        super().__init__(message)
        self.message = message
        self.steps = []


cdef int put_value(Writer *w, object value, Py_ssize_t levels) except -1:
    """Canonical JSON of any value. Raises `_Refused`."""
    cdef type kind = type(value)
    if kind is str:
        return put_string(w, <str>value)
    if kind is bool:
        return put_bytes(w, b"true", 4) if value else put_bytes(w, b"false", 5)
    if kind is int:
        return _put_int(w, value)
    if value is None:
        return put_bytes(w, b"null", 4)
    if kind is float:
        return _put_float(w, <double>value)
    if kind is dict:
        return _put_object(w, <dict>value, levels)
    if kind is list:
        return _put_array(w, <list>value, levels)
    return put_value(w, _plain(value), levels)


cdef object _plain(object value):
    """The plain value of a subclass instance, whatever the subclass prints or compares as."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list):
        return list(value)
    raise _Refused(
        f"a value of type {type(value).__name__} has no canonical JSON; use dict, list, str, int, float, bool or None"
    )


cdef int put_string(Writer *w, str value) except -1:
    cdef bytes encoded
    if PyUnicode_IS_COMPACT_ASCII(value):
        return _put_quoted(w, <const char *>PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value))
    try:
        encoded = PyUnicode_AsUTF8String(value)
    except UnicodeEncodeError:
        raise _Refused("a string holds a lone surrogate, which is no character; replace it") from None
    return _put_quoted(w, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))


cdef int _put_quoted(Writer *w, const char *text, size_t length) except -1:
    # Escapes are rare: room is made piece by piece, since six times the length of a long text would be a waste.
    cdef size_t piece
    cdef char *out = room_for(w, 1)
    out[0] = c'"'
    w.length += 1
    while length > 0:
        piece = min(length, <size_t>4096)
        out = room_for(w, 6 * piece)
        w.length = cra_put_escaped(out, text, piece) - w.start
        text += piece
        length -= piece
    out = room_for(w, 1)
    out[0] = c'"'
    w.length += 1
    return 0


cdef int _put_int(Writer *w, object value) except -1:
    cdef int overflow = 0
    cdef int64_t small = PyLong_AsLongLongAndOverflow(value, &overflow)
    cdef char *out = room_for(w, CRA_INTEGER_ROOM + 1)
    if overflow == 0:
        out = cra_put_integer(out, small)
    elif not _LOWEST <= value <= _MAX_INTEGER:
        raise _Refused("an integer is outside ±(2^64−1); pass it as a string")
    elif overflow > 0:
        out = cra_put_unsigned(out, <uint64_t>value)
    else:
        out[0] = c"-"
        out = cra_put_unsigned(out + 1, <uint64_t>(-value))
    w.length = out - w.start
    return 0


cdef int _put_float(Writer *w, double value) except -1:
    """The shortest decimal that reads back as `value`: `repr`, with its exponent written out."""
    cdef char *text
    if not isfinite(value):
        raise _Refused("NaN and infinities are no JSON numbers; leave them out or pass null")
    if value == 0:
        return put_bytes(w, b"0", 1)
    text = PyOS_double_to_string(value, c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
    try:
        return _put_repr(w, text, strlen(text))
    finally:
        PyMem_Free(text)


cdef int _put_repr(Writer *w, const char *text, size_t length) except -1:
    cdef const char *exponent = strchr(text, c"e")
    cdef const char *dot
    cdef char digits[32]
    cdef char *out
    cdef Py_ssize_t count = 0, point, power
    if exponent is NULL:
        if length > 2 and text[length - 2] == c"." and text[length - 1] == c"0":
            length -= 2
        return put_bytes(w, text, length)
    if text[0] == c"-":
        put_bytes(w, b"-", 1)
        text += 1
    dot = strchr(text, c".")
    point = (dot if dot is not NULL else exponent) - text
    while text < exponent:
        if text[0] != c".":
            digits[count] = text[0]
            count += 1
        text += 1
    power = int(exponent[1:])
    point += power
    # A double has at most 17 digits and an exponent within ±324.
    out = room_for(w, 400)
    if point <= 0:
        memcpy(out, b"0.", 2)
        memset(out + 2, c"0", -point)
        memcpy(out + 2 - point, digits, count)
        w.length += 2 - point + count
        return 0
    # repr uses an exponent from 1e16 on, with at most 17 digits: here the digits end before the point.
    memset(out, c"0", point)
    memcpy(out, digits, count)
    w.length += max(point, count)
    return 0


cdef int _put_object(Writer *w, dict value, Py_ssize_t levels) except -1:
    cdef list keys
    cdef Py_ssize_t index
    cdef str key = None
    if levels == 0:
        raise _Refused(_TOO_DEEP)
    keys = PyDict_Keys(value)
    for index in range(PyList_GET_SIZE(keys)):
        if type(keys[index]) is not str:
            value = _plain_keys(value)
            keys = PyDict_Keys(value)
            break
    for index in range(1, PyList_GET_SIZE(keys)):
        if PyUnicode_Compare(<object>PyList_GET_ITEM(keys, index - 1), <object>PyList_GET_ITEM(keys, index)) > 0:
            keys.sort()  # str compares by code point
            break
    put_bytes(w, b"{", 1)
    try:
        for index in range(PyList_GET_SIZE(keys)):
            key = keys[index]
            if index:
                put_bytes(w, b",", 1)
            put_string(w, key)
            put_bytes(w, b":", 1)
            put_value(w, value[key], levels - 1)
    except _Refused as refused:
        refused.steps.append(key)
        raise
    return put_bytes(w, b"}", 1)


cdef dict _plain_keys(dict value):
    cdef dict plain = {}
    for key, member in value.items():
        if not isinstance(key, str):
            raise _Refused(f"an object has a key of type {type(key).__name__}; keys are strings")
        plain[str.__str__(key)] = member
    if len(plain) < len(value):
        raise _Refused("an object has two keys that are the same string")
    return plain


cdef int _put_array(Writer *w, list value, Py_ssize_t levels) except -1:
    cdef Py_ssize_t index = 0
    if levels == 0:
        raise _Refused(_TOO_DEEP)
    put_bytes(w, b"[", 1)
    try:
        while index < PyList_GET_SIZE(value):  # a subclass inside may change the list
            if index:
                put_bytes(w, b",", 1)
            put_value(w, value[index], levels - 1)
            index += 1
    except _Refused as refused:
        refused.steps.append(index)
        raise
    return put_bytes(w, b"]", 1)


cdef int put_canonical(Writer *w, object value, Py_ssize_t levels, str root) except -1:
    """Canonical JSON of any value. Raises `InvalidTraceEvent`."""
    try:
        return put_value(w, value, levels)
    except _Refused as refused:
        path = pointer(root, *reversed(refused.steps)).encode(errors="replace").decode()
        raise InvalidTraceEvent(refused.message, path=path or None) from None


def canonical_json(value):
    """The canonical JSON of `value`, as UTF-8; see `cra.reference.canonical.canonical_json`."""
    cdef char room[1024]
    cdef Writer w
    start_writing(&w, room, sizeof(room))
    try:
        put_canonical(&w, value, _LEVELS, "")
        return PyBytes_FromStringAndSize(w.start, w.length)
    finally:
        stop_writing(&w)


def canonical_text(value, Py_ssize_t levels=_LEVELS, str root=""):
    """`canonical_json` as a str; see `cra.reference.canonical.canonical_text`."""
    cdef char room[1024]
    cdef Writer w
    start_writing(&w, room, sizeof(room))
    try:
        put_canonical(&w, value, levels, root)
        return PyUnicode_DecodeUTF8(w.start, w.length, NULL)
    finally:
        stop_writing(&w)
