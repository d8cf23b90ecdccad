"""Every fault there is, one by one: each system call of a workload fails once, and once is the last that its process makes.

`python -m tests.fault.enumerate [--store journal] [--thin N --seed S] [--jobs 2]`. Of each store, the calls of two lives of a
runtime (`work`), of the recovery of what killed runtimes left (`recovery`), and of its repair offline (`repair`) are recorded;
then each part is done again, in a folder of its own, once for every fault, and what is left then is judged. A fourth part kills
the work at each call and lets one fault, which the seed chooses, happen to the recovery of just that (`twice`). Progress goes to
stderr; at the end there is a table. Exit code 1 where anything is not as it must be, or where a store saw no fault.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cra
from tests.fault import workloads
from tests.fault.calls import Fault, Said, Say, is_traceable, record, repeat, result_of
from tests.fault.judge import check_run, check_undisturbed, judge
from tests.fault.mutants import MUTANTS

ATTEMPTS = 5
_EVERY = 2.0  # seconds between two words on progress
PARTS: dict[str, Callable[[str, Path, Say], None]] = {
    "work": workloads.work,
    "recovery": workloads.recover,
    "repair": workloads.mend,
}
TWICE = "twice"


class Task(NamedTuple):
    """A fault of a part of what is done to a store; `number` among those of this part."""

    store: str
    part: str
    number: int
    fault: Fault

    @property
    def name(self) -> str:
        """What `--only` calls it."""
        return f"{self.store}/{self.part}/{self.number}"


class Outcome(NamedTuple):
    """Whether a fault fired; what was `refused` then, and what is `wrong`, if anything."""

    fired: bool
    refused: int
    wrong: str | None
    seconds: float


class Scene:
    """Where it all happens, in folders below `folder`. What was left of each store is copied for every fault once."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self._seed = seed
        self._left: dict[str, list[Said]] = {}

    def tasks(self, store: str, parts: Sequence[str]) -> Iterator[Task]:
        """The faults of a store."""
        template = self.folder / store
        template.mkdir()
        self._left[store] = workloads.leave(store, template)
        for part in parts:
            base = "work" if part == TWICE else part
            here = self._place(store, base, f"{part}-recorded")
            calls, said = record(partial(PARTS[base], store, here), here)
            check_undisturbed(said)
            for kind in workloads.TOUCHED[store, base]:
                assert any(kind in call.text for call in calls), f"{store}/{base} makes no call on any *{kind}"
            result_of(partial(_judge, store, here, self._said(store, base, said)))
            shutil.rmtree(here)
            faults = [Fault(call, effect) for call in calls for effect in call.effects]
            if part == TWICE:
                faults = [fault for fault in faults if fault.effect == "KILL"]
            yield from (Task(store, part, number, fault) for number, fault in enumerate(faults))

    def play(self, task: Task) -> Outcome:
        """Do it with the fault, and judge what is left."""
        started = time.monotonic()
        fired, refused, wrong = False, 0, None
        for attempt in range(ATTEMPTS):
            here = self.folder / f"{task.store}-{task.part}-{task.number}.{attempt}"
            here.mkdir()
            try:
                fired, refused = (self._twice if task.part == TWICE else self._once)(task, here)
            except AssertionError as error:
                wrong, fired = str(error), True
                break
            shutil.rmtree(here)
            if fired:
                break
        return Outcome(fired, refused, wrong, time.monotonic() - started)

    def _once(self, task: Task, folder: Path) -> tuple[bool, int]:
        here = self._place(task.store, task.part, f"{folder.name}/once")
        fired, run = repeat(partial(PARTS[task.part], task.store, here), task.fault)
        check_run(task.store, run.said, run.status, task.fault)
        if fired:
            result_of(partial(_judge, task.store, here, self._said(task.store, task.part, run.said)))
        return fired, _refusals(run.said)

    def _twice(self, task: Task, folder: Path) -> tuple[bool, int]:
        """Killed at work, and then once more in trouble: one fault of the recovery of just that, chosen by the seed."""
        here = self._place(task.store, "work", f"{folder.name}/killed")
        fired, killed = repeat(partial(workloads.work, task.store, here), task.fault)
        if not fired:
            return False, 0
        whole, hit = folder / "whole", folder / "hit"
        workloads.copy(here, whole)
        workloads.copy(here, hit)
        calls, said = record(partial(workloads.recover, task.store, whole), whole)
        check_undisturbed(said)
        faults = [Fault(call, effect) for call in calls for effect in call.effects]
        fault = random.Random(f"{self._seed} {task.name}").choice(faults)
        fired, run = repeat(partial(workloads.recover, task.store, hit), fault)
        try:
            check_run(task.store, run.said, run.status, fault)
            result_of(partial(_judge, task.store, hit, killed.said + run.said))
        except AssertionError as error:
            raise AssertionError(f"then {fault.sentence()}\n{error}") from None
        return fired, _refusals(run.said)

    def _place(self, store: str, part: str, name: str) -> Path:
        here = self.folder / name
        if part == "work":
            here.mkdir()
        else:
            workloads.copy(self.folder / store, here)
        return here

    def _said(self, store: str, part: str, said: list[Said]) -> list[Said]:
        return said if part == "work" else self._left[store] + said


