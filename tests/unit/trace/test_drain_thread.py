"""The recorder's thread: what it tells those who wait for its end, and what it leaves to others."""

from __future__ import annotations

import threading

import pytest

from cra.hotpath import Ring
from cra.trace.drain_thread import DrainThread

SECONDS = 60.0


class Job:
    """An owner whose step does what the test says."""

    def __init__(self) -> None:
        self.ring = Ring(4_096)
        self.thread = DrainThread(self.step, self.ring, "test-drain")
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.joined: list[bool] = []
        self.starves = 0

    def step(self) -> float | None:
        if self.starves:
            self.starves -= 1
            raise MemoryError
        self.joined.append(self.thread.join(SECONDS))
        self.entered.set()
        assert self.go_on.wait(SECONDS)
        return None


def test_its_end_is_waited_for_by_others_alone() -> None:
    """The thread itself is told at once that it has not ended; others when their time is over, or when it has."""
    job = Job()
    assert job.thread.join(0), "there is none yet"
    job.thread.wake()
    assert job.entered.wait(SECONDS)
    assert [False] == job.joined
    job.thread.stop()
    assert not job.thread.join(0)
    job.go_on.set()
    assert job.thread.join(SECONDS)
    assert not job.thread.running


def test_where_no_thread_can_be_started_there_is_nobody_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Late in an interpreter's life: no error for whoever wakes it; the recorder sees that and does the work itself."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    job = Job()
    with monkeypatch.context() as late:
        late.setattr(threading.Thread, "start", refuse)
        job.thread.wake()
        job.thread.wake()
    assert (False, []) == (job.thread.running, job.joined)
    job.thread.stop()
    assert job.thread.join(0)


def test_it_goes_on_when_there_is_memory_again() -> None:
    """Nobody else drains the ring."""
    job = Job()
    job.starves = 2
    job.thread.wake()
    assert job.entered.wait(SECONDS)
    assert (0, True) == (job.starves, job.thread.running)
    job.go_on.set()
    job.thread.stop()
    assert job.thread.join(SECONDS)
