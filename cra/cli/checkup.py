"""`cra doctor --data`: the state of a store and its rings, for a person who has to decide what to do with it.

What is looked at, and what a problem is: `cra.trace.checkup`. It prints.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from cra.cli import layout
from cra.cli.terminal import Cell, on_screen, say, say_indented, say_json, say_table, working
from cra.trace.checkup import Checkup, Problem, check
from cra.trace.journal_look import JournalLook
from cra.trace.ring_look import RingLook, RingsLook
from cra.trace.sqlite_look import SqliteLook
from cra.trace.store_look import StoreLook

MOST_ALIKE = 3
_STATES = {"living": "green", "dead": "yellow", "unreadable": "red"}


def check_data(data: Path, ring: Path | None, *, as_json: bool) -> int:
    """Look at a store and print what was found: 0 when it is healthy, 1 when something needs attention."""
    with working(f"looking at {data}"):
        found = check(data, ring)
    if as_json:
        document: dict[str, Any] = msgspec.to_builtins(found)
        say_json({"data": os.fspath(data), "healthy": not found.problems} | document)
    else:
        _say(found)
    return int(bool(found.problems))


def _say(found: Checkup) -> None:
    if isinstance(found.store, JournalLook):
        _say_journal(found.store, found)
    elif isinstance(found.store, SqliteLook):
        _say_sqlite(found.store, found)
    elif found.store is not None:
        _say_store(found.store, found)
    if found.rings.rings:
        _say_rings(found.rings, found)
    if found.problems:
        _say_problems(_grouped(found.problems))
    say()
    count = len(found.problems)
    if count:
        say(f"{count} problem{'s need' if count > 1 else ' needs'} attention", "bold red")
    elif found.rings.rings or (found.store is not None and found.store.sessions):
        say("healthy", "bold green")
    else:
        say("healthy: no session is stored there, and nothing waits in a ring", "bold green")


def _say_store(store: StoreLook, found: Checkup) -> None:
    sessions = [each for each in store.sessions if each.events]
    rows = [
        ("sessions", len(sessions)),
        ("open now", len(found.open_sessions)),
        ("events", sum(each.events for each in sessions)),
        ("do not verify", sum(each.fault is not None for each in sessions)),
    ]
    if store.torn:
        rows.append(("torn tails set aside", len(store.torn)))
    say_table(f"Store {store.folder}", ("what", "count"), rows, numbers=("count",), folded=0)


def _say_journal(store: JournalLook, found: Checkup) -> None:
    states = [each.state for each in store.series]
    rows = [
        ("series", len(states)),
        ("written by living processes", states.count("living")),
        ("left by dead processes", states.count("dead")),
        ("segments", store.segments),
        ("bytes", store.bytes),
        *_of_sessions(store, found),
        ("not as written", len(store.faults)),
    ]
    if store.torn:
        rows.append(("torn tails set aside", len(store.torn)))
    say_table(f"Journal {store.folder}", ("what", "count"), rows, numbers=("count",), folded=0)


def _say_sqlite(store: SqliteLook, found: Checkup) -> None:
    rows = [
        ("bytes", store.bytes),
        ("bytes in its log", store.log_bytes),
        *_of_sessions(store, found),
        ("faults that SQLite finds", len(store.faults)),
    ]
    say_table(f"SQLite {store.file}", ("what", "count"), rows, numbers=("count",), folded=0)


def _of_sessions(store: JournalLook | SqliteLook, found: Checkup) -> list[tuple[str, int]]:
    """Sessions that a dead ring has are ended by its recovery; those that no ring knows stay without an end."""
    known = found.rings.living_sessions | found.rings.dead_sessions
    lost = sum(not (each.ended or each.session_id in known) for each in store.sessions)
    rows = [("sessions", len(store.sessions)), ("open now", len(found.open_sessions)), ("events", store.events)]
    return [*rows, ("without an end, in no ring", lost)] if lost else rows


def _say_rings(look: RingsLook, found: Checkup) -> None:
    say_table(
        f"Rings {look.folder}",
        ("file", "process", "records", "torn", "sessions", "spooled", "definitions"),
        [
            (
                ring.file,
                Cell(f"{ring.pid or ''} {ring.state}".strip(), _STATES[ring.state]),
                ring.records,
                sum(ring.torn.values()),
                _sessions(ring, found),
                ring.spooled,
                "" if ring.state == "unreadable" else ring.definitions or "readable",
            )
            for ring in look.rings
        ],
        numbers=("records", "torn", "sessions", "spooled"),
    )


def _say_problems(problems: list[Problem]) -> None:
    """On a screen a few lines each, with the command whole, so that it can be copied; in a pipe one line each."""
    if not on_screen():
        say_table("Problems", ("file", "what", "next"), [(each.file, each.message, each.next) for each in problems])
        return
    say()
    say("Problems", "bold")
    for each in problems:
        say(each.file, "yellow")
        say_indented(each.message)
        say(f"{' ' * layout.INDENT}next: {each.next}", "bold", fold=False)


def _sessions(ring: RingLook, found: Checkup) -> int:
    """How many sessions are open in a ring, as far as the store does not say that they have ended."""
    ended = () if found.store is None else {each.session_id for each in found.store.sessions if each.ended}
    return sum(session not in ended for session in ring.sessions)


def _grouped(problems: tuple[Problem, ...]) -> list[Problem]:
    """More than `MOST_ALIKE` problems that say the same and ask for the same are one row."""
    kinds: dict[tuple[str, str, str], list[Problem]] = {}
    for each in problems:
        kinds.setdefault((each.code, each.message, each.next), []).append(each)
    rows: list[Problem] = []
    for alike in kinds.values():
        if len(alike) > MOST_ALIKE:
            rows.append(msgspec.structs.replace(alike[0], file=f"{alike[0].file} and {len(alike) - 1} more"))
        else:
            rows += alike
    return rows
