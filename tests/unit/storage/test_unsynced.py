"""jsonl, with a file per session or per day: what a process left that died before it had synced what it wrote."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError
from cra.storage import boot, unsynced
from cra.storage.jsonl import JsonlStorage
from cra.storage.jsonl_days import DailyJsonlStorage
from cra.storage.unsynced import MARK, Mark, left_marks
from cra.trace.jsonl import dump_line


def die(storage: JsonlStorage | DailyJsonlStorage) -> None:
    """Let go of everything, as the kernel does for a process that was killed."""
    storage._unsynced.mark.leave()
    while isinstance(storage, JsonlStorage) and storage._handles:
        storage._handles.popitem()[1].close()


def marks(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(MARK)]


@pytest.fixture(params=[JsonlStorage, DailyJsonlStorage], ids=["sessions", "days"])
def store(request: pytest.FixtureRequest) -> Any:
    """Both stores, which are used alike."""
    return request.param


@pytest.fixture
def restart(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Has the machine start again."""
    return lambda: monkeypatch.setattr(boot, "boot_id", lambda: b"another start..!")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is synced from now on."""
    found: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (found.append(Path(os.readlink(f"/proc/self/fd/{file}")).name), real(file))
    )
    return found


def test_a_mark_is_there_from_before_the_first_write_to_the_end(tmp_path: Path, store: Any, sessions: Any) -> None:
    """On the disk before it, gone when all is synced; there is none where nothing is written."""
    storage = store(tmp_path)
    assert [] == marks(tmp_path)
    storage.append(sessions.events(0))
    assert 1 == len(marks(tmp_path))
    assert [] == left_marks(tmp_path), "its process lives"
    storage.close()
    assert [] == marks(tmp_path)


def test_the_mark_is_on_the_disk_before_anything_is_written(
    tmp_path: Path, store: Any, synced: list[str], sessions: Any
) -> None:
    """With its name."""
    storage = store(tmp_path)
    before = len(synced)
    Mark(tmp_path).begin()
    assert tmp_path.name == synced[-1]
    assert synced[before].startswith(MARK)
    storage.close()


def test_a_mark_that_cannot_be_made_lets_nothing_be_written(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch, sessions: Any
) -> None:
    """The batch comes again."""
    storage = store(tmp_path)

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError, match="No space left on device"):
            storage.append(sessions.events(0))
    assert [] == os.listdir(tmp_path)
    storage.append(sessions.events(0))
    storage.close()


def test_what_a_killed_process_wrote_is_synced_with_the_first_durable_flush(
    tmp_path: Path, store: Any, synced: list[str], sessions: Any
) -> None:
    """Recovery finds it stored and stores it no more; nobody else would sync it."""
    storage = store(tmp_path)
    storage.append(sessions.events(0))
    die(storage)
    after = store(tmp_path)
    after.append(sessions.events(1))
    synced.clear()
    after.flush(durable=True)
    names = {path.name for path in tmp_path.glob("*.jsonl")}
    assert names
    assert names <= set(synced)
    assert 1 == len(marks(tmp_path)), "its own"
    synced.clear()
    after.flush(durable=True)
    assert [] == synced
    after.close()
    assert [] == marks(tmp_path)


def test_after_a_restart_a_file_is_cut_before_its_first_hole(
    tmp_path: Path, store: Any, restart: Callable[[], None], sessions: Any
) -> None:
    """Lines behind it are set aside with it, and the rest is a whole trace; without a restart it is left to the reader."""
    storage = store(tmp_path)
    events = sessions.events(0, 6)
    storage.append(events)
    die(storage)
    lines = [dump_line(event) for event in events]
    (file,) = tmp_path.glob("*.jsonl")
    damaged = b"".join(lines[:2]) + lines[2][:50] + bytes(len(lines[2]) - 51) + b"\n" + b"".join(lines[3:])
    file.write_bytes(damaged)
    again = store(tmp_path)
    assert () == again.repairs
    die(again)
    restart()
    after = store(tmp_path)
    assert events[:2] == list(after.events(sessions.id(0)))
    (repair,) = after.repairs
    assert repair.torn_bytes == len(damaged) - len(b"".join(lines[:2]))
    assert damaged[-repair.torn_bytes :] == (tmp_path / repair.torn_file).read_bytes()
    after.append(events[2:])
    assert events == list(after.events(sessions.id(0)))
    after.close()
    assert [] == marks(tmp_path)


def test_a_hole_may_be_at_the_beginning_or_be_all_there_is(
    tmp_path: Path, store: Any, restart: Callable[[], None], sessions: Any
) -> None:
    """Then nothing is left of the session."""
    storage = store(tmp_path)
    storage.append(sessions.events(0) + sessions.events(1))
    die(storage)
    files = sorted(tmp_path.glob("*.jsonl"))
    for file, content in zip(files, (bytes(300) + b"\n" + b"x" * 70_000 + b"\n", bytes(70_000))):
        file.write_bytes(content)
    restart()
    after = store(tmp_path)
    assert ([], len(files)) == (after.sessions(), len(after.repairs))
    after.close()


def test_the_name_of_a_day_that_another_process_gave_is_synced_by_whoever_wrote_into_it(
    tmp_path: Path, synced: list[str], sessions: Any
) -> None:
    """A file that is synced is nothing without its name, whoever made it."""
    first, second = DailyJsonlStorage(tmp_path), DailyJsonlStorage(tmp_path)
    first.append(sessions.events(0))
    second.append(sessions.events(1))
    synced.clear()
    second.flush(durable=True)
    (file,) = tmp_path.glob("*.jsonl")
    assert [file.name, tmp_path.name, tmp_path.parent.name] == synced
    synced.clear()
    second.flush(durable=True)
    assert [] == synced
    first.close()
    second.close()


def test_what_cannot_be_opened_to_be_synced_is_synced_the_next_time(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch, sessions: Any
) -> None:
    """No fsync has failed: the flush has, and the next one may succeed."""
    storage = store(tmp_path)
    storage.append(sessions.events(0))
    real = os.open

    def refuse(path: Any, *rest: Any, **options: Any) -> int:
        if os.fspath(path) == os.fspath(tmp_path):
            raise OSError(errno.EMFILE, "Too many open files", path)
        return real(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(StorageError, match="cannot be made durable: Too many open files"):
            storage.flush(durable=True)
    assert storage.health().ok
    storage.flush(durable=True)
    storage.close()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_file_that_another_process_deletes_meanwhile_is_nobodys_business(
    restarted: bool,
    tmp_path: Path,
    store: Any,
    restart: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    sessions: Any,
) -> None:
    """Neither to open the folder nor to sync it fails for that."""
    storage = store(tmp_path)
    storage.append(sessions.events(0))
    die(storage)
    if restarted:
        restart()
    real = store._files

    def with_one_more(storage: Any) -> list[Path]:
        (path,) = real(storage)
        return [path.with_name(path.name.replace("2", "1", 1)), path]

    monkeypatch.setattr(store, "_files", with_one_more)
    after = store(tmp_path)
    after.flush(durable=True)
    assert [] == marks(tmp_path)
    after.close()


def test_files_that_are_older_than_the_mark_are_not_read(
    tmp_path: Path, restart: Callable[[], None], monkeypatch: pytest.MonkeyPatch, sessions: Any
) -> None:
    """By more than a clock is ever set back."""
    storage = JsonlStorage(tmp_path)
    storage.append(sessions.events(0) + sessions.events(1))
    die(storage)
    os.utime(tmp_path / f"{sessions.id(0)}.trace.jsonl", (10**9, 10**9))
    restart()
    read: list[str] = []
    real = unsynced.LeftMark.concerns
    monkeypatch.setattr(
        unsynced.LeftMark, "concerns", lambda mark, path: real(mark, path) and not read.append(path.name)
    )
    JsonlStorage(tmp_path).close()
    assert [f"{sessions.id(1)}.trace.jsonl"] == read


def test_a_mark_that_says_nothing_is_that_of_another_start(tmp_path: Path) -> None:
    """And one that is a link, or not whole yet, is none."""
    (tmp_path / f"{MARK}1-a").write_bytes(b"")
    (tmp_path / f"{MARK}1-b").symlink_to("elsewhere")
    (tmp_path / f"{MARK}1-c.part").write_bytes(b"")
    (found,) = left_marks(tmp_path)
    assert (0, True) == (found.since_ns, found.restarted)


def test_what_was_to_become_a_mark_is_removed_when_its_process_is_dead(tmp_path: Path, store: Any) -> None:
    """A process that was killed while it made one leaves nothing for ever; that of a living one stays."""
    for name in ("dead", "living"):
        (tmp_path / f"{MARK}1-{name}.part").write_bytes(b"")
    with (tmp_path / f"{MARK}1-living.part").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        store(tmp_path).close()
        assert [f"{MARK}1-living.part"] == marks(tmp_path)


def test_a_mark_whose_beginning_was_taken_for_a_dead_ones_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its lock nobody knows that its process lives."""
    real = fcntl.flock
    removed = []

    def remove_first(file: int, how: int) -> None:
        if not removed:
            (part,) = tmp_path.iterdir()
            removed.append(part)
            part.unlink()
        real(file, how)

    mark = Mark(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", remove_first)
        mark.begin()
    assert removed
    assert 1 == len(marks(tmp_path))
    assert [] == left_marks(tmp_path)
    mark.end()
    assert [] == os.listdir(tmp_path)


def test_a_disk_that_refuses_at_the_end_leaves_the_mark(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch, sessions: Any
) -> None:
    """For the next one who opens the folder; nothing was acknowledged."""
    storage = store(tmp_path)
    storage.append(sessions.events(0))

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        storage.close()
    assert 1 == len(left_marks(tmp_path))


def test_a_system_that_does_not_say_when_it_started_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros, and everything is taken as left by a process that was killed."""
    assert boot.boot_id() == boot.boot_id() != boot.UNKNOWN
    assert boot.has_restarted(bytes(16))
    assert not boot.has_restarted(boot.boot_id())
    monkeypatch.setattr(boot, "_SOURCE", tmp_path / "missing")
    assert boot.UNKNOWN == boot.boot_id()
    assert not boot.has_restarted(b"x" * 16)
