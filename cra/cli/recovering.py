"""`cra trace recover`: repairs a store while no runtime does.

What is done, and what is left alone: `cra.trace.repair`.
"""

from __future__ import annotations

import os
import shlex
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cra.cli.options import Json, Rings, place_of
from cra.cli.terminal import Cell, say, say_json, say_table, working
from cra.errors import StorageError
from cra.hotpath import RandomIds
from cra.storage.open import open_storage
from cra.timing.clock import SystemClock
from cra.trace.repair import Repaired, repair
from cra.trace.store_kind import KINDS, StoreKind, WrongStore, is_ring_folder

_COUNTS = {
    "rings": "rings of processes that are gone",
    "records": "records in them",
    "events": "events stored now",
    "torn": "torn places",
    "unreadable": "rings and spools that cannot be read",
    "sessions": "sessions ended for the dead",
    "executions": "executions closed as unknown",
    "spooled": "events in spools",
}


class Store(str, Enum):
    """What `--store` takes."""

    journal = "journal"
    jsonl = "jsonl"
    sqlite = "sqlite"


def recover(
    data: Annotated[
        str,
        typer.Argument(
            help="The folder of a journal: or jsonl: store, or the file of a sqlite: store, or its URL with options.",
            metavar="DIR",
        ),
    ],
    ring: Rings = None,
    end_sessions: Annotated[
        bool,
        typer.Option(
            "--end-sessions",
            help="End the sessions, too, that no ring knows and no process has open. Only where no process uses the store;"
            " jsonl: only.",
        ),
    ] = False,
    store: Annotated[
        Store | None, typer.Option(help="The kind of the store, where nothing in DIR says so.", show_choices=True)
    ] = None,
    as_json: Json = False,
) -> int:
    """Repair a store after a crash, without a runtime: what dead processes recorded is stored, torn tails are set aside.

    Exit code 0 when everything could be repaired, 1 when something is left.
    """
    folder, scheme = place_of(data, "DIR")
    opened = None if scheme is None else lambda: open_storage(data)[0]
    if scheme is not None and store is not None and store.value != scheme:
        raise typer.BadParameter(f"{data} is the URL of a {scheme}: store; leave --store out", param_hint="--store")
    kind = _kind(store) or _stated(scheme)
    if is_ring_folder(folder):
        raise typer.BadParameter(
            f"{folder} is a folder of rings; give the folder of the store, and this one with --ring", param_hint="DIR"
        )
    with working(f"recovering {folder}"):
        try:
            done = repair(
                folder, ring, SystemClock(), RandomIds(), end_sessions=end_sessions, store=kind, opened=opened
            )
        except WrongStore as error:
            raise typer.BadParameter(str(error), param_hint="DIR") from None
        except StorageError as error:
            if (
                scheme is not None and error.__cause__ is None
            ):  # nothing that the system refused: the store refuses the URL
                raise typer.BadParameter(error.message, param_hint="DIR") from None
            raise StorageError(f"{error.message}; what is in the way: {_doctor(folder, ring)}") from error.__cause__
    if as_json:
        found: dict[str, Any] = msgspec.to_builtins(done)
        say_json({"data": os.fspath(folder)} | found)
    else:
        _say(done, _doctor(folder, ring))
    return int(bool(done.refused))


def _kind(store: Store | None) -> StoreKind | None:
    return None if store is None else store.value


def _stated(scheme: str | None) -> StoreKind | None:
    return next((kind for kind in KINDS if kind == scheme), None)


def _doctor(folder: Path, ring: Path | None) -> str:
    """The command that says what is wrong with the folder."""
    elsewhere = "" if ring is None else f" --ring {shlex.quote(os.fspath(ring))}"
    return f"cra doctor --data {shlex.quote(os.fspath(folder))}{elsewhere}"


def _say(done: Repaired, doctor: str) -> None:
    counts = done.recovery.payload()
    if any(counts.values()):
        rows = [(words, counts[name]) for name, words in _COUNTS.items() if counts[name]]
        say_table("Recovered", ("what", "count"), rows, numbers=("count",), folded=0)
    if done.tails:
        say_table(
            "Torn tails",
            ("file", "bytes", "moved to"),
            [(tail.file, tail.torn_bytes, tail.torn_file) for tail in done.tails],
            numbers=("bytes",),
        )
    others = [
        *(("removed", name, "left over; no ring needs it") for name in done.removed),
        *((Cell("set aside", "yellow"), name, "it cannot be read, or not all of it") for name in done.set_aside),
        *(("left alone", each.file, f"process {each.pid} lives") for each in done.living),
        *((Cell("refused", "red"), each.file, each.message) for each in done.refused),
    ]
    if others:
        say_table("Other files", ("", "file", "why"), others)
    if done.session_id is not None:
        say(f"recorded as runtime.recovered in session {done.session_id}", "dim", fold=False)
    if done.refused:
        say(f"{len(done.refused)} could not be repaired; see: {doctor}", "bold red")
    elif any(counts.values()) or done.tails or done.removed or done.set_aside:
        say("repaired", "bold green")
    else:
        say("nothing to repair", "bold green")
