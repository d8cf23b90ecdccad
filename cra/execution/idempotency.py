"""Idempotency keys: one outcome for one key, however many callers ask. PROTOCOL: Idempotency.

Each session has one `IdempotencyStore`; execute looks into it after policy and approval. The store runs nothing and waits for
nothing by itself: the caller that gets a fresh entry owns it and has to settle it, whatever happens; the others wait on it.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cra.errors import Conflict, CRAError
from cra.execution.parameters import copy_json

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_KEYS = 10_000
MAX_BYTES = 64 * 1024 * 1024


class Settled(msgspec.Struct, frozen=True):
    """How an entry was settled.

    `succeeded`: `result` is this caller's own copy. `failed` (or unknown): `error` is this caller's own, to be raised.
    `abandoned`: the owner was refused before its executor ran and the key is free again; `begin` again.
    """

    kind: Literal["succeeded", "failed", "abandoned"]
    result: Any = None
    error: CRAError | None = None

    def private(self) -> Settled:
        """The same for one more caller, sharing nothing that can be changed."""
        error = None if self.error is None else _fresh(self.error)
        return Settled(self.kind, copy_json(self.result), error)


class Entry:
    """One key in use. Made by `IdempotencyStore.begin` only.

    `execution_id` is that of the owner's execution, which its replays name; the owner sets it before it settles the entry.
    """

    __slots__ = ("action_id", "key", "parameters_hash", "execution_id", "_future")

    def __init__(self, action_id: str, key: str, parameters_hash: str) -> None:
        from concurrent.futures import Future

        self.action_id = action_id
        self.key = key
        self.parameters_hash = parameters_hash
        self.execution_id = ""
        self._future: Future[Settled] = Future()
        # Running, so that one waiter that is cancelled can not cancel it for all.
        self._future.set_running_or_notify_cancel()

    def wait(self, timeout: float | None = None) -> Settled | None:
        """Block until the owner has settled the entry; None where it has not after `timeout` seconds."""
        from concurrent import futures

        try:
            return self._future.result(timeout).private()
        except futures.TimeoutError:
            return None

    async def wait_async(self, timeout: float | None = None) -> Settled | None:
        """`wait` for a coroutine, without blocking its loop."""
        import asyncio

        try:
            return (await asyncio.wait_for(asyncio.wrap_future(self._future), timeout)).private()
        except asyncio.TimeoutError:
            return None


class IdempotencyStore:
    """The keys of one session. Safe to call from many threads.

    At most `max_keys` keys, and results together with keys of at most `max_bytes` bytes when a new key is admitted; after that
    new keys are refused and known ones go on to work.
    """

    def __init__(self, max_keys: int = MAX_KEYS, max_bytes: int = MAX_BYTES) -> None:
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._entries: dict[tuple[str, str], Entry] = {}
        self._bytes = 0

    def begin(self, action_id: str, key: str, parameters_hash: str) -> tuple[Entry, bool]:
        """The entry of a key, and whether this caller owns it.

        The owner runs the action and then calls `succeed`, `fail` or `abandon`, exactly one of them. Everybody else waits on
        the entry, which may be settled already. Raises `Conflict` where the key was used with other parameters, or the session
        has used too many.
        """
        with self._lock:
            entry = self._entries.get((action_id, key))
            if entry is None:
                size = _size(key)
                if len(self._entries) >= self._max_keys or self._bytes + size > self._max_bytes:
                    raise Conflict(
                        f"this session remembers {len(self._entries)} idempotency keys and {self._bytes} bytes of their"
                        " results, as much as it may; open a new session, or execute without a key"
                    )
                entry = self._entries[action_id, key] = Entry(action_id, key, parameters_hash)
                self._bytes += size
                return entry, True
        if entry.parameters_hash != parameters_hash:
            raise Conflict(
                f"this idempotency key was used for {action_id} with other parameters; use a new key for a new call"
            )
        return entry, False

    def succeed(self, entry: Entry, result: object, size: int) -> None:
        """Keep a copy of the result, `size` bytes as canonical JSON, for everybody who asks with this key.

        Raises `InvalidParameters` where the result is no JSON; the entry is then still the owner's to `fail`.
        """
        self._settle(entry, Settled("succeeded", copy_json(result)), size)

    def fail(self, entry: Entry, error: CRAError) -> None:
        """Keep the error, without its traceback: a failed or unknown outcome is not tried again under the same key."""
        self._settle(entry, Settled("failed", error=_fresh(error)), _size(error.message))

    def abandon(self, entry: Entry) -> None:
        """Free the key: the call was refused before its executor ran. Those who wait begin again."""
        with self._lock:
            del self._entries[entry.action_id, entry.key]
            self._bytes -= _size(entry.key)
        entry._future.set_result(Settled("abandoned"))

    def _settle(self, entry: Entry, settled: Settled, size: int) -> None:
        with self._lock:
            self._bytes += size
        entry._future.set_result(settled)


def _fresh(error: CRAError) -> CRAError:
    """The same error without what it has seen: a traceback holds the frames of its caller, and grows with each raise."""
    clone = type(error).__new__(type(error), *error.args)
    clone.__dict__.update(error.__dict__)
    return clone


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))
