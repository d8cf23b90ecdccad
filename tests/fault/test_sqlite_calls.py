"""Every system call with which the SQLite store writes, failing once, and once as the last thing that its process did.

The calls of a workload are counted with strace, and for each the workload runs again with that call failing (EIO, ENOSPC) or
killing the process. Then the file is opened again: nothing that was acknowledged is missing or there twice, nothing is half
there, the chain verifies, the database is sound, and the rest can be stored. `CRA_TEST_FAULTS=1000` runs every fault there is.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cra.hotpath import verify_chain
from cra.storage.sqlite import SqliteStorage
from cra.testing.traces import make_trace
from cra.trace.event import Event
from tests.support.services import missing

ROOT = Path(__file__).parents[2]
CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink")
FAULTS = ("error=EIO", "error=ENOSPC", "signal=SIGKILL")
BATCHES, SIZE = 4, 5
MOST = int(os.environ.get("CRA_TEST_FAULTS", "40"))  # of some 400, chosen by the seed of the run; all take four minutes
WORKLOAD = """
import sys
from cra.errors import StorageError
from cra.storage import sqlite
from tests.fault.test_sqlite_calls import BATCHES, SIZE, events_of_workload
sqlite.CHECKPOINT_BYTES = 2 * SIZE * 1000  # every other batch
try:
    storage, events = sqlite.SqliteStorage(sys.argv[1]), events_of_workload()
    for number in range(BATCHES):
        storage.append(events[number * SIZE : (number + 1) * SIZE])
        print("stored", flush=True)
        storage.flush(True)
    storage.close()
except StorageError as error:
    print("refused", error, flush=True)
"""


def events_of_workload() -> list[Event]:
    """What is stored, in `BATCHES` of `SIZE`."""
    return make_trace([("session.started", {"text": "x" * 2000})] * (BATCHES * SIZE))


def run(path: Path, *options: str) -> tuple[int, str, str]:
    """The workload under strace: its exit code (negative for a signal), what it said, what strace saw."""
    seen = path.with_suffix(".strace")
    command = ["strace", "-f", "-qq", "-o", str(seen), "-e", f"trace={','.join(CALLS)}", *options]
    done = subprocess.run(
        [*command, sys.executable, "-c", WORKLOAD, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout, seen.read_text() if seen.exists() else done.stderr


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How often the workload makes each call."""
    if shutil.which("strace") is None:
        missing("strace is not installed")
    code, said, seen = run(tmp_path_factory.mktemp("counted") / "audit.db")
    if "ptrace" in seen:
        pytest.skip("this machine allows no strace")
    assert (0, "stored\n" * BATCHES) == (code, said)
    return {call: len(re.findall(rf"^\d+ +{call}\(", seen, re.MULTILINE)) for call in CALLS}


def check(path: Path, stored: int) -> None:
    """The acknowledged batches are there, at most one more, and the others can be stored."""
    events = events_of_workload()
    with closing(SqliteStorage(path)) as storage:
        found = list(storage.events(events[0].session_id))
        assert len(found) in (stored * SIZE, (stored + 1) * SIZE)
        assert events[: len(found)] == found
        storage.append(events)
        storage.flush(durable=True)
        assert verify_chain(list(storage.events(events[0].session_id))).valid
        assert len(events) == storage.count()
    with closing(sqlite3.connect(path)) as database:
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()


def test_a_fault_at_any_call_loses_nothing_that_was_acknowledged(
    counts: dict[str, int], tmp_path: Path, seed: int
) -> None:
    """Each fault fires, and leaves a store that is whole."""
    faults = [(call, n, fault) for call in CALLS for n in range(1, counts[call] + 1) for fault in FAULTS]
    assert min(counts["pwrite64"], counts["fdatasync"] + counts["fsync"], counts["unlink"]) > 0
    for number, (call, n, fault) in enumerate(random.Random(seed).sample(faults, min(MOST, len(faults)))):
        path = tmp_path / f"{number}.db"
        code, said, seen = run(path, "-e", f"inject={call}:{fault}:when={n}")
        what = f"{call} number {n}, {fault}: {said}"
        if fault.startswith("signal"):
            assert -9 == code, what
        else:
            assert "(INJECTED)" in seen, what
            assert 0 == code, what
        try:
            check(path, said.splitlines().count("stored"))
        except Exception as error:
            raise AssertionError(what) from error
