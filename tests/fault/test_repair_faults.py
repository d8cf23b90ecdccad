"""Repairing a folder is interrupted at every single file operation, killed there or refused, and then done again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.storage import jsonl
from cra.storage.jsonl import JsonlStorage
from cra.storage.unsynced import MARK
from cra.testing import SeededIds, VirtualClock
from cra.trace.checkup import check
from cra.trace.event import Event
from cra.trace.repair import _open_lines, repair
from tests.support.crashes import ATLAS, crash, file_of

KILLED = 77
GONE, DAMAGED = (f"4294967295-{digit * 16}" for digit in "ab")  # no process has this id


class Fault:
    """Strikes at the `at`th file operation: `before` it, `after` it, or in the `middle` of a write; once."""

    def __init__(self, at: int, moment: str, strike: Callable[[], None]) -> None:
        self.at = at
        self.moment = moment
        self.strike = strike
        self.count = 0
        self.struck: tuple[Any, ...] = ()

    def on(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        """The operation, with the fault in it."""

        def faulty(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count != self.at:
                return operation(*arguments, **options)
            if self.moment == "middle" and operation.__name__ == "write_all":
                handle, data = arguments
                operation(handle, data[: len(data) // 2])
            if self.moment == "after":
                operation(*arguments, **options)
            self.struck = arguments
            self.strike()
            return None

        return faulty

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Into everything that changes a file while a folder is repaired."""
        for owner, name in (
            (jsonl, "write_all"),
            (os, "fsync"),
            (os, "ftruncate"),
            (os, "truncate"),
            (Path, "rename"),
            (Path, "unlink"),
        ):
            patch.setattr(owner, name, self.on(getattr(owner, name)))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[Event]]:
    """A folder with everything there is to repair; a session in it, and its events as they have to be before it is closed."""
    folder = tmp_path_factory.mktemp("damaged")
    data, rings = folder / "trace", folder / "trace.ring"
    session = crash(data)
    with file_of(data, session).open("ab") as file:
        file.write(b'{"trace_version"')
    (rings / f"{GONE}.part").write_bytes(b"")
    (rings / f"{GONE}.defs").write_bytes(b"cra-defs\1\0\0\0")
    (rings / f"{DAMAGED}.ring").write_bytes(b"no ring")
    (rings / f"{DAMAGED}.defs").write_bytes(b"no definitions")
    shutil.copytree(folder, folder.with_name("whole"))
    repair(folder.with_name("whole") / "trace", None, VirtualClock(), SeededIds(2))
    events = events_of(folder.with_name("whole") / "trace", session)
    assert ["action.failed", "session.ended"] == [event.event_type for event in events[-2:]]
    return folder, session, events[:-2]


def events_of(data: Path, session_id: str) -> list[Event]:
    """The events of a session in a store."""
    storage = JsonlStorage(data)
    try:
        return list(storage.events(session_id))
    finally:
        storage.close()


def check_repaired(folder: Path, session: str, whole: list[Event]) -> None:
    """Repair the folder, and see that nothing is missing, nothing is there twice, and nothing is left to do."""
    data = folder / "trace"
    done = repair(data, None, VirtualClock(), SeededIds(4), end_sessions=True)
    assert () == done.refused
    events = events_of(data, session)
    assert whole == events[: len(whole)]
    assert ["action.failed", "session.ended"] == [event.event_type for event in events[len(whole) :]]
    assert cra.verify_chain(events).valid
    assert cra.replay(events, [ATLAS]).complete
    assert [f"{DAMAGED}.defs.damaged", f"{DAMAGED}.ring.damaged"] == sorted(os.listdir(folder / "trace.ring"))
    assert b"no ring" == (folder / "trace.ring" / f"{DAMAGED}.ring.damaged").read_bytes()
    assert b"no definitions" == (folder / "trace.ring" / f"{DAMAGED}.defs.damaged").read_bytes()
    assert b'{"trace_version"' in file_of(data, session).with_name(f"{session}.trace.jsonl.torn").read_bytes()
    assert {"damaged"} == {problem.code for problem in check(data).problems}
    again = repair(data, None, VirtualClock(), SeededIds(5), end_sessions=True)
    assert (0, 0, (), (), None) == (
        again.recovery.rings,
        again.recovery.sessions,
        again.tails,
        again.removed,
        again.session_id,
    )


def is_killed(fault: Fault, data: Path) -> bool:
    """Repair in a child that the fault kills; whether it came to that."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.MonkeyPatch.context() as patch:
                fault.install(patch)
                repair(data, None, VirtualClock(), SeededIds(3))
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED), status
    return status == KILLED


@pytest.mark.parametrize("moment", ["before", "middle", "after"])
def test_killed_anywhere_it_is_finished_the_next_time(
    moment: str, damaged: tuple[Path, str, list[Event]], tmp_path: Path
) -> None:
    """Every operation has its turn, and there are enough of them to be worth it."""
    original, session, whole = damaged
    at = 0
    while True:
        at += 1
        folder = tmp_path / str(at)
        shutil.copytree(original, folder)
        killed = is_killed(Fault(at, moment, lambda: os._exit(KILLED)), folder / "trace")
        check_repaired(folder, session, whole)
        shutil.rmtree(folder)
        if not killed:
            break
    assert at > 15


def test_refused_anywhere_it_says_so_and_is_finished_the_next_time(
    damaged: tuple[Path, str, list[Event]], tmp_path: Path
) -> None:
    """A full disk is a `StorageError`, or something that is named as left; never anything else."""
    original, session, whole = damaged

    def full() -> None:
        raise OSError(28, "No space left on device")

    at, told = 0, 0
    while True:
        at += 1
        folder = tmp_path / str(at)
        shutil.copytree(original, folder)
        fault = Fault(at, "middle", full)
        with pytest.MonkeyPatch.context() as patch:
            fault.install(patch)
            try:
                refused = repair(folder / "trace", None, VirtualClock(), SeededIds(3)).refused
                # A mark that stays says itself that somebody has to come, who finds all of it synced.
                told += bool(refused) or any(MARK in str(each) for each in fault.struck)
            except StorageError as error:
                told += "No space left on device" in error.message
        check_repaired(folder, session, whole)
        shutil.rmtree(folder)
        if fault.count < at:
            break
    assert told == at - 1 > 15


def test_a_folder_that_cannot_be_listed_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which kind of store it is, is the first that a repair of `jsonl:` wants to know."""

    def refuse(_: object) -> list[str]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(StorageError, match="cannot be listed"):
        _open_lines(tmp_path)
