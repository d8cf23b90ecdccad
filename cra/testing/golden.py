"""Comparison with a golden case: what a run must say, with the parts that no two runs share left open.

Used in tests, this package's and its users'. It reports mismatches and judges nothing else. PROTOCOL: Golden comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from cra.pointer import pointer
from cra.trace.event import Event

DYNAMIC: Final = "$dynamic"
_CONTRADICTED: Final = frozenset({"goal", "agent_id"})
"""The published golden trace contradicts its own request in these."""


def compare_golden(actual: object, golden: object) -> list[str]:
    """The mismatches between a JSON value and its golden form, each as `<JSON pointer>: <sentence>`; empty where there are none.

    Ignored are values that the golden gives as `"$dynamic"` (the key has to be there), keys that the golden does not have, its
    remarks (keys that start with `$`), and `goal` and `agent_id`. Lists are of the same length. PROTOCOL: Golden comparison.
    """
    return list(_mismatches(actual, golden, ""))


def compare_golden_trace(events: Iterable[Event | Mapping[str, Any]], golden: Sequence[object]) -> list[str]:
    """`compare_golden` over a trace; events after the golden's last (the session going on) are ignored."""
    actual = [event.to_dict() if isinstance(event, Event) else event for event in events]
    return compare_golden(actual[: len(golden)], list(golden))


def _mismatches(actual: object, golden: object, at: str) -> Iterator[str]:
    if golden == DYNAMIC:
        return
    if isinstance(golden, Mapping):
        if not isinstance(actual, Mapping):
            yield f"{at}: an object was expected, not {type(actual).__name__}"
            return
        for key, expected in golden.items():
            if key.startswith("$") or key in _CONTRADICTED:
                continue
            if key in actual:
                yield from _mismatches(actual[key], expected, pointer(at, key))
            else:
                yield f"{pointer(at, key)}: missing"
    elif isinstance(golden, list):
        if not isinstance(actual, list) or len(actual) != len(golden):
            found = f"{len(actual)} items" if isinstance(actual, list) else type(actual).__name__
            yield f"{at}: a list of {len(golden)} items was expected, not {found}"
            return
        for index, (item, expected) in enumerate(zip(actual, golden)):
            yield from _mismatches(item, expected, pointer(at, index))
    elif type(actual) is not type(golden) or actual != golden:
        yield f"{at}: {golden!r} was expected, not {actual!r}"
