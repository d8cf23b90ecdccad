"""Rings on disk: whose process lives, and what happens to the files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cra.errors import StorageError
from cra.trace import definitions, ring_folder
from cra.trace.ring_folder import RingFolder, rings_beside

SIZE = 65_536


def test_a_ring_of_the_living_is_left_alone(tmp_path: Path) -> None:
    """Neither this process nor another takes it for dead."""
    folder = RingFolder(tmp_path / "rings")
    file = folder.create(SIZE)
    assert [] == list(folder.dead())
    program = (
        f"from cra.trace.ring_folder import RingFolder; print(len(list(RingFolder({os.fspath(folder.path)!r}).dead())))"
    )
    assert (
        "0"
        == subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    )
    file.remove()
    assert [] == os.listdir(folder.path)
    assert (tmp_path / "rings").stat().st_mode & 0o777 == 0o700


def test_a_ring_that_was_left_is_dead_and_recovered_by_one(tmp_path: Path) -> None:
    """Whoever looks first has it; nobody else sees it meanwhile."""
    folder = RingFolder(tmp_path)
    file = folder.create(SIZE)
    file.ring.put(b"a record")
    file.leave()
    (dead,) = folder.dead()
    assert [] == list(folder.dead())
    scan, definitions = dead.read()
    assert ([b"a record"], {}, 0) == ([each.data for each in scan.records], definitions.sessions, definitions.torn)
    dead.leave()
    (again,) = folder.dead()
    again.remove()
    assert [] == os.listdir(tmp_path)


def test_what_cannot_be_read_is_set_aside_and_never_destroyed(tmp_path: Path) -> None:
    """Under a name that recovery does not look at again."""
    (tmp_path / "1-a.ring").write_bytes(b"no ring" * 10_000)
    (dead,) = RingFolder(tmp_path).dead()
    with pytest.raises(StorageError):
        dead.read()
    dead.remove(damaged=True)
    assert ["1-a.ring.damaged"] == os.listdir(tmp_path)
    assert [] == list(RingFolder(tmp_path).dead())


def test_a_forked_child_does_not_keep_its_parents_ring_alive(tmp_path: Path) -> None:
    """The lock would otherwise be held as long as the child lives."""
    folder = RingFolder(tmp_path)
    file = folder.create(SIZE)
    listening, telling = os.pipe()
    waiting, ready = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(telling)
        os.write(ready, b"x")
        os.read(listening, 1)  # until the parent has looked
        os._exit(0)
    os.read(waiting, 1)
    os.close(listening)
    file.leave()
    try:
        assert 1 == len([dead.remove() for dead in folder.dead()])
    finally:
        os.close(telling)
        os.waitpid(child, 0)


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """With the path, once."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"the folder '.*file/rings' for rings cannot be used: Not a directory"):
        RingFolder(tmp_path / "file" / "rings")


def test_a_ring_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever step fails: nobody would look at what it leaves, and its lock would be held."""

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = RingFolder(tmp_path)
    open_, close = os.open, os.close
    for place, name, message in (
        (ring_folder.fcntl, "flock", "no ring can be made in .*: No space left on device"),
        (ring_folder, "Ring", "no ring can be made in .*: No space left on device"),
        (ring_folder.os, "rename", "no ring can be made in .*: No space left on device"),
        (definitions.os, "write", "the definitions .* of a ring cannot be written: No space left on device"),
    ):
        opened, closed = [], []
        with monkeypatch.context() as failing:
            failing.setattr(ring_folder.os, "open", lambda *a, to=opened: to.append(open_(*a)) or to[-1])
            failing.setattr(ring_folder.os, "close", lambda file, to=closed: to.append(file) or close(file))
            failing.setattr(place, name, fails)
            with pytest.raises(StorageError, match=message):
                folder.create(SIZE)
        assert [] == os.listdir(tmp_path), name
        assert sorted(opened) == sorted(closed), name
    with pytest.raises(ValueError, match="a ring's size is a power of two"):
        folder.create(5)
    assert [] == os.listdir(tmp_path)


def test_letting_go_of_a_ring_twice_is_harmless(tmp_path: Path) -> None:
    """What was left is not removed later: it is recovery's from then on."""
    folder = RingFolder(tmp_path)
    left, removed = folder.create(SIZE), folder.create(SIZE)
    left.leave()
    left.leave()
    left.remove()
    removed.remove()
    removed.remove()
    removed.leave()
    assert sorted([left.path.name, left.path.with_suffix(".defs").name]) == sorted(os.listdir(tmp_path))


def test_an_empty_ring_needs_no_definitions(tmp_path: Path) -> None:
    """A process may die between removing the one and the other; then nothing is lost, and nothing is damaged."""
    folder = RingFolder(tmp_path)
    for record in (None, b"a record"):
        file = folder.create(SIZE)
        if record:
            file.ring.put(record)
        file.leave()
        file.path.with_suffix(".defs").unlink()
        (dead,) = folder.dead()
        if record:
            with pytest.raises(StorageError, match="cannot read the definitions"):
                dead.read()
        else:
            scan, read = dead.read()
            assert ([], ({}, {}, 0)) == (scan.records, read)
        dead.remove()
    assert [] == os.listdir(tmp_path)


