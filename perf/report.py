"""What was measured, as lines of Markdown: a row per case with both implementations side by side, and what follows from rows."""

from __future__ import annotations

from typing import Any

from cra.bench.machine import duration as duration
from cra.bench.machine import machine as machine
from perf.cases import BOTH, CASES, Case

Results = dict[str, dict[str, dict[str, Any]]]
"""By case, then by implementation: what `perf.one` printed."""

COLUMNS = ("p50", "p99", "p99.9", "worst")


def better(case: Case, result: dict[str, Any], than: dict[str, Any] | None) -> bool:
    """Whether a run is the best so far: by the median of a latency, else by the first figure."""
    if than is None:
        return True
    if case.is_latency:
        return bool(result["latency"]["p50"] < than["latency"]["p50"])
    first = next(iter(result["figures"].values()), 0.0)
    before = next(iter(than["figures"].values()), 0.0)
    return first != before and case.best(first, before) == first


def table(results: Results) -> list[str]:
    """Both tables, and what follows from them."""
    blocks = [_latencies(results), _figures(results), _per_limit(results)]
    lines: list[str] = []
    for block in filter(None, blocks):
        lines += [*([""] if lines else []), *block]
    return lines


def _latencies(results: Results) -> list[str]:
    chosen = {name: by for name, by in results.items() if CASES[name].is_latency}
    if not chosen:
        return []
    columns = " | ".join(COLUMNS)
    lines = [
        f"| what | compiled: {columns} | reference: {columns} | times faster (p50) |",
        "|---|" + "--:|" * (2 * len(COLUMNS) + 1),
    ]
    for name, by in chosen.items():
        found = [by[one]["latency"] if one in by else None for one in BOTH]
        cells = [duration(one[key]) if one else "–" for one in found for key in COLUMNS]
        ratio = f"{found[1]['p50'] / found[0]['p50']:.1f}" if found[0] and found[1] else "–"
        lines.append(f"| {CASES[name].text} | {' | '.join(cells)} | {ratio} |")
    return lines


def _figures(results: Results) -> list[str]:
    lines = ["| what | unit | compiled | reference | times |", "|---|---|--:|--:|--:|"]
    head = len(lines)
    for name, by in results.items():
        if CASES[name].is_latency:
            continue
        units = {unit: None for one in BOTH if one in by for unit in by[one]["figures"]}
        for unit in units:
            found = [by[one]["figures"].get(unit) if one in by else None for one in BOTH]
            cells = ["–" if value is None else f"{value:,.{0 if value >= 100 else 1}f}" for value in found]
            ratio = "–"
            is_rate = "/s" in unit
            if found[0] and found[1] and is_rate == (CASES[name].best is max) and not unit.startswith("MB"):
                ratio = f"{found[0] / found[1] if CASES[name].best is max else found[1] / found[0]:.1f}"
            lines.append(f"| {CASES[name].text} | {unit} | {' | '.join(cells)} | {ratio} |")
    return lines if len(lines) > head else []


def _per_limit(results: Results) -> list[str]:
    """What a limit adds to a resolve: the medians with one and with five, less the one without."""
    rows = [results.get(f"resolve {number} limits", {}) for number in (0, 1, 5)]
    said = []
    for one in BOTH:
        if all(one in row for row in rows):
            none, first, five = (row[one]["latency"]["p50"] for row in rows)
            said.append(
                f"{duration(first - none)} ({one}, the first), {duration((five - none) / 5)} ({one}, each of five)"
            )
    return [f"A limit that applies adds to a resolve's median: {'; '.join(said)}."] if said else []
