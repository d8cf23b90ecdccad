"""`RedisLimits`: sliding windows on a Redis or Valkey server, exact and atomic, one round trip for all limits of a call.

The server's clock is the only one, and a script on the server (`reserve.lua`) does the counting. The state carries an epoch,
bound to the server's run: where it is gone or older than a process knows, the server has forgotten what it had admitted, and
every limit stays closed for one full window. Used by `cra.shared.limits`. PROTOCOL: Limits.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cra.errors import StorageError
from cra.hotpath import canonical_text
from cra.shared.limits import Answer, CannotCount, SharedLimitsAway, Standing, WhenAway
from cra.shared.redis.client import RedisServer, ServerAway
from cra.timing.rate_limit import MAX_BUDGET_ENTRIES, Charge

if TYPE_CHECKING:
    from cra.carp.policy import Limit

UNITS = 1_000_000
"""Units of a budget's 1: what is counted is exact to a millionth; a cost between two units counts as the larger one."""
MOST = 2**53
"""Units of the largest budget: numbers of the server's scripts are exact up to there."""
_OPTIONS = ("namespace", "when_away", "timeout")


class _Token:
    """The keys and the arguments that `release.lua` needs, which takes them once."""

    __slots__ = ("arguments", "keys")

    def __init__(self, keys: list[str], arguments: list[str]) -> None:
        self.keys = keys
        self.arguments = arguments


class RedisLimits:
    """See the module.

    `url` is redis-py's: `redis://[[user]:password@]host[:port][/db]`, `rediss://` with TLS, `unix://path`. `namespace` keeps
    the counters of several systems on one server apart. `when_away` says what happens while the server cannot be asked:
    `"fail_closed"` refuses, `"local"` counts in each process alone. `timeout` is how long to wait for the server, seconds; after
    a failure it is not asked for a second. Parameters in the URL (`?namespace=…&when_away=…&timeout=…`) are the same.

    Raises `StorageError` where redis-py is missing or the URL is none. Nothing is connected before the first call.
    """

    def __init__(
        self, url: str, *, namespace: str = "cra", when_away: WhenAway = "fail_closed", timeout: float = 1.0
    ) -> None:
        self._server = RedisServer(url, namespace=namespace, timeout=timeout, options=_OPTIONS)
        when_away = self._server.options.get("when_away", when_away)  # type: ignore[assignment]
        if when_away not in ("fail_closed", "local"):
            raise StorageError(f"when_away is {when_away!r}; it has to be 'fail_closed' or 'local'")
        self.when_away: WhenAway = when_away
        self._prefix = self._server.prefix
        self._reserve, self._release, self._open = map(self._server.script, ("reserve", "release", "open"))
        self._id = secrets.token_hex(6)
        self._numbers = itertools.count()
        self._known_epoch = 0
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The URL without what may be secret."""
        return self._server.name

    def __repr__(self) -> str:
        return f"RedisLimits({self.name!r}, when_away={self.when_away!r})"

    def start(self, *, force: bool = False) -> bool:
        """Declare a first start: nothing was admitted within any window, and nothing need stay closed.

        For the operator who sets the server up, once. False where the server has counted since it started; `force` declares it
        all the same, which may admit up to twice a limit within one window. Raises `SharedLimitsAway`.
        """
        return bool(self._call(self._open, [self._prefix + "epoch"], ["1" if force else "0"]))

    def reserve(self, charges: Sequence[Charge]) -> Answer:
        """See `SharedLimits`."""
        # The process by its number now: it may have been forked since, and its parent counts on as well.
        member = f"{self._id}-{os.getpid():x}-{next(self._numbers):x}"
        keys, arguments = [self._prefix + "epoch"], [str(self._known_epoch), member]
        for charge in charges:
            keys += self._keys(charge)
            amount, cost = (
                _units(charge.limit, charge.limit.amount, up=False),
                _units(charge.limit, charge.cost, up=True),
            )
            window_us = 0 if charge.limit.window_ns is None else -(-charge.limit.window_ns // 1000)
            most = MAX_BUDGET_ENTRIES if charge.limit.kind == "budget" else amount
            arguments += [str(cost), str(amount), str(window_us), "1" if charge.enforced else "0", str(most)]
        answer = self._call(self._reserve, keys, arguments)
        status, refused, retry_us, epoch = answer[:4]
        standings = answer[4 : 4 + 2 * len(charges)]
        counted = answer[4 + 2 * len(charges) :]
        with self._lock:
            self._known_epoch = max(self._known_epoch, epoch)
        return Answer(
            token=self._token(charges, counted, epoch, member) if status == 1 else None,
            refused=None if status == 1 else refused - 1,
            retry_after_ns=None if retry_us < 0 else retry_us * 1000,
            standings=tuple(
                Standing(used, None if leaves < 0 else leaves * 1000)
                for used, leaves in zip(standings[::2], standings[1::2])
            ),
            epoch=epoch,
            closed=status == 2,
        )

    def release(self, token: object) -> None:
        """See `SharedLimits`."""
        assert isinstance(token, _Token)
        keys, token.keys = token.keys, []
        if keys:
            self._call(self._release, keys, token.arguments)

    def used(self, charge: Charge, standing: Standing) -> int | Fraction:
        """See `SharedLimits`."""
        return standing.used if charge.limit.kind == "rate_limit" else Fraction(standing.used, UNITS)

    def close(self) -> None:
        """See `SharedLimits`."""
        self._server.close()

    def _token(self, charges: Sequence[Charge], counted: Sequence[int], epoch: int, member: str) -> _Token:
        keys = [self._prefix + "epoch"]
        arguments = [str(epoch), member]
        for charge, was_counted in zip(charges, counted):
            cost = _units(charge.limit, charge.cost, up=True)
            if was_counted and cost:
                keys += self._keys(charge)
                arguments += [str(cost), "0" if charge.limit.window_ns is None else "1"]
        return _Token(keys if len(keys) > 1 else [], arguments)

    def _keys(self, charge: Charge) -> tuple[str, str]:
        name = self._prefix + canonical_text(list(charge.key))  # type: ignore[call-overload]
        return name + ":entries", name + ":total"

    def _call(self, script: Any, keys: list[str], arguments: list[str]) -> Any:
        try:
            return self._server.run(script, keys, arguments)
        except ServerAway as away:
            raise SharedLimitsAway(str(away)) from away.__cause__


def _units(limit: Limit, amount: Fraction, *, up: bool) -> int:
    """An amount in units of a limit: calls, or millionths."""
    scaled = amount * (1 if limit.kind == "rate_limit" else UNITS)
    units = -(-scaled.numerator // scaled.denominator) if up else scaled.numerator // scaled.denominator
    if units > MOST:
        raise CannotCount(f"{float(amount):g} is more than a shared budget can count exactly, {MOST // UNITS}")
    return units
