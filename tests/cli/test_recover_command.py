"""`cra trace recover`: what it did is told in counts, what is left is exit code 1, and it can be run again."""

from __future__ import annotations

import json
import os
import select
import signal
from pathlib import Path

import pytest

import cra
from cra.storage.jsonl import JsonlStorage
from cra.testing.traces import make_trace
from tests.support.crashes import contents, crash, file_of, open_work


def test_what_was_recovered_is_counted(run, tmp_path: Path) -> None:
    """In a table, without what there is none of; the session that tells of it is named."""
    session = crash(tmp_path / "trace")
    code, out, err = run("trace", "recover", tmp_path / "trace")
    assert (0, "", "repaired") == (code, err, out.splitlines()[-1])
    rows = [line.rsplit(maxsplit=1) for line in out.splitlines()]
    assert ["rings of processes that are gone", "1"] in rows
    assert ["executions closed as unknown", "1"] in rows
    assert "cannot be read" not in out
    (told,) = [line for line in out.splitlines() if line.startswith("recorded as runtime.recovered in session ")]
    own = file_of(tmp_path / "trace", told.rsplit(maxsplit=1)[1])
    for path in (own, file_of(tmp_path / "trace", session)):
        assert cra.verify_file(path).valid


def test_a_second_time_there_is_nothing_to_repair(run, tmp_path: Path) -> None:
    """And nothing changes."""
    crash(tmp_path / "trace")
    run("trace", "recover", tmp_path / "trace")
    before = contents(tmp_path)
    assert (0, "nothing to repair\n", "") == run("trace", "recover", tmp_path / "trace")
    assert before == contents(tmp_path)


def test_programs_get_the_counts_of_the_event(run, tmp_path: Path) -> None:
    """One document with everything that was done."""
    crash(tmp_path / "trace")
    document = json.loads(run("trace", "recover", tmp_path / "trace", "--json").out)
    assert {
        "data",
        "recovery",
        "tails",
        "ended",
        "set_aside",
        "removed",
        "living",
        "refused",
        "session_id",
    } == document.keys()
    with JsonlStorageReader(tmp_path / "trace") as storage:
        (event,) = storage.events(document["session_id"], types=["runtime.recovered"])
    assert event.payload == document["recovery"]


class JsonlStorageReader(JsonlStorage):
    """A store that is closed in the end."""

    def __enter__(self) -> JsonlStorageReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_everything_that_was_done_is_told(run, tmp_path: Path) -> None:
    """Torn tails with where they are now, what was set aside, and the living, who are left alone."""
    data, rings = tmp_path / "trace", tmp_path / "trace.ring"
    resolver, _ = open_work(data, seed=5)
    with resolver:
        session = crash(data)
        with file_of(data, session).open("ab") as file:
            file.write(b"torn")
        (rings / "1-a.ring").write_bytes(b"no ring")
        (rings / "4294967295-0123456789abcdef.part").write_bytes(b"")
        code, out, _ = run("trace", "recover", data)
    assert (0, "repaired") == (code, out.splitlines()[-1])
    for told in (
        f"{session}.trace.jsonl.torn",
        "set aside   1-a.ring.damaged",
        "removed     4294967295-0123456789abcdef.part",
        f"process {os.getpid()} lives",
    ):
        assert told in out


def test_what_is_left_is_1(run, tmp_path: Path) -> None:
    """With the reason, and the command that says more."""
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace.ring").write_bytes(b"")
    code, out, _ = run("trace", "recover", tmp_path / "trace")
    assert 1 == code
    assert "the folder cannot be listed: Not a directory" in out
    assert f"1 could not be repaired; see: cra doctor --data {tmp_path}/trace" == out.splitlines()[-1]


def test_a_store_that_does_not_open_is_3(run, tmp_path: Path) -> None:
    """With the file that is in the way, and the command that says more."""
    folder = tmp_path / "trace"
    name = "00000000-0000-7000-8000-000000000000.trace.jsonl"
    (folder / name).mkdir(parents=True)
    code, out, err = run("trace", "recover", folder, "--ring", tmp_path)
    assert (3, "", 1) == (code, out, err.count("\n"))
    assert name in err
    assert f"what is in the way: cra doctor --data {folder} --ring {tmp_path}" in err


def test_rings_elsewhere_are_named(run, tmp_path: Path) -> None:
    """Without them there is nothing to recover."""
    crash(tmp_path / "trace", ring=tmp_path / "rings")
    assert "nothing to repair\n" == run("trace", "recover", tmp_path / "trace").out
    assert 0 == run("trace", "recover", tmp_path / "trace", "--ring", tmp_path / "rings").code
    assert [] == os.listdir(tmp_path / "rings")


def test_sessions_that_no_ring_knows_are_ended_on_request(run, tmp_path: Path) -> None:
    """As the doctor says."""
    storage = JsonlStorage(tmp_path / "trace")
    storage.append(make_trace([("session.started", {})]))
    storage.close()
    assert f"cra trace recover {tmp_path}/trace --end-sessions" in run("doctor", "--data", tmp_path / "trace").out
    code, out, _ = run("trace", "recover", tmp_path / "trace", "--end-sessions")
    assert 0 == code
    assert ["sessions ended for the dead", "1"] in [line.rsplit(maxsplit=1) for line in out.splitlines()]
    assert 0 == run("doctor", "--data", tmp_path / "trace").code


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["nowhere"], "does not exist"),
        (["x.ring"], "is a folder of rings; give the folder of the store, and this one with --ring"),
        ([], "Missing argument"),
    ],
)
def test_a_wrong_call_is_2(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv, problem) -> None:
    """One line that says what is wrong with it; nothing is made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.ring").mkdir()
    code, out, err = run("trace", "recover", *argv)
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert problem in err
    assert ["x.ring"] == os.listdir(tmp_path)


def test_a_process_that_is_killed_for_real_is_recovered(spawn, tmp_path: Path) -> None:
    """Killed with everything acknowledged and perhaps nothing stored; afterwards all of it is there, and the folder healthy."""
    listening, said = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _, session = open_work(tmp_path / "trace")
            for _ in range(50):
                session.resolve("a lamp")
            os.write(said, session.session_id.encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(said)
    assert select.select([listening], [], [], 60)[0], "the child says nothing"
    session_id = os.read(listening, 36).decode()
    os.close(listening)
    os.kill(child, signal.SIGKILL)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for argv, expected in (
        (("doctor", "--data"), 1),
        (("trace", "recover"), 0),
        (("doctor", "--data"), 0),
    ):
        process = spawn(*argv, tmp_path / "trace")
        out, err = process.communicate(timeout=120)
        assert (expected, "") == (process.returncode, err), out
    with JsonlStorageReader(tmp_path / "trace") as storage:
        types = [event.event_type for event in storage.events(session_id)]
    assert (51, "session.ended") == (types.count("carp.resolution.completed"), types[-1])
