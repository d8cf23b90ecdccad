"""Where a database is: what the URL of a `postgresql:` store says, and what of it may be shown.

Two options are the store's own, `schema` and `timeout`; everything else is libpq's, which refuses what it does not know. A
password is in what libpq is given and nowhere else: neither in `name` nor in any message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cra.errors import StorageError

DEFAULT_SCHEMA: Final = "cra"
DEFAULT_TIMEOUT: Final = 30
LONGEST_TIMEOUT: Final = 3600

_PREFIX: Final = "postgresql://"
_SCHEMA: Final = re.compile(r"(?!pg_|information_schema$)[a-z_][a-z0-9_]{0,62}")
_PORTS: Final = re.compile("[0-9,]*")
_UNREADABLE: Final = (
    "storage 'postgresql:' is not a URL that libpq can read: write postgresql://user@host:port/database?option=value, with"
    " every special character of a user or password percent-encoded"
)
_KEYWORD: Final = re.compile(r"[a-z_]{1,30}")
_SHOWN: Final = ("service", "target_session_attrs")  # of libpq's options, what tells one store from another
# A server that does not answer is noticed: libpq's own defaults wait for minutes, or for ever.
_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "fallback_application_name": "cra",
}


@dataclass(frozen=True)
class Address:
    """`name` is the URL without password; `conninfo`, for libpq, may hold one. `timeout` is in seconds."""

    name: str
    schema: str
    timeout: int
    conninfo: str = field(repr=False)


def read_address(url: str) -> Address:
    """What `postgresql://user@host:port/database?option=value` says. Raises `StorageError`, which never repeats the URL."""
    if not url.startswith(_PREFIX):
        raise StorageError("storage 'postgresql:' names a database: write postgresql://user@host/database")
    front, options = _split(url)
    own: dict[str, str] = {}
    theirs = []
    for option in options:
        key, _, value = option.partition("=")
        if key not in ("schema", "timeout"):
            theirs.append(option)
        elif key in own:
            raise StorageError(f"storage 'postgresql:' is given {key}= twice; give it once")
        else:
            own[key] = unquote(value)
    parameters = _parse(front, theirs)
    schema = own.get("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.fullmatch(schema):
        raise StorageError(
            "storage 'postgresql:' takes as schema= up to 63 lower-case letters, digits and _, not beginning with a digit or pg_"
        )
    return Address(
        name=_name(parameters, own),
        schema=schema,
        timeout=_seconds(own.get("timeout", str(DEFAULT_TIMEOUT))),
        conninfo=make_conninfo(**{**_DEFAULTS, **parameters, "client_encoding": "UTF8"}),
    )


def _split(url: str) -> tuple[str, list[str]]:
    """The URL up to the ?, and the options behind it. As libpq reads it, a user's part may have a ? in it."""
    rest = _behind_user(url)
    front, _, query = rest.partition("?")
    return url[: len(url) - len(rest)] + front, [option for option in query.split("&") if option]


def _behind_user(url: str) -> str:
    rest = url.removeprefix(_PREFIX)
    end = next((at for at, character in enumerate(rest) if character in "@/"), None)
    return rest if end is None or rest[end] == "/" else rest[end + 1 :]


def _parse(front: str, options: list[str]) -> dict[str, str]:
    """What libpq reads in the URL. Its message may quote what holds the password, so this says it in other words."""
    try:
        found = conninfo_to_dict(front + ("?" + "&".join(options) if options else ""))
    except ProgrammingError:
        known = _is_read(front)
        bad = next((option for option in options if known and not _is_read(f"{_PREFIX}?{option}")), None)
        # Where an @ follows, the "option" may be a part of a password that was not percent-encoded.
        key = "" if bad is None or any("@" in option for option in options) else bad.partition("=")[0]
        if _KEYWORD.fullmatch(key):
            raise StorageError(
                f"storage 'postgresql:' does not take {key}= as it is written; there are schema=, timeout= and libpq's options"
                " (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS)"
            ) from None
        raise StorageError(_UNREADABLE) from None
    parameters = {key: str(value) for key, value in found.items() if value is not None}
    # A password with an @ or a / in it, and one that no host follows, are read as a host, a port or a database: not to be shown.
    if "@" in _behind_user(front) or not _PORTS.fullmatch(parameters.get("port", "")):
        raise StorageError(_UNREADABLE)
    if "client_encoding" in parameters:
        raise StorageError("storage 'postgresql:' takes no client_encoding=, since every line is UTF-8; leave it out")
    return parameters


def _is_read(url: str) -> bool:
    try:
        conninfo_to_dict(url)
    except ProgrammingError:
        return False
    return True


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LONGEST_TIMEOUT:
        raise StorageError(f"storage 'postgresql:' takes as timeout= whole seconds from 1 to {LONGEST_TIMEOUT}")
    return int(text)


def _name(parameters: dict[str, str], own: dict[str, str]) -> str:
    """A URL of the same store, without what is secret or only says how to get there."""
    shown = {key: value for key, value in own.items() if key == "schema"}
    shown |= {key: parameters[key] for key in _SHOWN if key in parameters}
    user = quote(parameters["user"], safe="") + "@" if "user" in parameters else ""
    options = "&".join(f"{key}={quote(value, safe='')}" for key, value in shown.items())
    database = quote(parameters.get("dbname", ""), safe="")
    return f"{_PREFIX}{user}{','.join(_hosts(parameters))}/{database}{'?' if options else ''}{options}"


def _hosts(parameters: dict[str, str]) -> Iterator[str]:
    hosts = parameters.get("host", parameters.get("hostaddr", "")).split(",")
    ports = parameters.get("port", "").split(",")
    for at, host in enumerate(hosts):
        port = ports[at] if len(ports) == len(hosts) else ports[0]
        shown = f"[{host}]" if ":" in host else quote(host, safe="")
        yield f"{shown}:{port}" if port else shown
