"""Plots of what `python -m perf` measured: latency distributions, memory over the work done. Needs matplotlib (extra `perf`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cra.bench.histogram import beyond
from perf.cases import BOTH
from perf.report import Results

TAIL_NS = 50_000
"""The bound of `ci/perf-gate.sh` for p99.9."""
COLOURS = {"compiled": "#1f6feb", "pure": "#b35900"}
NAMES = {"compiled": "compiled", "pure": "reference"}
LATENCIES = {"resolve 5": ("5 actions", "-"), "resolve 117": ("117 actions", "--")}
MEMORIES = {"memory resolves": ("resolves", 1e6, "millions"), "memory sessions": ("sessions", 1e3, "thousands")}


def draw(results: Results, machine: dict[str, Any], folder: Path) -> None:
    """`latency.svg` and `memory.svg` in `folder`, as far as there are results for them."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "cra", "font.size": 10, "figure.constrained_layout.use": True})
    import matplotlib.pyplot as pyplot

    folder.mkdir(parents=True, exist_ok=True)
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['python']}"
    if any(name in results for name in LATENCIES):
        figure, axes = pyplot.subplots(figsize=(8, 4.6))
        _draw_latency(axes, results)
        axes.set_title(f"session.resolve, call by call, the worker busy\n{where}", fontsize=10)
        figure.savefig(folder / "latency.svg", metadata={"Date": None}, facecolor="white")
    if any(name in results for name in MEMORIES):
        figure, columns = pyplot.subplots(1, len(MEMORIES), figsize=(8, 3.2), sharey=True)
        for axes, (name, (of, unit, called)) in zip(columns, MEMORIES.items()):
            for one, result in results.get(name, {}).items():
                done, megabytes = zip(*result["points"])
                axes.plot([number / unit for number in done], megabytes, color=COLOURS[one], label=NAMES[one])
            axes.set(xlabel=f"{of}, {called}", xlim=(0, None))
            axes.grid(visible=True, alpha=0.3)
        columns[0].set_ylim(0, 1.15 * columns[0].get_ylim()[1])
        columns[0].set_ylabel("resident MB")
        columns[0].legend(loc="lower right")
        figure.suptitle("memory of one process, storage null:", fontsize=10)
        figure.savefig(folder / "memory.svg", metadata={"Date": None}, facecolor="white")


def _draw_latency(axes: Any, results: Results) -> None:
    for one in BOTH:
        for name, (label, style) in LATENCIES.items():
            if one in results.get(name, {}):
                points = beyond(results[name][one]["buckets"])
                micros, shares = [start / 1000 for start, _ in points], [share for _, share in points]
                axes.step(
                    micros,
                    shares,
                    style,
                    where="pre",
                    color=COLOURS[one],
                    label=f"{NAMES[one]}, {label}",
                    linewidth=1.6,
                )
    limit = TAIL_NS / 1000
    axes.axvline(limit, color="#cf222e", linewidth=1)
    axes.text(limit * 1.1, 0.6, f"{limit:.0f} µs", color="#cf222e")
    for share, name in ((0.5, "p50"), (0.01, "p99"), (0.001, "p99.9")):
        axes.axhline(share, color="#8c959f", linewidth=0.7, linestyle=":")
        axes.text(
            1.0, share, f" {name}", va="center", color="#57606a", fontsize=9, transform=axes.get_yaxis_transform()
        )
    axes.set(
        xscale="log", yscale="log", xlabel="µs", ylabel="share of calls that took at least as long", ylim=(None, 1.3)
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(visible=True, alpha=0.25)
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.93))
