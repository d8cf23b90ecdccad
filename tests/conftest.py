"""What every test shares: the Hypothesis profiles and the random seed of the run.

Hypothesis prints how to reproduce a failure. Tests that draw random numbers themselves take the fixture `seed`; it is
printed at the head of the run, and `CRA_TEST_SEED` sets it.
"""

from __future__ import annotations

import os
import secrets

import pytest
from hypothesis import HealthCheck, settings

SEED_VARIABLE = "CRA_TEST_SEED"

settings.register_profile("glance", deadline=None, print_blob=True, max_examples=25)
settings.register_profile("quick", deadline=None, print_blob=True)
settings.register_profile(
    "thorough", deadline=None, print_blob=True, max_examples=300, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("CRA_TEST_PROFILE", "quick"))

# Set before pytest-xdist starts its workers, so that all of them draw from the seed that the header shows.
os.environ.setdefault(SEED_VARIABLE, str(secrets.randbelow(2**32)))


def pytest_report_header() -> str:
    """One line at the head of the run: the seed, and how to use it again."""
    return f"random seed: {os.environ[SEED_VARIABLE]} (run again with {SEED_VARIABLE}={os.environ[SEED_VARIABLE]})"


@pytest.fixture
def seed() -> int:
    """The seed of this run, for `random.Random(seed)`."""
    return int(os.environ[SEED_VARIABLE])
