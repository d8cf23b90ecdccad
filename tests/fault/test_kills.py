"""Processes killed while they record. `python -m tests.fault.kills --kills 1000` is the long run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.twins import BUILT, TESTED

ROOT = Path(__file__).parents[2]
KILLS = (sys.executable, "-W", "ignore", "-m", "tests.fault.kills")
SWITCHES = ("CRA_PURE_PYTHON", "CRA_REQUIRE_COMPILED")


@pytest.mark.parametrize("store", ["jsonl", "journal", "sqlite"])
@pytest.mark.parametrize("switch", SWITCHES[: len(TESTED) if BUILT else 1])
def test_what_was_returned_before_a_kill_is_in_the_recovered_trace(switch: str, store: str, seed: int) -> None:
    """Every resolution that was acknowledged, in chains that verify; and the kills came while there was something to lose."""
    environment = {k: v for k, v in os.environ.items() if k not in SWITCHES and not k.startswith("COVERAGE_")}
    done = subprocess.run(
        [*KILLS, "--kills", "12", "--seed", str(seed), "--store", store],
        cwd=ROOT,
        env=environment | {switch: "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (0, "") == (done.returncode, done.stderr)
    told = json.loads(done.stdout)
    assert 12 == told["kills"]
    assert told["with records waiting"] > 0
    assert 0 == told["unreadable"]
