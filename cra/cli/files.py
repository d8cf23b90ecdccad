"""Reading what a command was given: one file, bounded, strict, and named in what is said of it.

Used by the commands that take files; it never writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from cra.atlas.files import UnusableFile, read_regular_file
from cra.errors import CRAError
from cra.strictjson import JSONProblem, parse

MAX_BYTES = 16 * 1024 * 1024


def read_json(path: Path) -> Any:
    """The JSON document in a regular file of at most 16 MB; a wrong call (`typer.BadParameter`) where it is none."""
    try:
        data = read_regular_file(path, MAX_BYTES)
    except UnusableFile as error:
        raise typer.BadParameter(f"{path} {error}") from None
    try:
        return parse(data)
    except JSONProblem as problem:
        raise typer.BadParameter(f"{path} is no strict JSON: {problem}") from None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What is raised in here over the content of the file names the file."""
    try:
        yield
    except CRAError as error:
        if str(path) not in error.message:
            error.args = (f"{error.message} (in {path})",)
        raise
