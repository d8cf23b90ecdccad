"""A checkup: every problem is one line, with the command that comes next; what is healthy has none."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
from pathlib import Path

import pytest

from cra.storage.jsonl import JsonlStorage
from cra.testing import SeededIds, VirtualClock
from cra.testing.traces import make_trace
from cra.trace.checkup import Checkup, check
from cra.trace.repair import repair
from cra.trace.store_kind import is_ring_folder
from tests.support.crashes import contents, crash, file_of, open_work


def checked(data: Path, rings: Path | None = None) -> Checkup:
    """A checkup, which changes nothing, and whose problems are all told in one line and have something to do next."""
    before = contents(data.parent)
    found = check(data, rings)
    assert before == contents(data.parent)
    for problem in found.problems:
        assert problem.message
        assert problem.next
        assert "\n" not in problem.message
    return found


def codes(found: Checkup) -> list[str]:
    """The kinds of the problems."""
    return [problem.code for problem in found.problems]


def test_a_folder_that_was_closed_is_healthy(tmp_path: Path) -> None:
    """Nothing is open, nothing is wrong."""
    resolver, _ = open_work(tmp_path / "trace")
    resolver.close()
    found = checked(tmp_path / "trace")
    assert ((), ()) == (found.problems, found.open_sessions)
    assert found.store is not None
    assert 2 == len(found.store.sessions)


def test_a_folder_in_use_is_healthy(tmp_path: Path) -> None:
    """Sessions are open, by a process that lives."""
    resolver, session = open_work(tmp_path / "trace")
    with resolver:
        found = checked(tmp_path / "trace")
        assert () == found.problems
        assert tuple(sorted([session.session_id, resolver.session_id])) == found.open_sessions


def test_a_dead_ring_is_recovered_next(tmp_path: Path) -> None:
    """With what waits in it, and how many sessions are open."""
    crash(tmp_path / "trace")
    (problem,) = checked(tmp_path / "trace").problems
    assert "dead_ring" == problem.code
    assert re.match(r"its process is gone, and \d+ records may not be stored; ", problem.message)
    assert "2 sessions open" in problem.message
    assert f"cra trace recover {tmp_path}/trace" == problem.next


def test_rings_elsewhere_are_looked_at_where_they_are(tmp_path: Path) -> None:
    """And named in the command. Without them it is not known who has the sessions."""
    crash(tmp_path / "trace", ring=tmp_path / "my rings")
    (problem,) = checked(tmp_path / "trace", tmp_path / "my rings").problems
    assert f"cra trace recover {tmp_path}/trace --ring '{tmp_path}/my rings'" == problem.next
    assert ["no_end"] * 2 == codes(checked(tmp_path / "trace"))


@pytest.mark.parametrize("name", ["trace.ring", "rings"])
def test_a_folder_of_rings_is_looked_at_alone(name: str, tmp_path: Path) -> None:
    """By its name or by what is in it; the store is to be given."""
    crash(tmp_path / "trace", ring=tmp_path / name)
    found = checked(tmp_path / name)
    assert found.store is None
    (problem,) = found.problems
    assert f"cra trace recover STORE --ring {tmp_path}/{name}" == problem.next
    assert not is_ring_folder(tmp_path / "trace")
    assert not is_ring_folder(tmp_path / "nowhere")


def test_what_is_torn_in_a_ring_is_in_the_sentence(tmp_path: Path) -> None:
    """What nobody was told of apart from what was lost; and definitions that cannot be read. Whose the open sessions are is seen
    after that."""
    crash(tmp_path / "trace")
    (ring,) = (tmp_path / "trace.ring").glob("*.ring")
    image = bytearray(ring.read_bytes())
    image[image.rindex(b"the last")] ^= 1
    head = int.from_bytes(image[128:136], "little")
    image[128:136] = (head + 64).to_bytes(8, "little")
    ring.write_bytes(image)
    ring.with_suffix(".defs").write_bytes(b"nothing")
    (problem,) = checked(tmp_path / "trace").problems
    assert "1 place torn (committed, and its checksum is wrong)" in problem.message
    assert "1 record that nobody was told of, torn" in problem.message
    assert "definitions: " in problem.message


def test_what_is_wrong_with_a_session_says_where(tmp_path: Path) -> None:
    """A bad line with its number, a torn tail with its bytes; what does not verify is not ended by anybody."""
    resolver, session = open_work(tmp_path / "trace")
    resolver.close()
    path = file_of(tmp_path / "trace", session.session_id)
    path.write_bytes(path.read_bytes().replace(b"a lamp", b"a lump") + b"torn")
    chain, torn = checked(tmp_path / "trace").problems
    assert (str(path), "chain", f"cra trace verify {path}") == (chain.file, chain.code, chain.next)
    assert chain.message.startswith("line 2 does not verify: hash_mismatch: ")
    assert ("torn_tail", f"cra trace recover {tmp_path}/trace") == (torn.code, torn.next)
    assert "4 bytes" in torn.message


def test_a_session_without_an_end_that_nobody_knows_can_be_ended(tmp_path: Path) -> None:
    """Its process died without a ring; somebody has to say that it did."""
    storage = JsonlStorage(tmp_path / "trace")
    storage.append(make_trace([("session.started", {})]))
    assert [] == codes(checked(tmp_path / "trace")), "it is being written"
    storage.close()
    (problem,) = checked(tmp_path / "trace").problems
    assert ("no_end", f"cra trace recover {tmp_path}/trace --end-sessions") == (problem.code, problem.next)


def test_whatever_else_lies_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was set aside, left over, is no regular file or cannot be read: each with what to do."""
    trace, rings = tmp_path / "trace", tmp_path / "trace.ring"
    trace.mkdir()
    rings.mkdir()
    uuid = "00000000-0000-7000-8000-000000000000.trace.jsonl"
    (trace / uuid).mkdir()
    (trace / f"1{uuid[1:]}").write_bytes(b"")
    (trace / ".x.part").write_bytes(b"")
    (rings / "1-a.ring.damaged").write_bytes(b"")
    (rings / "2-0123456789abcdef.defs").write_bytes(b"")
    (rings / "no.ring").write_bytes(b"no ring")
    (rings / "pipe.ring").mkdir()
    (rings / "secret.ring").write_bytes(b"")
    really, asked = os.open, os.access

    def refusing(path: object, *arguments: int) -> int:
        if str(path).endswith(("secret.ring", f"1{uuid[1:]}")):
            raise PermissionError(13, "Permission denied")
        return really(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    monkeypatch.setattr(os, "access", lambda path, mode: "secret" not in str(path) and asked(path, mode))
    told = {problem.file.rpartition("/")[2]: (problem.code, problem.next) for problem in check(trace).problems}
    recover = f"cra trace recover {trace}"
    assert {
        uuid: ("not_regular", f"mv {trace}/{uuid} ELSEWHERE/"),
        f"1{uuid[1:]}": ("unreadable", f"ls -l {trace}/1{uuid[1:]}"),
        ".x.part": ("leftover", f"rm {trace}/.x.part"),
        "1-a.ring.damaged": ("damaged", f"mv {rings}/1-a.ring.damaged ELSEWHERE/"),
        "2-0123456789abcdef.defs": ("leftover", recover),
        "no.ring": ("damaged_ring", recover),
        "pipe.ring": ("not_regular", f"mv {rings}/pipe.ring ELSEWHERE/"),
        "secret.ring": ("unreadable", f"ls -l {rings}/secret.ring"),
    } == told


def test_a_folder_that_cannot_be_listed_is_a_problem(tmp_path: Path) -> None:
    """The store's as well as the rings'."""
    (tmp_path / "trace").write_bytes(b"")
    (tmp_path / "trace.ring").write_bytes(b"")
    assert ["unreadable"] * 2 == codes(checked(tmp_path / "trace"))


NAMES = [
    *(f"{n}0000000-0000-7000-8000-000000000000.trace.jsonl" for n in range(4)),
    *(f"{n}-0123456789abcdef{suffix}" for n in range(1, 3) for suffix in (".ring", ".defs", ".part", ".defs.part")),
    "x.ring.damaged",
    "x.trace.jsonl.torn",
    "na\nme\x1b[2J.ring",
    "\udcff.defs",
]


def litter(folder: Path, rng: random.Random, samples: list[bytes]) -> None:
    """Put anything at all under the names that mean something."""
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        path = folder / name
        if os.path.lexists(path):
            continue
        kind = rng.randrange(10)
        if kind == 0:
            path.mkdir()
        elif kind == 1:
            os.mkfifo(path)
        elif kind == 2:
            path.symlink_to(rng.choice(["/etc/passwd", "/dev/zero", "nowhere", ".", name]))
        elif kind == 3:
            path.write_bytes(b"")
        elif kind == 4:
            path.write_bytes(rng.randbytes(rng.randrange(200)))
        elif kind == 5:
            with path.open("wb") as file:
                file.truncate(rng.choice([1, 65_536, 70_000, 2**31]) if name.endswith(".ring") else 70_000)
        elif kind < 9:
            image = bytearray(rng.choice(samples))
            for _ in range(rng.choice([0, 1, 3, 50])):
                image[rng.randrange(len(image))] = rng.randrange(256)
            path.write_bytes(image[: rng.choice([len(image), rng.randrange(len(image))])])


@pytest.mark.parametrize("number", range(25))
def test_nothing_that_lies_in_a_folder_is_too_much(number: int, seed: int, tmp_path: Path) -> None:
    """Looking neither raises nor waits nor changes anything; repairing destroys nothing that cannot be read, and a second time it
    finds nothing to do."""
    rng = random.Random(seed * 1_000 + number)
    data, rings = tmp_path / "trace", tmp_path / "trace.ring"
    session = crash(data)
    samples = [path.read_bytes() for path in (*data.iterdir(), *rings.iterdir())]
    litter(rings, rng, samples)
    before_store = sorted(os.listdir(data))
    litter(data, rng, samples)
    checked(data)
    checked(rings)
    for name in set(os.listdir(data)) - set(before_store):  # with them the store does not open; and it says why
        path = data / name
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)
    strange = {path.lstat().st_ino for path in rings.iterdir() if path.is_symlink() or not path.is_file()}
    done = repair(data, None, VirtualClock(), SeededIds(2))
    assert strange <= {path.lstat().st_ino for path in rings.iterdir()}, "under its own name, or another"
    assert "session.ended" == JsonlStorage(data).last(session, 1)[0].event_type
    again = repair(data, None, VirtualClock(), SeededIds(3))
    assert (0, (), (), ()) == (again.recovery.rings, again.tails, again.set_aside, again.removed)
    assert set(done.refused) == set(again.refused)
    for refusal in done.refused:
        assert "cannot be opened: it is a" in refusal.message or "Too many levels of symbolic links" in refusal.message
    for problem in checked(data).problems:
        assert problem.code in ("damaged", "not_regular", "no_end"), problem


def test_a_socket_is_no_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening one fails; it is named all the same."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.ring").mkdir()
    monkeypatch.chdir(tmp_path / "x.ring")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s.ring")
    assert ["not_regular"] == codes(check(tmp_path / "x.ring"))
