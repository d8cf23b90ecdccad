"""What every test shares: the Hypothesis profiles and the random seed of the run.

Hypothesis prints how to reproduce a failure. Tests that draw random numbers themselves take the fixture `seed`; it is
printed at the head of the run, and `CRA_TEST_SEED` sets it.

A module whose tests hold for both implementations says `pytestmark = pytest.mark.usefixtures("twin")`.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from cra.trace import recorder
from tests.support import twins
from tests.support.postgres import _postgres as _postgres
from tests.support.postgres import postgres as postgres
from tests.support.postgres import schema as schema

SEED_VARIABLE = "CRA_TEST_SEED"

# No bound on time: machines are shared, and slow is not wrong.
PATIENT = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("glance", **PATIENT, max_examples=25)
settings.register_profile("quick", **PATIENT)
settings.register_profile("thorough", **PATIENT, max_examples=200)
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


@pytest.fixture(autouse=True)
def usual_rings() -> Iterator[None]:
    """A test that makes the rings of its process small, as faults and differential runs do, makes no other's small."""
    usual = recorder.DEFAULT_RING_BYTES
    yield
    recorder.DEFAULT_RING_BYTES = usual


@pytest.fixture
def untraced() -> Iterator[None]:
    """For tests whose signal handlers interrupt anything at all: a handler that interrupts coverage's tracer while that holds its
    lock can hang, and one that raises there leaves the lock held for ever."""
    before = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(before)


@pytest.fixture(scope="module", params=twins.TESTED)
def twin(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test of the module runs for each implementation: what it imports, and what the package uses, is that one."""
    if request.param == "compiled" and not twins.BUILT:
        pytest.skip("this installation has no compiled half")
    with twins.running(request.param, request.module):
        yield request.param
