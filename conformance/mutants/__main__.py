"""`python -m conformance.mutants [NAME …] [--jobs N] [--json]`: is every mutant caught by a case? docs/conformance.md.

Each is put to the cases of the groups that it concerns, until one of them gets another answer than the protocol's. A mutant that
crashes or hangs is not caught: it proves nothing of the cases. Exit status: 0 all caught; 1 one survived; 2 the call was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from conformance.mutants import MUTANTS
from cra.conformance.cases import load_cases, select
from cra.conformance.runner import run

TIMEOUT_SECONDS = 30.0


def hunt(name: str) -> dict[str, Any]:
    """One mutant: `caught` says whether a case did, `case` which one, or which one came last, and `details` why."""
    cases = select(load_cases(), groups=MUTANTS[name].groups)
    command = [sys.executable, "-m", "conformance.adapter", "--mutant", name]
    report = run(cases, command, timeout=TIMEOUT_SECONDS, stop_at_first=True)
    last = report.results[-1]
    return {
        "mutant": name,
        "breaks": MUTANTS[name].breaks,
        "caught": last.status == "failed",
        "cases": len(report.results),
        "case": last.id,
        "details": last.details,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m conformance.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time; default: processors")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(MUTANTS)):
        parser.error(f"there is no mutant {', '.join(unknown)}; there are: {', '.join(MUTANTS)}")
    if options.jobs < 1:
        parser.error("--jobs is at least 1")
    found = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(hunt, options.names or MUTANTS):
            found.append(result)
            if not options.json:
                verdict = "caught by" if result["caught"] else "SURVIVED  "
                print(f"{result['mutant']:<34} {verdict} {result['case']}", flush=True)
                if not result["caught"]:
                    print(f"    {result['breaks']} {'; '.join(result['details'])}")
    caught = sum(result["caught"] for result in found)
    if options.json:
        print(json.dumps({"mutants": len(found), "caught": caught, "results": found}, indent=1))
    else:
        print(f"{caught} of {len(found)} mutants caught")
    return 0 if caught == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
