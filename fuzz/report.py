"""What a campaign came to: `report.md`, and `coverage.svg` with the coverage of every target over the time it had."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cra
from cra.fuzzing.crashes import Crash
from cra.fuzzing.native import SENTENCES
from fuzz.campaign import Entry

REPORT: Final = "report.md"
PLOT: Final = "coverage.svg"
_COLUMNS: Final = 4


def write_report(folder: Path, history: Sequence[Entry], crashes: Sequence[Crash]) -> Path:
    """The report of a campaign, with the plot where matplotlib is installed; its path."""
    plotted = _plot(folder, history)
    path = folder / REPORT
    path.write_text(_text(history, crashes, plotted), encoding="utf-8")
    return path


def _text(history: Sequence[Entry], crashes: Sequence[Crash], plotted: bool) -> str:
    by_target = _by_target(history)
    executions = sum(entry.executions for entry in history)
    seconds = sum(entry.seconds for entry in history)
    kinds = sorted({SENTENCES[entry.instrumentation] for entry in history})
    lines = [
        "# Fuzzing campaign",
        "",
        f"cra {cra.__version__}, {platform.python_implementation()} {platform.python_version()}, {platform.machine()}.",
        *(f"{kind[0].upper()}{kind[1:]}." for kind in kinds),
        "",
        f"{len(by_target)} targets, {executions:,} executions in {seconds / 3600:.1f} hours of fuzzing, {len(crashes)} crashes.",
        "",
        "| target | hours | runs | executions | per second | coverage | features | corpus | last new coverage | crashes |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for target, entries in by_target.items():
        last = entries[-1]
        spent = sum(entry.seconds for entry in entries)
        total = sum(entry.executions for entry in entries)
        count = sum(crash.target == target for crash in crashes)
        lines.append(
            f"| {target} | {spent / 3600:.2f} | {len(entries)} | {total:,} | {total / max(spent, 1):.0f} | {last.coverage} |"
            f" {last.features} | {last.corpus} | {_last_growth(entries)} | {count} |"
        )
    if plotted:
        lines += ["", f"![Coverage over time]({PLOT})"]
    if crashes:
        lines += ["", "## Crashes", ""]
    for each in crashes:
        lines += [f"- **{each.target}** `{each.signature}`: {each.summary}", ""]
        lines += [f"      cra fuzz {each.target} --reproduce {each.input}", ""]
    return "\n".join(lines) + "\n"


def _by_target(history: Sequence[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in history:
        found.setdefault(entry.target, []).append(entry)
    return dict(sorted(found.items()))


def _last_growth(entries: Sequence[Entry]) -> str:
    """When the last run ended that reached more than all before it."""
    best, when = 0, entries[0].ended
    for entry in entries:
        if entry.coverage > best:
            best, when = entry.coverage, entry.ended
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(when))


def _plot(folder: Path, history: Sequence[Entry]) -> bool:
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "cra", "font.size": 8, "figure.constrained_layout.use": True})
    import matplotlib.pyplot as pyplot

    by_target = _by_target(history)
    if not by_target:
        return False
    rows = -(-len(by_target) // _COLUMNS)
    figure, grid = pyplot.subplots(rows, _COLUMNS, figsize=(11, 1.9 * rows), squeeze=False)
    places: list[Any] = [axes for row in grid for axes in row]
    for axes, (target, entries) in zip(places, by_target.items()):
        minutes, coverage, features = [0.0], [0], [0]
        for entry in entries:
            minutes.append(minutes[-1] + entry.seconds / 60)
            coverage.append(max(coverage[-1], entry.coverage))
            features.append(max(features[-1], entry.features))
        axes.plot(minutes, coverage, marker=".", color="#1f6feb", label="coverage")
        axes.plot(minutes, features, marker=".", color="#b35900", label="features")
        axes.set_title(target, fontsize=9)
        axes.set(xlim=(0, None), ylim=(0, None))
        axes.grid(visible=True, alpha=0.3)
    for axes in places[len(by_target) :]:
        axes.axis("off")
    places[0].legend(loc="lower right")
    figure.supxlabel("minutes of fuzzing")
    figure.savefig(folder / PLOT, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)
    return True
