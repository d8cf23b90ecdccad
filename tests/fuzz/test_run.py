"""Fuzzing itself: what was planted is found and kept, a crash of native code ends nothing, what was corrected is forgotten."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import cra
import fuzz.corpora
from cra.fuzzing import run as module
from cra.fuzzing.engine import CORPUS
from cra.fuzzing.run import NoEngine, Progress, run
from fuzz.__main__ import main

PACKAGE = Path(cra.__file__).parent
PATIENCE_SECONDS = 40
engine = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="Atheris is not installed (extra fuzz)")


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[str, str], str]:
    """A copy of the package in which the target `globs` has this line at its beginning; the folder it is in."""

    def make(line: str, name: str = "package") -> str:
        folder = tmp_path / name
        shutil.copytree(PACKAGE, folder / "cra", ignore=shutil.ignore_patterns("__pycache__"))
        target = folder / "cra" / "fuzzing" / "targets" / "globs.py"
        before = target.read_text()
        begin = '    pattern, *texts = data.decode(errors="surrogateescape")'
        assert begin in before
        target.write_text(before.replace(begin, f"    {line}\n{begin}"))
        return str(folder)

    return make


def stop_at_first(progress: Progress) -> None:
    """As soon as there is a crash there is nothing to wait for."""
    if progress.crashes:
        raise KeyboardInterrupt


@engine
def test_a_planted_bug_is_found_kept_and_forgotten_when_it_is_corrected(
    tmp_path: Path, planted: Callable[..., str]
) -> None:
    """By an input that no seed is; a sound package then takes it for its corpus."""
    out = tmp_path / "out"
    wrong = planted("if data.count(b'?') == 3: raise KeyError(len(data))")
    with pytest.raises(KeyboardInterrupt):
        run("globs", PATIENCE_SECONDS, out, package=wrong, watch=stop_at_first)
    (crash,) = module.CrashFolder(out / "crashes", "globs").list()
    data = Path(crash.input).read_bytes()
    assert data.count(b"?") == 3
    assert crash.summary.startswith("KeyError")
    result = run("globs", 1, out, package=planted("pass", "corrected"))
    assert () == result.crashes
    assert not Path(crash.input).exists()
    assert data in [path.read_bytes() for path in (out / CORPUS).iterdir()]
    assert result.progress.executions > result.progress.failed == 0
    assert result.progress.coverage > 0


@engine
def test_a_process_that_dies_is_started_again(tmp_path: Path, planted: Callable[..., str]) -> None:
    """The input it died of is a crash, kept once, however it is met again; the seed, which it meets first, is left out then."""
    package = planted("if data.startswith(b'a?c') or data.count(b'?') == 3: import os; os.abort()")
    seen: list[int] = []

    def watch(progress: Progress) -> None:
        seen.append(progress.starts)
        if progress.starts > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("globs", PATIENCE_SECONDS * 2, tmp_path / "out", package=package, watch=watch)
    assert {1, 2, 3} <= set(seen)
    (crash,) = module.CrashFolder(tmp_path / "out" / "crashes", "globs").list()
    assert Path(crash.input).read_bytes().startswith(b"a?c")


def test_without_the_engine_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That says what to install, before anything is written."""
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NoEngine, match=r"pip install atheris .*--reproduce FILE"):
        run("globs", 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@engine
def test_an_engine_that_does_not_start_is_told(tmp_path: Path, planted: Callable[..., str]) -> None:
    """Not tried again, and its last words are in the log."""
    package = planted("pass")
    Path(package, "cra", "fuzzing", "targets", "globs.py").write_text("raise SystemExit(json)")
    with pytest.raises(NoEngine, match="before its first input"):
        run("globs", 5, tmp_path / "out", package=package)
    assert "NameError" in (tmp_path / "out" / "log.txt").read_text()


# Tells of one input, and ends.
SHORT_LIVED = """
import json, os, sys
os.write(json.loads(sys.argv[2])["tell"], b'{"executions":1,"taken":0,"failed":0}\\n')
os._exit(3)
"""


@pytest.mark.parametrize(
    ("bootstrap", "message"),
    [("pass", "ended with code 0 before its first input"), (SHORT_LIVED, "ended with code 3 over no input")],
)
def test_an_engine_that_tries_nothing_is_told(
    bootstrap: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no run without a crash."""
    monkeypatch.setattr(module, "check_engine", lambda: None)
    monkeypatch.setattr(module, "BOOTSTRAP", bootstrap)
    with pytest.raises(NoEngine, match=message):
        run("globs", 5, tmp_path / "out")


def test_a_corpus_that_is_not_there_fails_its_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing failed, since nothing was tried."""
    monkeypatch.setattr(fuzz.corpora, "corpus", lambda target: tmp_path / target)
    assert 1 == main(["replay", "--target", "globs"])
    assert "no inputs are committed for globs" in capsys.readouterr().err


def test_the_order_to_the_engine_is_plain_json() -> None:
    """Read by a process that has imported nothing yet."""
    order = module.Order("globs", 1, "/out", ("/corpus",), 3)
    assert json.loads(module.msgspec.json.encode(order))["target"] == "globs"
