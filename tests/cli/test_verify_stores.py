"""`cra trace verify` of whole stores and of standard input: every session, and of a journal every byte."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.reference.frames import frame
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.retention import Retention
from cra.storage.journal.series import Rotation
from cra.testing.traces import make_trace
from tests.support.records import definition, events, resolve, template
from tests.support.stores import kill, mix_in, written

KINDS = ["journal", "jsonl", "days", "sqlite"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of store there is on disk."""
    return str(request.param)


def state(path: Path) -> dict[str, bytes]:
    """Every file of a store."""
    files = path.iterdir() if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files}


def url(kind: str, path: Path) -> str:
    """The URL of a store, with an option where there is one."""
    return {
        "days": f"jsonl:///{path}?files=day",
        "jsonl": f"jsonl:///{path}?max_open=3",
        "journal": f"journal:///{path}?segment_bytes=1MB",
        "sqlite": f"sqlite:///{path}",
    }[kind]


def test_a_sound_store_is_verified(kind: str, run: Any, tmp_path: Path) -> None:
    """By its path or its URL; every session is told; nothing is changed, and no file made."""
    written(kind, tmp_path / "store", sessions=3)
    before = state(tmp_path / "store")
    code, out, err = run("trace", "verify", tmp_path / "store")
    assert (0, "") == (code, err)
    assert "store verified: 9 events in 3 sessions" in out
    names = {event.session_id for number in (1, 2, 3) for event in make_trace([("a.b", {})], session=number)}
    assert all(name in out for name in names)
    assert (kind == "journal") == (f"Segments of {tmp_path}/store" in out) == ("sealed" in out)
    assert (0, out.replace(f"{tmp_path}/store", "X")) == (
        (again := run("trace", "verify", "--storage", url(kind, tmp_path / "store"))).code,
        again.out.replace(url(kind, tmp_path / "store").partition("?")[0], "X"),
    )
    document = json.loads(run("trace", "verify", tmp_path / "store", "--json").out)
    assert (True, names) == (document["valid"], set(document["files"][0]["sessions"]))
    assert (kind == "journal") == (document["files"][0]["journal"] is not None)
    assert before == state(tmp_path / "store")


def test_a_changed_event_is_found_in_every_store(kind: str, run: Any, tmp_path: Path) -> None:
    """Exit code 1, the session and the event are named, and the other sessions are told to be sound."""
    path = tmp_path / "store"
    written(kind, path, sessions=3)
    bad = make_trace([("a.b", {})], session=2)[0].session_id
    if kind == "sqlite":
        with sqlite3.connect(path) as database:
            database.execute(
                'UPDATE event SET line = replace(line, \'"payload":{}\', \'"payload":{"x":1}\')'
                " WHERE sequence = 1 AND session = 2"
            )
        database.close()
    else:
        for file in path.glob("*.segment" if kind == "journal" else "*"):
            data = file.read_bytes()
            if kind == "journal":
                at = data.rindex(b"session.ended")
                file.write_bytes(data[:at] + b"S" + data[at + 1 :])
            else:
                lines = data.splitlines(keepends=True)
                file.write_bytes(
                    b"".join(
                        line.replace(b'"payload":{}', b'"payload":{"x":1}')
                        if bad.encode() in line and b'"a.b"' in line
                        else line
                        for line in lines
                    )
                )
    code, out, _ = run("trace", "verify", path)
    assert 1 == code
    assert "store not valid" in out
    if kind == "journal":
        assert "is no whole entry" in out
        assert "was not verified" in out
    else:
        assert f"session {bad}, event 2 of 3: hash_mismatch" in out
        assert 2 == sum("sound" in line for line in out.splitlines())
    assert not json.loads(run("trace", "verify", path, "--json").out)["valid"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_is_held_to_anchors(kind: str, run: Any, tmp_path: Path) -> None:
    """A session that does not reach one is not valid, and one that is missing is told."""
    written(kind, tmp_path / "store", sessions=2)
    trace = make_trace([("session.started", {}), ("a.b", {}), ("session.ended", {})], session=1)
    good = f"{trace[2].session_id}:2:{trace[2].event_hash}"
    assert 0 == run("trace", "verify", tmp_path / "store", "--anchor", good).code
    for bad in (f"{trace[2].session_id}:3:{trace[2].event_hash}", f"{trace[2].session_id}:1:{'0' * 64}"):
        code, out, _ = run("trace", "verify", tmp_path / "store", "--anchor", bad)
        assert (1, True) == (code, "chain_broken" in out)
    elsewhere = make_trace([("a.b", {})], session=7)[0]
    code, out, _ = run("trace", "verify", tmp_path / "store", "--anchor", f"{elsewhere.session_id}:0:{'0' * 64}")
    assert (1, True) == (code, f"no file has the session {elsewhere.session_id}" in out)


def test_a_journal_of_which_retention_took_a_part_is_verified(run: Any, tmp_path: Path) -> None:
    """From its tombstones on; sessions in several series, and events that came as events, in their order."""
    store = JournalStorage(tmp_path / "store", rotation=Rotation(max_bytes=500), retention=Retention(max_bytes=2_000))
    store._keeper = None
    for record in (events(("session.started", {})), template(), *(resolve(n=n) for n in range(1, 12))):
        store.append_records(frame(record))
    assert store.apply_retention()
    trace = make_trace([("session.started", {}), *[("a.b", {})] * 5], session=3)
    store.append(trace[:2])
    store.append_records(frame(resolve(n=50)))
    name = definition(1)[0]
    newest = store.last(name, 2)
    other = JournalStorage(tmp_path / "store")
    other.append(trace[2:4])
    other.close()
    store.append(trace[4:])
    store.close()
    code, out, _ = run("trace", "verify", tmp_path / "store")
    assert (0, True) == (code, "in 2 sessions" in out), out
    anchor = f"{name}:{newest[0].sequence}:{newest[0].event_hash}"
    assert 0 == run("trace", "verify", tmp_path / "store", "--anchor", anchor).code
    code, out, _ = run("trace", "verify", tmp_path / "store", "--anchor", f"{name}:{newest[0].sequence}:{'0' * 64}")
    assert (1, True) == (code, "does not reach the anchored event" in out)
    code, out, _ = run("trace", "verify", tmp_path / "store", "--anchor", f"{name}:0:{'0' * 64}")
    assert (0, True) == (code, "retention took the anchored event 0" in out)
    (stone,) = (tmp_path / "store").glob("*.gone")
    segment = min((tmp_path / "store").glob(f"{stone.name.split('.')[0]}.*.segment"))
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:])
    code, out, _ = run("trace", "verify", tmp_path / "store", "--anchor", anchor)
    assert (1, True) == (code, f"the anchored event {newest[0].sequence} cannot be looked for: " in out), out
    segment.write_bytes(whole)
    stone.write_bytes(b"no tombstone")
    for options in ((), ("--anchor", anchor)):
        code, out, _ = run("trace", "verify", tmp_path / "store", *options)
        assert (1, True) == (code, f"{stone.name}: the tombstone is damaged" in out), out
        assert "was not put in order" in out
    stone.unlink()
    assert 1 == run("trace", "verify", tmp_path / "store").code


