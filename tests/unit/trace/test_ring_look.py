"""A look at a folder of rings: who lives, what waits, what is torn, what is left over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cra.hotpath import encode_events
from cra.reference.ring import DATA_OFFSET, MAX_SIZE
from cra.reference.ring_scan import DAMAGED_RECORD, NOT_COMMITTED
from cra.trace.ring_folder import RingFolder
from cra.trace.ring_look import RingsLook, look_at_rings
from tests.support.crashes import contents, crash, open_work

SIZE = 65_536
GOLDEN = Path(__file__).parents[2] / "data/rings/version-1.hex"


def dead_pid() -> int:
    """The id of a process that is over."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(60)
    return process.pid


def golden_ring() -> bytes:
    """The ring of docs/formats/ring.md: two records, and one that was never committed."""
    image = bytearray(DATA_OFFSET + 4096)
    for line in GOLDEN.read_text().splitlines():
        match = re.match(r"([0-9a-f]{8}):((?: [0-9a-f]{2}){16})", line)
        if match:
            at = int(match[1], 16)
            image[at : at + 16] = bytes.fromhex(match[2])
    return bytes(image)


def test_a_folder_that_is_not_there_has_no_rings(tmp_path: Path) -> None:
    """Looking does not make it."""
    assert RingsLook(str(tmp_path / "x")) == look_at_rings(tmp_path / "x")
    assert [] == os.listdir(tmp_path)


def test_a_folder_that_is_none_says_so(tmp_path: Path) -> None:
    """With the system's reason."""
    (tmp_path / "x").write_text("")
    assert "Not a directory" == look_at_rings(tmp_path / "x").problem


def test_the_ring_of_the_living_shows_its_process_and_its_sessions(tmp_path: Path) -> None:
    """Nothing of it is called torn, and looking takes nothing from it."""
    resolver, session = open_work(tmp_path / "trace")
    with resolver:
        look = look_at_rings(tmp_path / "trace.ring")
        (ring,) = look.rings
        assert ("living", os.getpid(), {}, None, None) == (
            ring.state,
            ring.pid,
            ring.torn,
            ring.definitions,
            ring.problem,
        )
        assert {session.session_id, resolver.session_id} == look.living_sessions == set(ring.sessions)
        assert (frozenset(), (), (), {}) == (look.dead_sessions, look.damaged, look.leftovers, look.strange)
        session.resolve("a lamp")
        resolver.flush()


def test_the_ring_of_the_dead_shows_what_waits(tmp_path: Path) -> None:
    """Its records and the sessions that are open in it; nothing in the folder changes."""
    session = crash(tmp_path / "trace")
    before = contents(tmp_path)
    look = look_at_rings(tmp_path / "trace.ring")
    assert before == contents(tmp_path)
    (ring,) = look.rings
    assert ("dead", os.getpid(), {}, None) == (ring.state, ring.pid, ring.torn, ring.definitions)
    assert ring.records >= 2
    assert session in look.dead_sessions
    assert frozenset() == look.living_sessions


def test_a_session_that_ends_in_the_records_is_not_open(tmp_path: Path) -> None:
    """The definitions still have it; a record that is none changes nothing."""
    define = tuple(f"00000000-0000-7000-8000-00000000000{n}" for n in range(3))
    ended = (("session.ended", b'{"reason":"completed"}'),)
    file = RingFolder(tmp_path).create(SIZE)
    file.definitions.define_session(1, define)  # type: ignore[arg-type]
    for record in (b"\x01 is no record", b"\x02 is none of events", encode_events(1, 1, 1, (("a.b", b"{}"),))):
        file.ring.put(record)
    other = tuple(f"00000000-0000-7000-8000-00000000001{n}" for n in range(3))
    file.ring.put(encode_events(2, 1, 1, (("session.started", b"{}"),), define=other))  # type: ignore[arg-type]
    assert [(define[0], other[0])] == [ring.sessions for ring in look_at_rings(tmp_path).rings]
    file.ring.put(encode_events(1, 1, 1, ended))
    file.leave()
    assert [(other[0],)] == [ring.sessions for ring in look_at_rings(tmp_path).rings]


def test_torn_places_are_told_by_reason(tmp_path: Path) -> None:
    """And that the definitions are missing, which a ring with records needs."""
    image = bytearray(golden_ring())
    (tmp_path / "a.ring").write_bytes(image)
    image[image.index(b"later")] ^= 1
    (tmp_path / "b.ring").write_bytes(image)
    a, b = look_at_rings(tmp_path).rings
    assert (2, {NOT_COMMITTED: 1}, "missing") == (a.records, a.torn, a.definitions)
    assert 1 == b.records
    assert {NOT_COMMITTED, DAMAGED_RECORD} >= b.torn.keys() > set()


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (b"no ring", "does not begin as one"),
        (b"cra-ring", "cut short within its header"),
        (golden_ring()[:32] + b"\xff" + golden_ring()[33:], "header of this ring file is damaged"),
    ],
)
def test_what_is_no_ring_says_why(image: bytes, problem: str, tmp_path: Path) -> None:
    """It is unreadable, whatever it holds."""
    (tmp_path / "x.ring").write_bytes(image)
    (ring,) = look_at_rings(tmp_path).rings
    assert ("unreadable", None, 0) == (ring.state, ring.pid, ring.records)
    assert problem in str(ring.problem)


