"""How a runtime is measured: call by call, in bursts that its ring holds, with its worker at it.

Used by `cra bench` and by `perf/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import cra
from cra.bench.histogram import Histogram, measure, measure_each

WARM_UP = 1_000


def warm(session: cra.Session, goal: str, resolver: cra.Resolver) -> cra.Session:
    """The session, when plans are made and caches are warm, and its runtime's worker has caught up."""
    call = session.resolve
    for _ in range(WARM_UP):
        call(goal)
    resolver.flush()
    return session


def paced(call: Callable[[], object], resolver: cra.Resolver, count: int, burst: int) -> Histogram:
    """`count` calls in bursts that the ring holds easily; the worker is at it all the while, and catches up in between."""
    times: list[int] = []
    while len(times) < count:
        times += measure(call, burst).times
        resolver.flush()
    return Histogram(times)


def paced_each(
    calls: Iterable[Callable[[], object]],
    resolver: cra.Resolver,
    count: int,
    burst: int,
    progress: Callable[[int], object] | None = None,
) -> Histogram:
    """The same for calls of which each is another one, over and over in their order. `progress` is told how many are done."""
    times: list[int] = []
    source = _endless(list(calls))
    while len(times) < count:
        times += measure_each([next(source) for _ in range(min(burst, count - len(times)))]).times
        resolver.flush()
        if progress is not None:
            progress(len(times))
    return Histogram(times)


def _endless(calls: list[Callable[[], object]]) -> Iterator[Callable[[], object]]:
    while True:
        yield from calls
