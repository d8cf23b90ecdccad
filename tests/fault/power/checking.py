"""Holding a folder that a power cut left against what was acknowledged before it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from unittest import mock

import cra
from cra.errors import StorageError
from cra.storage import boot
from cra.storage.base import StorageBackend
from cra.storage.journal.verify import verify_journal
from cra.trace.closing import OUTCOME_UNKNOWN
from cra.trace.event import Event
from tests.fault.power.recording import Recording
from tests.fault.power.workload import open_store, path_of, start_id
from tests.support.crashes import ATLAS

AFTERWARDS = start_id(99)
"""What the start of the machine is known by that comes after the cut."""


class Violation(AssertionError):
    """A promise that was not kept."""


def check(recording: Recording, root: Path, acknowledged: dict[str, int], *, again: bool = True) -> int:
    """Open the store below `root` as after a power cut, and see that

    - it opens, and every session is a beginning of what was written, all of it that was acknowledged, and then only what a
      recovery closes it with,
    - nothing is there that was not written, and every chain verifies,
    - it goes on: a session more is recorded, made durable and read back, with `again` by the next process as well.

    Returns how many events were there. Raises `Violation`.
    """
    path = path_of(recording.store, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mock.patch.object(boot, "boot_id", return_value=AFTERWARDS):
        try:
            return _check(recording, path, acknowledged, again=again)
        except StorageError as error:
            raise Violation(f"it cannot be used: {error.message}") from error


def _check(recording: Recording, path: Path, acknowledged: dict[str, int], *, again: bool) -> int:
    backend, resolver = _open(recording, path)
    with closing(resolver):
        found = _read(backend)
        for session, count in acknowledged.items():
            held = len(found.get(session, ()))
            if held < count:
                raise Violation(f"{count} events of session {session} were acknowledged as durable, {held} are there")
        found.pop(resolver.session_id, None)
        for session, events in found.items():
            _check_session(session, events, recording.written.get(session), acknowledged.get(session, 0))
        there = sum(map(len, found.values()))
        later = _go_on(resolver)
        found[later[0].session_id] = later
        _check_same(found, _read(backend))
    if again:
        backend, resolver = _open(recording, path)
        with closing(resolver):
            _check_same(found, _read(backend))
    _check_files(recording.store, path)
    return there


def _check_same(found: dict[str, list[Event]], now: dict[str, list[Event]]) -> None:
    for session, events in found.items():
        if now.get(session) != events:
            raise Violation(f"session {session} is another one when it is read again")


def _open(recording: Recording, path: Path) -> tuple[StorageBackend, cra.Resolver]:
    backend = open_store(recording.store, path)
    return backend, cra.Resolver(backend)


def _read(backend: StorageBackend) -> dict[str, list[Event]]:
    return {session: list(backend.events(session)) for session in backend.sessions()}


def _check_session(session: str, events: list[Event], written: list[Event] | None, acknowledged: int) -> None:
    if written is None:
        raise Violation(f"session {session} is one that nobody wrote")
    same = next((n for n, (a, b) in enumerate(zip(events, written)) if a != b), min(len(events), len(written)))
    if same < acknowledged:
        raise Violation(f"event {same} of session {session} was acknowledged as durable, and is another one")
    for event in events[same:]:
        if not _closes(event):
            raise Violation(
                f"event {event.sequence} of session {session}, {event.event_type}, was not written in that place"
            )
    if not cra.verify_chain(events).valid:
        raise Violation(f"the chain of session {session} does not verify: {cra.verify_chain(events).message}")


def _closes(event: Event) -> bool:
    if event.event_type == "action.failed":
        return event.payload.get("error_code") == OUTCOME_UNKNOWN
    return event.event_type == "session.ended" and event.payload.get("reason") == "error"


def _go_on(resolver: cra.Resolver) -> list[Event]:
    """Record a session, and have it durable."""
    resolver.load_atlas(ATLAS)
    session = resolver.create_session("later", "go on")
    session.resolve("a lamp")
    session.end()
    resolver.flush("durable")
    events = list(resolver.trace(session.session_id))
    if not cra.verify_chain(events).valid or events[-1].event_type != "session.ended":
        raise Violation("what was recorded after the cut does not verify")
    return events


def _check_files(store: str, path: Path) -> None:
    if store == "journal":
        faults = verify_journal(path).faults
        if faults:
            raise Violation(f"the journal does not verify: {faults}")
    elif store == "sqlite":
        with closing(sqlite3.connect(path)) as database:
            verdict = database.execute("PRAGMA integrity_check").fetchall()
        if verdict != [("ok",)]:
            raise Violation(f"the database is damaged: {verdict}")
