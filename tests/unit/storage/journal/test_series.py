"""A series of segments: when one is full, how the next goes on, and what a disk that refuses leaves behind."""

from __future__ import annotations

import errno
import os
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from cra.errors import StorageError
from cra.reference.frames import frame
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.series import Rotation, Series
from cra.storage.journal.verify import verify_journal
from cra.storage.memory import MemoryStorage
from cra.testing import VirtualClock
from cra.trace.jsonl import dump_line
from tests.support.journals import NAME, files, frames, small_series
from tests.support.records import definition, events, resolve, template

pytestmark = pytest.mark.usefixtures("twin")

LOAD = [
    events(("session.started", {"n": 0})),
    template(),
    *(resolve(f"goal {n}", n=n, injected=[n % 3]) for n in range(1, 6)),
    events(("session.started", {}), session=2, n=20, define=definition(2)),
    *(resolve(f"other {n}", n=n, session=1 + n % 2) for n in range(21, 26)),
    events(("session.ended", {}), session=2, n=30, define=None),
    template(2, 0, 0),
    resolve("last", n=31, number=2),
    events(("session.ended", {}), n=32, define=None),
]


def expected(records: list[bytes]) -> dict[str, bytes]:
    """The lines of each session, as a store of events has them."""
    from cra.hotpath import Expander

    expander, memory = Expander(), MemoryStorage()
    for record in records:
        expander.feed(record)
    batch = expander.take(0)
    assert batch is not None
    memory.append(batch)
    return {name: b"".join(map(dump_line, memory.events(name))) for name in memory.sessions()}


def stored(folder: Path) -> dict[str, bytes]:
    """The lines of each session in a journal."""
    journal = JournalStorage(folder)
    try:
        return {name: b"".join(map(dump_line, journal.events(name))) for name in journal.sessions()}
    finally:
        journal.close()


@pytest.mark.parametrize("size", [1, 100, 300, *range(500, 1500, 77), 5_000])
def test_rotation_at_every_size_changes_no_event(size: int, tmp_path: Path) -> None:
    """Sessions and templates go on in the next segment, whatever lies at the cut; the chain of segments holds."""
    series = small_series(tmp_path, Rotation(max_bytes=size))
    for record in LOAD:
        series.append(frame(record))
    series.close()
    assert expected(LOAD) == stored(tmp_path)
    verdict = verify_journal(tmp_path)
    assert ((), len(files(tmp_path))) == (verdict.faults, verdict.segments)
    assert (size < 2_000) == (verdict.segments > 1)


def test_a_segment_needs_no_other_to_say_what_its_records_mean(tmp_path: Path) -> None:
    """Every record of a segment alone is taken by an expander that saw nothing else."""
    from cra.hotpath import Expander

    series = small_series(tmp_path, Rotation(max_bytes=1))
    for record in LOAD:
        series.append(frame(record))
    series.close()
    for data in files(tmp_path).values():
        expander = Expander(lines=False)
        assert len(data) == 80 + expander.feed_frames(data[80:])
        assert 0 == expander.refused
    assert len(LOAD) == len(files(tmp_path))


def test_a_segment_is_full_after_a_while(tmp_path: Path) -> None:
    """By the clock that never runs backwards."""
    clock = VirtualClock()
    series = Series(tmp_path, NAME, Rotation(max_seconds=10), clock)
    series.append(frames(events()))
    clock.advance(9.9)
    series.append(frames(events(n=1)))
    assert 1 == len(files(tmp_path))
    clock.advance(0.1)
    series.append(frames(events(n=2)))
    assert 2 == len(files(tmp_path))
    series.close()


def test_what_is_no_whole_frame_is_refused(tmp_path: Path) -> None:
    """Nothing of it is written: the memory that it came from was damaged."""
    series = small_series(tmp_path)
    series.append(frames(events()))
    before = files(tmp_path)
    with pytest.raises(StorageError, match=r"no whole frame at byte \d+: the ring was damaged"):
        series.append(frames(events(n=1)) + b"\1\2\3")
    assert before == files(tmp_path)
    series.close()


CALLS = ("open", "writev", "rename", "link", "ftruncate")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_every_call_that_fails_leaves_nothing_half_done(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each system call of a load with three rotations fails once, one after the other. What was refused is tried again, as
    the recorder does; in the end every event is there once, and the journal verifies."""
    fired = 0
    for turn in range(1_000):
        folder = tmp_path / str(turn)
        folder.mkdir()
        with monkeypatch.context() as patched:
            failed = _fail_once(patched, turn, error)
            series = small_series(folder, Rotation(max_bytes=900))
            for record in LOAD:
                _insist(partial(series.append, frame(record)))
            _insist(series.close)
        assert () == verify_journal(folder).faults, turn
        assert expected(LOAD) == stored(folder), turn
        if not failed:
            break
        fired += 1
    assert 25 < fired < 999


def _fail_once(patched: pytest.MonkeyPatch, turn: int, error: int) -> list[str]:
    """Have the call number `turn` fail; what failed is noted in the list."""
    failed: list[str] = []
    count = 0

    def wrap(name: str) -> Any:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count - 1 == turn:
                failed.append(name)
                if name == "writev":
                    real(arguments[0], [arguments[1][0][: len(arguments[1][0]) // 2]])
                raise OSError(error, "injected")
            return real(*arguments, **options)

        return call

    for name in CALLS:
        patched.setattr(os, name, wrap(name))
    return failed


def _insist(action: Any) -> None:
    """Once more, where it fails once."""
    try:
        action()
    except OSError:
        action()


def test_an_interrupt_at_any_line_doubles_and_loses_nothing(tmp_path: Path) -> None:
    """KeyboardInterrupt at every line that an append runs, one after the other, also after the write: whoever was told that it
    failed comes again, and in the end every record is there once."""
    load = [LOAD[0], LOAD[1], LOAD[2], LOAD[3], LOAD[-1]]
    fired = 0
    for turn in range(10_000):
        folder = tmp_path / str(turn)
        store = JournalStorage(folder, rotation=Rotation(max_bytes=700))
        interrupts = _Interrupt(turn)
        for record in load:
            try:
                with interrupts:
                    store.append_records(frame(record))
            except KeyboardInterrupt:
                store.append_records(frame(record))
        store.close()
        assert [] == list(folder.glob("*.lock")), interrupts.where
        assert () == verify_journal(folder).faults, interrupts.where
        assert expected(load) == stored(folder), interrupts.where
        if interrupts.where is None:
            break
        fired += 1
    assert 1 < len(list(folder.glob("*.segment")))
    assert 100 < fired < 9_999


class _Interrupt:
    """Raises KeyboardInterrupt at line number `turn` of those of `cra.storage.journal` that run within it, once; `where`
    it did."""

    def __init__(self, turn: int) -> None:
        self._left = turn
        self._other = sys.gettrace()
        self.where: str | None = None

    def __enter__(self) -> None:
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._other)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if "/cra/storage/journal/" not in frame.f_code.co_filename or self.where is not None:
            return None
        if event == "line":
            if self._left == 0:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                raise KeyboardInterrupt
            self._left -= 1
        return self._trace
