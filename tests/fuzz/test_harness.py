"""The harness: two copies of the package, and whatever is wrong with an answer is raised, told apart and kept once."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import cra
from cra.fuzzing import replay as replay_module
from cra.fuzzing.crashes import CrashFolder, native_reason, python_reason
from cra.fuzzing.harness import Disagreement, Harness
from cra.fuzzing.registry import MODULES
from cra.fuzzing.replay import replay
from cra.fuzzing.target import Target, Unexpected, dictionary
from cra.fuzzing.worlds import worlds
from tests.fuzz.planted import BOOTSTRAP, NAME, Finder
from tests.support.twins import BUILT

BOTH = ("compiled", "pure") if cra.implementation() == "compiled" else ("pure",)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Of a target that is wrong on purpose."""
    monkeypatch.setitem(MODULES, "broken", NAME)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    return Harness("broken")


def test_both_implementations_are_asked(harness: Harness) -> None:
    """The one that is imported, and where that is the compiled one, the reference."""
    assert harness.implementations == BOTH
    assert BUILT or cra.implementation() == "pure"
    assert harness.run(b"anything")


def test_the_copies_share_nothing_and_the_first_is_found_again() -> None:
    """Classes are others, imports find the copy that is active, and the environment is as it was, also after an error."""
    before = {name: module for name, module in sys.modules.items() if name == "cra" or name.startswith("cra.")}
    choices = {name: os.environ.get(name) for name in ("CRA_PURE_PYTHON", "CRA_REQUIRE_COMPILED")}
    for world in worlds()[1:]:
        with suppress(RuntimeError), world.active():
            found = world.module("cra")
            assert found is sys.modules["cra"] is not cra
            assert (found.implementation(), found.errors.CRAError) != (cra.implementation(), cra.CRAError)
            assert "cra._speedups" not in sys.modules
            raise RuntimeError
    assert all(sys.modules[name] is module for name, module in before.items())
    assert choices == {name: os.environ.get(name) for name in choices}


@pytest.mark.skipif(len(BOTH) == 1, reason="there is one implementation here, which cannot disagree")
def test_a_difference_is_raised_with_what_is_around_it(harness: Harness) -> None:
    """And what comes before it."""
    with pytest.raises(Disagreement, match=r"compiled: answered .*\n.*pure: answered") as raised:
        harness.run(b"differs")
    assert raised.value.parted.endswith("the same up to here', '")


def test_a_documented_refusal_is_an_answer(harness: Harness) -> None:
    """Not one that is taken, and nothing is wrong."""
    assert not harness.run(b"documented")


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"undocumented", cra.TraceBackpressure), (b"raises", IndexError), (b"unexpected", Unexpected)],
)
def test_anything_else_is_raised(harness: Harness, data: bytes, error: type[Exception]) -> None:
    """Errors of the package that the door does not document, other exceptions, and what does not hold."""
    with pytest.raises(error):
        harness.run(data)


def reason(harness: Harness, data: bytes) -> tuple[str, str]:
    """Why an input fails."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whichever it is
        harness.run(data)
    return python_reason(raised.value)


def test_a_crash_is_kept_once(harness: Harness, tmp_path: Path) -> None:
    """With the input, and the command that shows it again; another failure is another crash."""
    folder = CrashFolder(tmp_path / "crashes", "broken")
    first = folder.keep(b"raises", reason(harness, b"raises"))
    assert first is not None
    assert folder.keep(b"raises, too", reason(harness, b"raises")) is None
    assert folder.keep(b"unexpected", reason(harness, b"unexpected")) is not None
    assert {b"raises", b"unexpected"} == {Path(crash.input).read_bytes() for crash in folder.list()}
    text = Path(first.input).with_suffix(".txt").read_text()
    assert f"cra fuzz broken --reproduce {first.input}" in text
    assert "IndexError" in text
    assert [first] == [crash for crash in folder.list() if crash.signature == first.signature]


def test_a_report_of_a_sanitizer_is_told_apart_by_kind_and_place() -> None:
    """Addresses do not count, functions do."""
    report = "==1==ERROR: AddressSanitizer: heap-buffer-overflow on address {0}\n\n    #0 {0} in put (x.c:1)\n"
    assert native_reason(report.format("0x1a"))[0] == native_reason(report.format("0x2b"))[0]
    assert native_reason(report.format("0x1a"))[0] != native_reason(report.format("0x1a").replace("put", "get"))[0]
    assert "heap-buffer-overflow in put" in native_reason(report.format("0x1a"))[1]
    assert native_reason("Killed")[0] == "the process died"


def test_inputs_are_replayed_in_a_process_that_may_die_or_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are failures of that input, and those behind it are replayed all the same."""
    monkeypatch.setitem(MODULES, "broken", NAME)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    monkeypatch.setattr(replay_module, "BOOTSTRAP", BOOTSTRAP + replay_module.BOOTSTRAP)
    files = []
    for data in (b"fine", b"dies", b"documented", b"hangs", b"raises", b"also fine"):
        path = tmp_path / data.decode()
        path.write_bytes(data)
        files.append(str(path))
    outcomes = {Path(each.input).name: each for each in replay("broken", files)}
    assert [Path(path).name for path in files] == list(outcomes)
    assert ["fine", "documented", "also fine"] == [name for name, each in outcomes.items() if each.passed]
    assert ["fine", "also fine"] == [name for name, each in outcomes.items() if each.taken]
    assert "the process ended with code 7" in outcomes["dies"].problem
    assert "it takes longer than 3 s" in outcomes["hangs"].problem
    assert "IndexError" in outcomes["raises"].problem


def test_a_dictionary_is_written_as_libfuzzer_reads_it() -> None:
    """Quotes and backslashes escaped, and everything that is no plain character by its number."""
    target = Target("x", "x", lambda data: None, list, tokens=(b'a"\\\n\xff', b" "))
    assert dictionary(target) == '"a\\"\\\\\\x0a\\xff"\n" "\n'
