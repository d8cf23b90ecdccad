"""What kind of store is at a path: told by the names of its files, or by the header of a SQLite file, and never guessed.

Used by `cra trace recover` and `cra doctor --data`. A ring does not say which store it belongs to; what is recovered into another
one is missing from its own.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal, get_args

from cra.storage.journal.names import is_of_journal
from cra.storage.lines import SUFFIX, is_day_file, is_session_file
from cra.trace.ring_folder import DEFINITIONS, FOLDER, RING
from cra.trace.spool_files import SPOOL

StoreKind = Literal["journal", "jsonl", "sqlite"]
Kind = Literal["journal", "jsonl", "sqlite", "rings"]
KINDS: tuple[StoreKind, ...] = get_args(StoreKind)
_HEADER = b"SQLite format 3\0"


class WrongStore(ValueError):
    """What was asked for cannot be done with what is at the path; the message says why, and what to do."""


def kinds_at(path: str | os.PathLike[str]) -> frozenset[Kind]:
    """The kinds of which something is at a path: none where nothing says so, several where they are mixed.

    Raises `OSError`. A SQLite file that this very process has open must not be looked at: that drops its locks.
    """
    status = os.stat(path)
    if stat.S_ISREG(status.st_mode):
        return frozenset(["sqlite"]) if _begins_with_header(path) else frozenset()
    kinds: set[Kind] = set()
    for name in os.listdir(path):
        if is_of_journal(name):
            kinds.add("journal")
        elif is_session_file(name) or is_day_file(name):
            kinds.add("jsonl")
        elif name.endswith((RING, DEFINITIONS, SPOOL)):
            kinds.add("rings")
    if not kinds and os.path.abspath(path).endswith(FOLDER):
        kinds.add("rings")
    return frozenset(kinds)


def is_ring_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is one of rings, by what is in it, or by its name where there is nothing else."""
    try:
        return "rings" in kinds_at(path)
    except OSError:
        return False


def store_kind(path: str | os.PathLike[str], stated: StoreKind | None = None) -> StoreKind:
    """The kind of the store at a path; `stated` is believed where nothing says otherwise.

    Raises `WrongStore` where there are several, where nothing says which it is, or where it is not what was stated; `OSError`.
    """
    kinds = kinds_at(path)
    found = [kind for kind in KINDS if kind in kinds]
    if len(found) > 1:
        raise WrongStore(
            f"{os.fspath(path)} has files of a journal: and of a jsonl: store, and a ring does not say to which of them it"
            f" belongs; move the *{SUFFIX} files elsewhere, or, where they are the store, the files of the journal"
        )
    if not found and stated is None:
        raise WrongStore(
            f"nothing in {os.fspath(path)} says what kind of store it is, and its rings do not say so;"
            f" say it with --store {'|'.join(KINDS)}"
        )
    kind = stated or found[0]
    if found and kind != found[0]:
        raise WrongStore(f"{os.fspath(path)} is a {found[0]}: store, not a {kind}: store")
    if Path(path).is_dir() == (kind == "sqlite"):
        raise WrongStore(
            f"{os.fspath(path)} is no {kind}: store, which is a {'file' if kind == 'sqlite' else 'folder'}"
        )
    return kind


def is_database(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as one of SQLite's, or cannot be read. See `kinds_at`."""
    try:
        return _begins_with_header(path)
    except OSError:
        return True


def _begins_with_header(path: str | os.PathLike[str]) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return os.read(descriptor, len(_HEADER)) == _HEADER
    finally:
        os.close(descriptor)
