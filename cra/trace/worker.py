"""A daemon thread that runs one method whenever it is woken, and sleeps without polling in between.

The recorder drains its queue with one, each subscription calls its callback with one. The thread holds its owner only while
there is work, so that an owner nobody refers to any more is collected and its thread ends by itself. It never touches data
and takes no lock of its owner.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Final

Step = Callable[[], float | None]

NO_MEMORY_SECONDS: Final = 0.05
"""How long a thread waits for memory before it goes on with what it could not do."""


class Worker:
    """Runs `step`, a bound method, in a thread that starts with the first `wake`.

    `step` returns None when there is nothing left to do, 0 to be called again at once, or the seconds after which it wants to
    be called again if nobody wakes it before. It must raise nothing but `MemoryError`, and is called again after that. A
    `wake` during a run makes another run follow, so no work is missed. Where no thread can be started, `wake` does nothing,
    and the owner can `take_over`.
    """

    def __init__(self, step: Step, name: str) -> None:
        self._name = name
        # Locked: nothing new. To release it is one atomic call, which is safe in signal handlers and finalizers, too.
        self._gate = threading.Lock()
        self._gate.acquire()
        self._step = weakref.WeakMethod(step, lambda _: self._open())
        self._due: Step | None = None
        self._thread: threading.Thread | None = None
        self._taken = threading.Lock()  # held by whoever runs `step`, or is about to, for good
        self._stopping = False

    def wake(self) -> None:
        """Have `step` run soon. Costs next to nothing while a run is already due. Callers take turns."""
        if self._gate.locked() and (self._thread is not None or self._start()):
            self._due = self._step()  # the owner lives at least until the thread has it
            self._open()

    def stop(self) -> None:
        """End the thread after the run it is in. Does not wait for it."""
        self._stopping = True
        self._open()

    def take_over(self) -> bool:
        """Whether the work is the caller's from now on: no thread could be started so far, and none will be."""
        return self._taken.acquire(blocking=False)

    @property
    def running(self) -> bool:
        """Whether a thread is there to do the work."""
        return self._thread is not None and self._thread.is_alive()

    def _open(self) -> None:
        with suppress(RuntimeError):  # open already: a run is due
            self._gate.release()

    def _start(self) -> bool:
        if not self._taken.acquire(blocking=False):
            return False
        thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._taken.release()  # none are started at interpreter shutdown: the owner can take over
            return False
        self._thread = thread
        return True

    def _loop(self) -> None:
        while True:
            try:
                return self._run()
            except MemoryError:
                self._open()  # what was begun is still to be done
                time.sleep(NO_MEMORY_SECONDS)

    def _run(self) -> None:
        pause: float | None = None
        step: Step | None = None
        while True:
            self._gate.acquire(timeout=-1 if pause is None else pause)
            step, self._due = self._step(), None
            if step is None or self._stopping:
                return
            pause = step()
            if pause is None:
                step = None  # an idle thread keeps nobody alive
