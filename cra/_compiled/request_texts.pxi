# Timestamps and UUIDs of requests, twin of cra.reference.request_texts. RFC 3339, RFC 9562; PROTOCOL: Requests.

from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_DecodeASCII, PyUnicode_GET_LENGTH

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(str text)

cdef extern from *:
    """
    /* Days from 1970-01-01 to a date of the proleptic Gregorian calendar, years from 1 on; -1 million for a date that there is not.
     * Counted in years that begin with March, so that the leap day is the last of its year. */
    static int cra_days_of_date(int year, int month, int day)
    {
        static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        if (year < 1 || month < 1 || month > 12 || day < 1)
            return -1000000;
        int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        if (day > lengths[month - 1] + (month == 2 && leap))
            return -1000000;
        if (month <= 2)
            year--;
        int day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
        return 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
    }
    """
    int cra_days_of_date(int year, int month, int day) nogil

cdef enum:
    _NO_NUMBER = -1
    _NO_DATE = -1_000_000
    _DAY_SECONDS = 86400


cdef int _digits(const unsigned char *text, int count) noexcept nogil:
    """The number that `count` digits stand for."""
    cdef int value = 0, i
    for i in range(count):
        if not c'0' <= text[i] <= c'9':
            return _NO_NUMBER
        value = value * 10 + (text[i] - c'0')
    return value


def timestamp_ns(str text not None):
    """See `cra.reference.request_texts.timestamp_ns`."""
    cdef Py_ssize_t length = PyUnicode_GET_LENGTH(text), at = 19
    if length < 20 or not PyUnicode_IS_ASCII(text):
        return None
    cdef const unsigned char *t = <const unsigned char *>PyUnicode_1BYTE_DATA(text)
    if t[4] != c'-' or t[7] != c'-' or t[10] | 32 != c't' or t[13] != c':' or t[16] != c':':
        return None
    cdef int year = _digits(t, 4), month = _digits(t + 5, 2), day = _digits(t + 8, 2)
    cdef int hour = _digits(t + 11, 2), minute = _digits(t + 14, 2), second = _digits(t + 17, 2)
    if year < 0 or month < 0 or day < 0 or not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 60:
        return None
    cdef int days = cra_days_of_date(year, month, day)
    if days == _NO_DATE:
        return None
    cdef long long fraction = 0, unit = 100_000_000
    if t[at] == c'.':
        at += 1
        if at == length or not c'0' <= t[at] <= c'9':
            return None
        while at < length and c'0' <= t[at] <= c'9':
            fraction += (t[at] - c'0') * unit
            unit //= 10
            at += 1
    cdef long long seconds = <long long>days * _DAY_SECONDS + hour * 3600 + minute * 60 + second
    cdef int offset_hours, offset_minutes
    if length == at + 6 and (t[at] == c'+' or t[at] == c'-') and t[at + 3] == c':':
        offset_hours, offset_minutes = _digits(t + at + 1, 2), _digits(t + at + 4, 2)
        if not 0 <= offset_hours <= 23 or not 0 <= offset_minutes <= 59:
            return None
        seconds -= (offset_hours * 3600 + offset_minutes * 60) * (-1 if t[at] == c'-' else 1)
    elif length != at + 1 or t[at] | 32 != c'z':
        return None
    if second == 60 and seconds % _DAY_SECONDS:
        return None
    if -9_000_000_000 < seconds < 9_000_000_000:
        return seconds * 1_000_000_000 + fraction
    return int(seconds) * 1_000_000_000 + fraction


def lower_uuid(str text not None):
    """See `cra.reference.request_texts.lower_uuid`."""
    if PyUnicode_GET_LENGTH(text) != 36 or not PyUnicode_IS_ASCII(text):
        return None
    cdef const unsigned char *t = <const unsigned char *>PyUnicode_1BYTE_DATA(text)
    cdef char[36] lower
    cdef bint changed = False
    cdef int i
    for i in range(36):
        lower[i] = t[i]
        if i == 8 or i == 13 or i == 18 or i == 23:
            if t[i] != c'-':
                return None
        elif c'A' <= t[i] <= c'F':
            lower[i] = t[i] | 32
            changed = True
        elif not (c'0' <= t[i] <= c'9' or c'a' <= t[i] <= c'f'):
            return None
    return PyUnicode_DecodeASCII(lower, 36, NULL) if changed else text
