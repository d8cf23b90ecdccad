"""An `AsyncStorageBackend` as a `StorageBackend`: its coroutines run on an event loop in a thread of their own.

`open_storage` puts it around every backend whose methods are coroutines. A caller waits for the result of its call, from any
thread and from any other event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from cra.errors import StorageError
from cra.storage.base import AsyncStorageBackend, StorageHealth
from cra.trace.event import Event

_PAGE_EVENTS: Final = 100  # how many are fetched at once: each fetch wakes two threads
T = TypeVar("T")


class FromAsync:
    """`backend`, for callers who wait. The thread begins with the first call and ends with `close`."""

    def __init__(self, backend: AsyncStorageBackend) -> None:
        self._backend = backend
        self._lock = threading.RLock()  # an unfinished reading can be collected, and left, within any call
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._turn = asyncio.Lock()
        self.name = backend.name
        self.durable = backend.durable
        self.readable = backend.readable
        self.location: Path | None = getattr(backend, "location", None)
        self.spool_bytes: int = getattr(backend, "spool_bytes", 0)

    def append(self, batch: Sequence[Event]) -> None:
        self._wait(self._append(batch))

    async def _append(self, batch: Sequence[Event]) -> None:
        # One at a time: a call that nobody waits for any more, after Ctrl-C, takes a while to end.
        async with self._turn:
            await self._backend.append(batch)

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        reading = self._backend.events(session_id, after=after, types=types)
        try:
            while page := self._wait(_take(reading, _PAGE_EVENTS)):
                yield from page
        except GeneratorExit:
            self._leave(reading)
            raise

    def sessions(self) -> list[str]:
        return self._wait(self._backend.sessions())

    def last(self, session_id: str, n: int) -> list[Event]:
        return self._wait(self._backend.last(session_id, n))

    def count(self, session_id: str | None = None) -> int:
        return self._wait(self._backend.count(session_id))

    def delete_session(self, session_id: str) -> int:
        return self._wait(self._backend.delete_session(session_id))

    def health(self) -> StorageHealth:
        """Not ok once closed, since there is nobody left to ask."""
        try:
            return self._wait(self._backend.health())
        except Exception as error:
            return StorageHealth(self.name, ok=False, details=(str(error),))

    def flush(self, durable: bool) -> None:
        self._wait(self._backend.flush(durable))

    def close(self) -> None:
        """Close the backend, and end the thread. Nothing can be read any more."""
        with self._lock:
            if self._closed:
                return
            loop = self._start()
            self._closed = True
        try:
            asyncio.run_coroutine_threadsafe(self._backend.close(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            if self._thread is not None:
                self._thread.join()

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._closed:
                call.close()  # or it would be reported as never awaited
                raise StorageError(f"storage '{self.name}' is closed; open it again")
            future = asyncio.run_coroutine_threadsafe(call, self._start())
        try:
            return future.result()
        except CancelledError:
            raise StorageError(f"storage '{self.name}' was closed meanwhile; open it again") from None
        except BaseException:
            future.cancel()  # where it was the waiting that failed, such as by Ctrl-C
            raise

    def _leave(self, reading: AsyncIterator[Event]) -> None:
        """Have an async generator end where its reader has left it. Nobody waits: this may be the loop's own thread."""
        with self._lock, suppress(RuntimeError):
            if self._loop is not None and not self._closed and hasattr(reading, "aclose"):
                asyncio.run_coroutine_threadsafe(reading.aclose(), self._loop)

    def _start(self) -> asyncio.AbstractEventLoop:
        """The loop, with a thread that runs it; the caller has the lock."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(self._loop,), name="cra-storage", daemon=True)
            self._thread.start()
        return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(_cancel_all())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _cancel_all() -> None:
    """End what still runs when the backend is closed, so that nobody waits for it for ever."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _take(reading: AsyncIterator[Event], n: int) -> list[Event]:
    """The next `n` events, fewer at the end only."""
    page: list[Event] = []
    async for event in reading:
        page.append(event)
        if len(page) == n:
            break
    return page
