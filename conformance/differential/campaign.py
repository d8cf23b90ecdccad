"""A run: episodes given out to pairs of processes, digests compared, disagreements made small and kept. Called by `__main__`.

Progress and rates are measured here; what counts as a difference is decided by the digests alone.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import merge
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

from conformance.differential.episode import Episode
from conformance.differential.generators import GENERATORS, SHARES
from conformance.differential.minimise import minimise
from conformance.differential.twins import Twins

FOUND: Final = Path(__file__).parent / "found"
FORMAT: Final = "cra-differential/1"
MOST_FOUND: Final = 10
"""After so many disagreements a run stops: more of them say nothing more."""
_CONFIRMED: Final = 2
"""How often an episode has to differ again to be worth making small: one that does not always is kept as it is."""
_DIGEST: Final = 16  # hex digits
_SHOWN: Final = 600


@dataclass(frozen=True)
class Work:
    """One generated episode: `size` cases."""

    generator: str
    number: int
    size: int


@dataclass
class _Begun:
    """An episode that somebody is at."""

    work: Work
    is_done: bool = False


@dataclass
class Tally:
    """What was done with one generator; `seconds` is the time of one pair of processes."""

    cases: int = 0
    episodes: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return self.cases / self.seconds if self.seconds else 0.0


@dataclass
class Report:
    """What a run did. `found` are the disagreements, small, as they are kept.

    All episodes before `next_episode` are done: where a run was interrupted, another one can go on from there.
    """

    seed: int
    jobs: int
    version: str = ""
    compiled: list[str] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    found: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False
    next_episode: int = 0

    @property
    def cases(self) -> int:
        return sum(tally.cases for tally in self.tallies.values())

    @property
    def rate(self) -> float:
        return self.cases / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The machine-readable result."""
        return {
            "format": f"{FORMAT}-result",
            "version": self.version,
            "seed": self.seed,
            "jobs": self.jobs,
            "compiled": self.compiled,
            "interrupted": self.interrupted,
            "next_episode": self.next_episode,
            "cases": self.cases,
            "seconds": round(self.seconds, 3),
            "cases_per_second": round(self.rate),
            "generators": {
                name: {"cases": tally.cases, "episodes": tally.episodes, "cases_per_second": round(tally.rate)}
                for name, tally in self.tallies.items()
            },
            "disagreements": self.found,
        }


def plan(cases: int, generators: Sequence[str]) -> Iterator[Work]:
    """Episodes with that many cases in all, in the shares of the generators, mixed. A finite space is visited once.

    They are made as they are taken: ten million cases need no more memory than a thousand.
    """
    shares = {name: SHARES[name] for name in generators}
    wanted = {name: int(cases * share / sum(shares.values())) for name, share in shares.items()}
    for name in generators:
        space = GENERATORS[name].space
        if space is not None:
            wanted[name] = min(wanted[name], space)
    endless = next((name for name in generators if GENERATORS[name].space is None), None)
    if endless is not None:
        wanted[endless] += cases - sum(wanted.values())
    else:
        wanted[generators[0]] = min(cases, GENERATORS[generators[0]].space or cases)
    mixed = merge(*(_pieces(name, total) for name, total in wanted.items()), key=lambda piece: piece[0])
    return (work for _, work in mixed)


def _pieces(name: str, total: int) -> Iterator[tuple[float, Work]]:
    """The episodes of one generator, each with its place in the run, between 0 and 1."""
    size = GENERATORS[name].size
    for number in count():
        if total <= number * size:
            return
        yield (number + 0.5) * size / total, Work(name, number, min(size, total - number * size))


