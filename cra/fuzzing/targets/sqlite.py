"""A `sqlite:` store, any bytes in its file: looked at, opened and read. docs/formats/sqlite.md.

The input is a list of changes to a sound file (a place in three bytes, a block to put there, its length doubled to cut there), or
with an odd first byte the file as it is, at most as long as an input.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import msgspec

from cra.errors import StorageError
from cra.fuzzing.draws import Draws, blocks
from cra.fuzzing.harness import refusal
from cra.fuzzing.scratch import scratch
from cra.fuzzing.target import Target, expect
from cra.fuzzing.traces import CONTENTS
from cra.storage.sqlite import SqliteStorage
from cra.testing.traces import make_trace
from cra.trace.jsonl import dump_line
from cra.trace.sqlite_look import look_at_sqlite

_FILE = "audit.db"
_image: bytes | None = None


def answer(data: bytes) -> object:
    """What a look says and what is read; no look changes a file. Of a file that is damaged SQLite reads whatever lies in memory,
    so that it says something else each time: then all that is expected is that nothing else is raised."""
    draws = Draws(data)
    raw = draws.number() & 1
    content = draws.rest() if raw else _changed(draws)
    with scratch() as folder:
        path = folder / _FILE
        path.write_bytes(content)
        look = msgspec.to_builtins(look_at_sqlite(path))
        expect(path.read_bytes() == content and len(list(folder.iterdir())) == 1, "a look has changed something")
        try:
            found: object = _read(path)
        except StorageError as error:
            found = refusal(error)
        return (look, found) if content in (b"", _sound()) else "changed"


def _read(path: Path) -> object:
    with closing(SqliteStorage(path)) as store:
        found: list[object] = []
        for name in store.sessions():
            try:
                events = list(store.events(name))
                found.append((name, [dump_line(event) for event in events], store.count(name), store.last(name, 1)))
            except StorageError as error:
                found.append((name, refusal(error)))
        return found, store.health().ok


def _changed(draws: Draws) -> bytes:
    image = bytearray(_sound())
    while draws:
        place, changed = draws.number(3) % (len(image) + 1), draws.block()
        if changed:
            image[place : place + len(changed)] = changed
        else:
            del image[place:]
            break
    return bytes(image)


def _sound() -> bytes:
    """A store of two sessions; the same bytes in every process."""
    global _image
    if _image is None:
        folder = Path(tempfile.mkdtemp(prefix="cra-fuzz-"))
        try:
            with closing(SqliteStorage(folder / _FILE)) as store:
                for session in (1, 2):
                    store.append(make_trace(CONTENTS, session=session))
            _image = (folder / _FILE).read_bytes()
        finally:
            shutil.rmtree(folder)
    return _image


def seeds() -> list[bytes]:
    """A sound file, one cut short, one with another header, damage in each page, and files that are none."""
    size = len(_sound())
    pages = [b"\0" + (page + 8).to_bytes(3, "little") + blocks(b"\xff" * 4) for page in range(0, size, 4096)]
    cut = b"\0" + (5000).to_bytes(3, "little") + blocks(b"")
    return [
        b"\0",
        cut,
        b"\0" + (60).to_bytes(3, "little") + blocks(b"\0" * 4),
        *pages,
        b"\1",
        b"\1SQLite format 3\0",
        b"\1text\n",
    ]


TARGET = Target(
    "sqlite",
    "files of sqlite: stores",
    answer,
    seeds,
    tokens=(
        b"SQLite format 3\0",
        b"CREATE TABLE",
        b"\x0d\0\0\0",
        b"\x05\0\0\0",
        b"\x0a\0",
        b"session",
        b"event",
        b"\xff" * 8,
        b"\0" * 8,
    ),
    max_bytes=2048,
)
