"""The operations that need no runtime: everything that takes values, events, lines, patterns or records. Called by the worker.

Each function answers one operation of an episode; what it raises is the answer as well.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import cra
from conformance.differential.answers import failure, typed
from conformance.differential.episode import Operation
from conformance.differential.values import decode
from cra import hotpath
from cra.carp.policy import Limit
from cra.reference.sliding_windows import Charge, LimitReached
from cra.trace.jsonl import dump_line, read_events

_DIALECTS = ("trace-1.0", "cra-rust")


def canonical(operation: Operation) -> Any:
    """The text, its bytes, and the hashes of a value, with and without a key."""
    value = decode(operation["value"])
    text = hotpath.canonical_text(value, *operation.get("bounds", ()))
    return text, hotpath.canonical_json(value), hotpath.hash_value(value), hotpath.hash_value(value, b"key")


def plain_copy(operation: Operation) -> Any:
    """The copy, in types that show."""
    return typed(hotpath.plain_copy(decode(operation["value"]), operation.get("at", "")))


def event_hash(operation: Operation) -> Any:
    """The hash of what may be an event."""
    return cra.event_hash(decode(operation["event"]))


def seal(operation: Operation) -> Any:
    """An event with these fields, and its line."""
    event = hotpath.seal(**decode(operation["fields"]))
    return event, dump_line(event)


def verify_chain(operation: Operation) -> Any:
    """The verdict on events, from an anchor where there is one, in both dialects."""
    anchor = operation.get("anchor")
    return [
        cra.verify_chain(decode(operation["events"]), None if anchor is None else tuple(anchor), dialect=dialect)
        for dialect in _DIALECTS
    ]


def verify_file(operation: Operation) -> Any:
    """The verdict on a file, and the events that it is read as."""
    data = bytes.fromhex(operation["data"])
    path = _scratch()
    path.write_bytes(data)
    verdict = cra.verify_file(path, operation.get("dialect", _DIALECTS[0]))
    try:
        read: Any = list(read_events(BytesIO(data)))
    except cra.CRAError as error:
        read = failure(error)
    return verdict, read


_folder: tempfile.TemporaryDirectory[str] | None = None


def _scratch() -> Path:
    """A file to write to again and again, in memory where there is such a place."""
    global _folder
    if _folder is None:
        _folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    return Path(_folder.name, "trace.jsonl")


def glob(operation: Operation) -> Any:
    """Whether a pattern matches each text."""
    return [hotpath.glob_match(operation["pattern"], text) for text in operation["texts"]]


def keywords(operation: Operation) -> Any:
    """What each goal triggers, asked of the matcher and of the selector that remembers."""
    matcher = hotpath.KeywordMatcher([(word, trigger) for word, trigger in operation["words"]])
    selector = hotpath.GoalSelector(matcher, lambda triggers: (triggers, triggers[::-1]))
    return [(matcher.find(goal), selector.select(goal)) for goal in operation["goals"]]


def windows(operation: Operation) -> Any:
    """A script of reservations and looks at limits: `["reserve", now, …]` and so on."""
    limits = [_limit(*each) for each in operation["limits"]]
    counted = hotpath.SlidingWindows(operation.get("most", 100_000))
    watches = hotpath.Watches([(key, limits[index], None) for index, key in enumerate("abcd") if index < len(limits)])
    held: list[Any] = []
    answers: list[Any] = []
    for kind, now, *rest in operation["steps"]:
        answer: Any = None
        if kind == "reserve":
            charges = [Charge(key, limits[index], _amount(cost), enforced) for key, index, cost, enforced in rest[0]]
            try:
                held.append(counted.reserve(charges, now))
            except LimitReached as reached:
                answer = charges.index(reached.charge), reached.retry_after_ns, str(reached)
        elif kind == "peek":
            key, index, cost = rest
            answer = counted.peek(key, limits[index], now, None if cost is None else _amount(cost))
        elif kind == "states":
            states = counted.states(watches, now)
            answer = states, watches.exhausted(states)
        elif kind == "release" and held:
            counted.release(held[rest[0] % len(held)])
        elif kind == "forget":
            counted.forget(rest[0])
        answers.append((answer, len(counted)))
    return answers


def _limit(kind: Any, amount: str, window_ns: int | None) -> Limit:
    return Limit(kind, Fraction(amount), window_ns)


def _amount(text: str) -> Fraction:
    return Fraction(text)


def expand(operation: Operation) -> Any:
    """Records, fed one by one; then the lines they became."""
    expander = hotpath.Expander({name: (s, h, t) for name, (s, h, t) in operation.get("heads", {}).items()})
    answers: list[Any] = []
    for record in operation["records"]:
        try:
            expander.feed(bytes.fromhex(record))
        except cra.CRAError as error:
            answers.append(failure(error))
    batch = expander.take(7)
    taken = None if batch is None else (batch.data, batch.runs, batch.position, len(batch))
    return answers, taken, expander.records, expander.events


def parse_request(operation: Operation) -> Any:
    """A request, validated."""
    return cra.Request.parse(decode(operation["document"]))


def manifest(operation: Operation) -> Any:
    """An atlas loaded alone, and what lint says of it."""
    atlas = cra.load_atlas(decode(operation["manifest"]), strict=operation.get("strict", False))
    return atlas.atlas_id, atlas.version, atlas.digest, cra.lint_atlas(atlas)


DOORS: dict[str, Callable[[Operation], Any]] = {
    "canonical": canonical,
    "plain_copy": plain_copy,
    "event_hash": event_hash,
    "seal": seal,
    "verify_chain": verify_chain,
    "verify_file": verify_file,
    "glob": glob,
    "keywords": keywords,
    "windows": windows,
    "expand": expand,
    "parse_request": parse_request,
    "manifest": manifest,
}
