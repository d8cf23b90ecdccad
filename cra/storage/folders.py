"""Folders, and the names in them, brought to the disk: a file that was synced is gone after a power cut where its name was not.

Used by the stores on disk and by the rings. It never syncs the content of a file.
"""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk. Raises `OSError`."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_name(path: Path) -> None:
    """Bring the name of a folder to the disk; and everything else, where the folder that it is in may not be opened. Raises
    `OSError`."""
    try:
        sync_folder(path.parent)
    except PermissionError:
        os.sync()


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder, with those above it, where it is not there; every name that is new is on the disk then. Raises `OSError`.

    A process may die between making a folder and syncing its name, so the next one syncs that again: here where it has folders to
    make in it, and otherwise with the first flush that is durable (`sync_name`).
    """
    missing = []
    there = path
    while not there.exists():
        missing.append(there)
        there = there.parent
    if missing and there != there.parent:
        sync_name(there)
    for each in reversed(missing):
        each.mkdir(exist_ok=True, mode=mode if each == path else 0o777)
        sync_name(each)
    if not path.is_dir():
        path.mkdir(mode=mode)  # which says what is wrong with what is there
