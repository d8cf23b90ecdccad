"""`cra fuzz`: its answers, exit codes, and what it says where something is missing."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from cra.cli import main
from cra.fuzzing import run as module
from cra.fuzzing.registry import NAMES

Capture = pytest.CaptureFixture[str]


def test_without_a_target_there_is_a_table(capsys: Capture) -> None:
    """Of all that there are, with `--list`, too, and as JSON."""
    for arguments in (["fuzz"], ["fuzz", "--list"], ["fuzz", "globs", "--list"]):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(f"\n{name} " in shown for name in NAMES)
    assert main(["fuzz", "--json"]) == 0
    assert list(NAMES) == [each["name"] for each in json.loads(capsys.readouterr().out)["targets"]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "there is no target 'nothing'; there are atlas, "),
        (["--reproduce", "."], "which target?"),
        (["globs", "--time", "0"], "--time"),
        (["globs", "--package", "."], "holds no copy of cra; python -m fuzz build makes one"),
        (["globs", "--reproduce", "empty"], "there is no file in it"),
    ],
)
def test_a_wrong_call_is_one_line(
    arguments: list[str], sentence: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["fuzz", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert ["empty"] == [path.name for path in tmp_path.iterdir()]


def test_an_input_is_put_to_its_target_again(capsys: Capture, tmp_path: Path) -> None:
    """Exit code 0 where all is well, files of a folder included."""
    (tmp_path / "one").write_bytes(b"a*\nab")
    (tmp_path / "two").write_bytes(b"\xff")
    assert main(["fuzz", "globs", "--reproduce", str(tmp_path)]) == 0
    assert "2 inputs, 0 failed, 2 taken" in capsys.readouterr().out


def test_an_input_that_fails_is_shown(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1, with the traceback for people and as JSON."""
    from cra.fuzzing import replay
    from tests.fuzz.planted import BOOTSTRAP

    (tmp_path / "one").write_bytes(b"one")
    monkeypatch.setattr(replay, "BOOTSTRAP", BOOTSTRAP + replay.BOOTSTRAP.replace("sys.argv[2]", "'broken'"))
    (tmp_path / "two").write_bytes(b"raises")
    assert main(["fuzz", "globs", "--reproduce", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert f"{tmp_path / 'two'} fails:" in shown
    assert "IndexError" in shown
    assert "2 inputs, 1 failed, 1 taken" in shown
    assert main(["fuzz", "globs", "--reproduce", str(tmp_path / "two"), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["target"], document["passed"]) == ("globs", False)
    assert "IndexError" in document["inputs"][0]["problem"]


def test_without_the_engine_it_says_what_to_install(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3: a package is not installed."""
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert main(["fuzz", "globs", "--out", str(tmp_path / "out"), "--json"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["code"] == "MISSING_EXTRA"
    assert "pip install atheris" in captured.err


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="Atheris is not installed (extra fuzz)")
def test_a_run_says_what_it_did(capsys: Capture, tmp_path: Path) -> None:
    """In numbers, and whether the compiled half was instrumented; the corpus is where it was told to be."""
    assert main(["fuzz", "globs", "--time", "1", "--out", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["executions"] > 0
    assert document["coverage"] > 0
    assert document["crashes"] == []
    assert document["instrumentation"] in ("none", "absent")
    assert list((tmp_path / "out" / "corpus").iterdir())
