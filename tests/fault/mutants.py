"""Stores that are broken on purpose, one way each, which the enumeration of faults has to notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cra.storage.jsonl import JsonlStorage
from cra.storage.sqlite import SqliteStorage
from cra.trace.dead_records import DeadRecords


def _half_batches() -> None:
    def keep(storage: Any) -> None:
        storage._undo.clear()

    _replace(JsonlStorage, "_roll_back", keep)


def _believed_fsyncs() -> None:
    _replace(SqliteStorage, "_note_failure", lambda *_: True)


def _forgotten_rings() -> None:
    _replace(DeadRecords, "store_records", lambda *_: 0)
    _replace(DeadRecords, "store", lambda *_: 0)


def _replace(owner: type, name: str, function: Callable[..., Any]) -> None:
    """Put a function in the place of a method."""
    assert callable(getattr(owner, name))
    setattr(owner, name, function)


MUTANTS: dict[str, Callable[[], None]] = {
    "half-batches": _half_batches,
    "believed-fsyncs": _believed_fsyncs,
    "forgotten-rings": _forgotten_rings,
}
