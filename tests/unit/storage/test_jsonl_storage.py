"""The JSONL backend: files, torn tails, faults, locks."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cra.errors import InvalidTraceEvent, StorageError, StorageLocked
from cra.storage.jsonl import JsonlStorage
from cra.storage.lines import offset_of_line_end
from cra.trace.jsonl import dump_line
from cra.trace.verify import verify_file
from tests.support.storage import OnceFailing, file_size_limit


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Callable[..., JsonlStorage]]:
    """Opens the storage in `tmp_path / "store"`, again and again if wanted."""
    opened: list[JsonlStorage] = []

    def open_it(**options: Any) -> JsonlStorage:
        opened.append(JsonlStorage(tmp_path / "store", **options))
        return opened[-1]

    yield open_it
    for storage in opened:
        storage.close()


@pytest.fixture
def file(tmp_path: Path, sessions: Any) -> Callable[[int], Path]:
    """The file of a session."""
    return lambda session: tmp_path / "store" / f"{sessions.id(session)}.trace.jsonl"


# --- files ---


def test_each_session_is_a_file_that_verifies(store: Any, file: Any, sessions: Any) -> None:
    """`<session_id>.trace.jsonl` with one line per event, as `dump_line` writes it, for its owner's eyes only."""
    storage = store()
    events = sessions.events(0, 3)
    storage.append(events[:2] + sessions.events(1))
    storage.append(events[2:])
    assert b"".join(map(dump_line, events)) == file(0).read_bytes()
    assert (True, 3) == (verify_file(file(0)).valid, verify_file(file(0)).event_count)
    assert 0o600 == stat.S_IMODE(file(0).stat().st_mode)


def test_open_files_are_bounded(store: Any, sessions: Any) -> None:
    """Sessions beyond `max_open` have their file opened when they have something to say. One more is the mark of the process."""
    storage = store(max_open=2)
    before = len(os.listdir("/dev/fd"))
    for _ in range(2):
        storage.append([event for n in range(10) for event in sessions.events(n)])
        assert before + 3 == len(os.listdir("/dev/fd"))
    storage.flush(durable=True)
    assert before + 3 == len(os.listdir("/dev/fd"))
    assert [2] * 10 == [storage.count(sessions.id(n)) for n in range(10)]
    storage.close()
    assert before == len(os.listdir("/dev/fd"))


@pytest.mark.parametrize(
    "session_id", ["../x", "/etc/passwd", "", "0" * 36, "01890000-0000-7000-8000-00000000000\n", "A" * 36]
)
def test_only_uuids_name_files(session_id: str, store: Any, sessions: Any) -> None:
    """No id leads out of the folder."""
    storage = store()
    (event,) = sessions.events(0)
    for call in (
        lambda: storage.append([replace(event, session_id=session_id)]),
        lambda: list(storage.events(session_id)),
        lambda: storage.last(session_id, 1),
        lambda: storage.count(session_id),
        lambda: storage.delete_session(session_id),
    ):
        with pytest.raises(StorageError, match="a session id is a lower-case UUID; nothing else names a file"):
            call()
    assert [] == os.listdir(storage.folder)


def test_other_files_in_the_folder_are_left_alone(store: Any, tmp_path: Path, sessions: Any) -> None:
    """Only what is named like a session's trace is one."""
    folder = tmp_path / "store"
    folder.mkdir()
    for name in ("notes.txt", "x.trace.jsonl", "README"):
        (folder / name).write_text("torn")
    storage = store()
    storage.append(sessions.events(0))
    assert ([sessions.id(0)], 1, ()) == (storage.sessions(), storage.count(), storage.repairs)
    assert "torn" == (folder / "x.trace.jsonl").read_text()


