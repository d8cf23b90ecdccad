"""`cra trace`: verification with exit codes to build on, reading, comparing, replaying, exporting."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

import pytest

import cra
from cra.cli import main
from cra.cli.events import in_two_lines
from cra.reference.chain import TAIL_NOTICE
from cra.trace.event import GENESIS_HASH

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"


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


def _anchor(path: Path, sequence: int = -1) -> str:
    """The anchor of a trace of one session, at its end or at a sequence."""
    event = _lines(path)[sequence]
    return f"{event['session_id']}:{event['sequence']}:{event['event_hash']}"


def test_the_anchor_of_one_session_is_printed(run, trace_file):
    """It is there to be kept, on a line of its own, and the note says what it is for."""
    _, out, _ = run("trace", "verify", trace_file)
    assert f"anchor: {_anchor(trace_file)}" in out.splitlines()
    assert "--anchor" in out


def test_the_note_on_cut_tails_is_given_once(run, trace_file, tmp_path):
    """Of several files too, at the end, and no anchor is printed then."""
    other = shutil.copy(trace_file, tmp_path / "other.jsonl")
    code, out, _ = run("trace", "verify", trace_file, other)
    assert 0 == code
    assert 1 == out.count(TAIL_NOTICE)
    assert out.index(TAIL_NOTICE) > out.rindex("trace verified")
    assert "anchor: " not in out


def test_a_trace_that_reaches_its_anchor_is_sound(run, trace_file):
    """With an anchor at the end or before it nothing is left to note."""
    for sequence in (-1, 0, 3):
        code, out, err = run("trace", "verify", trace_file, "--anchor", _anchor(trace_file, sequence))
        assert (0, "") == (code, err)
        assert TAIL_NOTICE not in out


def test_a_cut_tail_is_found_with_the_anchor(run, trace_file):
    """A trace that ends before its anchor is exit code 1, though its chain is sound."""
    anchor = _anchor(trace_file)
    events = _lines(trace_file)
    _write(trace_file, events[:-1])
    assert 0 == run("trace", "verify", trace_file).code
    code, out, _ = run("trace", "verify", trace_file, "--anchor", anchor)
    assert 1 == code
    assert "chain_broken" in out
    assert "its tail was cut" in out
    (file,) = json.loads(run("trace", "verify", trace_file, "--anchor", anchor, "--json").out)["files"]
    session = file["sessions"][events[0]["session_id"]]
    assert (False, "chain_broken", len(events) - 1) == (file["valid"], file["error_type"], file["error_index"])
    assert (False, "chain_broken") == (session["valid"], session["error_type"])


def test_a_rewritten_trace_is_found_with_the_anchor(run, trace_file):
    """A trace whose hashes fit again is not the anchored one: the line is named."""
    anchor = _anchor(trace_file, 2)
    events = _lines(trace_file)
    events[0]["payload"]["goal"] = "Something else"
    _write(trace_file, _chained(events))
    assert 0 == run("trace", "verify", trace_file).code
    code, out, _ = run("trace", "verify", trace_file, "--anchor", anchor)
    assert 1 == code
    assert f"line 3 of {len(events)}: chain_broken" in out
    assert "rewritten" in out


@pytest.fixture
def second_trace(run, golden, tmp_path) -> Path:
    """The trace of another session."""
    path = tmp_path / "second.jsonl"
    assert 0 == run("resolve", "--atlas", golden / "atlas.json", "--goal", "Look", "--trace-out", path).code
    return path


def test_an_anchor_belongs_to_its_session(run, trace_file, second_trace):
    """Files with other sessions are verified as ever; a session that no file has was cut off as a whole."""
    anchor = _anchor(trace_file)
    code, out, _ = run("trace", "verify", second_trace, trace_file, "--anchor", anchor)
    assert 0 == code
    assert 1 == out.count(TAIL_NOTICE)  # the other session has no anchor
    code, out, _ = run("trace", "verify", second_trace, "--anchor", anchor)
    assert 1 == code
    assert f"no file has the session {anchor[:36]}" in out
    document = json.loads(run("trace", "verify", second_trace, "--anchor", anchor, "--json").out)
    assert (False, [anchor[:36]]) == (document["valid"], document["missing_sessions"])


def test_sessions_in_one_file_have_an_anchor_each(run, trace_file, second_trace):
    """Interleaved sessions are held to their own anchors, and a rewritten event is named by its line."""
    anchors = [_anchor(trace_file), _anchor(second_trace)]
    pairs = zip_longest(_lines(trace_file), _lines(second_trace))
    both = _write(trace_file, [event for pair in pairs for event in pair if event is not None])
    code, out, _ = run("trace", "verify", both, "--anchor", anchors[0])
    assert (0, True) == (code, TAIL_NOTICE in out)
    code, out, _ = run("trace", "verify", both, "--anchor", anchors[0], "--anchor", anchors[1])
    assert (0, False) == (code, TAIL_NOTICE in out)
    session_id = anchors[1][:36]
    code, out, _ = run("trace", "verify", both, "--anchor", f"{session_id}:1:{'0' * 64}")
    assert 1 == code
    assert "line 4 of " in out  # the second event of the second session


def test_a_broken_trace_stays_broken_with_an_anchor(run, trace_file):
    """What is wrong without the anchor is what is reported."""
    anchor = _anchor(trace_file, 0)
    with trace_file.open("a") as file:
        file.write("{}\n")
    code, out, _ = run("trace", "verify", trace_file, "--anchor", anchor)
    assert 1 == code
    assert "malformed_event" in out


@pytest.mark.parametrize("anchor", ["", "x", "0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f:1", "x:1:" + "0" * 64])
def test_what_is_no_anchor_is_a_wrong_call(run, trace_file, anchor):
    """An anchor is a session, a sequence and a hash."""
    code, out, err = run("trace", "verify", trace_file, "--anchor", anchor)
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert "SESSION:SEQUENCE:HASH" in err


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


def test_payloads_are_shown_as_names_and_values(run, trace_file):
    """`name=value`, in quotes where the value would not be one word; in a pipe ids and hashes are whole."""
    events = _lines(trace_file)
    events[0]["payload"] = {"agent_id": "bot", "goal": 'Say "hi" to a=b', "empty": "", "list": ["a", 1], "none": None}
    _, out, _ = run("trace", "show", _write(trace_file, events))
    assert r'agent_id=bot goal="Say \"hi\" to a=b" empty="" list=["a", 1] none=null' in out
    assert f"request_id={events[1]['payload']['request_id']}" in out


@pytest.mark.parametrize("width", [80, 120])
def test_a_screen_gets_an_event_in_one_or_two_lines(run, tmp_path, width):
    """Ids and hashes are shortened, and what does not fit behind the event's type is below it."""
    path = tmp_path / "t.jsonl"
    run("resolve", "--atlas", ROOT / "examples" / "github" / "atlas", "--goal", "Close issues", "--trace-out", path)
    events = [cra.Event(**event) for event in _lines(path)]
    longest = "github.add_pull_request_review_comment_reaction"
    blocks = [in_two_lines(event, width).plain.split("\n") for event in events]
    assert {1, 2} >= {len(lines) for lines in blocks}
    assert width >= max(len(line) for lines in blocks for line in lines)
    assert any(f"action_id={longest}" in line for lines in blocks for line in lines)
    for event, lines in zip(events, blocks):
        assert event.event_type in lines[0]
        shown = " ".join(lines)
        assert event.event_type == "carp.resolution.completed" or all(f"{name}=" in shown for name in event.payload)
    completed = next(" ".join(lines) for lines in blocks if "carp.resolution.completed" in lines[0])
    assert "decision_type=partial" in completed
    if width == 120:
        assert re.search(r"policy_set=[0-9a-f]{8}…", completed)


