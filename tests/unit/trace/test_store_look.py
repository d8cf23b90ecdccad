"""A look at a store: what verifies, what is torn, what has no end, what lies there besides."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cra.storage.jsonl import JsonlStorage
from cra.testing.traces import make_trace
from cra.trace import store_look
from cra.trace.event import Event
from cra.trace.jsonl import dump_line
from cra.trace.store_look import Fault, SessionLook, look_at_store
from tests.support.crashes import contents, file_of

EVENTS = [("session.started", {"goal": "work"}), ("a.b", {"n": 1}), ("session.ended", {"reason": "completed"})]


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., tuple[Path, list[Event]]]:
    """Stores the first `events` of a session; its file and what is in it."""

    def store(events: int = 3) -> tuple[Path, list[Event]]:
        trace = list(make_trace(EVENTS[:events]))
        storage = JsonlStorage(tmp_path / "store")
        storage.append(trace)
        storage.close()
        return file_of(tmp_path / "store", trace[0].session_id), trace

    return store


def only(folder: Path, **options: Any) -> SessionLook:
    """The one session of a store; looking changes nothing."""
    before = contents(folder)
    (session,) = look_at_store(folder, **options).sessions
    assert before == contents(folder)
    return session


def test_a_session_that_ended_and_verifies(stored: Any) -> None:
    """Its events are counted, and nothing is wrong."""
    path, events = stored()
    assert SessionLook(path.name, events[0].session_id, events=3, ended=True) == only(path.parent)


@pytest.mark.parametrize("tail", [b'{"trace_ver', b"\0" * 100, b"x"])
def test_a_torn_tail_is_no_fault_of_the_chain(tail: bytes, stored: Any) -> None:
    """Opening the store sets it aside; what comes before is as it was."""
    path, _ = stored()
    path.write_bytes(path.read_bytes() + tail)
    look = only(path.parent)
    assert (3, True, len(tail), None) == (look.events, look.ended, look.torn_bytes, look.fault)


def test_an_event_without_its_newline_is_torn(stored: Any) -> None:
    """As opening the store has it."""
    path, _ = stored()
    path.write_bytes(path.read_bytes()[:-1])
    look = only(path.parent)
    assert (2, False, None) == (look.events, look.ended, look.fault)
    assert look.torn_bytes > 0


def test_what_a_process_is_writing_is_not_torn(stored: Any) -> None:
    """Whether its lock says that it lives, or its ring has said so before."""
    path, events = stored()
    path.write_bytes(path.read_bytes() + b'{"trace_ver')
    with open(path) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        look = only(path.parent)
        assert (True, 0, None) == (look.locked, look.torn_bytes, look.fault)
    look = only(path.parent, living={events[0].session_id})
    assert (True, 0, None) == (look.locked, look.torn_bytes, look.fault)


def test_the_lock_of_a_living_session_is_not_looked_at(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process may want it in this moment."""
    path, events = stored()
    monkeypatch.setattr(store_look, "is_locked", lambda descriptor: pytest.fail("it was"))
    only(path.parent, living={events[0].session_id})


def test_a_chain_that_does_not_verify_names_its_line(stored: Any) -> None:
    """Counted from 1."""
    path, _ = stored()
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":2'))
    fault = only(path.parent).fault
    assert fault is not None
    assert (2, "hash_mismatch") == (fault.line, fault.error_type)


def test_a_last_line_that_is_whole_and_no_event_is_a_fault(stored: Any) -> None:
    """It is not torn: it ends."""
    path, _ = stored(2)
    path.write_bytes(path.read_bytes() + b"[]\n")
    look = only(path.parent)
    assert look.fault is not None
    assert (3, "malformed_event", 3, False) == (look.fault.line, look.fault.error_type, look.events, look.ended)


@pytest.mark.parametrize("line", [b"nothing\n", b"\n", b"\xff\n"])
def test_random_lines_are_faults(line: bytes, stored: Any) -> None:
    """Never an exception."""
    path, _ = stored()
    path.write_bytes(line)
    look = only(path.parent)
    assert look.fault is not None
    assert (1, False) == (look.fault.line, look.ended)


def test_an_event_of_another_session_is_a_fault(stored: Any) -> None:
    """Each chain verifies; the file is named for one of them."""
    path, _ = stored()
    with path.open("ab") as file:
        file.writelines(map(dump_line, make_trace(EVENTS, session=2)))
    fault = Fault(4, "session_mismatch", "the event belongs to another session than the file is named for")
    assert fault == only(path.parent).fault


def test_an_empty_file_has_no_events(stored: Any) -> None:
    """A process may die before it writes the first."""
    path, _ = stored()
    path.write_bytes(b"")
    assert SessionLook(path.name, path.name[:36]) == only(path.parent)


def test_what_is_no_session_is_listed_or_passed_over(stored: Any) -> None:
    """Torn tails, files set aside, unfinished exports, and what is no regular file; anything else is none of ours."""
    path, _ = stored()
    folder = path.parent
    for name in (path.name + ".torn", "x.ring.damaged", ".x.jsonl.0a.part", "notes.txt", "x.trace.jsonl", "x.part"):
        (folder / name).write_bytes(b"anything")
    kinds = {f"0000000{n}{path.name[8:]}": kind for n, kind in enumerate(("a folder", "a pipe", "a symbolic link"))}
    for name, kind in kinds.items():
        if kind == "a folder":
            (folder / name).mkdir()
        elif kind == "a pipe":
            os.mkfifo(folder / name)
        else:
            (folder / name).symlink_to("/etc/hostname")
    look = look_at_store(folder)
    assert [path.name] == [session.file for session in look.sessions]
    assert ((path.name + ".torn",), ("x.ring.damaged",), (".x.jsonl.0a.part",)) == (
        look.torn,
        look.damaged,
        look.leftovers,
    )
    assert (kinds, None) == (look.strange, look.problem)


def test_what_cannot_be_read_says_why(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with the system's reason, one that is gone not at all; a folder that cannot be listed says so."""
    path, _ = stored()
    gone = path.with_name("00000000" + path.name[8:])
    gone.write_bytes(b"")
    really = os.open

    def refusing(asked: object, *arguments: int) -> int:
        if asked == path:
            raise PermissionError(13, "Permission denied")
        if asked == gone:
            raise FileNotFoundError
        return really(asked, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    assert [SessionLook(path.name, path.name[:36], problem="Permission denied")] == list(
        look_at_store(path.parent).sessions
    )
    assert "Not a directory" == look_at_store(path).problem


def test_a_dump_is_what_a_store_writes(stored: Any) -> None:
    """Or the tests above would not test the store's files."""
    path, events = stored()
    assert b"".join(map(dump_line, events)) == path.read_bytes()
