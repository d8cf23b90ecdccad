"""Flush levels: who waits for what, and how far the backends are. One `FlushLevel` each for `stored` and `durable`.

The recorder registers a waiter with the position in the ring that it waits for; the side that stores serves all waiters of a
level with one flush of the backends (group commit). Nothing here waits or locks: the recorder does, around every call.
"""

from __future__ import annotations

from cra.errors import StorageError


class FlushLevel:
    """One level. Positions are the ring's; `reached` says up to where the level holds."""

    def __init__(self, durable: bool) -> None:
        self.durable = durable
        self.reached = 0
        self.failures = 0
        self.error = StorageError("no flush has failed")
        self._wanted: list[int] = []

    def want(self, target: int) -> None:
        """Somebody waits until the level holds up to `target`."""
        self._wanted.append(target)

    def leave(self, target: int) -> None:
        """Nobody waits for this any more: the opposite of one `want`."""
        self._wanted.remove(target)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._wanted)

    def is_due(self, stored: int) -> bool:
        """Whether a flush now, with everything up to `stored` in the backends, would serve a waiter."""
        return any(self.reached < target <= stored for target in self._wanted)

    def fail(self, error: StorageError) -> None:
        """Tell the waiters that an attempt failed."""
        self.failures += 1
        self.error = error
