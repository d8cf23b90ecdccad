"""Connections that nobody uses just now, for the next call of a store. Used by both backends.

After a fork the child leaves the parent's connections alone: they stay open there, and closing one here would end it.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Final, Generic, TypeVar

KEPT: Final = 3
"""How many are kept: one that writes, and two for readers."""
C = TypeVar("C")


class Idle(Generic[C]):
    """A stack of connections; any thread may use it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()  # a store may be collected, and closed, within any call
        self._connections: list[C] = []
        self._inherited: list[C] = []  # not let go of either, which would close them
        self.closed = False

    def take(self) -> C | None:
        """The connection that was used last, None where there is none."""
        with self._own_lock():
            return self._connections.pop() if self._connections else None

    def keep(self, connection: C) -> bool:
        """Take it back, unless there are enough, or no more to be kept; False where its user is to close it."""
        with self._own_lock():
            if self.closed or len(self._connections) >= KEPT:
                return False
            self._connections.append(connection)
            return True

    def empty(self, *, close: bool = False) -> list[C]:
        """All of them, for being closed; with `close`, none is kept from now on."""
        with self._own_lock():
            self.closed = self.closed or close
            connections, self._connections = self._connections, []
            return connections

    def _own_lock(self) -> AbstractContextManager[object]:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lock = threading.RLock()  # a thread that is not here may have the parent's
            self._inherited += self._connections
            self._connections = []
        return self._lock
