"""The registry of what there is to measure, and the runtime that most of it measures. `perf.suite` fills it; each case runs in a
process of its own (`perf.one`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cra
from cra.bench.bursts import paced as paced
from cra.bench.bursts import warm
from cra.bench.histogram import Histogram

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests/data/golden/simple-resolve/atlas.json"
GITHUB = ROOT / "examples/github/atlas"
GOAL = "Manage resources in the test environment"
BOTH = ("compiled", "pure")

Implementation = Literal["compiled", "pure"]
Figures = dict[str, float]
Points = list[tuple[int, float]]


class Case(NamedTuple):
    """`run` takes the count that the work is scaled to, and gives a histogram, or figures by name whose unit is in the name.

    `text` is what the table says. Of several runs the best is shown: by its median, or by its first figure, which is a rate
    (`best` is max) or a cost (min). A `long` case runs once, and only on request. With `points` its run gives a line for a plot
    beside the figures.
    """

    text: str
    run: Callable[[int], Any]
    is_latency: bool
    implementations: tuple[str, ...] = BOTH
    best: Callable[..., float] = min
    long: bool = False


CASES: dict[str, Case] = {}


def latency(
    name: str, text: str, implementations: tuple[str, ...] = BOTH
) -> Callable[[Callable[[int], Histogram]], Callable[[int], Histogram]]:
    """Register a function that gives a histogram of one call."""

    def register(function: Callable[[int], Histogram]) -> Callable[[int], Histogram]:
        CASES[name] = Case(text, function, True, implementations)
        return function

    return register


def figures(name: str, text: str, **options: Any) -> Callable[[Callable[[int], Any]], Callable[[int], Any]]:
    """Register a function that gives figures; `options` are fields of `Case`."""

    def register(function: Callable[[int], Any]) -> Callable[[int], Any]:
        CASES[name] = Case(text, function, is_latency=False, **options)
        return function

    return register


@contextmanager
def runtime(atlas: Path | dict[str, Any] = GOLDEN, storage: str = "null:", **options: Any) -> Iterator[cra.Resolver]:
    """A resolver with one atlas, whose events are expanded, hashed, chained and then discarded."""
    with cra.Resolver(storage=storage, **options) as resolver:
        resolver.load_atlas(atlas)
        yield resolver


def github_without_limits() -> dict[str, Any]:
    """The 117 actions of the GitHub atlas under its team's policies, all but the limits."""
    manifest: dict[str, Any] = json.loads((GITHUB / "atlas.json").read_text())
    manifest["policies"] = [policy for policy in manifest["policies"] if policy["type"] not in ("rate_limit", "budget")]
    manifest["context_packs"] = []
    return manifest


def session_of(resolver: cra.Resolver) -> cra.Session:
    """A session that is warm, and whose worker has caught up."""
    return warm(resolver.create_session(agent_id="bench", goal=GOAL), GOAL, resolver)


def resolve(session: cra.Session, count: int) -> None:
    """As many resolves, as fast as they go."""
    call = session.resolve
    for _ in range(count):
        call(GOAL)
