"""Options that several commands have, each with one meaning and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Rings = Annotated[
    Path | None,
    typer.Option(
        help="The folder of its rings, where they are not in DIR.ring.",
        exists=True,
        file_okay=False,
        metavar="FOLDER",
    ),
]
