"""Connections that nobody uses just now, for the next call of a store. Used by both backends.

After a fork the child leaves the parent's connections alone: they stay open there, and closing one here would end it.
"""

from __future__ import annotations

import os
from typing import Final, Generic, TypeVar

KEPT: Final = 3
"""How many are kept: one that writes, and two for readers."""
C = TypeVar("C")


class Idle(Generic[C]):
    """A stack of connections; any thread may use it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._connections: list[C] = []
        self._inherited: list[C] = []  # not let go of either, which would close them
        self.closed = False

    def take(self) -> C | None:
        """The connection that was used last, None where there is none."""
        self._leave_to_parent()
        try:
            return self._connections.pop()
        except IndexError:
            return None

    def keep(self, connection: C) -> bool:
        """Take it back, unless there are enough; False where its user is to close it."""
        self._leave_to_parent()
        if self.closed or len(self._connections) >= KEPT:
            return False
        self._connections.append(connection)
        return True

    def empty(self) -> list[C]:
        """All of them, for being closed."""
        self._leave_to_parent()
        connections, self._connections = self._connections, []
        return connections

    def _leave_to_parent(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._inherited += self._connections
            self._connections = []
