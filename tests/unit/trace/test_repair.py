"""Repairing a folder: what a resolver would recover is recovered, the rest is left and named; doing it again changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.storage.jsonl import JsonlStorage
from cra.testing import SeededIds, VirtualClock
from cra.testing.traces import make_trace
from cra.trace import repair as repair_module
from cra.trace.event import Event
from cra.trace.recovery import Recovery
from cra.trace.repair import Living, Refusal, Repaired, repair
from cra.trace.ring_folder import DeadRing
from cra.trace.store_kind import store_kind
from tests.support.crashes import ATLAS, contents, crash, file_of, open_work


def repaired(data: Path, seed: int = 2, **options: Any) -> Repaired:
    """Repair a folder on a clock that stands still."""
    return repair(data, options.pop("rings", None), VirtualClock(), SeededIds(seed), **options)


def events_of(data: Path, session_id: str, types: Collection[str] | None = None) -> list[Event]:
    """The events of a session in a store."""
    storage = JsonlStorage(data)
    try:
        return list(storage.events(session_id, types=types))
    finally:
        storage.close()


NOTHING = Repaired(Recovery(), (), (), (), (), (), (), None)


def test_what_a_dead_process_recorded_is_stored_and_told(tmp_path: Path) -> None:
    """As when a resolver opens the folder: the same counts in the same event, in a session of its own that is whole."""
    data = tmp_path / "trace"
    session = crash(data)
    done = repaired(data)
    assert (1, 2, 1, 0, 0) == tuple(
        getattr(done.recovery, name) for name in ("rings", "sessions", "executions", "torn", "unreadable")
    )
    events = events_of(data, session)
    assert ["action.failed", "session.ended"] == [event.event_type for event in events[-2:]]
    assert cra.verify_chain(events).valid
    assert cra.replay(events, [ATLAS]).complete
    assert done.session_id is not None
    own = events_of(data, done.session_id)
    assert ["session.started", "runtime.started", "runtime.recovered", "session.ended"] == [e.event_type for e in own]
    assert done.recovery.payload() == own[2].payload
    assert cra.verify_chain(own).valid
    assert [] == os.listdir(tmp_path / "trace.ring")


def test_the_event_is_the_one_of_a_resolver(tmp_path: Path) -> None:
    """The same folder, once repaired and once opened: the runtime's sessions say the same."""
    told = []
    for name in ("a", "b"):
        crash(tmp_path / name)
    repair_id = repaired(tmp_path / "a").session_id
    with cra.Resolver(f"jsonl:///{tmp_path}/b") as resolver:
        opened_id = resolver.session_id
    for name, session_id in (("a", repair_id), ("b", opened_id)):
        assert session_id is not None
        told.append({event.event_type: event.payload for event in events_of(tmp_path / name, session_id)})
        assert told[-1]["session.ended"].pop("duration_ms") >= 0
    assert told[0] == told[1]


def test_a_second_time_there_is_nothing_to_do(tmp_path: Path) -> None:
    """And nothing is written."""
    crash(tmp_path / "trace")
    repaired(tmp_path / "trace")
    before = contents(tmp_path)
    assert NOTHING == repaired(tmp_path / "trace")
    assert before == contents(tmp_path)


def test_a_folder_without_rings_gets_none(tmp_path: Path) -> None:
    """Repairing does not make the folder of the rings."""
    (tmp_path / "trace").mkdir()
    assert NOTHING == repaired(tmp_path / "trace")
    assert ["trace"] == os.listdir(tmp_path)


def test_a_torn_tail_is_set_aside_as_opening_the_store_does(tmp_path: Path) -> None:
    """With the file that it is in now."""
    data = tmp_path / "trace"
    session = crash(data)
    with file_of(data, session).open("ab") as file:
        file.write(b'{"trace')
    (tail,) = repaired(data).tails
    assert (f"{session}.trace.jsonl", f"{session}.trace.jsonl.torn", 7) == (tail.file, tail.torn_file, tail.torn_bytes)
    assert cra.verify_chain(events_of(data, session)).valid


def test_the_living_are_left_alone(tmp_path: Path) -> None:
    """Their rings are named, and what they have open goes on; the dead beside them are recovered."""
    data = tmp_path / "trace"
    resolver, session = open_work(data, seed=5)
    (ring,) = (tmp_path / "trace.ring").glob("*.ring")
    with resolver:
        dead = crash(data)
        done = repaired(data, end_sessions=True)
        assert (Living(ring.name, os.getpid()),) == done.living
        session.resolve("a lamp")
    assert "session.ended" == events_of(data, dead)[-1].event_type
    assert 1 == done.recovery.rings


def test_what_cannot_be_read_is_set_aside_under_a_name_of_its_own(tmp_path: Path) -> None:
    """Never in place of what was set aside before."""
    data, rings = tmp_path / "trace", tmp_path / "trace.ring"
    data.mkdir()
    rings.mkdir()
    for number, name in enumerate(["1-a.ring.damaged", "1-a.ring.damaged-2", "1-a.ring", "1-a.defs"]):
        (rings / name).write_bytes(b"%d" % number)
    done = repaired(data, store="jsonl")
    assert (1, 1) == (done.recovery.rings, done.recovery.unreadable)
    assert ("1-a.defs.damaged", "1-a.ring.damaged-3") == done.set_aside
    assert {
        "1-a.ring.damaged": b"0",
        "1-a.ring.damaged-2": b"1",
        "1-a.ring.damaged-3": b"2",
        "1-a.defs.damaged": b"3",
    } == {path.name: path.read_bytes() for path in rings.iterdir()}


