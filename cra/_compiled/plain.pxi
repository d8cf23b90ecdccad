# Private copies of JSON values in the exact plain types; whatever is unusual is left to cra.strictjson, which knows how to refuse it.

from cpython.dict cimport PyDict_Copy, PyDict_Next, PyDict_SetItem
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_GetSlice, PyList_SetItem
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND, PyUnicode_READ
from libc.math cimport isfinite

from cra.strictjson import MAX_DEPTH as _MAX_DEPTH, MAX_VALUES as _MAX_VALUES, plain_copy as _strict_copy

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)

cdef object _UNUSUAL = object()
cdef int _DEEPEST = _MAX_DEPTH
cdef long long _MOST = _MAX_VALUES


def plain_copy(value, str at not None=""):
    """See `cra.strictjson.plain_copy`."""
    cdef long long room = _MOST
    copied = _copy_value(value, _DEEPEST, &room)
    return _strict_copy(value, at) if copied is _UNUSUAL else copied


cdef object _copy_value(object value, int levels, long long *room):
    cdef type kind = type(value)
    cdef int overflow = 0
    if kind is str:
        return value if _is_whole_text(value) else _UNUSUAL
    if value is None or kind is bool:
        return value
    if kind is int:
        PyLong_AsLongLongAndOverflow(value, &overflow)
        return _UNUSUAL if overflow else value
    if kind is float:
        return value if isfinite(<double>value) else _UNUSUAL
    if kind is dict:
        return _plain_object(PyDict_Copy(value), levels, room)
    if kind is list:
        return _plain_array(PyList_GetSlice(value, 0, PyList_GET_SIZE(value)), levels, room)
    return _UNUSUAL


cdef object _plain_object(dict members, int levels, long long *room):
    """The members, which nobody else holds, each in the place of what it is a copy of."""
    cdef PyObject *key
    cdef PyObject *member
    cdef Py_ssize_t position = 0
    room[0] -= len(members)
    if not levels or room[0] < 0:
        return _UNUSUAL
    while PyDict_Next(members, &position, &key, &member):
        if type(<object>key) is not str or not _is_whole_text(<object>key):
            return _UNUSUAL
        copied = _copy_value(<object>member, levels - 1, room)
        if copied is _UNUSUAL:
            return _UNUSUAL
        if <PyObject *>copied is not member:
            PyDict_SetItem(members, <object>key, copied)  # of a key that is there: what is walked over stays in order
    return members


cdef object _plain_array(list items, int levels, long long *room):
    cdef Py_ssize_t index
    room[0] -= PyList_GET_SIZE(items)
    if not levels or room[0] < 0:
        return _UNUSUAL
    for index in range(PyList_GET_SIZE(items)):
        copied = _copy_value(<object>PyList_GET_ITEM(items, index), levels - 1, room)
        if copied is _UNUSUAL:
            return _UNUSUAL
        Py_INCREF(copied)
        PyList_SetItem(items, index, copied)
    return items


cdef bint _is_whole_text(str text):
    """Whether there is no surrogate in it: a str has no pairs of them, each stands alone."""
    cdef Py_ssize_t index
    cdef int kind
    cdef void *data
    if PyUnicode_IS_ASCII(text) or PyUnicode_KIND(text) == 1:
        return True
    kind, data = PyUnicode_KIND(text), PyUnicode_DATA(text)
    for index in range(PyUnicode_GET_LENGTH(text)):
        if 0xD800 <= PyUnicode_READ(kind, data, index) <= 0xDFFF:
            return False
    return True