def test_a_link_is_never_followed(store: Any, file: Any, sessions: Any, tmp_path: Path) -> None:
    """A link in the folder does not lead a trace out of it."""
    storage = store()
    target = tmp_path / "elsewhere"
    file(0).symlink_to(target)
    with pytest.raises(StorageError, match=r"cannot be written: .*symbolic links.*check the disk, the path and its"):
        storage.append(sessions.events(0))
    assert not target.exists()


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    """The error names the storage, the path and the reason."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match=r"storage 'jsonl:///.*taken/x' cannot be opened: .*\(.*taken.*\); check"):
        JsonlStorage(tmp_path / "taken" / "x")


def test_a_file_that_somebody_deleted_is_begun_again(store: Any, file: Any, sessions: Any) -> None:
    """Nothing is written into a file that has no name any more."""
    storage = store()
    storage.append(sessions.events(0))
    file(0).unlink()
    later = sessions.events(0)
    storage.append(later)
    storage.flush(durable=True)
    assert later == list(storage.events(sessions.id(0)))


def test_a_closed_storage_refuses_to_write(store: Any, sessions: Any) -> None:
    """Reading goes on, writing does not."""
    storage = store()
    storage.close()
    for call in (
        lambda: storage.append(sessions.events(0)),
        lambda: storage.flush(durable=True),
        lambda: storage.delete_session(sessions.id(0)),
    ):
        with pytest.raises(StorageError, match="is closed; open it again"):
            call()


def test_a_folder_that_vanished_is_an_error_not_an_empty_store(store: Any, tmp_path: Path) -> None:
    """Reading from what is not there any more says so."""
    storage = store()
    (tmp_path / "store").rmdir()
    with pytest.raises(StorageError, match="cannot be listed: No such file or directory"):
        storage.sessions()


# --- torn tails ---


@pytest.mark.parametrize("whole", [0, 1, 3])
@pytest.mark.parametrize("torn", [b"{", b'{"trace_version":"1.0"', b"x" * 200_000])
def test_a_torn_tail_is_set_aside_and_reported(whole: int, torn: bytes, store: Any, file: Any, sessions: Any) -> None:
    """What follows the last newline moves to `.torn`, byte for byte; the whole lines stay and the chain goes on."""
    first = store()
    events = sessions.events(0, whole)
    first.append(events)
    first.close()
    with open(file(0), "ab") as handle:
        handle.write(torn)
    storage = store()
    aside = file(0).with_name(file(0).name + ".torn")
    assert torn == aside.read_bytes()
    (repair,) = storage.repairs
    assert (file(0).name, aside.name, len(torn)) == (repair.file, repair.torn_file, repair.torn_bytes)
    assert (
        f"{file(0).name} ended within a line: {len(torn)} bytes were moved to {aside.name}",
    ) == storage.health().details
    assert storage.health().ok
    assert events == list(storage.events(sessions.id(0)))
    assert ([sessions.id(0)] if whole else []) == storage.sessions()
    more = sessions.events(0)
    storage.append(more)
    assert events + more == list(storage.events(sessions.id(0)))


def test_a_second_tear_is_kept_behind_the_first(store: Any, file: Any, sessions: Any) -> None:
    """Nothing torn is ever overwritten."""
    for torn in (b"one", b"two"):
        storage = store()
        storage.append(sessions.events(0))
        storage.close()
        with open(file(0), "ab") as handle:
            handle.write(torn)
    store()
    assert b"onetwo" == file(0).with_name(file(0).name + ".torn").read_bytes()


def test_a_tear_that_appears_later_is_repaired_before_the_next_write(store: Any, file: Any, sessions: Any) -> None:
    """A file is never appended to within a line, whoever tore it since the storage was opened."""
    storage = store(max_open=1)
    storage.append(sessions.events(0))
    storage.append(sessions.events(1))
    with open(file(0), "ab") as handle:
        handle.write(b"torn by another process")
    storage.append(sessions.events(0))
    assert 2 == len(list(storage.events(sessions.id(0))))
    assert 1 == len(storage.repairs)


def test_reading_ends_before_a_torn_tail(store: Any, file: Any, sessions: Any) -> None:
    """Another process may be in the middle of a write: what it has finished is there, and counted."""
    storage = store()
    events = sessions.events(0, 3)
    storage.append(events)
    with open(file(0), "ab") as handle:
        handle.write(b'{"trace_version":')
    assert events == list(storage.events(sessions.id(0)))
    assert events[1:] == storage.last(sessions.id(0), 2)
    assert 3 == storage.count()


def test_a_tear_that_cannot_be_set_aside_is_left_as_it_is(
    store: Any, file: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the torn bytes safe on disk the file is not cut, and the storage does not open."""
    first = store()
    first.append(sessions.events(0))
    first.close()
    with open(file(0), "ab") as handle:
        handle.write(b"torn")
    before = file(0).read_bytes()

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="cannot be opened: Input/output error"):
        store()
    assert before == file(0).read_bytes()


