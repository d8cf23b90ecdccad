"""A store that goes away and comes back: a proxy of a backend that refuses, hangs, or takes what it is given."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from cra.errors import StorageError
from cra.storage.memory import MemoryStorage
from cra.trace.event import Event

SECONDS = 60.0


class AwayStorage:
    """`backend`, which is there until `go_away` and again from `come_back` on, or does not answer from `hang` on.

    It asks for a spool of `spool_bytes`. `refused` counts the calls that failed, `hung` is set while one does not return.
    """

    def __init__(self, backend: Any = None, spool_bytes: int = 2**20, name: str = "away:") -> None:
        self.backend = MemoryStorage() if backend is None else backend
        self.spool_bytes = spool_bytes
        self.name = name
        self.durable = self.backend.durable
        self.readable = True
        self.refused = 0
        self.appended = 0
        self.closed = False
        self.hung = threading.Event()
        self._is_away = False
        self._answers = threading.Event()
        self._answers.set()

    def go_away(self) -> None:
        self._is_away = True

    def come_back(self) -> None:
        self._is_away = False
        self._answers.set()

    def hang(self) -> None:
        self.hung.clear()
        self._answers.clear()

    def append(self, batch: Sequence[Event]) -> None:
        self._call()
        self.backend.append(batch)
        self.appended += len(batch)

    def flush(self, durable: bool) -> None:
        self._call()
        self.backend.flush(durable)

    def close(self) -> None:
        self.closed = True  # what it is a proxy of may be opened again

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def _call(self) -> None:
        if not self._answers.is_set():
            self.hung.set()
            assert self._answers.wait(SECONDS)
        if self._is_away:
            self.refused += 1
            raise StorageError("the store is away")
