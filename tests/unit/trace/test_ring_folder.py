"""Rings on disk: whose process lives, and what happens to the files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cra.errors import StorageError
from cra.trace.ring_folder import RingFolder

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
