"""A ring that a power cut may have gone through: which of its records go on where a store ends, and which do not.

Each page of such a ring may be there, be that of an earlier time, or be gone, and so may what the store was given last. A
record is what its checksum vouches for, but what was before it may be missing: to store it all the same would make chains that
nobody wrote. So what is stored follows, without a gap, a record that the store ends with, or begins a session; the rest is set
aside. Used by `cra.trace.dead_records`, which needs none of it where only a process has died. docs/formats/ring.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from cra.reference.ring import frame_size
from cra.reference.ring_scan import RingRecord


def ends_of_runs(records: Sequence[RingRecord]) -> list[int]:
    """For each of these records, which are in order, the place behind the last one that follows it without a gap."""
    ends = [len(records)] * len(records)
    for place in range(len(records) - 2, -1, -1):
        position, data = records[place]
        follows = position + frame_size(len(data)) == records[place + 1].position
        ends[place] = ends[place + 1] if follows else place + 1
    return ends
