"""The recorder's one thread: it drains the ring, sleeps in the ring while there is nothing to drain, and never polls.

It starts with the first record and holds its recorder only while there is work, so that a recorder nobody refers to any more
is collected and its thread ends by itself. A recorder that is collected with records in its ring gets another (`Recorder`).
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress

from cra.errors import InternalError
from cra.hotpath import Ring
from cra.trace.worker import NO_MEMORY_SECONDS

Step = Callable[[], float | None]


class DrainThread:
    """Runs `step`, a bound method, whenever `ring` has records or somebody calls `wake`.

    `step` returns None when there is nothing left to do, 0 to be called again at once, or the seconds after which it wants to
    be called again if nobody wakes it before. It must not raise.
    """

    def __init__(self, step: Step, ring: Ring, name: str) -> None:
        self._name = name
        self._ring = ring
        self._step = weakref.WeakMethod(step, lambda _: _wake(ring))
        self._held: Step | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        # Locked: nobody has called. To release it is one atomic call: what interrupts it leaves nothing half done.
        self._gate = threading.Lock()
        self._gate.acquire()

    def start(self) -> None:
        """Have the thread run; called with every record, and next to free once it does. Callers take turns."""
        if self._thread is None and not self._stopping:
            self._held = self._step()  # until the thread has it
            # Set before it runs: what interrupts this must not start a second one.
            self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                # None are started at interpreter shutdown: the owner sees `running`, and does the work itself.
                self._thread = self._held = None

    def wake(self) -> None:
        """Have `step` run soon, started if need be."""
        self.start()
        self._call()

    def stop(self) -> None:
        """End the thread after the run it is in. Does not wait for it."""
        self._stopping = True
        self._call()

    def join(self, timeout: float | None) -> bool:
        """Wait for the end after `stop`; False when it takes longer, or when the thread itself asks."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return True
        if thread is threading.current_thread():
            return False
        thread.join(timeout)
        return not thread.is_alive()

    @property
    def running(self) -> bool:
        """Whether a thread is there to do the work."""
        return self._thread is not None and self._thread.is_alive()

    def _call(self) -> None:
        with suppress(RuntimeError):  # called already
            self._gate.release()
        _wake(self._ring)

    def _loop(self) -> None:
        while True:
            try:
                return self._drain()
            except MemoryError:  # nobody else drains the ring
                time.sleep(NO_MEMORY_SECONDS)

    def _drain(self) -> None:
        step, self._held = self._held, None
        while not self._stopping:
            step = step or self._step()
            if step is None:
                return
            self._gate.acquire(blocking=False)
            pause = step()
            if pause is None:
                step = None  # an idle thread keeps nobody alive
            if pause == 0.0 or not self._gate.locked():
                continue  # a call that came meanwhile may have woken something else
            if pause is not None and self._ring.head != self._ring.position:
                self._gate.acquire(timeout=pause)  # a backend fails: more records are no reason to come sooner
            else:
                self._ring.wait(pause)


def _wake(ring: Ring) -> None:
    with suppress(InternalError):  # closed: nobody sleeps in it any more
        ring.wake()
