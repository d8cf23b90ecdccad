"""What each input in a folder reaches of the package: the process that `fuzz.corpora` asks. It tells in one line of JSON.

A place is a step from one line to the next within a function, so that both ways past an `if` count. The compiled half shows
none of them; what it does not reach, the reference does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from cra.fuzzing.harness import Harness

_OWN: Final = "/cra/"
_NOT: Final = "/cra/fuzzing/"


class _Steps:
    """A tracer that notes the steps within functions of the package."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[CodeType, int, int], int] = {}
        self.found: set[int] = set()

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        name = frame.f_code.co_filename
        if _OWN not in name or _NOT in name:
            return None
        last = 0

        def step(frame: FrameType, event: str, _: object) -> Any:
            nonlocal last
            if event == "line":
                key = frame.f_code, last, frame.f_lineno
                self.found.add(self.numbers.setdefault(key, len(self.numbers)))
                last = frame.f_lineno
            return step

        return step


def main(target: str, folder: str) -> None:
    harness, steps = Harness(target), _Steps()
    reached: list[list[int]] = []
    for path in sorted(Path(folder).iterdir()):
        steps.found = set()
        sys.settrace(steps)
        try:
            harness.run(path.read_bytes())
        except Exception:
            steps.found = set()  # what fails belongs to the crashes
        finally:
            sys.settrace(None)
        reached.append(sorted(steps.found))
    print(json.dumps(reached))


if __name__ == "__main__":
    main(*sys.argv[1:])
