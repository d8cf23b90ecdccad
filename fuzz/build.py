"""A copy of the package whose compiled half is instrumented: by AddressSanitizer, and for coverage. `python -m fuzz build`.

It needs clang, and cannot be imported by an ordinary process: `cra fuzz --package` and campaigns are told of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from cra.fuzzing.native import Instrumentation, instrumentation

ROOT: Final = Path(__file__).parent.parent
PLACE: Final = ROOT / "build" / "fuzz"
LIBRARY: Final = PLACE / "lib"
_SOURCE: Final = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "NOTICE")
_CLANGS: Final = ("clang", *(f"clang-{version}" for version in range(21, 11, -1)))
_ALWAYS: Final = "-fsanitize=fuzzer-no-link -O1 -g -fno-omit-frame-pointer"


class CannotBuild(Exception):
    """There is no clang, or it failed; the message says what to do."""


def find_clang() -> str | None:
    """The compiler: `CC` where that is a clang, else the first there is."""
    chosen = os.environ.get("CC", "")
    names = (chosen, *_CLANGS) if "clang" in chosen else _CLANGS
    return next((found for found in map(shutil.which, names) if found), None)


def built() -> str | None:
    """The folder with the instrumented copy, if its compiled half is there and as new as the sources; its Python is made so."""
    files = list((LIBRARY / "cra").glob("_speedups.*.so"))
    if not files or files[0].stat().st_mtime < max(map(_modified, _native_sources())):
        return None
    ignored = shutil.ignore_patterns("*.so", "*.pyx", "*.pxi", "*.c", "*.h", "__pycache__")
    shutil.copytree(ROOT / "cra", LIBRARY / "cra", ignore=ignored, dirs_exist_ok=True)
    return str(LIBRARY)


def _native_sources() -> list[Path]:
    found = [path for path in (ROOT / "cra").rglob("*") if path.suffix in (".pyx", ".pxi", ".c", ".h")]
    return [ROOT / "setup.py", *found]


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def build(sanitizer: str = "address") -> tuple[str, Instrumentation]:
    """Make it; the folder, and how it is instrumented. `sanitizer` is `address` or `none`. Raises `CannotBuild`."""
    clang = find_clang()
    if clang is None:
        raise CannotBuild(
            "no clang was found; install one (Debian and Ubuntu: apt install clang), or fuzz without: --plain"
        )
    source = PLACE / "source"
    shutil.rmtree(PLACE, ignore_errors=True)
    source.mkdir(parents=True)
    for name in _SOURCE:
        shutil.copy2(ROOT / name, source / name)
    shutil.copytree(ROOT / "cra", source / "cra", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    flags = _ALWAYS if sanitizer == "none" else f"{_ALWAYS} -fsanitize={sanitizer}"
    environment = {
        **os.environ,
        "CC": clang,
        "CRA_CFLAGS": flags,
        "CRA_LDFLAGS": "-pthread",  # what the sanitizer needs is preloaded, and not linked
        "CRA_REQUIRE_COMPILED": "1",
    }
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "--no-deps", "--target", str(LIBRARY), str(source)], env=environment, check=False)
    if done.returncode:
        raise CannotBuild(f"{clang} did not build the package; see above")
    shutil.rmtree(source)
    return str(LIBRARY), instrumentation(LIBRARY)
