"""Patches for `ci/perf-gate-proof.sh`, applied to the copy that this runs in: `python perf/gate_proof.py nothing|slower`.

`nothing` adds a comment; `slower` has every resolve that takes the short way waste about a tenth of what it executes. Never run
it in a working tree: it changes sources.
"""

from __future__ import annotations

import sys
from pathlib import Path

SOURCE = Path("cra/_compiled/session.pxi")
PLACE = "        self.active_ns = monotonic_ns\n        cdef object resolution = new_resolution(\n"
ROUNDS = 35  # of some six instructions: a tenth of 2,150
WASTE = '''cdef extern from *:
    """
    static void cra_waste(int rounds) { for (volatile int i = 0; i < rounds; i++) {} }
    """
    void cra_waste(int rounds)


'''


def main(patch: str) -> str | None:
    """The problem in one sentence, None where there is none."""
    text = SOURCE.read_text()
    if text.count(PLACE) != 1:
        return f"{SOURCE} has not the place that is patched; put it right in perf/gate_proof.py"
    if patch == "nothing":
        text = text.replace(PLACE, f"        # Nothing has changed here.\n{PLACE}")
    elif patch == "slower":
        text = text.replace(PLACE, f"        cra_waste({ROUNDS})\n{PLACE}")
        text = text.replace("cdef class ", f"{WASTE}cdef class ", 1)
    else:
        return "expected nothing or slower"
    SOURCE.write_text(text)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
