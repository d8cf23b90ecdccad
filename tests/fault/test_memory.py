"""Allocations that fail lose nothing. `python -m tests.fault.memory` fails each of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cra

ROOT = Path(__file__).parents[2]


def test_no_allocation_that_fails_while_storing_loses_what_was_acknowledged() -> None:
    """In a process of its own: the hook is for all of its threads."""
    if cra.implementation() == "pure":
        pytest.skip("the reference leaves a record that it had no memory for in the ring, to the next start")
    pytest.importorskip("_testcapi", reason="this Python was built without the module that makes allocations fail")
    command = [sys.executable, "-m", "tests.fault.memory", "--part", "drain", "--step", "9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert 0 == done.returncode, done.stderr[-3_000:]
    found = re.search(r"^(\d+) allocations failed, nothing lost", done.stdout, re.MULTILINE)
    assert found is not None
    assert int(found[1]) > 10
