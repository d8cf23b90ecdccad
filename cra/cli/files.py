"""Reading what a command was given: one file, bounded, strict, and named in what is said of it.

Used by the commands that take files; it never writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from cra.errors import CRAError
from cra.strictjson import JSONProblem, parse

MAX_BYTES = 16 * 1024 * 1024


def read_json(path: Path) -> Any:
    """The JSON document in a file of at most 16 MB; a wrong call (`typer.BadParameter`) where it is none."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise typer.BadParameter(f"{path} is larger than {MAX_BYTES // 1024 // 1024} MB")
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
