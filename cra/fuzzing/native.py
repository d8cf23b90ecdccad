"""Whether the compiled half is instrumented, and what a process needs that is to import it then.

An instrumented one (`python -m fuzz build`) is for fuzzing alone: it cannot be imported without the libraries that are preloaded
here. Used by `cra.fuzzing.run`.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Final, Literal

Instrumentation = Literal["address", "coverage", "none", "absent"]
_LIBRARY: Final = "asan_with_fuzzer.so"
_MARKS: Final[tuple[tuple[bytes, Instrumentation], ...]] = (
    (b"__asan_init", "address"),
    (b"__sanitizer_cov_8bit_counters_init", "coverage"),
)
SENTENCES: Final[dict[Instrumentation, str]] = {
    "address": "compiled half: instrumented, for coverage and by AddressSanitizer",
    "coverage": "compiled half: instrumented for coverage, without a sanitizer",
    "none": "compiled half: not instrumented: coverage is that of the Python code (python -m fuzz build makes one that is)",
    "absent": "compiled half: not there, or not asked for; the reference is fuzzed alone",
}


def instrumentation(folder: str | os.PathLike[str] | None = None) -> Instrumentation:
    """Of the package that is imported, or of the one in a folder that is imported from first."""
    if folder is None:
        if os.environ.get("CRA_PURE_PYTHON", "") not in ("", "0"):
            return "absent"
        spec = importlib.util.find_spec("cra._speedups")
        files = [Path(spec.origin)] if spec is not None and spec.origin else []
    else:
        files = list(Path(folder, "cra").glob("_speedups.*.so"))
    if not files:
        return "absent"
    data = files[0].read_bytes()
    return next((kind for mark, kind in _MARKS if mark in data), "none")


def environment(kind: Instrumentation) -> dict[str, str]:
    """What the process needs in its environment. Raises `FileNotFoundError` where Atheris brings no such library."""
    if kind in ("none", "absent"):
        return {}
    spec = importlib.util.find_spec("atheris")
    assert spec is not None  # or fuzzing would not have begun
    assert spec.origin is not None
    library = Path(spec.origin).parent.parent / _LIBRARY
    if not library.is_file():
        raise FileNotFoundError(
            f"Atheris was built without {_LIBRARY}; install its wheel, or use a build without sanitizers"
        )
    found = {"LD_PRELOAD": str(library)}
    if kind == "address":
        # Python's own allocator would hide what is written beyond a small object.
        found |= {
            "PYTHONMALLOC": "malloc",
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:handle_segv=1:handle_abort=1",
        }
    return found
