"""One run of one case, in this process: `python -m perf.one NAME COUNT` prints it as JSON. `run` starts such processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from perf.cases import ROOT

SWITCHES = {"compiled": "CRA_REQUIRE_COMPILED", "pure": "CRA_PURE_PYTHON"}


def environment(implementation: str) -> dict[str, str]:
    """This process's environment, in which `cra` runs as that implementation or not at all."""
    kept = {key: value for key, value in os.environ.items() if key not in SWITCHES.values()}
    return kept | {SWITCHES[implementation]: "1"}


def run(name: str, implementation: str, count: int) -> dict[str, Any]:
    """One run in a fresh interpreter, of the implementation that was asked for. Raises `RuntimeError`."""
    command = [sys.executable, "-m", "perf.one", name, str(count)]
    done = subprocess.run(
        command, env=environment(implementation), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name} ({implementation}) failed:\n{done.stderr}")
    sys.stderr.write(done.stderr)  # such as why there are no figures
    result: dict[str, Any] = json.loads(done.stdout)
    if result["implementation"] != implementation:
        raise RuntimeError(f"{name} was to run as {implementation} and ran as {result['implementation']}")
    return result


def main() -> None:
    """The child's side."""
    import cra
    from perf.suite import CASES

    name, count = sys.argv[1], int(sys.argv[2])
    case = CASES[name]
    found = case.run(count)
    result: dict[str, Any] = {"implementation": cra.implementation()}
    if case.is_latency:
        result |= {"latency": found.summary(), "buckets": sorted(found.buckets.items())}
    else:
        result |= found if "figures" in found else {"figures": found}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
