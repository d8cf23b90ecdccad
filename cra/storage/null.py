"""The store that keeps nothing: for measuring, and for runtimes whose events go elsewhere. Reading from it is an error."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from cra.errors import StorageError
from cra.storage.base import StorageHealth
from cra.trace.event import Event


class NullStorage:
    """Takes every event and forgets it."""

    name = "null:"
    durable = False
    readable = False

    def append(self, batch: Sequence[Event]) -> None:
        """Accept and discard."""

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        """Raises `StorageError`, like all reading here."""
        raise _keeps_nothing()

    def sessions(self) -> list[str]:
        raise _keeps_nothing()

    def last(self, session_id: str, n: int) -> list[Event]:
        raise _keeps_nothing()

    def count(self, session_id: str | None = None) -> int:
        raise _keeps_nothing()

    def delete_session(self, session_id: str) -> int:
        raise _keeps_nothing()

    def health(self) -> StorageHealth:
        return StorageHealth(self.name, ok=True, details=("keeps nothing",))

    def flush(self, durable: bool) -> None:
        """Nothing to do; raises `StorageError` for `durable`."""
        if durable:
            raise StorageError("storage 'null:' keeps nothing and cannot make it durable; use jsonl: or sqlite:")

    def close(self) -> None:
        """Nothing to release."""


def _keeps_nothing() -> StorageError:
    return StorageError(
        "storage 'null:' keeps nothing that could be read; use memory:, jsonl: or sqlite: to keep the trace"
    )
