"""The figures of perf/README.md: `python -m perf [--only NAME …] [--quick] [--runs N] [--json FILE] [--plot FOLDER]`.

Every case runs in a process of its own, once with the compiled implementation and once with the reference, alternating, several
times; the best run of each is shown (by its median, or by its rate), since the machine is shared. Nothing is compared with an
earlier run: `perf/instructions.py` does that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
IMPLEMENTATIONS = {"compiled": "CRA_REQUIRE_COMPILED", "pure": "CRA_PURE_PYTHON"}
RUN_CASE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import cra
from perf import latency, throughput
name, count = sys.argv[2], int(sys.argv[3])
result = {"implementation": cra.implementation()}
if name in latency.CASES:
    histogram = latency.CASES[name](count)
    result["latency"] = histogram.percentiles()
    result["buckets"] = sorted(histogram.buckets.items())
else:
    result["figures"] = throughput.CASES[name](count)
print(json.dumps(result))
"""


def run_case(name: str, implementation: str, count: int) -> dict[str, Any]:
    """One run in a fresh interpreter, which has to be of the implementation that was asked for."""
    environment = {key: value for key, value in os.environ.items() if key not in IMPLEMENTATIONS.values()}
    environment[IMPLEMENTATIONS[implementation]] = "1"
    command = [sys.executable, "-c", RUN_CASE, str(ROOT), name, str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} ({implementation}) failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    assert implementation == result["implementation"], result
    return result


def better(result: dict[str, Any], than: dict[str, Any] | None) -> bool:
    """By the median of a latency, else by the first figure, of which most are rates; in `import` less is better."""
    if than is None:
        return True
    if "latency" in result:
        return bool(result["latency"]["p50"] < than["latency"]["p50"])
    name, value = next(iter(result["figures"].items()))
    before = than["figures"][name]
    return bool(value < before if name.startswith(("ms", "MB")) else value > before)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    import cra

    return {
        "cra": cra.__version__,
        "python": platform.python_version(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def shown(nanoseconds: float) -> str:
    """A duration with the unit that suits it, in two digits or three."""
    for limit, divisor, unit in ((1e3, 1.0, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if nanoseconds < limit:
            value = nanoseconds / divisor
            return f"{value:.1f} {unit}" if value < 10 and divisor > 1 else f"{value:.0f} {unit}"
    return f"{nanoseconds / 1e9:.1f} s"


def table(results: dict[str, dict[str, Any]]) -> list[str]:
    """The results as lines of Markdown."""
    from perf import latency, throughput

    lines = ["| what | | p50 | p99 | p99.9 | worst |", "|---|---|---|---|---|---|"]
    for name, by in results.items():
        if name in latency.CASES:
            for implementation, result in by.items():
                found = result["latency"]
                cells = " | ".join(shown(found[key]) for key in ("p50", "p99", "p99.9", "worst"))
                lines.append(f"| {latency.CASES[name].__doc__} | {implementation} | {cells} |")
    lines += ["", "| what | | |", "|---|---|---|"]
    for name, by in results.items():
        if name in throughput.CASES:
            for implementation, result in by.items():
                figures = {key: value for key, value in result["figures"].items() if key != "points"}
                cells = ", ".join(f"{value:,.0f} {key}" for key, value in figures.items())
                lines.append(f"| {throughput.CASES[name].__doc__} | {implementation} | {cells} |")
    return lines


def main() -> None:
    from perf import latency, throughput

    names = [*latency.CASES, *throughput.CASES]
    parser = argparse.ArgumentParser(prog="python -m perf", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--implementation", choices=IMPLEMENTATIONS, action="append", help="only this one")
    parser.add_argument("--runs", type=int, default=5, help="how often each case is run (5)")
    parser.add_argument("--count", type=int, default=100_000, help="calls a case is scaled to (100,000)")
    parser.add_argument("--quick", action="store_true", help="one run of a tenth, for a look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, histograms included")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw them there (needs matplotlib)")
    options = parser.parse_args()
    runs, count = (1, options.count // 10) if options.quick else (options.runs, options.count)
    results: dict[str, dict[str, Any]] = {}
    for position, name in enumerate(options.only, 1):
        print(f"[{position}/{len(options.only)}] {name}", file=sys.stderr, flush=True)
        best: dict[str, Any] = {}
        for _ in range(runs):
            for implementation in options.implementation or IMPLEMENTATIONS:
                result = run_case(name, implementation, count if implementation == "compiled" else count // 10)
                if better(result, best.get(implementation)):
                    best[implementation] = result
        results[name] = best
    print("  ".join(f"{key} {value}" for key, value in machine().items()))
    print("\n".join(table(results)))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": results}, ensure_ascii=False) + "\n")
    if options.plot:
        from perf.plots import draw

        draw(results, machine(), options.plot)


if __name__ == "__main__":
    main()
