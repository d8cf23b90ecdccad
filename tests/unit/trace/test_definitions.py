"""The definitions beside a ring on disk: written first, kept while they may be named, readable as far as they are whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.errors import StorageError
from cra.ids import format_uuid
from cra.reference.records import encode_events, encode_template
from cra.trace import definitions
from cra.trace.definitions import Definitions, read_definitions

HASH = "ab" * 32


def define(number: int) -> tuple[str, str, str]:
    """The ids of session number n."""
    return format_uuid(number << 80), format_uuid((number << 80) + 1), format_uuid((number << 80) + 2)


def template(number: int, size: int = 10) -> bytes:
    """A template record of about this size."""
    return encode_template(number, "allow", 1, 0, 60, HASH, [b'{"a":"' + b"x" * size + b'"}'], [])


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Definitions]:
    """Definitions in a file `x.defs`, beside a ring whose tail is given."""
    return lambda tail=lambda: 0: Definitions(os.fspath(tmp_path / "x.defs"), tail)


def test_what_was_defined_is_read_back(written: Callable[..., Definitions], tmp_path: Path) -> None:
    """Sessions by number, templates by number, each once."""
    kept = written()
    kept.define_session(1, define(1))
    kept.define_template(7, template(7))
    kept.define_session(1, define(1))
    kept.leave()
    read = read_definitions(os.fspath(tmp_path / "x.defs"))
    assert ({1: define(1)}, {7: template(7)}, 0) == read
    assert (tmp_path / "x.defs").stat().st_mode & 0o777 == 0o600


def test_a_file_mostly_of_the_dead_is_rewritten(
    written: Callable[..., Definitions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead is what no record can name: what ended, once the ring has forgotten it. A hundred thousand sessions stay small."""
    monkeypatch.setattr(definitions, "_SMALL", 2_000)
    tail = [0]
    kept = written(lambda: tail[0])
    kept.define_session(1, define(1))
    for number in range(2, 1_000):
        kept.define_session(number, define(number))
        kept.end_session(number, position=number)
        kept.define_template(number, template(number))
        kept.forget_template(number, position=number)
        tail[0] = number - 3
    assert (tmp_path / "x.defs").stat().st_size < 20_000
    kept.leave()
    read = read_definitions(os.fspath(tmp_path / "x.defs"))
    assert define(1) == read.sessions[1], "it is still open"
    assert {997, 998, 999} <= read.sessions.keys() & read.templates.keys(), "the ring still holds records of these"
    assert 0 == read.torn
    assert ["x.defs"] == os.listdir(tmp_path)


