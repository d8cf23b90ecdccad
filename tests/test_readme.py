"""Every code block of the README is run: Python as a program, console blocks command by command. So is the Python in docs/."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(README)
PROGRAMS = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for number, (language, code) in enumerate(BLOCK.findall(page.read_text()))
    if language == "python"
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what the README's commands name, where they may write."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_readme_has_programs_and_commands():
    """The README shows at least one program and one block of commands, and no block of a kind that is not run."""
    assert {"python", "console"} == {language for language, _ in BLOCKS}


@pytest.mark.parametrize("code", PROGRAMS)
def test_a_program_runs(checkout, code):
    """A Python block is a whole program: it runs from the checkout's root, and prints what its comments say."""
    (checkout / "program.py").write_text(code)
    result = _run([sys.executable, "-W", "error", "program.py"], checkout)
    assert (0, "") == (result.returncode, result.stderr)
    for expected in re.findall(r"^ *print.*# (.+)$", code, re.MULTILINE):
        assert expected in result.stdout.splitlines()


def _is_target(name: str) -> bool:
    return re.search(rf"^{re.escape(name)}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None


@pytest.mark.parametrize("code", [code for language, code in BLOCKS if language == "console"])
def test_commands_run(checkout, code):
    """Commands of a console block succeed one after the other.

    `make` targets have to exist; they are run by the gates and not from within the tests that one of them runs.
    """
    commands = [line.removeprefix("$ ") for line in code.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command, comments=True)
        if program == "make":
            assert all(_is_target(target) for target in arguments)
            continue
        assert program == "cra"
        result = _run([sys.executable, "-m", "cra", *arguments], checkout)
        assert (0, "") == (result.returncode, result.stderr), command


def test_the_demo_runs(checkout):
    """What `make demo` runs ends with the verified trace."""
    result = _run([sys.executable, "-W", "error", "examples/github/agent.py"], checkout)
    assert (0, "") == (result.returncode, result.stderr)
    assert re.fullmatch(r"trace verified: \d+ events", result.stdout.splitlines()[-1])


def test_links_lead_somewhere():
    """Every relative link in the README and in docs/ names a file of the repository."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
