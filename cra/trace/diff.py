"""Comparison of two traces: did the same things happen, whatever the ids, times and hashes.

Called as `cra.diff` and by `cra trace diff`. It compares what events say and trusts them: verify the traces first.
PROTOCOL: Diff.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile, zip_longest
from typing import Any, Final, Literal

import msgspec
import msgspec.structs

from cra.errors import InvalidTraceEvent
from cra.hotpath import canonical_text
from cra.pointer import pointer
from cra.reference.grammar import ANY_DIALECT, fields_of, find_fault
from cra.trace.event import Event

Grade = Literal["identical", "semantically_equivalent", "different"]
Kind = Literal["added", "removed", "changed", "measured"]
_Content = tuple[str, dict[str, Any]]

_IDS: Final = frozenset(
    (
        "request_id",
        "resolution_id",
        "execution_id",
        "approval_id",
        "session_id",
        "parent_session_id",
        "span_id",
        "event_id",
    )
)
_TIME_SUFFIX: Final = "_at"
_DURATION_SUFFIXES: Final = ("_ms", "_us", "_ns")
_DURATIONS: Final = frozenset({"retry_after", "reset_after", "uptime_seconds"})
_ABSENT: Final = object()


class Difference(msgspec.Struct, frozen=True):
    """One difference: `path` is a JSON pointer into the event at `index` (of trace a; of trace b for an `added` event).

    `added` and `removed` say that only trace b or only trace a has it, `measured` that two durations differ. A whole event has
    the path "" and is given by type and payload.
    """

    index: int
    path: str
    kind: Kind
    a: Any = None
    b: Any = None


class TraceDiff(msgspec.Struct, frozen=True):
    """`identical`: no difference. `semantically_equivalent`: `measured` ones only. `different`: anything else. PROTOCOL: Diff."""

    grade: Grade
    entries: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for `--json`."""
        builtins: dict[str, Any] = msgspec.to_builtins(self)
        return builtins


def diff(events_a: Iterable[Event | Mapping[str, Any]], events_b: Iterable[Event | Mapping[str, Any]]) -> TraceDiff:
    """Compare two traces event by event; what both begin and end with is paired, so that an event more or less is one entry.

    Compared are event types, payloads and the order. Ids, times and chain hashes are ignored (in payloads by name: `request_id`,
    `expires_at`, …); hashes of values (`parameters_hash`, `result_hash`, `policy_set`) are content and count. Raises
    `InvalidTraceEvent` for what is no event. PROTOCOL: Diff.
    """
    a = [_content(event, index) for index, event in enumerate(events_a)]
    b = [_content(event, index) for index, event in enumerate(events_b)]
    head = _count_alike(zip(a, b))
    tail = _count_alike(zip(reversed(a[head:]), reversed(b[head:])))
    end_a, end_b = len(a) - tail, len(b) - tail
    common = min(end_a, end_b)
    entries = [
        *_compare_all(a[:common], b[:common], 0),
        *(Difference(index, "", "removed", a=_whole(a[index])) for index in range(common, end_a)),
        *(Difference(index, "", "added", b=_whole(b[index])) for index in range(common, end_b)),
        *_compare_all(a[end_a:], b[end_b:], end_a),
    ]
    return TraceDiff(grade=_grade(entries), entries=tuple(entries))


def _grade(entries: list[Difference]) -> Grade:
    if not entries:
        return "identical"
    return "semantically_equivalent" if all(entry.kind == "measured" for entry in entries) else "different"


def _content(event: Event | Mapping[str, Any], index: int) -> _Content:
    fields = fields_of(event)
    fault = find_fault(fields, ANY_DIALECT)
    if fault is not None:
        raise InvalidTraceEvent(fault, path=f"/{index}")
    assert isinstance(fields, dict)  # or find_fault had said so
    canonical_text(fields["payload"], root=f"/{index}/payload")
    return fields["event_type"], fields["payload"]


def _count_alike(pairs: Iterable[tuple[_Content, _Content]]) -> int:
    """How many pairs in a row differ in nothing but durations."""
    alike = takewhile(lambda pair: _grade(list(_compare(*pair, 0))) != "different", pairs)
    return sum(1 for _ in alike)


def _compare_all(a: list[_Content], b: list[_Content], start: int) -> Iterator[Difference]:
    for index, (content_a, content_b) in enumerate(zip(a, b), start):
        yield from _compare(content_a, content_b, index)


def _whole(content: _Content) -> dict[str, Any]:
    return {"event_type": content[0], "payload": content[1]}


def _compare(a: _Content, b: _Content, index: int) -> Iterator[Difference]:
    if a[0] != b[0]:
        # The payloads of different types have nothing to say to each other.
        yield Difference(index, "/event_type", "changed", a[0], b[0])
        return
    for key in sorted({*a[1], *b[1]}):
        value_a, value_b = a[1].get(key, _ABSENT), b[1].get(key, _ABSENT)
        if _is_id_or_time(key) and value_a is not _ABSENT and value_b is not _ABSENT:
            continue
        for entry in _walk(value_a, value_b, pointer("/payload", key), index):
            measured = _is_duration(key) and _is_number(value_a) and _is_number(value_b)
            yield msgspec.structs.replace(entry, kind="measured") if measured else entry


def _walk(a: Any, b: Any, at: str, index: int) -> Iterator[Difference]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            yield from _walk(a.get(key, _ABSENT), b.get(key, _ABSENT), pointer(at, key), index)
    elif isinstance(a, list) and isinstance(b, list):
        for position, (item_a, item_b) in enumerate(zip_longest(a, b, fillvalue=_ABSENT)):
            yield from _walk(item_a, item_b, pointer(at, position), index)
    elif a is _ABSENT:
        yield Difference(index, at, "added", b=b)
    elif b is _ABSENT:
        yield Difference(index, at, "removed", a=a)
    elif canonical_text(a) != canonical_text(b):
        yield Difference(index, at, "changed", a, b)


def _is_id_or_time(key: str) -> bool:
    return key in _IDS or key.endswith(_TIME_SUFFIX)


def _is_duration(key: str) -> bool:
    return key in _DURATIONS or key.endswith(_DURATION_SUFFIXES)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
