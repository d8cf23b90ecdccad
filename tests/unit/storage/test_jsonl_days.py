"""`jsonl:` with a file per day: which file an event is in, what is read from it, and what a crash or a deletion leaves."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.cli import main
from cra.errors import StorageError
from cra.storage.jsonl_days import DailyJsonlStorage
from cra.testing import SeededIds, VirtualClock
from cra.trace.checkup import check
from cra.trace.jsonl import dump_line
from tests.support.crashes import ATLAS


def two_days(folder: Path) -> tuple[str, str, list[Any], list[Any]]:
    """A store over midnight: a session of both days and one of the second; their ids and events."""
    clock = VirtualClock()
    clock.advance(12 * 3_600 - 10)  # it begins at noon
    with cra.Resolver(f"jsonl:///{folder}?files=day", clock=clock, ids=SeededIds(1)) as resolver:
        resolver.load_atlas(ATLAS)
        first = resolver.create_session("bot", "first")
        first.resolve("a lamp")
        clock.advance(20)
        second = resolver.create_session("bot", "second")
        for session in (first, second, first):
            session.resolve("a lamp")
        return first.session_id, second.session_id, resolver.trace(first.session_id), resolver.trace(second.session_id)


def test_a_file_has_the_events_of_all_sessions_of_its_day(tmp_path: Path) -> None:
    """In the order in which they were stored; a session that goes on over midnight is read from both, whole."""
    first, second, events, others = two_days(tmp_path / "store")
    files = sorted((tmp_path / "store").iterdir())
    assert ["2026-01-01.trace.jsonl", "2026-01-02.trace.jsonl"] == [file.name for file in files]
    store = DailyJsonlStorage(tmp_path / "store")
    found = list(store.events(first))
    assert events == found[: len(events)]
    assert cra.verify_chain(found).valid
    assert {"2026-01-01", "2026-01-02"} == {event.timestamp[:10] for event in found}
    assert others == list(store.events(second))[: len(others)]
    assert found[-20:] == store.last(first, 20)
    assert [] == store.last(first, 0)
    assert found == store.last(first, 10**6)
    assert len(found) == store.count(first)
    assert [e for e in found if e.event_type == "session.ended"] == list(store.events(first, types=["session.ended"]))
    assert 3 == len(store.sessions())
    assert sum(map(store.count, store.sessions())) == store.count()
    store.close()
    assert cra.verify_file(files[0]).valid


def test_a_deleted_session_is_in_no_file_any_more(tmp_path: Path) -> None:
    """Nor in what was torn; the others are as they were, and a process that has the store open goes on in the new files."""
    first, second, _, _ = two_days(tmp_path / "store")
    store, other = DailyJsonlStorage(tmp_path / "store"), DailyJsonlStorage(tmp_path / "store")
    kept = list(store.events(second))
    torn = tmp_path / "store" / "2026-01-02.trace.jsonl.torn"
    torn.write_text(f'{{"session_id":"{first}"')
    count = store.count(first)
    assert count == other.delete_session(first)
    assert 0 == other.delete_session(first)
    assert kept == list(store.events(second))
    assert [] == list(store.events(first))
    assert not torn.exists()
    assert not any(first.encode() in path.read_bytes() for path in (tmp_path / "store").iterdir())
    own = next(name for name in store.sessions() if name != second)
    store.delete_session(own)
    store.append(kept[:1])
    assert len(kept) + 1 == store.count(second)
    store.delete_session(second)
    store.close()
    assert [] == list((tmp_path / "store").iterdir())


def test_a_torn_line_is_set_aside_and_half_a_batch_cut_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash left is moved to a file of its own by whoever opens the store; what the disk refused is gone at the latest
    before the next batch."""
    _, _, _, others = two_days(tmp_path / "store")
    path = tmp_path / "store" / "2026-01-02.trace.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"trace_version"')
    store = DailyJsonlStorage(tmp_path / "store")
    assert [16] == [repair.torn_bytes for repair in store.repairs]
    assert (whole, b'{"trace_version"') == (path.read_bytes(), path.with_name(path.name + ".torn").read_bytes())
    assert "ended within a line" in store.health().details[0]
    fired = []

    def fail(file: Any, data: bytes) -> None:
        fired.append(file.write(data[:7]))
        raise OSError(errno.ENOSPC, "injected")

    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patched:
        patched.setattr("cra.storage.jsonl_days.write_all", fail)
        with pytest.raises(StorageError, match="cannot be written: injected"):
            store.append(others[:1])
        assert whole == path.read_bytes()
        patched.setattr(os, "ftruncate", refuse)
        with pytest.raises(StorageError, match="cannot be cut back after a failed write: injected"):
            store.append(others[:1])
        assert not store.health().ok
    assert [7, 7] == fired
    store.append(others[:1])
    assert whole + dump_line(others[0]) == path.read_bytes()
    assert store.health().ok
    store.close()


