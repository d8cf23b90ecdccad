"""The command `cra`. This module is all that a bare install needs of it: it finds out whether typer and rich are there.

Called by the installed script and by `python -m cra`. It imports no command, so that without the extra there is one clear
line and not a traceback.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec

EXTRA_PACKAGES = ("typer", "rich")
HINT = "the command line needs typer and rich (the extra cra[cli]): pip install typer rich"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line (`argv` without the program's name, default: the process's own) and returns its exit code.

    0 done, 1 the answer is no, 2 the call was wrong, 3 the runtime failed, 130 interrupted. It never raises.
    """
    if any(find_spec(package) is None for package in EXTRA_PACKAGES):
        print(f"cra: {HINT}", file=sys.stderr)
        if "--json" in (sys.argv[1:] if argv is None else argv):
            error = {"code": "MISSING_EXTRA", "message": HINT, "category": "external", "recoverable": False}
            print(json.dumps({"error": error}))
        return 3
    from cra.cli.app import run

    return run(sys.argv[1:] if argv is None else argv)
