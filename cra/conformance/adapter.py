"""This project's adapter: answers the runner's questions with `cra`, one JSON line each way, until stdin ends.

`python -m cra.conformance.adapter` is what the runner starts where no other adapter is named. docs/conformance.md has the wire
and every operation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import cra
from cra.conformance import operations
from cra.conformance.errors import described
from cra.conformance.script import run_script

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
    serve(sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()
