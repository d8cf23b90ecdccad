"""Options that several commands have, each with one meaning and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cra.errors import StorageError
from cra.storage.open import names_path, split_url

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


def place_of(given: str, parameter: str) -> tuple[Path, str | None]:
    """Where the store is that a user named by its path or its URL, and the scheme of the URL. A wrong call where nothing is
    there, or the URL is none."""
    scheme, path = None, given
    if names_path(given):
        try:
            scheme, path = split_url(given)
        except StorageError as error:
            raise typer.BadParameter(error.message, param_hint=parameter) from None
    if not Path(path).exists():
        raise typer.BadParameter(f"'{path}' does not exist", param_hint=parameter)
    return Path(path), scheme
