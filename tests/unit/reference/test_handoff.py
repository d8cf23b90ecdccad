"""Handing work to a waiting thread: told once, to the right one, and nobody waits for what he has left."""

from __future__ import annotations

import _thread
import importlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from cra.reference import handoff as reference
from cra.reference.handoff import LEFT, NOTHING, Handoff

SOON = 0.03
AMPLE = 60.0
TWINS = ["cra.reference.handoff", *(["cra._speedups"] if find_spec("cra._speedups") else [])]


@pytest.fixture(params=TWINS)
def make(request: pytest.FixtureRequest) -> Callable[[], Handoff]:
    """The class, of either twin."""
    twin: Callable[[], Handoff] = importlib.import_module(request.param).Handoff
    return twin


@pytest.fixture
def handoff(make: Callable[[], Handoff]) -> Handoff:
    return make()


class Worker:
    """The thread of a handoff: runs what it is given, and notes everything that `next` says."""

    def __init__(self, handoff: Handoff) -> None:
        self.heard: list[object] = []
        self._handoff = handoff
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while (item := self._handoff.next(AMPLE)) is not None:
            self.heard.append(item)
            if callable(item):
                item()


@pytest.fixture
def worker(handoff: Handoff) -> Iterator[Worker]:
    worker = Worker(handoff)
    yield worker
    handoff.give(None)
    worker.thread.join(AMPLE)
    assert not worker.thread.is_alive()


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether `condition` comes to hold within a few seconds."""
    deadline = time.monotonic() + AMPLE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


def test_ask_comes_back_when_the_work_is_done(handoff: Handoff, worker: Worker) -> None:
    """Whether it takes no time or longer than anybody waits awake, time after time."""
    done: list[int] = []
    for number in range(500):
        assert handoff.ask(lambda number=number: done.append(number), AMPLE) is True
        assert number == done[-1]
    assert handoff.ask(lambda: time.sleep(SOON), AMPLE) is True
    assert handoff.ask(lambda: done.append(-1), AMPLE) is True
    assert -1 == done[-1]


def test_work_after_a_pause(handoff: Handoff, worker: Worker) -> None:
    """A thread that has gone to sleep is woken."""
    for _ in range(3):
        time.sleep(SOON)
        assert handoff.ask(list, AMPLE) is True


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, SOON])
def test_ask_that_takes_too_long_leaves(handoff: Handoff, worker: Worker, timeout_s: float) -> None:
    """The caller is back after the timeout; the thread learns that it is its own, once, and can be asked again."""
    release = threading.Event()
    for _ in range(3):
        release.clear()
        worker.heard.clear()
        started = time.monotonic()
        assert handoff.ask(release.wait, timeout_s) is False
        assert max(timeout_s, 0.0) <= time.monotonic() - started < AMPLE / 2
        release.set()
        assert eventually(lambda: [release.wait, LEFT] == worker.heard)
        assert handoff.ask(list, AMPLE) is True


def test_ask_without_an_end_of_patience(handoff: Handoff, worker: Worker) -> None:
    """A timeout beyond everything that a lock takes is no error."""
    assert handoff.ask(list, 1e30) is True


def test_nobody_is_told_of_work_that_was_given(handoff: Handoff, worker: Worker) -> None:
    """The end of given work is not taken for that of the work that is asked for next."""
    started, release = threading.Event(), threading.Event()
    for _ in range(100):
        handoff.give(started.set)
        assert started.wait(AMPLE)
        started.clear()
        assert handoff.ask(release.wait, 0.0) is False
        release.set()
        assert eventually(lambda: LEFT in worker.heard)
        worker.heard.clear()
        release.clear()


def test_nothing_comes(handoff: Handoff) -> None:
    """After the timeout `next` says so, and what is given later is not lost."""
    started = time.monotonic()
    assert handoff.next(SOON) is NOTHING
    assert SOON <= time.monotonic() - started
    handoff.give("work")
    assert "work" == handoff.next(0.0)
    assert handoff.next(0.0) is NOTHING


def test_given_work_is_not_kept(handoff: Handoff) -> None:
    """Neither side holds on to what was handed over."""

    def count() -> int:
        return sys.getrefcount(item)

    item = object()
    before = count()
    handoff.give(item)
    assert item is handoff.next(AMPLE)
    assert before == count()


def test_two_sides_that_meet_at_the_timeout_agree(make: Callable[[], Handoff]) -> None:
    """Work that ends just when its caller gives up is either done or left, and both say the same."""
    handoff = make()
    worker = Worker(handoff)
    outcomes = set()
    for number in range(400):
        worker.heard.clear()
        pause = (number % 40) * 25e-6
        done = handoff.ask(lambda pause=pause: time.sleep(pause), 0.0004)
        outcomes.add(done)
        if not done:
            assert eventually(lambda: LEFT in worker.heard)
        assert handoff.ask(list, AMPLE) is True
        assert done != (LEFT in worker.heard)
    assert {True, False} == outcomes
    handoff.give(None)


class Interrupted(Exception):
    """Raised by the signal handler of a test."""


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """A function that interrupts the main thread with `Interrupted`."""

    def refuse(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, refuse)
    yield lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def in_main_thread() -> bool:
    return _thread.get_ident() == threading.main_thread().ident


@pytest.mark.skipif(not in_main_thread(), reason="signals reach the main thread only")
def test_a_signal_ends_the_wait(handoff: Handoff, worker: Worker, interrupt: Callable[[], None]) -> None:
    """What its handler raises comes out of `ask`; the thread then is its own, and can be asked again."""
    release = threading.Event()

    def hang() -> None:
        time.sleep(SOON)  # the caller sleeps by now
        interrupt()
        release.wait()

    for _ in range(3):
        worker.heard.clear()
        with pytest.raises(Interrupted):
            handoff.ask(hang, AMPLE)
        release.set()
        assert eventually(lambda: LEFT in worker.heard)
        release.clear()
        assert handoff.ask(list, AMPLE) is True


@pytest.mark.skipif(not in_main_thread(), reason="signals reach the main thread only")
def test_a_signal_whose_handler_does_not_raise_is_no_reason_to_stop(handoff: Handoff, worker: Worker) -> None:
    """The wait goes on, for what is left of the time."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    try:
        timer = threading.Timer(SOON, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1))
        timer.start()
        started = time.monotonic()
        assert handoff.ask(lambda: time.sleep(3 * SOON), AMPLE) is True
        assert 3 * SOON <= time.monotonic() - started
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [signal.SIGUSR1] == seen


