"""Golden traces: what counts as the same, what a difference says, and when a file is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cra.errors import StorageError
from cra.testing.golden_traces import compare_with_golden
from cra.testing.traces import make_trace
from cra.trace.jsonl import read_events, write_events

Contents = list[tuple[str, dict[str, Any]]]
CONTENTS: Contents = [
    ("session.started", {"goal": "x"}),
    ("a.b", {"n": 1, "m": 2}),
    ("session.ended", {"duration_ms": 5}),
]


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """The golden trace of `CONTENTS`."""
    path = tmp_path / "golden.trace.jsonl"
    write_events(path, make_trace(CONTENTS))
    return path


def differences(golden: Path, contents: Contents) -> list[str]:
    """What the comparison says, line by line."""
    with pytest.raises(AssertionError) as raised:
        compare_with_golden(make_trace(contents), golden)
    head, *lines = str(raised.value).split("\n  ")
    assert f"the trace is not the golden one, {golden}:" == head
    return lines


def test_the_same_happened_whatever_the_ids_and_durations(golden: Path) -> None:
    """Ids, times, hashes and durations do not count; and what means the same is not written again."""
    before = golden.read_bytes()
    other = make_trace([*CONTENTS[:2], ("session.ended", {"duration_ms": 7})], session=2)
    assert compare_with_golden(other, golden) is False
    assert compare_with_golden(other, golden, update=True) is False
    assert before == golden.read_bytes()


def test_differences_are_told_one_a_line(golden: Path) -> None:
    """A value that changed, one that is new, one that is missing, an event that is new, and one that is missing."""
    start, middle, end = CONTENTS
    assert ["n of event 1, a.b: 1 was expected, not 2"] == differences(golden, [start, ("a.b", {"n": 2, "m": 2}), end])
    assert ["k of event 1, a.b: [1] is new"] == differences(golden, [start, ("a.b", {"n": 1, "m": 2, "k": [1]}), end])
    assert ["m of event 1, a.b: 2 is missing"] == differences(golden, [start, ("a.b", {"n": 1}), end])
    assert ['event 2, a.c, is new: {"x": "ü"}'] == differences(golden, [start, middle, ("a.c", {"x": "ü"}), end])
    assert ['event 1, a.b, is missing: {"m": 2, "n": 1}'] == differences(golden, [start, end])
    assert ['/event_type of event 1, a.b: "a.b" was expected, not "a.c"'] == differences(
        golden, [start, ("a.c", {}), end]
    )


def test_many_and_long_differences_are_cut(golden: Path) -> None:
    """Twenty lines, and values of a length that can be read."""
    start, _, end = CONTENTS
    lines = differences(golden, [start, ("a.b", {"n": "x" * 1000, "m": 2, **{f"k{n:02}": n for n in range(30)}}), end])
    assert 21 == len(lines)
    assert "and 11 more differences" == lines[-1]
    assert max(map(len, differences(golden, [start, ("a.b", {"n": "x" * 1000, "m": 2}), end]))) < 250


def test_a_missing_file_is_a_failure_and_is_written_on_demand(tmp_path: Path) -> None:
    """Never by itself: a test that writes what it compares with always passes."""
    path = tmp_path / "deep" / "new.trace.jsonl"
    events = make_trace(CONTENTS)
    with pytest.raises(AssertionError, match=r"there is no golden trace .*; make it with --update-golden"):
        compare_with_golden(events, path)
    assert not path.parent.exists()
    assert compare_with_golden(events, path, update=True) is True
    assert events == list(read_events(path))
    assert compare_with_golden(events, path) is False


def test_what_differs_is_written_on_demand(golden: Path) -> None:
    """The new trace, whole."""
    events = make_trace(CONTENTS[:1])
    assert compare_with_golden(events, golden, update=True) is True
    assert events == list(read_events(golden))


@pytest.mark.parametrize("text", ["", "edited"])
def test_a_golden_trace_has_to_verify(golden: Path, text: str) -> None:
    """One that was edited by hand is no trace, an empty one says nothing."""
    golden.write_text(golden.read_text().replace('"n":1', '"n":2') if text else "")
    said = "hash_mismatch at event 1" if text else "it is empty"
    with pytest.raises(AssertionError, match=rf"does not verify \({said}\); make it again"):
        compare_with_golden(make_trace(CONTENTS), golden)
    assert compare_with_golden(make_trace(CONTENTS), golden, update=True) is True
    assert compare_with_golden(make_trace(CONTENTS), golden) is False


def test_nothing_is_compared_with_nothing(golden: Path, tmp_path: Path) -> None:
    """An empty trace is a mistake, not a golden one; a file that is no trace is told and can be made again; a folder that cannot
    be made is an error."""
    with pytest.raises(AssertionError, match="the trace has no event"):
        compare_with_golden([], golden, update=True)
    golden.write_text("{}\n")
    with pytest.raises(AssertionError, match=r"does not verify .*make it again with --update-golden"):
        compare_with_golden(make_trace(CONTENTS), golden)
    assert compare_with_golden(make_trace(CONTENTS), golden, update=True)
    assert not compare_with_golden(make_trace(CONTENTS), golden)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the folder"):
        compare_with_golden(make_trace(CONTENTS), tmp_path / "file" / "x" / "y.trace.jsonl", update=True)
