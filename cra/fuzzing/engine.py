"""The process that fuzzes: one target under Atheris, until its time is over. Started by `cra.fuzzing.run`, never imported by it.

What a target raises is kept as a crash, and fuzzing goes on: a crash of native code alone ends the process. Once a second a line
of JSON tells how far it is.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from cra.fuzzing.crashes import CrashFolder, python_reason
from cra.fuzzing.harness import Harness
from cra.fuzzing.single import mutator
from cra.fuzzing.target import dictionary

BOOTSTRAP: Final = """
import sys
arguments = sys.argv[1:]
if arguments[0]:
    sys.path.insert(0, arguments[0])
import atheris
with atheris.instrument_imports(include=["cra"]):
    from cra.fuzzing.engine import Engine
    engine = Engine(arguments[1])
engine.fuzz(atheris)
"""
"""What is run with `python -c`, since what is to be instrumented must not have been imported before. Its arguments are a folder
to import from first, or nothing, and an `Order` as JSON."""
SEEDS: Final = "seeds"
CORPUS: Final = "corpus"
CRASHES: Final = "crashes"
ARTIFACTS: Final = "artifacts"
DICTIONARY: Final = "tokens.dict"
_TELL_SECONDS: Final = 1.0
_RSS_MB: Final = 2048


class Order(msgspec.Struct, frozen=True):
    """What to fuzz: `seconds` long, in the folder `out`, with the inputs in the folders `corpora` besides. Progress goes to the
    descriptor `tell`. `seed` 0 draws one."""

    target: str
    seconds: int
    out: str
    corpora: tuple[str, ...]
    tell: int
    seed: int = 0


class Told(msgspec.Struct, frozen=True):
    """How far it is: inputs that were put to the target, how many of them its door took, how many failed."""

    executions: int
    taken: int
    failed: int


class Engine:
    """The target of an order (JSON), asked once for each of its seeds, so that what it imports late is instrumented, too."""

    def __init__(self, order: str) -> None:
        self._order = msgspec.json.decode(order, type=Order)
        self._harness = Harness(self._order.target)
        self._out = Path(self._order.out)
        self._crashes = CrashFolder(self._out / CRASHES, self._order.target)
        for name in (CORPUS, ARTIFACTS):
            (self._out / name).mkdir(parents=True, exist_ok=True)
        self._executions = self._taken = self._failed = 0
        self._told = 0.0
        self._tell: IO[bytes] = os.fdopen(self._order.tell, "wb", buffering=0)
        for data in self._harness.target.seeds():
            if data not in self._crashes.inputs():
                self._warm_up(data)

    def _warm_up(self, data: bytes) -> None:
        """Where the process dies of it, it has left it as libFuzzer does. What it raises is told of when it is fuzzed."""
        artifact = self._out / ARTIFACTS / "crash-seed"
        artifact.write_bytes(data)
        with suppress(Exception):
            self._harness.run(data)
        artifact.unlink()

    def fuzz(self, atheris: Any) -> None:
        """Never returns: the process ends with the fuzzing."""
        atheris.Setup(self._arguments(), self._one, **mutator(self._harness, atheris))
        atheris.Fuzz()

    def _one(self, data: bytes) -> None:
        try:
            self._taken += self._harness.run(data)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._failed += 1
            self._crashes.keep(data, python_reason(error))
        self._executions += 1
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            self._tell.write(msgspec.json.encode(Told(self._executions, self._taken, self._failed)) + b"\n")

    def _arguments(self) -> list[str]:
        target, order = self._harness.target, self._order
        arguments = [
            sys.argv[0],
            f"-max_total_time={order.seconds}",
            f"-max_len={target.max_bytes}",
            f"-timeout={target.seconds}",
            f"-rss_limit_mb={_RSS_MB}",
            f"-artifact_prefix={self._out / ARTIFACTS}/",
            "-detect_leaks=0",
            "-print_final_stats=0",
            "-reload=0",
            "-len_control=0",
        ]
        if order.seed:
            arguments.append(f"-seed={order.seed}")
        if target.tokens:
            words = self._out / DICTIONARY
            words.write_text(dictionary(target), encoding="ascii")
            arguments.append(f"-dict={words}")
        return [*arguments, str(self._out / CORPUS), str(self._out / SEEDS), *order.corpora]
