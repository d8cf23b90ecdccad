"""A campaign: every target in turn, some time each, round after round, until the hours are over. Called by `python -m fuzz
campaign`.

Its folder holds all there is to know: `state.json`, `history.jsonl` (a line a run), a folder a target with corpus and crashes.
So it can be interrupted at any time, and goes on where it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from cra.fuzzing.crashes import Crash
from cra.fuzzing.native import Instrumentation
from cra.fuzzing.run import NoEngine, Progress, Result, run
from fuzz.corpora import corpus

STATE: Final = "state.json"
HISTORY: Final = "history.jsonl"
SLICE_SECONDS: Final = 300.0
_LEAST_SECONDS: Final = 1


class Entry(msgspec.Struct, frozen=True):
    """One run of one target: when it ended (s since the epoch), how long it was, and how far it came."""

    target: str
    ended: float
    seconds: float
    executions: int
    coverage: int
    features: int
    corpus: int
    crashes: int
    instrumentation: Instrumentation


class State(msgspec.Struct):
    """How many seconds each target is to have, and has had."""

    wanted: dict[str, float]
    spent: dict[str, float]


Tell = Callable[[str], None]


class Campaign:
    """The campaign in a folder: begun with the first `begin`, gone on with after that."""

    def __init__(self, folder: Path, package: str | None = None) -> None:
        self.folder = folder
        self._package = package
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def begin(self, targets: Sequence[str], hours: float, jobs: int) -> State:
        """The state to go on from: a target that is not finished keeps what it was promised, a new one gets its share of the
        hours."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = self._read() or State({}, {})
        share = hours * 3600 * jobs / len(targets)
        for target in targets:
            spent = state.spent.setdefault(target, 0.0)
            if state.wanted.get(target, 0.0) - spent < _LEAST_SECONDS:
                state.wanted[target] = spent + share
        self._write(state)
        return state

    def run(self, targets: Sequence[str], jobs: int, tell: Tell, slice_seconds: float = SLICE_SECONDS) -> list[Crash]:
        """Fuzz until every target has had its time; every crash there is then. Raises `NoEngine`, and what interrupts it."""
        state = self._read()
        assert state is not None
        with ThreadPoolExecutor(jobs) as pool:
            try:
                while work := self._next(state, targets, slice_seconds):
                    futures = [pool.submit(self._one, target, seconds, state, tell) for target, seconds in work]
                    for future in futures:
                        future.result()
            except BaseException:
                self._stop.set()
                raise
        return self.crashes()

    def history(self) -> list[Entry]:
        """Every run so far."""
        path = self.folder / HISTORY
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [msgspec.json.decode(line, type=Entry) for line in lines]

    def crashes(self) -> list[Crash]:
        """Every crash in the folder."""
        from cra.fuzzing.crashes import CrashFolder
        from cra.fuzzing.engine import CRASHES

        folders = sorted(path for path in self.folder.iterdir() if path.is_dir())
        return [crash for path in folders for crash in CrashFolder(path / CRASHES, path.name).list()]

    def _next(self, state: State, targets: Sequence[str], slice_seconds: float) -> list[tuple[str, float]]:
        """A round: every target that has time left, the one that had least of its share first."""
        left = {target: state.wanted[target] - state.spent[target] for target in targets}
        due = sorted((target for target in targets if left[target] >= _LEAST_SECONDS), key=lambda target: -left[target])
        return [(target, min(slice_seconds, left[target])) for target in due]

    def _one(self, target: str, seconds: float, state: State, tell: Tell) -> None:
        if self._stop.is_set():
            return
        corpora = [str(corpus(target))] if corpus(target).is_dir() else []
        last = time.monotonic()

        def watch(progress: Progress) -> None:
            nonlocal last
            if self._stop.is_set():
                raise Stopped
            if time.monotonic() - last >= _TELL_SECONDS:
                last = time.monotonic()
                tell(in_words(progress))

        try:
            result = run(target, seconds, self.folder / target, corpora=corpora, package=self._package, watch=watch)
        except (Stopped, NoEngine):
            self._stop.set()
            raise
        tell(in_words(result.progress))
        self._note(target, max(seconds, _LEAST_SECONDS), state, result)

    def _note(self, target: str, seconds: float, state: State, result: Result) -> None:
        progress = result.progress
        entry = Entry(
            target,
            time.time(),
            progress.seconds,
            *(progress.executions, progress.coverage, progress.features, progress.corpus, progress.crashes),
            result.instrumentation,
        )
        with self._lock:
            with open(self.folder / HISTORY, "ab") as file:
                file.write(msgspec.json.encode(entry) + b"\n")
            state.spent[target] += seconds
            self._write(state)

    def _read(self) -> State | None:
        path = self.folder / STATE
        return msgspec.json.decode(path.read_bytes(), type=State) if path.exists() else None

    def _write(self, state: State) -> None:
        part = self.folder / (STATE + ".part")
        part.write_bytes(msgspec.json.encode(state))
        part.replace(self.folder / STATE)


class Stopped(Exception):
    """Another run of the campaign has failed, or somebody interrupted it."""


_TELL_SECONDS: Final = 60.0


def in_words(progress: Progress) -> str:
    """A run, in a line."""
    rate = progress.executions / max(progress.seconds, 0.001)
    done = f"{progress.target:15} {progress.seconds:6.0f} s  {progress.executions:9} executions {rate:6.0f}/s"
    return f"{done}  coverage {progress.coverage:5}  corpus {progress.corpus:5}  crashes {progress.crashes}"
