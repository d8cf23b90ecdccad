"""A folder for targets whose door is a file: empty at the start of every answer, in memory where there is such a place.

It has the same name for every answer of a process, since names stand in messages, which are compared. It lies in a folder of its
own, so that what is beside it belongs to nobody either.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MEMORY: Final = "/dev/shm"
_VARIABLE: Final = "CRA_FUZZ_SCRATCH"
"""`<pid> <path>`: where the folder is, for the other copy of the package in the process; `*` is whichever process sees it, for
who starts one that is not to leave anything behind."""


@contextmanager
def scratch() -> Iterator[Path]:
    """The folder, empty, and everything in it gone afterwards."""
    folder = _parent() / "work"
    _remove(folder)
    folder.mkdir()
    try:
        yield folder
    finally:
        _remove(folder)


@contextmanager
def scratch_of_child() -> Iterator[dict[str, str]]:
    """The environment by which a child process gets a folder for as long as this lasts, however it ends."""
    made = _make()
    try:
        yield {_VARIABLE: f"* {made}"}
    finally:
        _remove(made)


def _parent() -> Path:
    pid, _, path = os.environ.get(_VARIABLE, "").partition(" ")
    if pid in ("*", str(os.getpid())):
        return Path(path)
    made = _make()
    os.environ[_VARIABLE] = f"{os.getpid()} {made}"
    atexit.register(_remove_if_own, made, os.getpid())
    return made


def _make() -> Path:
    return Path(tempfile.mkdtemp(prefix="cra-fuzz-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))


def _remove_if_own(folder: Path, pid: int) -> None:
    if os.getpid() == pid:
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
