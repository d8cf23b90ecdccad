"""A checkup of a store: what there is, what is wrong with it, and for every problem the command that comes next.

Used by `cra doctor --data`. It changes nothing. What it looks at: `cra.trace.ring_look`, and
`store_look`, `journal_look` or `sqlite_look` beside it.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cra.reference.ring_scan import NOT_COMMITTED
from cra.storage.journal.names import LOCK
from cra.storage.lines import SUFFIX
from cra.trace.journal_look import JournalLook, look_at_journal
from cra.trace.ring_folder import RING, rings_beside
from cra.trace.ring_look import RingLook, RingsLook, look_at_rings
from cra.trace.sqlite_look import SqliteLook, look_at_sqlite
from cra.trace.store_kind import KINDS, Kind, StoreKind, is_ring_folder, kinds_at
from cra.trace.store_look import SessionLook, StoreLook, look_at_store


class Problem(msgspec.Struct, frozen=True):
    """Something that needs attention: in which file, of what kind, in a sentence, and what to do next."""

    file: str
    code: str
    message: str
    next: str


class Checkup(msgspec.Struct, frozen=True):
    """A store and its rings. `kind` is that of the store, None where nothing says so; of a folder of rings alone it is
    `rings`, and `store` is None. `open_sessions` have no end and a process that lives."""

    data: str
    kind: Kind | None
    store: StoreLook | JournalLook | SqliteLook | None
    rings: RingsLook
    open_sessions: tuple[str, ...]
    problems: tuple[Problem, ...]


def check(data: str | os.PathLike[str], rings: str | os.PathLike[str] | None = None) -> Checkup:
    """Look at a store and its rings (`rings`, or those beside it), or at a folder of rings. It raises over nothing that lies
    there."""
    if rings is None and is_ring_folder(data):
        look = look_at_rings(data)
        recover = f"cra trace recover STORE --ring {_quoted(data)}"
        return Checkup(os.fspath(data), "rings", None, look, (), tuple(_of_rings(look, look.dead_sessions, recover)))
    look = look_at_rings(rings_beside(data) if rings is None else rings)
    kind = _kind(data)
    recover = f"cra trace recover {_quoted(data)}" + ("" if rings is None else f" --ring {_quoted(rings)}")
    recover += " --store KIND" if kind is None else ""
    store: StoreLook | JournalLook | SqliteLook
    if kind == "journal":
        store = look_at_journal(data, {ring.file.removesuffix(RING) for ring in look.rings if ring.state == "living"})
        of_store = _of_journal(store, recover)
    elif kind == "sqlite":
        store = look_at_sqlite(data)
        of_store = _of_sqlite(store, recover)
    else:
        store = look_at_store(data, look.living_sessions)
        of_store = _of_store(store, look, recover)
        if kind is None and look.rings:
            of_store = itertools.chain(_of_unknown(store), of_store)
    ended = {session.session_id for session in store.sessions if session.ended}
    problems = (
        *of_store,
        *_of_rings(look, look.dead_sessions - ended, recover),
    )
    living = look.living_sessions
    if isinstance(store, StoreLook):
        living |= {session.session_id for session in store.sessions if session.locked}
    return Checkup(os.fspath(data), kind, store, look, tuple(sorted(living - ended)), problems)


def _kind(data: str | os.PathLike[str]) -> StoreKind | None:
    """What is looked at. Of a mix it is the journal, and the rest is strange there."""
    try:
        kinds = kinds_at(data)
    except OSError:
        return "sqlite" if os.path.isfile(data) else None
    return next((kind for kind in KINDS if kind in kinds), None)


def _quoted(path: str | os.PathLike[str]) -> str:
    return shlex.quote(os.fspath(path))


def _of_rings(look: RingsLook, unfinished: frozenset[str], recover: str) -> Iterator[Problem]:
    folder = Path(look.folder)
    if look.problem is not None:
        yield _no_folder(look.folder, look.problem)
    for ring in look.rings:
        path = folder / ring.file
        if ring.state == "dead":
            yield Problem(os.fspath(path), "dead_ring", _of_dead_ring(ring, unfinished), recover)
        elif ring.state == "unreadable" and os.access(path, os.R_OK):
            yield Problem(os.fspath(path), "damaged_ring", f"{ring.problem}; it will be set aside", recover)
        elif ring.state == "unreadable":
            yield _unreadable(path, ring.problem)
    for name, kind in look.strange.items():
        path = folder / name
        message = f"it is {kind} with the name of a ring, and no runtime starts with it there; move it away first"
        yield Problem(os.fspath(path), "not_regular", message, f"mv {_quoted(path)} ELSEWHERE/")
    for name in look.orphans:
        path = folder / name
        message = (
            "it is a spool whose ring is gone, and no recovery finds it; keep it, it holds events that a store may lack"
        )
        yield Problem(os.fspath(path), "spool_without_ring", message, f"mv {_quoted(path)} ELSEWHERE/")
    for name in look.leftovers:
        yield Problem(os.fspath(folder / name), "leftover", "left by a process that died; no ring needs it", recover)
    yield from _of_damaged(folder, look.damaged)


def _of_dead_ring(ring: RingLook, unfinished: frozenset[str]) -> str:
    """What recovery will find in a ring, in a sentence."""
    waiting = f"{_counted(ring.records, 'record')} may not be stored" if ring.records else "all it recorded is stored"
    parts = [f"its process is gone, and {waiting}"]
    open_now = len(unfinished & set(ring.sessions))
    if open_now:
        parts.append(f"{_counted(open_now, 'session')} open")
    never = ring.torn.get(NOT_COMMITTED, 0)
    if never:
        parts.append(f"{_counted(never, 'record')} that nobody was told of, torn")
    parts += [
        f"{_counted(count, 'place')} torn ({reason})" for reason, count in ring.torn.items() if reason != NOT_COMMITTED
    ]
    if ring.definitions is not None:
        parts.append(f"definitions: {ring.definitions}")
    if ring.spool_bytes:
        stores = ", ".join(ring.stores) or "a store"
        parts.append(f"{_counted(ring.spooled, 'event')} spooled for {stores}, which was away")
    if ring.spool is not None:
        parts.append(f"spool: {ring.spool}")
    return "; ".join(parts)


def _of_store(store: StoreLook, look: RingsLook, recover: str) -> Iterator[Problem]:
    folder = Path(store.folder)
    if store.problem is not None:
        yield _no_folder(store.folder, store.problem)
    recovery_comes_first = any(
        ring.state != "living" for ring in look.rings
    )  # only then is it known which no ring knows
    for name, kind in store.strange.items():
        path = folder / name
        message = f"it is {kind} with the name of a trace, and no runtime can open the store; move it away first"
        yield Problem(os.fspath(path), "not_regular", message, f"mv {_quoted(path)} ELSEWHERE/")
    for day in store.days:
        if day.torn_bytes:
            message = f"it ends in {_counted(day.torn_bytes, 'byte')} of a line that was never finished"
            yield Problem(os.fspath(folder / day.file), "torn_tail", message, recover)
    if store.days:  # whose process has them open, nobody knows: a file is locked while a batch is written
        for session in store.sessions:
            if session.fault is not None:
                message = (
                    f"event {session.fault.line} of session {session.session_id} does not verify: {session.fault.error_type}:"
                    f" {session.fault.message}"
                )
                yield Problem(os.fspath(folder / session.file), "chain", message, f"cra trace verify {_quoted(folder)}")
    for session in () if store.days else store.sessions:
        known = recovery_comes_first or session.session_id in look.living_sessions
        yield from _of_session(folder / session.file, session, known=known, recover=recover)
    for name in store.leftovers:
        path = folder / name
        message = "an export that was not finished, unless one is running now"
        yield Problem(os.fspath(path), "leftover", message, f"rm {_quoted(path)}")
    yield from _of_damaged(folder, store.damaged)


def _of_session(path: Path, session: SessionLook, *, known: bool, recover: str) -> Iterator[Problem]:
    if session.problem is not None:
        yield _unreadable(path, session.problem)
        return
    if session.fault is not None:
        fault = session.fault
        message = f"line {fault.line} does not verify: {fault.error_type}: {fault.message}"
        yield Problem(os.fspath(path), "chain", message, f"cra trace verify {_quoted(path)}")
    if session.torn_bytes:
        message = f"it ends in {_counted(session.torn_bytes, 'byte')} of a line that was never finished"
        yield Problem(os.fspath(path), "torn_tail", message, recover)
    if session.events and not (session.ended or session.locked or known or session.fault):
        message = "the session has no end, no process has it open, and no ring knows it; rings elsewhere: look with --ring first"
        yield Problem(os.fspath(path), "no_end", message, f"{recover} --end-sessions")


def _of_journal(store: JournalLook, recover: str) -> Iterator[Problem]:
    folder = Path(store.folder)
    keep = f"cp -a {_quoted(folder)} ELSEWHERE/"
    if store.problem is not None:
        yield Problem(
            store.folder, "unreadable", f"the journal cannot be read: {store.problem}", f"ls -la {_quoted(folder)}"
        )
    for name, kind in store.strange.items():
        path = folder / name
        message = f"it is {kind} with a name of the journal's, which was not read for that; move it away first"
        yield Problem(os.fspath(path), "not_regular", message, f"mv {_quoted(path)} ELSEWHERE/")
    if store.strangers:
        message = (
            f"{_counted(len(store.strangers), 'file')} of a jsonl: store in the folder of a journal, which lacks what they say;"
            " nothing is recovered before they are elsewhere, and `cra trace verify` reads them there"
        )
        yield Problem(store.folder, "mixed", message, f"mv {_quoted(folder)}/*{SUFFIX}* ELSEWHERE/")
    for series in store.series:
        if series.state == "dead":
            torn = f", {_counted(series.torn_bytes, 'byte')} torn" if series.torn_bytes else ""
            end = f"its last segment is not sealed{torn}" if series.unsealed else "nothing but its lock is left to do"
            message = f"the process that wrote the series is gone; {end}"
            yield Problem(os.fspath(folder / (series.unsealed or series.name + LOCK)), "dead_series", message, recover)
    for fault in store.faults:
        message = f"it is not what was written: {fault.message}; keep a copy, and compare it with an earlier one"
        yield Problem(os.fspath(folder / fault.file), "chain", message, keep)


def _of_sqlite(store: SqliteLook, recover: str) -> Iterator[Problem]:
    if store.problem is not None:
        next_step = recover if store.log_bytes else f"ls -l {_quoted(store.file)}"
        yield Problem(store.file, "unreadable", f"the store cannot be read: {store.problem}", next_step)
    for fault in store.faults:
        message = f"SQLite finds a fault: {fault}; keep a copy, and save what is left"
        yield Problem(store.file, "damaged_store", message, f"sqlite3 {_quoted(store.file)} .recover")


def _of_unknown(store: StoreLook) -> Iterator[Problem]:
    message = (
        "nothing in it says what kind of store it is, and its rings do not say so; KIND is what the URL of the store begins with:"
        f" {', '.join(KINDS)}"
    )
    yield Problem(store.folder, "unknown_store", message, f"cra trace recover {_quoted(store.folder)} --store KIND")


def _of_damaged(folder: Path, names: tuple[str, ...]) -> Iterator[Problem]:
    for name in names:
        path = folder / name
        message = "set aside by recovery, because not all of it could be read"
        yield Problem(os.fspath(path), "damaged", message, f"mv {_quoted(path)} ELSEWHERE/")


def _no_folder(folder: str, problem: str) -> Problem:
    return Problem(folder, "unreadable", f"the folder cannot be listed: {problem}", f"ls -ld {_quoted(folder)}")


def _unreadable(path: Path, problem: str | None) -> Problem:
    return Problem(os.fspath(path), "unreadable", f"the file cannot be read: {problem}", f"ls -l {_quoted(path)}")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
