"""Inputs that are there, put to a target one by one in a process of its own: no Atheris is needed, and nothing new is tried.

Called by `cra fuzz --reproduce`. An input that ends the process, or takes longer than the target allows, has failed as one has at
which the target raised; the process is started again for those behind it.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cra.fuzzing import native
from cra.fuzzing.crashes import native_reason, python_reason
from cra.fuzzing.harness import Harness
from cra.fuzzing.registry import find_target
from cra.fuzzing.scratch import scratch_of_child

BOOTSTRAP: Final = """
import sys
if sys.argv[1]:
    sys.path.insert(0, sys.argv[1])
from cra.fuzzing.replay import answer_all
answer_all(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
"""
_START_SECONDS: Final = 300.0
_LAST_BYTES: Final = 20_000


class Replayed(msgspec.Struct, frozen=True):
    """One input: whether all was well, whether the door took it, how long it took, and what went wrong."""

    input: str
    passed: bool
    taken: bool = False
    seconds: float = 0.0
    problem: str = ""


def files_of(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The files among the paths, and those in the folders among them, by name."""
    found: list[str] = []
    for path in map(Path, paths):
        found += sorted(map(str, filter(Path.is_file, path.rglob("*")))) if path.is_dir() else [str(path)]
    return found


def replay(name: str, files: Sequence[str], package: str | None = None) -> Iterator[Replayed]:
    """Put every file to the target `name`, in order. `package` is as for `run`. Raises `FileNotFoundError` as it does."""
    environment = native.environment(native.instrumentation(package))
    left = list(files)
    while left:
        for outcome in _replay_until_death(name, tuple(left), package, environment):
            yield outcome
            left.pop(0)


def _replay_until_death(
    name: str, files: Sequence[str], package: str | None, environment: dict[str, str]
) -> Iterator[Replayed]:
    """An outcome a file up to the one at which the process ended, that one included; the bar for starting is wider."""
    told, tell = os.pipe()
    with scratch_of_child() as place, os.fdopen(told, "rb", buffering=0) as answers:
        command = [sys.executable, "-c", BOOTSTRAP, package or "", name, str(tell), *files]
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment, **place},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(tell,),
        )
        os.close(tell)
        try:
            yield from _outcomes(process, answers.fileno(), files, find_target(name).seconds)
        finally:
            process.kill()
            process.communicate()


def _outcomes(
    process: subprocess.Popen[bytes], told: int, files: Sequence[str], limit_seconds: float
) -> Iterator[Replayed]:
    assert process.stdout is not None
    buffered = output = b""
    done, deadline = 0, time.monotonic() + _START_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(told, selectors.EVENT_READ)
        selector.register(process.stdout, selectors.EVENT_READ)
        while done < len(files):
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                yield Replayed(files[done], passed=False, problem=f"it takes longer than {limit_seconds} s")
                return
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                if key.fd == told:
                    *lines, buffered = (buffered + data).split(b"\n")
                    for line in lines:
                        yield msgspec.json.decode(line, type=Replayed)
                        done += 1
                        deadline = time.monotonic() + limit_seconds
                    if not data:
                        selector.unregister(told)
                elif data:
                    output = (output + data)[-_LAST_BYTES:]
                else:
                    selector.unregister(process.stdout)
            if not selector.get_map() and done < len(files):
                said = native_reason(output.decode(errors="replace"))[1].strip()
                yield Replayed(
                    files[done], passed=False, problem=f"{said}\nthe process ended with code {process.wait()}".strip()
                )
                return


def answer_all(name: str, tell: int, files: Sequence[str]) -> None:
    """What runs in the process."""
    harness = Harness(name)
    for path in files:
        data = Path(path).read_bytes()
        begun = time.monotonic()
        try:
            taken, passed, problem = harness.run(data), True, ""
        except Exception as error:
            taken, passed, problem = False, False, python_reason(error)[1].rstrip()
        outcome = Replayed(path, passed, taken, round(time.monotonic() - begun, 6), problem)
        os.write(tell, msgspec.json.encode(outcome) + b"\n")