def left_over() -> str:
    """The name of a ring whose process is over."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(60)
    return f"{process.pid}-0123456789abcdef"


def test_what_is_left_over_is_removed_where_it_holds_nothing(tmp_path: Path) -> None:
    """A ring that was never finished, definitions of no ring; what holds more, or cannot be read, is set aside."""
    data, rings, name = tmp_path / "trace", tmp_path / "trace.ring", left_over()
    crash(data)
    (ring,) = rings.glob("*.ring")
    other = name.replace("0123", "ffff")
    (rings / f"{other}.part").write_bytes(ring.read_bytes())
    (rings / f"{name}.part").write_bytes(b"")
    (rings / f"{name}.defs").write_bytes(ring.with_suffix(".defs").read_bytes())
    (rings / f"{other}.defs.part").write_bytes(b"no definitions")
    done = repaired(data)
    assert sorted([f"{name}.part", f"{name}.defs"]) == sorted(done.removed)
    assert sorted([f"{other}.part.damaged", f"{other}.defs.part.damaged"]) == sorted(done.set_aside)
    assert () == done.refused


def test_definitions_of_a_ring_that_was_set_aside_go_with_it(tmp_path: Path) -> None:
    """Recovery was killed between the two; without them nobody can read the ring."""
    data, rings, name = tmp_path / "trace", tmp_path / "trace.ring", left_over()
    data.mkdir()
    rings.mkdir()
    (rings / f"{name}.ring.damaged").write_bytes(b"x")
    (rings / f"{name}.defs").write_bytes(b"cra-defs\1\0\0\0")
    done = repaired(data, store="jsonl")
    assert ((f"{name}.defs.damaged",), ()) == (done.set_aside, done.removed)


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's reason."""
    data, rings, name = tmp_path / "trace", tmp_path / "trace.ring", left_over()
    data.mkdir()
    rings.mkdir()
    (rings / f"{name}.part").write_bytes(b"")

    def unlink(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", unlink)
    (refusal,) = repaired(data, store="jsonl").refused
    assert Refusal(str(rings / f"{name}.part"), "it cannot be removed: Permission denied") == refusal


def test_a_ring_that_cannot_be_recovered_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named with the reason, and stays for the next time."""
    data, rings = tmp_path / "trace", tmp_path / "trace.ring"
    first = crash(data)
    (first_ring,) = rings.glob("*.ring")
    # not one that recovers the first
    storage = tmp_path / "other"
    second = crash(storage, seed=7)
    (second_ring,) = (tmp_path / "other.ring").glob("*.ring")
    for suffix in (".ring", ".defs"):
        second_ring.with_suffix(suffix).rename(rings / ("9-00" + suffix))
    remove = DeadRing.remove

    def refusing(self: DeadRing, *, damaged: bool = False) -> None:
        if self.path == first_ring:
            raise StorageError("it stays")
        remove(self, damaged=damaged)

    monkeypatch.setattr(DeadRing, "remove", refusing)
    done = repaired(data)
    assert ((Refusal(str(first_ring), "it stays"),), 1) == (done.refused, done.recovery.rings)
    assert {"session.ended"} == {events_of(data, each)[-1].event_type for each in (first, second)}
    assert sorted([first_ring.name, first_ring.with_suffix(".defs").name]) == sorted(os.listdir(rings))


def test_a_ring_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver refuses to start over it; here the rest is repaired."""
    data = tmp_path / "trace"
    crash(data)
    (ring,) = (tmp_path / "trace.ring").glob("*.ring")
    really = os.open

    def refusing(path: Any, flags: int, *arguments: int) -> int:
        if path == ring and flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return really(path, flags, *arguments)

    monkeypatch.setattr(os, "open", refusing)
    (refusal,) = repaired(data).refused
    assert (str(ring), f"the ring {str(ring)!r} cannot be opened: Permission denied") == (refusal.file, refusal.message)
    with pytest.raises(StorageError, match="cannot be opened: Permission denied"):
        cra.Resolver(f"jsonl:///{data}")


def test_rings_that_cannot_be_listed_are_named(tmp_path: Path) -> None:
    """The store is repaired all the same."""
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace.ring").write_bytes(b"")
    refusal = Refusal(str(tmp_path / "trace.ring"), "the folder cannot be listed: Not a directory")
    assert (refusal,) == repaired(tmp_path / "trace").refused
    assert (refusal,) == repaired(tmp_path / "trace", store="jsonl").refused


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_a_store_that_cannot_be_opened_is_an_error(kind: str, tmp_path: Path) -> None:
    """It says which file is in the way. A pipe is not waited for."""
    path = tmp_path / "trace" / "00000000-0000-7000-8000-000000000000.trace.jsonl"
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=path.name):
        repaired(tmp_path / "trace")


