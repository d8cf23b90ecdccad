"""One run of the fuzzer on one target: its process started, watched, started again after a crash of native code, and summed up.

Called by `cra fuzz` and by campaigns. All that comes of a run lies in one folder: `corpus/`, `crashes/`, the log.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import selectors
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from cra.fuzzing import native
from cra.fuzzing.crashes import Crash, CrashFolder, native_reason
from cra.fuzzing.engine import ARTIFACTS, BOOTSTRAP, CORPUS, CRASHES, SEEDS, Order, Told
from cra.fuzzing.native import Instrumentation
from cra.fuzzing.registry import find_target
from cra.fuzzing.replay import replay
from cra.fuzzing.scratch import scratch_of_child

LOG: Final = "log.txt"
MISSING: Final = (
    "fuzzing needs Atheris, for Linux on x86-64: pip install atheris (the extra cra[fuzz]);"
    " to put inputs to a target without it, use --reproduce FILE"
)
_PROGRESS: Final = re.compile(r"#\d+\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/")
_KEPT_LINES: Final = 400
_GRACE_SECONDS: Final = 60.0
_START_SECONDS: Final = 600.0
"""The package is instrumented twice before the first input: seconds, and minutes where others want the processor, too."""
_MOST_STARTS: Final = 50
_TICK_SECONDS: Final = 0.5


class NoEngine(Exception):
    """Atheris is not installed, or its process does not start; the message says what to do."""


class Progress(msgspec.Struct):
    """How far a run is, in `seconds` since the first input, which comes seconds after the start. `taken` of the executions were
    inputs that the door took; `coverage` and `features` are libFuzzer's."""

    target: str
    seconds: float = 0.0
    executions: int = 0
    taken: int = 0
    failed: int = 0
    coverage: int = 0
    features: int = 0
    corpus: int = 0
    crashes: int = 0
    starts: int = 0


class Result(msgspec.Struct, frozen=True):
    """What came of a run, and every crash that is in its folder: those of earlier runs that still are some, too."""

    progress: Progress
    instrumentation: Instrumentation
    crashes: tuple[Crash, ...]


Watch = Callable[[Progress], None]


def check_engine() -> None:
    """Raises `NoEngine` where Atheris is not installed."""
    if importlib.util.find_spec("atheris") is None:
        raise NoEngine(MISSING)


def run(
    name: str,
    seconds: float,
    out: str | os.PathLike[str],
    *,
    corpora: Sequence[str] = (),
    package: str | None = None,
    seed: int = 0,
    watch: Watch = lambda progress: None,
) -> Result:
    """Fuzz the target `name` in the folder `out`, on top of the corpus that is there and the inputs in `corpora`.

    `package` is a folder with an instrumented copy of this package. `watch` is told of the progress twice a second. Raises
    `NoEngine`, and `OSError` for a folder that cannot be used.
    """
    check_engine()
    folder = Path(out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    kind = native.instrumentation(package)
    try:
        environment = native.environment(kind)
    except FileNotFoundError as problem:
        raise NoEngine(str(problem)) from None
    crashes = CrashFolder(folder / CRASHES, name)
    _retire(name, crashes, folder / CORPUS, package)
    progress = Progress(name)
    while (left := seconds - progress.seconds) > 0 and progress.starts < _MOST_STARTS:
        progress.starts += 1
        _write_seeds(name, folder / SEEDS, crashes.inputs())
        process = _Process(name, max(1, round(left)), folder, corpora, package, environment, seed)
        code = process.watch(progress, watch, crashes)
        kept = code != 0 and _keep_artifacts(folder / ARTIFACTS, crashes, process.output())
        if not kept and not process.has_told:
            raise NoEngine(
                f"the fuzzer ended with code {code} before its first input; its last words are in {folder / LOG}"
            )
        if code == 0:
            break
        if not kept and not crashes.list():
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code} over no input"
            raise NoEngine(f"the fuzzer {how}; see {folder / LOG}")
    found = tuple(crashes.list())
    progress.crashes = len(found)
    watch(progress)
    return Result(progress, kind, found)


