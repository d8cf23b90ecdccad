"""Reading what a command was given: one file, bounded, strict.

Used by the commands that take JSON; it never writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

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
        raise typer.BadParameter(f"{path} is not a JSON document: {problem}") from None
