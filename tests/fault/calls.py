"""The system calls of a piece of work, one by one, and the same work again with one of them failing or the last of its process.

`record` runs work in a child and tells with strace which calls each of its threads made on files below a folder; `repeat` runs it
with one fault. A child is forked from a process that has everything imported, so that nothing but the work itself is counted, and
every thread waits, before its first step, until strace has it if it is to: strace counts per thread, and so does this. What the
work says goes over a socket, which is not among the calls.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

_WRITING = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "fallocate")
_SYNCING = ("fsync", "fdatasync", "sync_file_range", "syncfs", "msync")
_NAMING = ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat")
_REMOVING = ("unlink", "unlinkat", "rmdir", "truncate", "ftruncate")
_OPENING = ("open", "openat", "openat2", "creat")
_READING = ("read", "pread64", "readv", "preadv", "preadv2", "getdents64")
_GROWING = (*_WRITING, *_SYNCING, *_NAMING)
CALLS = (*_WRITING, *_SYNCING, *_NAMING, *_REMOVING, *_OPENING, *_READING)
"""Those that fail, or are the last; where a machine does not know one, it is not made either."""

_PATIENCE = 60.0  # seconds without a word after which a child hangs
_PR_SET_PTRACER = 0x59616D61
_ANYBODY = ctypes.c_ulong(-1)
_find_call = re.compile(r"^(\w+)\((.*)$").match
Said = tuple[str, ...]
Say = Callable[..., None]
Work = Callable[[Say], None]


class Call(NamedTuple):
    """The `nth` call of this `name` that a thread makes; `text` is how strace shows it."""

    thread: str
    name: str
    nth: int
    text: str

    @property
    def effects(self) -> tuple[str, ...]:
        """What can become of it. A call that takes no room finds no full disk; one that only reads is no moment of its own."""
        if self.name in _READING:
            return ("EIO",)
        takes_room = self.name in _GROWING or (self.name in _OPENING and "O_CREAT" in self.text)
        return ("EIO", "ENOSPC", "KILL") if takes_room else ("EIO", "KILL")


class Fault(NamedTuple):
    """What becomes of a call: it fails with `EIO` or `ENOSPC`, or its process is killed there (`KILL`)."""

    call: Call
    effect: str

    def sentence(self) -> str:
        """Which it is, to tell a person."""
        return f"{self.effect} at {self.call.name} number {self.call.nth} of the thread {self.call.thread}: {self.call.text}"


class Run(NamedTuple):
    """What a child said, how it ended (negative: the signal), and what strace saw, by thread."""

    said: list[Said]
    status: int
    seen: dict[str, str]


def is_traceable() -> bool:
    """Whether strace works on this machine. Raises `FileNotFoundError` where there is none."""
    done = subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    return done.returncode == 0


def record(work: Work, folder: Path) -> tuple[list[Call], list[Said]]:
    """The calls of work on what is below a folder, and what it said."""
    run = perform(work, lambda _: ["-e", "trace=" + ",".join("?" + name for name in CALLS)])
    assert 0 == run.status, run
    calls: list[Call] = []
    for thread, seen in run.seen.items():
        counts: Counter[str] = Counter()
        for line in seen.splitlines():
            match = _find_call(line)
            if match is not None:
                counts[match[1]] += 1
                if os.fspath(folder) in line:
                    text = line.replace(os.fspath(folder), "")
                    calls.append(Call(thread, match[1], counts[match[1]], text))
    return calls, run.said


def repeat(work: Work, fault: Fault) -> tuple[bool, Run]:
    """The work with a fault; whether it fired. Threads take turns differently at times, and a call may not come."""
    call, effect = fault
    how = "signal=KILL" if effect == "KILL" else f"error={effect}"
    inject = ["-e", f"trace={call.name}", "-e", f"inject={call.name}:{how}:when={call.nth}"]
    run = perform(work, lambda thread: inject if thread == call.thread else None)
    if effect == "KILL":
        return run.status == -signal.SIGKILL, run
    return "(INJECTED)" in run.seen.get(call.thread, ""), run


def perform(work: Work, options: Callable[[str], Sequence[str] | None] = lambda _: None) -> Run:
    """Do work in a child. `options` are those of strace for a thread, by its name and number ("main 1"); None: it is not traced.

    A child that raises says "raised" and why; one that says nothing for a minute is killed, and "hangs" is said for it.
    """
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        here.close()
        _act(work, there)
    there.close()
    here.settimeout(_PATIENCE)
    said: list[Said] = []
    seen: dict[str, str] = {}
    traces: dict[str, tuple[subprocess.Popen[bytes], str]] = {}
    with tempfile.TemporaryDirectory(prefix="cra-strace-") as outputs, here:
        try:
            while message := here.recv(2**18):
                said.append(msgspec.json.decode(message, type=tuple[str, ...]))
                if said[-1][0] == "thread":
                    _, thread, number = said.pop()
                    wanted = options(thread)
                    if wanted is not None:
                        output = os.path.join(outputs, str(len(traces)))
                        traces[thread] = _attach(number, output, wanted), output
                    here.send(b"go")
        except TimeoutError:
            said.append(("hangs",))
            os.kill(child, signal.SIGKILL)
        except (ConnectionResetError, BrokenPipeError):
            pass  # it was killed while a thread waited
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for thread, (process, output) in traces.items():
            process.wait(_PATIENCE)
            with process, open(output) as file:
                seen[thread] = file.read()
    return Run(said, status, seen)


def _attach(number: str, output: str, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """strace on one thread, once it has it; it ends by itself where the thread is gone."""
    process = subprocess.Popen(
        ["strace", "-p", number, "-y", "-s", "0", "-o", output, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    told = process.stderr.readline()
    if b"attached" not in told and b"No such process" not in told:
        process.kill()
        raise RuntimeError(f"strace cannot be had: {told.decode()}")
    return process


def _act(work: Work, there: socket.socket) -> None:
    """The child's part. Never returns."""

    def say(*words: object) -> None:
        there.send(msgspec.json.encode([str(word) for word in words]))

    def raised(error: BaseException | None) -> None:
        say("raised", "".join(traceback.format_exception(error))[-50_000:])

    status = 1
    try:
        with suppress(OSError, AttributeError):  # not every kernel asks for it
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
        threading.excepthook = lambda told: raised(told.exc_value)
        sys.unraisablehook = lambda told: raised(told.exc_value)
        gate = _Gate(there, say)
        run = threading.Thread.run

        def run_gated(thread: threading.Thread) -> None:
            gate.wait(thread.name)
            run(thread)

        threading.Thread.run = run_gated  # type: ignore[method-assign]
        gate.wait("main")
        work(say)
        status = 0
    except BaseException as error:
        with suppress(OSError):
            raised(error)
    finally:
        os._exit(status)


class _Gate:
    """Where every thread of a child waits before it begins."""

    def __init__(self, there: socket.socket, say: Say) -> None:
        self._there = there
        self._say = say
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def wait(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1
            self._say("thread", f"{name} {self._counts[name]}", threading.get_native_id())
            self._there.recv(16)


def result_of(work: Callable[[Say], Any]) -> list[Said]:
    """What work says in a child of its own, which has to end well. Raises `AssertionError`."""
    run = perform(work)
    problems = [words for words in run.said if words[0] in ("raised", "hangs")]
    assert not problems, "\n".join(problems[0])
    assert 0 == run.status, f"the child ended with {run.status}"
    return run.said
