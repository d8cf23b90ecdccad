"""The system calls of a command, as strace prints them.

Used by `recording`. It knows the syntax of strace and nothing of files: what a call means is decided by `history`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

CALLS: Final = (
    *("open", "openat", "creat", "close", "dup", "dup2", "dup3", "fcntl"),
    *("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "copy_file_range", "splice"),
    *("lseek", "ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "sync_file_range", "syncfs", "sync"),
    *("mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "rmdir"),
    *("symlink", "symlinkat"),
)
"""What changes files, and what is needed to know which. A name that strace does not know on this machine is passed over ("?")."""

_LONGEST: Final = 2**22  # bytes of a string that strace prints
_START: Final = re.compile(r"(\d+) +(\w+)\((.*)$", re.DOTALL)
_RESUMED: Final = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_RESULT: Final = re.compile(r"^(.*)\) += (-?\d+)(.*)$", re.DOTALL)
_INJECTED: Final = "(INJECTED)"
_UNFINISHED: Final = " <unfinished ...>"
_STRING: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


class Call(NamedTuple):
    """A system call: where its beginning and its end are in the order of everything that was seen, its arguments as strace prints
    them, and what it returned (-1 for an error). One that `is_injected` was never made: strace only says so."""

    start: int
    end: int
    process: int
    name: str
    arguments: str
    result: int
    is_injected: bool = False


class NoTrace(Exception):
    """Nothing can be traced on this machine; the message says why."""


def trace(
    command: Sequence[str], seen: Path, *, options: Sequence[str] = (), cwd: Path | None = None
) -> tuple[int, str]:
    """Run a command under strace, which writes to `seen`; its exit code (negative for a signal) and what it said."""
    calls = ",".join("?" + name for name in CALLS)
    flags = ["-f", "-qq", "-xx", "-s", str(_LONGEST), "-e", "signal=none", "-e", f"trace={calls}", "-o", str(seen)]
    try:
        done = subprocess.run(
            ["strace", *flags, *options, *command],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
    except FileNotFoundError:
        raise NoTrace("strace is not installed") from None
    if not seen.exists() or "ptrace" in done.stdout[:200]:
        raise NoTrace(f"this machine allows no strace: {done.stdout[:200]}")
    return done.returncode, done.stdout


def read_calls(seen: Path) -> list[Call]:
    """The calls in a file of strace's, in the order in which they ended; those that never did come last, with the result -1.

    A `close` comes where it began: its descriptor may be given to a file that another thread opens before it has ended.
    """
    done: list[Call] = []
    begun: dict[int, tuple[int, str, str]] = {}
    for number, line in enumerate(seen.read_text(errors="replace").splitlines()):
        resumed = _RESUMED.match(line)
        if resumed is not None:
            process, name, rest = int(resumed[1]), resumed[2], resumed[3]
            start, begun_name, arguments = begun.pop(process)
            assert name == begun_name, line[:200]
            done.append(_ended(start, number, process, name, arguments + rest))
            continue
        started = _START.match(line)
        if started is None:
            continue  # what strace says of signals and ends
        process, name, rest = int(started[1]), started[2], started[3]
        if rest.endswith(_UNFINISHED):
            begun[process] = (number, name, rest.removesuffix(_UNFINISHED))
        else:
            done.append(_ended(number, number, process, name, rest))
    never = 2**62
    done.sort(key=lambda call: call.start if call.name == "close" else call.end)
    done += [Call(start, never, process, name, rest, -1) for process, (start, name, rest) in begun.items()]
    return done


def strings(arguments: str) -> Iterator[bytes]:
    """The strings in the arguments of a call, whole."""
    for match in _STRING.finditer(arguments):
        assert match[2] is None, "strace has cut a string"
        yield bytes.fromhex(match[1].replace("\\x", ""))


def _ended(start: int, end: int, process: int, name: str, rest: str) -> Call:
    match = _RESULT.match(rest)
    # Killed within it: "= ?", or what strace found in the place of a result, "= -1 (errno 18446744073709551554)".
    if match is None or match[3].startswith(" (errno "):
        return Call(start, 2**62, process, name, rest, -1)
    return Call(start, end, process, name, match[1], int(match[2]), _INJECTED in match[3])
