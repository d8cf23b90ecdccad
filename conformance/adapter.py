"""This project's adapter: answers the runner's questions with `cra`, one JSON line each way, until stdin ends.

`python -m conformance.adapter` is what the runner starts; `--mutant NAME` breaks the implementation on purpose first
(`conformance.mutants`), to show that the cases notice. docs/conformance.md has the wire and every operation.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import cra
from conformance import operations
from conformance.errors import described
from conformance.script import run_script

PROTOCOL = "cra-conformance/1"


def handshake(question: Mapping[str, Any]) -> dict[str, Any]:
    """Who answers, and what it can be asked."""
    return {
        "protocol": PROTOCOL,
        "implementation": f"cra ({cra.implementation()})",
        "version": cra.__version__,
        "operations": sorted(OPERATIONS),
    }


OPERATIONS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "handshake": handshake,
    "canonical_json": operations.canonical_json,
    "event_hash": operations.event_hash,
    "verify_chain": operations.verify_chain,
    "verify_file": operations.verify_file,
    "glob": operations.glob,
    "load_atlas": operations.load_atlas,
    "validate": operations.validate,
    "diff": operations.diff,
    "session": run_script,
}


def answer(line: str) -> dict[str, Any]:
    """The answer to one line. What the implementation refuses is a result; what this adapter cannot do is a failure."""
    identifier = None
    try:
        message = json.loads(line)
        identifier = message["id"]
        operation = OPERATIONS.get(message["operation"])
        if operation is None:
            return {"id": identifier, "failure": f"unsupported operation {message['operation']!r}"}
        return {"id": identifier, "result": operation(message["input"])}
    except cra.CRAError as error:
        return {"id": identifier, "result": {"error": described(error)}}
    except Exception as error:
        return {"id": identifier, "failure": f"{type(error).__name__}: {error}"}


def serve(source: TextIO, target: TextIO) -> None:
    """Answer line by line."""
    for line in source:
        target.write(json.dumps(answer(line)) + "\n")
        target.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m conformance.adapter", description=__doc__)
    parser.add_argument(
        "--mutant", help="break the implementation on purpose first; conformance/mutants.py has the names"
    )
    options = parser.parse_args()
    if options.mutant and cra.implementation() != "pure":
        # What is compiled cannot be broken from here: start over with the reference.
        environment = {name: value for name, value in os.environ.items() if name != "CRA_REQUIRE_COMPILED"}
        command = [sys.executable, "-m", "conformance.adapter", "--mutant", options.mutant]
        os.execve(sys.executable, command, environment | {"CRA_PURE_PYTHON": "1"})
    if options.mutant:
        from conformance.mutants import apply

        apply(options.mutant)
    serve(sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()
