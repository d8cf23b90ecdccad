# Globs, character by character; the algorithm of cra.reference.glob. PROTOCOL: Globs.

from cpython.unicode cimport PyUnicode_READ, PyUnicode_DATA, PyUnicode_KIND, PyUnicode_GET_LENGTH


def glob_match(pattern, text):
    """Whether `pattern` matches the whole of `text`; see `cra.reference.glob.glob_match`."""
    if not (isinstance(pattern, str) and isinstance(text, str)):
        raise TypeError(f"a glob and a text are strings, not {type(pattern).__name__} and {type(text).__name__}")
    cdef Py_ssize_t p = 0, t = 0, star = -1, resume = 0
    cdef Py_ssize_t pattern_length = PyUnicode_GET_LENGTH(pattern), text_length = PyUnicode_GET_LENGTH(text)
    cdef int pattern_kind = PyUnicode_KIND(pattern), text_kind = PyUnicode_KIND(text)
    cdef void *pattern_data = PyUnicode_DATA(pattern)
    cdef void *text_data = PyUnicode_DATA(text)
    cdef Py_UCS4 wanted
    while t < text_length:
        wanted = PyUnicode_READ(pattern_kind, pattern_data, p) if p < pattern_length else 0
        if p < pattern_length and wanted == u"*":
            star, resume = p, t
            p += 1
        elif p < pattern_length and (wanted == u"?" or wanted == PyUnicode_READ(text_kind, text_data, t)):
            p += 1
            t += 1
        elif star >= 0:
            resume += 1
            p, t = star + 1, resume
        else:
            return False
    while p < pattern_length and PyUnicode_READ(pattern_kind, pattern_data, p) == u"*":
        p += 1
    return p == pattern_length
