"""Frames: found whole or not at all, and the same by both implementations. docs/formats/journal.md."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.reference import frames as reference
from cra.reference.frames import Span, frame
from tests.support.records import RECORDS, broken_records, definition, events, resolve, template
from tests.support.twins import both, compiled_twin, twins

CONTENTS = st.lists(RECORDS | broken_records() | st.binary(max_size=60), max_size=8)
START = frame(events(("session.started", {})))
ENDED = frame(events(("a.b", {}), ("session.ended", {}), define=None, n=3))
PLAIN = frame(events(n=2, define=None))
RESOLVE = frame(resolve(n=1))
TEMPLATE = frame(template())


@pytest.fixture(params=twins(reference))
def module(request: pytest.FixtureRequest) -> Any:
    """Either implementation."""
    return request.param


def found(module: Any, data: bytes, session: int | None = None) -> list[bytes]:
    """The contents that a scan finds."""
    places, _ = module.scan_frames(data, 0, session)
    return [data[at : at + length] for at, length in places]


def test_a_scan_finds_what_changes_the_meaning_of_later_records(module: Any) -> None:
    """Templates, first and last records of sessions, and what is no record; neither resolves nor what lies in between."""
    data = TEMPLATE + START + RESOLVE + PLAIN + frame(b"\x10") + frame(b"") + ENDED
    assert [part[8:] for part in (TEMPLATE, START, frame(b"\x10"), frame(b""), ENDED)] == found(module, data)


def test_a_scan_for_a_session_finds_its_records_and_all_templates(module: Any) -> None:
    """In order; other sessions, and what is no record, are passed over."""
    other = frame(events(session=2, define=definition(2)))
    data = TEMPLATE + START + other + RESOLVE + frame(b"\x10") + PLAIN
    assert [part[8:] for part in (TEMPLATE, START, RESOLVE, PLAIN)] == found(module, data, 1)
    assert [TEMPLATE[8:], other[8:]] == found(module, data, 2)


def test_frames_end_where_they_are_not_whole(module: Any) -> None:
    """Cut at any byte, or with any bit of the last frame changed, the frames before are found and nothing else."""
    data = START + RESOLVE
    for cut in range(len(START), len(data)):
        assert len(START) == module.scan_frames(data[:cut])[1]
    for at in range(len(START), len(data)):
        changed = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
        assert len(START) == module.scan_frames(changed)[1]


def test_a_survey_says_where_sessions_are(module: Any) -> None:
    """From the first frame that carries a number to the end of the last; definitions without events count as no records."""
    defined = frame(events(session=2, define=definition(2))[:2] + b"\0\0" + events(session=2)[4:84])
    data = TEMPLATE + START + defined + RESOLVE + PLAIN
    spans: dict[int, Span] = {7: (1, 2, 3)}
    module.survey_frames(data, 0, len(data), 1_000, spans)
    first, second = 1_000 + len(TEMPLATE), 1_000 + len(TEMPLATE + START)
    assert {7: (1, 2, 3), 1: (first, 1_000 + len(data), 3), 2: (second, second + len(defined), 0)} == spans
    module.survey_frames(PLAIN, 0, len(PLAIN), 9_000, spans)
    assert (first, 9_000 + len(PLAIN), 4) == spans[1]


@pytest.mark.parametrize("count", [255, 256, 257, 600])
def test_very_many_are_found_like_few(module: Any, count: int) -> None:
    """However many are handed over at once: every template, and every run of records of one session after another's."""
    data = b"".join(RESOLVE + frame(resolve(session=2, n=n)) + TEMPLATE for n in range(count))
    assert [TEMPLATE[8:]] * count == found(module, data)
    assert len(data) == module.scan_frames(data)[1]
    spans: dict[int, Span] = {}
    module.survey_frames(data, 0, len(data), 10, spans)
    assert {1: count, 2: count} == {number: span[2] for number, span in spans.items()}
    assert (10, 10 + len(data) - len(TEMPLATE)) == (spans[1][0], spans[2][1])


@given(CONTENTS, st.integers(0, 40), st.integers(0, 3) | st.none(), st.binary(max_size=12))
def test_both_find_the_same(contents: list[bytes], start: int, session: int | None, rest: bytes) -> None:
    """Whatever the bytes."""
    compiled = compiled_twin()
    data = b"".join(map(frame, contents)) + rest
    both(reference.scan_frames, compiled.scan_frames, data, min(start, len(data)), session)
    _, whole = reference.scan_frames(data)
    spans: tuple[dict[int, Span], ...] = ({}, {})
    reference.survey_frames(data, 0, whole, 5, spans[0])
    compiled.survey_frames(data, 0, whole, 5, spans[1])
    assert spans[0] == spans[1]
