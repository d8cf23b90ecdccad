"""The choice between the implementations: strict, told by switches, the same names on both sides. ARCHITECTURE: hotpath.py."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import cra
from cra import hotpath
from tests.support import twins

PACKAGE = Path(cra.__file__).parent
EXTENSION = "_speedups" + sysconfig.get_config_var("EXT_SUFFIX")
needs_compiled = pytest.mark.skipif(not twins.BUILT, reason="this installation has no compiled half")
# An editable install finds modules that a copy of the package does not have.
NOT_INSTALLED = "import sys; sys.meta_path[:] = [found for found in sys.meta_path if 'editable' not in repr(found)]\n"
ASK = "import cra; print(cra.implementation())"


def python(code: str, folder: Path, **switches: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees the package in this folder alone, with these switches and no others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CRA_")}
    environment |= {**switches, "PYTHONPATH": str(folder)}
    code = NOT_INSTALLED + code
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of the package, without its compiled half."""
    shutil.copytree(PACKAGE, tmp_path / "cra", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    return tmp_path


@needs_compiled
def test_where_it_is_built_the_compiled_half_runs() -> None:
    """A user who sets nothing gets the compiled implementation."""
    assert "compiled" == python(ASK, PACKAGE.parent).stdout.strip()


@needs_compiled
@pytest.mark.parametrize(("value", "expected"), [("1", "pure"), ("yes", "pure"), ("0", "compiled"), ("", "compiled")])
def test_a_switch_forces_the_reference(value: str, expected: str) -> None:
    """`CRA_PURE_PYTHON` set to anything but 0."""
    assert expected == python(ASK, PACKAGE.parent, CRA_PURE_PYTHON=value).stdout.strip()


def test_without_the_compiled_half_the_reference_runs(copy: Path) -> None:
    """And says so, when it is asked."""
    result = python("import cra; print(cra.implementation(), cra.__file__)", copy)
    assert ["pure", str(copy / "cra" / "__init__.py")] == result.stdout.split()


def test_the_compiled_half_can_be_required(copy: Path) -> None:
    """Then its absence is an error in one sentence that says what to do."""
    result = python(ASK, copy, CRA_REQUIRE_COMPILED="1")
    assert 1 == result.returncode
    assert "ImportError: CRA_REQUIRE_COMPILED is set, but cra was installed without its compiled half" in result.stderr
    assert "compiled" == python(ASK, PACKAGE.parent, CRA_REQUIRE_COMPILED="1").stdout.strip() or not twins.BUILT


def test_the_switches_may_not_contradict_each_other(copy: Path) -> None:
    """Nobody guesses which was meant."""
    result = python(ASK, copy, CRA_REQUIRE_COMPILED="1", CRA_PURE_PYTHON="1")
    assert 1 == result.returncode
    assert "ImportError: CRA_PURE_PYTHON and CRA_REQUIRE_COMPILED contradict each other" in result.stderr


def test_a_broken_extension_is_an_error_with_its_cause(copy: Path) -> None:
    """Never a silent fallback: the message is the loader's."""
    (copy / "cra" / EXTENSION).write_bytes(b"no library")
    result = python(ASK, copy)
    assert 1 == result.returncode
    assert "ImportError" in result.stderr
    assert EXTENSION in result.stderr
    assert "pure" == python(ASK, copy, CRA_PURE_PYTHON="1").stdout.strip()


@needs_compiled
def test_what_is_compiled_has_a_reference_with_the_same_signature() -> None:
    """Every name once, with the same parameters of the same kinds and defaults."""
    for name, (reference, compiled) in twins.pairs().items():
        if inspect.isclass(reference) or inspect.isclass(compiled):
            continue
        expected = inspect.signature(reference).parameters.values()
        found = inspect.signature(compiled).parameters.values()
        assert [(p.name, p.kind, p.default) for p in expected] == [(p.name, p.kind, p.default) for p in found], name


@needs_compiled
def test_what_is_compiled_is_typed_and_chosen() -> None:
    """The stub has these names and no others; `hotpath` gives out the compiled one of each, in a fresh process."""
    stub = ast.parse((PACKAGE / "_speedups.pyi").read_text())
    typed = [node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert twins.compiled_names() == sorted(typed)
    assert set(twins.compiled_names()) <= set(hotpath.__all__) & set(twins.reference_homes())
    code = f"""
from cra import _speedups, hotpath
print(*[name for name in {twins.compiled_names()} if getattr(hotpath, name) is not getattr(_speedups, name)])
"""
    assert "" == python(code, PACKAGE.parent).stdout.strip()


@needs_compiled
def test_constants_do_not_drift_apart() -> None:
    """A constant of the compiled half has the value that the package's own has, wherever that stands."""
    compiled = importlib.import_module("cra._speedups")
    constants = {name: value for name, value in vars(compiled).items() if name.isupper() and not name.startswith("_")}
    assert "MAX_DEPTH" in constants
    for name, value in constants.items():
        places = [
            module for key, module in list(sys.modules.items()) if key.startswith("cra.") and module is not compiled
        ]
        defined = [vars(module)[name] for module in places if name in vars(module)]
        assert defined, f"{name} is nowhere else"
        assert all(value == other for other in defined), name
