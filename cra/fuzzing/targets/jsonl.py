"""A `jsonl:` store, any bytes in its files: looked at, opened, mended, read, ended. docs/storage.md."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from cra.errors import StorageError
from cra.fuzzing.harness import refusal
from cra.fuzzing.scratch import scratch
from cra.fuzzing.target import Target, expect
from cra.fuzzing.traces import CONTENTS, TOKENS, sealed_again, trace
from cra.storage.jsonl import JsonlStorage
from cra.storage.lines import SUFFIX
from cra.testing import SeededIds, VirtualClock
from cra.testing.traces import make_trace
from cra.trace.jsonl import dump_line
from cra.trace.repair import repair
from cra.trace.store_look import look_at_store

_SESSION: Final = make_trace(CONTENTS[:1])[0].session_id


def answer(data: bytes) -> object:
    """What is looked at and read, before and after sessions without an end were ended. `!` in front: sealed again first."""
    with scratch() as folder:
        content = sealed_again(data[1:]) if data.startswith(b"!") else data
        (folder / (_SESSION + SUFFIX)).write_bytes(content)
        before = msgspec.to_builtins(look_at_store(folder))
        try:
            first = _read(folder)
        except StorageError as error:
            return before, refusal(error)
        expect(_read(folder) == first, "what is read of a store depends on how often it was opened")
        return before, first, _ended(folder), _read(folder)


def _read(folder: Path) -> object:
    with closing(JsonlStorage(folder)) as store:
        count = store.count(_SESSION)
        try:
            events = list(store.events(_SESSION))
        except StorageError as error:
            return count, refusal(error)
        expect(len(events) == count, "the count is not that of the events")
        expect(store.last(_SESSION, 2) == events[-2:], "the last events are others")
        return store.sessions(), [dump_line(event) for event in events]


def _ended(folder: Path) -> object:
    try:
        found = repair(folder, None, VirtualClock(), SeededIds(1), end_sessions=True, store="jsonl")
    except StorageError as error:
        return refusal(error)
    return found.recovery.payload(), found.ended, found.refused


def seeds() -> list[bytes]:
    """A session that has ended, one that has not, one torn off, and lines of another."""
    whole, begun = trace(), trace(contents=CONTENTS[:3])
    return [whole, begun, begun[:-20], trace(session=2), begun + trace(session=2), b"!" + begun, b"!" + whole, b"\n\n"]


TARGET = Target("jsonl", "files of jsonl: stores", answer, seeds, tokens=TOKENS, notation="json lines", max_bytes=6000)
