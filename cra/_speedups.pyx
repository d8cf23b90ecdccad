# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, binding=True, annotation_typing=False
"""Compiled twins of `cra.reference`: same names, same results, same errors. `cra.hotpath` chooses; one file an idea."""

include "_compiled/glob.pxi"
include "_compiled/canonical.pxi"
include "_compiled/hashing.pxi"
include "_compiled/chain.pxi"
include "_compiled/lines.pxi"
include "_compiled/keywords.pxi"
include "_compiled/handoff.pxi"
include "_compiled/plain.pxi"
include "_compiled/limits.pxi"
include "_compiled/ring.pxi"
