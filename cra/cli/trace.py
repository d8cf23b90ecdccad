"""`cra trace`: verify, read, compare, recompute and export traces, and repair the folder they are in.

Only `export` writes a file, and only where it is told to; only `recover` (`cra.cli.recovering`) changes a store.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
import typer

import cra
from cra.cli.anchors import FORM, anchor_of, hold_to, parse_anchor
from cra.cli.events import say_events
from cra.cli.files import naming
from cra.cli.options import Json
from cra.cli.recovering import recover
from cra.cli.replaying import say_replay
from cra.cli.terminal import Cell, in_words, say, say_json, say_lines, say_table, working
from cra.errors import SessionNotFound, StorageError
from cra.ids import UUID_PATTERN
from cra.reference.chain import TAIL_NOTICE
from cra.reference.grammar import DIALECTS
from cra.storage.base import StorageBackend
from cra.storage.open import open_storage
from cra.trace.event import Event
from cra.trace.jsonl import dump_line, read_events, write_events
from cra.trace.verify import FileVerification

GRADE_STYLES = {"identical": "green", "semantically_equivalent": "green", "different": "red"}
ANCHOR_HINT = f"Keep the anchor of every session where the trace cannot be changed, and verify with --anchor {FORM}."

app = typer.Typer(help="Verify, show, compare, replay and export traces; repair the folder they are in.")


def _regular(given: Path | list[Path]) -> Path | list[Path]:
    """What there may be else has no end, or nobody who writes to it."""
    for path in [given] if isinstance(given, Path) else given:
        if not path.is_file():
            raise typer.BadParameter(f"{path} is not a regular file; write the trace to a file and give its path")
    return given


_TraceFile = Annotated[
    Path, typer.Argument(help="A trace: JSON lines.", exists=True, dir_okay=False, callback=_regular)
]


@app.command()
def verify(
    files: Annotated[
        list[Path],
        typer.Argument(help="Traces: JSON lines.", exists=True, dir_okay=False, callback=_regular, metavar="FILE..."),
    ],
    dialect: Annotated[str, typer.Option(help="Who wrote it.", metavar="|".join(DIALECTS))] = "trace-1.0",
    anchor: Annotated[
        list[str] | None,
        typer.Option(help="An event that a session has to reach, kept elsewhere. May be repeated.", metavar=FORM),
    ] = None,
    as_json: Json = False,
) -> int:
    """Check grammar, sequence, chain and hashes: exit code 0 when every file is sound, 1 when one is not."""
    anchors = [parse_anchor(text) for text in anchor or ()]
    results: list[tuple[Path, FileVerification]] = []
    for file in files:
        with working(f"verifying {file.name}"):
            result = cra.verify_file(file, dialect=dialect)
            for kept in anchors:
                result = hold_to(kept, file, result, dialect)
            results.append((file, result))
    sessions = [item for _, result in results for item in result.sessions.items()]
    missing = sorted({session_id for session_id, _, _ in anchors} - {session_id for session_id, _ in sessions})
    valid = not missing and all(result.valid for _, result in results)
    if as_json:
        documents = [{"file": str(file)} | msgspec.to_builtins(result) for file, result in results]
        say_json({"valid": valid, "files": documents, "missing_sessions": missing})
        return int(not valid)
    for file, result in results:
        _say_verification(file, result)
    for session_id in missing:
        say(f"trace not valid: no file has the session {session_id}, which has an anchor", "bold red")
    if len(sessions) == 1 and valid:
        say(f"anchor: {anchor_of(*sessions[0])}", fold=False)
    if any(result.valid and result.message for _, result in results):
        say(TAIL_NOTICE, "dim")
        say(ANCHOR_HINT, "dim")
    return int(not valid)


def _say_verification(file: Path, result: FileVerification) -> None:
    if result.sessions:
        say_table(
            str(file),
            ("session", "events", "result", "last hash"),
            [
                (
                    session_id,
                    chain.event_count,
                    Cell("sound", "green") if chain.valid else Cell(chain.error_type, "red"),
                    f"{chain.last_hash[:12]}…" if chain.last_hash else "",
                )
                for session_id, chain in result.sessions.items()
            ],
            numbers=("events",),
        )
    for warning in result.warnings:
        say(f"warning: {warning}", "yellow")
    if result.error_index is None:
        say(f"trace verified: {result.event_count} events", "bold green")
    else:
        say(_fault(file, result), "bold red")


def _fault(file: Path, result: FileVerification) -> str:
    assert result.error_index is not None
    line = result.error_index + 1
    where = f"line {line} of {result.event_count}" if line <= result.event_count else "at its end"
    return f"trace not valid: {file}, {where}: {result.error_type}: {result.message}"


@app.command()
def show(file: _TraceFile, as_json: Json = False) -> int:
    """Show the events of a trace, session by session. It does not verify them.

    On a screen ids and hashes are shortened; in a pipe an event is one line, with all of them whole.
    """
    sessions: dict[str, list[Event]] = {}
    with working(f"reading {file.name}"):
        for event in read_events(file):
            sessions.setdefault(event.session_id, []).append(event)
    if as_json:
        documents = [{"session_id": name, "events": [e.to_dict() for e in events]} for name, events in sessions.items()]
        say_json({"sessions": documents})
        return 0
    for session_id, events in sessions.items():
        say_events(f"session {session_id}, {events[0].timestamp[:10]}", events)
    return 0


@app.command()
def diff(a: _TraceFile, b: _TraceFile, as_json: Json = False) -> int:
    """Compare two traces, ids, times and hashes aside: exit code 0 when they mean the same, 1 when they differ."""
    with working("comparing"):
        result = cra.diff(read_events(a), read_events(b))
    if as_json:
        say_json(result.to_dict())
    else:
        say(result.grade, GRADE_STYLES[result.grade])
        if result.entries:
            say_table(
                f"Differences ({len(result.entries)})",
                ("event", "path", "kind", a.name, b.name),
                [(e.index, e.path, e.kind, in_words(e.a), in_words(e.b)) for e in result.entries],
                numbers=("event",),
                folded=2,
            )
    return int(result.grade == "different")


@app.command()
def replay(
    file: _TraceFile,
    atlas: Annotated[
        list[Path], typer.Option(help="An atlas the trace was made with. May be repeated.", metavar="PATH")
    ],
    as_json: Json = False,
) -> int:
    """Recompute every resolution of a trace from its atlases, and verify its chains.

    Exit code 0 when all come out the same and every chain is sound, 1 when one differs, could not be recomputed or was changed.
    """
    with working("replaying"), naming(file):
        events = list(read_events(file))
        result = cra.replay(events, atlas)
        verified = cra.verify_file(file)
    if as_json:
        say_json(result.to_dict() | {"verified": verified.valid})
    else:
        say_replay(result, events)
        if verified.error_index is not None:
            say(_fault(file, verified), "bold red")
    return int(not (result.valid and result.complete and verified.valid))


@app.command()
def export(
    storage: Annotated[
        str,
        typer.Option(
            help="The store, such as jsonl:///folder, sqlite:///file or postgresql://user@host/db.", metavar="URL"
        ),
    ],
    session: Annotated[str, typer.Option(help="The session's id.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write instead of stdout.", metavar="FILE", dir_okay=False)
    ] = None,
) -> int:
    """Write one session's trace from a store, as JSON lines."""
    if not UUID_PATTERN.fullmatch(session):
        raise typer.BadParameter(
            "a session id is a lower-case UUID; it is in every event, as session_id", param_hint="--session"
        )
    _check_there(storage)
    try:
        with closing(_open_to_read(storage)) as backend:
            name, events = backend.name, list(backend.events(session))
    except StorageError as error:
        if error.__cause__ is None:  # nothing that the system refused: the store refuses the call
            raise typer.BadParameter(error.message, param_hint="--storage") from None
        raise
    if not events:
        raise SessionNotFound(f"{name} has no session {session}; its id is in every event, as session_id")
    if out is not None:
        write_events(out, events)
        say(f"{len(events)} events written to {out}")
    else:
        say_lines(map(dump_line, events))
    return 0


def _check_there(storage: str) -> None:
    """A store that is not there would be made."""
    for scheme, kind, is_there in (
        ("jsonl", "folder", Path.is_dir),
        ("journal", "folder", Path.is_dir),
        ("sqlite", "file", Path.is_file),
    ):
        path = storage.removeprefix(f"{scheme}:///")
        if path != storage and not is_there(Path(path)):
            raise typer.BadParameter(f"there is no {kind} {path}", param_hint="--storage")


def _open_to_read(storage: str) -> StorageBackend:
    """A store that nothing is written to: where it is a database, no tables are made in it."""
    if storage.startswith("postgresql:"):
        from cra.storage.postgresql import PostgreSQLStorage

        return PostgreSQLStorage(storage, make=False)
    (backend,) = open_storage(storage)
    return backend


app.command()(recover)
