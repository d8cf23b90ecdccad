"""Does a resolution or an event in an answer keep to the published schema? The runner's own judgement, whatever the adapter says.

Expectations name what a case is about and let an implementation say more; the schemas say how much more. PROTOCOL:
Resolution, Event.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs

from cra.schemas import load

_MARKS = {
    "carp-resolution": ("resolution_id", "decision", "allowed_actions"),
    "trace-event": ("event_id", "event_type", "previous_event_hash"),
}
"""What only documents of a schema have, all of them."""


def faults(answer: Any) -> list[str]:
    """What is wrong with the resolutions and events in an answer, each as `<JSON pointer>: <sentence>`."""
    return [fault for name, at, document in _documents(answer, "") for fault in _faults(name, at, document)]


def _documents(value: Any, at: str) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, dict):
        for name, marks in _MARKS.items():
            if all(mark in value for mark in marks):
                yield name, at, value
                return
        for key, member in value.items():
            yield from _documents(member, f"{at}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _documents(item, f"{at}/{index}")


def _faults(name: str, at: str, document: Any) -> Iterator[str]:
    for error in validator(name).iter_errors(document):
        where = "".join(f"/{part}" for part in error.instance_path)
        yield f"{at}{where}: not by the published schema {name}: {error.message}"


@cache
def validator(name: str) -> Any:
    """Of `jsonschema_rs`, for the schema `name`; formats are checked."""
    return jsonschema_rs.validator_for(load(name), validate_formats=True)
