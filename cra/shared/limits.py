"""Limits that several processes count together: what a counter for them promises, and how a runtime uses one.

`SharedWindows` stands between an execution and two counters: that of the process (`SlidingWindows`), for limits of a session,
and a shared one (`cra.shared.redis`) for the rest. A resolve never asks the shared one: it sees what this process last knew.
PROTOCOL: Limits, Decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from cra.timing.clock import Clock
from cra.timing.rate_limit import Charge, LimitReached, Reservation, SlidingWindows

WhenAway = Literal["fail_closed", "local"]
Note = Callable[[str, dict[str, Any]], object]
"""Records an event of the runtime's own: its type and its payload."""


class SharedLimitsAway(Exception):
    """The shared counter cannot be asked now; the message says why, without any password."""


class CannotCount(ValueError):
    """An amount is larger than a shared counter can hold exactly."""


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What is counted for one key: `used`, in the unit of its limit, and in how many ns the oldest of it leaves, None: never."""

    used: int
    leaves_ns: int | None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a shared counter says to charges.

    `token` gives back what was counted, None where nothing was. `refused` is the index of the charge that did not fit, and
    `retry_after_ns` when it may, None where waiting does not help. `standings` are in the order of the charges. `epoch` names the
    counter's memory: another one than before means that it has forgotten what it had counted. `closed`: it refuses for that.
    """

    token: object
    refused: int | None
    retry_after_ns: int | None
    standings: tuple[Standing, ...]
    epoch: int
    closed: bool


@runtime_checkable
class SharedLimits(Protocol):
    """A counter for several processes, safe to call from many threads. Its `name` holds no password."""

    when_away: WhenAway

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    def reserve(self, charges: Sequence[Charge]) -> Answer:
        """Count all charges in one atomic step, or none. Raises `SharedLimitsAway`, `CannotCount`."""
        ...

    def release(self, token: object) -> None:
        """Give back what was counted. Raises `SharedLimitsAway`."""
        ...

    def used(self, charge: Charge, standing: Standing) -> Any:
        """The exact amount that `standing` has for the limit of `charge`."""
        ...

    def close(self) -> None:
        """Let go of connections. Harmless when repeated."""
        ...


class Spending(Protocol):
    """Where an execution reserves its limits: the windows of the process, or these and a shared counter."""

    def reserve(self, charges: list[Charge], now_ns: int) -> Any:
        """Count `charges` at the monotonic time `now_ns`, all or none. Raises `LimitReached`, and what `SharedWindows` does."""
        ...

    def release(self, spent: Any) -> None:
        """Give back what `reserve` returned."""
        ...


class _Spent:
    """What one call holds."""

    __slots__ = ("fallback", "local", "token")

    def __init__(self, local: Reservation) -> None:
        self.local = local
        self.token: object = None
        self.fallback: Reservation | None = None


class SharedWindows:
    """Reserves the limits of calls in both counters, all or none. Safe to call from many threads.

    Where the shared one is away, `fail_closed` refuses (`SharedLimitsAway`); `local` counts in this process alone, so that each
    process may spend the whole limit, and says so with `runtime.limits_local` when it begins and when it is over. A counter that
    has lost its memory refuses for a full window; `runtime.limits_closed` says so, once a process and loss.
    """

    def __init__(self, windows: SlidingWindows, shared: SharedLimits, clock: Clock, note: Note) -> None:
        self._windows = windows
        self._shared = shared
        self._clock = clock
        self._note = note
        self._own = SlidingWindows()  # what this process spent of shared limits
        self._is_local = False
        self._noted_epoch: int | None = None

    def reserve(self, charges: Sequence[Charge], now_ns: int) -> _Spent:
        """Count `charges` at the monotonic time `now_ns`. Raises `LimitReached`, `SharedLimitsAway`, `CannotCount`."""
        shared = [charge for charge in charges if is_shared(charge)]
        spent = _Spent(self._windows.reserve([charge for charge in charges if not is_shared(charge)], now_ns))
        if shared:
            try:
                self._reserve_shared(spent, shared, now_ns)
            except BaseException:
                self._windows.release(spent.local)
                raise
        return spent

    def release(self, spent: _Spent) -> None:
        """Give everything back. What a counter that is away holds stays counted there: never more is admitted for that."""
        self._windows.release(spent.local)
        if spent.fallback is not None:
            self._own.release(spent.fallback)
        if spent.token is not None:
            try:
                self._shared.release(spent.token)
            except SharedLimitsAway:
                return

    def _reserve_shared(self, spent: _Spent, charges: list[Charge], now_ns: int) -> None:
        as_of_ns = (
            self._clock.now_ns()
        )  # before it is asked: what it knows is no older, and no resolve is from before that
        try:
            answer = self._shared.reserve(charges)
        except SharedLimitsAway as away:
            if self._shared.when_away == "fail_closed":
                raise
            self._note_local(True, str(away))
            spent.fallback = self._own.reserve(charges, now_ns)
            return
        self._note_local(False, "")
        for charge, standing in zip(charges, answer.standings):
            self._know(charge, standing, now_ns, as_of_ns)
        if answer.closed:
            self._note_closed(answer)
        if answer.refused is not None:
            raise LimitReached(charges[answer.refused], answer.retry_after_ns)
        spent.token = answer.token
        # What this process spends counts for it when the shared counter goes away; it never refuses here.
        lenient = [Charge(each.key, each.limit, each.cost, enforced=False) for each in charges]
        spent.fallback = self._own.reserve(lenient, now_ns)

    def _know(self, charge: Charge, standing: Standing, now_ns: int, as_of_ns: int) -> None:
        window_ns = charge.limit.window_ns
        age = 0 if window_ns is None or standing.leaves_ns is None else max(0, window_ns - standing.leaves_ns)
        used = self._shared.used(charge, standing)
        self._windows.know(charge.key, charge.limit, used, now_ns - age, as_of_ns)

    def _note_local(self, is_local: bool, why: str) -> None:
        if is_local is not self._is_local:
            self._is_local = is_local
            payload = {"limits": self._shared.name, "local": is_local}
            self._note("runtime.limits_local", payload | {"reason": why} if is_local else payload)

    def _note_closed(self, answer: Answer) -> None:
        if self._noted_epoch != answer.epoch:
            self._noted_epoch = answer.epoch
            self._note("runtime.limits_closed", {"limits": self._shared.name, "epoch": answer.epoch})


def is_shared(charge: Charge) -> bool:
    """Whether a limit outlives sessions: those of one session are counted in its process."""
    limit = charge.limit
    return limit.key != "session" and not (limit.key == "action" and limit.window_ns is None)
