"""`cra doctor --data`: the state of a data folder, one line a problem, and exit codes that a script can rely on."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cra.cli import main
from cra.testing.traces import make_trace
from cra.trace.jsonl import write_events
from tests.support.crashes import contents, crash, file_of, open_work


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_healthy_folder_is_0(run, tmp_path: Path) -> None:
    """It says how much there is."""
    resolver, _ = open_work(tmp_path / "trace")
    resolver.close()
    code, out, err = run("doctor", "--data", tmp_path / "trace")
    assert (0, "", "healthy") == (code, err, out.splitlines()[-1])
    assert ["sessions", "2"] in [line.split() for line in out.splitlines()]


def test_a_folder_without_anything_says_so(run, tmp_path: Path) -> None:
    """Perhaps it is the wrong one."""
    code, out, _ = run("doctor", "--data", tmp_path)
    assert (0, "healthy: no session is stored there, and nothing waits in a ring") == (code, out.splitlines()[-1])


def test_a_living_process_is_shown(run, tmp_path: Path) -> None:
    """With its id; a folder in use is healthy."""
    resolver, _ = open_work(tmp_path / "trace")
    with resolver:
        code, out, _ = run("doctor", "--data", tmp_path / "trace")
    assert 0 == code
    assert f"{os.getpid()} living" in out
    assert ["open", "now", "2"] in [line.split() for line in out.splitlines()]


def test_a_crash_is_1_and_one_line_with_the_command_that_comes_next(run, tmp_path: Path) -> None:
    """And that command repairs it."""
    crash(tmp_path / "trace")
    code, out, err = run("doctor", "--data", tmp_path / "trace")
    assert (1, "", "1 problem needs attention") == (code, err, out.splitlines()[-1])
    (line,) = [line for line in out.splitlines() if "its process is gone" in line]
    command = line.partition("cra trace recover ")
    assert command[1]
    assert 0 == run("trace", "recover", *command[2].split()).code
    assert 0 == run("doctor", "--data", tmp_path / "trace").code


def test_programs_get_everything(run, tmp_path: Path) -> None:
    """One document: the store, the rings, and the problems with their codes."""
    session = crash(tmp_path / "trace")
    code, out, _ = run("doctor", "--data", tmp_path / "trace", "--json")
    document = json.loads(out)
    assert (1, False, ["dead_ring"]) == (code, document["healthy"], [each["code"] for each in document["problems"]])
    assert {"data", "healthy", "kind", "store", "rings", "open_sessions", "problems"} == document.keys()
    (ring,) = document["rings"]["rings"]
    assert ("dead", os.getpid(), {}, None) == (ring["state"], ring["pid"], ring["torn"], ring["definitions"])
    assert session in ring["sessions"]
    stored = {each["session_id"]: each for each in document["store"]["sessions"]}
    assert (False, False, 0, None) == tuple(
        stored[session][name] for name in ("ended", "locked", "torn_bytes", "fault")
    )


def test_a_bad_line_is_named_with_its_file(run, tmp_path: Path) -> None:
    """The command beside it says the same."""
    folder = tmp_path / "trace"
    folder.mkdir()
    events = make_trace([("session.started", {}), ("a.b", {"n": 1}), ("session.ended", {})])
    path = file_of(folder, events[0].session_id)
    write_events(path, events)
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":2'))
    code, out, _ = run("doctor", "--data", folder)
    assert 1 == code
    assert "line 2 does not verify: hash_mismatch" in out
    assert f"cra trace verify {path}" in out
    assert "line 2 of 3: hash_mismatch" in run("trace", "verify", path).out


def test_a_folder_of_rings_is_looked_at_alone(run, tmp_path: Path) -> None:
    """Its sessions are counted as the ring knows them; there is no store to ask."""
    crash(tmp_path / "trace")
    code, out, _ = run("doctor", "--data", tmp_path / "trace.ring")
    assert 1 == code
    assert "Store" not in out
    assert "Rings" in out
    assert json.loads(run("doctor", "--data", tmp_path / "trace.ring", "--json").out)["store"] is None


def test_many_problems_that_say_the_same_are_one_row(run, tmp_path: Path) -> None:
    """A person sees the first and how many there are; a program sees each."""
    folder = tmp_path / "trace"
    folder.mkdir()
    for number in range(1, 6):
        events = make_trace([("session.started", {})], session=number)
        write_events(file_of(folder, events[0].session_id), events)
    code, out, _ = run("doctor", "--data", folder)
    assert (1, "5 problems need attention") == (code, out.splitlines()[-1])
    assert [True] == [" and 4 more" in line for line in out.splitlines() if "no ring knows it" in line]
    assert 5 == len(json.loads(run("doctor", "--data", folder, "--json").out)["problems"])


@pytest.mark.parametrize("width", [60, 80, 200])
def test_on_a_screen_the_command_is_whole(width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there to be copied; the rest keeps within the width. Nothing that is in a name steers the screen."""
    crash(tmp_path / "trace")
    (tmp_path / "trace.ring" / "\x1b[2J\n.ring").write_bytes(b"no ring")
    (tmp_path / "trace" / "1.ring.damaged").write_bytes(b"")
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    assert 1 == main(["doctor", "--data", "trace"])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())  # bold and dim are no colours
    lines = shown.splitlines()
    assert 2 == lines.count("    next: cra trace recover trace")
    assert all(len(line) <= width for line in lines if "next:" not in line)
    assert "\x1b" not in shown
    assert any(r"\x1b[2J\n.ring" in line for line in lines)
    assert "3 problems need attention" == lines[-1]


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--data", "nowhere"], "does not exist"),
        (["--data", "file"], "is a file"),
        (["--ring", "."], "it says where the rings of --data DIR are"),
    ],
)
def test_a_wrong_call_is_2(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv, problem) -> None:
    """One line that says what is wrong with it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    code, out, err = run("doctor", *argv)
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert problem in err


def test_looking_changes_nothing(run, tmp_path: Path) -> None:
    """Neither a time nor a byte, and it makes no folder."""
    crash(tmp_path / "trace", ring=tmp_path / "rings")
    before = contents(tmp_path)
    run("doctor", "--data", tmp_path / "trace")
    run("doctor", "--data", tmp_path / "trace", "--ring", tmp_path / "rings", "--json")
    assert before == contents(tmp_path)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that everybody may look into; those of pytest are for their owner's eyes only."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        if any(each.stat().st_mode & 0o005 != 0o005 for each in folder.parents):
            pytest.skip("nobody else can come here")
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read a file")
def test_what_may_not_be_read_is_a_problem_and_no_traceback(open_to_all: Path) -> None:
    """As another user: two files and a ring, which are for their owner's eyes only."""
    crash(open_to_all / "trace")
    argv = ["doctor", "--data", str(open_to_all / "trace"), "--json"]
    assert 1 == main(argv), "what it needs is imported now"
    (open_to_all / "trace.ring").chmod(0o755)
    with (open_to_all / "answer").open("w+") as answer:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.setuid(65_534)
                sys.stdout = answer
                code = main(argv)
            finally:
                os._exit(code)
        assert 1 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer.seek(0)
        problems = json.load(answer)["problems"]
    assert [("unreadable", "the file cannot be read: Permission denied")] * 3 == [
        (each["code"], each["message"]) for each in problems
    ]
