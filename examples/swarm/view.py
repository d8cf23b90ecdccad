"""What the swarm measures, and how it looks while it runs."""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

import cra
from cra.timing.heartbeat import memory_bytes

INTERVAL = 0.25


class Measurements:
    """Counts, and the latency of every resolve in ns."""

    def __init__(self) -> None:
        self.times = array("q")
        self.executed = self.limited = self.denied = self.waited = 0
        self._started = time.perf_counter()
        self._elapsed: float | None = None

    @property
    def resolved(self) -> int:
        return len(self.times)

    @property
    def elapsed(self) -> float:
        return self._elapsed if self._elapsed is not None else time.perf_counter() - self._started

    def note(self, time_ns: int) -> None:
        self.times.append(time_ns)

    def finish(self) -> None:
        """The agents are done."""
        self._elapsed = self.elapsed

    def heartbeat(self) -> dict[str, Any]:
        """What every heartbeat says besides."""
        return {"limited": self.limited, "executed": self.executed}

    def percentiles(self, since: int = 0) -> dict[str, float]:
        """Of the resolves after the first `since`, in microseconds."""
        times = sorted(self.times[since:])
        if not times:
            return {"p50": 0.0, "p99": 0.0, "p99.9": 0.0}
        return {
            name: times[min(len(times) - 1, len(times) * share // 1000)] / 1000
            for name, share in (("p50", 500), ("p99", 990), ("p99.9", 999))
        }

    def figures(self) -> dict[str, Any]:
        """What there is to say in the end."""
        return {
            "resolves": self.resolved,
            "seconds": round(self.elapsed, 2),
            "resolves/s": round(self.resolved / self.elapsed),
            **{f"{name} µs": round(value, 2) for name, value in self.percentiles().items()},
            "executed": self.executed,
            "limits hit": self.limited,
            "denied": self.denied,
            "waited for room": self.waited,
            "memory MB": round(memory_bytes() / 2**20),
        }


class LiveView:
    """A table in the terminal, redrawn four times a second while the swarm runs; `shown` False draws nothing."""

    def __init__(self, heard: Measurements, *, shown: bool) -> None:
        self._heard = heard
        self._live = Live(console=Console(stderr=True), auto_refresh=False) if shown else None
        self._seen = 0
        self._drawn = 0.0

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*error)

    async def watch(self, resolver: cra.Resolver) -> None:
        """Redraw until cancelled."""
        while self._live is not None:
            await asyncio.sleep(INTERVAL)
            self._live.update(self._draw(resolver), refresh=True)

    def _draw(self, resolver: cra.Resolver) -> Group:
        heard, stats = self._heard, resolver.stats()
        since, self._seen = self._seen, heard.resolved
        took, self._drawn = heard.elapsed - self._drawn, heard.elapsed
        latest = heard.percentiles(since)
        table = Table(title=f"swarm, {heard.elapsed:.1f} s", min_width=64)
        for column in ("", "now", "in all"):
            table.add_column(column, justify="left" if not column else "right")
        table.add_row("resolves", f"{(heard.resolved - since) / max(took, INTERVAL):,.0f}/s", f"{heard.resolved:,}")
        for name in latest:
            table.add_row(f"  {name}", f"{latest[name]:.2f} µs", "")
        table.add_row("executed", "", f"{heard.executed:,}")
        table.add_row("refused by a limit", "", f"[yellow]{heard.limited:,}[/]")
        table.add_row("denied", "", f"[red]{heard.denied:,}[/]")
        table.add_row("waited for room", "", f"{heard.waited:,}")
        table.add_row("sessions", f"{stats.sessions_active:,}", "")
        table.add_row("events", f"{stats.recorder.records_waiting:,} waiting", f"{stats.recorder.events_recorded:,}")
        ring = ProgressBar(total=stats.recorder.ring_bytes, completed=stats.recorder.ring_used, width=40)
        used = Table.grid(padding=(0, 1))
        used.add_row("ring", ring, f"{stats.recorder.ring_used / stats.recorder.ring_bytes:.0%}")
        return Group(table, used)
