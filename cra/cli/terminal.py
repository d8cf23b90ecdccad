"""What the commands print: tables and sentences for people, one JSON document for programs.

Used by every command; nothing else in `cra.cli` writes to a stream. What comes out of a file (goals, names, reasons) is shown
with its control characters spelt out, so that no trace or atlas can steer the terminal it is shown on, and never read as
markup.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PROGRESS_AFTER_SECONDS = 1.0
PIPE_WIDTH = 10_000
_GAP = 3
_LEAST_WIDTH = 12


class ReaderGone(Exception):
    """Whoever read the output has closed it; there is nobody left to tell anything."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise ReaderGone


def clean(value: object) -> str:
    """`value` as text in which everything that is not printable is spelt out as an escape (`\\x1b`, `\\u202e`)."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def in_words(value: object) -> str:
    """A JSON value as a person reads it: strings as they are, lists of them with commas, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False)


def _console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # A pipe gets one line a row: what is folded for a screen cannot be searched.
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return _Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def say(text: object = "", style: str = "") -> None:
    """One line on stdout; only a terminal breaks it."""
    console = _console()
    console.print(Text(clean(text), style=style), soft_wrap=not console.is_terminal)


def complain(text: object) -> None:
    """One line on stderr, after the program's name."""
    _console(stderr=True).print(Text.assemble(("cra: ", "bold red"), clean(text)), soft_wrap=True)


def say_json(document: Any) -> None:
    """`document` as the one JSON document on stdout, ASCII only."""
    try:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def say_lines(lines: Iterable[bytes]) -> None:
    """Lines of UTF-8 on stdout: byte by byte as they are, unless a terminal would have to show them."""
    if sys.stdout.isatty():
        for line in lines:
            say(line.decode().removesuffix("\n"))
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise ReaderGone from None


class Cell(str):
    """A table cell with a style of its own."""

    style: str

    def __new__(cls, text: object, style: str) -> Cell:
        cell = super().__new__(cls, str(text))
        cell.style = style
        return cell


def say_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Sequence[str] = (),
    folded: int = 1,
) -> None:
    """A title and a table on stdout.

    On a narrow screen the last `folded` columns are folded and the others kept whole, as long as that leaves room for them.
    Those in `numbers` are set flush right.
    """
    console = _console()
    cells = [[Text(clean(cell), style=cell.style if isinstance(cell, Cell) else "") for cell in row] for row in rows]
    kept = len(columns) - folded
    widths = (max(len(columns[at]), *(row[at].cell_len for row in cells), 0) for at in range(kept))
    # rich crops what it may not fold, so a screen too narrow for that has everything folded.
    fits = sum(width + _GAP for width in widths) + folded * _LEAST_WIDTH <= console.width
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(columns):
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        table.add_column(name, no_wrap=fits and position < kept, overflow="fold", justify=justify)
    for row in cells:
        table.add_row(*row)
    say()
    say(title, "bold")
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(table)
    lines = (line.rstrip() for line in drawn.get().splitlines())
    console.print(Text("\n".join(filter(None, lines))), soft_wrap=True)


@contextmanager
def working(description: str) -> Iterator[None]:
    """A moving bar on stderr with the time taken so far, from when the work has taken a second until it is done."""
    console = _console(stderr=True)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True)
    bar.add_task(clean(description), total=None)
    late = threading.Timer(PROGRESS_AFTER_SECONDS, bar.start)
    late.daemon = True
    if console.is_terminal:
        late.start()
    try:
        yield
    finally:
        late.cancel()
        if late.ident is not None:
            late.join()
        if bar.live.is_started:
            bar.stop()
