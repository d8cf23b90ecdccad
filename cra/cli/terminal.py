"""What the commands print: tables and sentences for people, one JSON document for programs.

Used by every command; nothing else in `cra.cli` writes to a stream. What comes out of a file (goals, names, reasons) is shown
with its control characters spelt out, so that no trace or atlas can steer the terminal it is shown on, and never read as
markup.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from cra.cli import layout

PROGRESS_AFTER_SECONDS = 1.0
TOLD_EVERY_SECONDS = 10.0


class ReaderGone(Exception):
    """Whoever read the output has closed it; there is nobody left to tell anything."""


class OutputFailed(Exception):
    """Standard output does not take what is written to it; the message is the system's reason."""


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        raise OutputFailed(error.strerror or str(error)) from None


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
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def say(text: object = "", style: str = "", *, fold: bool = True) -> None:
    """One line on stdout; only a screen folds it, and not one that is there to be copied (`fold=False`)."""
    say_text(Text(clean(text), style=style), fold=fold)


def say_indented(text: object) -> None:
    """Text on stdout, set in below what it belongs to; only a screen folds it, and fills its lines."""
    if not on_screen():
        say_text(Text(" " * layout.INDENT + clean(text)))
        return
    with _writing():
        _console().print(Padding(clean(text), (0, 0, 0, layout.INDENT)))


def say_text(text: Text, *, fold: bool = True) -> None:
    """Text with styles on stdout. What of it comes from outside has to be `clean` already."""
    with _writing():
        _console().print(text, soft_wrap=not (fold and on_screen()))


def on_screen() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def screen_width() -> int:
    """The columns of the terminal that stdout is."""
    return _console().width


def complain(text: object) -> None:
    """One line on stderr, after the program's name, if stderr takes it."""
    with suppress(OSError):
        _console(stderr=True).print(Text.assemble(("cra: ", "bold red"), clean(text)), soft_wrap=True)


def say_json(document: Any) -> None:
    """`document` as the one JSON document on stdout, ASCII only."""
    with _writing():
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        sys.stdout.flush()


def say_lines(lines: Iterable[bytes]) -> None:
    """Lines of UTF-8 on stdout: byte by byte as they are, unless a terminal would have to show them."""
    if on_screen():
        for line in lines:
            say(line.decode().removesuffix("\n"))
        return
    with _writing():
        sys.stdout.flush()
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()


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
    """A title and a table on stdout; columns in `numbers` are set flush right.

    On a screen the last `folded` columns are folded between words and the others kept whole; where that does not fit, every row
    becomes a record of a few lines. In a pipe a row is one line, so that it can be searched.
    """
    console = _console()
    cells = [[Text(clean(cell), style=cell.style if isinstance(cell, Cell) else "") for cell in row] for row in rows]
    say()
    say(title, "bold")
    if not on_screen():
        say_text(Text("\n").join(layout.for_pipe(columns, cells, numbers)))
        return
    with _writing():
        for part in layout.for_screen(columns, cells, numbers, folded, console.width):
            console.print(part)


@contextmanager
def working(description: str) -> Iterator[Callable[[int, int], None]]:
    """A moving bar on stderr with the time taken so far, from when the work has taken a second until it is done.

    What it gives may be told how much is done, and of how much.
    """
    console = _console(stderr=True)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True)
    task = bar.add_task(clean(description), total=None)
    late = threading.Timer(PROGRESS_AFTER_SECONDS, bar.start)
    late.daemon = True
    if console.is_terminal:
        late.start()
    try:
        yield lambda done, total: bar.update(task, completed=done, total=total)
    finally:
        late.cancel()
        if late.ident is not None:
            late.join()
        if bar.live.is_started:
            bar.stop()


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """A function that tells on stderr how far the work is: a line that changes on a terminal, one every ten seconds elsewhere."""
    console = _console(stderr=True)
    last = time.monotonic() if not console.is_terminal else 0.0

    def tell(text: str) -> None:
        nonlocal last
        if console.is_terminal:
            status.update(clean(text))
        elif time.monotonic() - last >= TOLD_EVERY_SECONDS:
            last = time.monotonic()
            complain(text)

    with console.status("") as status:
        yield tell
