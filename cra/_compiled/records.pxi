# EVENTS records, encoded in one pass where everything is as the runtime makes it; the reference does the rest, and all errors.
# docs/formats/records.md has the layout.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cra.reference.records import MAX_PAYLOAD_BYTES as _MOST_PAYLOAD
from cra.reference.records import encode_events as _encode_events
from cra.reference.records import type_bytes as _type_bytes

cdef Py_ssize_t _MAX_PAYLOAD_BYTES = _MOST_PAYLOAD
cdef enum:
    _EVENTS_KIND = 1
    _DEFINES_FLAG = 1
    _HAS_SPAN_FLAG = 2
    _EVENTS_BYTES = 36
    _EVENT_BYTES = 6


def encode_events(session, base, time_ns, events, *, span=None, define=None):
    """See `cra.reference.records.encode_events`."""
    record = None
    if PyTuple_CheckExact(events) and PyLong_CheckExact(base) and (span is None or PyLong_CheckExact(span)):
        try:
            record = _encode_plain(session, base, time_ns, <tuple>events, span, define)
        except (OverflowError, TypeError, ValueError):
            pass
    return _encode_events(session, base, time_ns, events, span=span, define=define) if record is None else record


cdef bytes _encode_plain(uint64_t session, base, int64_t time_ns, tuple events, span, define):
    """The record, or None where something is unusual."""
    cdef Py_ssize_t count = PyTuple_GET_SIZE(events), index, size, length = _EVENTS_BYTES
    cdef list kinds = []
    cdef bytes kind, payload
    cdef const char *text
    if count > 0xFFFF:
        return None
    for index in range(count):
        event = <object>PyTuple_GET_ITEM(events, index)
        if not PyTuple_CheckExact(event) or PyTuple_GET_SIZE(event) != 2:
            return None
        if not PyUnicode_CheckExact(<object>PyTuple_GET_ITEM(event, 0)) or not PyBytes_CheckExact(<object>PyTuple_GET_ITEM(event, 1)):
            return None
        payload = <bytes>PyTuple_GET_ITEM(event, 1)
        size = PyBytes_GET_SIZE(payload)
        text = PyBytes_AS_STRING(payload)
        if size < 2 or size > _MAX_PAYLOAD_BYTES or text[0] != c"{" or text[size - 1] != c"}":
            return None
        kind = _type_bytes(<object>PyTuple_GET_ITEM(event, 0))
        if PyBytes_GET_SIZE(kind) > 0xFFFF:
            return None
        kinds.append(kind)
        length += _EVENT_BYTES + PyBytes_GET_SIZE(kind) + size
    if define is not None:
        if not PyTuple_CheckExact(define) or PyTuple_GET_SIZE(define) != 3:
            return None
        length += 48
    if span is not None:
        length += 16
    cdef bytes record = PyBytes_FromStringAndSize(NULL, length)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(record)
    out[0] = _EVENTS_KIND
    out[1] = (define is not None) * _DEFINES_FLAG + (span is not None) * _HAS_SPAN_FLAG
    cdef uint16_t short_number = <uint16_t>count
    memcpy(out + 2, &short_number, 2)
    memcpy(out + 4, &session, 8)
    memcpy(out + 12, &time_ns, 8)
    _put_uuid_number(out + 20, base)
    out += _EVENTS_BYTES
    if define is not None:
        for index in range(3):
            _put_uuid_text(out, <object>PyTuple_GET_ITEM(define, index))
            out += 16
    if span is not None:
        _put_uuid_number(out, span)
        out += 16
    cdef uint32_t number
    for index in range(count):
        kind = <bytes>kinds[index]
        payload = <bytes>PyTuple_GET_ITEM(<object>PyTuple_GET_ITEM(events, index), 1)
        short_number = <uint16_t>PyBytes_GET_SIZE(kind)
        number = <uint32_t>PyBytes_GET_SIZE(payload)
        memcpy(out, &short_number, 2)
        memcpy(out + 2, &number, 4)
        out += _EVENT_BYTES
        memcpy(out, PyBytes_AS_STRING(kind), short_number)
        out += short_number
        memcpy(out, PyBytes_AS_STRING(payload), number)
        out += number
    return record


cdef int _put_uuid_number(uint8_t *out, value) except -1:
    """A 128-bit number, big endian. Raises `OverflowError` for one that is not."""
    cdef uint64_t high = value >> 64, low = _low_64_bits(value)
    cdef int place
    for place in range(8):
        out[place] = <uint8_t>(high >> (56 - 8 * place))
        out[8 + place] = <uint8_t>(low >> (56 - 8 * place))
    return 0


cdef int _put_uuid_text(uint8_t *out, text) except -1:
    """A UUID in lower case. Raises `ValueError` for what is none, `TypeError` for no str."""
    cdef Py_ssize_t length
    cdef const char *characters = PyUnicode_AsUTF8AndSize(text, &length)
    if length != _UUID_LENGTH or not cra_ids_parse(characters, out):
        raise ValueError("not a UUID in lower case")
    return 0
