"""Recordings: a store that several processes wrote, one after the other, every call of theirs seen by strace.

Some end, some are killed, and the next one recovers what they left: a cut may come while it does. After the last one a copy of
the folder is recovered, which says everything that was ever written: what a cut leaves of a session is a beginning of that.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import cra
from cra.storage import boot
from cra.trace.event import Event
from tests.fault.power.disk import Disk, Tree, build
from tests.fault.power.history import MAPPED, History
from tests.fault.power.strace import read_calls, trace
from tests.fault.power.workload import open_store, path_of, start_id

REPOSITORY = Path(__file__).parents[3]


class Beginning(NamedTuple):
    """What an earlier cut left, and what had been acknowledged before it."""

    tree: Tree
    acknowledged: dict[str, int]


class Recording(NamedTuple):
    """What was recorded, and everything that was written, by session."""

    store: str
    seed: int
    disk: Disk
    written: dict[str, list[Event]]


def record(
    store: str,
    folder: Path,
    seed: int,
    *,
    processes: int = 3,
    steps: int = 20,
    options: Sequence[str] = (),
    beginning: Beginning | None = None,
) -> Recording:
    """Run `processes` processes over a new store below `folder`, or over what an earlier cut left, once the machine has started
    again. `options` are more options for strace: faults to inject.

    Raises `NoTrace` where there is no strace.
    """
    choice = random.Random(seed)
    root, marks = folder / "root", folder / "marks"
    root.mkdir(parents=True)
    if beginning is not None:
        build(beginning.tree, root)
    history = History(root, marks)
    if beginning is not None:
        history.add_mark("durable", {"events": beginning.acknowledged})
    start = str(0 if beginning is None else 1)
    for number in range(processes):
        end = choice.choice(("kill", "kill", "close"))
        seen = folder / f"calls.{number}"
        command = [sys.executable, "-W", "ignore", "-m", "tests.fault.power.workload", store, str(root), str(marks)]
        command += [str(choice.randrange(2**32)), "--steps", str(steps), "--end", end, "--start", start]
        code, said = trace(command, seen, options=options, cwd=REPOSITORY)
        assert code == (-signal.SIGKILL if end == "kill" else 0), said
        history.add_run(read_calls(seen))
        seen.unlink()
        for file in root.rglob("*"):
            if file.name.endswith(MAPPED) and file.is_file():
                history.add_mapped(file, file.read_bytes())
    if not history.is_certain:  # killed within a call: whether that was made, nobody saw
        shutil.rmtree(folder)
        more = {"processes": processes, "steps": steps}
        return record(store, folder, seed + 1, options=options, beginning=beginning, **more)
    _check_history(history)
    with mock.patch.object(boot, "boot_id", return_value=start_id(int(start))):
        written = everything(store, root, folder / "copy")
    return Recording(store, seed, Disk(history), written)


def everything(store: str, root: Path, copy: Path) -> dict[str, list[Event]]:
    """Every event that was recorded, once a copy of the folder is recovered as after a kill."""
    shutil.copytree(root, copy)
    backend = open_store(store, path_of(store, copy))
    with closing(cra.Resolver(backend)):
        written = {session: list(backend.events(session)) for session in backend.sessions()}
    shutil.rmtree(copy)
    assert all(cra.verify_chain(events).valid for events in written.values())
    return written


def _check_history(history: History) -> None:
    """The history is that of the folder: nothing that changed a file was overlooked."""
    root = history.root
    there = {path for path in root.rglob("*") if path.is_file()}
    for path in there:
        node = history.find(path)
        assert node is not None, f"nobody saw {path} being made"
        found = history.nodes[node]
        assert found.is_mapped or bytes(found.data) == path.read_bytes(), (
            f"what was seen of {path} is not what it holds"
        )
