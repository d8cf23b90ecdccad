"""`cra trace`: verification with exit codes to build on, reading, comparing, replaying, exporting."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import cra
from cra.reference.chain import TAIL_NOTICE
from cra.trace.event import GENESIS_HASH


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _write(path: Path, events: list[dict]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def test_a_sound_trace_is_verified(run, trace_file):
    """Exit code 0, the number of events, and what a chain alone cannot show."""
    code, out, err = run("trace", "verify", trace_file)
    assert (0, "") == (code, err)
    assert f"trace verified: {len(_lines(trace_file))} events" in out
    assert TAIL_NOTICE in out


def _chained(events: list[dict]) -> list[dict]:
    """The events with hashes that fit."""
    previous = GENESIS_HASH
    for event in events:
        event["previous_event_hash"] = previous
        previous = event["event_hash"] = cra.event_hash(event)
    return events


def test_an_empty_trace_is_verified(run, tmp_path):
    """A trace without events is sound."""
    code, out, _ = run("trace", "verify", _write(tmp_path / "empty.jsonl", []))
    assert 0 == code
    assert "trace verified: 0 events" in out


def test_time_that_runs_backwards_is_a_warning(run, trace_file):
    """An earlier timestamp is shown, and the trace is sound all the same."""
    events = _lines(trace_file)
    events[-1]["timestamp"] = "2020-01-01T00:00:00.000000Z"
    code, out, _ = run("trace", "verify", _write(trace_file, _chained(events)))
    assert 0 == code
    assert "warning: " in out


def _edit_key(event: dict) -> None:
    event["payload"]["another"] = event["payload"].pop(next(iter(event["payload"])))


def _edit_value(event: dict) -> None:
    name = next(iter(event["payload"]))
    event["payload"][name] = "changed"


def _edit_structure(event: dict) -> None:
    event["payload"] = {"nested": event["payload"]}


@pytest.mark.parametrize("edit", [_edit_key, _edit_value, _edit_structure])
def test_any_change_to_any_event_is_found(run, trace_file, edit):
    """A changed key, value or structure is exit code 1 and names the line."""
    events = _lines(trace_file)
    for index in range(len(events)):
        changed = _lines(trace_file)
        edit(changed[index])
        code, out, _ = run("trace", "verify", _write(trace_file.with_name("changed.jsonl"), changed))
        assert 1 == code
        assert f"line {index + 1} of {len(events)}: hash_mismatch" in out


@pytest.mark.parametrize(
    "line",
    [b'{"torn": ', b"\xff\xfe\n", b'{"x": 1e400}\n', b'{"x": NaN}\n', b"{}\n", b"[]\n", b"[" * 100_000 + b"\n"],
)
def test_a_bad_line_is_named(run, trace_file, line):
    """A line that is no event is exit code 1, with its number, whatever it is."""
    count = len(_lines(trace_file))
    with trace_file.open("ab") as file:
        file.write(line)
    code, out, err = run("trace", "verify", trace_file)
    assert (1, "") == (code, err)
    assert f"line {count + 1} of {count + 1}: malformed_event" in out


def test_a_line_of_50_mb_is_refused(run, trace_file):
    """A line longer than any event is malformed."""
    with trace_file.open("ab") as file:
        file.write(b'{"x": "' + b"x" * 50_000_000 + b'"}\n')
    code, out, _ = run("trace", "verify", trace_file)
    assert 1 == code
    assert "malformed_event" in out


def test_one_bad_file_among_several_is_exit_code_1(run, trace_file, tmp_path):
    """Every file is checked, and one that is not sound decides."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    code, out, _ = run("trace", "verify", bad, trace_file)
    assert 1 == code
    assert "trace verified" in out
    assert "trace not valid" in out


def test_verification_as_json(run, trace_file):
    """One document: the verdict, and for each file what the library says of it."""
    code, out, _ = run("trace", "verify", trace_file, "--json")
    document = json.loads(out)
    assert 0 == code
    assert document["valid"] is True
    (file,) = document["files"]
    assert str(trace_file) == file["file"]
    assert (True, len(_lines(trace_file))) == (file["valid"], file["event_count"])
    assert [_lines(trace_file)[0]["session_id"]] == list(file["sessions"])


