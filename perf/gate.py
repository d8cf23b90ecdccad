"""Ratios that `ci/perf-gate.sh` holds: `python -m perf.gate FILE`, where FILE is from `python -m perf --json`.

What is compared was measured in one run, so that a slow machine is slow on both sides: the compiled resolve against the
reference's, one of 117 actions against one of 5, a resolve with the worker at it against one with the worker idle, with timers
against one without, and under limits against one under none. The
machine is shared, so what fails is measured again, twice; one try that holds is enough. The last line says what was found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from cra.bench.machine import duration
from perf import one

TRIES = 3
COUNT = 10_000
Medians = dict[tuple[str, str], int]
"""In ns, by case and implementation."""


class Bound(NamedTuple):
    """The median of `above` is at most `most` times that of `below`; each is a case and an implementation."""

    text: str
    above: tuple[str, str]
    below: tuple[str, str]
    most: float


BOUNDS = (
    Bound("compiled / reference", ("resolve 5", "compiled"), ("resolve 5", "pure"), 0.1),
    Bound("117 / 5 actions", ("resolve 117", "compiled"), ("resolve 5", "compiled"), 1.5),
    # An idle worker leaves cold caches behind: the busy one is the faster of both, or the caller waits for it.
    Bound("busy / idle worker", ("resolve 5", "compiled"), ("resolve idle", "compiled"), 1.25),
    Bound("timed / untimed", ("resolve timed", "compiled"), ("resolve untimed", "compiled"), 1.1),
    # A resolve takes some 220 ns, and a limit may add 200 ns to it.
    Bound("1 limit / none", ("resolve 1 limits", "compiled"), ("resolve 0 limits", "compiled"), 1.9),
    Bound("5 limits / none", ("resolve 5 limits", "compiled"), ("resolve 0 limits", "compiled"), 5.5),
)
NEEDED = tuple({place: None for bound in BOUNDS for place in (bound.above, bound.below)})


def medians(results: dict[str, Any]) -> Medians:
    """Those that the bounds are about, of what `python -m perf` wrote."""
    return {(name, by): results[name][by]["latency"]["p50"] for name, by in NEEDED}


def measured() -> Medians:
    """The same, measured now."""
    counts = {"compiled": COUNT, "pure": COUNT // 10}
    return {(name, by): one.run(name, by, counts[by] * 5)["latency"]["p50"] for name, by in NEEDED}


def faults(found: Medians) -> list[str]:
    """What does not hold, a sentence each."""
    return [
        f"{bound.text} is {found[bound.above] / found[bound.below]:.2f}, more than {bound.most:g}"
        for bound in BOUNDS
        if not 0 < found[bound.above] <= bound.most * found[bound.below]
    ]


def told(found: Medians) -> str:
    """The figures in a line."""
    ratios = [f"{bound.text} {found[bound.above] / found[bound.below]:.3g}" for bound in BOUNDS]
    return f"resolve p50 {duration(found['resolve 5', 'compiled'])}; {', '.join(ratios)}"


def main() -> None:
    found = medians(json.loads(Path(sys.argv[1]).read_text())["results"])
    for tries_left in reversed(range(TRIES)):
        wrong = faults(found)
        print(told(found) + "".join(f"; {fault}" for fault in wrong), flush=True)
        if not wrong:
            return
        if tries_left:
            found = measured()
    sys.exit(1)


if __name__ == "__main__":
    main()