def test_what_cannot_be_written_is_an_error_before_the_record(
    written: Callable[..., Definitions], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record whose definition is not on disk could not be read after a crash."""
    kept = written()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(definitions.os, "write", full)
    with pytest.raises(StorageError, match=r"definitions .*x\.defs' of a ring cannot be written: No space left"):
        kept.define_session(1, define(1))


def fails(*_: object) -> None:
    """What the system says when it does not do as it is told."""
    raise OSError(5, "Input/output error")


def test_what_cannot_be_made_leaves_no_file(
    written: Callable[..., Definitions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would ever remove it. A file that is there already is somebody else's, and stays."""
    (tmp_path / "x.defs").write_bytes(b"of another ring")
    with pytest.raises(StorageError, match=r"definitions .*x\.defs' of a ring cannot be written: File exists"):
        written()
    assert b"of another ring" == (tmp_path / "x.defs").read_bytes()
    (tmp_path / "x.defs").unlink()
    monkeypatch.setattr(definitions.os, "write", fails)
    with pytest.raises(StorageError, match=r"definitions .*x\.defs' of a ring cannot be written: Input/output error"):
        written()
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("is_full_for", [1, 3])
def test_what_is_defined_after_a_half_written_entry_is_read_back(
    is_full_for: int, written: Callable[..., Definitions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk may take half of an entry. What comes once there is room must not stand behind what no reader can pass."""
    kept = written()
    kept.define_session(1, define(1))
    write, calls = os.write, []

    def half(file: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(file, data[: len(data) // 2])

    with monkeypatch.context() as full:
        full.setattr(definitions.os, "write", half)
        for number in range(is_full_for):
            with pytest.raises(StorageError, match="No space left"):
                kept.define_session(2 + number, define(2 + number))
    kept.define_session(9, define(9))
    kept.leave()
    assert ({1: define(1), 9: define(9)}, {}, 0) == read_definitions(os.fspath(tmp_path / "x.defs"))
    assert ["x.defs"] == os.listdir(tmp_path)


@pytest.mark.parametrize("call", ["open", "write", "rename"])
def test_a_rewrite_that_fails_leaves_the_old_file_in_use(
    call: str, written: Callable[..., Definitions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for room alone: nothing is refused for it, nothing lost, no other file left, and no descriptor."""
    monkeypatch.setattr(definitions, "_SMALL", 0)
    kept = written(lambda: 1)
    kept.define_template(1, template(1, 5_000))
    kept.forget_template(1, position=1)
    open_, write, close = os.open, os.write, os.close
    failed, opened, closed = [], [], []

    def refuse(*arguments: object) -> None:
        failed.append(arguments)
        raise OSError(28, "No space left on device")

    def note(path: str, *options: int) -> int:
        if call == "open":
            refuse()
        opened.append(open_(path, *options))
        return opened[-1]

    with monkeypatch.context() as full:
        full.setattr(definitions.os, "open", note)
        full.setattr(definitions.os, "close", lambda file: closed.append(file) or close(file))
        if call == "rename":
            full.setattr(definitions.os, "rename", refuse)
        if call == "write":  # of a new file, which begins with the header
            full.setattr(
                definitions.os,
                "write",
                lambda file, data: refuse() if definitions.MAGIC == data[:8] else write(file, data),
            )
        kept.define_session(2, define(2))
    assert 1 == len(failed), "the rewrite was due"
    assert opened == closed
    assert ["x.defs"] == os.listdir(tmp_path)
    assert {2: define(2)} == read_definitions(os.fspath(tmp_path / "x.defs")).sessions
    kept.define_session(3, define(3))
    kept.leave()
    assert ({2: define(2), 3: define(3)}, {}, 0) == read_definitions(os.fspath(tmp_path / "x.defs")), "now it was"


def test_letting_go_twice_is_harmless(written: Callable[..., Definitions], tmp_path: Path) -> None:
    """The number of its descriptor may be another file's by then."""
    kept = written()
    kept.leave()
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)
    kept.leave()
    kept.remove()
    kept.remove()
    os.close(other)
    assert ["other"] == os.listdir(tmp_path)


def test_a_whole_entry_is_what_it_says_or_where_reading_ends(
    written: Callable[..., Definitions], tmp_path: Path
) -> None:
    """A record that defines nothing is passed over; bytes that are no record are damage, whatever their checksum says."""
    kept = written()
    kept.define_session(1, define(1))
    kept._add(("other", 1), encode_events(1, 1 << 80, 0, (("a.b", b"{}"),)))
    kept.define_session(2, define(2))
    kept._add(("other", 2), b"no record at all")
    kept.define_session(3, define(3))
    kept.leave()
    read = read_definitions(os.fspath(tmp_path / "x.defs"))
    assert {1: define(1), 2: define(2)} == read.sessions
    assert read.torn > len(b"no record at all")


@given(data=st.data())
def test_a_torn_or_damaged_file_is_read_as_far_as_it_is_whole(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Never an exception, never an entry that was not written; what comes before the damage is there."""
    path = tmp_path_factory.mktemp("defs") / "x.defs"
    kept = Definitions(os.fspath(path), lambda: 0)
    for number in range(1, 6):
        kept.define_session(number, define(number))
    kept.leave()
    image = bytearray(path.read_bytes())
    place = data.draw(st.integers(12, len(image) - 1))
    if data.draw(st.booleans()):
        del image[place:]
    else:
        image[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(image)
    read = read_definitions(os.fspath(path))
    assert {number: define(number) for number in read.sessions} == read.sessions
    assert list(range(1, len(read.sessions) + 1)) == sorted(read.sessions)
    assert len(read.sessions) < 5


@pytest.mark.parametrize(("image", "torn"), [(b"", 0), (b"cra-", 4)])
def test_a_file_whose_making_was_not_finished_has_nothing(image: bytes, torn: int, tmp_path: Path) -> None:
    """A process may die at any time."""
    (tmp_path / "x.defs").write_bytes(image)
    assert ({}, {}, torn) == read_definitions(os.fspath(tmp_path / "x.defs"))


def test_another_format_and_no_file_are_errors(tmp_path: Path) -> None:
    """Not taken for an empty one."""
    (tmp_path / "x.defs").write_bytes(b"cra-defs\x02\0\0\0rest")
    with pytest.raises(StorageError, match="holds no definitions of version 1; use the version of cra that wrote it"):
        read_definitions(os.fspath(tmp_path / "x.defs"))
    with pytest.raises(StorageError, match="cannot read the definitions"):
        read_definitions(os.fspath(tmp_path / "y.defs"))


def test_an_entry_that_is_whole_and_no_record_ends_the_reading(tmp_path: Path) -> None:
    """What comes before it is there."""
    kept = Definitions(os.fspath(tmp_path / "x.defs"), lambda: 0)
    kept.define_session(1, define(1))
    kept.leave()
    with (tmp_path / "x.defs").open("ab") as file:
        file.write(definitions._entry(b"no record"))
    assert ({1: define(1)}, {}, 17) == read_definitions(os.fspath(tmp_path / "x.defs"))


def test_more_than_definitions_can_be_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could be larger than memory. Nor is what is no regular file."""
    monkeypatch.setattr(definitions, "_MAX_SIZE", 20)
    (tmp_path / "x.defs").write_bytes(b"cra-defs\x01\0\0\0" + bytes(9))
    with pytest.raises(StorageError, match="they are larger than any"):
        read_definitions(os.fspath(tmp_path / "x.defs"))
    with pytest.raises(StorageError, match="they are a folder"):
        read_definitions(os.fspath(tmp_path))