def test_a_file_larger_than_any_ring_is_not_read(tmp_path: Path) -> None:
    """It could be larger than memory."""
    with open(tmp_path / "x.ring", "wb") as file:
        file.truncate(DATA_OFFSET + MAX_SIZE + 1)
    (ring,) = look_at_rings(tmp_path).rings
    assert ("unreadable", "this is not a ring file: it is larger than any") == (ring.state, ring.problem)


def test_what_cannot_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's reason; the rest of the folder is looked at all the same."""
    (tmp_path / "a.ring").write_bytes(b"")
    (tmp_path / "b.ring").write_bytes(b"")
    really = os.open

    def refusing(path: object, *arguments: int) -> int:
        if str(path).endswith("a.ring"):
            raise PermissionError(13, "Permission denied")
        return really(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    a, b = look_at_rings(tmp_path).rings
    assert ("unreadable", "Permission denied", "dead") == (a.state, a.problem, b.state)


def test_what_disappears_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else has recovered it."""
    monkeypatch.setattr(os, "listdir", lambda path: ["1-0123456789abcdef.ring", "1-0123456789abcdef.part"])
    assert RingsLook(str(tmp_path)) == look_at_rings(tmp_path)


def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    """A link is not followed, a pipe not waited for."""
    (tmp_path / "folder.ring").mkdir()
    os.mkfifo(tmp_path / "pipe.ring")
    (tmp_path / "link.ring").symlink_to("/etc/hostname")
    look = look_at_rings(tmp_path)
    assert {"folder.ring": "a folder", "pipe.ring": "a pipe", "link.ring": "a symbolic link"} == look.strange
    assert () == look.rings


@pytest.mark.parametrize("kind", ["damaged", "pipe", "torn"])
def test_definitions_that_cannot_be_read_say_why(kind: str, tmp_path: Path) -> None:
    """A pipe is not waited for; a torn end is counted."""
    crash(tmp_path / "trace")
    (path,) = (tmp_path / "trace.ring").glob("*.defs")
    if kind == "torn":
        path.write_bytes(path.read_bytes() + b"torn")
    else:
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(b"something else")
    (ring,) = look_at_rings(tmp_path / "trace.ring").rings
    expected = {"damaged": "holds no definitions", "pipe": "they are a pipe", "torn": "4 bytes at the end are torn"}
    assert expected[kind] in str(ring.definitions)
    assert (kind == "torn") == bool(ring.sessions)


def test_what_a_process_left_that_died_while_it_made_a_ring_is_left_over(tmp_path: Path) -> None:
    """Only names that a process gives, only regular files, and never what a living one may be making."""
    gone, here = f"{dead_pid()}-0123456789abcdef", f"{os.getpid()}-0123456789abcdef"
    old = f"{dead_pid()}-fedcba9876543210"
    for name in ("notes.part", "1-a.defs", f"{here}.part", f"{here}.defs", f"{old}.ring", f"{old}.defs"):
        (tmp_path / name).write_bytes(b"")
    left = [f"{gone}.defs", f"{gone}.part", f"{old}.defs.part"]
    for name in left:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / f"{dead_pid()}-00000000000000ff.part").mkdir()
    assert sorted(left) == sorted(look_at_rings(tmp_path).leftovers)


def test_what_belongs_to_a_ring_that_is_held_is_not_left_over(tmp_path: Path) -> None:
    """Its process may be rewriting the definitions; a name that is no file's may be anything."""
    file = RingFolder(tmp_path).create(SIZE)
    (tmp_path / (file.path.stem + ".defs.part")).write_bytes(b"")
    assert () == look_at_rings(tmp_path).leftovers
    file.leave()
    assert 1 == len(look_at_rings(tmp_path).leftovers)
    file.path.unlink()
    file.path.mkdir()
    assert () == look_at_rings(tmp_path).leftovers


@pytest.mark.parametrize("pid", [0, 1, 2**40 % 10**10])
def test_a_process_of_somebody_else_may_be_running(pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be asked is running; what cannot be a process is not."""

    def kill(asked: int, signal: int) -> None:
        if asked == 1:
            raise PermissionError
        if asked > 2**31:
            raise OverflowError

    monkeypatch.setattr(os, "kill", kill)
    (tmp_path / f"{pid}-0123456789abcdef.part").write_bytes(b"")
    assert (pid != 1) == bool(look_at_rings(tmp_path).leftovers)


def test_what_was_set_aside_is_listed(tmp_path: Path) -> None:
    """Under whatever number."""
    for name in ("a.ring.damaged", "a.ring.damaged-2", "a.defs.damaged"):
        (tmp_path / name).write_bytes(b"")
    assert ("a.defs.damaged", "a.ring.damaged", "a.ring.damaged-2") == look_at_rings(tmp_path).damaged
