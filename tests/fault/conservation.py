"""Count what goes in and what comes out, and see that it adds up: recorded = stored + waiting + lost, exactly, always.

`python -m tests.fault.conservation [--records N] [--modes slow,dying]`. N records in all are recorded through stores that are
slow, that raise for a while, that die for good, that are away behind a spool, and through a ring that is full, with every
`overflow`, one thread and several, one store and several. Every store counts for itself, and sees that each session is gapless;
what it counted, what the recorder says and what the callers know are held against each other after every flush and at the end.
Prints a table; exit code 1 when a sum is wrong, or when the fault of a mode never came.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from operator import length_hint
from pathlib import Path
from typing import Any, NamedTuple

import cra
from cra.errors import StorageError, TraceBackpressure
from cra.storage.null import NullStorage
from cra.timing.manager import Timing
from cra.trace import recorder
from cra.trace.batch import Batch

ATLAS = {
    "atlas_version": "1.0",
    "atlas_id": "com.example.count",
    "version": "1.0.0",
    "name": "Count",
    "description": "Count",
    "actions": [{"action_id": "a.do", "name": "Do", "description": "Do"}],
    "policies": [{"policy_id": "all", "type": "allow", "actions": ["a.do"]}],
}
ROUNDS = 4
_SMALL_RING = 256 * 1024
_MANY = 10**6  # records in a mode that fill a ring of the default size
_sequence = re.compile(rb'"sequence":([0-9]+)').search


class Wrong(Exception):
    """A sum that does not add up."""


class Counting(NullStorage):
    """A store that counts, by session, and holds nothing; its `fault` is asked before every append."""

    def __init__(self, name: str, fault: str = "none", spool_bytes: int = 0) -> None:
        self.name = name
        self.fault = fault
        self.spool_bytes = spool_bytes
        self.readable = False
        self.next: dict[str, int] = {}
        self.calls = self.fired = 0
        self.lost_events: list[dict[str, Any]] = []
        self.looks_for_losses = False
        self.is_down = False
        self.gap: str | None = None
        self._left = 0

    def append(self, batch: Sequence[Any]) -> None:
        self.calls += 1
        self._fail()
        assert isinstance(batch, Batch)
        # Checked before anything is counted: a batch is taken whole or not at all.
        ends: dict[str, int] = {}
        for session_id, lines, events in batch.chunks():
            found = _sequence(lines)
            due = ends.get(session_id, self.next.get(session_id, 0))
            if found is None or int(found[1]) != due:
                self.gap = f"{self.name}: session {session_id} goes on with {found and found[1]!r}, not with {due}"
                raise Wrong(self.gap)
            ends[session_id] = due + events
        if self.looks_for_losses and b'"runtime.lost"' in batch.data:
            self.lost_events += [json.loads(line) for line in batch.lines if b'"event_type":"runtime.lost"' in line]
        self.next |= ends

    def flush(self, durable: bool) -> None:
        """Nothing is held back."""

    @property
    def events(self) -> int:
        return sum(self.next.values())

    def _fail(self) -> None:
        if self.fault == "slow" and self.calls % 8 == 0:
            self.fired += 1
            time.sleep(0.02)
        elif self.fault == "dying" and (self._left or self.calls % 64 == 8):
            self._left = self._left - 1 if self._left else 2
            self.fired += 1
            raise StorageError("it is dying")
        elif self.is_down:
            self.fired += 1
            raise StorageError("it is down")


class Mode(NamedTuple):
    """What is tried: the faults of the stores, in their order, what a full ring does, and how many threads record."""

    name: str
    faults: tuple[str, ...]
    overflow: Any = "block"
    threads: int = 1

    @property
    def key(self) -> str:
        return f"{self.name}/{self.overflow}/{self.threads}"


FAULTS = (("full ring", ("none",)), ("slow", ("slow",)), ("dying", ("dying",)), ("several", ("none", "slow", "dying")))
MODES = (
    *(
        Mode(name, faults, overflow, n)
        for name, faults in FAULTS
        for overflow in ("block", "fail", "drop")
        for n in (1, 4)
    ),
    *(Mode("dies", faults, overflow, 2) for faults in (("dies",), ("none", "dies")) for overflow in ("block", "drop")),
    *(Mode("away", faults, "block", n) for faults in (("away",), ("none", "away")) for n in (1, 4)),
)


class Run:
    """One mode, from opening to the last sum."""

    def __init__(self, mode: Mode, folder: Path) -> None:
        self.mode = mode
        self.stores = [
            Counting(f"{fault}:{place}", fault, 2**30 if fault == "away" else 0)
            for place, fault in enumerate(mode.faults)
        ]
        for store in self.stores:
            store.looks_for_losses = mode.overflow == "drop"
        self.resolver = cra.Resolver(
            self.stores,
            ring=folder / "ring" if "away" in mode.faults else None,
            overflow=mode.overflow,
            overflow_timeout=0.2 if "dies" in mode.faults else 60.0,
            trace_detail="decisions",
            timing=Timing(heartbeat_seconds=None),  # nothing is recorded but what is counted
        )
        self.resolver.load_atlas(ATLAS)
        self.sessions = [self.resolver.create_session("bot", "count") for _ in range(mode.threads)]
        self.waits = 0
        self.most_spooled = 0
        queue: Any = self.resolver._runtime.recorder.queue
        wait_for_room = queue._wait_for_room

        def counted(*arguments: Any) -> Any:
            self.waits += 1
            return wait_for_room(*arguments)

        queue._wait_for_room = counted
        before = self._flushed(self.resolver.flush).events_recorded
        for session in self.sessions:
            session.resolve("count")
        stats = self._flushed(self.resolver.flush)
        self.each = (stats.events_recorded - before) // len(self.sessions)
        self.base = stats.events_recorded
        self.base_records = stats.records_recorded
        self.taken = self.refused = 0
        self.checks = 0
        self._lock = threading.Lock()

    def _flushed(self, flush: Any) -> Any:
        while True:
            try:
                flush()
                return self.resolver.stats().recorder
            except StorageError:
                for store in self.stores:
                    if store.gap is not None:
                        raise Wrong(store.gap) from None
                time.sleep(0.001)

    def record(self, session: Any, count: int) -> None:
        """Have a session resolve `count` times; a refusal is one, too, but where the store is dead it is the last."""
        resolve = session.resolve
        left, refused = iter(range(count)), 0
        while length_hint(left):
            try:
                for _ in left:
                    resolve("count")
            except TraceBackpressure:
                refused += 1
                if any(store.fault == "dies" and store.is_down for store in self.stores):
                    break
                time.sleep(0.002)
        with self._lock:
            self.taken += count - length_hint(left) - refused
            self.refused += refused

    def round(self, count: int) -> None:
        """Record with all threads, flush, and add up."""
        share = count // len(self.sessions)
        threads = [threading.Thread(target=self.record, args=(session, share)) for session in self.sessions]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self._add_up()  # while they record, too
            next((thread for thread in threads if thread.is_alive()), threads[0]).join(0.05)
        is_down = any(store.is_down for store in self.stores)
        if is_down:
            try:
                self.resolver.flush(timeout=5)
                raise Wrong("a flush reached a store that is down")
            except StorageError:
                pass
            self._add_up()
        if not is_down:
            stats = self._flushed(self.resolver.flush)
            self._expect("nothing waits after a flush", 0, stats.records_waiting)
            for each in stats.backends:
                self._expect(f"{each.name} waits for nothing after a flush", (0, 0), (each.waiting, each.spooled))
            self._settled(stats)

    def _add_up(self) -> Any:
        stats = self.resolver.stats().recorder
        for each in stats.backends:
            self._expect(f"the events of {each.name}", stats.events_recorded, each.stored + each.waiting + each.lost)
            if each.spooled > each.waiting:
                raise Wrong(f"{each.name} has more events in its spool than wait for it")
            self.most_spooled = max(self.most_spooled, each.spooled)
        self.checks += 1
        return stats

    def _settled(self, stats: Any) -> None:
        """Nobody records now."""
        self._add_up()
        resolved = self.taken - stats.records_lost
        gone = stats.events_recorded - self.base - self.each * resolved
        self._expect("records", self.base_records + self.taken + gone, stats.records_recorded)
        self._expect("refusals", self.refused, stats.records_refused)
        for store, each in zip(self.stores, stats.backends):
            self._expect(f"what {store.name} has counted", each.stored, store.events)
            if not each.waiting:
                self._expect(f"the losses that {store.name} has", gone, len(store.lost_events))
                own = self.resolver.session_id
                for of_runtime in (True, False):
                    counts = [
                        e["payload"]["count"] for e in store.lost_events if (e["session_id"] == own) == of_runtime
                    ]
                    self._expect("the sum of the losses that are chained", stats.records_lost, sum(counts))

    def end(self) -> Any:
        """Close, and add up for the last time."""
        down = [store for store in self.stores if store.is_down]
        self._settled(self.resolver.stats().recorder) if not down else self._add_up()
        for session in self.sessions:
            try:
                session.end()
            except TraceBackpressure:
                self.refused += 1
        recorder = self.resolver._runtime.recorder
        try:
            recorder.close(timeout=0.5 if down else 60)
            if down:
                raise Wrong("a close with losses was silent")
        except StorageError as error:
            if not down:
                raise Wrong(f"the close failed: {error}") from error
        stats = recorder.stats()
        for store, each in zip(self.stores, stats.backends):
            self._expect(f"the events of {each.name}", stats.events_recorded, each.stored + each.lost)
            self._expect(f"what waits for {each.name}", 0, each.waiting)
            self._expect(f"what {store.name} has counted", each.stored, store.events)
            if store not in down:
                self._expect(f"what {store.name} lacks", 0, each.lost)
            elif not each.lost:
                raise Wrong(f"{store.name} died and lacks nothing")
        return stats

    def proof(self, stats: Any) -> str | None:
        """Why the fault of the mode was none; None where it was one."""
        for store in self.stores:
            if store.fault != "none" and not store.fired:
                return f"{store.name} never failed"
        if "away" in self.mode.faults:
            return None if self.most_spooled else "nothing was spooled"
        if self.mode.overflow == "block":
            return None if self.waits else "the ring was never full"
        happened = stats.records_refused if self.mode.overflow == "fail" else stats.records_lost
        return None if happened else "the ring was never full"

    def _expect(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            raise Wrong(f"{self.mode.key}: {what}: {expected} expected, {found} found")


def run(mode: Mode, records: int) -> tuple[Any, ...]:
    """Push `records` through a mode. Returns a row of the table. Raises `Wrong`."""
    started = time.monotonic()
    if records < _MANY:
        recorder.DEFAULT_RING_BYTES = _SMALL_RING
    with tempfile.TemporaryDirectory(prefix="cra-conservation-") as folder:
        this = Run(mode, Path(folder))
        for number in range(ROUNDS):
            for store in this.stores:
                if store.fault == "away":
                    store.is_down = number % 2 == 1
                elif store.fault == "dies":
                    store.is_down = number >= ROUNDS // 2
            this.round(records // ROUNDS)
        for store in this.stores:
            if store.fault == "away":
                store.is_down = False
        if "away" in mode.faults:
            this._flushed(this.resolver.flush)
        stats = this.end()
        problem = this.proof(stats)
        if problem is not None:
            raise Wrong(f"{mode.key}: the fault never came: {problem}")
    fired = sum(store.fired for store in this.stores)
    stored = "/".join(str(each.stored) for each in stats.backends)
    lost_events = "/".join(str(each.lost) for each in stats.backends)
    return (
        mode.key + "/" + "+".join(mode.faults),
        stats.records_recorded,
        stored,
        stats.records_waiting,
        f"{stats.records_lost} ({lost_events})",
        stats.records_refused,
        fired + this.waits,
        this.checks,
        f"{time.monotonic() - started:.1f}",
    )


HEAD = ("mode", "records", "events stored", "waiting", "lost (events)", "refused", "faults", "sums", "seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000_000, help="in all modes together")
    parser.add_argument("--modes", default="", help="only those whose name has one of these, separated by commas")
    options = parser.parse_args(arguments)
    wanted = [part for part in options.modes.split(",") if part]
    modes = [mode for mode in MODES if not wanted or any(part in mode.key for part in wanted)]
    if not modes:
        print(f"no mode is called so; there are: {', '.join(mode.key for mode in MODES)}", file=sys.stderr)
        return 2
    widths = (36, 11, 32, 7, 24, 8, 8, 6, 7)
    print(f"{cra.implementation()}, {options.records} records in {len(modes)} modes")
    print(" ".join(f"{cell!s:>{width}}" for cell, width in zip(HEAD, widths)))
    total, wrong = 0, 0
    for mode in modes:
        try:
            row = run(mode, options.records // len(modes))
        except Wrong as error:
            print(f"WRONG {error}", flush=True)
            wrong += 1
            continue
        total += row[1]
        print(" ".join(f"{cell!s:>{width}}" for cell, width in zip(row, widths)), flush=True)
    print(f"== {total} records in {len(modes)} modes, {wrong} of them wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
