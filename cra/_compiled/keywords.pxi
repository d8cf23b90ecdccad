# Keywords in one pass, by _kernel/keywords.c; what they come to is that of cra.reference.keywords. PROTOCOL: Context.

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_AsEncodedString
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cra.reference.keywords import MAX_SELECTIONS as _MAX_SELECTIONS

cdef Py_ssize_t MAX_SELECTIONS = _MAX_SELECTIONS

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(str text)

cdef extern from "keywords.h" nogil:
    ctypedef struct cra_keyword:
        const uint8_t *bytes
        size_t length
        uint32_t trigger
    ctypedef struct cra_keywords
    const size_t CRA_KEYWORDS_DENSE
    cra_keywords *cra_keywords_new(const cra_keyword *words, size_t count, uint32_t triggers, size_t dense_bytes)
    void cra_keywords_free(cra_keywords *words)
    bint cra_keywords_find(cra_keywords *words, const uint8_t *text, size_t length, uint64_t *found)
    size_t cra_keywords_size(const cra_keywords *words)


cdef class KeywordMatcher:
    """See `cra.reference.keywords.KeywordMatcher`. `dense_bytes` bounds the table of the states that are used most."""

    cdef cra_keywords *_set
    cdef list _triggers  # what the bits of a search stand for, ascending

    def __cinit__(self, words, *, size_t dense_bytes=CRA_KEYWORDS_DENSE):
        cdef list encoded = []
        for word, trigger in words:
            if not word:
                raise ValueError("a keyword has to have a character")
            if (<str?>word).casefold() == word:  # any other word occurs in no casefolded text
                encoded.append((PyUnicode_AsEncodedString(word, "utf-8", "surrogatepass"), trigger))
        self._triggers = sorted({trigger for _, trigger in encoded})
        cdef dict ranks = {trigger: rank for rank, trigger in enumerate(self._triggers)}
        cdef size_t count = len(encoded), i = 0
        cdef cra_keyword *given = <cra_keyword *>PyMem_Malloc((count + 1) * sizeof(cra_keyword))
        if given is NULL:
            raise MemoryError
        try:
            for data, trigger in encoded:
                given[i].bytes = <const uint8_t *><const char *><bytes>data
                given[i].length = len(<bytes>data)
                given[i].trigger = ranks[trigger]
                i += 1
            self._set = cra_keywords_new(given, count, len(self._triggers), dense_bytes)
        finally:
            PyMem_Free(given)
        if self._set is NULL:
            raise MemoryError

    def __dealloc__(self):
        cra_keywords_free(self._set)

    def __sizeof__(self):
        return object.__sizeof__(self) + cra_keywords_size(self._set)

    cpdef tuple find(self, str goal):
        """See `cra.reference.keywords.KeywordMatcher.find`."""
        # Not a buffer of the object: making the tuple can run the collector, which can let another thread search.
        cdef uint64_t[8] few
        cdef uint64_t *found = few
        cdef Py_ssize_t words = len(self._triggers) // 64 + 1
        if goal is None:
            raise TypeError("a goal has to be a string")
        if not self._triggers:
            return ()
        if words > 8:
            found = <uint64_t *>PyMem_Malloc(words * sizeof(uint64_t))
            if found is NULL:
                raise MemoryError
        try:
            return self._told(found) if self._search(goal, found) else ()
        finally:
            if found is not few:
                PyMem_Free(found)

    cdef bint _search(self, str goal, uint64_t *found) except -1:
        cdef bytes encoded
        if PyUnicode_IS_ASCII(goal):
            return cra_keywords_find(
                self._set, <const uint8_t *>PyUnicode_DATA(goal), PyUnicode_GET_LENGTH(goal), found
            )
        encoded = PyUnicode_AsEncodedString(goal.casefold(), "utf-8", "surrogatepass")
        return cra_keywords_find(self._set, <const uint8_t *><const char *>encoded, len(encoded), found)

    cdef tuple _told(self, const uint64_t *found):
        cdef list told = []
        cdef Py_ssize_t rank
        for rank in range(len(self._triggers)):
            if found[rank >> 6] >> (rank & 63) & 1:
                told.append(self._triggers[rank])
        return tuple(told)


cdef class GoalSelector:
    """See `cra.reference.keywords.GoalSelector`."""

    cdef KeywordMatcher _matcher
    cdef object _choose
    cdef dict _known

    def __init__(self, KeywordMatcher matcher not None, choose):
        self._matcher = matcher
        self._choose = choose
        self._known = {}

    cpdef tuple select(self, str goal):
        """See `cra.reference.keywords.GoalSelector.select`."""
        cdef tuple found = self._matcher.find(goal)
        selection = self._known.get(found)
        if selection is None:
            selection = self._choose(found)
            if len(self._known) >= MAX_SELECTIONS:
                self._known.clear()
            self._known[found] = selection
        return <tuple?>selection
