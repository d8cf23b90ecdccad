"""`cra resolve`: the answer for people and for programs, the trace it writes, and every wrong call."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

DYNAMIC = "$dynamic"


def test_a_goal_is_answered_in_tables(run, golden):
    """People get the decision and one table a kind of answer; `partial` is an answer, so the exit code is 0."""
    code, out, err = run("resolve", "--atlas", golden / "atlas.json", "--goal", "Look at resources")
    assert (0, "") == (code, err)
    assert "decision: partial (Some actions are denied by policy)" in out
    assert "Allowed (4)" in out
    assert "Denied (1)" in out
    assert "Deletion not permitted in test environment" in out


def test_the_golden_request_gives_the_golden_resolution(run, golden):
    """`--request --json` prints exactly the published resolution, apart from what is dynamic."""
    code, out, err = run("resolve", "--atlas", golden / "atlas.json", "--request", golden / "request.json", "--json")
    assert (0, "") == (code, err)
    actual = json.loads(out)
    expected = json.loads((golden / "expected-resolution.json").read_text())
    del expected["$comment"]
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        if value != DYNAMIC:
            assert value == actual[name]


def test_the_golden_request_is_traced_as_the_golden_trace(trace_file, golden):
    """The events up to `carp.resolution.completed` are the golden ones, in type and order."""
    actual = [json.loads(line) for line in trace_file.read_text().splitlines()]
    expected = [json.loads(line) for line in (golden / "expected-trace.jsonl").read_text().splitlines()]
    types = [event["event_type"] for event in actual]
    until = types.index("carp.resolution.completed") + 1
    wanted = [event["event_type"] for event in expected]
    assert wanted[: wanted.index("carp.resolution.completed") + 1] == types[:until]


def test_a_request_opens_its_own_session_at_its_own_time(trace_file, golden):
    """The trace carries the request's session, agent, goal and time."""
    request = json.loads((golden / "request.json").read_text())
    first = json.loads(trace_file.read_text().splitlines()[0])
    assert request["requester"]["session_id"] == first["session_id"]
    assert {"agent_id": request["requester"]["agent_id"], "goal": request["task"]["goal"]} == first["payload"]
    assert "2024-12-28T12:00:00" == first["timestamp"][:19]


def test_the_trace_ends_with_the_session(trace_file):
    """A written trace is a whole one: its last event is `session.ended`."""
    last = json.loads(trace_file.read_text().splitlines()[-1])
    assert "session.ended" == last["event_type"]


@pytest.fixture
def closed(golden: Path, tmp_path: Path) -> Path:
    """An atlas without a policy, which therefore allows nothing."""
    manifest = json.loads((golden / "atlas.json").read_text())
    manifest["policies"] = []
    path = tmp_path / "closed.json"
    path.write_text(json.dumps(manifest))
    return path


def test_deny_is_exit_code_1(run, closed):
    """A decision of `deny` is a no."""
    code, out, err = run("resolve", "--atlas", closed, "--goal", "Anything")
    assert (1, "") == (code, err)
    assert "decision: deny" in out


def test_deny_is_a_json_document_too(run, closed):
    """With `--json` a no is the resolution, not an error."""
    code, out, err = run("resolve", "--atlas", closed, "--goal", "Anything", "--json")
    assert (1, "") == (code, err)
    assert "deny" == json.loads(out)["decision"]["type"]


def test_the_default_decision_can_be_allow(run, closed):
    """`--default-decision allow` opens what no policy matches."""
    code, out, _ = run("resolve", "--atlas", closed, "--goal", "Anything", "--default-decision", "allow", "--json")
    assert 0 == code
    assert "allow" == json.loads(out)["decision"]["type"]


def _governed(golden: Path, tmp_path: Path) -> Path:
    """The golden atlas with an approval, a limit, a parameter condition and a context block."""
    manifest = json.loads((golden / "atlas.json").read_text())
    manifest["policies"] += [
        {
            "policy_id": "ask",
            "type": "require_approval",
            "actions": ["resource.update"],
            "reason": "Ask \u001b[31mfirst",
        },
        {
            "policy_id": "slow",
            "type": "rate_limit",
            "actions": ["resource.list"],
            "parameters": {"max_calls": 5, "window_seconds": 60},
        },
        {
            "policy_id": "dear",
            "type": "budget",
            "actions": ["resource.*"],
            "parameters": {"max_cost": 9, "cost": 1, "key": "agent"},
        },
        {
            "policy_id": "few",
            "type": "deny",
            "actions": ["resource.list"],
            "conditions": {
                "parameters": {"properties": {"limit": {"type": "integer", "minimum": 50}}, "required": ["limit"]}
            },
        },
        {
            "policy_id": "named",
            "type": "deny",
            "actions": ["resource.create"],
            "conditions": {"parameters": {"properties": {"name": {"type": "string", "const": "root"}}}},
            "reason": "Not root",
        },
    ]
    manifest["context_blocks"] = [
        {
            "context_id": "rules",
            "name": "Rules",
            "priority": 10,
            "content": "Be kind.",
            "content_type": "text/plain",
            "inject_mode": "always",
        }
    ]
    path = tmp_path / "governed.json"
    path.write_text(json.dumps(manifest))
    return path