def test_deleting_a_session_deletes_what_was_torn_from_it(store: Any, file: Any, sessions: Any) -> None:
    """Who deletes a session wants nothing of it left."""
    first = store()
    first.append(sessions.events(0))
    first.close()
    with open(file(0), "ab") as handle:
        handle.write(b"torn")
    storage = store()
    assert 1 == storage.delete_session(sessions.id(0))
    assert [] == os.listdir(storage.folder)
    storage.flush(durable=True)


def test_a_session_that_cannot_be_deleted_is_an_error(
    store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a pretended deletion."""
    storage = store()
    storage.append(sessions.events(0))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match="cannot delete the session: Read-only file system"):
        storage.delete_session(sessions.id(0))
    assert 1 == storage.count()


def test_a_line_that_is_no_event_is_named(store: Any, file: Any, sessions: Any) -> None:
    """Reading a damaged file stops with its path and line, and says how to look closer."""
    storage = store()
    storage.append(sessions.events(0, 2))
    with open(file(0), "ab") as handle:
        handle.write(b'{"nope": 1}\n')
    reading = storage.events(sessions.id(0))
    assert [0, 1] == [next(reading).sequence, next(reading).sequence]
    with pytest.raises(StorageError, match=r"\.trace\.jsonl, line 3: .*; see what is wrong with: cra trace verify /"):
        next(reading)
    with pytest.raises(StorageError, match=r"counted from byte \d+, line 2: "):
        storage.last(sessions.id(0), 2)


@given(st.lists(st.sampled_from([b"a", b"\n", b"bc"]), max_size=30), st.integers(1, 6))
def test_line_ends_are_found_from_the_end(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], nth: int
) -> None:
    """The nth newline from the end, whatever the chunks it is read in."""
    path = tmp_path_factory.mktemp("lines") / "file"
    content = b"".join(part * 20_000 if part == b"bc" else part for part in parts)
    path.write_bytes(content)
    ends = [index + 1 for index, byte in enumerate(content) if byte == 10]
    with open(path, "rb") as handle:
        assert (ends[-nth] if len(ends) >= nth else 0) == offset_of_line_end(handle.fileno(), nth)


# --- failed writes ---


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(st.integers(0, 6_000))
def test_a_write_that_fails_anywhere_leaves_no_part_of_its_batch(
    tmp_path_factory: pytest.TempPathFactory, new_sessions: Callable[[], Any], room: int
) -> None:
    """All or nothing over several files, wherever the disk is full; the same batch fits when there is room again."""
    sessions = new_sessions()
    storage = JsonlStorage(tmp_path_factory.mktemp("store"))
    before = sessions.events(0, 2)
    storage.append(before)
    batch = [event for _ in range(3) for n in range(3) for event in sessions.events(n)]
    contents = {path: path.read_bytes() for path in storage._files()}
    with file_size_limit(room):
        try:
            storage.append(batch)
            failure = None
        except StorageError as error:
            failure = error
    if failure is not None:
        assert "cannot be written: File too large" in failure.message
        assert contents == {path: path.read_bytes() for path in storage._files() if path.stat().st_size}
        assert storage.health().ok
        storage.append(batch)
    assert before + [event for event in batch if event.session_id == sessions.id(0)] == list(
        storage.events(sessions.id(0))
    )
    assert 11 == storage.count()
    storage.close()


def test_the_full_disk_of_these_tests_is_one(store: Any, sessions: Any) -> None:
    """The fault fires: a write is short first, and an error next."""
    storage = store()
    with file_size_limit(100), pytest.raises(StorageError, match="File too large"):
        storage.append(sessions.events(0))


def test_half_a_batch_that_cannot_be_cut_back_is_cut_back_before_the_next(
    store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While even the cutting fails nothing is written; health says so."""
    storage = store()
    events = sessions.events(0, 4)
    storage.append(events[:1])

    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "truncate", refuse)
        cut = "cannot be cut back after a failed write: Input/output error"
        with file_size_limit(1_000), pytest.raises(StorageError, match=cut):
            storage.append(events[1:])
        assert (
            "half a batch could not be cut back; it is tried again with the next batch",
        ) == storage.health().details
        assert not storage.health().ok
        with pytest.raises(StorageError, match="cannot be cut back"):
            storage.append(events[1:])
    storage.append(events[1:])
    assert events == list(storage.events(sessions.id(0)))
    assert storage.health().ok


