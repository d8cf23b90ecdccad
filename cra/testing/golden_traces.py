"""Golden traces: what a session did, compared with a trace that was committed, and told apart in words.

Used by the fixture `golden_trace` of the pytest plugin, and by other test runners. Ids, times and hashes of the chain do not
count (`cra.diff`); a golden file is a trace like any other, so it has to verify. docs/testing-atlases.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cra.errors import InvalidTraceEvent, StorageError
from cra.hotpath import verify_chain
from cra.trace.diff import Difference, diff
from cra.trace.event import Event
from cra.trace.jsonl import read_events, write_events

MOST_SHOWN = 20
_WIDTH = 160


def compare_with_golden(events: Sequence[Event], path: str | os.PathLike[str], *, update: bool = False) -> bool:
    """Compare a trace with the golden one at `path`; returns whether the file was written.

    With `update` what differs, or is missing, is written as the new golden trace; what means the same stays as it is. Without it
    that raises `AssertionError` with the differences, one a line, or with what is wrong with the file. Raises `StorageError` for
    one that cannot be read or written.
    """
    __tracebackhide__ = True
    golden = Path(path)
    if not events:
        raise AssertionError("the trace has no event; there is nothing to compare with a golden one")
    if not golden.exists():
        if not update:
            raise AssertionError(
                f"there is no golden trace {golden}; make it with --update-golden, read it, and commit it"
            )
        try:
            golden.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the folder {golden.parent}: {error.strerror}") from error
        write_events(golden, events)
        return True
    expected, problem = _read(golden)
    if problem is not None:
        if not update:
            raise AssertionError(
                f"the golden trace {golden} does not verify ({problem}); make it again with --update-golden"
            )
        write_events(golden, events)
        return True
    result = diff(expected, events)
    if result.grade != "different":
        return False
    if update:
        write_events(golden, events)
        return True
    lines = list(_in_words(result.entries, expected, events))
    raise AssertionError("\n  ".join([f"the trace is not the golden one, {golden}:", *lines]))


def _read(golden: Path) -> tuple[list[Event], str | None]:
    """The events of a golden trace, and what is wrong with it."""
    try:
        expected = list(read_events(golden))
    except InvalidTraceEvent as error:
        return [], str(error)
    verified = verify_chain(expected)
    if not verified.valid:
        return expected, f"{verified.error_type} at event {verified.error_index}"
    return expected, None if expected else "it is empty"


def _in_words(entries: Sequence[Difference], golden: Sequence[Event], events: Sequence[Event]) -> Iterator[str]:
    counted = [entry for entry in entries if entry.kind != "measured"]
    for entry in counted[:MOST_SHOWN]:
        event = (events if entry.kind == "added" and not entry.path else golden)[entry.index]
        about = f"{entry.path.removeprefix('/payload/')} of event {entry.index}, {event.event_type}"
        if not entry.path:
            word = "is new" if entry.kind == "added" else "is missing"
            payload = entry.b if entry.kind == "added" else entry.a
            yield f"event {entry.index}, {event.event_type}, {word}: {_shown(payload['payload'])}"
        elif entry.kind == "changed":
            yield f"{about}: {_shown(entry.a)} was expected, not {_shown(entry.b)}"
        elif entry.kind == "added":
            yield f"{about}: {_shown(entry.b)} is new"
        else:
            yield f"{about}: {_shown(entry.a)} is missing"
    if len(counted) > MOST_SHOWN:
        yield f"and {len(counted) - MOST_SHOWN} more differences"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"
