"""`cra trace`: verify, read, compare, recompute and export traces, and repair the folder they are in.

Only `export` writes a file, and only where it is told to; only `recover` (`cra.cli.recovering`) changes a store.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

import cra
from cra.cli.events import say_events
from cra.cli.files import naming
from cra.cli.options import Json
from cra.cli.recovering import recover
from cra.cli.replaying import say_replay
from cra.cli.terminal import in_words, say, say_json, say_lines, say_table, working
from cra.cli.verifying import fault_of, verify
from cra.errors import SessionNotFound, StorageError
from cra.ids import UUID_PATTERN
from cra.storage.base import StorageBackend
from cra.storage.open import names_path, open_storage, split_url
from cra.trace.event import Event
from cra.trace.jsonl import dump_line, read_events, write_events

GRADE_STYLES = {"identical": "green", "semantically_equivalent": "green", "different": "red"}

app = typer.Typer(help="Verify, show, compare, replay and export traces; repair the folder they are in.")
app.command()(verify)


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
            say(fault_of(file, verified), "bold red")
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
    if not names_path(storage):
        return
    try:
        scheme, path = split_url(storage)
    except StorageError as error:
        raise typer.BadParameter(error.message, param_hint="--storage") from None
    kind, is_there = ("file", Path.is_file) if scheme == "sqlite" else ("folder", Path.is_dir)
    if not is_there(Path(path)):
        raise typer.BadParameter(f"there is no {kind} {path}", param_hint="--storage")


def _open_to_read(storage: str) -> StorageBackend:
    """A store that nothing is written to: where it is a database, no tables are made in it."""
    if storage.startswith("postgresql:"):
        from cra.storage.postgresql import PostgreSQLStorage

        return PostgreSQLStorage(storage, make=False)
    (backend,) = open_storage(storage)
    return backend


app.command()(recover)
