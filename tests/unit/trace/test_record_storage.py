"""A recorder over a backend that takes records: nothing is expanded for it, and everything adds up and reads as elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.storage.journal.backend import JournalStorage
from cra.storage.memory import MemoryStorage
from cra.trace import outbox as outbox_module
from cra.trace.recorder import Recorder
from cra.trace.subscribe import Delivery

pytestmark = pytest.mark.usefixtures("twin")
Make = Callable[..., Recorder]
MakeRecord = Callable[..., Any]
WAIT = 30.0


@pytest.fixture
def journal(tmp_path: Path) -> JournalStorage:
    """An empty journal; the recorder closes it."""
    return JournalStorage(tmp_path / "journal")


def makes_events(recorder: Recorder) -> bool:
    """Whether the recorder expands records to events."""
    return recorder._drain._expander.lines


@pytest.mark.parametrize("tracing", ["deferred", "immediate"])
def test_nothing_is_expanded_for_a_journal(
    tracing: str, make_recorder: Make, record: MakeRecord, journal: JournalStorage
) -> None:
    """And the counts say how many events there are all the same."""
    recorder = make_recorder(journal, tracing=tracing)
    for n in range(10):
        recorder.record(record(n))
    recorder.flush()
    stats = recorder.stats()
    assert (10, 10, 10, 0) == (stats.records_recorded, stats.events_recorded, *_lane(stats))
    assert not makes_events(recorder)
    (session_id,) = journal.sessions()
    assert list(range(10)) == [event.payload["n"] for event in journal.events(session_id)]
    assert cra.verify_chain(journal.events(session_id)).valid
    recorder.flush("durable")


def _lane(stats: Any) -> tuple[int, int]:
    (lane,) = stats.backends
    assert 0 == lane.lost
    return lane.stored, lane.waiting


def test_beside_another_backend_both_hold_the_same(
    make_recorder: Make, record: MakeRecord, journal: JournalStorage
) -> None:
    """Events are made for the other one; the journal has its records, and both have every event once."""
    memory = MemoryStorage()
    recorder = make_recorder(journal, memory)
    for n in range(9):
        recorder.record(record(n, session=n % 3))
    recorder.flush()
    assert makes_events(recorder)
    assert 9 == memory.count() == journal.count()
    for session_id in memory.sessions():
        assert list(memory.events(session_id)) == list(journal.events(session_id))


def test_a_subscriber_that_comes_later_gets_the_chain_as_it_is(
    make_recorder: Make, record: MakeRecord, journal: JournalStorage
) -> None:
    """The journal says where the chains stand. When the subscriber leaves, nothing is expanded any more; the next one has it
    again."""
    recorder = make_recorder(journal)
    expected = 0
    for turn in range(3):
        for n in range(5):
            recorder.record(record(n, session=n % 2))
        recorder.flush()
        assert not makes_events(recorder) or turn
        seen: list[cra.Event] = []
        done = threading.Semaphore(0)

        def note(delivery: Delivery, seen: list[cra.Event] = seen, done: Any = done) -> None:
            seen.append(delivery.event)
            done.release()

        subscription = recorder.subscribe(note)
        for n in range(4):
            recorder.record(record(n, session=n % 2))
        recorder.flush()
        assert all(done.acquire(timeout=WAIT) for _ in range(4))
        assert makes_events(recorder)
        for session_id in journal.sessions():
            mine = [event for event in seen if event.session_id == session_id]
            assert mine == list(journal.events(session_id))[-2:]
            assert cra.verify_chain(journal.events(session_id)).valid
        subscription.close()
        expected += 9
        assert expected == recorder.stats().events_recorded == journal.count()


def test_a_journal_that_fails_holds_a_subscriber_up(
    make_recorder: Make, record: MakeRecord, journal: JournalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the chains stand is known once the journal has everything. Nothing is lost, skipped, or made up."""
    recorder = make_recorder(journal)
    recorder.record(record(0))
    recorder.flush()
    seen: list[int] = []
    done = threading.Semaphore(0)

    def note(delivery: Delivery) -> None:
        seen.append(delivery.event.sequence)
        done.release()

    def refuse(*_: Any) -> None:
        raise StorageError("injected")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "append_records", refuse)
        recorder.record(record(1))
        with pytest.raises(StorageError, match="injected"):
            recorder.flush()
        recorder.subscribe(note)
        recorder.record(record(2))
        with pytest.raises(StorageError, match="injected"):
            recorder.flush()
    with monkeypatch.context() as patched:
        patched.setattr(journal, "head", refuse)
        with pytest.raises(StorageError, match="injected"):
            recorder.flush()
    recorder.flush()
    assert done.acquire(timeout=WAIT)
    assert [2] == seen
    assert (3, 3) == (journal.count(), recorder.stats().events_recorded)


def test_a_backend_that_only_looks_like_one_is_given_events(make_recorder: Make, record: MakeRecord) -> None:
    """`takes_records` has to be there, and true, and so do its methods."""
    lane = outbox_module._Lane

    class Half(MemoryStorage):
        takes_records = True

    half = Half()
    assert not lane(half).takes_records
    recorder = make_recorder(half)
    recorder.record(record(0))
    recorder.flush()
    assert 1 == half.count()
