"""The model of a disk that the power cuts are built from: what is kept, what may be lost, and what a trace of calls says."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fault.power.disk import Disk, Tree, build
from tests.fault.power.history import History, Name, Operation, Sync, Truncate, Write
from tests.fault.power.strace import Call, NoTrace, read_calls, strings, trace
from tests.support.services import missing

CUTS = 2_000


def states(tmp_path: Path, *operations: Callable[[int], Operation], seed: int) -> list[Tree]:
    """What a cut after these operations may leave: 0 is the folder, 1 a file, 2 another."""
    history = History(tmp_path / "root", tmp_path / "marks")
    history.new("file", "a")
    history.new("file", "b")
    for place, make in enumerate(operations):
        history.operations.append(make(10 * place))
    choice = random.Random(seed)
    return [Disk(history).cut(10 * len(operations), choice) for _ in range(CUTS)]


def write(data: bytes, offset: int = 0, file: int = 1) -> Callable[[int], Operation]:
    return lambda now: Write(now, now, file, offset, data)


def name(given: str, file: int = 1, taken: str | None = None) -> Callable[[int], Operation]:
    return lambda now: Name(now, now, 0, (given, file), taken)


def sync(file: int) -> Callable[[int], Operation]:
    return lambda now: Sync(now, now, file)


def test_what_was_synced_with_its_name_is_always_there(tmp_path: Path, seed: int) -> None:
    """In every state, whole."""
    found = states(tmp_path, name("a"), write(b"x" * 2000), sync(1), sync(0), seed=seed)
    assert all(tree == {"a": b"x" * 2000} for tree in found)


def test_a_file_that_was_synced_may_have_no_name(tmp_path: Path, seed: int) -> None:
    """And a name that was synced may be that of an empty file."""
    found = states(tmp_path, name("a"), write(b"x"), sync(1), seed=seed)
    assert {} in found
    assert {"a": b"x"} in found
    found = states(tmp_path, name("a"), write(b"x"), sync(0), seed=seed)
    assert {"a": b""} in found
    assert {"a": b"x"} in found
    assert all(tree for tree in found)


def test_a_write_may_be_lost_torn_or_zeros_and_come_before_an_earlier_one(tmp_path: Path, seed: int) -> None:
    """By bytes, by sectors, as a size without data; each alone."""
    first, second = b"x" * 600, b"y" * 600
    found = {
        tree["a"]
        for tree in states(tmp_path, name("a"), sync(0), write(first), write(second, 600), seed=seed)
        if isinstance(tree["a"], bytes)
    }
    assert {b"", first, first + second, bytes(600) + second, bytes(1200), first + bytes(600)} <= found
    assert bytes(512) + first[512:] + second in found
    assert any(0 < len(each) < 600 and each == first[: len(each)] for each in found)


def test_a_rename_is_seen_or_not(tmp_path: Path, seed: int) -> None:
    """One of the names is there, never both and never none, once the first was on the disk."""
    found = states(tmp_path, name("part"), write(b"x"), sync(1), sync(0), name("a", taken="part"), seed=seed)
    assert [{"a": b"x"}, {"part": b"x"}] == sorted({str(tree): tree for tree in found}.values(), key=str)


def test_what_comes_while_a_sync_runs_is_not_kept_by_it(tmp_path: Path, seed: int) -> None:
    """Only what had ended when it began."""
    late: Callable[[int], Operation] = lambda now: Write(now - 15, now - 5, 1, 0, b"x")  # noqa: E731
    found = states(tmp_path, name("a"), sync(0), lambda now: Sync(now - 1, now + 8, 1), late, seed=seed)
    assert {"a": b""} in found


def test_a_file_that_is_cut_may_be_as_it_was(tmp_path: Path, seed: int) -> None:
    """Until that is synced."""
    cut: Callable[[int], Operation] = lambda now: Truncate(now, now, 1, 1)  # noqa: E731
    before = (name("a"), write(b"xy"), sync(1), sync(0), cut)
    assert [b"x", b"xy"] == sorted({bytes(tree["a"]) for tree in states(tmp_path, *before, seed=seed)})  # type: ignore[arg-type]
    assert {b"x"} == {bytes(tree["a"]) for tree in states(tmp_path, *before, sync(1), seed=seed)}  # type: ignore[arg-type]


def test_what_is_there_in_the_beginning_is_there_at_every_moment(tmp_path: Path, seed: int) -> None:
    """It is on the disk: a cut comes after it."""
    tree: Tree = {"a": {"b": b"x" * 2000, "c": {}}, "d": b"y"}
    build(tree, tmp_path / "root")
    history = History(tmp_path / "root", tmp_path / "marks")
    history.add_mark("durable", {"events": {}})
    disk = Disk(history)
    choice = random.Random(seed)
    assert disk.moments
    for moment in disk.moments:
        assert all(tree == disk.cut(moment, choice) for _ in range(100))


def test_a_tree_is_built_as_it_is(tmp_path: Path) -> None:
    """Files and folders."""
    build({"a": {"b": b"x", "c": {}}}, tmp_path / "built")
    assert b"x" == (tmp_path / "built" / "a" / "b").read_bytes()
    assert (tmp_path / "built" / "a" / "c").is_dir()


def test_calls_that_run_at_once_are_put_together(tmp_path: Path) -> None:
    """What one thread begins and another one's call comes between; what never ended; what was injected."""
    seen = tmp_path / "seen"
    seen.write_text(
        '7 write(5, "\\x61", 1 <unfinished ...>\n'
        "8 fsync(6)                                = 0 (INJECTED)\n"
        "7 <... write resumed>)                    = 1\n"
        "8 fsync(6 <unfinished ...>\n"
        "8 +++ killed by SIGKILL +++\n"
    )
    first, second, third = read_calls(seen)
    assert (Call(1, 1, 8, "fsync", "6", 0, True), 0, 2) == (first, second.start, second.end)
    assert [b"a"] == list(strings(second.arguments))
    assert (-1, 3) == (third.result, third.start)