def test_processes_share_the_file_of_a_day(tmp_path: Path) -> None:
    """Each locks it for a batch: every batch is whole in it, one behind the other."""
    program = (
        "import sys, cra\n"
        "from cra.testing.traces import make_trace\n"
        "from cra.storage.jsonl_days import DailyJsonlStorage\n"
        "store = DailyJsonlStorage(sys.argv[1])\n"
        "trace = make_trace([('session.started', {}), *[('a.b', {'x': 'y' * 5000})] * 60], session=int(sys.argv[2]))\n"
        "for at in range(0, 60, 3): store.append(trace[at:at + 3])\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "store"), str(number)]) for number in (1, 2, 3)
    ]
    assert [0, 0, 0] == [each.wait(60) for each in running]
    store = DailyJsonlStorage(tmp_path / "store")
    assert 3 == len(store.sessions())
    for name in store.sessions():
        assert 60 == store.count(name)
        assert cra.verify_chain(store.events(name)).valid
    (path,) = (tmp_path / "store").glob("*.jsonl")
    assert cra.verify_file(path).valid


def test_a_dead_process_is_recovered_into_its_days(tmp_path: Path) -> None:
    """What its ring had, once, and the end of its sessions."""
    from tests.support.crashes import die

    class Stopping(DailyJsonlStorage):
        stopped = False

        def append(self, batch: Any) -> None:
            if self.stopped:
                raise StorageError("stopped")
            super().append(batch)

    store = Stopping(tmp_path / "store")
    resolver = cra.Resolver(store, ids=SeededIds(1))
    resolver.load_atlas(ATLAS)
    session = resolver.create_session("bot", "work")
    session.resolve("a lamp")
    resolver.flush()
    store.stopped = True
    session.resolve("another lamp")
    die(resolver)
    with cra.Resolver(f"jsonl:///{tmp_path}/store?files=day") as again:
        found = again.trace(session.session_id)
    assert cra.verify_chain(found).valid
    assert 2 == sum(event.event_type == "carp.resolution.completed" for event in found)
    assert "session.ended" == found[-1].event_type


def test_after_a_failed_fsync_nothing_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sessions: Any
) -> None:
    """Not even where the next fsync would succeed."""
    store = DailyJsonlStorage(tmp_path / "store")
    store.append(sessions.events(0, 3))
    store.flush(durable=False)

    def refuse(file: int) -> None:
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError, match="an fsync failed"):
            store.flush(durable=True)
    with pytest.raises(StorageError, match="an fsync failed"):
        store.flush(durable=True)
    assert not store.health().ok
    store.close()


def test_the_doctor_and_recover_know_files_of_days(tmp_path: Path) -> None:
    """A torn line and a changed event are told, recover sets the torn bytes aside, and a URL with options does as well as
    a path."""
    first, _, _, _ = two_days(tmp_path / "store")
    assert () == check(tmp_path / "store").problems
    path = tmp_path / "store" / "2026-01-02.trace.jsonl"
    sound = path.read_bytes()
    path.write_bytes(sound + b"{")
    found = check(tmp_path / "store")
    assert ("jsonl", ["torn_tail"]) == (found.kind, [problem.code for problem in found.problems])
    assert 0 == main(["trace", "recover", f"jsonl:///{tmp_path}/store?files=day"])
    assert sound == path.read_bytes()
    lines = sound.splitlines(keepends=True)
    at = next(at for at, line in enumerate(lines) if first.encode() in line)
    path.write_bytes(b"".join([*lines[:at], *lines[at + 1 :]]))
    assert ["chain"] == [problem.code for problem in check(tmp_path / "store").problems]
    assert f"of session {first} does not verify: sequence_gap" in check(tmp_path / "store").problems[0].message
    assert 1 == main(["doctor", "--data", f"jsonl:///{tmp_path}/store?files=day"])
    assert 2 == main(["trace", "recover", os.fspath(tmp_path / "store"), "--end-sessions"])
    assert 2 == main(["trace", "recover", f"jsonl:///{tmp_path}/store"])
    assert 2 == main(["trace", "recover", f"jsonl:///{tmp_path}/store?files=never"])
    assert 2 == main(["trace", "recover", f"jsonl:///{tmp_path}/store?files=day", "--store", "journal"])
    assert 2 == main(["doctor", "--data", f"jsonl:///{tmp_path}/none"])
    assert 0 == main(["trace", "recover", os.fspath(tmp_path / "store")])
