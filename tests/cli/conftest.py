"""Running the command line: in this process for its output and exit code, in one of its own for signals and pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cra.cli import main

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"


class Run(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def golden() -> Path:
    """The folder of the golden case: an atlas of five actions and a request."""
    return DATA / "golden" / "simple-resolve"


@pytest.fixture
def foreign_trace() -> Path:
    """A trace that the Rust implementation wrote."""
    return DATA / "foreign-traces" / "cra-rust-session.trace.jsonl"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Runs a command in this process, as if in a pipe without colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("CRA_DEBUG", raising=False)

    def run_command(*argv: object) -> Run:
        capsys.readouterr()
        code = main([str(argument) for argument in argv])
        out, err = capsys.readouterr()
        return Run(code, out, err)

    return run_command


@pytest.fixture
def spawn() -> Callable[..., subprocess.Popen[str]]:
    """Starts `python -m cra` with both of its outputs in pipes."""

    def start(*argv: object, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cra", *map(str, argv)],
            cwd=ROOT,
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What a shell runs in the background is born deaf to it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return start


@pytest.fixture
def trace_file(run: Callable[..., Run], golden: Path, tmp_path: Path) -> Path:
    """The trace of the golden request, freshly made."""
    path = tmp_path / "golden.trace.jsonl"
    atlas, request = golden / "atlas.json", golden / "request.json"
    assert run("resolve", "--atlas", atlas, "--request", request, "--trace-out", path).code == 0
    return path
