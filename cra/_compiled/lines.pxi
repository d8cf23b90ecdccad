# Verification of a trace file: the kernel reads, hashes and links what is plainly right, without the GIL and on every processor; each
# other line goes, in its place, to the exact verifier. The results of cra.reference.lines. PROTOCOL: Verification.

import os

from cra.reference import lines as _reference_lines

from cpython.exc cimport PyErr_CheckSignals

cdef extern from "links.h" nogil:
    ctypedef struct cra_chains:
        pass
    cra_chains *cra_chains_new(uint64_t seed)
    void cra_chains_free(cra_chains *chains)
    cra_chain *cra_chains_find(cra_chains *chains, const char *session_id)
    int64_t cra_chains_take(cra_chains *chains, const cra_line *lines, size_t count)
    cra_chain *cra_chains_next_changed(cra_chains *chains)

cdef extern from "scan.h" nogil:
    ctypedef struct cra_chunk:
        size_t count
        cra_line *lines
        int error
    ctypedef struct cra_scan:
        pass
    cra_scan *cra_scan_start(int descriptor, cra_dialect dialect, unsigned threads, size_t chunk_size, size_t max_line)
    const cra_chunk *cra_scan_next(cra_scan *scan)
    void cra_scan_release(cra_scan *scan)
    void cra_scan_stop(cra_scan *scan)

cdef object _reference_feed_lines = _reference_lines.feed_lines
cdef size_t _MAX_LINE = _reference_lines.MAX_LINE_BYTES
cdef size_t _CHUNK = 1024 * 1024
cdef int _MAX_THREADS = 16


def feed_lines(file, verifier):
    """Feed every line of a file to the verifier; see `cra.reference.lines.feed_lines`."""
    chunks = os.fstat(file.fileno()).st_size // _CHUNK
    _feed_lines(file, verifier, max(1, min(_processors(), chunks, _MAX_THREADS)), _CHUNK)


cdef class _Chains:
    """The chains of a verifier, which may be given one file after another."""

    cdef cra_chains *all

    def __cinit__(self):
        self.all = cra_chains_new(int.from_bytes(os.urandom(8), "little"))
        if self.all is NULL:
            raise MemoryError

    def __dealloc__(self):
        cra_chains_free(self.all)


cdef cra_chains *_chains_of(object verifier) except NULL:
    cdef _Chains chains
    if verifier.known is None:
        chains = _Chains()
        for session_id in verifier.anchors:
            if _is_uuid_text(session_id):  # or no line is of it
                _leave(_found(chains.all, session_id))
        verifier.known = chains
    chains = verifier.known
    return chains.all


cdef cra_chain *_found(cra_chains *chains, object session_id) except NULL:
    cdef cra_chain *chain = cra_chains_find(chains, <const char *>PyUnicode_DATA(session_id))
    if chain is NULL:
        raise MemoryError
    return chain


cdef void _leave(cra_chain *chain) noexcept:
    """No line is plainly the next link of this chain: its anchor is ahead, which the exact verifier has to look for."""
    memset(chain.previous, 0, CRA_HASH_LENGTH)


def _processors():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _feed_lines(file, verifier, unsigned threads, size_t chunk_size):
    """`feed_lines` on so many threads, in chunks of so many bytes; the result does not depend on either."""
    cdef int descriptor = file.fileno()
    cdef cra_dialect dialect = _DIALECTS[verifier.dialect.name]
    cdef cra_chains *chains = _chains_of(verifier)
    cdef cra_scan *scan = cra_scan_start(descriptor, dialect, threads, chunk_size, _MAX_LINE)
    cdef const cra_chunk *chunk
    try:
        if scan is NULL:
            raise MemoryError
        while True:
            with nogil:
                chunk = cra_scan_next(scan)
            if chunk is NULL:
                break
            if chunk.error:
                raise OSError(chunk.error, os.strerror(chunk.error))
            _feed_chunk(chunk, chains, verifier)
            cra_scan_release(scan)
            PyErr_CheckSignals()
        _tell(chains, verifier)
    finally:
        with nogil:
            if scan is not NULL:
                cra_scan_stop(scan)


cdef int _feed_chunk(const cra_chunk *chunk, cra_chains *chains, object verifier) except -1:
    cdef size_t at = 0
    cdef int64_t taken
    cdef const cra_line *line
    while at < chunk.count:
        with nogil:
            taken = cra_chains_take(chains, chunk.lines + at, chunk.count - at)
        if taken < 0:
            raise MemoryError
        at += taken
        if taken > 0:
            line = &chunk.lines[at - 1]
            verifier.pass_over(taken, PyUnicode_DecodeASCII(line.event_hash, CRA_HASH_LENGTH, NULL))
        if at < chunk.count:
            line = &chunk.lines[at]
            _tell(chains, verifier)
            _learn(chains, verifier, verifier.feed(PyBytes_FromStringAndSize(line.start, line.length)))
            at += 1
    return 0


cdef int _tell(cra_chains *chains, object verifier) except -1:
    """The exact verifier is told how far the chains have come that changed."""
    cdef cra_chain *chain = cra_chains_next_changed(chains)
    while chain is not NULL:
        exact = verifier.chain(PyUnicode_DecodeASCII(chain.session_id, CRA_UUID_LENGTH, NULL))
        if chain.faulty:
            exact.pass_over(chain.count)
            chain.count = 0
        else:
            exact.resume(position_of(chain))
        chain = cra_chains_next_changed(chains)
    return 0


cdef int _learn(cra_chains *chains, object verifier, str session_id) except -1:
    """What the exact verifier made of a line of this session is known here too."""
    cdef cra_chain *chain
    if session_id is None:
        return 0
    chain = _found(chains, session_id)
    exact = verifier.chain(session_id)
    if exact.awaits_anchor:
        _leave(chain)
    else:
        take_position(chain, exact.position())
    return 0
