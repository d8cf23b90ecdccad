"""The examples run as they are, without a warning, and say what they are said to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*arguments: str) -> str:
    """What an example prints; it has to end well."""
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=300)
    assert (0, "") == (done.returncode, done.stderr), done.stderr
    return done.stdout


def test_the_support_desk_waits_for_a_signature() -> None:
    """And its trace verifies."""
    told = run("examples/support/run.py")
    assert "waits:" in told
    assert "trace verified" in told


def test_a_swarm_hits_its_limits_and_its_silent_agents_time_out() -> None:
    """A small one, without the view: every resolve is counted, limits are hit, heartbeats come, and nobody is left."""
    figures = json.loads(run("examples/swarm/swarm.py", "--agents", "60", "--resolves", "80", "--json"))
    assert 0 < 60 * 80 - figures["resolves"] < 60 * 40
    assert figures["limits hit"] > 0
    assert figures["denied"] > 0
    assert figures["heartbeats"] >= 2
