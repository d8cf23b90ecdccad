"""Repairing a store while no runtime does: what opening it would recover is recovered, and what is left over is removed.

Used by `cra trace recover`. What is done is what a `Resolver` does when it opens the folder (`cra.trace.recovery`), but what
cannot be repaired is noted and the rest repaired all the same. Interrupted anywhere, it can be run again. It destroys nothing
that it cannot read, and leaves alone what belongs to a living process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import msgspec

from cra.errors import StorageError
from cra.ids import IdSource
from cra.reference.records import Definition
from cra.storage.base import StorageBackend
from cra.storage.journal.adoption import Repair as SegmentRepair
from cra.storage.journal.backend import JournalStorage
from cra.storage.jsonl import JsonlStorage
from cra.storage.jsonl_days import DailyJsonlStorage
from cra.storage.lines import Repair, is_day_file
from cra.storage.look import NotRegular, opened_to_look
from cra.storage.sqlite import SqliteStorage
from cra.timing.clock import Clock
from cra.trace.definitions import read_definitions
from cra.trace.own_session import record_recovery
from cra.trace.recovery import Recovery, close_what_is_open
from cra.trace.recovery import recover as recover_rings
from cra.trace.ring_folder import DAMAGED, DEFINITIONS, PART, RING, RingFolder, free_name, rings_beside, scan_file
from cra.trace.ring_look import RingsLook, look_at_rings
from cra.trace.store_kind import StoreKind, WrongStore, kinds_at, store_kind
from cra.trace.store_look import look_at_store

Store = JsonlStorage | DailyJsonlStorage | JournalStorage | SqliteStorage


def _open_lines(folder: str | os.PathLike[str]) -> Store:
    """A `jsonl:` store, with files of days where such are there."""
    try:
        has_days = any(map(is_day_file, os.listdir(folder)))
    except OSError as error:
        raise StorageError(
            f"{os.fspath(folder)} cannot be listed: {error.strerror}; check the disk and its permissions"
        ) from error
    return DailyJsonlStorage(folder) if has_days else JsonlStorage(folder)


_OPEN: dict[StoreKind, Callable[[str | os.PathLike[str]], Store]] = {
    "journal": JournalStorage,
    "jsonl": _open_lines,
    "sqlite": SqliteStorage,
}


class Living(msgspec.Struct, frozen=True):
    """A ring that was left alone, and the process that made it."""

    file: str
    pid: int | None


class Refusal(msgspec.Struct, frozen=True):
    """What could not be repaired, and why."""

    file: str
    message: str


class Repaired(msgspec.Struct, frozen=True):
    """What was done.

    `recovery` counts; `tails` were torn; `ended` are sessions that no ring knew; `set_aside` are the new names of what cannot be
    read; `removed` was left over. `living` and `refused` are as they were. `session_id` is the session in which
    `runtime.recovered` was recorded, None where there was nothing to record.
    """

    recovery: Recovery
    tails: tuple[Repair | SegmentRepair, ...]
    ended: tuple[str, ...]
    set_aside: tuple[str, ...]
    removed: tuple[str, ...]
    living: tuple[Living, ...]
    refused: tuple[Refusal, ...]
    session_id: str | None


def repair(
    data: str | os.PathLike[str],
    rings: str | os.PathLike[str] | None,
    clock: Clock,
    ids: IdSource,
    *,
    end_sessions: bool = False,
    store: StoreKind | None = None,
    opened: Callable[[], StorageBackend] | None = None,
) -> Repaired:
    """Repair a store with what is in its rings (`rings`, or those beside it). `store` says its kind where nothing there does, and
    `opened` opens it with options of its own.

    With `end_sessions`, sessions without an end that no ring knows and no process has open are ended, too: only right where no
    process uses the store with rings elsewhere, or without; of a `jsonl:` store alone. Raises `StorageError` where the store
    itself cannot be used, and `WrongStore`, before anything is done, where it is not known which store that is: nothing is ever
    recovered into another one than its own.
    """
    folder = Path(rings_beside(data) if rings is None else rings)
    refused: list[Refusal] = []

    def refuse(path: Path, error: StorageError) -> None:
        refused.append(Refusal(os.fspath(path), error.message))

    before = look_at_rings(folder)
    try:
        kind = store_kind(data, store)
    except OSError as error:
        raise StorageError(f"{os.fspath(data)!r} cannot be looked at: {error.strerror}") from error
    except WrongStore:
        if store is not None or kinds_at(data) or before.rings or before.leftovers or before.strange:
            raise
        if before.problem is not None:
            refuse(folder, StorageError(f"the folder cannot be listed: {before.problem}"))
        return Repaired(Recovery(), (), (), (), (), (), tuple(refused), None)
    if end_sessions and kind != "jsonl":
        raise WrongStore(f"--end-sessions is for jsonl: stores, and {os.fspath(data)} is a {kind}: store; leave it out")
    with closing(_OPEN[kind](data) if opened is None else opened()) as backend:
        if end_sessions and not isinstance(backend, JsonlStorage):
            raise WrongStore(
                f"--end-sessions is for files of sessions: of {os.fspath(data)}, which has files of days, nobody knows"
                f" which sessions"
                " a process has open; leave it out"
            )
        recovery, removed = Recovery(), []
        if before.problem is not None:
            refuse(folder, StorageError(f"the folder cannot be listed: {before.problem}"))
        elif before.rings or before.leftovers or before.strange:
            recovery = recover_rings(RingFolder(folder), [backend], clock, ids, refuse)
            removed = [name for name in look_at_rings(folder).leftovers if _remove(folder, name, refuse)]
        after = look_at_rings(folder)
        ended: tuple[str, ...] = ()
        if end_sessions and isinstance(backend, JsonlStorage):
            ended = _end_sessions(backend, after, clock, ids, recovery, refuse)
        worth_telling = recovery.rings or recovery.sessions
        session_id = record_recovery(recovery, [backend], clock, ids) if worth_telling else None
        return Repaired(
            recovery,
            getattr(backend, "repairs", ()),
            ended,
            tuple(name for name in after.damaged if name not in before.damaged),
            tuple(removed),
            tuple(Living(ring.file, ring.pid) for ring in after.rings if ring.state == "living"),
            tuple(refused),
            session_id,
        )


def _remove(folder: Path, name: str, refuse: Callable[[Path, StorageError], None]) -> bool:
    """Remove what is left over, or set it aside where it says more than it should; whether it was removed."""
    path = folder / name
    try:
        if _is_empty(path):
            path.unlink(missing_ok=True)
            return True
        path.rename(free_name(path))
    except OSError as error:
        refuse(path, StorageError(f"it cannot be removed: {error.strerror}"))
    return False


def _is_empty(path: Path) -> bool:
    """Whether nothing that was recorded is lost with a file: a ring without records, or definitions of no ring.

    Those of a ring that was set aside are needed to read it. Raises `OSError`.
    """
    try:
        if path.suffix == PART and not path.stem.endswith(DEFINITIONS):
            with opened_to_look(path) as descriptor:
                scan = scan_file(descriptor)
            return not scan.records and not scan.torn
        read_definitions(os.fspath(path))
    except (NotRegular, StorageError):
        return False
    ring = path.name.partition(".")[0] + RING + DAMAGED
    return not any(name.startswith(ring) for name in os.listdir(path.parent))


def _end_sessions(
    store: JsonlStorage,
    rings: RingsLook,
    clock: Clock,
    ids: IdSource,
    recovery: Recovery,
    refuse: Callable[[Path, StorageError], None],
) -> tuple[str, ...]:
    """End the sessions that have no end, verify, are in no ring, and that no process has open."""
    if rings.problem is not None or any(ring.state != "living" for ring in rings.rings):
        refuse(store.folder, StorageError("no session is ended while there are rings that could not be recovered"))
        return ()
    found = look_at_store(store.folder, rings.living_sessions)
    open_now = [
        each.session_id
        for each in found.sessions
        if each.events and not (each.ended or each.locked or each.fault or each.problem)
    ]
    definitions = _definitions(store, open_now)
    close_what_is_open(definitions, [store], clock, ids, recovery)
    store.flush(durable=True)
    return tuple(open_now)


def _definitions(store: JsonlStorage, session_ids: Iterable[str]) -> dict[int, Definition]:
    """What the first event of every session says of it."""
    first = (next(store.events(session_id)) for session_id in session_ids)
    return {number: (event.session_id, event.trace_id, event.span_id) for number, event in enumerate(first, 1)}
