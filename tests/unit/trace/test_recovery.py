"""Recovery: what a dead process recorded is stored once, in its place, and what it left open is closed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.hotpath import Expander, canonical_json, encode_events, format_uuid
from cra.storage.jsonl import JsonlStorage
from cra.storage.memory import MemoryStorage
from cra.storage.null import NullStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace.closing import DIED_WHILE_IT_RAN
from cra.trace.event import Event
from cra.trace.recovery import recover
from cra.trace.ring_folder import DeadRing, RingFolder
from tests.support.crashes import ATLAS, die


class Dying(JsonlStorage):
    """Stores the first `lives` events that it is given, then nothing, as if the process had died there."""

    def __init__(self, folder: Path, lives: int) -> None:
        super().__init__(folder)
        self.lives = lives

    def append(self, batch: Any) -> None:
        events = list(batch)[: self.lives]
        self.lives -= len(events)
        if events:
            super().append(events)
        if len(events) < len(batch):
            raise OSError("dead")


def work(resolver: cra.Resolver) -> str:
    """A session that resolves and executes, and one that is over."""
    resolver.load_atlas(ATLAS)
    resolver.register("a.do0", dict)
    with resolver.create_session("bot", "short") as short:
        short.resolve("a lamp")
    session = resolver.create_session("bot", "work")
    for n in range(5):
        resolution = session.resolve(f"lamp {n}: ünïcode")
        session.execute("a.do0", {}, resolution=resolution)
    return session.session_id


def events_of(folder: Path) -> dict[str, list[Event]]:
    """All events in a folder, by session."""
    storage = JsonlStorage(folder)
    try:
        return {session: list(storage.events(session)) for session in storage.sessions()}
    finally:
        storage.close()


@pytest.fixture
def lost(tmp_path: Path) -> Callable[[int], str]:
    """A resolver that died when this many events were stored; the session it had open."""

    def make(lives: int) -> str:
        storage = Dying(tmp_path / "trace", lives)
        resolver = cra.Resolver(storage, ring=tmp_path / "ring", clock=VirtualClock(), ids=SeededIds(1))
        session = work(resolver)
        with pytest.raises(StorageError):
            resolver.flush()
        die(resolver)
        return session

    return make


@pytest.fixture
def whole(tmp_path: Path) -> list[Event]:
    """The events of the open session, as a process has them that does not die."""
    with cra.Resolver(f"jsonl:///{tmp_path}/whole", clock=VirtualClock(), ids=SeededIds(1)) as resolver:
        session = work(resolver)
        return resolver.trace(session)


@pytest.mark.parametrize("lives", [0, 1, 3, 4, 5, 9, 10, 11, 12, 13, 20, 21, 22, 30, 40, 50])
def test_what_was_recorded_is_stored_once_wherever_the_process_died(
    lives: int, lost: Callable[[int], str], whole: list[Event], tmp_path: Path
) -> None:
    """The same bytes as without the crash, in the middle of a record, too; nothing twice, no gap; then the session is closed."""
    session = lost(lives)
    with cra.Resolver(f"jsonl:///{tmp_path}/trace", ring=tmp_path / "ring") as resolver:
        events = resolver.trace(session)
        (recovered,) = [e.payload for e in resolver.trace(resolver.session_id) if "runtime.recovered" == e.event_type]
    assert whole == events[: len(whole)]
    assert ["session.ended"] == [event.event_type for event in events[len(whole) :]]
    assert {"reason": "error", "action_count": 5} == {
        name: events[-1].payload[name] for name in ("reason", "action_count")
    }
    for chain in events_of(tmp_path / "trace").values():
        assert cra.verify_chain(chain).valid
    replay = cra.replay(events, [ATLAS])
    assert (True, True, 5) == (replay.valid, replay.complete, replay.reproduced)
    assert (1, 2, 0, 0) == tuple(recovered[name] for name in ("rings", "sessions", "torn", "executions"))
    assert [] == os.listdir(tmp_path / "ring")


def test_recovery_that_is_interrupted_starts_over(
    lost: Callable[[int], str], whole: list[Event], tmp_path: Path
) -> None:
    """A store that takes part of it and fails leaves the ring for the next start, which stores the rest and nothing twice."""
    session = lost(7)
    for lives in (0, 2, 11):
        with pytest.raises((StorageError, OSError)):
            cra.Resolver(Dying(tmp_path / "trace", lives), ring=tmp_path / "ring")
        assert 2 == len(os.listdir(tmp_path / "ring"))
    with cra.Resolver(f"jsonl:///{tmp_path}/trace", ring=tmp_path / "ring") as resolver:
        assert whole == resolver.trace(session)[: len(whole)]
    assert all(cra.verify_chain(chain).valid for chain in events_of(tmp_path / "trace").values())


@pytest.mark.parametrize("order", [1, -1], ids=["memory first", "memory last"])
def test_a_store_that_begins_anew_does_not_decide_what_another_has(order: int, tmp_path: Path) -> None:
    """What is in the ring goes on behind what the lasting store has, and the session is closed there."""
    lasting = Dying(tmp_path / "trace", 10**9)
    resolver = cra.Resolver([MemoryStorage(), lasting][::order], ring=tmp_path / "ring")
    session = work(resolver)
    resolver.flush()  # and so freed in the ring
    lasting.lives = 0
    resolver._runtime.sessions[session].resolve("one more")
    with pytest.raises(StorageError):
        resolver.flush()
    die(resolver)
    urls = ["memory:", f"jsonl:///{tmp_path}/trace"][::order]
    with cra.Resolver(urls, ring=tmp_path / "ring") as after:
        memory = next(backend for backend in after._backends if isinstance(backend, MemoryStorage))
        assert [] == list(memory.events(session)), "it never had its beginning"
    events = list(JsonlStorage(tmp_path / "trace").events(session))
    assert "one more" in [event.payload.get("goal") for event in events]
    assert "session.ended" == events[-1].event_type
    assert cra.verify_chain(events).valid


def test_closing_in_two_stores_may_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first was closed with, the second gets with the next start: the same events, once."""
    resolver = cra.Resolver([JsonlStorage(tmp_path / name) for name in "ab"], ring=tmp_path / "ring")
    session = work(resolver)
    resolver.flush()
    die(resolver)
    urls = [f"jsonl:///{tmp_path}/{name}" for name in "ab"]
    append = JsonlStorage.append

    def refuse(self: JsonlStorage, batch: Any) -> None:
        if self.folder.name == "b":
            raise StorageError("injected")
        append(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(JsonlStorage, "append", refuse)
        with pytest.raises(StorageError, match="injected"):
            cra.Resolver(urls, ring=tmp_path / "ring")
    cra.Resolver(urls, ring=tmp_path / "ring").close()
    first, second = (list(JsonlStorage(tmp_path / name).events(session)) for name in "ab")
    assert first == second
    assert 1 == [event.event_type for event in first].count("session.ended")
    assert cra.verify_chain(first).valid


def test_a_ring_that_cannot_be_read_just_now_is_left_alone(
    lost: Callable[[int], str], whole: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That too many files are open says nothing of what is in it: the start is refused, and the next one finds it."""
    session = lost(7)

    def refuse(path: str) -> None:
        raise StorageError(f"cannot read {path}") from OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("cra.trace.ring_folder.read_definitions", refuse)
        with pytest.raises(StorageError, match="cannot read"):
            cra.Resolver(f"jsonl:///{tmp_path}/trace", ring=tmp_path / "ring")
    with cra.Resolver(f"jsonl:///{tmp_path}/trace", ring=tmp_path / "ring") as resolver:
        assert whole == resolver.trace(session)[: len(whole)]


def test_two_stores_each_get_what_they_lack(tmp_path: Path) -> None:
    """However far each of them had got."""
    stores = [Dying(tmp_path / "a", 6), Dying(tmp_path / "b", 23)]
    resolver = cra.Resolver(stores, ring=tmp_path / "ring", clock=VirtualClock(), ids=SeededIds(1))
    session = work(resolver)
    with pytest.raises(StorageError):
        resolver.flush()
    die(resolver)
    with cra.Resolver([f"jsonl:///{tmp_path}/a", f"jsonl:///{tmp_path}/b"], ring=tmp_path / "ring"):
        pass
    a, b = events_of(tmp_path / "a"), events_of(tmp_path / "b")
    assert a == b
    assert cra.verify_chain(a[session]).valid


def test_an_execution_that_was_running_is_closed_as_unknown(tmp_path: Path) -> None:
    """Its outcome is not known to anybody; it is said in its own span, before the session ends."""
    resolver = cra.Resolver(f"jsonl:///{tmp_path}/trace")
    resolver.load_atlas(ATLAS)
    died: list[str] = []

    def dying() -> None:
        resolver.flush()
        die(resolver)
        died.append("here")

    resolver.register("a.do0", dying, inline=True)
    session = resolver.create_session("bot", "work")
    with pytest.raises(cra.InternalError):
        session.execute("a.do0", {}, resolution=session.resolve("x"))
    assert ["here"] == died
    with cra.Resolver(f"jsonl:///{tmp_path}/trace") as after:
        events = after.trace(session.session_id)
    approved = next(event for event in events if event.event_type == "action.approved")
    failed, ended = events[-2:]
    assert ("action.failed", "OUTCOME_UNKNOWN", "unknown") == (
        failed.event_type,
        failed.payload["error_code"],
        failed.payload["effect"],
    )
    assert (approved.span_id, "a.do0") == (failed.span_id, failed.payload["action_id"])
    assert ("session.ended", "error", 1) == (ended.event_type, ended.payload["reason"], ended.payload["action_count"])
    assert cra.verify_chain(events).valid
    assert cra.replay(events, [ATLAS]).valid


def test_an_execution_whose_approval_was_redacted_is_closed_with_what_is_left(tmp_path: Path) -> None:
    """Its span says which one it is, whatever `redact` has left of it; one that ended is not closed again."""

    def redact(event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
        return {} if event_type.startswith("action.") else payload

    resolver = cra.Resolver(f"jsonl:///{tmp_path}/trace", redact=redact)
    resolver.load_atlas(ATLAS)
    resolver.register("a.do0", dict)
    resolver.register("a.do1", lambda: die(resolver), inline=True)
    session = resolver.create_session("bot", "work")
    session.execute("a.do0", {}, resolution=session.resolve("x"))
    with pytest.raises(cra.InternalError):
        session.execute("a.do1", {}, resolution=session.resolve("x"))
    with cra.Resolver(f"jsonl:///{tmp_path}/trace") as after:
        events = after.trace(session.session_id)
    assert ["action.executed", "action.failed"] == [
        event.event_type for event in events if event.event_type in ("action.executed", "action.failed")
    ]
    assert {"error_code", "error_message", "effect", "execution_id"} == events[-2].payload.keys()
    assert 2 == events[-1].payload["action_count"]


def test_a_ring_is_beside_the_store_and_gone_after_a_clean_end(tmp_path: Path) -> None:
    """`recorded` is to be had then: the record is in a file when the call returns."""
    with cra.Resolver(f"jsonl:///{tmp_path}/trace") as resolver:
        assert {".ring", ".defs"} == {path.suffix for path in (tmp_path / "trace.ring").iterdir()}
        resolver.create_session("bot", "work")
        resolver.flush("recorded")
    assert [] == os.listdir(tmp_path / "trace.ring")


def test_what_a_close_could_not_store_is_stored_by_the_next_start(tmp_path: Path) -> None:
    """It is said where it waits; nothing is lost."""
    resolver = cra.Resolver(Dying(tmp_path / "trace", 4), ring=tmp_path / "ring")
    session = work(resolver)
    with pytest.raises(StorageError, match=r"what is left waits in '.*\.ring' for the next start"):
        resolver._runtime.recorder.close(timeout=0.05)
    with cra.Resolver(f"jsonl:///{tmp_path}/trace", ring=tmp_path / "ring") as after:
        events = after.trace(session)
    assert cra.verify_chain(events).valid
    assert 5 == sum(event.event_type == "carp.resolution.completed" for event in events)


def test_a_damaged_record_is_told_and_its_ring_kept(lost: Callable[[int], str], tmp_path: Path) -> None:
    """The rest is recovered, as far as the chain goes; what cannot be read is never destroyed."""
    session = lost(4)
    (path,) = (tmp_path / "ring").glob("*.ring")
    image = bytearray(path.read_bytes())
    place = image.rindex("lamp 2: ünïcode".encode())
    image[place] ^= 1
    path.write_bytes(image)
    with cra.Resolver(f"jsonl:///{tmp_path}/trace", ring=tmp_path / "ring") as resolver:
        (recovered,) = [e.payload for e in resolver.trace(resolver.session_id) if "runtime.recovered" == e.event_type]
        events = resolver.trace(session)
    assert 1 == recovered["torn"]
    assert cra.verify_chain(events).valid
    assert 4 == sum(event.event_type == "carp.resolution.completed" for event in events)
    assert {".damaged"} == {file.suffix for file in (tmp_path / "ring").iterdir()}


def test_without_a_store_to_read_what_a_ring_holds_is_let_go(tmp_path: Path) -> None:
    """`null:` keeps nothing, so there is nothing to go on from; the next ring is a new one."""
    resolver = cra.Resolver(NullStorage(), ring=tmp_path / "ring")
    work(resolver)
    die(resolver)
    with cra.Resolver("null:", ring=tmp_path / "ring"):
        assert 2 == len(os.listdir(tmp_path / "ring"))
    assert [] == os.listdir(tmp_path / "ring")


def recovered(resolver: cra.Resolver) -> dict[str, Any]:
    """What the runtime's own trace says of the recovery."""
    (found,) = [e.payload for e in resolver.trace(resolver.session_id) if "runtime.recovered" == e.event_type]
    return found


def test_a_ring_that_cannot_be_read_is_set_aside_and_holds_up_no_other(
    lost: Callable[[int], str], whole: list[Event], tmp_path: Path
) -> None:
    """It is counted, and kept as it is: a later version, or a person, may read it."""
    session = lost(0)
    image = b"no ring at all" * 10_000
    (tmp_path / "ring" / "1-a.ring").write_bytes(image)
    with cra.Resolver(f"jsonl:///{tmp_path}/trace", ring=tmp_path / "ring") as resolver:
        found = recovered(resolver)
        assert whole == resolver.trace(session)[: len(whole)]
    assert (2, 1, 2) == tuple(found[name] for name in ("rings", "unreadable", "sessions"))
    assert ["1-a.ring.damaged"] == os.listdir(tmp_path / "ring")
    assert image == (tmp_path / "ring" / "1-a.ring.damaged").read_bytes()


@pytest.mark.parametrize(
    "record",
    [b"no record at all", encode_events(999, 1 << 80, 0, (("action.requested", b"{}"),))],
    ids=["ill-formed", "of-nobody"],
)
def test_a_record_that_cannot_become_events_is_told_and_its_ring_kept(
    record: bytes, whole: list[Event], tmp_path: Path
) -> None:
    """Whole by its checksum, and yet not what it should be: the others are stored, and what it was stays to be looked at."""
    resolver = cra.Resolver(
        Dying(tmp_path / "trace", 0), ring=tmp_path / "ring", clock=VirtualClock(), ids=SeededIds(1)
    )
    session = work(resolver)
    assert resolver._runtime.recorder.ring.put(record)
    with pytest.raises(StorageError):
        resolver.flush()
    die(resolver)
    with cra.Resolver(f"jsonl:///{tmp_path}/trace", ring=tmp_path / "ring") as after:
        assert 1 == recovered(after)["torn"]
        events = after.trace(session)
    assert whole == events[: len(whole)]
    assert cra.verify_chain(events).valid
    assert {".damaged"} == {file.suffix for file in (tmp_path / "ring").iterdir()}


def test_a_long_ring_is_recovered_in_parts_of_which_a_store_may_lack_none(tmp_path: Path) -> None:
    """More records than are expanded at once, in stores that are far apart: each gets what it lacks, once."""

    def work_long(resolver: cra.Resolver) -> str:
        resolver.load_atlas(ATLAS)
        session = resolver.create_session("bot", "work")
        for n in range(200):
            session.resolve(f"lamp {n}")
        return session.session_id

    with cra.Resolver(f"jsonl:///{tmp_path}/whole", clock=VirtualClock(), ids=SeededIds(1)) as undying:
        whole = undying.trace(work_long(undying))
    stores = [Dying(tmp_path / "a", len(whole) // 2), Dying(tmp_path / "b", 0)]
    resolver = cra.Resolver(stores, ring=tmp_path / "ring", clock=VirtualClock(), ids=SeededIds(1))
    session = work_long(resolver)
    with pytest.raises(StorageError):
        resolver.flush()
    die(resolver)
    with cra.Resolver([f"jsonl:///{tmp_path}/a", f"jsonl:///{tmp_path}/b"], ring=tmp_path / "ring"):
        pass
    a, b = events_of(tmp_path / "a"), events_of(tmp_path / "b")
    assert a == b
    assert whole == a[session][:-1]
    assert a[session][-1].event_type == "session.ended"


def test_a_repeated_execution_is_no_open_one(tmp_path: Path) -> None:
    """Its approval names the execution whose outcome it repeats: nothing is unknown about it, and it was no further action."""
    resolver = cra.Resolver(f"jsonl:///{tmp_path}/trace")
    resolver.load_atlas(ATLAS)
    resolver.register("a.do0", dict)
    session = resolver.create_session("bot", "work")
    resolution = session.resolve("x")
    for replayed in (False, True):
        outcome = session.execute("a.do0", {}, resolution=resolution, idempotency_key="once")
        assert replayed == outcome.replayed
    resolver.flush()
    die(resolver)
    with cra.Resolver(f"jsonl:///{tmp_path}/trace") as after:
        assert 0 == recovered(after)["executions"]
        events = after.trace(session.session_id)
    assert 2 == sum(event.event_type == "action.approved" for event in events)
    assert not [event for event in events if event.event_type == "action.failed"]
    assert ("error", 1) == (events[-1].payload["reason"], events[-1].payload["action_count"])


def dying_at(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """The next recovery dies where it would remove the ring, or where it has closed an execution and not yet the session."""
    if place == "remove":

        def remove(self: DeadRing, *, damaged: bool = False) -> None:
            raise StorageError("dead")

        monkeypatch.setattr(DeadRing, "remove", remove)
        return
    append = JsonlStorage.append

    def first_only(self: JsonlStorage, batch: Any) -> None:
        events = list(batch)
        if [event.event_type for event in events] == ["action.failed", "session.ended"]:
            append(self, events[:1])
            raise StorageError("dead")
        append(self, events)

    monkeypatch.setattr(JsonlStorage, "append", first_only)


@pytest.mark.parametrize("place", ["remove", "close"])
def test_a_recovery_that_dies_while_it_closes_is_finished_by_the_next(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it closed is no record of the ring; nothing is stored a second time behind it."""
    resolver = cra.Resolver(f"jsonl:///{tmp_path}/trace")
    resolver.load_atlas(ATLAS)
    resolver.register("a.do0", lambda: die(resolver), inline=True)
    session = resolver.create_session("bot", "work")
    with pytest.raises(cra.InternalError):
        session.execute("a.do0", {}, resolution=session.resolve("x"))
    with monkeypatch.context() as dying:
        dying_at(dying, place)
        with pytest.raises(StorageError, match="dead"):
            cra.Resolver(f"jsonl:///{tmp_path}/trace")
    with cra.Resolver(f"jsonl:///{tmp_path}/trace") as after:
        events = after.trace(session.session_id)
    types = [event.event_type for event in events]
    assert [1, 1] == [types.count(each) for each in ("carp.resolution.completed", "session.ended")]
    assert "session.ended" == types[-1]
    assert cra.verify_chain(events).valid
    assert cra.replay(events, [ATLAS]).valid


def ids_of(number: int) -> tuple[str, str, str]:
    """The ids of session number n."""
    base = number << 80 | 0x7 << 76 | 0b10 << 62
    return format_uuid(base), format_uuid(base + 1), format_uuid(base + 2)


def test_records_that_are_none_are_counted_and_kept(tmp_path: Path) -> None:
    """Bytes that are no record, a session under two numbers, a session that nothing defined: told, set aside, and the rest
    recovered."""
    file = RingFolder(tmp_path / "ring").create(65_536)
    started = (("session.started", b"{}"),)
    for number in (1, 2):
        file.definitions.define_session(number, ids_of(1))
        file.ring.put(encode_events(number, number << 20, 1, started))
    file.ring.put(b"\x09 is no kind of record")
    file.ring.put(encode_events(7, 7 << 20, 1, started))
    file.ring.put(encode_events(3, 3 << 20, 1, started, define=ids_of(3)))
    file.leave()
    storage = JsonlStorage(tmp_path / "trace")
    recovery = recover(RingFolder(tmp_path / "ring"), [storage], VirtualClock(), SeededIds(1))
    storage.close()
    assert (1, 4, 2) == (recovery.rings, recovery.torn, recovery.sessions)
    found = events_of(tmp_path / "trace")
    assert {ids_of(1)[0], ids_of(3)[0]} == found.keys()
    for chain in found.values():
        assert ["session.started", "session.ended"] == [event.event_type for event in chain]
        assert cra.verify_chain(chain).valid
    assert {".damaged"} == {path.suffix for path in (tmp_path / "ring").iterdir()}


@pytest.mark.parametrize("executions", [0, 1, 20])
def test_what_was_closed_before_anything_was_stored_does_not_hide_the_ring(executions: int, tmp_path: Path) -> None:
    """However much of it there is: the records come behind it."""
    storage = JsonlStorage(tmp_path / "trace")
    define = ids_of(1)
    closed = [
        *[("action.failed", {"error_message": DIED_WHILE_IT_RAN})] * executions,
        ("session.ended", {"reason": "error"}),
    ]
    expander = Expander()
    events = [(kind, canonical_json(payload)) for kind, payload in closed]
    expander.feed(encode_events(1, 1 << 20, 1, events, define=define))
    batch = expander.take(0)
    assert batch is not None
    storage.append(batch)
    file = RingFolder(tmp_path / "ring").create(65_536)
    file.definitions.define_session(1, define)
    file.ring.put(encode_events(1, 9 << 20, 2, (("a.b", b"{}"),)))
    file.leave()
    recover(RingFolder(tmp_path / "ring"), [storage], VirtualClock(), SeededIds(1))
    storage.close()
    (chain,) = events_of(tmp_path / "trace").values()
    assert cra.verify_chain(chain).valid
    assert ["a.b", "session.ended"] == [event.event_type for event in chain[len(closed) :]]


@pytest.mark.parametrize("payload", [b'{"x":oops}', b'{"x":1.00}', b'{"x": 123}'], ids=["no JSON", "1.00", "a space"])
@pytest.mark.parametrize("store", ["memory:", "jsonl", "journal", "sqlite"])
def test_a_record_whose_payload_is_not_canonical_is_kept_out_of_the_store(
    payload: bytes, store: str, tmp_path: Path
) -> None:
    """No process writes one. It is told, its ring is kept, and what is stored of the others verifies."""
    folder = RingFolder(tmp_path / "ring")
    ring = folder.create(2**16)
    define = tuple(format_uuid(SeededIds(n).draw(1)) for n in range(3))
    drafts = [("session.started", b"{}"), ("a.b", b'{"x":1234}')]
    ring.definitions.define_session(1, define)
    for n, draft in enumerate(drafts):
        record = encode_events(1, n * 10, 0, [draft], define=define)
        assert ring.ring.put(record.replace(b'{"x":1234}', payload))
    ring.leave()
    url = store if store == "memory:" else f"{store}:///{tmp_path}/store"
    with cra.Resolver(url, ring=tmp_path / "ring", clock=VirtualClock(), ids=SeededIds(9)) as resolver:
        (recovered,) = [e.payload for e in resolver.trace(resolver.session_id) if "runtime.recovered" == e.event_type]
        events = resolver.trace(define[0])
    assert (1, 2, 1) == tuple(recovered[name] for name in ("rings", "records", "torn"))
    assert ["session.started", "session.ended"] == [event.event_type for event in events]
    assert cra.verify_chain(events).valid
    assert all(".damaged" in name for name in os.listdir(tmp_path / "ring"))
    assert os.listdir(tmp_path / "ring")
