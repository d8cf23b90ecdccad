"""A run to be recorded: `python -m tests.fault.power.workload STORE FOLDER MARKS SEED [--steps N] [--end kill|close] …`.

It opens a resolver over a store, does what agents do in an order that the seed says, and says in its marks, each one write to a
file, what it was acknowledged as durable, and what its ring held. Everything is small, so that segments, files and logs end
often.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import cra
from cra.storage import boot, sqlite
from cra.storage.base import StorageBackend
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.series import Rotation
from cra.storage.jsonl import JsonlStorage
from cra.storage.jsonl_days import DailyJsonlStorage
from cra.storage.sqlite import SqliteStorage
from cra.trace import recorder
from tests.support.crashes import ATLAS

STORES = ("journal", "jsonl", "days", "sqlite")
RING_BYTES = 64 * 1024


def path_of(store: str, root: Path) -> Path:
    """Where the store is: in a folder that is not there in the beginning, where the store makes its own."""
    return root / "data" / "audit.db" if store == "sqlite" else root / "new" / "data" / "trace"


def start_id(number: int) -> bytes:
    """What a start of the machine is known by."""
    return bytes([number + 1]) * boot.BYTES


def open_store(store: str, path: Path, compress: bool = False) -> StorageBackend:
    """The store, with small segments, few open files, and a log that is copied often."""
    recorder.DEFAULT_RING_BYTES = RING_BYTES
    if store == "journal":
        return JournalStorage(path, rotation=Rotation(max_bytes=6000), compress=compress)
    if store == "jsonl":
        return JsonlStorage(path, max_open=2)
    if store == "days":
        return DailyJsonlStorage(path)
    sqlite.CHECKPOINT_BYTES = 30_000  # type: ignore[misc]
    return SqliteStorage(path)


class Workload:
    """One process's life over a store; `choice` says what comes next."""

    def __init__(self, store: str, root: Path, marks: Path, choice: random.Random) -> None:
        self._marks = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._copies = marks.with_suffix(".copies")
        self._copies.mkdir(exist_ok=True)
        self._choice = choice
        path = path_of(store, root)
        if store == "sqlite" and not path.parent.exists():
            path.parent.mkdir(parents=True)
        if store == "sqlite":
            _sync(root)  # which is for whoever makes the folder
        self._rings = path.with_name(path.name + ".ring")
        self._store = open_store(store, path, compress=choice.random() < 0.5)
        self.resolver = cra.Resolver(self._store)
        self.resolver.load_atlas(ATLAS)
        self.resolver.register("a.do0", dict)
        self._sessions: list[Any] = []

    def step(self) -> None:
        """One thing that a process does."""
        kinds = ("begin", "resolve", "resolve", "execute", "end", "stored", "durable", "look")
        kind = self._choice.choice(kinds) if self._sessions else "begin"
        if kind == "begin":
            self._sessions.append(self.resolver.create_session("bot", "x" * self._choice.randrange(1, 1500)))
        elif kind == "resolve":
            for _ in range(self._choice.randrange(1, 6)):
                self._one().resolve("a lamp" * self._choice.randrange(1, 60))
        elif kind == "execute":
            session = self._one()
            session.execute("a.do0", {}, resolution=session.resolve("a lamp"))
        elif kind == "end":
            session = self._one()
            self._sessions.remove(session)
            session.end()
        elif kind == "stored":
            self.resolver.flush()
        elif kind == "durable":
            self.flush_durable()
        self.look()

    def flush_durable(self) -> None:
        """Flush, and say what is durable from now on: all that the store has, whoever stored it."""
        self.resolver.flush("durable")
        events = {session: self._store.count(session) for session in self._store.sessions()}
        self._say({"kind": "durable", "events": events})

    def look(self) -> None:
        """Say what the ring holds."""
        for ring in sorted(self._rings.glob("*.ring")):
            copy = self._copies / f"{ring.name}.{len(os.listdir(self._copies))}"
            shutil.copyfile(ring, copy)
            self._say({"kind": "mapped", "path": str(ring), "copy": str(copy)})

    def _one(self) -> Any:
        return self._choice.choice(self._sessions)

    def _say(self, mark: dict[str, Any]) -> None:
        os.write(self._marks, json.dumps(mark).encode() + b"\n")


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(file)
    os.close(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", choices=STORES)
    parser.add_argument("root", type=Path)
    parser.add_argument("marks", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--end", choices=("kill", "close"), default="kill")
    parser.add_argument("--start", type=int, default=0, help="which start of the machine this is")
    options = parser.parse_args()
    boot.boot_id = lambda: start_id(options.start)
    choice = random.Random(options.seed)
    workload = Workload(options.store, options.root, options.marks, choice)
    for number in range(options.steps):
        workload.step()
        if number == options.steps // 2:
            workload.flush_durable()  # once at least, or there would be nothing to lose
    if options.end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    workload.resolver.close()
    print(cra.implementation())


if __name__ == "__main__":
    main()
