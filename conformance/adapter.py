"""Our adapter, broken on purpose: `python -m conformance.adapter --mutant NAME` applies a mutant and then answers as
`cra.conformance.adapter` does. Started by `conformance.mutants`, to show that the cases notice.
"""

from __future__ import annotations

import argparse
import os
import sys

import cra
from cra.conformance.adapter import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m conformance.adapter", description=__doc__)
    parser.add_argument("--mutant", required=True, help="what to break; conformance/mutants has the names")
    options = parser.parse_args()
    if cra.implementation() != "pure":
        # What is compiled cannot be broken from here: start over with the reference.
        environment = {name: value for name, value in os.environ.items() if name != "CRA_REQUIRE_COMPILED"}
        command = [sys.executable, "-m", "conformance.adapter", "--mutant", options.mutant]
        os.execve(sys.executable, command, environment | {"CRA_PURE_PYTHON": "1"})
    from conformance.mutants import apply

    apply(options.mutant)
    serve(sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()