def test_verification_that_fails_as_json(run, tmp_path):
    """A no is the same document with the error, and exit code 1."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    code, out, err = run("trace", "verify", bad, "--json")
    document = json.loads(out)
    assert (1, "") == (code, err)
    assert document["valid"] is False
    assert "malformed_event" == document["files"][0]["error_type"]


def test_a_foreign_trace_needs_its_dialect(run, foreign_trace):
    """With the dialect it is sound; without, exit code 1 and the option that would help."""
    assert 0 == run("trace", "verify", foreign_trace, "--dialect", "cra-rust").code
    code, out, _ = run("trace", "verify", foreign_trace)
    assert 1 == code
    assert "--dialect cra-rust" in out


def test_an_unknown_dialect_is_a_wrong_call(run, trace_file):
    """A dialect that does not exist is exit code 2, with those that do."""
    code, out, err = run("trace", "verify", trace_file, "--dialect", "klingon")
    assert (2, "") == (code, out)
    assert "cra-rust" in err


def test_a_missing_trace_is_a_wrong_call(run):
    """A file that does not exist is exit code 2."""
    code, out, err = run("trace", "verify", "no-such-file")
    assert (2, "", 1) == (code, out, err.count("\n"))


def test_events_are_shown_in_a_table(run, trace_file):
    """One row an event: sequence, time, type, payload; the session is above."""
    code, out, _ = run("trace", "show", trace_file)
    assert 0 == code
    assert f"session {_lines(trace_file)[0]['session_id']}, 2024-12-28" in out
    for event in _lines(trace_file):
        assert any(event["timestamp"][11:-1] in line and event["event_type"] in line for line in out.splitlines())


def test_a_long_payload_is_cut(run, trace_file):
    """A goal of ten thousand characters does not fill the screen."""
    events = _lines(trace_file)
    events[0]["payload"]["goal"] = "x" * 10_000
    _, out, _ = run("trace", "show", _write(trace_file, events))
    assert "…" in out
    assert "x" * 1000 not in out


def test_showing_what_is_no_trace_is_a_wrong_call(run, tmp_path):
    """A file that holds something else is exit code 2 with the line's number."""
    path = tmp_path / "x.jsonl"
    path.write_text("hello\n")
    code, _, err = run("trace", "show", path)
    assert (2, 1) == (code, err.count("\n"))
    assert "line 1" in err


def test_a_trace_equals_itself(run, trace_file):
    """Exit code 0, grade `identical`."""
    assert (0, "identical\n", "") == run("trace", "diff", trace_file, trace_file)


def test_traces_that_differ_only_in_durations_mean_the_same(run, trace_file):
    """Exit code 0, grade `semantically_equivalent`."""
    events = _lines(trace_file)
    events[-1]["payload"]["duration_ms"] += 1000
    other = _write(trace_file.with_name("other.jsonl"), events)
    code, out, _ = run("trace", "diff", trace_file, other)
    assert 0 == code
    assert "semantically_equivalent" in out


def test_traces_that_differ_are_exit_code_1(run, trace_file):
    """Exit code 1, and where they differ, for people and for programs."""
    events = _lines(trace_file)
    events[0]["payload"]["agent_id"] = "somebody-else"
    other = _write(trace_file.with_name("other.jsonl"), events)
    code, out, _ = run("trace", "diff", trace_file, other)
    assert 1 == code
    assert "different" in out
    assert "somebody-else" in out
    code, out, _ = run("trace", "diff", trace_file, other, "--json")
    assert 1 == code
    assert "different" == json.loads(out)["grade"]


def test_a_trace_replays_from_its_atlas(run, trace_file, golden):
    """Exit code 0 when every resolution comes out the same."""
    code, out, err = run("trace", "replay", trace_file, "--atlas", golden / "atlas.json")
    assert (0, "") == (code, err)
    assert "1 of 1 resolutions reproduced, 0 not recomputed" in out
    code, out, _ = run("trace", "replay", trace_file, "--atlas", golden / "atlas.json", "--json")
    assert 0 == code
    assert (True, 1) == (json.loads(out)["valid"], json.loads(out)["reproduced"])


def test_a_trace_that_says_otherwise_does_not_replay(run, trace_file, golden):
    """Exit code 1 and the event, when a resolution comes out differently."""
    events = _lines(trace_file)
    completed = next(event for event in events if event["event_type"] == "carp.resolution.completed")
    completed["payload"]["decision_type"] = "allow"
    _write(trace_file, _chained(events))
    code, out, _ = run("trace", "replay", trace_file, "--atlas", golden / "atlas.json")
    assert 1 == code
    assert "0 of 1 resolutions reproduced" in out
    assert "Mismatches (1)" in out
    code, out, _ = run("trace", "replay", trace_file, "--atlas", golden / "atlas.json", "--json")
    assert (1, False) == (code, json.loads(out)["valid"])


def test_one_session_is_exported_from_a_store(run, golden, tmp_path, trace_file):
    """`export` gives the stored bytes, on stdout or in a file."""
    session_id = _lines(trace_file)[0]["session_id"]
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(trace_file, store / f"{session_id}.trace.jsonl")
    url = f"jsonl:///{store}"
    code, out, err = run("trace", "export", "--storage", url, "--session", session_id)
    assert (0, trace_file.read_text(), "") == (code, out, err)
    exported = tmp_path / "exported.jsonl"
    assert 0 == run("trace", "export", "--storage", url, "--session", session_id, "--out", exported).code
    assert trace_file.read_bytes() == exported.read_bytes()


def test_an_unknown_session_is_not_exported(run, tmp_path):
    """A session that the store does not have is exit code 2."""
    code, out, err = run(
        "trace", "export", "--storage", f"jsonl:///{tmp_path}", "--session", "0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f"
    )
    assert (2, "") == (code, out)
    assert "has no session 0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f" in err


def test_a_store_that_is_not_there_is_not_made(run, tmp_path):
    """A mistyped folder is a wrong call and leaves no folder behind."""
    folder = tmp_path / "mistyped"
    code, _, err = run("trace", "export", "--storage", f"jsonl:///{folder}", "--session", "x")
    assert 2 == code
    assert "there is no folder" in err
    assert not folder.exists()


def test_a_store_of_another_kind_is_named(run):
    """Stores that this version does not have are refused in one line."""
    code, _, err = run("trace", "export", "--storage", "postgresql://db/audit", "--session", "x")
    assert (3, 1) == (code, err.count("\n"))
    assert "not available" in err