def test_what_a_screen_cannot_hold_is_cut(run, trace_file):
    """Two lines are all an event gets, however much it says."""
    event = cra.Event(**(_lines(trace_file)[0] | {"payload": {f"name{n}": "wörd 字 " * 9 for n in range(9)}}))
    lines = in_two_lines(event, 80).split("\n")
    assert 2 == len(lines)
    assert 80 >= max(line.cell_len for line in lines)
    assert lines[1].plain.endswith("…")


def test_a_screen_is_told_the_session_and_shows_nothing_that_steers_it(monkeypatch, run, trace_file):
    """The session's whole id is above its events; control characters are spelt out."""

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    events = _lines(trace_file)
    events[0]["payload"]["agent_id"] = "\x9b31m"
    path = _write(trace_file, events)
    monkeypatch.setattr(sys, "stdout", screen := Screen())
    monkeypatch.setenv("NO_COLOR", "1")
    assert 0 == main(["trace", "show", str(path)])
    shown = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    assert events[0]["session_id"] in shown
    assert r"agent_id=\x9b31m" in shown
    assert "\x9b" not in shown


def test_a_trace_as_one_json_document(run, trace_file):
    """`show --json` holds every event as it is, session by session."""
    code, out, err = run("trace", "show", trace_file, "--json")
    assert (0, "") == (code, err)
    events = _lines(trace_file)
    assert {"sessions": [{"session_id": events[0]["session_id"], "events": events}]} == json.loads(out)


