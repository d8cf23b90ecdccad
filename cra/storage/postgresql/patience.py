"""How long to wait for a server: an answer that does not come ends the connection, and with it the waiting.

The server's own `statement_timeout` ends what takes too long. This is for servers that say nothing at all: stopped, or behind
a network that swallows everything. Used by the connections of both backends.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg

GRACE_SECONDS: Final = 5
"""How much later than the server this gives up, so that a server that works is heard."""
T = TypeVar("T")


def impatient(waiting: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """The same work on a connection, but for `psycopg.OperationalError` when nothing has moved for so many seconds.

    psycopg's waiting loops send 0 every tenth of a second, and what the socket is ready for otherwise.
    """
    try:
        state = next(waiting)
        deadline = monotonic() + seconds
        while True:
            ready = yield state
            if ready:
                deadline = monotonic() + seconds
            elif monotonic() > deadline:
                raise psycopg.OperationalError(f"the server has said nothing for {seconds:.0f} s")
            state = waiting.send(ready)
    except StopIteration as end:
        value: T = end.value
        return value