def test_a_ring_that_somebody_else_recovers_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone before it is opened, or before it is locked, even with another in its place: what is yielded is at its path."""
    folder = RingFolder(tmp_path)
    paths = []
    for age in range(4):
        file = folder.create(SIZE)
        file.leave()
        os.utime(file.path, (age, age))
        paths.append(file.path)
    flock, close, closed = ring_folder.fcntl.flock, os.close, []

    def late(file: int, operation: int) -> None:
        for path in paths[1:3]:
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                path.unlink()
                if path == paths[2]:
                    path.write_bytes(b"another")
        flock(file, operation)

    rings = folder.dead()
    first = next(rings)
    assert paths[0] == first.path, "the oldest comes first"
    paths[3].unlink()
    monkeypatch.setattr(ring_folder.fcntl, "flock", late)
    monkeypatch.setattr(ring_folder.os, "close", lambda file: closed.append(file) or close(file))
    assert [] == list(rings)
    assert 2 == len(closed)
    first.remove()


def test_names_that_lead_nowhere_are_passed_over_and_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """What may hold records is not skipped in silence."""
    (tmp_path / "gone.ring").symlink_to(tmp_path / "nothing")
    folder = RingFolder(tmp_path)
    assert [] == list(folder.dead())
    (tmp_path / "odd.ring").mkdir()
    with pytest.raises(StorageError, match=r"the ring '.*odd\.ring' cannot be opened: it is a folder"):
        list(folder.dead())


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_what_is_no_regular_file_is_refused(kind: str, tmp_path: Path) -> None:
    """It is not waited for, and a link is not followed."""
    path = tmp_path / "1-a.ring"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere").write_bytes(b"")
    with pytest.raises(StorageError, match=f"cannot be opened: it is a .*{kind}"):
        list(RingFolder(tmp_path).dead())


def test_a_ring_that_cannot_be_opened_is_an_error_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is gone is neither."""
    for name in ("1-a.ring", "1-b.ring", "1-c.ring"):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1, ord(name[2])))
    really = os.open

    def refusing(path: object, *arguments: int) -> int:
        if str(path).endswith("a.ring"):
            raise FileNotFoundError
        if str(path).endswith("b.ring"):
            raise PermissionError(13, "Permission denied")
        return really(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    folder = RingFolder(tmp_path)
    with pytest.raises(StorageError, match=r"the ring '.*1-b\.ring' cannot be opened: Permission denied"):
        list(folder.dead())
    told: list[str] = []
    (dead,) = folder.dead(lambda path, error: told.append(f"{path.name}: {error.message}"))
    assert ("1-c.ring", 1) == (dead.path.name, len(told))
    assert told[0].startswith("1-b.ring: the ring ")
    dead.leave()


def test_a_ring_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only the mark of the machine's start is asked for."""
    RingFolder(tmp_path).create(SIZE).leave()
    (dead,) = RingFolder(tmp_path).dead()

    def refuse(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", refuse)
    with pytest.raises(StorageError, match=r"the ring '.*\.ring' cannot be read: Input/output error"):
        dead.has_restarted()
    dead.leave()


def test_a_folder_that_cannot_be_listed_or_changed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one that seems empty; and a ring that cannot be removed stays."""
    (tmp_path / "1-a.ring").write_bytes(b"")
    folder = RingFolder(tmp_path)
    (dead,) = folder.dead()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(StorageError, match=r"1-a\.ring' cannot be removed: Permission denied"):
            dead.remove()
    dead.leave()
    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(StorageError, match="cannot be listed: Permission denied"):
        list(folder.dead())


@pytest.mark.parametrize("given", ["traces", "traces/", "./traces", "a/b/traces"])
def test_rings_are_beside_the_store(given: str) -> None:
    """However its folder is written."""
    assert given.rstrip("/").removeprefix("./") + ".ring" == rings_beside(given)


def test_rings_are_beside_a_store_that_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in it, and not in the folder above under a name that nobody finds."""
    (tmp_path / "store" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "store")
    assert f"{tmp_path}/store.ring" == rings_beside(".")
    monkeypatch.chdir(tmp_path / "store" / "inner")
    assert f"{tmp_path}/store.ring" == rings_beside("..")


def test_a_lock_that_the_system_refuses_is_no_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a lock that somebody holds says that a process lives: any other error is told, or raised, and nothing is passed over
    in silence."""
    folder = RingFolder(tmp_path)
    file = folder.create(SIZE)
    file.ring.put(b"a record")
    file.leave()
    calls: list[int] = []

    def refuse(file: int, operation: int) -> None:
        calls.append(operation)
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    told: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(ring_folder.fcntl, "flock", refuse)
        with pytest.raises(StorageError, match="cannot be locked: No locks available"):
            list(folder.dead())
        assert [] == list(folder.dead(lambda path, error: told.append(f"{path.name}: {error}")))
    assert (2, 1) == (len(calls), len(told))
    assert told[0].startswith(file.path.name)
    (dead,) = folder.dead()
    dead.remove()
