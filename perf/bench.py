"""The figures of perf/README.md: `python perf/bench.py [--quick] [--json]`.

Latency is measured call by call with `perf_counter_ns`, whose own cost stands beside it; the worker runs, the cycle collector is
on. Every figure is the best of several runs, since the machine is shared, with the tail of that run. Nothing is compared here.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cra
from cra.testing.traces import make_trace
from cra.trace.jsonl import write_events

ROOT = Path(__file__).parent.parent
ATLASES = {
    "golden, 5 actions": ROOT / "tests/data/golden/simple-resolve/atlas.json",
    "GitHub, 117 actions": ROOT / "examples/github/atlas",
}
GOAL = "Manage resources in the test environment"


def percentiles(call: Callable[[], object], count: int) -> dict[str, float]:
    """Latency of `call` in µs: median, tail and worst of `count` calls."""
    clock = time.perf_counter_ns
    times = []
    for _ in range(count):
        started = clock()
        call()
        times.append(clock() - started)
    times.sort()
    return {
        "p50": times[count // 2] / 1000,
        "p99": times[count * 99 // 100] / 1000,
        "p99.9": times[count * 999 // 1000] / 1000,
        "worst": times[-1] / 1000,
    }


def best(runs: int, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The run with the lowest median."""
    return min((measure() for _ in range(runs)), key=lambda result: result["p50"])


def resolve(atlas: Path, count: int) -> dict[str, float]:
    """`session.resolve`, warm, one thread, traces deferred and then discarded."""
    with cra.Resolver(storage="null:") as resolver:
        resolver.load_atlas(atlas)
        session = resolver.create_session(agent_id="bench", goal=GOAL)
        for _ in range(200):
            session.resolve(GOAL)
        resolver.flush()
        result = percentiles(lambda: session.resolve(GOAL), count)
        resolver.flush()
        return result


def execute(count: int) -> dict[str, float]:
    """`session.execute` of an executor that does nothing."""
    with cra.Resolver(storage="null:") as resolver:
        resolver.load_atlas(ATLASES["golden, 5 actions"])
        resolver.register("resource.list", dict)
        session = resolver.create_session(agent_id="bench", goal=GOAL)
        resolution = session.resolve(GOAL)
        return percentiles(lambda: session.execute("resource.list", {}, resolution=resolution), count)


def verify(events: int) -> dict[str, float]:
    """`cra.verify_file` over one session, in thousand events per second."""
    payload = {"policy_id": "allow-read", "result": "allow", "action_id": "resource.get"}
    trace = make_trace([("policy.evaluated", payload)] * events)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.trace.jsonl"
        write_events(path, trace)
        started = time.perf_counter()
        result = cra.verify_file(path)
        elapsed = time.perf_counter() - started
    assert (True, events) == (result.valid, result.event_count)
    return {"events": events, "seconds": elapsed, "thousand events/s": events / elapsed / 1000}


def load(atlas: Path) -> dict[str, float]:
    """`cra.load_atlas`: read, validated, its schemas compiled."""
    return percentiles(lambda: cra.load_atlas(atlas), 10)


def import_time() -> dict[str, float]:
    """`import cra` in a fresh interpreter, less an interpreter that imports nothing, in ms."""

    def run(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter() - started) * 1000

    return {"ms": min(run("import cra") for _ in range(5)) - min(run("pass") for _ in range(5))}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a look")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    options = parser.parse_args()
    scale, runs = (10, 1) if options.quick else (1, 5)
    figures: dict[str, Any] = {
        "machine": {
            "implementation": cra.implementation(),
            "cra": cra.__version__,
            "python": platform.python_version(),
            "cpu": _cpu(),
            "collector": "on" if gc.isenabled() else "off",
        },
        "timer, µs": percentiles(lambda: None, 100_000 // scale),
    }
    for name, atlas in ATLASES.items():
        figures[f"resolve, {name}, µs"] = best(runs, lambda atlas=atlas: resolve(atlas, 10_000 // scale))  # type: ignore[misc]
    figures["execute, golden, µs"] = best(runs, lambda: execute(5_000 // scale))
    for name, atlas in ATLASES.items():
        figures[f"load, {name}, µs"] = load(atlas)
    figures["verify_file"] = verify(100_000 // scale)
    figures["import cra"] = import_time()
    if options.json:
        print(json.dumps(figures, ensure_ascii=False, indent=2))
        return
    for name, result in figures.items():
        print(f"{name:<34}" + "  ".join(f"{key} {_shown(value)}" for key, value in result.items()))


def _shown(value: object) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
