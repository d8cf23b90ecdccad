"""A Redis or Valkey server that may be away: URLs with options, scripts, and a pause after a failure. Used by its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from cra.errors import StorageError
from cra.timing.clock import NS_PER_SECOND, SystemClock

_PAUSE_NS = NS_PER_SECOND
_SCHEMES = ("redis", "rediss", "unix")


class ServerAway(Exception):
    """The server cannot be asked now; the message says why, without any password."""


class RedisServer:
    """A server by its URL, redis-py's with the options of this package in its query; nothing is connected before the first call.

    `options` are the names of those that the URL may have, and then those that it has. `prefix` is what every key begins with, in
    braces for all of them to be on one node of a cluster. `name` is the URL without what may be secret. Raises `StorageError`
    where redis-py is missing or the URL is none.
    """

    def __init__(self, url: str, *, namespace: str, timeout: float, options: tuple[str, ...]) -> None:
        _check(url)
        url, self.options = _split_options(url, options)
        namespace = self.options.get("namespace", namespace)
        if not namespace or "{" in namespace or "}" in namespace:
            raise StorageError("namespace has to be a text without braces")
        self.timeout = _seconds(self.options.get("timeout", timeout))
        self.name = _name_of(url)
        self.prefix = "{" + namespace + "}:"
        self.client = _connect(url, self.timeout)
        self._retry_at = 0
        self._away = ""

    def script(self, name: str) -> Any:
        """The script `name`.lua, to be called with `run`."""
        text = resources.files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
        return self.client.register_script(text)

    def run(self, script: Any, keys: list[str], arguments: list[str]) -> Any:
        """Run a script. After a failure nothing is asked for a second: callers must not wait for a dead server one by one.

        Raises `ServerAway`.
        """
        return self.do(lambda _: script(keys=keys, args=arguments))

    def do(self, command: Callable[[Any], Any]) -> Any:
        """What `command` returns for the client of redis-py; as `run`."""
        from redis.exceptions import RedisError

        if SystemClock.monotonic_ns() < self._retry_at:
            raise ServerAway(self._away)
        try:
            return command(self.client)
        except (RedisError, OSError) as error:
            self._away = f"{self.name} cannot be asked: {type(error).__name__}"
            self._retry_at = SystemClock.monotonic_ns() + _PAUSE_NS
            raise ServerAway(self._away) from error

    def forget_failure(self) -> None:
        """Ask again at once."""
        self._retry_at = 0

    def close(self) -> None:
        """Let go of connections. Harmless when repeated."""
        self.client.close()


def _connect(url: str, timeout: float) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise StorageError("to share anything on Redis needs redis-py; install cra[redis]") from error
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
        raise StorageError(f"the URL is none that redis-py reads: {error}") from error


def _check(url: str) -> None:
    """Raises `StorageError` without any part of the URL: what a parser took for something else may be of a password."""
    try:
        _ = urlsplit(url).port
        return
    except ValueError:
        pass  # what it says quotes the URL, and must not be the context of what is raised
    raise StorageError(
        "the URL is none that can be read: its host or its port is wrong, or its password has one of / ? # [ ] @, which are"
        " written %2F %3F %23 %5B %5D %40"
    )


def _split_options(url: str, names: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The URL without this module's own parameters, and these."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise StorageError(f"what is shared is at {', '.join(scheme + '://…' for scheme in _SCHEMES)}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    own = {name: options.pop(name) for name in names if name in options}
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