def _judge(store: str, folder: Path, said: Sequence[Said], say: Say) -> None:
    say(judge(store, folder, said))


def _refusals(said: Sequence[Said]) -> int:
    return sum(words[1:2] == ("refused",) for words in said)


_scene: Scene | None = None  # of this process and its children


def _play(task: Task) -> tuple[Task, Outcome]:
    assert _scene is not None
    return task, _scene.play(task)


class Table:
    """What became of the faults, by store and part."""

    HEAD = ("store", "part", "faults", "fired", "failing", "killed", "refusals", "wrong", "seconds")

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[float]] = {}

    def note(self, task: Task, outcome: Outcome) -> None:
        """Count a fault."""
        row = self.rows.setdefault((task.store, task.part), [0.0] * 7)
        is_kill = task.fault.effect == "KILL"
        counted = (1, outcome.fired, outcome.fired and not is_kill, outcome.fired and is_kill, outcome.refused)
        for place, value in enumerate((*counted, outcome.wrong is not None, outcome.seconds)):
            row[place] += value

    def fired(self, store: str | None = None) -> int:
        """How many faults fired, of a store or of all."""
        return int(sum(row[1] for (name, _), row in self.rows.items() if store in (None, name)))

    def lines(self) -> Iterator[str]:
        """For people."""
        form = "{:<9}{:<10}" + "{:>9}" * 7
        yield form.format(*self.HEAD)
        for (store, part), row in self.rows.items():
            yield form.format(store, part, *map(int, row[:6]), f"{row[6]:.0f}")


def enumerate_faults(options: argparse.Namespace, folder: Path) -> int:
    """Do all of it; the exit code."""
    global _scene
    _scene = Scene(folder, options.seed)
    started = time.monotonic()
    rng = random.Random(options.seed)
    tasks: list[Task] = []
    stores = options.store or list(workloads.STORES)
    for store in stores:
        found = [
            task
            for task in _scene.tasks(store, options.part or [*PARTS, TWICE])
            if options.call is None or task.fault.call.name in options.call
        ]
        tasks += sorted(rng.sample(found, -(-len(found) // options.thin)), key=found.index)
    if options.only:
        tasks = [task for task in tasks if task.name in options.only]
    table = Table()
    wrong: list[str] = []
    missed: list[str] = []
    told = 0.0
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork")) as pool:
        for number, done in enumerate(as_completed([pool.submit(_play, task) for task in tasks]), 1):
            task, outcome = done.result()
            table.note(task, outcome)
            if not outcome.fired:
                missed.append(f"{task.name} did not fire: {task.fault.sentence()}")
            if outcome.wrong is not None:
                wrong.append(f"{task.name}: {task.fault.sentence()}\n{outcome.wrong}")
                print(wrong[-1], file=sys.stderr, flush=True)
            if time.monotonic() - told > _EVERY or number == len(tasks):
                told = time.monotonic()
                print(f"{number} of {len(tasks)} faults, {len(wrong)} wrong", file=sys.stderr, flush=True)
    for line in (*missed, *table.lines()):
        print(line)
    counts = {store: table.fired(store) for store in stores}
    print(
        f"{table.fired()} faults injected ({', '.join(f'{store} {fired}' for store, fired in counts.items())}; one of"
        f" {options.thin}, seed {options.seed}) in {time.monotonic() - started:.0f} s, {len(missed)} not reached,"
        f" {len(wrong)} wrong, {cra.implementation()}"
    )
    return 1 if wrong or not all(counts.values()) or len(missed) * 100 > len(tasks) else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", action="append", choices=workloads.STORES, help="this store alone; may be repeated")
    parser.add_argument("--part", action="append", choices=[*PARTS, TWICE], help="this part alone; may be repeated")
    parser.add_argument(
        "--call", action="append", metavar="NAME", help="only where this system call fails; may be repeated"
    )
    parser.add_argument("--thin", type=int, default=1, metavar="N", help="one of N faults, chosen by the seed")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--only", action="append", metavar="STORE/PART/NUMBER", help="this fault alone; may be repeated"
    )
    parser.add_argument("--mutant", choices=MUTANTS, help="break a store first, which has to be noticed")
    parser.add_argument("--keep", action="store_true", help="leave the folders in which something is wrong")
    options = parser.parse_args()
    if not is_traceable():
        print("strace cannot trace here: the faults cannot be injected", file=sys.stderr)
        return 2
    if options.mutant:
        MUTANTS[options.mutant]()
    folder = Path(tempfile.mkdtemp(prefix="cra-faults-"))
    try:
        return enumerate_faults(options, folder)
    except AssertionError as error:  # already without a fault
        print(error, file=sys.stderr)
        return 1
    finally:
        if options.keep:
            print(f"what is wrong is in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
