"""Where figures come from, and how a duration is written. Used by `cra bench` and by `perf/`; it measures nothing."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import cra

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ns|us|µs|μs|ms|s)", re.ASCII)


def machine() -> dict[str, Any]:
    """Versions, processor, system."""
    return {
        "cra": cra.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def duration(nanoseconds: float) -> str:
    """With the unit that suits it, in two digits or three."""
    for limit, divisor, unit in ((1e3, 1.0, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if nanoseconds < limit:
            value = nanoseconds / divisor
            return f"{value:.1f} {unit}" if value < 10 and divisor > 1 else f"{value:.0f} {unit}"
    return f"{nanoseconds / 1e9:.1f} s"


def parse_duration(text: str) -> int:
    """`50us`, `1.5 ms`, `800ns` in ns. Raises `ValueError` with a sentence for anything else, and for less than 1 ns."""
    found = _DURATION.fullmatch(text.strip())
    nanoseconds = round(float(found.group(1)) * _UNITS[found.group(2)]) if found else 0
    if nanoseconds < 1:
        raise ValueError(f"{text!r} is no duration; write a number and ns, us, ms or s, such as 50us")
    return nanoseconds
