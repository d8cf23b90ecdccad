"""Handing work to one waiting thread, and the word back that it is done.

The pool of `cra.execution.executors` has one for each of its threads, which waits in `next`. Whoever has taken the thread out of
the pool gives it one piece of work, and either waits for the end of it (`ask`) or does not (`give`). Nothing here runs anything.
"""

from __future__ import annotations

import threading
from enum import Enum
from typing import Final, Literal


class Word(Enum):
    """What `Handoff.next` comes back with instead of work."""

    NOTHING = "nothing came in time"
    LEFT = "whoever asked for the last work has stopped waiting for it"


NOTHING: Final = Word.NOTHING
LEFT: Final = Word.LEFT


class Handoff:
    """One thread calls `next`, again and again; one other at a time calls `give` or `ask`, and not before the last work is done.

    Work is done when its thread calls `next` again. The thread belongs to whoever gave it work: from `ask` it comes back with
    True. Where `ask` comes back with False, or raises because of a signal, and after `give`, it is its own.
    """

    __slots__ = ("_item", "_question", "_given")

    def __init__(self) -> None:
        self._item: object = None
        self._question: _Question | None = None
        """Who waits for the end of the work at hand."""
        self._given = threading.Lock()
        self._given.acquire()

    def give(self, item: object) -> None:
        """Hand over work, or what else the thread should know, and wait for nothing."""
        self._item = item
        self._given.release()

    def ask(self, item: object, timeout_s: float) -> bool:
        """Hand over work and wait until it is done; False where it is not after `timeout_s` seconds."""
        question = _Question(item)
        self.give(question)
        try:
            if question.done.acquire(timeout=_bounded(timeout_s)):
                return True
        except BaseException:
            if question.settle("left") == "done":
                self.give(LEFT)
            raise
        return question.settle("left") == "done"

    def next(self, timeout_s: float) -> object:
        """Say that the work at hand is done, and wait for more; `NOTHING` when none comes for `timeout_s` seconds.

        `LEFT`, without a wait, where nobody has waited for the end of that work: the thread is its own.
        """
        question, self._question = self._question, None
        if question is not None:
            if question.settle("done") == "left":
                return LEFT
            question.done.release()
        if not self._given.acquire(timeout=_bounded(timeout_s)):
            return NOTHING
        item, self._item = self._item, None
        if not isinstance(item, _Question):
            return item
        self._question = item
        work, item.item = item.item, None
        return work


class _Question:
    """One `ask`: its work, the lock that is released when it is done, and how it ended, which both sides settle at once."""

    __slots__ = ("item", "done", "_end")

    def __init__(self, item: object) -> None:
        self.item = item
        self.done = threading.Lock()
        self.done.acquire()
        self._end: dict[None, Literal["done", "left"]] = {}

    def settle(self, end: Literal["done", "left"]) -> Literal["done", "left"]:
        """How it ended: `end`, unless it was settled before."""
        return self._end.setdefault(None, end)


def _bounded(timeout_s: float) -> float:
    return min(max(timeout_s, 0.0), threading.TIMEOUT_MAX)