SCRIPT = """
import os, sys
root, marks = sys.argv[1:]
os.mkdir(root + "/d")
file = os.open(root + "/d/a.part", os.O_RDWR | os.O_CREAT)
os.writev(file, [b"one", b"two"])
os.pwrite(file, b"W", 4)
os.lseek(file, 0, os.SEEK_SET)
os.write(file, b"O")
os.fsync(file)
os.rename(root + "/d/a.part", root + "/d/a")
os.link(root + "/d/a", root + "/d/b")
os.unlink(root + "/d/a")
os.truncate(root + "/d/b", 5)
with open(root + "/d/b", "ab") as more:
    more.write(b"!")
folder = os.open(root + "/d", os.O_RDONLY)
os.fsync(folder)
mark = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(mark, b'{"kind": "durable", "events": {"s": 1}}')
if len(sys.argv) > 3:
    os.symlink("x", root + "/link")
"""


def recorded(tmp_path: Path, *more: str) -> History:
    """What the script does, as a history."""
    (tmp_path / "root").mkdir()
    history = History(tmp_path / "root", tmp_path / "marks")
    command = [sys.executable, "-S", "-c", SCRIPT.replace("sys.argv) > 3", more[0] if more else "[]) > 3")]
    try:
        code, said = trace([*command, str(history.root), str(history.marks)], tmp_path / "seen")
    except NoTrace as reason:
        missing(str(reason))
    assert (0, "") == (code, said)
    history.add_run(read_calls(tmp_path / "seen"))
    return history


def test_a_descriptor_is_free_when_its_close_begins(tmp_path: Path) -> None:
    """Another thread's file may have it before strace has said that the close ended."""
    seen = tmp_path / "seen"
    first, second = (str(tmp_path / "root" / each).encode() for each in ("a", "b"))
    seen.write_text(
        f'10 openat(AT_FDCWD, "{_hex(first)}", O_WRONLY|O_CREAT, 0600) = 3\n'
        "10 close(3 <unfinished ...>\n"
        f'11 openat(AT_FDCWD, "{_hex(second)}", O_WRONLY|O_CREAT, 0600) = 3\n'
        "10 <... close resumed>) = 0\n"
        f'11 write(3, "{_hex(b"x")}", 1) = 1\n'
    )
    history = History(tmp_path / "root", tmp_path / "marks")
    history.add_run(read_calls(seen))
    node = history.find(tmp_path / "root" / "b")
    assert node is not None
    assert b"x" == history.nodes[node].data


@pytest.mark.parametrize(
    "call", ['unlink("{path}"', 'link("{path}", "{path}"', 'mkdir("{path}", 0700', 'write(3, "{path}", 9']
)
@pytest.mark.parametrize(
    ("end", "is_said"),
    [
        (" <unfinished ...>", False),
        (") = ?", False),
        (") = ? <unavailable>", False),
        (") = -1 (errno 18446744073709551554)", False),
        (") = -1 ENOSPC (No space left on device)", True),
    ],
)
def test_a_run_that_was_killed_within_a_change_is_not_certain(
    call: str, end: str, is_said: bool, tmp_path: Path
) -> None:
    """Nobody saw whether it was made, however strace puts it; one that was killed while it closed a file changed nothing."""
    for line, certain in (("close(3", True), (call.format(path=_hex(b"/a")), is_said)):
        seen = tmp_path / "seen"
        seen.write_text(f"10 {line}{end}\n")
        history = History(tmp_path / "root", tmp_path / "marks")
        history.add_run(read_calls(seen))
        assert certain == history.is_certain


def _hex(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def test_a_recorded_run_is_what_it_did(tmp_path: Path, seed: int) -> None:
    """Every kind of call that the stores make, down to the bytes."""
    history = recorded(tmp_path)
    (folder,) = history.nodes[0].names.values()
    (file,) = history.nodes[folder].names.values()
    assert b"OnetW!" == bytes(history.nodes[file].data) == (tmp_path / "root" / "d" / "b").read_bytes()
    kinds = [type(each).__name__ for each in history.operations]
    expected = "Name Name Write Write Write Sync Name Name Name Truncate Write Sync Mark"
    assert expected.split() == kinds
    disk = Disk(history)
    assert ({}, {"s": 1}) == (disk.acknowledged(disk.moments[-2]), disk.acknowledged(disk.moments[-1]))
    found: list[Any] = [disk.cut(disk.moments[-1], random.Random(seed + n)) for n in range(200)]
    assert {} in found, "nobody has synced the root"
    assert all(b"OnetW" == tree["d"]["b"][:5] for tree in found if "d" in tree and len(tree["d"]["b"]) > 5)


def test_a_call_that_is_not_understood_is_an_error(tmp_path: Path) -> None:
    """Nothing is left out in silence."""
    with pytest.raises(NotImplementedError, match="symlink"):
        recorded(tmp_path, "[1]) == 1")
