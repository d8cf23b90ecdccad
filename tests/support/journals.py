"""Journals for tests: a small one whose bytes never change, and ways to write and look at others."""

from __future__ import annotations

from pathlib import Path

from cra.reference.frames import frame
from cra.storage.journal.series import Rotation, Series
from cra.testing import VirtualClock
from tests.support.records import events, resolve, template

NAME = "4711-0123456789abcdef"
IDENTITY = bytes(range(16))


def frames(*records: bytes) -> bytes:
    """Records as a backend is given them."""
    return b"".join(map(frame, records))


def small_series(folder: Path, rotation: Rotation | None = None) -> Series:
    """A series in an empty folder, whose bytes follow from what is written."""
    return Series(folder, NAME, rotation or Rotation(), VirtualClock(), IDENTITY)


def write_golden(folder: Path) -> None:
    """Two segments: a session opens and resolves, goes on in the second segment, and ends."""
    series = small_series(folder, Rotation(max_bytes=600))
    series.append(frames(events(("session.started", {"agent_id": "bot", "goal": "work"})), template(7, 1, 1)))
    series.append(frames(resolve("read ünits", n=1, number=7, injected=[0])))
    series.append(frames(events(("session.ended", {"reason": "completed"}), n=2, define=None)))
    series.close()


def files(folder: Path) -> dict[str, bytes]:
    """Every segment in a folder, by its name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.segment"))}