def test_a_store_that_cannot_be_listed_any_more_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it was looked at, and before it is opened."""
    storage = JsonlStorage(tmp_path / "trace")
    storage.append(make_trace([("a.b", {})]))
    storage.close()

    def refuse(path: Any = ".") -> list[str]:
        raise PermissionError(13, "Permission denied")

    def look_and_refuse(*arguments: Any) -> Any:
        found = store_kind(*arguments)
        monkeypatch.setattr(os, "listdir", refuse)
        return found

    monkeypatch.setattr(repair_module, "store_kind", look_and_refuse)
    with pytest.raises(StorageError, match="trace cannot be listed: Permission denied; check the disk"):
        repaired(tmp_path / "trace")


def test_sessions_that_no_ring_knows_are_ended_on_request(tmp_path: Path) -> None:
    """Not otherwise; not one that has ended, that does not verify, or that a process has open."""
    data = tmp_path / "trace"
    storage = JsonlStorage(data)
    approved = {"action_id": "a.b", "resolution_id": "r"}
    for number in range(1, 5):
        storage.append(make_trace([("session.started", {}), ("action.approved", approved)], session=number))
    ended = make_trace([("session.started", {}), ("session.ended", {"reason": "completed"})], session=5)
    storage.append(ended)
    storage.close()
    ids = [make_trace([("x.y", {})], session=number)[0].session_id for number in range(1, 5)]
    path = file_of(data, ids[3])
    path.write_bytes(path.read_bytes().replace(b'"action_id":"a.b"', b'"action_id":"a.c"'))
    writer = JsonlStorage(data)
    writer.append(make_trace([("session.started", {}), ("action.approved", approved), ("a.b", {})], session=3)[2:])
    assert () == repaired(data).ended
    done = repaired(data, end_sessions=True)
    assert (tuple(ids[:2]), 2, 2, 0) == (
        done.ended,
        done.recovery.sessions,
        done.recovery.executions,
        done.recovery.rings,
    )
    for session_id in ids[:2]:
        events = events_of(data, session_id)
        assert ["action.failed", "session.ended"] == [event.event_type for event in events[-2:]]
        assert cra.verify_chain(events).valid
    writer.close()
    assert done.session_id is not None
    assert ["runtime.recovered"] == [e.event_type for e in events_of(data, done.session_id, ["runtime.recovered"])]
    third = repaired(data, end_sessions=True)
    assert (ids[2],) == third.ended, "its writer is gone now"
    assert NOTHING == repaired(data, end_sessions=True)


def test_a_session_that_was_ended_without_its_ring_loses_nothing(tmp_path: Path) -> None:
    """Somebody did not say where the rings are. What waited there comes behind the end, once, whatever is interrupted."""
    data, rings = tmp_path / "trace", tmp_path / "rings"
    session = crash(data, ring=rings)
    ended = repaired(data, end_sessions=True)
    assert session in ended.ended
    for seed in (3, 4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DeadRing, "remove", lambda self, damaged=False: self.leave())
            repaired(data, seed=seed, rings=rings)
    repaired(data, seed=5, rings=rings)
    events = events_of(data, session)
    assert cra.verify_chain(events).valid
    assert len(events) == len({event.event_id for event in events})
    types = [event.event_type for event in events]
    assert [2, 2, 2] == [
        types.count(each) for each in ("carp.resolution.completed", "action.approved", "session.ended")
    ]
    assert [] == os.listdir(rings)


def test_no_session_is_ended_while_a_ring_could_not_be_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have more of the session."""
    data = tmp_path / "trace"
    crash(data)
    monkeypatch.setattr(DeadRing, "remove", lambda self, damaged=False: self.leave())
    done = repaired(data, end_sessions=True)
    refusal = Refusal(str(data), "no session is ended while there are rings that could not be recovered")
    assert ((), (refusal,)) == (done.ended, done.refused)


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    """A chain cannot go on from there; the ring stays."""
    data = tmp_path / "trace"
    session = crash(data)
    path = file_of(data, session)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[-1] = lines[-1].replace(b'"timestamp":"2026-01', b'"timestamp":"2026-13', 1)
    path.write_bytes(b"".join(lines))
    assert "'2026-13-01T12:00:00.000000Z' is no timestamp" in repaired(data).refused[0].message
    assert 1 == len(list((tmp_path / "trace.ring").glob("*.ring")))


def test_leftovers_that_change_meanwhile_are_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was a file when it was looked at may be a pipe by now."""
    data, rings, name = tmp_path / "trace", tmp_path / "trace.ring", left_over()
    data.mkdir()
    rings.mkdir()
    os.mkfifo(rings / f"{name}.part")
    look = repair_module.look_at_rings(rings)
    with monkeypatch.context() as patched:
        patched.setattr(
            repair_module,
            "look_at_rings",
            lambda folder: type(look)(look.folder, leftovers=(f"{name}.part",), damaged=()),
        )
        repaired(data, store="jsonl")
    assert [f"{name}.part.damaged"] == os.listdir(rings)