def test_records_that_wait_in_rings_are_told(run: Any, tmp_path: Path) -> None:
    """With the command that brings them into the store."""
    kill("journal", tmp_path / "store")
    code, out, _ = run("trace", "verify", tmp_path / "store")
    assert "records wait in rings beside it" in out
    assert f"cra trace recover {tmp_path}/store" in out
    assert 1 == code  # its last segment is not sealed
    assert 0 == run("trace", "recover", tmp_path / "store").code
    code, out, _ = run("trace", "verify", tmp_path / "store")
    assert (0, False) == (code, "wait in rings" in out)


def test_standard_input_is_verified() -> None:
    """As a file is, through a pipe; with anchors, too."""
    trace = make_trace([("session.started", {}), ("a.b", {})])
    data = b"".join(map(cra.trace.jsonl.dump_line, trace)).decode()
    for text, options, expected in (
        (data, (), 0),
        (data, ("--anchor", f"{trace[1].session_id}:1:{trace[1].event_hash}"), 0),
        (data, ("--anchor", f"{trace[1].session_id}:2:{trace[1].event_hash}"), 1),
        (data[: len(data) // 2], (), 1),
        ("", (), 0),
    ):
        command = [sys.executable, "-m", "cra", "trace", "verify", "-", *options]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
        assert (expected, "") == (done.returncode, done.stderr), done.stdout


def test_what_cannot_be_verified_is_a_wrong_call(run: Any, tmp_path: Path) -> None:
    """One line each, exit code 2."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.ring").mkdir()
    written("journal", tmp_path / "both")
    mix_in(tmp_path / "both")
    written("jsonl", tmp_path / "lines")
    for argv, message in (
        ((), "name a trace, a store, or - for standard input"),
        ((tmp_path / "empty",), "there is nothing of a store in"),
        ((tmp_path / "x.ring",), "is a folder of rings"),
        ((tmp_path / "both",), "has files of a journal: and of a jsonl: store"),
        ((tmp_path / "none",), "does not exist"),
        (("--storage", f"journal:///{tmp_path}/none"), "there is no store"),
        (("--storage", f"journal:///{tmp_path}/lines"), "is no journal: store"),
        (("--storage", f"jsonl:///{tmp_path}/lines?x=1"), "has no option 'x'"),
        (("--storage", "null:"), "keeps nothing"),
        (("--storage", "redis:x"), "is not known"),
    ):
        code, _, err = run("trace", "verify", *argv)
        assert (2, True) == (code, message in err), err
        assert 1 == len(err.splitlines())
    assert 0 == run("trace", "verify", "--storage", "memory:").code


def test_of_many_sessions_the_bad_ones_are_shown(run: Any, tmp_path: Path) -> None:
    """And the others counted; with --json all of them are there."""
    written("jsonl", tmp_path / "store", sessions=60)
    bad = sorted((tmp_path / "store").iterdir())[57]
    bad.write_bytes(bad.read_bytes().replace(b'"a.b"', b'"a.c"'))
    code, out, _ = run("trace", "verify", tmp_path / "store")
    assert 1 == code
    assert bad.name[:36] in out
    assert "and 10 more" in out
    assert 60 == len(json.loads(run("trace", "verify", tmp_path / "store", "--json").out)["files"][0]["sessions"])


def test_what_a_store_holds_of_a_line_is_not_verified(run: Any, tmp_path: Path) -> None:
    """It was never acknowledged: a warning."""
    written("jsonl", tmp_path / "store")
    path = min((tmp_path / "store").iterdir())
    path.write_bytes(path.read_bytes() + b"{")
    code, out, _ = run("trace", "verify", tmp_path / "store")
    assert (0, True) == (code, "ends in 1 bytes of a line" in out)