@pytest.mark.skipif(not in_main_thread(), reason="signals reach the main thread only")
def test_a_signal_that_meets_the_end_of_the_work(
    handoff: Handoff, worker: Worker, interrupt: Callable[[], None]
) -> None:
    """Raised just before `ask` comes back, or just after: whose the thread is then cannot be told, but it works on."""
    for _ in range(40):

        def finish() -> None:
            time.sleep(0.0002)  # the caller sleeps by now
            interrupt()

        def ask() -> None:
            handoff.ask(finish, AMPLE)
            time.sleep(AMPLE)

        with pytest.raises(Interrupted):
            ask()
        time.sleep(SOON)  # the thread has heard that it was left, if it was
        assert handoff.ask(list, AMPLE) is True


@pytest.mark.skipif(not in_main_thread(), reason="signals reach the main thread only")
def test_a_signal_ends_the_wait_for_work(handoff: Handoff, interrupt: Callable[[], None]) -> None:
    """`next` raises what the handler raises, and work that is given later is not lost."""
    timer = threading.Timer(SOON, interrupt)

    def wait() -> None:
        timer.start()
        handoff.next(AMPLE)

    with pytest.raises(Interrupted):
        wait()
    timer.join()
    handoff.give("work")
    assert "work" == handoff.next(AMPLE)


def test_twins_say_the_same_words() -> None:
    """The words are one object for both, so that either twin's pool knows them."""
    assert (NOTHING, LEFT) == (reference.Word.NOTHING, reference.Word.LEFT)