def test_half_a_batch_in_a_file_that_was_deleted_needs_no_cutting(
    store: Any, file: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is gone with the file."""
    storage = store()
    truncate = os.truncate

    def delete_first(path: Path, size: int) -> None:
        path.unlink()
        truncate(path, size)

    monkeypatch.setattr(os, "truncate", delete_first)
    with file_size_limit(100), pytest.raises(StorageError, match="File too large"):
        storage.append(sessions.events(0))
    assert not file(0).exists()


def test_an_interrupted_write_is_taken_back(store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a batch leaves none of it."""
    storage = store()
    events = sessions.events(0) + sessions.events(1)
    handle = storage._handle

    def interrupt(path: Path) -> Any:
        if sessions.id(1) in path.name:
            raise KeyboardInterrupt
        return handle(path)

    monkeypatch.setattr(storage, "_handle", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.append(events)
    assert 0 == storage.count()


def test_an_event_that_has_no_line_stores_nothing(store: Any, sessions: Any) -> None:
    """What cannot be written at all is found before anything is."""
    storage = store()
    good, bad = sessions.events(0, 2)
    with pytest.raises(InvalidTraceEvent):
        storage.append([good, replace(bad, payload={"x": float("nan")})])
    assert [] == os.listdir(storage.folder)


# --- durable ---


def test_a_durable_flush_syncs_every_written_file_once_and_the_folder_when_it_changed(
    store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync for each file written since the last flush, for the folder when files were made, for its own name once; nothing for
    nothing."""
    storage = store(max_open=1)
    storage.append(sessions.events(0) + sessions.events(1))
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    names = sorted(f"{sessions.id(n)}.trace.jsonl" for n in (0, 1))
    storage.flush(durable=True)
    assert [*names, "store", storage.folder.parent.name] == synced
    synced.clear()
    storage.flush(durable=True)
    storage.flush(durable=False)
    assert [] == synced


@pytest.mark.parametrize("which", [1, 2])
def test_what_cannot_be_opened_to_be_synced_is_synced_the_next_time(
    which: int, store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was closed for want of room, the folder: no fsync has failed, so nothing is lost, and the store goes on."""
    storage = store(max_open=1)
    storage.append(sessions.events(1, 1))
    storage.append(sessions.events(2, 1))
    with monkeypatch.context() as patch:
        failing = OnceFailing(os.open, which)
        patch.setattr(os, "open", failing)
        with pytest.raises(StorageError, match=r"cannot be made durable: Input/output error"):
            storage.flush(True)
        assert which == failing.calls
    assert storage.health().ok
    storage.flush(True)


def test_an_fsync_that_failed_poisons_every_later_durable_flush(
    store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel forgets failed pages: a later success would be a lie. Storing goes on."""
    storage = store()
    storage.append(sessions.events(0))

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError, match=r"an fsync failed \(Input/output error\); .*create a new Resolver"):
            storage.flush(durable=True)
    for _ in range(2):
        with pytest.raises(StorageError, match="an fsync failed"):
            storage.flush(durable=True)
    storage.append(sessions.events(0))
    storage.flush(durable=False)
    health = storage.health()
    assert (False, 1) == (health.ok, len(health.details))
    assert 2 == storage.count()


def test_an_fsync_that_failed_before_the_first_write_poisons_as_well(
    store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark of a writer is synced with the names of the folder: a later success would be a lie about these, too."""
    storage = store()

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError):
            storage.append(sessions.events(0))
    storage.append(sessions.events(0))
    with pytest.raises(StorageError, match="an fsync failed"):
        storage.flush(durable=True)
    assert not storage.health().ok


# --- locks ---


def test_a_session_that_is_written_elsewhere_is_locked(store: Any, sessions: Any) -> None:
    """Two writers of one file are refused, with nothing stored; when the first has closed it, the second may."""
    first, second = store(), store()
    events = sessions.events(0, 2)
    first.append(events[:1])
    with pytest.raises(StorageLocked, match="is open for writing elsewhere; close the other Resolver and try again"):
        second.append(sessions.events(1) + events[1:])
    assert 1 == second.count()
    first.close()
    second.append(events[1:])
    assert events == list(second.events(sessions.id(0)))


def test_opening_leaves_a_file_in_use_alone(store: Any, file: Any, sessions: Any) -> None:
    """A tail without newline in a locked file is a write in progress, not a tear."""
    first = store()
    first.append(sessions.events(0))
    with open(file(0), "ab") as handle:
        handle.write(b"in progress")
    second = store()
    assert () == second.repairs
    assert file(0).read_bytes().endswith(b"in progress")


def test_opening_takes_no_lock_of_a_file_that_is_whole(
    store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer, who has closed it for the time being, might come for it just then."""
    storage = store(max_open=1)
    storage.append(sessions.events(0) + sessions.events(1))
    real = fcntl.flock

    def look(file: int, operation: int) -> None:
        assert not os.readlink(f"/proc/self/fd/{file}").endswith(".jsonl"), "a lock was taken"
        real(file, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", look)
        store()


def test_a_writer_waits_for_whoever_looks_at_its_file(
    store: Any, file: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is held for a moment is no reason to refuse a batch."""
    storage = store(max_open=1)
    events = sessions.events(0, 2)
    storage.append(events[:1] + sessions.events(1))
    looker = open(file(0), "rb")  # noqa: SIM115 - closed while the writer waits
    fcntl.flock(looker, fcntl.LOCK_EX)
    monkeypatch.setattr("time.sleep", lambda _: looker.close())
    storage.append(events[1:])
    assert looker.closed
    assert events == list(storage.events(sessions.id(0)))


def test_a_lock_ends_with_its_holder(store: Any, file: Any, sessions: Any) -> None:
    """Locks are the kernel's: a crash leaves none behind."""
    storage = store()
    storage.append(sessions.events(0))
    storage.close()
    with open(file(0), "ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- unreadable ---


@pytest.mark.parametrize("call", [lambda s, i: list(s.events(i)), lambda s, i: s.count(i)])
def test_a_file_that_cannot_be_read_is_an_error(call: Callable[..., Any], store: Any, file: Any, sessions: Any) -> None:
    """Unreadable is not empty."""
    storage = store()
    file(0).mkdir()
    with pytest.raises(StorageError, match=r"cannot be read: Is a directory \(.*\); check the disk, the path"):
        call(storage, sessions.id(0))
