"""The corpora beside this file: a folder of inputs for each target, small, and committed. Tests replay them (`tests/fuzz`).

An input is named after its hash. `minimise` keeps the few that reach what a campaign's many reached.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from cra.fuzzing.registry import find_target

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / "fuzz" / "corpus"
MAX_BYTES: Final = 1_000_000
"""Of all of them together."""
_SHARE: Final = 45_000
_LARGEST: Final = 2_500
_NAME_LENGTH: Final = 16


def corpus(target: str) -> Path:
    """Where the inputs of a target are."""
    return FOLDER / target


def inputs(target: str) -> list[Path]:
    """The inputs of a target, by name."""
    folder = corpus(target)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def name_of(data: bytes) -> str:
    """What an input is called."""
    return hashlib.sha256(data).hexdigest()[:_NAME_LENGTH]


def total_bytes() -> int:
    """The size of all corpora."""
    return sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())


def minimise(target: str, found: Iterable[Path], most: int) -> int:
    """Replace the corpus of a target by the smallest of its seeds, its inputs and these that reach what all of them do together.

    The `most` smallest are looked at. What an input reaches are the steps from line to line in this package, in both
    implementations. About 45 kB are kept at most, those first that reach most of what nothing else does. Returns how many there
    are now.
    """
    largest = min(_LARGEST, find_target(target).max_bytes)
    known = {path.read_bytes() for path in (*inputs(target), *found)} | set(find_target(target).seeds())
    small = (data for data in known if len(data) <= largest)
    candidates = sorted(small, key=lambda data: (len(data), data))[:most]
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(candidates):
            Path(folder, f"{number:06d}").write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-m", "fuzz.reach", target, folder],
            stdout=subprocess.PIPE,
            check=True,
            cwd=ROOT,
        )
    kept, size = [], 0
    for number in _cover(msgspec.json.decode(done.stdout.splitlines()[-1], type=list[list[int]])):
        if size + len(candidates[number]) <= _SHARE:
            kept.append(candidates[number])
            size += len(candidates[number])
    folder_of_target = corpus(target)
    shutil.rmtree(folder_of_target, ignore_errors=True)
    folder_of_target.mkdir(parents=True)
    for data in kept:
        (folder_of_target / name_of(data)).write_bytes(data)
    return len(kept)


def _cover(reached: list[list[int]]) -> list[int]:
    """Numbers of inputs that together reach everything, greedily: the one with most that is new comes next, of equals the
    smaller."""
    left = {number: set(each) for number, each in enumerate(reached)}
    covered: set[int] = set()
    order: list[int] = []
    while left:
        best = max(left, key=lambda number: (len(left[number] - covered), -number))
        new = left.pop(best) - covered
        if not new:
            break
        covered |= new
        order.append(best)
    return order
