"""`cra doctor --data` of a journal and of a SQLite file: what there is and what is wrong, and nothing is changed."""

from __future__ import annotations

import json
import os
import random
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.cli import main
from cra.storage.journal.backend import JournalStorage
from cra.storage.jsonl import JsonlStorage
from cra.storage.sqlite import SqliteStorage
from tests.cli.test_doctor_data_command import Screen
from tests.support.crashes import ATLAS, contents
from tests.support.stores import PLAIN, RESOLVES, kill, mix_in, written

KINDS = ["journal", "sqlite"]


def looked(run, path: Path, *options: object) -> dict[str, Any]:
    """What the doctor finds, which changes nothing and tells each problem in one line with something to do."""
    before = contents(path.parent)
    code, out, err = run("doctor", "--data", path, *options, "--json")
    assert "" == err
    assert before == contents(path.parent)
    document: dict[str, Any] = json.loads(out)
    assert int(not document["healthy"]) == code
    for problem in document["problems"]:
        assert problem["next"]
        assert "\n" not in problem["message"]
    return document


def codes(found: dict[str, Any]) -> list[str]:
    """The kinds of the problems."""
    return [problem["code"] for problem in found["problems"]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_was_closed_is_healthy(kind: str, run, tmp_path: Path) -> None:
    """It says how much there is."""
    with cra.Resolver(f"{kind}:///{tmp_path}/store") as resolver:
        resolver.load_atlas(ATLAS)
        resolver.create_session("bot", "work").resolve("a lamp")
    found = looked(run, tmp_path / "store")
    assert (kind, [], []) == (found["kind"], found["problems"], found["open_sessions"])
    assert all(session["ended"] for session in found["store"]["sessions"])
    code, out, _ = run("doctor", "--data", tmp_path / "store")
    rows = [line.split() for line in out.splitlines()]
    assert (0, "healthy") == (code, out.splitlines()[-1])
    assert ["sessions", "2"] in rows
    assert ["events", str(found["store"]["events"])] in rows
    assert "without an end" not in out
    with closing(PLAIN[kind](tmp_path / "store")) as storage:
        assert storage.count() == found["store"]["events"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_in_use_is_healthy_and_is_not_touched(kind: str, spawn, tmp_path: Path) -> None:
    """Not even the files beside a database."""
    with cra.Resolver(f"{kind}:///{tmp_path}/store") as resolver:
        resolver.load_atlas(ATLAS)
        session = resolver.create_session("bot", "work")
        session.resolve("a lamp")
        resolver.flush()
        before = contents(tmp_path)
        process = spawn("doctor", "--data", tmp_path / "store", "--json")
        out, err = process.communicate(timeout=120)
        assert (0, "") == (process.returncode, err), out
        assert before == contents(tmp_path)
        found = json.loads(out)
        assert sorted([session.session_id, resolver.session_id]) == found["open_sessions"]
        if kind == "journal":
            assert ["living"] == [each["state"] for each in found["store"]["series"]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_is_recovered_next(kind: str, run, tmp_path: Path) -> None:
    """The command beside each problem repairs it."""
    kill(kind, tmp_path / "store")
    found = looked(run, tmp_path / "store")
    assert ["dead_series", "dead_ring"][-len(codes(found)) :] == codes(found)
    assert {f"cra trace recover {tmp_path}/store"} == {each["next"] for each in found["problems"]}
    assert RESOLVES == found["rings"]["rings"][0]["records"]
    assert 2 == len(found["store"]["sessions"])
    assert 0 == run("trace", "recover", tmp_path / "store").code
    assert [] == codes(looked(run, tmp_path / "store"))


def test_a_torn_tail_is_measured(run, tmp_path: Path) -> None:
    """And named once, by the segment that it is in."""
    kill("journal", tmp_path / "store")
    (segment,) = (tmp_path / "store").glob("*.segment")
    with segment.open("ab") as file:
        file.write(b"torn")
    found = looked(run, tmp_path / "store")
    (series,) = found["store"]["series"]
    assert ("dead", 1, segment.name, 4) == tuple(
        series[each] for each in ("state", "segments", "unsealed", "torn_bytes")
    )
    (problem,) = [each for each in found["problems"] if each["code"] == "dead_series"]
    assert (str(segment), True) == (problem["file"], problem["message"].endswith("is not sealed, 4 bytes torn"))
    run("trace", "recover", tmp_path / "store")
    found = looked(run, tmp_path / "store")
    assert ([], [segment.name + ".torn"]) == (codes(found), found["store"]["torn"])
    assert "torn tails set aside" in run("doctor", "--data", tmp_path / "store").out


def test_a_lock_alone_is_let_go(run, tmp_path: Path) -> None:
    """Its writer died before the first segment, or after the last."""
    written("journal", tmp_path / "store")
    (tmp_path / "store" / "1-0123456789abcdef.lock").write_bytes(b"")
    assert ["dead_series"] == codes(looked(run, tmp_path / "store"))
    assert 0 == run("trace", "recover", tmp_path / "store").code
    assert [] == codes(looked(run, tmp_path / "store"))


def test_a_changed_segment_is_named_with_the_place(run, tmp_path: Path) -> None:
    """The file and the offset; whatever is there is still counted as far as it can be read."""
    written("journal", tmp_path / "store")
    (segment,) = (tmp_path / "store").glob("*.segment")
    image = bytearray(segment.read_bytes())
    image[len(image) // 2] ^= 1
    segment.write_bytes(image)
    found = looked(run, tmp_path / "store")
    (problem,) = found["problems"]
    assert ("chain", str(segment)) == (problem["code"], problem["file"])
    assert "what is at offset " in problem["message"]
    assert f"cp -a {tmp_path}/store ELSEWHERE/" == problem["next"]
    assert 1 <= len(found["store"]["sessions"]) < 3


def test_jsonl_files_in_the_folder_of_a_journal_are_a_problem(run, tmp_path: Path) -> None:
    """With what to do, after which it is none."""
    written("journal", tmp_path / "store")
    mix_in(tmp_path / "store", sessions=2)
    found = looked(run, tmp_path / "store")
    assert ("journal", ["mixed"], 2) == (found["kind"], codes(found), len(found["store"]["strangers"]))
    command = found["problems"][0]["next"].replace("ELSEWHERE/", str(tmp_path))
    assert 0 == os.system(command)
    assert [] == codes(looked(run, tmp_path / "store"))


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_that_nobody_will_end_are_counted(kind: str, run, tmp_path: Path) -> None:
    """Nothing can be done about them there, so they are no problem."""
    written(kind, tmp_path / "store", end=False)
    assert [] == codes(looked(run, tmp_path / "store"))
    rows = [line.rsplit(maxsplit=1) for line in run("doctor", "--data", tmp_path / "store").out.splitlines()]
    assert ["without an end, in no ring", "3"] in rows


def test_what_is_no_regular_file_is_not_waited_for(run, tmp_path: Path) -> None:
    """A pipe with the name of a segment."""
    written("journal", tmp_path / "store")
    os.mkfifo(tmp_path / "store" / "1-0123456789abcdef.00000000.segment")
    found = looked(run, tmp_path / "store")
    assert ["not_regular"] == codes(found)
    assert "it is a pipe" in found["problems"][0]["message"]


def test_an_empty_folder_with_rings_is_asked_about(run, tmp_path: Path) -> None:
    """Nobody knows what it is."""
    kill("journal", tmp_path / "store", stored=False)
    found = looked(run, tmp_path / "store")
    assert (None, ["unknown_store", "dead_ring"]) == (found["kind"], codes(found))
    assert {f"cra trace recover {tmp_path}/store --store KIND"} == {each["next"] for each in found["problems"]}


def test_what_a_dead_process_left_in_the_log_is_counted(run, tmp_path: Path) -> None:
    """It is a part of the file. Where its index is missing, it cannot be read without making one, and is not."""
    kill("sqlite", tmp_path / "store")
    assert looked(run, tmp_path / "store")["store"]["events"] > 0
    (tmp_path / "store-shm").unlink()
    found = looked(run, tmp_path / "store")
    assert ("unreadable", f"cra trace recover {tmp_path}/store") == tuple(
        found["problems"][0][each] for each in ("code", "next")
    )
    assert 0 == run("trace", "recover", tmp_path / "store").code
    assert [] == codes(looked(run, tmp_path / "store"))


def test_a_damaged_database_is_a_problem(run, tmp_path: Path) -> None:
    """SQLite says what is wrong."""
    written("sqlite", tmp_path / "store", sessions=300)
    image = bytearray((tmp_path / "store").read_bytes())
    image[8192 * 4 :] = bytes(len(image) - 8192 * 4)
    (tmp_path / "store").write_bytes(image)
    found = looked(run, tmp_path / "store")
    assert {"damaged_store"} == set(codes(found))
    assert f"sqlite3 {tmp_path}/store .recover" == found["problems"][0]["next"]


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        (["CREATE TABLE x (y)"], "it is a database of something else"),
        (["PRAGMA application_id = 0x63726174", "PRAGMA user_version = 9"], "it has schema version 9"),
        (["PRAGMA application_id = 0x63726174", "PRAGMA user_version = 1"], "no such table"),
        (["CREATE TABLE x (y)", "DROP TABLE x"], None),
    ],
)
def test_another_database_is_named(statements, problem, run, tmp_path: Path) -> None:
    """And one that is empty is no problem."""
    with closing(sqlite3.connect(tmp_path / "store", isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
    found = looked(run, tmp_path / "store")
    assert (problem is None) == found["healthy"]
    assert problem is None or problem in found["problems"][0]["message"]


def test_a_database_that_is_a_link_is_looked_at_where_it_is(run, tmp_path: Path) -> None:
    """Its log is there, too."""
    kill("sqlite", tmp_path / "store")
    (tmp_path / "link").symlink_to("store")
    assert looked(run, tmp_path / "link")["store"]["events"] == looked(run, tmp_path / "store")["store"]["events"] > 0


def test_a_damaged_schema_is_told_in_one_line(run, tmp_path: Path) -> None:
    """SQLite cites the statement from the damage on, which goes on for lines."""
    written("sqlite", tmp_path / "store")
    image = (tmp_path / "store").read_bytes()
    (tmp_path / "store").write_bytes(image.replace(b"event_type TEXT", b'even"_type TEXT', 1))
    (problem,) = looked(run, tmp_path / "store")["problems"]
    assert "malformed database schema" in problem["message"]
    code, _, err = run("trace", "verify", tmp_path / "store")
    assert (True, 1) == (code != 0, err.count("\n"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(15))
def test_no_damage_is_too_much(kind: str, number: int, seed: int, run, tmp_path: Path) -> None:
    """Whatever is changed, it is looked at, and nothing is changed by that."""
    rng = random.Random(seed * 1_000 + number)
    path = tmp_path / "store"
    written(kind, path, sessions=20)
    files = [path] if kind == "sqlite" else sorted(path.iterdir())
    for file in files:
        image = bytearray(file.read_bytes())
        if image:
            for _ in range(rng.choice([1, 3, 50, 500])):
                image[rng.randrange(len(image))] = rng.randrange(256)
            image[:16] = file.read_bytes()[:16]
            file.write_bytes(image[: rng.choice([len(image), rng.randrange(16, len(image))])])
    looked(run, path)


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_screen_it_keeps_within_the_width(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands aside, which are there to be copied."""
    kill(kind, tmp_path / "store")
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    assert 1 == main(["doctor", "--data", "store"])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert "    next: cra trace recover store" in lines
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("make", [JournalStorage, SqliteStorage, JsonlStorage])
def test_every_store_that_is_opened_first_is_known(make, run, tmp_path: Path) -> None:
    """Opened and closed without an event, a folder is still empty, and healthy."""
    make(tmp_path / "store").close()
    assert looked(run, tmp_path / "store")["healthy"]
