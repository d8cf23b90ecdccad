"""The gate of `ci/bench.sh`: `python -m perf.gate FILE`, where FILE is from `python -m perf --json`.

A resolve of the golden atlas has to take less than 50 µs at p99.9, and at the median a tenth of what the reference takes in the
same run. The machine is shared, so what fails is measured again, twice; one try that holds is enough. The last line says what was
found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from perf import one
from perf.report import duration

CASE = "resolve 5"
TIMES_FASTER = 10
TAIL_NS = 50_000
TRIES = 3
COUNT = 10_000


def faults(by: dict[str, Any]) -> list[str]:
    """What does not hold in the results of `CASE`, by implementation."""
    compiled, pure = by["compiled"]["latency"], by["pure"]["latency"]
    found = []
    if compiled["p50"] * TIMES_FASTER > pure["p50"]:
        found.append(f"the compiled median is not a {TIMES_FASTER}th of the reference's")
    if compiled["p99.9"] >= TAIL_NS:
        found.append(f"p99.9 is not below {duration(TAIL_NS)}")
    return found


def told(by: dict[str, Any]) -> str:
    """The figures in a line."""
    compiled, pure = by["compiled"]["latency"], by["pure"]["latency"]
    texts = [f"{duration(each['p50'])} / {duration(each['p99.9'])}" for each in (compiled, pure)]
    return f"resolve p50 / p99.9: {texts[0]}, reference {texts[1]}, {pure['p50'] / compiled['p50']:.0f} times"


def main() -> None:
    by = json.loads(Path(sys.argv[1]).read_text())["results"][CASE]
    for tries_left in reversed(range(TRIES)):
        found = faults(by)
        print(told(by) + "".join(f"; {fault}" for fault in found), flush=True)
        if not found:
            return
        if tries_left:
            by = {"compiled": one.run(CASE, "compiled", COUNT), "pure": one.run(CASE, "pure", COUNT // 10)}
    sys.exit(1)


if __name__ == "__main__":
    main()
