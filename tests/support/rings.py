"""A ring without room, for tests of what happens then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cra.errors import InternalError
from cra.hotpath import Ring


@contextmanager
def full_ring(ring: Ring, leaving: int | None = None) -> Iterator[None]:
    """Set all room aside while this lasts, but for a record of `leaving` bytes. Flush before: what is stored becomes room."""
    if leaving is not None:
        assert ring.reserve(leaving)
    held: list[int] = []
    nbytes = ring.max_record
    while True:
        while ring.reserve(nbytes):
            held.append(nbytes)
        if not nbytes:
            break
        nbytes //= 2
    if leaving is not None:
        ring.release(leaving)
    yield
    with suppress(InternalError):  # closed by the test
        for nbytes in held:
            ring.release(nbytes)
