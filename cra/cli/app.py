"""The commands, wired together, and the one place where whatever goes wrong becomes a line and an exit code.

Called by `cra.cli.main`. Commands raise; nothing here lets a traceback through, unless `CRA_DEBUG=1` asks for it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, cast

import typer

import cra
from cra.cli import atlas, bench, conformance, doctor, fuzz, resolve, trace
from cra.cli.terminal import OutputFailed, ReaderGone, complain, say, say_json
from cra.errors import CRAError

EXIT_NO = 1
EXIT_USAGE = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_READER_GONE = 141

_EXIT_CODES = {
    "not_found": EXIT_USAGE,
    "validation": EXIT_USAGE,
    "conflict": EXIT_USAGE,
    "authorization": EXIT_NO,
    "expired": EXIT_NO,
    "rate_limit": EXIT_NO,
    "integrity": EXIT_NO,
    "internal": EXIT_FAILED,
    "external": EXIT_FAILED,
}

# What typer raises for a wrong call. Newer versions carry click inside them, older ones depend on it: either way this is it.
_UsageError = cast(type[Exception], typer.BadParameter.__mro__[2])

app = typer.Typer(
    help="What an agent may do, decided by atlases and proved by traces.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(resolve.resolve)
app.add_typer(atlas.app, name="atlas")
app.add_typer(trace.app, name="trace")
app.command()(bench.bench)
app.add_typer(conformance.app, name="conformance")
app.command()(fuzz.fuzz)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"cra {cra.__version__} ({cra.implementation()})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def run(argv: Sequence[str]) -> int:
    """Runs one command and returns its exit code. API: exit codes."""
    if sys.stderr is None:  # closed by whoever started this: there is nobody to complain to
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        complain(
            "standard output is closed, so that there is nowhere to answer; send it to /dev/null if nobody reads it"
        )
        return EXIT_FAILED
    # A terminal that cannot show a character gets its escape instead of a UnicodeEncodeError.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(list(argv) or ["--help"])
    except ReaderGone:
        _discard_output()
        return EXIT_READER_GONE
    except OutputFailed as error:
        _discard_output()
        complain(f"cannot write the output: {error}")
        return EXIT_FAILED


def _discard_output() -> None:
    """Python flushes stdout once more when it exits, and would complain about what it cannot write then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: list[str]) -> int:
    as_json = "--json" in argv
    try:
        return int(app(args=argv, prog_name="cra", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except (ReaderGone, OutputFailed):
        raise
    except CRAError as error:
        return _fail(error.to_error_response(), _EXIT_CODES[error.category], as_json)
    except _UsageError as error:
        return _fail(_error_response("USAGE_ERROR", _usage_message(error), "validation"), EXIT_USAGE, as_json)
    except Exception as error:
        if os.environ.get("CRA_DEBUG") == "1":
            raise
        problem = f"{type(error).__name__}: {error}"
        if isinstance(error, OSError):
            return _fail(_error_response("SYSTEM_ERROR", problem, "external"), EXIT_FAILED, as_json)
        message = f"internal error: {problem}; run again with CRA_DEBUG=1 for the traceback, and report it"
        return _fail(_error_response("INTERNAL_ERROR", message, "internal"), EXIT_FAILED, as_json)


def _usage_message(error: BaseException) -> str:
    """What was wrong with the call, and where its help is, in one line."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "cra"
    text = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    return f"{text.rstrip('.')}; see: {command} --help"


def _error_response(code: str, message: str, category: str) -> dict[str, dict[str, object]]:
    return {"error": {"code": code, "message": message, "category": category, "recoverable": False}}


def _fail(response: dict[str, dict[str, object]], code: int, as_json: bool) -> int:
    message = response["error"]["message"]
    if as_json:
        try:
            say_json(response)
        except OutputFailed as error:
            _discard_output()
            message, code = f"{message}; the error document could not be written: {error}", EXIT_FAILED
    complain(message)
    return code
