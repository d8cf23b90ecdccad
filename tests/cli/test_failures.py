"""Whatever goes wrong is one line, the right exit code, and never a traceback."""

from __future__ import annotations

import json
import os
import signal

import pytest

import cra.cli
from cra import errors
from cra.cli import app, doctor
from cra.testing.traces import make_trace
from cra.trace.jsonl import write_events


def _all_errors(root: type[errors.CRAError]) -> list[type[errors.CRAError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _all_errors(child))]


EXIT_CODES = {
    "not_found": 2,
    "validation": 2,
    "conflict": 2,
    "authorization": 1,
    "expired": 1,
    "rate_limit": 1,
    "integrity": 1,
    "internal": 3,
    "external": 3,
}


@pytest.mark.parametrize("category", sorted({kind.category for kind in _all_errors(errors.CRAError)}))
def test_every_category_of_error_has_an_exit_code(run, monkeypatch, category):
    """Refusals are 1, bad input 2, failures of the runtime 3."""

    class Problem(errors.CRAError):
        code = "PROBLEM"

    Problem.category = category

    def fail(path: object, strict: bool) -> None:
        raise Problem("no luck")

    monkeypatch.setattr("cra.cli.atlas.cra.load_atlas", fail)
    code, out, err = run("atlas", "validate", os.curdir)
    assert (EXIT_CODES[category], "", "cra: no luck\n") == (code, out, err)


def _break(monkeypatch: pytest.MonkeyPatch, problem: BaseException) -> None:
    def fail() -> str:
        raise problem

    monkeypatch.setattr(doctor.platform, "platform", fail)


def test_an_unexpected_error_is_one_line_that_says_how_to_see_more(run, monkeypatch):
    """A bug is exit code 3 and no traceback."""
    _break(monkeypatch, ZeroDivisionError("division by zero"))
    code, out, err = run("doctor")
    assert (3, "", 1) == (code, out, err.count("\n"))
    assert "internal error: ZeroDivisionError: division by zero" in err
    assert "CRA_DEBUG=1" in err


def test_an_unexpected_error_is_json_with_json(run, monkeypatch):
    """A program sees a bug as the published error body."""
    _break(monkeypatch, ZeroDivisionError("division by zero"))
    code, out, _ = run("doctor", "--json")
    assert 3 == code
    assert "INTERNAL_ERROR" == json.loads(out)["error"]["code"]


def test_the_traceback_is_there_on_request(run, monkeypatch):
    """CRA_DEBUG=1 lets the exception through."""
    _break(monkeypatch, ZeroDivisionError("division by zero"))
    monkeypatch.setenv("CRA_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("doctor")


def test_an_error_of_the_system_is_no_bug(run, monkeypatch):
    """A full disk is exit code 3, without the advice to report it."""
    _break(monkeypatch, OSError(28, "No space left on device"))
    code, _, err = run("doctor")
    assert (3, "cra: OSError: [Errno 28] No space left on device\n") == (code, err)


def test_an_interrupt_is_130(run, monkeypatch):
    """Ctrl-C ends quietly with the exit code that shells expect."""
    _break(monkeypatch, KeyboardInterrupt())
    code, out, err = run("doctor")
    assert (130, "", "") == (code, out, err)


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["frobnicate"], "frobnicate"),
        (["atlas"], "Missing command"),
        (["resolve"], "--atlas"),
        (["doctor", "--frobnicate"], "--frobnicate"),
        (["trace", "verify"], "FILE"),
    ],
)
def test_a_wrong_call_is_one_line_that_names_the_help(run, argv, problem):
    """An unknown command or option, or a missing one, is exit code 2 and points to `--help`."""
    code, out, err = run(*argv)
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert problem in err
    assert "--help" in err


def test_a_wrong_call_is_json_with_json(run):
    """A wrong call is one JSON document too."""
    code, out, _ = run("resolve", "--json")
    assert 2 == code
    assert "USAGE_ERROR" == json.loads(out)["error"]["code"]


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_without_arguments_there_is_help(run, argv):
    """`cra` alone shows the commands."""
    code, out, _ = run(*argv)
    assert 0 == code
    for command in ("resolve", "atlas", "trace", "doctor"):
        assert command in out


def test_the_version_is_printed(run):
    """`cra --version` names version and implementation."""
    assert (0, f"cra {cra.__version__} ({cra.implementation()})\n", "") == run("--version")


@pytest.mark.parametrize("missing", cra.cli.EXTRA_PACKAGES)
def test_without_the_extra_there_is_one_line(run, monkeypatch, missing):
    """A bare install says what to install, and nothing else."""
    monkeypatch.setattr("cra.cli.find_spec", lambda name: None if name == missing else object())
    hint = "cra: the command line needs typer and rich (the extra cra[cli]): pip install typer rich\n"
    assert (3, "", hint) == run("doctor")
    code, out, err = run("doctor", "--json")
    assert (3, hint, "MISSING_EXTRA") == (code, err, json.loads(out)["error"]["code"])


def test_a_closed_pipe_is_quiet(spawn):
    """Whoever stops reading (`| head`) gets no complaint on stderr."""
    process = spawn("doctor")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert ("", app.EXIT_READER_GONE) == (err, process.returncode)


def test_a_terminal_without_utf8_gets_escapes(spawn, golden):
    """Output in ASCII loses nothing and raises nothing."""
    process = spawn(
        "resolve", "--atlas", golden / "atlas.json", "--goal", "x", PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    out, err = process.communicate(timeout=60)
    assert (0, "") == (process.returncode, err)
    assert out.isascii()


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
def test_a_real_interrupt_is_130(spawn, tmp_path):
    """SIGINT while a command waits for somebody to read its output ends it quietly."""
    trace = tmp_path / "t.jsonl"
    write_events(trace, make_trace([("a.b", {"text": "x" * 1000})] * 2000))
    process = spawn("trace", "show", trace)
    assert process.stdout.read(1)  # the rest does not fit into the pipe
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (130, "") == (process.returncode, err)
