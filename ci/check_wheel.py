"""Fails unless a wheel holds the package, its data, the pytest plugin, and nothing else.

`python ci/check_wheel.py WHEEL compiled|pure`.

A compiled one has the extension and says for which platform; a pure one is for any. Neither has the sources of the extension.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

MAX_BYTES = 1_000_000


def main(wheel: str, kind: str) -> str | None:
    """The problem in one sentence, None where there is none."""
    package = Path(__file__).parent.parent / "cra"
    wanted = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.suffix in (".py", ".pyi", ".json", ".lua", ".sql") or path.name == "py.typed"
    }
    wanted.add("pytest_cra.py")
    names = set(zipfile.ZipFile(wheel).namelist())
    extensions = {name for name in names if name.startswith("cra/_speedups.") and name.endswith((".so", ".pyd"))}
    if missing := wanted - names:
        return f"the wheel lacks {sorted(missing)}"
    if extra := {name for name in names - wanted - extensions if ".dist-info/" not in name}:
        return f"the wheel holds what is no part of the package: {sorted(extra)}"
    if len(extensions) != (kind == "compiled"):
        return f"the wheel is to be {kind} and holds these extensions: {sorted(extensions)}"
    if wheel.endswith("-py3-none-any.whl") != (kind == "pure"):
        return f"the wheel is {kind}, and its name says otherwise: {Path(wheel).name}"
    if (size := Path(wheel).stat().st_size) > MAX_BYTES:
        return f"the wheel has {size} bytes, more than the {MAX_BYTES} that are allowed"
    print(f"{len(names)} files in the {kind} wheel, {size // 1024} kB")
    return None


sys.exit(main(*sys.argv[1:]))