def test_showing_what_is_no_trace_is_a_wrong_call(run, tmp_path):
    """A file that holds something else is exit code 2 with the line's number."""
    path = tmp_path / "x.jsonl"
    path.write_text("hello\n")
    code, _, err = run("trace", "show", path)
    assert (2, 1) == (code, err.count("\n"))
    assert f"{path}, line 1: " in err


def test_of_two_traces_the_bad_one_is_named(run, trace_file, tmp_path):
    """`diff` says which of its files is no trace."""
    path = tmp_path / "x.jsonl"
    path.write_text("hello\n")
    for pair in ((trace_file, path), (path, trace_file)):
        code, _, err = run("trace", "diff", *pair)
        assert (2, 1) == (code, err.count("\n"))
        assert f"{path}, line 1: " in err


@pytest.mark.parametrize(
    "argv",
    [["verify", "PIPE"], ["verify", "TRACE", "PIPE"], ["show", "PIPE"], ["diff", "TRACE", "PIPE"],
     ["replay", "PIPE", "--atlas", "ATLAS"]],
)  # fmt: skip
def test_a_pipe_instead_of_a_trace_is_a_wrong_call(run, trace_file, golden, tmp_path, argv):
    """Like a folder or a file that is not there: exit code 2, and nothing is waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    given = {"PIPE": pipe, "TRACE": trace_file, "ATLAS": golden / "atlas.json"}
    code, out, err = run("trace", *(given.get(argument, argument) for argument in argv))
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert f"{pipe} is not a regular file" in err


def test_a_trace_that_cannot_be_replayed_is_named(run, trace_file, golden):
    """Be it no trace at all, or one that is cut."""
    atlas = golden / "atlas.json"
    _write(trace_file, _lines(trace_file)[:4])
    code, _, err = run("trace", "replay", trace_file, "--atlas", atlas)
    assert (1, 1) == (code, err.count("\n"))
    assert "the trace is cut" in err
    assert str(trace_file) in err
    trace_file.write_text("hello\n")
    code, _, err = run("trace", "replay", trace_file, "--atlas", atlas)
    assert (2, 1) == (code, err.count("\n"))
    assert f"{trace_file}, line 1: " in err


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


def test_what_contradicts_the_rest_of_a_trace_is_told(run, trace_file, golden):
    """A mismatch that no resolution has is in the table as well, in words."""
    events = _lines(trace_file)
    events[-1]["payload"]["action_count"] = 7
    _write(trace_file, _chained(events))
    code, out, _ = run("trace", "replay", trace_file, "--atlas", golden / "atlas.json")
    assert 1 == code
    assert "Mismatches (1)" in out
    assert "action_count is not 0" in out
    assert "null" not in out


def test_a_replay_verifies_the_chain(run, trace_file, golden):
    """What was changed without changing a decision comes out the same, and is no success."""
    events = _lines(trace_file)
    events[0]["payload"]["goal"] = "something else"
    _write(trace_file, events)
    code, out, _ = run("trace", "replay", trace_file, "--atlas", golden / "atlas.json")
    assert 1 == code
    assert "1 of 1 resolutions reproduced" in out
    assert "line 1 of" in out
    assert "hash_mismatch" in out
    code, out, _ = run("trace", "replay", trace_file, "--atlas", golden / "atlas.json", "--json")
    assert (1, True, False) == (code, json.loads(out)["valid"], json.loads(out)["verified"])


def test_a_policy_set_that_the_atlases_do_not_have_is_explained(run, trace_file, golden, tmp_path):
    """An atlas that was changed, or is missing: the recorded hash and how many resolutions have it."""
    manifest = json.loads((golden / "atlas.json").read_text()) | {"version": "9.9.9"}
    changed = tmp_path / "atlas.json"
    changed.write_text(json.dumps(manifest))
    recorded = next(e["payload"]["policy_set"] for e in _lines(trace_file) if "policy_set" in e["payload"])
    code, out, _ = run("trace", "replay", trace_file, "--atlas", changed)
    assert 1 == code
    assert "0 of 1 resolutions reproduced" in out
    assert f"policy set {recorded}" in out
    assert "changed" in out
    assert "missing" in out
    assert "null" not in out


def test_a_replay_that_could_not_recompute_is_no_success(run, tmp_path, golden):
    """Exit code 1, in words and as JSON: whoever builds on the exit code takes 0 for a proof. The count has its reason."""
    manifest = json.loads((golden / "atlas.json").read_text())
    manifest["policies"].append(
        {"policy_id": "where", "type": "deny", "conditions": {"context_matches": {"env": "prod*"}}}
    )
    atlas = tmp_path / "atlas.json"
    atlas.write_text(json.dumps(manifest))
    with cra.Resolver() as resolver:
        resolver.load_atlas(atlas)
        session = resolver.create_session(agent_id="bot", goal="x", context={"env": "test"})
        session.resolve("Look around")
        trace = resolver.trace(session.session_id)
    path = _write(tmp_path / "t.jsonl", [event.to_dict() for event in trace])
    code, out, _ = run("trace", "replay", path, "--atlas", atlas)
    assert 1 == code
    assert "0 of 1 resolutions reproduced, 1 not recomputed" in out
    assert "not complete: 1 could not be recomputed" in out
    assert "context value" in out
    code, out, _ = run("trace", "replay", path, "--atlas", atlas, "--json")
    assert (1, True, False) == (code, json.loads(out)["valid"], json.loads(out)["complete"])


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


def test_one_session_is_exported_from_a_database(run, tmp_path):
    """`export` reads a `sqlite:` store as it reads any, and a database of something else is a wrong call."""
    url = f"sqlite:///{tmp_path}/audit.db"
    with cra.Resolver(storage=url) as resolver, resolver.create_session("bot", "Look around") as session:
        pass
    code, out, err = run("trace", "export", "--storage", url, "--session", session.session_id)
    assert (0, "") == (code, err)
    assert ["session.started", "session.ended"] == [json.loads(line)["event_type"] for line in out.splitlines()]
    (tmp_path / "exported.jsonl").write_text(out)
    assert cra.verify_file(tmp_path / "exported.jsonl").valid
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE mine (x)")
    code, _, err = run("trace", "export", "--storage", f"sqlite:///{tmp_path}/other.db", "--session", SESSION)
    assert 2 == code
    assert "is a database of something else" in err


def test_one_session_is_exported_from_a_server(run, postgres, schema):
    """The stored bytes; a session or a schema that is not there is a wrong call, and makes none."""
    url = postgres.url(schema=schema, user="cra:hunter2")
    code, _, err = run("trace", "export", "--storage", url, "--session", SESSION)
    assert (2, 1) == (code, err.count("\n"))
    assert f"has no trace in the schema {schema}" in err
    assert [(None,)] == postgres.query("SELECT to_regnamespace(%s)::text", schema)
    with cra.Resolver(storage=url) as resolver, resolver.create_session("bot", "Look around") as session:
        pass
    code, out, err = run("trace", "export", "--storage", url, "--session", session.session_id)
    assert (0, "") == (code, err)
    lines = postgres.query(
        f"SELECT line FROM {schema}.trace WHERE session_id = %s ORDER BY sequence", session.session_id
    )
    assert [line for (line,) in lines] == out.splitlines()
    code, _, err = run("trace", "export", "--storage", url, "--session", SESSION)
    assert (2, 1, False) == (code, err.count("\n"), "hunter2" in err)
    assert f"has no session {SESSION}" in err


def test_a_server_that_is_away_is_a_failure(run, tmp_path):
    """Exit code 3, in one line that says what to do and shows no password."""
    url = f"postgresql://me:hunter2@{str(tmp_path).replace('/', '%2F')}/audit"
    code, out, err = run("trace", "export", "--storage", url, "--session", SESSION)
    assert (3, "", 1, False) == (code, out, err.count("\n"), "hunter2" in err)
    assert "check that the server runs" in err


def test_an_unknown_session_is_not_exported(run, tmp_path):
    """A session that the store does not have is exit code 2."""
    code, out, err = run(
        "trace", "export", "--storage", f"jsonl:///{tmp_path}", "--session", "0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f"
    )
    assert (2, "") == (code, out)
    assert "has no session 0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f" in err


SESSION = "0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f"


def test_a_store_that_is_not_there_is_not_made(run, tmp_path):
    """A mistyped path is a wrong call and leaves nothing behind."""
    path = tmp_path / "mistyped"
    for scheme, kind in (("jsonl", "folder"), ("sqlite", "file")):
        code, _, err = run("trace", "export", "--storage", f"{scheme}:///{path}", "--session", SESSION)
        assert 2 == code
        assert f"there is no {kind}" in err
        assert not path.exists()


@pytest.mark.parametrize(
    "url",
    [
        "./audit",
        "audit",
        "jsonl:",
        "jsonl:///",
        "jsonl://audit",
        "sqlite:",
        "sqlite:///x.db?mode=ro",
        "postgresql:db/audit",
        "postgresql://db/audit?pool=1",
        "null:",
        "tape:",
        "",
    ],
)
def test_what_names_no_store_is_a_wrong_call(run, url):
    """A URL that is mistyped, or names a store that this version does not have, is exit code 2, in one line."""
    code, out, err = run("trace", "export", "--storage", url, "--session", SESSION)
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert "--storage" in err


def test_a_session_id_is_a_uuid(run, tmp_path):
    """Anything else is a wrong call."""
    code, out, err = run("trace", "export", "--storage", f"jsonl:///{tmp_path}", "--session", "nope")
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert "--session" in err


def test_a_store_that_the_system_refuses_is_a_failure(run, tmp_path):
    """A file of the store that cannot be read is exit code 3."""
    (tmp_path / f"{SESSION}.trace.jsonl").mkdir()
    code, out, err = run("trace", "export", "--storage", f"jsonl:///{tmp_path}", "--session", SESSION)
    assert (3, "", 1) == (code, out, err.count("\n"))
