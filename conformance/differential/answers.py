"""What an operation came to, as a Python value whose `repr` is the same wherever the operation came to the same.

Called by the worker's doors and its world. An answer shows types (`1` is not `1.0`), the order of members, and of an error
everything that a caller could see of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import cra

_EXTRAS = ("path", "retry_after", "approval_id", "policy_id", "effect", "execution_id")
_DIGEST_BYTES = 8


def failure(error: Exception) -> tuple[Any, ...]:
    """An error: its type, and for one of `cra`'s its published body with the message, its HTTP status and what it carries."""
    name = type(error).__name__
    if not isinstance(error, cra.CRAError):
        return ("raised", name, str(error))
    extras = {extra: getattr(error, extra) for extra in _EXTRAS if hasattr(error, extra)}
    return ("refused", name, error.to_error_response()["error"], error.http_status, extras)


def typed(value: Any) -> Any:
    """A copy of a value in which containers and scalars of unexpected types are named, so that `repr` cannot hide them."""
    kind = type(value)
    if kind is dict:
        return {key if type(key) is str else (type(key).__name__, key): typed(member) for key, member in value.items()}
    if kind is list:
        return [typed(item) for item in value]
    if kind in (str, int, float, bool, bytes, type(None)):
        return value
    return (kind.__name__, value)


def without(payload: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """A payload but for what differs between any two processes."""
    return {key: value for key, value in payload.items() if key not in names}


def digest(answers: object, lines: Iterable[bytes] = ()) -> bytes:
    """A few bytes that are the same for the same answers and the same lines."""
    found = hashlib.blake2b(shown(answers).encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES)
    for line in lines:
        found.update(line)
    return found.digest()


def shown(answers: object) -> str:
    """The answers as text."""
    return repr(answers)