class _Process:
    """One process, whose output goes to the log."""

    def __init__(
        self,
        name: str,
        seconds: int,
        folder: Path,
        corpora: Sequence[str],
        package: str | None,
        environment: dict[str, str],
        seed: int,
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._before = (0, 0, 0)
        self._seconds_before = 0.0
        self._since: float | None = None
        self._scratch = scratch_of_child()
        told, tell = os.pipe()
        order = Order(name, seconds, str(folder), tuple(corpora), tell, seed)
        command = [sys.executable, "-c", BOOTSTRAP, package or "", msgspec.json.encode(order).decode()]
        try:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment, **self._scratch.__enter__()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(tell,),
            )
        finally:
            os.close(tell)
        self._told = told

    @property
    def has_told(self) -> bool:
        """Whether it has come to its first input."""
        return self._since is not None

    def output(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._lines)

    def watch(self, progress: Progress, watch: Watch, crashes: CrashFolder) -> int:
        """Until it ends, which it is made to when it should long have; its exit code."""
        assert self._process.stdout is not None
        self._before, self._seconds_before = (progress.executions, progress.taken, progress.failed), progress.seconds
        patience = self._seconds + _GRACE_SECONDS + find_target(progress.target).seconds
        deadline = time.monotonic() + _START_SECONDS
        buffers = {self._told: b"", self._process.stdout.fileno(): b""}
        try:
            with selectors.DefaultSelector() as selector, open(self._folder / LOG, "ab") as log:
                for descriptor in buffers:
                    selector.register(descriptor, selectors.EVENT_READ)
                while selector.get_map():
                    for key, _ in selector.select(_TICK_SECONDS):
                        data = os.read(key.fd, 65536)
                        if not data:
                            selector.unregister(key.fd)
                            continue
                        *lines, buffers[key.fd] = (buffers[key.fd] + data).split(b"\n")
                        if key.fd == self._told:
                            if self._since is None and data:
                                self._since = time.monotonic()
                                deadline = self._since + patience
                            self._take_told(lines, progress)
                        else:
                            log.write(data)
                            self._take_output(lines, progress)
                    if self._since is not None:
                        progress.seconds = self._seconds_before + time.monotonic() - self._since
                    progress.crashes = len(crashes.list()) if progress.failed else progress.crashes
                    watch(progress)
                    if time.monotonic() > deadline:
                        self._process.kill()
            return self._process.wait()
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            os.close(self._told)
            self._scratch.__exit__(None, None, None)

    def _take_told(self, lines: list[bytes], progress: Progress) -> None:
        for line in lines:
            told = msgspec.json.decode(line, type=Told)
            progress.executions = self._before[0] + told.executions
            progress.taken = self._before[1] + told.taken
            progress.failed = self._before[2] + told.failed

    def _take_output(self, lines: list[bytes], progress: Progress) -> None:
        for line in lines:
            text = line.decode(errors="replace")
            if text.startswith("INFO: Instrumenting "):
                continue
            self._lines.append(text)
            found = _PROGRESS.match(text)
            if found:
                progress.coverage, progress.features, progress.corpus = map(int, found.groups())


def _keep_artifacts(folder: Path, crashes: CrashFolder, output: str) -> bool:
    """The inputs at which native code crashed, or that took too long or too much, become crashes; whether there were any."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in found:
        if not path.name.startswith("slow-unit-"):  # an input is slow, and not over the limit
            crashes.keep(path.read_bytes(), native_reason(output))
        with suppress(OSError):
            path.unlink()
    return bool(found)


def _retire(name: str, crashes: CrashFolder, corpus: Path, package: str | None) -> None:
    """Crashes of earlier runs that are none any more become inputs of the corpus."""
    known = {crash.input: crash for crash in crashes.list() if Path(crash.input).is_file()}
    for outcome in replay(name, list(known), package):
        if outcome.passed:
            corpus.mkdir(parents=True, exist_ok=True)
            _write_input(corpus, crashes.drop(known[outcome.input]))


def _write_input(folder: Path, data: bytes) -> None:
    (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


def _write_seeds(name: str, folder: Path, known: Container[bytes]) -> None:
    """Without those that are crashes: of native code they would end every process before anything else is tried."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for data in find_target(name).seeds():
        if data not in known:
            _write_input(folder, data)
