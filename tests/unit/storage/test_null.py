"""The null backend: takes everything, keeps nothing, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cra.errors import StorageError
from cra.storage.null import NullStorage

ID = "01890000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    "read",
    [
        lambda backend: list(backend.events(ID)),
        lambda backend: backend.sessions(),
        lambda backend: backend.last(ID, 1),
        lambda backend: backend.count(),
        lambda backend: backend.delete_session(ID),
    ],
)
def test_reading_is_an_error_that_says_what_to_use(read: Callable[[NullStorage], Any], sessions: Any) -> None:
    """An empty answer would look like an empty trace."""
    backend = NullStorage()
    backend.append(sessions.events(0))
    with pytest.raises(
        StorageError, match=r"storage 'null:' keeps nothing that could be read; use memory:, jsonl: or sqlite:"
    ):
        read(backend)


def test_it_is_healthy_and_never_durable() -> None:
    """A plain flush has nothing to do, a durable one is refused."""
    backend = NullStorage()
    backend.flush(durable=False)
    with pytest.raises(StorageError, match=r"keeps nothing and cannot make it durable; use jsonl: or sqlite:"):
        backend.flush(durable=True)
    assert (True, ("keeps nothing",)) == (backend.health().ok, backend.health().details)
    assert (False, False) == (backend.durable, backend.readable)
    backend.close()
