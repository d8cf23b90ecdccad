"""Large stores: how long it takes to open a journal of millions of records, and to read one session out of very many."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cra.hotpath import Expander, canonical_json, encode_events, format_uuid
from cra.storage.base import StorageBackend
from cra.storage.journal.backend import JournalStorage
from cra.storage.jsonl import JsonlStorage
from cra.storage.sqlite import SqliteStorage
from cra.testing import SeededIds
from perf.cases import GOAL, GOLDEN, Figures, figures, resolve, runtime, session_of

RECORDS = 100  # times the count
_NOON = 1_767_268_800 * 10**9
_CHUNK = 1_000  # sessions that are stored at once
_OPENINGS = 5  # of a store; its pages are in memory


@figures(
    "journal open",
    "a `journal:` folder of 10 million records: opened, its sessions listed and one of them read, without indexes and with",
    implementations=("compiled",),
    long=True,
)
def open_large(count: int) -> Figures:
    """Two sessions, one of which has next to all of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace")
        started = time.perf_counter()
        with runtime(GOLDEN, f"journal:///{path}") as resolver:
            session = session_of(resolver)
            resolve(session, count * RECORDS)
            short = resolver.create_session(agent_id="bench", goal=GOAL)
            short.resolve(GOAL)
            resolver.flush()
            one = short.session_id
        made = time.perf_counter() - started
        size = sum(each.stat().st_size for each in path.iterdir())
        found: Figures = {}
        for what in ("without indexes", "with indexes"):
            for _ in range(_OPENINGS):
                if what == "without indexes":
                    for index in path.glob("*.index"):
                        index.unlink()
                started = time.perf_counter()
                journal = JournalStorage(path)
                opened = time.perf_counter()
                journal.sessions()
                listed = time.perf_counter()
                assert sum(1 for _ in journal.events(one))
                read = time.perf_counter()
                journal.close()
                _note(found, f"ms to open, {what}", opened - started)
                _note(found, f"ms to list, {what}", listed - opened)
                _note(found, f"ms to read one, {what}", read - listed)
        return {
            **found,
            "resolves/s while it was made": count * RECORDS / made,
            "bytes a resolve": size / count / RECORDS,
        }


def _note(found: Figures, name: str, seconds: float) -> None:
    """The best of several: to make a store takes minutes, to open it does not, and the machine is shared."""
    found[name] = min(found.get(name, seconds * 1000), seconds * 1000)


def _read_one(name: str, open_store: Callable[[Path], StorageBackend]) -> None:
    @figures(
        f"{name} one of 100,000",
        f"`{name}:` with 100,000 sessions of four events: opened, and one session read, then another one",
        implementations=("compiled",),
        long=True,
    )
    def run(count: int) -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "store")
            store = open_store(path)
            started = time.perf_counter()
            for expander in _sessions(count):
                batch = expander.take(0)
                if batch is None:
                    continue
                if isinstance(store, JournalStorage):
                    store.append_records(batch.frames)
                else:
                    store.append(batch)
            made = time.perf_counter() - started
            store.close()
            found: Figures = {}
            for _ in range(_OPENINGS):
                started = time.perf_counter()
                store = open_store(path)
                _note(found, "ms to open", time.perf_counter() - started)
                for what in ("first", "again"):
                    one = _id(count // 2 if what == "first" else count // 3)
                    started = time.perf_counter()
                    events = sum(1 for _ in store.events(one))
                    _note(found, f"ms to read one, {what}", time.perf_counter() - started)
                    assert events == 4
                store.close()
        return {**found, "events/s while it was made": 4 * count / made}


def _id(number: int) -> str:
    return format_uuid(SeededIds(number).draw(_NOON // 10**6))


def _sessions(count: int) -> Iterator[Expander]:
    """Expanders that hold so many sessions of four events, `_CHUNK` of them each."""
    payload = canonical_json({"goal": GOAL})
    pairs = [(kind, payload) for kind in ("session.started", "a.b", "a.b", "session.ended")]
    expander = Expander(frames=True)
    for number in range(count):
        base = SeededIds(number).draw(_NOON // 10**6)
        define = _id(number), format_uuid(base + 1), format_uuid(base + 2)
        expander.feed(encode_events(number + 1, base + 3, _NOON, pairs, define=define))
        if number % _CHUNK == _CHUNK - 1:
            yield expander
    yield expander


_read_one("journal", JournalStorage)
_read_one("jsonl", JsonlStorage)
_read_one("sqlite", SqliteStorage)
