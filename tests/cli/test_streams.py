"""Where the output goes when it cannot go anywhere: a full disk, a closed stream."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cra.cli.app import EXIT_FAILED

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full to write to")


def _shell(redirection: str, *argv: object) -> tuple[int, str, str]:
    """Runs `python -m cra` with the outputs that a shell's redirection gives it."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "cra", *map(str, argv)],
        cwd=ROOT,
        env=os.environ | {"CRA_DEBUG": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def commands(golden: Path, trace_file: Path) -> dict[str, list[object]]:
    """One command for each way of writing, and one that fails."""
    return {
        "json": ["resolve", "--atlas", golden / "atlas.json", "--goal", "x", "--json"],
        "tables": ["resolve", "--atlas", golden / "atlas.json", "--goal", "x"],
        "trace": ["trace", "show", trace_file],
        "doctor": ["doctor"],
        "help": ["--help"],
        "error": ["resolve", "--atlas", "no-such-atlas", "--goal", "x", "--json"],
    }


@needs_full
@pytest.mark.parametrize("which", ["json", "tables", "trace", "doctor", "help"])
def test_a_full_disk_is_one_line(commands, which):
    """Output that cannot be written is exit code 3 and one line that says so."""
    code, out, err = _shell(">/dev/full", *commands[which])
    assert (EXIT_FAILED, "", 1) == (code, out, err.count("\n")), err
    assert "No space left on device" in err


@needs_full
def test_an_error_that_cannot_be_written_is_one_line(commands):
    """Where the error document itself cannot be written, the line for people says both, and the exit code is 3."""
    code, out, err = _shell(">/dev/full", *commands["error"])
    assert (EXIT_FAILED, "", 1) == (code, out, err.count("\n")), err
    assert "no-such-atlas" in err
    assert "No space left on device" in err


@pytest.mark.parametrize("which", ["json", "tables", "trace", "doctor", "help", "error"])
def test_a_closed_output_is_one_line(commands, which):
    """Without a standard output nothing is done: exit code 3, and no internal error."""
    code, out, err = _shell(">&-", *commands[which])
    assert (EXIT_FAILED, "", 1) == (code, out, err.count("\n")), err
    assert "standard output is closed" in err


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("which", "expected"), [("doctor", 0), ("trace", 0), ("error", 2)])
def test_nobody_to_complain_to_changes_nothing(commands, redirection, which, expected):
    """Without a usable standard error the answer and the exit code are the same."""
    if "full" in redirection and not FULL.exists():
        pytest.skip("there is no /dev/full to write to")
    code, out, err = _shell(redirection, *commands[which])
    assert (expected, "") == (code, err)
    assert out


def test_no_stream_at_all_is_only_an_exit_code(commands):
    """With both outputs closed there is an exit code and nothing else."""
    assert (EXIT_FAILED, "", "") == _shell(">&- 2>&-", *commands["trace"])
