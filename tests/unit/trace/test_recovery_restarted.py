"""Recovery after the machine has started again: what is in a ring may be whole, of an earlier time, or have holes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.reference.records import encode_template
from cra.reference.ring import DATA_OFFSET
from cra.reference.ring_scan import RingRecord
from cra.storage import boot
from cra.storage.memory import MemoryStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace.event import Event
from cra.trace.recovery import recover
from cra.trace.restarted import ends_of_runs
from cra.trace.ring_folder import RingFolder
from tests.support.records import DIGEST, definition, resolve, template
from tests.support.records import events as record
from tests.support.stores import PLAIN, RESOLVES, kill

STORES = ("journal", "jsonl", "sqlite")
SECTOR = 512


@pytest.fixture
def restart(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Has the machine start again."""
    return lambda: monkeypatch.setattr(boot, "boot_id", lambda: b"another start..!")


def recovered(kind: str, path: Path, session: str) -> tuple[list[Event], dict[str, Any]]:
    """The session's events once the store was opened, and what the runtime says of it."""
    backend = PLAIN[kind](path)
    with closing(cra.Resolver(backend)) as resolver:
        own = resolver.trace(resolver.session_id)
        told = [event.payload for event in own if event.event_type == "runtime.recovered"]
        events = list(backend.events(session))
        assert cra.verify_chain(events).valid
        return events, (told or [{}])[0]


def resolutions(events: list[Event]) -> int:
    return sum(event.event_type == "carp.resolution.completed" for event in events)


def wipe(path: Path, sector: int, sectors: int = 1) -> None:
    """Have a part of the ring's data be zeros, as what was never written back."""
    (ring,) = path.with_name(path.name + ".ring").glob("*.ring")
    with open(ring, "r+b") as file:
        file.seek(DATA_OFFSET + sector * SECTOR)
        file.write(bytes(sectors * SECTOR))


def left_in(path: Path) -> list[str]:
    """What is set aside of rings."""
    return [name for name in os.listdir(path.with_name(path.name + ".ring")) if "damaged" in name]


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("stored", [True, False], ids=["goes on", "begins there"])
def test_a_ring_that_is_whole_loses_nothing(
    kind: str, stored: bool, tmp_path: Path, restart: Callable[[], None]
) -> None:
    """A process was killed and the machine was shut down as it should be: what is in the ring goes on where the store ends."""
    session = kill(kind, tmp_path / "store", stored=stored)
    restart()
    events, told = recovered(kind, tmp_path / "store", session)
    assert RESOLVES + stored == resolutions(events)
    assert (0, [], []) == (told["torn"], left_in(tmp_path / "store"), os.listdir(tmp_path / "store.ring"))


@pytest.mark.parametrize("kind", STORES)
def test_a_ring_of_an_earlier_time_stores_nothing_twice(kind: str, tmp_path: Path, restart: Callable[[], None]) -> None:
    """Its removal was lost, and its latest pages were: all that it has is in the store, which has more."""
    session = kill(kind, tmp_path / "store")
    rings = tmp_path / "store.ring"
    shutil.copytree(rings, tmp_path / "earlier")
    before, _ = recovered(kind, tmp_path / "store", session)
    rings.rmdir()
    shutil.copytree(tmp_path / "earlier", rings)
    wipe(tmp_path / "store", 6, 100)
    restart()
    after, _ = recovered(kind, tmp_path / "store", session)
    assert before == after


@pytest.mark.parametrize("kind", STORES)
def test_what_is_behind_a_hole_is_set_aside(kind: str, tmp_path: Path, restart: Callable[[], None]) -> None:
    """What comes before it is stored, byte for byte as it would have been; of the rest nobody knows what it goes on behind."""
    session = kill(kind, tmp_path / "store")
    shutil.copytree(tmp_path, tmp_path.with_name(tmp_path.name + "-whole"))
    whole, _ = recovered(kind, tmp_path.with_name(tmp_path.name + "-whole") / "store", session)
    wipe(tmp_path / "store", 6)
    restart()
    events, told = recovered(kind, tmp_path / "store", session)
    assert 1 < resolutions(events) < RESOLVES
    assert whole[: len(events) - 1] == events[:-1]
    assert "session.ended" == events[-1].event_type
    assert told["torn"] > 0
    assert ["defs", "ring"] == sorted(name.split(".")[1] for name in left_in(tmp_path / "store"))


@pytest.mark.parametrize("kind", STORES)
def test_what_does_not_go_on_where_the_store_ends_is_set_aside(
    kind: str, tmp_path: Path, restart: Callable[[], None]
) -> None:
    """The record that the store ends with is gone from the ring: what comes behind it may have lacked something before."""
    session = kill(kind, tmp_path / "store")
    wipe(tmp_path / "store", 0, 4)
    restart()
    events, told = recovered(kind, tmp_path / "store", session)
    assert 1 == resolutions(events)
    assert told["torn"] > 0
    assert left_in(tmp_path / "store")


def test_a_session_that_was_deleted_does_not_come_back(tmp_path: Path, restart: Callable[[], None]) -> None:
    """Of what was freed in a ring, nothing begins a session again."""
    path = tmp_path / "store"
    session = kill("jsonl", path)
    (file,) = path.glob(f"{session}*")
    file.unlink()
    restart()
    events, _ = recovered("jsonl", path, session)
    assert [] == events


def test_a_journal_that_has_nothing_is_given_nothing_but_a_beginning(
    tmp_path: Path, restart: Callable[[], None]
) -> None:
    """What the ring had first is gone with its page, and nobody knows what the rest goes on behind."""
    session = kill("journal", tmp_path / "store", stored=False)
    wipe(tmp_path / "store", 0, 4)
    restart()
    events, told = recovered("journal", tmp_path / "store", session)
    assert [] == events
    assert told["torn"] > 0
    assert left_in(tmp_path / "store")


def test_what_follows_a_record_that_says_nothing_is_not_given(tmp_path: Path, restart: Callable[[], None]) -> None:
    """It would follow something else than it did; nor does a definition say anything whose payload is no canonical JSON."""
    rings = RingFolder(tmp_path / "ring")
    file = rings.create(65_536)
    unsound = encode_template(9, "allow", 1, 0, 3600, DIGEST, ["{ }"], [])
    file.definitions.define_template(9, unsound)
    for data in (record(("session.started", {})), resolve(n=1, number=9), template(), resolve(n=2)):
        assert file.ring.put(data)
    file.leave()
    restart()
    store = MemoryStorage()
    found = recover(rings, [store], VirtualClock(), SeededIds(3))
    assert (1, 4) == (found.rings, found.records)
    assert found.torn > 2
    assert ["session.started", "session.ended"] == [each.event_type for each in store.events(definition(1)[0])]


def test_a_run_ends_where_a_record_does_not_follow() -> None:
    """By its position: behind the last one that follows the one before it."""
    records = [RingRecord(0, b"x" * 8), RingRecord(24, b"x"), RingRecord(56, b""), RingRecord(72, b"")]
    assert [2, 2, 4, 4] == ends_of_runs(records)
    assert [] == ends_of_runs([])
