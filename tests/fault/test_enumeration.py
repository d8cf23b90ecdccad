"""A few of the faults that `python -m tests.fault.enumerate` injects, and stores that are broken, which it has to notice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fault.calls import Call, Fault, is_traceable
from tests.fault.judge import Promise, check_run, promises
from tests.support.services import missing

ROOT = Path(__file__).parents[2]
_find_counts = re.compile(
    r"([0-9]+) faults injected \(journal ([0-9]+), jsonl ([0-9]+), sqlite ([0-9]+); .* ([0-9]+) wrong"
).match


@pytest.fixture(scope="module", autouse=True)
def _strace() -> None:
    if shutil.which("strace") is None:
        missing("strace is not installed")
    if not is_traceable():
        pytest.skip("this machine allows no strace")


def enumerate_faults(*options: str) -> subprocess.CompletedProcess[str]:
    """Run it with the implementation that is the default."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.fault.enumerate", *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_no_fault_loses_or_doubles_what_was_acknowledged(seed: int) -> None:
    """Of each store, in every part; each fault fires."""
    done = enumerate_faults("--thin", "150", "--seed", str(seed))
    assert 0 == done.returncode, done.stderr + done.stdout
    counts = _find_counts(done.stdout.splitlines()[-1])
    assert counts is not None
    assert min(map(int, counts.groups()[:4])) > 0
    assert "0" == counts[5]


@pytest.mark.parametrize(
    "options",
    [
        ["--mutant", "believed-fsyncs", "--store", "sqlite", "--part", "work", "--call", "fdatasync", "--thin", "4"],
        ["--mutant", "forgotten-rings", "--store", "journal", "--part", "recovery", "--thin", "1000"],
    ],
    ids=lambda options: options[1],
)
def test_a_broken_store_is_noticed(options: list[str]) -> None:
    """Or nothing would be said by the faults that are survived."""
    done = enumerate_faults("--seed", "1", *options)
    assert 1 == done.returncode, done.stderr + done.stdout
    assert "Promise(" in done.stderr or "an fsync failed, and nobody was told" in done.stderr, done.stderr


def test_a_level_holds_for_what_its_life_said_before() -> None:
    """For what other lives said, only a start does, which recovers it."""
    said = [("1", "recorded", "s", "a"), ("2", "ended", "t"), ("1", "stored"), ("1", "recorded", "s", "b")]
    assert [True, False, False] == [promise.is_stored for promise in promises(said)]
    assert [True, True, True] == [promise.is_stored for promise in promises([*said, ("3", "opened")])]
    assert Promise("1", "recorded", "s", "a", True, False) == promises(said)[0]
    assert [True, True, True] == [promise.may_go for promise in promises([*said, ("1", "old")])]


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ([("1", "refused", "durable", ""), ("1", "durable")], "an fsync was believed"),
        ([("1", "durable"), ("1", "stored")], "nobody was told"),
        ([("1", "refused", "start", "")], "does not even begin"),
        ([("1", "refused", "stored", "")], "nothing can be stored any more"),
        ([("raised", "why")], "why"),
        ([("hangs",)], "hangs"),
    ],
)
def test_what_a_run_must_not_do_is_noticed(said: list[tuple[str, ...]], wrong: str) -> None:
    """Whatever the store has in the end."""
    fault = Fault(Call("cra-recorder 1", "fsync", 1, "fsync(3) = 0"), "EIO")
    with pytest.raises(AssertionError, match=wrong):
        check_run("jsonl", said, 0, fault)


def test_what_can_become_of_a_call_follows_from_what_it_does() -> None:
    """A full disk is for what takes room."""
    effects = {text: Call("main 1", text.partition("(")[0], 1, text).effects for text in CALLS}
    assert CALLS == effects


CALLS = {
    "writev(3)": ("EIO", "ENOSPC", "KILL"),
    "fdatasync(3)": ("EIO", "ENOSPC", "KILL"),
    'openat("a", O_RDWR|O_CREAT)': ("EIO", "ENOSPC", "KILL"),
    'openat("a", O_RDWR)': ("EIO", "KILL"),
    'openat("a", O_RDONLY)': ("EIO", "KILL"),
    'unlink("a")': ("EIO", "KILL"),
    "pread64(3)": ("EIO",),
}
