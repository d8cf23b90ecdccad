"""What callers on an event loop wait for: decisions, room, and the events of a session as they come.

`Resolver` has them as methods. Nothing here blocks the loop: what blocks runs on a thread, and what waits is woken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from cra.errors import InternalError, SessionNotFound, StorageError
from cra.execution.approvals import Approval, ApprovalBook
from cra.storage.base import StorageBackend
from cra.trace.event import Event
from cra.trace.subscribe import Subscription

if TYPE_CHECKING:
    from cra.resolver import Resolver

EVENTS_AT_ONCE = 1_000
_LAST = "session.ended"


async def decision(book: ApprovalBook, approval_id: str, timeout: float | None) -> Approval:
    """The approval once it is decided, or as it stands after `timeout` seconds. Raises `ApprovalNotFound` when it is gone."""
    loop = asyncio.get_running_loop()
    decided = asyncio.Event()
    unwatch = book.watch(approval_id, _waker(loop, decided))
    try:
        if book.find(approval_id).status == "pending":
            await asyncio.wait_for(decided.wait(), timeout)
    except asyncio.TimeoutError:
        pass
    finally:
        unwatch()
    return book.find(approval_id)


async def stream(
    resolver: Resolver, session_id: str, *, after: int, types: Collection[str] | None
) -> AsyncIterator[Event]:
    """The events of a session from the store, and then those that come, until it ends or the resolver is closed.

    The store is what is read: a slow consumer misses nothing and holds up nobody but itself.
    """
    backend = resolver.readable_storage()
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    wanted = None if types is None else {*types, _LAST}
    subscription = resolver.subscribe(_waker(loop, news), types=wanted, session_id=session_id, capacity=1)
    try:
        await resolver.aflush()
        if not await asyncio.to_thread(backend.last, session_id, 1):
            raise SessionNotFound(f"no events of a session {session_id} are stored")
        while True:
            news.clear()
            events = await asyncio.to_thread(_read, backend, session_id, after, wanted)
            for event in events:
                after = event.sequence
                if types is None or event.event_type in types:
                    yield event
                if event.event_type == _LAST:
                    return
            if not events and not await _wait(news, subscription):
                return
    finally:
        subscription.close()


def _read(backend: StorageBackend, session_id: str, after: int, types: Collection[str] | None) -> list[Event]:
    try:
        return list(islice(backend.events(session_id, after=after, types=types), EVENTS_AT_ONCE))
    except InternalError as error:  # pragma: no cover - a backend that was closed meanwhile
        raise StorageError(f"the events of session {session_id} cannot be read any more: {error}") from error


def _waker(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> Callable[..., None]:
    def wake(*_: object) -> None:
        # The loop may be closed, on its own thread and just now: nobody waits there any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(news.set)

    return wake


async def _wait(news: asyncio.Event, subscription: Subscription) -> bool:
    """Wait for news; False when there will be none, since the resolver was closed."""
    while not news.is_set():
        if subscription.is_closed:
            return False
        try:
            await asyncio.wait_for(news.wait(), 1.0)
        except asyncio.TimeoutError:
            continue
    return True
