"""What it costs to share limits: a bare round trip, a reservation, an execution under one. On a server of its own."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from cra.bench.histogram import Histogram, measure
from cra.carp.policy import Limit
from cra.shared.redis import RedisLimits
from cra.timing.rate_limit import Charge
from perf.cases import GOAL, latency, paced, runtime, session_of
from perf.resolves import limited


@contextmanager
def limits() -> Iterator[RedisLimits | None]:
    """Open shared limits; None, with a line that says why, where there is no server."""
    from tests.support.redis_server import RedisServer, ServerMissing

    with tempfile.TemporaryDirectory() as folder:
        try:
            server = RedisServer(Path(folder))
        except ServerMissing as error:
            print(f"shared limits: {error}", file=sys.stderr)
            yield None
            return
        server.start()
        shared = RedisLimits(server.url)
        try:
            shared.start()
            yield shared
        finally:
            shared.close()
            server.stop()


@latency("round trip", "a PING to Redis over a socket of this machine, by redis-py", ("compiled",))
def round_trip(count: int) -> Histogram:
    with limits() as shared:
        return Histogram([0]) if shared is None else measure(shared._server.client.ping, count // 20)


@latency("reserve shared", "one shared limit reserved on that server", ("compiled",))
def reserve_shared(count: int) -> Histogram:
    limit = Limit(kind="rate_limit", amount=Fraction(10**9), window_ns=60 * 10**9, key="global")
    charge = Charge(("atlas", "policy", "global"), limit, Fraction(1))
    with limits() as shared:
        return Histogram([0]) if shared is None else measure(lambda: shared.reserve([charge]), count // 20)


@latency("execute shared", "`execute inline` of an action under one shared limit", ("compiled",))
def execute_shared(count: int) -> Histogram:
    with limits() as shared, runtime(limited(1, "agent"), shared_limits=shared) as resolver:
        resolver.register("item.do0", dict, inline=True)
        session = session_of(resolver)
        resolution = session.resolve(GOAL)
        return paced(lambda: session.execute("item.do0", {}, resolution=resolution), resolver, count // 20, 1_000)


@latency("resolve shared", "`resolve 1 limits`, where that limit is shared: nobody is asked", ("compiled",))
def resolve_shared(count: int) -> Histogram:
    with limits() as shared, runtime(limited(1, "agent"), shared_limits=shared) as resolver:
        resolver.register("item.do0", dict, inline=True)
        session = session_of(resolver)
        for _ in range(3):
            session.execute("item.do0", {}, resolution=session.resolve(GOAL))
        return paced(lambda: session.resolve(GOAL), resolver, count, 5_000)
