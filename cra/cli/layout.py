"""How a table is laid out: as columns where they fit, as one record a row where words would have to be broken.

Called by `cra.cli.terminal`, which prints. It writes to no stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

GAP = 2
INDENT = 4

Rows = Sequence[Sequence[Text]]


def column_widths(natural: Sequence[int], least: Sequence[int], room: int) -> list[int] | None:
    """As wide as the content where there is room, never narrower than `least`; None where there is no room even for that."""
    if sum(natural) <= room:
        return list(natural)
    spare = room - sum(least)
    if spare < 0:
        return None
    wanted = [wide - narrow for wide, narrow in zip(natural, least)]
    return [narrow + spare * more // sum(wanted) for narrow, more in zip(least, wanted)]


def for_pipe(columns: Sequence[str], rows: Rows, numbers: Sequence[str]) -> Iterator[Text]:
    """One line a row, columns aligned, nothing folded, no rule, and nothing behind the last word."""
    natural = _natural(columns, rows)
    for row in ([Text(name) for name in columns], *rows):
        line = Text()
        for cell, width, name in zip(row, natural, columns):
            space = " " * (width - cell.cell_len)
            line = line + space + cell if name in numbers else line + cell + space
            line.append(" " * GAP)
        line.rstrip()
        yield line


def for_screen(
    columns: Sequence[str], rows: Rows, numbers: Sequence[str], folded: int, width: int
) -> Iterator[RenderableType]:
    """A table whose last `folded` columns are folded between words, the others kept whole; records where that does not fit."""
    natural = _natural(columns, rows)
    kept = len(columns) - folded
    least = [*natural[:kept], *(_longest_word(columns, rows, at) for at in range(kept, len(columns)))]
    widths = column_widths(natural, least, width - GAP * len(columns))
    if widths is None:
        yield from _records(columns, rows, numbers, kept)
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, GAP - 1, 0, 0))
    for name, column_width in zip(columns, widths):
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        table.add_column(name, width=column_width, overflow="fold", justify=justify)
    for row in rows:
        table.add_row(*row)
    yield table


def _records(columns: Sequence[str], rows: Rows, numbers: Sequence[str], kept: int) -> Iterator[RenderableType]:
    for row in rows:
        head = [Text(f"{name} ") + cell if name in numbers else cell for name, cell in zip(columns[:kept], row)]
        head[0].stylize("bold")
        yield Text(" " * GAP, overflow="fold").join(head)
        for name, cell in zip(columns[kept:], row[kept:]):
            if cell:
                yield Padding(Text.assemble((f"{name}: ", "dim"), cell, overflow="fold"), (0, 0, 0, INDENT))


def _natural(columns: Sequence[str], rows: Rows) -> list[int]:
    return [max(cell_len(name), *(row[at].cell_len for row in rows), 0) for at, name in enumerate(columns)]


def _longest_word(columns: Sequence[str], rows: Rows, at: int) -> int:
    words = (word for text in (columns[at], *(row[at].plain for row in rows)) for word in text.split())
    return max(map(cell_len, words), default=0)
