"""What `msgspec` has to be told before threads start."""

from __future__ import annotations

import msgspec


def learn(*kinds: type[msgspec.Struct]) -> None:
    """Have the fields of these looked at now: at their first use, from two threads at once, the process may crash."""
    for kind in kinds:
        msgspec.json.Decoder(kind)
