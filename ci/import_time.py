"""Prints what `import cra` costs, in ms: the best of ten fresh interpreters, less the best of ten that import nothing."""

from __future__ import annotations

import subprocess
import sys
import time


def best(code: str) -> float:
    """The shortest run of `python -c code` in ten, in seconds."""
    times = []
    for _ in range(10):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - started)
    return min(times)


print(f"{(best('import cra') - best('pass')) * 1000:.0f}")
