# UUIDv7 identifiers; the twins of what cra.ids has. The generator is in _kernel/ids.c. PROTOCOL: Event.

from cpython.exc cimport PyErr_SetFromErrno as _raise_errno
from cpython.long cimport PyLong_AsUnsignedLongLongMask as _low_64_bits
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeASCII
from libc.stdint cimport uint8_t, uint64_t

cdef extern from "ids.h" nogil:
    bint cra_ids_draw(uint64_t unix_ms, uint8_t *uuid)
    bint cra_ids_parse(const char *text, uint8_t *uuid)

cdef extern from "writer.h" nogil:
    void cra_put_number(char *out, uint64_t high, uint64_t low)

cdef extern from "Python.h":
    object _PyLong_FromByteArray(const unsigned char *data, size_t length, int little_endian, int is_signed)

cdef enum:
    _UUID_LENGTH = 36


cdef int _draw_uuid7(uint64_t unix_ms, uint8_t *uuid) except -1:
    """A fresh UUIDv7 as 16 bytes, for whoever encodes a record in place. Raises `OSError`."""
    if not cra_ids_draw(unix_ms, uuid):
        _raise_errno(OSError)
    return 0


cdef inline object _uuid_number(const uint8_t *uuid):
    """The number that 16 bytes are, big endian."""
    return _PyLong_FromByteArray(uuid, 16, False, False)


cdef class RandomIds:
    """See `cra.ids.RandomIds`."""

    def draw(self, unix_ms):
        cdef uint8_t uuid[16]
        _draw_uuid7(_low_64_bits(unix_ms), uuid)
        return _uuid_number(uuid)


def format_uuid(value):
    """A 128-bit integer in the 8-4-4-4-12 lower-case form; see `cra.ids.format_uuid`."""
    cdef char text[_UUID_LENGTH]
    cdef uint64_t high = value >> 64  # raises OverflowError for what has no place in 128 bits
    cra_put_number(text, high, _low_64_bits(value))
    return PyUnicode_DecodeASCII(text, _UUID_LENGTH, NULL)


def parse_uuid(text not None):
    """The number of a UUID in the form that `format_uuid` writes; see `cra.ids.parse_uuid`."""
    cdef Py_ssize_t length
    cdef uint8_t uuid[16]
    cdef const char *characters = NULL
    if not isinstance(text, str):
        raise TypeError(f"a UUID is a str, not {type(text).__name__}")
    try:
        characters = PyUnicode_AsUTF8AndSize(text, &length)
    except UnicodeEncodeError:
        length = 0  # a lone surrogate
    if length != _UUID_LENGTH or not cra_ids_parse(characters, uuid):
        raise ValueError("not a UUID in lower case")
    return _uuid_number(uuid)
