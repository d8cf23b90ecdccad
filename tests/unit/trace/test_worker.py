"""The worker thread: wakes, pauses, stops, and outlives nobody."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from cra.trace.worker import Worker


class Job:
    """An owner whose step returns what the test put into `answers`, then None."""

    def __init__(self, *answers: float | None) -> None:
        self.answers = list(answers)
        self.runs = threading.Semaphore(0)
        self.count = 0
        self.worker = Worker(self.step, "test-worker")

    def step(self) -> float | None:
        self.count += 1
        answer = self.answers.pop(0) if self.answers else None
        self.runs.release()
        return answer

    def wait(self) -> None:
        """Wait for one run."""
        assert self.runs.acquire(timeout=60)


class Starved(Job):
    """One for which there is no memory twice."""

    left = 2

    def step(self) -> float | None:
        if self.left:
            self.left -= 1
            raise MemoryError
        return super().step()


def test_no_thread_before_the_first_wake() -> None:
    """A runtime that records nothing costs no thread."""
    job = Job()
    assert not job.worker.running
    job.worker.wake()
    job.wait()
    assert job.worker.running
    job.worker.stop()


def test_an_idle_worker_runs_nothing_until_woken() -> None:
    """It sleeps without polling."""
    job = Job()
    job.worker.wake()
    job.wait()
    time.sleep(0.02)
    assert 1 == job.count
    job.worker.wake()
    job.wait()
    job.worker.stop()


def test_a_step_that_asks_for_more_is_called_again() -> None:
    """0 means at once, seconds mean later, None means not before the next wake."""
    job = Job(0.0, 0.001, None)
    job.worker.wake()
    for _ in range(3):
        job.wait()
    time.sleep(0.01)
    assert 3 == job.count
    job.worker.stop()


def test_a_wake_cuts_a_pause_short() -> None:
    """Who waits to try again is woken by new work."""
    job = Job(60.0)
    job.worker.wake()
    job.wait()
    job.worker.wake()
    job.wait()
    job.worker.stop()


def test_stop_ends_the_thread_without_another_run() -> None:
    """After `stop` no step is begun; stopping again is harmless."""
    job = Job(60.0)
    job.worker.wake()
    job.wait()
    job.worker.stop()
    job.worker.stop()
    deadline = time.monotonic() + 60
    while job.worker.running:
        assert time.monotonic() < deadline
    assert 1 == job.count


def test_the_thread_ends_with_its_owner() -> None:
    """An idle worker keeps nobody alive."""
    job = Job()
    worker = job.worker
    worker.wake()
    job.wait()
    del job
    deadline = time.monotonic() + 60
    while worker.running:
        assert time.monotonic() < deadline
        gc.collect()


def test_where_no_thread_can_be_started_the_work_is_taken_over_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Late in an interpreter's life: no error for whoever wakes it, and whoever takes over is alone from then on."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    job = Job()
    with monkeypatch.context() as late:
        late.setattr(threading.Thread, "start", refuse)
        job.worker.wake()
        job.worker.wake()
        assert not job.worker.running
    assert job.worker.take_over()
    assert not job.worker.take_over()
    job.worker.wake()
    assert (False, 0) == (job.worker.running, job.count)
    job.worker.stop()


def test_a_thread_that_could_not_be_started_is_started_by_a_later_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may have too many threads for a while. What a thread does cannot be taken over."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    job = Job()
    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", refuse)
        job.worker.wake()
    job.worker.wake()
    job.wait()
    assert not job.worker.take_over()
    job.worker.stop()


def test_it_goes_on_when_there_is_memory_again() -> None:
    """Nobody else would do the work, and what woke it is not forgotten."""
    job = Starved()
    job.worker.wake()
    job.wait()
    assert job.worker.running
    job.worker.stop()
