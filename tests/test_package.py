"""The package as a whole: its version, its types, what importing it costs, and that it carries its own data."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cra

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cra"
MODULES = sorted(PACKAGE.rglob("*.py"))
LATE = ("asyncio", "jsonschema_rs", "typer", "rich", "yaml", "sqlite3", "http", "urllib.request", "multiprocessing")


def test_the_changelog_knows_the_version():
    """The version has a section in the changelog."""
    assert f"## {cra.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_package_is_typed():
    """Type checkers are told to read the annotations."""
    assert (PACKAGE / "py.typed").exists()


def test_importing_is_light():
    """`import cra` does not load what only some programs need."""
    code = f"import sys, cra; print(*[name for name in {LATE!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "" == result.stdout.strip()


def test_the_public_names_exist():
    """Everything in `__all__` is there, and sorted names are not repeated."""
    assert len(set(cra.__all__)) == len(cra.__all__)
    for name in cra.__all__:
        assert hasattr(cra, name)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_says_what_it_is(path):
    """Every module starts with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_imports_run_downwards():
    """Nothing in the runtime imports the command line; the fuzz target of that does."""
    for path in MODULES:
        if "cli" not in path.parts and path.name not in ("__main__.py", "command_line.py"):
            assert not re.search(r"^\s*(from|import) cra\.cli", path.read_text(), re.MULTILINE), path
