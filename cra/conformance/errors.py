"""An error of `cra` as the wire has it. Called by our adapter only."""

from __future__ import annotations

from typing import Any

import cra

_EXTRAS = ("path", "retry_after", "approval_id", "policy_id", "effect")


def described(error: cra.CRAError) -> dict[str, Any]:
    """The published error body without its message, the HTTP status, and what the exception carries besides."""
    body = dict(error.to_error_response()["error"])
    del body["message"]
    extras = {name: getattr(error, name) for name in _EXTRAS if getattr(error, name, None) is not None}
    if isinstance(error, cra.RateLimitExceeded):
        extras["retry_after"] = error.retry_after
    return {**body, "http_status": error.http_status, **extras}
