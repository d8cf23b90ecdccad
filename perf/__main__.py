"""The figures of perf/README.md: `python -m perf [--only NAME …] [--quick] [--long] [--runs N] [--json FILE] [--plot FOLDER]`.

Every case runs in a process of its own, once with the compiled implementation and once with the reference, which does a tenth of
the work, alternating, several times; the best run of each is shown (by its median, or by its rate), since the machine is shared.
Nothing is compared with an earlier run: `perf/instructions.py` counts what can be.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from perf import one, report
from perf.cases import BOTH
from perf.suite import CASES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m perf", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--implementation", choices=BOTH, action="append", help="only this one")
    parser.add_argument("--runs", type=int, default=5, help="how often each case is run (5)")
    parser.add_argument("--count", type=int, default=100_000, help="calls a case is scaled to (100,000)")
    parser.add_argument("--quick", action="store_true", help="one run of a tenth, for a look")
    parser.add_argument("--long", action="store_true", help="the cases that take minutes, too: memory; each runs once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, histograms included")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw them there (needs matplotlib)")
    options = parser.parse_args()
    names = options.only or [name for name, case in CASES.items() if options.long or not case.long]
    runs, count = (1, options.count // 10) if options.quick else (options.runs, options.count)
    results: report.Results = {}
    for position, name in enumerate(names, 1):
        print(f"[{position}/{len(names)}] {name}", file=sys.stderr, flush=True)
        results[name] = best_of(name, options.implementation or BOTH, runs, count)
    where = report.machine()
    print("  ".join(f"{key} {value}" for key, value in where.items()))
    print("\n".join(report.table(results)))
    if options.json:
        options.json.write_text(json.dumps({"machine": where, "results": results}, ensure_ascii=False) + "\n")
    if options.plot:
        from perf.plots import draw

        draw(results, where, options.plot)


def best_of(name: str, implementations: list[str] | tuple[str, ...], runs: int, count: int) -> dict[str, Any]:
    """The best of several runs of a case, by implementation. Ends the program with what a run printed when it fails."""
    case = CASES[name]
    best: dict[str, Any] = {}
    for _ in range(1 if case.long else runs):
        for implementation in implementations:
            if implementation in case.implementations:
                try:
                    result = one.run(name, implementation, count if implementation == "compiled" else count // 10)
                except RuntimeError as error:
                    sys.exit(str(error))
                if report.better(case, result, best.get(implementation)):
                    best[implementation] = result
    return best


if __name__ == "__main__":
    main()
