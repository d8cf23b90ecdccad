"""`cra trace verify`: files, standard input, and whole stores.

It prints what `cra.trace.verify` and `cra.trace.verify_store` find, and changes nothing.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

import cra
from cra.cli.anchors import FORM, anchor_of, hold_to, parse_anchor
from cra.cli.options import Json
from cra.cli.terminal import Cell, say, say_json, say_table, working
from cra.errors import StorageError
from cra.reference.chain import TAIL_NOTICE, Anchor, ChainVerification
from cra.reference.grammar import DIALECTS
from cra.storage.journal.verify import JournalVerification
from cra.storage.open import names_path, open_storage, split_url
from cra.trace.store_kind import WrongStore, is_ring_folder, kinds_at, store_kind
from cra.trace.verify import FileVerification
from cra.trace.verify_store import StoreVerification, verify_backend, verify_path, verify_stream

ANCHOR_HINT = f"Keep the anchor of every session where the trace cannot be changed, and verify with --anchor {FORM}."
MOST_ROWS = 50
_STDIN = Path("-")
Result = FileVerification | StoreVerification


def _usable(given: list[Path] | None) -> list[Path] | None:
    """What there may be else has no end, or nobody who writes to it."""
    for path in given or ():
        if path != _STDIN and not path.exists():
            raise typer.BadParameter(f"'{path}' does not exist")
        if path != _STDIN and not (path.is_file() or path.is_dir()):
            raise typer.BadParameter(
                f"{path} is not a regular file; write the trace to a file and give its path, or - for stdin"
            )
    return given


def verify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Traces (JSON lines; - is standard input), folders of journal: or jsonl: stores, files of sqlite: stores.",
            callback=_usable,
            metavar="FILE...",
        ),
    ] = None,
    storage: Annotated[str | None, typer.Option(help="A store by its URL, besides or instead.", metavar="URL")] = None,
    dialect: Annotated[str, typer.Option(help="Who wrote it.", metavar="|".join(DIALECTS))] = "trace-1.0",
    anchor: Annotated[
        list[str] | None,
        typer.Option(help="An event that a session has to reach, kept elsewhere. May be repeated.", metavar=FORM),
    ] = None,
    as_json: Json = False,
) -> int:
    """Check grammar, sequence, chain and hashes: exit code 0 when everything is sound, 1 when something is not.

    Of a journal, every byte of every segment as well. Nothing is changed.
    """
    if not files and storage is None:
        raise typer.BadParameter("name a trace, a store, or - for standard input", param_hint="FILE...")
    anchors = [parse_anchor(text) for text in anchor or ()]
    results: list[tuple[str, Result]] = []
    for file in files or ():
        with working(f"verifying {file.name}"):
            results.append((str(file), _verified(file, anchors, dialect)))
    if storage is not None:
        with working("verifying the store"):
            results.append(
                (
                    storage.partition("?")[0] if names_path(storage) else storage.partition(":")[0] + ":",
                    _of_url(storage, anchors, dialect),
                )
            )
    sessions = [item for _, result in results for item in result.sessions.items()]
    missing = sorted({session_id for session_id, _, _ in anchors} - {session_id for session_id, _ in sessions})
    valid = not missing and all(result.valid for _, result in results)
    if as_json:
        documents = [{"file": name} | msgspec.to_builtins(result) for name, result in results]
        say_json({"valid": valid, "files": documents, "missing_sessions": missing})
        return int(not valid)
    for name, result in results:
        if isinstance(result, FileVerification):
            _say_file(name, result)
        else:
            _say_store(name, result)
    for session_id in missing:
        say(f"trace not valid: no file has the session {session_id}, which has an anchor", "bold red")
    if len(sessions) == 1 and valid:
        say(f"anchor: {anchor_of(*sessions[0])}", fold=False)
    if any(result.valid and (isinstance(result, StoreVerification) or result.message) for _, result in results):
        say(TAIL_NOTICE, "dim")
        say(ANCHOR_HINT, "dim")
    return int(not valid)


def _verified(path: Path, anchors: list[Anchor], dialect: str) -> Result:
    if path == _STDIN:
        return verify_stream(sys.stdin.buffer, anchors, dialect)
    if path.is_dir() or "sqlite" in kinds_at(path):
        return _of_path(path, anchors, dialect)
    result = cra.verify_file(path, dialect=dialect)
    for kept in anchors:
        result = hold_to(kept, path, result, dialect)
    return result


def _of_path(path: Path, anchors: list[Anchor], dialect: str) -> StoreVerification:
    if is_ring_folder(path):
        raise typer.BadParameter(
            f"{path} is a folder of rings, which have records and no traces; see: cra doctor --data {path}"
        )
    try:
        return verify_path(path, store_kind(path), anchors, dialect)
    except WrongStore as error:
        if "says what kind" in str(error):
            raise typer.BadParameter(f"there is nothing of a store in {path}") from None
        raise typer.BadParameter(str(error)) from None


def _of_url(url: str, anchors: list[Anchor], dialect: str) -> StoreVerification:
    try:
        if names_path(url):
            scheme, path = split_url(url)
            if not (Path(path).is_file() if scheme == "sqlite" else Path(path).is_dir()):
                raise typer.BadParameter(f"there is no store {path}", param_hint="--storage")
            if store_kind(path) != scheme:
                raise typer.BadParameter(f"{path} is no {scheme}: store", param_hint="--storage")
            return _of_path(Path(path), anchors, dialect)
        (backend,) = open_storage(url)
    except (StorageError, WrongStore) as error:
        raise typer.BadParameter(str(error), param_hint="--storage") from None
    with closing(backend):
        if not backend.readable:
            raise typer.BadParameter("that store keeps nothing that could be verified", param_hint="--storage")
        return verify_backend(backend, anchors, dialect)


def _say_file(name: str, result: FileVerification) -> None:
    _say_sessions(name, result.sessions)
    for warning in result.warnings:
        say(f"warning: {warning}", "yellow")
    if result.error_index is None:
        say(f"trace verified: {result.event_count} events", "bold green")
    else:
        say(fault_of(name, result), "bold red")


def fault_of(name: str | Path, result: FileVerification) -> str:
    """What is wrong with a file, and where, in a sentence."""
    assert result.error_index is not None
    line = result.error_index + 1
    where = f"line {line} of {result.event_count}" if line <= result.event_count else "at its end"
    return f"trace not valid: {name}, {where}: {result.error_type}: {result.message}"


def _say_store(name: str, result: StoreVerification) -> None:
    if result.journal is not None:
        _say_journal(name, result.journal)
    _say_sessions(name, result.sessions)
    for warning in result.warnings:
        say(f"warning: {warning}", "yellow")
    for session_id, chain in result.sessions.items():
        for warning in chain.warnings:
            say(f"warning: session {session_id}: {warning}", "yellow")
    if result.undelivered:
        say(
            f"warning: {result.undelivered} records wait in rings beside it, and may not be in it yet; unless their"
            f" processes live:"
            f" cra trace recover {shlex.quote(name)}",
            "yellow",
        )
    for fault in result.faults:
        say(f"store not valid: {name}: {fault}", "bold red")
    for session_id, chain in result.sessions.items():
        if chain.error_index is not None:
            where = f"event {chain.error_index + 1} of {chain.event_count}"
            say(
                f"store not valid: {name}, session {session_id}, {where}: {chain.error_type}: {chain.message}",
                "bold red",
            )
    if result.valid:
        say(f"store verified: {result.events} events in {len(result.sessions)} sessions", "bold green")


def _say_journal(name: str, journal: JournalVerification) -> None:
    rows: list[tuple[Any, ...]] = [
        (
            each.file,
            each.bytes,
            "sealed" if each.sealed else "open",
            Cell("sound", "green") if not each.faults else Cell("not as written", "red"),
        )
        for each in journal.files
    ]
    _say_rows(
        f"Segments of {name}",
        ("segment", "bytes", "", "result"),
        rows,
        [bool(each.faults) for each in journal.files],
        ("bytes",),
    )
    by_series: dict[str, list[int]] = {}
    for each in journal.files:
        by_series.setdefault(each.series, []).append(each.bytes)
    _say_rows(
        f"Series of {name}",
        ("series", "segments", "bytes"),
        [(series, len(sizes), sum(sizes)) for series, sizes in by_series.items()],
        [False] * len(by_series),
        ("segments", "bytes"),
    )


def _say_sessions(name: str, sessions: Any) -> None:
    chains: dict[str, ChainVerification] = dict(sessions)
    rows: list[tuple[Any, ...]] = [
        (
            session_id,
            chain.event_count,
            Cell("sound", "green") if chain.valid else Cell(chain.error_type, "red"),
            f"{chain.last_hash[:12]}…" if chain.last_hash else "",
        )
        for session_id, chain in chains.items()
    ]
    bad = [not chain.valid for chain in chains.values()]
    _say_rows(os.fspath(name), ("session", "events", "result", "last hash"), rows, bad, ("events",))


def _say_rows(
    title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]], bad: list[bool], numbers: tuple[str, ...]
) -> None:
    """A table of at most `MOST_ROWS`: what is bad comes first, and the rest is counted."""
    if not rows:
        return
    shown = rows
    if len(rows) > MOST_ROWS:
        order = sorted(range(len(rows)), key=lambda place: not bad[place])
        shown = [rows[place] for place in sorted(order[:MOST_ROWS])]
    say_table(title, columns, shown, numbers=numbers)
    if len(rows) > len(shown):
        say(f"and {len(rows) - len(shown)} more; all of them: --json", "dim")
