"""`cra trace recover` over a journal, a SQLite file, and what is neither: everything comes into the store that it belongs to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.storage.journal.verify import verify_journal
from cra.trace.event import Event
from tests.support.crashes import contents
from tests.support.stores import PLAIN, RESOLVES, kill, mix_in


@contextmanager
def opened(kind: str, path: Path) -> Iterator[Any]:
    """A store, closed in the end."""
    storage = PLAIN[kind](path)
    try:
        yield storage
    finally:
        storage.close()


def events_of(kind: str, path: Path, session_id: str) -> list[Event]:
    """The events of a session in a store."""
    with opened(kind, path) as storage:
        return list(storage.events(session_id))


def resolves(events: list[Event]) -> int:
    """How many resolves there are."""
    return [event.event_type for event in events].count("carp.resolution.completed")


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_what_a_killed_process_recorded_comes_into_its_own_store(kind: str, spawn, tmp_path: Path) -> None:
    """Every resolve is there, the chain is whole, no other store was made, and a second time there is nothing to do."""
    path = tmp_path / "store"
    session_id = kill(kind, path)
    assert 1 == len(list((tmp_path / "store.ring").glob("*.ring")))
    for said in ("repaired", "nothing to repair"):
        process = spawn("trace", "recover", path)
        out, err = process.communicate(timeout=120)
        assert (0, "", said) == (process.returncode, err, out.splitlines()[-1])
    events = events_of(kind, path, session_id)
    assert (RESOLVES + 1, "session.ended") == (resolves(events), events[-1].event_type)
    assert cra.verify_chain(events).valid
    assert [] == list(tmp_path.rglob("*.trace.jsonl"))
    assert [] == os.listdir(tmp_path / "store.ring")
    if kind == "journal":
        assert verify_journal(path).valid


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_programs_get_the_counts_of_the_event(kind: str, run, tmp_path: Path) -> None:
    """As for a jsonl: store."""
    kill(kind, tmp_path / "store")
    document = json.loads(run("trace", "recover", tmp_path / "store", "--json").out)
    own = events_of(kind, tmp_path / "store", document["session_id"])
    assert [document["recovery"]] == [event.payload for event in own if event.event_type == "runtime.recovered"]
    assert (1, []) == (document["recovery"]["rings"], document["refused"])


def test_a_torn_segment_is_told(run, tmp_path: Path) -> None:
    """With where the torn bytes are now."""
    kill("journal", tmp_path / "store")
    (segment,) = (tmp_path / "store").glob("*.segment")
    with segment.open("ab") as file:
        file.write(b"torn")
    code, out, _ = run("trace", "recover", tmp_path / "store")
    assert (0, "repaired") == (code, out.splitlines()[-1])
    assert f"{segment.name}.torn" in out
    assert verify_journal(tmp_path / "store").valid


def test_an_empty_folder_with_rings_is_not_guessed_at(run, tmp_path: Path) -> None:
    """The process died before the journal had a file. Nothing is touched until somebody says what it is."""
    path = tmp_path / "store"
    session_id = kill("journal", path, stored=False)
    assert [] == os.listdir(path)
    before = contents(tmp_path)
    code, out, err = run("trace", "recover", path)
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert "--store journal|jsonl|sqlite" in err
    assert before == contents(tmp_path)
    assert 2 == run("trace", "recover", path, "--store", "sqlite").code
    assert before == contents(tmp_path)
    assert 0 == run("trace", "recover", path, "--store", "journal").code
    assert RESOLVES == resolves(events_of("journal", path, session_id))


def test_what_is_not_the_stated_store_is_refused(run, tmp_path: Path) -> None:
    """Nothing is recovered into a store of another kind, whatever is said."""
    for kind in ("journal", "sqlite"):
        path = tmp_path / kind
        kill(kind, path)
        before = contents(tmp_path)
        code, out, err = run("trace", "recover", path, "--store", "jsonl")
        assert (2, "", 1) == (code, out, err.count("\n"))
        assert f"is a {kind}: store, not a jsonl: store" in err
        assert before == contents(tmp_path)


def test_a_mix_is_refused(run, tmp_path: Path) -> None:
    """A ring does not say to which of them it belongs."""
    path = tmp_path / "store"
    session_id = kill("journal", path)
    mix_in(path)
    before = contents(tmp_path)
    for options in ([], ["--store", "jsonl"], ["--store", "journal"]):
        code, out, err = run("trace", "recover", path, *options)
        assert (2, "", 1) == (code, out, err.count("\n"))
        assert "move the *.trace.jsonl files elsewhere" in err
    assert before == contents(tmp_path)
    for file in path.glob("*.trace.jsonl"):
        file.rename(tmp_path / file.name)
    assert 0 == run("trace", "recover", path).code
    assert RESOLVES + 1 == resolves(events_of("journal", path, session_id))


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_sessions_are_ended_in_a_jsonl_store_only(kind: str, run, tmp_path: Path) -> None:
    """One clear error, and nothing is done."""
    kill(kind, tmp_path / "store")
    before = contents(tmp_path)
    code, out, err = run("trace", "recover", tmp_path / "store", "--end-sessions")
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert f"--end-sessions is for jsonl: stores, and {tmp_path}/store is a {kind}: store" in err
    assert before == contents(tmp_path)


def test_a_file_that_is_no_database_is_refused(run, tmp_path: Path) -> None:
    """And left as it is."""
    (tmp_path / "file").write_text("hello")
    code, out, err = run("trace", "recover", tmp_path / "file", "--ring", tmp_path)
    assert (0, "nothing to repair\n") == (code, out), "no ring waits there"
    (tmp_path / "1-a.ring").write_bytes(b"no ring")
    code, out, err = run("trace", "recover", tmp_path / "file", "--ring", tmp_path)
    assert (2, "", 1) == (code, out, err.count("\n"))
    code, out, err = run("trace", "recover", tmp_path / "file", "--ring", tmp_path, "--store", "sqlite")
    assert (3, "", 1) == (code, out, err.count("\n"))
    assert "hello" == (tmp_path / "file").read_text()
    assert (tmp_path / "1-a.ring").exists()
