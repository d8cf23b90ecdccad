"""`RedisApprovals`: the board of approvals on a Redis or Valkey server. docs/sharing.md.

A hash an approval, a sorted set of those that wait, and a channel on which decisions are told. Whoever can write to the server
can approve.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from cra.execution.approvals import Approval
from cra.shared.approvals import Decision, SharedApprovalsAway
from cra.shared.redis.client import RedisServer, ServerAway

_LISTEN_SECONDS = 0.5
_RETRY_SECONDS = 1.0


class RedisApprovals:
    """See the module and `SharedApprovals`; `url`, `namespace` and `timeout` are those of `RedisLimits`."""

    def __init__(self, url: str, *, namespace: str = "cra", timeout: float = 1.0) -> None:
        self._server = RedisServer(url, namespace=namespace, timeout=timeout, options=("namespace", "timeout"))
        self._keys = self._server.prefix + "approval:"
        self._waiting = self._server.prefix + "approvals"
        self._channel = self._server.prefix + "decided"
        self._announce, self._decide, self._pending = map(self._server.script, ("announce", "decide", "pending"))
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The URL without what may be secret."""
        return self._server.name

    def __repr__(self) -> str:
        return f"RedisApprovals({self.name!r})"

    def announce(self, approval: Approval, lifetime_seconds: float) -> None:
        """See `SharedApprovals`."""
        text = msgspec.json.encode(approval).decode()
        arguments = [approval.approval_id, text, str(max(1, int(lifetime_seconds * 1000)))]
        self._run(self._announce, [self._keys + approval.approval_id, self._waiting], arguments)

    def withdraw(self, approval_ids: list[str]) -> None:
        """See `SharedApprovals`."""
        if approval_ids:
            self._do(lambda client: client.delete(*[self._keys + each for each in approval_ids]))
            self._do(lambda client: client.zrem(self._waiting, *approval_ids))

    def pending(self) -> list[Approval]:
        """See `SharedApprovals`."""
        found = self._run(self._pending, [self._waiting], [self._keys])
        with _away():
            return [msgspec.json.decode(text, type=Approval) for text in found]

    def find(self, approval_id: str) -> Approval | None:
        """See `SharedApprovals`."""
        text = self._do(lambda client: client.hget(self._keys + approval_id, "approval"))
        with _away():
            return None if text is None else msgspec.json.decode(text, type=Approval)

    def decide(self, approval_id: str, decision: Decision) -> Decision | None:
        """See `SharedApprovals`."""
        text = msgspec.json.encode(decision).decode()
        keys = [self._keys + approval_id, self._waiting]
        return _decision(self._run(self._decide, keys, [approval_id, text, self._channel]))

    def decision(self, approval_id: str) -> Decision | None:
        """See `SharedApprovals`."""
        return _decision(self._do(lambda client: client.hget(self._keys + approval_id, "decision")))

    def listen(self, tell: Callable[[str], object]) -> None:
        """See `SharedApprovals`. After a broken connection `tell` is called with an empty id: anything may have been missed."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, args=(tell,), name="cra-approvals", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """See `SharedApprovals`."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2 * _LISTEN_SECONDS)
        self._server.close()

    def _listen(self, tell: Callable[[str], object]) -> None:
        from redis.exceptions import RedisError

        while not self._stopping.is_set():
            try:
                with self._server.client.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(self._channel)
                    tell("")
                    while not self._stopping.is_set():
                        message = channel.get_message(timeout=_LISTEN_SECONDS)
                        if message is not None:
                            tell(message["data"])
            except (RedisError, OSError, ValueError):  # the last from a connection that `close` took away
                self._stopping.wait(_RETRY_SECONDS)

    def _run(self, script: Any, keys: list[str], arguments: list[str]) -> Any:
        with _away():
            return self._server.run(script, keys, arguments)

    def _do(self, command: Callable[[Any], Any]) -> Any:
        with _away():
            return self._server.do(command)


@contextmanager
def _away() -> Iterator[None]:
    """Turn what the server raises, and what cannot be read of what it says, into what the board raises."""
    try:
        yield
    except ServerAway as away:
        raise SharedApprovalsAway(str(away)) from away.__cause__
    except msgspec.DecodeError as error:
        raise SharedApprovalsAway(f"what stands there cannot be read: {error}") from error


def _decision(text: str | None) -> Decision | None:
    with _away():
        return None if text is None else msgspec.json.decode(text, type=Decision)
