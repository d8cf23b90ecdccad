"""`RedisLimits`: sliding windows on a Redis or Valkey server, exact and atomic, one round trip for all limits of a call.

The server's clock is the only one, and a script on the server (`reserve.lua`) does the counting. The state carries an epoch,
bound to the server's run: where it is gone or older than a process knows, the server has forgotten what it had admitted, and
every limit stays closed for one full window. Used by `cra.timing.shared_limits`. PROTOCOL: Limits.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
from collections.abc import Sequence
from fractions import Fraction
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from cra.errors import StorageError
from cra.hotpath import canonical_text
from cra.timing.clock import NS_PER_SECOND, SystemClock
from cra.timing.rate_limit import MAX_BUDGET_ENTRIES, Charge
from cra.timing.shared_limits import Answer, CannotCount, SharedLimitsAway, Standing, WhenAway

if TYPE_CHECKING:
    from cra.carp.policy import Limit

UNITS = 1_000_000
"""Units of a budget's 1: what is counted is exact to a millionth; a cost between two units counts as the larger one."""
MOST = 2**53
"""Units of the largest budget: numbers of the server's scripts are exact up to there."""
_PAUSE_NS = NS_PER_SECOND
_OPTIONS: tuple[str, ...] = ("namespace", "when_away", "timeout")
_SCHEMES = ("redis", "rediss", "unix")


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
        url, options = _split_options(url)
        namespace = options.get("namespace", namespace)
        when_away = options.get("when_away", when_away)  # type: ignore[assignment]
        timeout = _seconds(options.get("timeout", timeout))
        if when_away not in ("fail_closed", "local"):
            raise StorageError(f"when_away is {when_away!r}; it has to be 'fail_closed' or 'local'")
        if not namespace or "{" in namespace or "}" in namespace:
            raise StorageError("namespace has to be a text without braces")
        self.name = _name_of(url)
        self.when_away: WhenAway = when_away
        self._prefix = "{" + namespace + "}:"  # in braces, for all keys to be on one node of a cluster
        self._client = _connect(url, timeout)
        self._reserve = self._client.register_script(_script("reserve"))
        self._release = self._client.register_script(_script("release"))
        self._open = self._client.register_script(_script("open"))
        self._id = f"{os.getpid():x}-{secrets.token_hex(6)}"
        self._numbers = itertools.count()
        self._known_epoch = 0
        self._lock = threading.Lock()
        self._retry_at = 0
        self._away = ""

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
        keys, arguments = [self._prefix + "epoch"], [str(self._known_epoch), "", str(MAX_BUDGET_ENTRIES)]
        member = arguments[1] = f"{self._id}-{next(self._numbers):x}"
        for charge in charges:
            keys += self._keys(charge)
            amount, cost = (
                _units(charge.limit, charge.limit.amount, up=False),
                _units(charge.limit, charge.cost, up=True),
            )
            window_us = 0 if charge.limit.window_ns is None else -(-charge.limit.window_ns // 1000)
            arguments += [str(cost), str(amount), str(window_us), "1" if charge.enforced else "0"]
        answer = self._call(self._reserve, keys, arguments)
        status, refused, retry_us, epoch = answer[:4]
        standings = answer[4 : 4 + 2 * len(charges)]
        counted = answer[4 + 2 * len(charges) :]
        with self._lock:
            self._known_epoch = max(self._known_epoch, epoch)
        return Answer(
            token=self._token(charges, counted, member) if status == 1 else None,
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
        self._client.close()

    def _token(self, charges: Sequence[Charge], counted: Sequence[int], member: str) -> _Token:
        keys: list[str] = []
        arguments: list[str] = []
        for charge, was_counted in zip(charges, counted):
            cost = _units(charge.limit, charge.cost, up=True)
            if was_counted and cost:
                keys += self._keys(charge)
                arguments += [str(cost), "0" if charge.limit.window_ns is None else "1"]
        return _Token(keys, [*arguments, member])

    def _keys(self, charge: Charge) -> tuple[str, str]:
        name = self._prefix + canonical_text(list(charge.key))  # type: ignore[call-overload]
        return name + ":entries", name + ":total"

    def _call(self, script: Any, keys: list[str], arguments: list[str]) -> Any:
        """Run a script. After a failure nothing is asked for a second: callers must not wait for a dead server one by one."""
        from redis.exceptions import RedisError

        if SystemClock.monotonic_ns() < self._retry_at:
            raise SharedLimitsAway(self._away)
        try:
            return script(keys=keys, args=arguments)
        except (RedisError, OSError) as error:
            self._away = f"{self.name} cannot be asked: {type(error).__name__}"
            self._retry_at = SystemClock.monotonic_ns() + _PAUSE_NS
            raise SharedLimitsAway(self._away) from error


def _units(limit: Limit, amount: Fraction, *, up: bool) -> int:
    """An amount in units of a limit: calls, or millionths."""
    scaled = amount * (1 if limit.kind == "rate_limit" else UNITS)
    units = -(-scaled.numerator // scaled.denominator) if up else scaled.numerator // scaled.denominator
    if units > MOST:
        raise CannotCount(f"{float(amount):g} is more than a shared budget can count exactly, {MOST // UNITS}")
    return units


def _script(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")


def _connect(url: str, timeout: float) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise StorageError("shared limits on Redis need redis-py; install cra[redis]") from error
    try:
        client = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # what got no answer may have been counted, and is not asked again
        )
        client.connection_pool.make_connection()  # not connected: it only says what it cannot read
        return client
    except (ValueError, TypeError) as error:
        raise StorageError(f"the URL of the shared limits is none that redis-py reads: {error}") from error


def _split_options(url: str) -> tuple[str, dict[str, str]]:
    """The URL without this module's own parameters, and these."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise StorageError(f"shared limits are at {', '.join(scheme + '://…' for scheme in _SCHEMES)}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    own = {name: options.pop(name) for name in _OPTIONS if name in options}
    address = url.partition("?")[0]
    return f"{address}?{urlencode(options)}" if options else address, own


def _seconds(value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise StorageError(f"timeout is {value!r}; it has to be a number of seconds, more than 0")
    return seconds


def _name_of(url: str) -> str:
    """The URL without what may be secret."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    where = host if parts.port is None else f"{host}:{parts.port}"
    return f"{parts.scheme}://{where}{parts.path}"
