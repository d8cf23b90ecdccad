"""`cra trace`: verify, read, compare, recompute and export traces.

Only `export` writes a file, and only where it is told to.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
import typer

import cra
from cra.cli.terminal import Cell, in_words, say, say_json, say_lines, say_table, working
from cra.errors import SessionNotFound
from cra.reference.grammar import DIALECTS
from cra.storage.open import open_storage
from cra.trace.event import Event
from cra.trace.jsonl import dump_line, read_events, write_events
from cra.trace.verify import FileVerification

GRADE_STYLES = {"identical": "green", "semantically_equivalent": "green", "different": "red"}
SUMMARY_WIDTH = 200

app = typer.Typer(help="Verify, show, compare, replay and export traces.")

_TraceFile = Annotated[Path, typer.Argument(help="A trace: JSON lines.", exists=True, dir_okay=False)]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.command()
def verify(
    files: Annotated[
        list[Path], typer.Argument(help="Traces: JSON lines.", exists=True, dir_okay=False, metavar="FILE...")
    ],
    dialect: Annotated[str, typer.Option(help="Who wrote it.", metavar="|".join(DIALECTS))] = "trace-1.0",
    as_json: _Json = False,
) -> int:
    """Check grammar, sequence, chain and hashes: exit code 0 when every file is sound, 1 when one is not."""
    results: list[tuple[Path, FileVerification]] = []
    for file in files:
        with working(f"verifying {file.name}"):
            results.append((file, cra.verify_file(file, dialect=dialect)))
    valid = all(result.valid for _, result in results)
    if as_json:
        say_json(
            {"valid": valid, "files": [{"file": str(file)} | msgspec.to_builtins(result) for file, result in results]}
        )
    else:
        for file, result in results:
            _say_verification(file, result)
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
                    (chain.last_hash or "")[:16],
                )
                for session_id, chain in result.sessions.items()
            ],
            numbers=("events",),
        )
    for warning in result.warnings:
        say(f"warning: {warning}", "yellow")
    if result.error_index is None:
        say(f"trace verified: {result.event_count} events", "bold green")
        if result.message:
            say(result.message, "dim")
    else:
        where = f"line {result.error_index + 1} of {result.event_count}"
        say(f"trace not valid: {file}, {where}: {result.error_type}: {result.message}", "bold red")


@app.command()
def show(file: _TraceFile) -> int:
    """Show the events of a trace, one row each, session by session. It does not verify them."""
    sessions: dict[str, list[Event]] = {}
    with working(f"reading {file.name}"):
        for event in read_events(file):
            sessions.setdefault(event.session_id, []).append(event)
    for session_id, events in sessions.items():
        say_table(
            f"session {session_id}, {events[0].timestamp[:10]}",
            ("#", "time (UTC)", "event", "payload"),
            [(event.sequence, event.timestamp[11:-1], event.event_type, _in_short(event.payload)) for event in events],
            numbers=("#",),
        )
    return 0


@app.command()
def diff(a: _TraceFile, b: _TraceFile, as_json: _Json = False) -> int:
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
    as_json: _Json = False,
) -> int:
    """Recompute every resolution of a trace from its atlases: exit code 0 when all come out the same, 1 when not."""
    with working("replaying"):
        result = cra.replay(read_events(file), atlas)
    if as_json:
        say_json(result.to_dict())
        return int(not result.valid)
    say(
        f"{result.reproduced} of {result.resolutions} resolutions reproduced, {result.not_recomputed} not recomputed",
        "bold green" if result.valid else "bold red",
    )
    if result.mismatches:
        say_table(
            f"Mismatches ({len(result.mismatches)})",
            ("session", "event", "message", "expected", "actual"),
            [
                (m.session_id, m.sequence, m.message, in_words(m.expected), in_words(m.actual))
                for m in result.mismatches
            ],
            numbers=("event",),
            folded=3,
        )
    return int(not result.valid)


@app.command()
def export(
    storage: Annotated[str, typer.Option(help="The store: jsonl:///folder.", metavar="URL")],
    session: Annotated[str, typer.Option(help="The session's id.")],
    out: Annotated[Path | None, typer.Option(help="The file to write instead of stdout.", metavar="FILE")] = None,
) -> int:
    """Write one session's trace from a store, as JSON lines."""
    folder = storage.removeprefix("jsonl:///")
    if folder != storage and not Path(folder).is_dir():
        raise typer.BadParameter(f"there is no folder {folder}", param_hint="--storage")
    for backend in open_storage(storage):
        with closing(backend):
            events = list(backend.events(session))
    if not events:
        raise SessionNotFound(f"{storage} has no session {session}; its id is in every event, as session_id")
    if out is not None:
        write_events(out, events)
        say(f"{len(events)} events written to {out}")
    else:
        say_lines(map(dump_line, events))
    return 0


def _in_short(payload: dict[str, object]) -> str:
    """A payload as `name value, name value`, cut where a row would become a page."""
    text = ", ".join(f"{name} {in_words(value)}" for name, value in payload.items())
    return text if len(text) <= SUMMARY_WIDTH else text[:SUMMARY_WIDTH] + "…"
