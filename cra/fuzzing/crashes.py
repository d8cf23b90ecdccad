"""Crashes: told apart by where they happened, and kept as files, once each.

Two inputs that fail at the same place for the same reason are one crash, whatever they hold. Kept are the input, as it was, and a
text beside it that says what happened and how to see it again.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from pathlib import Path
from typing import Final

import msgspec

from cra.fuzzing.harness import Disagreement, shape

_INNERMOST: Final = 4
_OWN: Final = "/cra/"
_NOT_TELLING: Final = ("/cra/fuzzing/harness.py", "/cra/fuzzing/engine.py", "/cra/fuzzing/worlds.py")
_SHOWN: Final = 160
_NATIVE_FRAME: Final = re.compile(r"#\d+ 0x[0-9a-f]+\s+in (\S+)")
_NATIVE_KIND: Final = re.compile(r"ERROR: (?:AddressSanitizer|libFuzzer): ([\w-]+)")


class Crash(msgspec.Struct, frozen=True):
    """One way in which a target failed: `signature` tells it from others; `input` is the file that does it."""

    target: str
    signature: str
    summary: str
    input: str


class CrashFolder:
    """The crashes of a target in a folder, which is made with the first of them."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder = folder
        self._target = target

    def list(self) -> list[Crash]:
        """Those that are there, by signature."""
        found = []
        for path in sorted(self.folder.glob(f"{self._target}-*.txt")):
            summary = path.read_text(errors="replace").splitlines()
            signature = path.stem.removeprefix(f"{self._target}-")
            found.append(Crash(self._target, signature, summary[0] if summary else "", str(path.with_suffix(".input"))))
        return found

    def inputs(self) -> set[bytes]:
        """What is known to fail."""
        return {path.read_bytes() for path in self.folder.glob(f"{self._target}-*.input")}

    def drop(self, crash: Crash) -> bytes:
        """Forget a crash; its input."""
        path = Path(crash.input)
        data = path.read_bytes()
        path.unlink()
        path.with_suffix(".txt").unlink()
        return data

    def keep(self, data: bytes, reason: tuple[str, str]) -> Crash | None:
        """Keep an input with the reason (`python_reason`, `native_reason`) for which it failed; None where that is known."""
        what, details = reason
        signature = hashlib.sha256(what.encode(errors="replace")).hexdigest()[:12]
        path = self.folder / f"{self._target}-{signature}.input"
        text = path.with_suffix(".txt")
        if text.exists():
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        summary = " ".join(details.strip().splitlines()[-1:])[:_SHOWN] or what.splitlines()[0]
        again = f"to see it again: cra fuzz {self._target} --reproduce {path}"
        text.write_text(f"{summary}\n{again}\n\n{details}\n", errors="replace")
        return Crash(self._target, signature, summary, str(path))


def python_reason(error: BaseException) -> tuple[str, str]:
    """What makes an exception the same crash as another (type, shape, the innermost places in this package), and its text."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if _OWN in f.filename and not f.filename.endswith(_NOT_TELLING)]
    where = [f"{frame.filename.rpartition(_OWN)[2]}:{frame.name}" for frame in own[-_INNERMOST:]]
    what = shape(str(error).partition("\n")[2 if isinstance(error, Disagreement) else 0])[:_SHOWN] if not where else ""
    if isinstance(error, AssertionError) and not isinstance(error, Disagreement):
        what = shape(str(error))[:_SHOWN]  # where it is expected says little
    details = "".join(traceback.format_exception(error))
    if isinstance(error, Disagreement):
        what, details = shape(error.parted), details + f"\n{error}"
    return "\n".join((type(error).__name__, what, *where)), details


def native_reason(output: str) -> tuple[str, str]:
    """The same of what a process wrote before it died: of a sanitizer's report the kind and the innermost functions."""
    kind = _NATIVE_KIND.search(output)
    frames = _NATIVE_FRAME.findall(output[kind.start() :]) if kind is not None else []
    frames = [name for name in frames if not name.startswith("__")]
    if kind is None or (kind[1] == "deadly" and not frames):  # a signal, and nobody says where
        return "the process died", f"{output}\nthe process died"
    return "\n".join((kind[1], *frames[:_INNERMOST])), output[
        kind.start() :
    ] + f"\n{kind[1]} in {frames[0] if frames else '?'}"
