"""What `cra bench` found, as plain data. Made by `cra.bench.run`, shown by the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cra.bench.histogram import Histogram, bound

FORMAT = "cra-bench/1"


@dataclass
class Row:
    """One thing that was measured call by call."""

    name: str
    text: str
    histogram: Histogram

    def to_dict(self) -> dict[str, Any]:
        buckets = [[round(bound(number)), count] for number, count in sorted(self.histogram.buckets.items())]
        return {"name": self.name, "text": self.text, **self.histogram.summary(), "buckets": buckets}


@dataclass
class Report:
    """A whole run. `tries` are the measurements of a resolve, the last of which is in `rows`; `budget_ns` is for its p99.9."""

    implementation: str
    machine: dict[str, Any]
    atlases: list[dict[str, Any]]
    questions: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    budget_ns: int | None = None
    tries: list[dict[str, int]] = field(default_factory=list)

    @property
    def within_budget(self) -> bool:
        """Whether there is no budget, or one of the tries kept it."""
        return self.budget_ns is None or any(each["p99.9"] < self.budget_ns for each in self.tries)

    def to_dict(self) -> dict[str, Any]:
        """The machine-readable result; every duration is in ns."""
        return {
            "format": FORMAT,
            "implementation": self.implementation,
            "machine": self.machine,
            "atlases": self.atlases,
            "questions": self.questions,
            "rows": [row.to_dict() for row in self.rows],
            "figures": self.figures,
            "notes": self.notes,
            "budget": {
                "of": "p99.9 of resolve",
                "ns": self.budget_ns,
                "within": self.within_budget,
                "tries": self.tries,
            },
        }
