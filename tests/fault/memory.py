"""Every allocation fails, one at a time, and nothing that was acknowledged is lost or doubled by it.

`python -m tests.fault.memory [--part PART] [--step N] [--only NUMBER]`. CPython's own hook makes the n-th allocation of the
process fail, by whichever thread, and no other: n = 0, 1, 2, …, until what is tried ends before it. Then there is memory again,
and the runtime has to go on: what returned is in both stores, once, as `tests.fault.judge` sees it; what raised `MemoryError` may
be; nothing but that is raised; and the recorder still has its thread. What C code takes from malloc itself is not met;
tests/kernel has that.

Prints a line for each part. Exit code 1 when something was wrong, or when no fault fired.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cra
from tests.fault.calls import Said
from tests.fault.judge import judge
from tests.support.crashes import ATLAS

STORES = ("journal", "jsonl")
CALM = 40
"""So many numbers in a row at which nobody met the fault: what is tried has fewer allocations."""
_GOAL = "a lamp"
_PATIENCE = 20


class Wrong(Exception):
    """Something acknowledged is not there, is there twice, or does not go on."""


class World:
    """A runtime over two stores, in which everything has been done once; `said` is what it has acknowledged."""

    def __init__(self, folder: Path, threaded: bool) -> None:
        urls = [f"{kind}:///{folder}/{kind}/trace" for kind in STORES]
        for kind in STORES:
            (folder / kind).mkdir()
        self.said: list[Said] = []
        self.resolver = cra.Resolver(urls)
        worker = self.resolver._runtime.recorder._worker
        assert worker is not None
        self.worker = worker if threaded else None
        if not threaded:
            worker.stop()  # whoever flushes does its work
            assert worker.join(_PATIENCE)
        self.resolver.load_atlas(ATLAS)
        self.resolver.register("a.do0", dict, inline=True)
        self.session = self.resolver.create_session("bot", "work")
        self.execute()
        self.resolver.flush("durable", timeout=_PATIENCE)

    def tell(self, kind: str, *words: str) -> None:
        """Something was acknowledged."""
        self.said.append(("1", kind, *words))

    def resolve(self, session: cra.Session | None = None, goal: str = _GOAL) -> cra.Resolution:
        """A resolve that takes the short way."""
        session = session or self.session
        resolution = session.resolve(goal)
        self.tell("recorded", session.session_id, resolution.resolution_id)
        return resolution

    def plan(self) -> None:
        """A resolve whose plan is made for it."""
        self.resolver.load_atlas(ATLAS, replace=True)
        self.resolve(goal="another lamp")

    def execute(self) -> None:
        """A resolve and an execution."""
        resolution = self.resolve()
        self.session.execute("a.do0", resolution=resolution)
        self.tell("executed", self.session.session_id, resolution.resolution_id)

    def whole_session(self) -> None:
        """A session from its beginning to its end."""
        session = self.resolver.create_session("bot", "work")
        self.resolve(session)
        session.end()
        self.tell("ended", session.session_id)

    def flush(self) -> None:
        """What is in the ring goes into both stores."""
        self.resolver.flush("durable", timeout=_PATIENCE)
        self.tell("durable")

    def go_on(self) -> None:
        """With memory again, everything works. Raises `Wrong`, and what fails."""
        self.execute()
        self.flush()
        if self.worker is not None and not self.worker.running:
            raise Wrong("the recorder has no thread any more")
        self.session.end()
        self.tell("ended", self.session.session_id)
        self.resolver.close()
        self.tell("closed")


class Part(NamedTuple):
    """What is tried; whether the recorder has its thread, and whether records wait for it."""

    act: Callable[[World], object]
    threaded: bool = True
    waits: bool = False


PARTS = {
    "resolve": Part(World.resolve),
    "plan": Part(World.plan),
    "execute": Part(World.execute),
    "session": Part(World.whole_session),
    "flush": Part(World.flush, waits=True),
    "drain": Part(World.flush, threaded=False, waits=True),
}


def fail(number: int) -> None:
    """Have the allocation of that number fail, counted from now."""
    import _testcapi

    _testcapi.set_nomemory(number, number + 1)


def heal() -> None:
    """There is memory again."""
    import _testcapi

    _testcapi.remove_mem_hooks()


def once(part: Part, number: int, folder: Path) -> bool:
    """Whether an allocation failed, as far as anybody was told. Raises `Wrong`, and what the judge does."""
    world = World(folder, part.threaded)
    if part.waits:
        world.execute()
    fired = False
    fail(number)
    try:
        part.act(world)
    except (MemoryError, RuntimeError, cra.CRAError) as error:
        # A lock that cannot be had is a RuntimeError of CPython's; a store's error is told in ours.
        if not (isinstance(error, MemoryError) or "MemoryError" in str(error) or str(error) == "can't allocate lock"):
            raise
        fired = True
    finally:
        heal()
    world.go_on()
    for kind in STORES:
        judge(kind, folder / kind, world.said)
    return fired


def run(name: str, only: int | None = None, step: int = 1) -> tuple[int, int]:
    """How far it came, and how many allocations failed, as far as anybody was told. Raises `Wrong`."""
    number, fired, calm = only or 0, 0, 0
    while calm < CALM:
        with tempfile.TemporaryDirectory(prefix="cra-memory-") as folder:
            try:
                told = once(PARTS[name], number, Path(folder))
            except Exception as error:
                raise Wrong(f"{name}, allocation {number}: {type(error).__name__}: {error}") from error
        number, fired, calm = number + step, fired + told, 0 if told else calm + 1
        if only is not None:
            break
    return number, fired


def main() -> int:
    """0 when all is well."""
    parser = argparse.ArgumentParser("python -m tests.fault.memory", description="fail every allocation, one at a time")
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="only this allocation")
    parser.add_argument("--step", type=int, default=1, metavar="N", help="every N-th allocation")
    options = parser.parse_args()
    faulthandler.enable()
    total = 0
    for name in options.part or PARTS:
        number, fired = run(name, options.only, options.step)
        print(f"{name:8} {number:5} numbers, {fired:5} allocations failed", flush=True)
        if not fired and options.only is None:
            print(f"{name}: no allocation failed", file=sys.stderr)
            return 1
        total += fired
    if not total:
        print("no allocation failed: there are not so many", file=sys.stderr)
        return 1
    print(f"{total} allocations failed, nothing lost ({cra.implementation()})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
