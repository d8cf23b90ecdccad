"""The compiled half of the build; everything else is in `pyproject.toml`.

With a C compiler the extension `cra._speedups` is built, and a failure is an error. Without one the reference implementation is
installed alone, and the build says so; `CRA_REQUIRE_COMPILED=1` makes that an error. `CRA_CFLAGS` is added to the compiler's
flags and `CRA_LDFLAGS` replaces the linker's, for builds with sanitizers or symbols. `CRA_DEBUG=1` builds without optimisation,
with the assertions of Python's headers and the checks that Cython has (`ci/debug-build.sh`).
"""

from __future__ import annotations

import os
import sys
import tempfile
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools._distutils.ccompiler import new_compiler
from setuptools._distutils.errors import CompileError, DistutilsError
from setuptools._distutils.sysconfig import customize_compiler, get_python_inc

FLAGS = [
    *("-std=c11", "-O3", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra", "-pthread"),
    *(
        "-fno-asynchronous-unwind-tables",
        "-ffunction-sections",
    ),  # nothing is unwound, and what nobody calls is left out
]
LINK_FLAGS = [
    "-pthread",
    *(["-Wl,-s", "-Wl,--gc-sections"] if sys.platform == "linux" else []),
]  # no symbols: they are two thirds of the file

# These decide how the code is compiled, not what it means; a header in the .pyx would win over what is said here.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "auto_pickle": False,
}
DEBUG = os.environ.get("CRA_DEBUG", "") not in ("", "0")
DEBUG_FLAGS = ["-O0", "-g", "-UNDEBUG", "-DCYTHON_ASSUME_SAFE_MACROS=0", "-DCYTHON_ASSUME_SAFE_SIZE=0"]
DEBUG_DIRECTIVES = {**DIRECTIVES, "boundscheck": True, "initializedcheck": True, "nonecheck": True}


def has_compiler() -> bool:
    """Whether a C file that includes Python.h compiles here."""
    compiler = new_compiler()
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\n#include <stdatomic.h>\n")
        try:
            compiler.compile([str(source)], output_dir=folder, include_dirs=[get_python_inc()])
        except (CompileError, DistutilsError, OSError):
            return False
    return True


def extensions() -> list[Extension]:
    if not has_compiler():
        if os.environ.get("CRA_REQUIRE_COMPILED", "") not in ("", "0"):
            sys.exit("cra: CRA_REQUIRE_COMPILED is set, but no C compiler with Python's headers was found; install one")
        print(
            "cra: no C compiler with Python's headers was found; installing the pure-Python reference", file=sys.stderr
        )
        return []
    from Cython.Build import cythonize

    kernel = sorted(glob("cra/_kernel/*.c"))
    headers = sorted([*glob("cra/_kernel/*.h"), *glob("cra/_compiled/*.pxi")])
    link_flags = ["-pthread"] if DEBUG else LINK_FLAGS
    extension = Extension(
        "cra._speedups",
        ["cra/_speedups.pyx", *kernel],
        include_dirs=["cra/_kernel"],
        depends=headers,
        extra_compile_args=[*FLAGS, *(DEBUG_FLAGS if DEBUG else []), *os.environ.get("CRA_CFLAGS", "").split()],
        extra_link_args=os.environ["CRA_LDFLAGS"].split() if "CRA_LDFLAGS" in os.environ else link_flags,
    )
    modules: list[Extension] = cythonize(
        [extension],
        build_dir="build/cython-debug" if DEBUG else "build/cython",
        compiler_directives=DEBUG_DIRECTIVES if DEBUG else DIRECTIVES,
    )
    return modules


setup(ext_modules=extensions())
