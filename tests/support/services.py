"""What a test needs of the machine and may not find there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """On a laptop the test is skipped, and says why; in CI, which installs what it needs, it fails."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and in CI nothing may be missing")
    pytest.skip(what)
