"""Plots of the results of `python -m perf`: latency distributions, and memory over time. Needs matplotlib (the extra `perf`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perf.histogram import bound

COLOURS = {"compiled": "#1f6feb", "pure": "#d29922"}
NAMES = {"compiled": "compiled", "pure": "reference"}


def draw(results: dict[str, dict[str, Any]], machine: dict[str, Any], folder: Path) -> None:
    """`latency.svg` and `memory.svg` in `folder`, as far as there are results for them."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "cra"  # the same picture for the same figures
    import matplotlib.pyplot as pyplot

    folder.mkdir(parents=True, exist_ok=True)
    where = f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"
    if "resolve 5" in results:
        figure, axes = pyplot.subplots(figsize=(8, 4.2))
        for name, style in (("resolve 5", "-"), ("resolve 117", "--")):
            for implementation, result in results.get(name, {}).items():
                points = _tail(result["buckets"])
                label = f"{NAMES[implementation]}, {name.split()[1]} actions"
                axes.plot(*zip(*points), style, color=COLOURS[implementation], label=label)
        axes.axvline(50, color="#cf222e", linewidth=1, label="50 µs")
        axes.set(
            xscale="log", yscale="log", xlabel="µs", ylabel="share of calls that took longer", title="session.resolve"
        )
        axes.text(0.01, 0.01, where, transform=figure.transFigure, fontsize=7, color="#57606a")
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
        figure.savefig(folder / "latency.svg", metadata={"Date": None})
    if "memory" in results:
        figure, axes = pyplot.subplots(figsize=(8, 3))
        for implementation, result in results["memory"].items():
            axes.plot(*zip(*result["figures"]["points"]), color=COLOURS[implementation], label=NAMES[implementation])
        axes.set(xlabel="twentieths of the run", ylabel="MB resident", title="memory", ylim=(0, None))
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
        figure.savefig(folder / "memory.svg", metadata={"Date": None})


def _tail(buckets: list[tuple[int, int]]) -> list[tuple[float, float]]:
    """For each bucket the share of calls beyond it."""
    total = sum(count for _, count in buckets)
    left, points = total, []
    for number, count in buckets:
        points.append((bound(number) / 1000, left / total))
        left -= count
    return points
