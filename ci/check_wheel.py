"""Fails unless a wheel holds the whole package, its data, and nothing else: `python ci/check_wheel.py WHEEL`."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path


def main(wheel: str) -> str | None:
    """The problem in one sentence, None where there is none."""
    package = Path(__file__).parent.parent / "cra"
    wanted = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.suffix in (".py", ".json") or path.name == "py.typed"
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    if missing := wanted - names:
        return f"the wheel lacks {sorted(missing)}"
    if extra := {name for name in names - wanted if ".dist-info/" not in name}:
        return f"the wheel holds what is no part of the package: {sorted(extra)}"
    print(f"{len(names)} files in the wheel")
    return None


sys.exit(main(sys.argv[1]))
