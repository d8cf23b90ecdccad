"""The JSON Schemas of the three protocols, as this project reads them, and that of policy tests.

The first four are copies of the published ones with what PROTOCOL adds: wider action and capability ids; in the manifest also
inline context, what a policy may hold besides, and clock times without seconds; in the trace event the names of the events of
approvals and of the runtime. For editors, other programs and tests: the package itself checks with types of its own.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

NAMES = ("atlas-manifest", "carp-request", "carp-resolution", "trace-event", "policy-tests")


def load(name: str) -> dict[str, Any]:
    """The schema `name`, one of `NAMES`, as a fresh mapping; raises `KeyError` for any other name."""
    if name not in NAMES:
        raise KeyError(f"there is no schema {name!r}; there are {', '.join(NAMES)}")
    import json

    text = resources.files(__name__).joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
