"""Stores for tests, and faults of stores on disk."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cra.storage.base import StorageHealth
from cra.storage.memory import MemoryStorage
from cra.trace.event import Event


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size`: a write that would is short, the next one fails. A full disk, for real."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class OnceFailing:
    """A system call that fails with EIO at the `at`th time, and then never again. `calls` counts."""

    def __init__(self, call: Callable[..., Any], at: int) -> None:
        self._call = call
        self._at = at
        self.calls = 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == self._at:
            path = next((each for each in arguments if isinstance(each, (str, os.PathLike))), None)
            raise OSError(
                errno.EIO, os.strerror(errno.EIO), path
            )  # as the system does, which names the path it was given
        return self._call(*arguments, **options)

    @property
    def has_fired(self) -> bool:
        """Whether it came to that."""
        return self.calls >= self._at


class AsyncMemory:
    """`memory:` with coroutines; `loops` are those that it was called on."""

    name = "async-memory:"
    durable = False
    readable = True

    def __init__(self) -> None:
        self.memory = MemoryStorage()
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def append(self, batch: Sequence[Event]) -> None:
        await self._turn()
        self.memory.append(batch)

    async def events(
        self, session_id: str, *, after: int = -1, types: Collection[str] | None = None
    ) -> AsyncIterator[Event]:
        for event in self.memory.events(session_id, after=after, types=types):
            await self._turn()
            yield event

    async def sessions(self) -> list[str]:
        await self._turn()
        return self.memory.sessions()

    async def last(self, session_id: str, n: int) -> list[Event]:
        await self._turn()
        return self.memory.last(session_id, n)

    async def count(self, session_id: str | None = None) -> int:
        await self._turn()
        return self.memory.count(session_id)

    async def delete_session(self, session_id: str) -> int:
        await self._turn()
        return self.memory.delete_session(session_id)

    async def health(self) -> StorageHealth:
        await self._turn()
        return StorageHealth(self.name, ok=True)

    async def flush(self, durable: bool) -> None:
        await self._turn()
        self.memory.flush(durable)

    async def close(self) -> None:
        await self._turn()
        self.memory.close()

    async def _turn(self) -> None:
        self.loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