def run(
    cases: int,
    seed: int,
    generators: Sequence[str],
    jobs: int,
    *,
    mutant: str | None = None,
    progress: Callable[[Report], None] | None = None,
    tell: Callable[[dict[str, Any]], None] | None = None,
    most_found: int = MOST_FOUND,
    patience: float = 60.0,
    skip: int = 0,
    stop: threading.Event | None = None,
) -> Report:
    """Compare the twins over that many cases. Raises `NoTwins`.

    Once `stop` is set no further episode is begun: the report has what was done until then. `skip` leaves out so many episodes,
    those that an earlier run with the same arguments has done (`Report.next_episode`).

    `progress` is called after every episode, `tell` with every disagreement as soon as it is small; never two at a time.
    `patience` is how many seconds to spend on making one disagreement small; 0 leaves it as it is.
    """
    report = Report(seed, jobs, tallies={name: Tally() for name in generators})
    waiting = islice(plan(cases, generators), skip, None)
    ended = stop or threading.Event()
    begun_in_order = deque[_Begun]()
    report.next_episode = skip
    lock = threading.Lock()
    started = time.monotonic()

    def take() -> _Begun | None:
        with lock:
            if ended.is_set() or len(report.found) >= most_found:
                return None
            piece = next(waiting, None)
            if piece is None:
                return None
            begun_in_order.append(_Begun(piece))
            return begun_in_order[-1]

    def work() -> None:
        with Twins(mutant) as twins:
            report.version, report.compiled = twins.version, twins.compiled
            while (taken := take()) is not None:
                piece = taken.work
                begun = time.monotonic()
                compiled, pure = twins.digests(piece.generator, seed, piece.number, piece.size)
                found = None if compiled == pure else _look_into(twins, seed, piece, compiled, pure, patience)
                with lock:
                    taken.is_done = True
                    while begun_in_order and begun_in_order[0].is_done:
                        begun_in_order.popleft()
                        report.next_episode += 1
                    tally = report.tallies[piece.generator]
                    tally.cases += piece.size
                    tally.episodes += 1
                    tally.seconds += time.monotonic() - begun
                    report.seconds = time.monotonic() - started
                    if found is not None:
                        report.found.append(found)
                        if tell is not None:
                            tell(found)
                    if progress is not None:
                        progress(report)

    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(work) for _ in range(jobs)]:
            done.result()
    report.seconds = time.monotonic() - started
    report.interrupted = ended.is_set()
    return report


def _look_into(twins: Twins, seed: int, piece: Work, compiled: str, pure: str, patience: float) -> dict[str, Any]:
    """A disagreement, as small as it can be made."""
    episode = GENERATORS[piece.generator].make(seed, piece.number, piece.size)
    case = _first_difference(compiled, pure)
    episode = Episode(episode.options, episode.cases[: case + 1])
    origin = {"generator": piece.generator, "seed": seed, "episode": piece.number, "size": piece.size, "case": case}
    if patience > 0 and all(differs(twins, episode) for _ in range(_CONFIRMED)):
        episode = minimise(episode, lambda smaller: differs(twins, smaller), patience)
    return {"format": FORMAT, "origin": origin, **episode.to_json(), "answers": difference(twins, episode)}


def _first_difference(compiled: str, pure: str) -> int:
    """The first case that differs; what is no list of digests (a crash) may come from any of them."""
    if len(compiled) != len(pure):
        return max(len(compiled), len(pure)) // _DIGEST
    places = range(0, len(compiled), _DIGEST)
    return next(at // _DIGEST for at in places if compiled[at : at + _DIGEST] != pure[at : at + _DIGEST])


def differs(twins: Twins, episode: Episode) -> bool:
    """Whether the twins disagree about an episode played from its beginning."""
    compiled, pure = twins.answers(episode)
    return compiled != pure


def difference(twins: Twins, episode: Episode) -> dict[str, Any]:
    """The first answer that differs, the operation it belongs to (None: the end), and what each says around there."""
    compiled, pure = twins.answers(episode)
    operations: list[Any] = [*episode.operations(), None]
    for operation, one, other in zip(operations, compiled, pure):
        if one != other:
            at = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
            start = max(0, at - 80)
            return {
                "operation": operation,
                "compiled": one[start : start + _SHOWN],
                "pure": other[start : start + _SHOWN],
            }
    if len(compiled) != len(pure):
        return {"operation": None, "compiled": compiled[-1][:_SHOWN], "pure": pure[-1][:_SHOWN]}
    return {
        "operation": None,
        "compiled": "",
        "pure": "",
        "note": "played again from its beginning, it does not differ",
    }


def keep(found: dict[str, Any], folder: Path = FOUND) -> Path:
    """Write a disagreement down, under a name that is the same for the same episode."""
    text = json.dumps(found, indent=1)
    name = hashlib.sha256(json.dumps([found["options"], found["cases"]]).encode()).hexdigest()[:12]
    path = folder / f"{found['origin']['generator']}-{name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    return path


def kept(folder: Path = FOUND) -> dict[str, Episode]:
    """The episodes of all disagreements that were written down, by file name."""
    return {path.name: Episode.from_json(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))}