def test_held_actions_limits_and_context_have_tables_of_their_own(run, golden, tmp_path):
    """What waits for approval is listed apart from what is denied; limits and context are shown."""
    code, out, _ = run("resolve", "--atlas", _governed(golden, tmp_path), "--goal", "Update things")
    assert 0 == code
    for title in ("Allowed (3)", "Denied (1)", "Awaiting approval (1)", "Constraints (4)", "Context (1)"):
        assert title in out
    for terms in (
        "5 calls in 60 s per action, 5 left",
        "a cost of 9 in a session per agent, 9 left",
        "resource.get, resource.list, resource.create and 2 more",
        'deny, by parameters: {"properties": {"limit"',
        "deny, by parameters: Not root",
    ):
        assert terms in out


def test_what_an_atlas_says_cannot_steer_the_terminal(run, golden, tmp_path):
    """An escape sequence in a reason is spelt out."""
    _, out, _ = run("resolve", "--atlas", _governed(golden, tmp_path), "--goal", "Update things")
    assert r"Ask \x1b[31mfirst" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "--goal or --request"),
        (["--goal", "x", "--request", "REQUEST"], "--goal or --request"),
        (["--request", "REQUEST", "--agent", "x"], "leave them out"),
        (["--request", "no-such-file"], "no-such-file"),
        (["--goal", "x", "--risk-tier", "enormous"], "low, medium, high, critical"),
        (["--goal", "x", "--default-decision", "perhaps"], "allow or deny"),
        (["--goal", "x", "--trace-out", "no-such-folder/t.jsonl"], "no-such-folder"),
        (["--goal", "x", "--trace-out", os.curdir], "is a directory"),
        (["--goal", ""], "goal"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(run, golden, arguments, problem):
    """Whatever is wrong with a call is said in one line on stderr."""
    arguments = [golden / "request.json" if argument == "REQUEST" else argument for argument in arguments]
    code, out, err = run("resolve", "--atlas", golden / "atlas.json", *arguments)
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert problem in err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"carp_version": "2.0"}',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_bad_request_is_one_line_and_exit_code_2(run, golden, tmp_path, content):
    """A file that is no CARP request is refused in one line, whatever it is."""
    path = tmp_path / "request.json"
    path.write_bytes(content)
    code, out, err = run("resolve", "--atlas", golden / "atlas.json", "--request", path)
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert str(path) in err


def test_a_huge_request_is_refused_unread(run, golden, tmp_path):
    """A file of more than 16 MB is not parsed."""
    path = tmp_path / "request.json"
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    code, _, err = run("resolve", "--atlas", golden / "atlas.json", "--request", path)
    assert 2 == code
    assert "larger than 16 MB" in err


def test_a_request_that_is_no_regular_file_is_refused_unread(spawn, golden, tmp_path):
    """A pipe that nobody writes to would be waited for without end."""
    pipe = tmp_path / "request.json"
    os.mkfifo(pipe)
    process = spawn("resolve", "--atlas", golden / "atlas.json", "--request", pipe)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (2, "", 1) == (process.returncode, out, err.count("\n"))
    assert f"{pipe} is not a regular file" in err


def test_a_missing_atlas_is_exit_code_2(run):
    """An atlas that does not exist is a wrong call, and the message names it."""
    code, out, err = run("resolve", "--atlas", "no-such-atlas.json", "--goal", "x")
    assert (2, "") == (code, out)
    assert "no-such-atlas.json" in err


def test_a_request_that_the_runtime_refuses_is_named(run, golden, tmp_path):
    """What is wrong with a request beyond its schema names the file, too."""
    request = json.loads((golden / "request.json").read_text())
    path = tmp_path / "request.json"
    path.write_text(json.dumps(request | {"operation": "validate"}))
    code, _, err = run("resolve", "--atlas", golden / "atlas.json", "--request", path)
    assert (2, 1) == (code, err.count("\n"))
    assert str(path) in err


def test_an_atlas_that_is_named_twice_is_a_wrong_call(run, golden, tmp_path):
    """Both places are named, and nothing of the library's own options."""
    other = tmp_path / "copy.json"
    other.write_text((golden / "atlas.json").read_text())
    code, out, err = run("resolve", "--atlas", golden / "atlas.json", "--atlas", other, "--goal", "x")
    assert (2, "", 1) == (code, out, err.count("\n"))
    for words in ("com.cra.conformance.simple", "named twice", str(golden / "atlas.json"), str(other), "--atlas"):
        assert words in err
    assert "replace" not in err


def test_errors_are_json_with_json(run):
    """With `--json` an error is the published error body on stdout, and the line stays on stderr."""
    code, out, err = run("resolve", "--atlas", "no-such-atlas.json", "--goal", "x", "--json")
    assert (2, 1) == (code, err.count("\n"))
    error = json.loads(out)["error"]
    assert {"code", "message", "category", "recoverable"} == error.keys()
    assert "ATLAS_NOT_FOUND" == error["code"]
