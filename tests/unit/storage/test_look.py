"""Looking at a file: only at a regular one, never waiting, never changing it."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from cra.storage.look import NotRegular, is_locked, opened_to_look


def test_a_regular_file_is_opened_for_reading_and_closed_again(tmp_path: Path) -> None:
    """The descriptor cannot write, and is gone afterwards."""
    (tmp_path / "x").write_bytes(b"content")
    before = len(os.listdir("/dev/fd"))
    with opened_to_look(tmp_path / "x") as descriptor:
        assert b"content" == os.read(descriptor, 100)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
    assert before == len(os.listdir("/dev/fd"))


def make(path: Path, kind: str) -> None:
    """Something that is no regular file."""
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a symbolic link":
        target = path.with_name("target")
        target.write_bytes(b"elsewhere")
        path.symlink_to(target)
    elif kind == "a socket":
        os.chdir(path.parent)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    else:
        path.symlink_to("/dev/null")


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a symbolic link", "a socket"])
def test_nothing_else_is_opened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link could lead out of the folder, a pipe would make its reader wait."""
    monkeypatch.chdir(tmp_path)  # goes back in the end
    make(tmp_path / "x", kind)
    with pytest.raises(NotRegular, match=f"^{kind}$"), opened_to_look(tmp_path / "x"):
        pass


def test_a_device_is_not_opened() -> None:
    """Some act on being opened, some have no end."""
    with pytest.raises(NotRegular, match="a device"), opened_to_look("/dev/zero"):
        pass


def test_a_name_that_changes_meanwhile_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened counts, not what was there before."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x").write_bytes(b"")
    monkeypatch.setattr(os, "lstat", lambda path: os.stat(tmp_path / "x"))
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(NotRegular, match="a pipe"), opened_to_look(tmp_path / "pipe"):
        pass
    assert before == len(os.listdir("/dev/fd"))


def test_a_lock_is_seen_and_not_kept(tmp_path: Path) -> None:
    """Whoever holds it keeps it; whoever wants it afterwards gets it."""
    (tmp_path / "x").write_bytes(b"")
    with open(tmp_path / "x") as holder, opened_to_look(tmp_path / "x") as descriptor:
        assert not is_locked(descriptor)
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert is_locked(descriptor)
