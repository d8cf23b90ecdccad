"""Events for people: one or two lines an event on a screen, one in a pipe.

Used by `cra trace show`. It verifies nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from rich.text import Text

from cra.cli.terminal import clean, on_screen, say, say_table, say_text, screen_width
from cra.cli.wording import shortened
from cra.trace.event import Event

PAYLOAD_WIDTH = 1_000
VALUE_WIDTH = 200
_ID_WIDTH = 8
_INDENT = 6
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}")
_WORD = re.compile(r'[^\s"=,\[\]{}]+')


def say_events(title: str, events: Sequence[Event]) -> None:
    """A title and the events on stdout, in their order."""
    if on_screen():
        say()
        say(title, "bold")
        for event in events:
            say_text(in_two_lines(event, screen_width()))
        return
    say_table(
        title,
        ("#", "time (UTC)", "event", "payload"),
        [(event.sequence, event.timestamp[11:-1], event.event_type, in_short(event.payload)) for event in events],
        numbers=("#",),
    )


def in_short(payload: Mapping[str, Any]) -> str:
    """A payload as `name=value name="two words"`, cut where a row would become a page."""
    return shortened(" ".join(f"{name}={_value(value)}" for name, value in payload.items()), PAYLOAD_WIDTH)


def in_two_lines(event: Event, width: int) -> Text:
    """An event in at most two lines of `width`: behind its type what fits there, below it the rest.

    Ids and hashes are shortened and come last.
    """
    time = event.timestamp[11:23]
    first = Text.assemble((f"{event.sequence:>4}  ", "dim"), time, "  ", (event.event_type, "cyan"), " ")
    rest = Text(" " * (_INDENT - 1))
    for name, value in sorted(event.payload.items(), key=lambda member: _is_id(member[1])):
        short = f"{value[:_ID_WIDTH]}…" if _is_id(value) else _value(value)
        part = Text.assemble(" ", (clean(name) + "=", "dim"), clean(short))
        line = first if first.cell_len + part.cell_len <= width else rest
        line.append_text(part)
    if not rest.plain.strip():
        return first
    rest.truncate(width, overflow="ellipsis")
    return Text("\n").join((first, rest))


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _value(value: object) -> str:
    if isinstance(value, str) and _WORD.fullmatch(value):
        return shortened(value, VALUE_WIDTH)
    return shortened(json.dumps(value, ensure_ascii=False), VALUE_WIDTH)
