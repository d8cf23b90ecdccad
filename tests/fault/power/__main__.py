"""Cut the power, again and again: `python -m tests.fault.power [--states N] [--seed S] [--store journal] [--jobs J]`.

Records runs over `journal:`, `jsonl:` (with a file per session, and per day) and `sqlite:`, builds that many of the folders that
a cut may leave, opens each, and holds it against what was acknowledged as durable before the cut. Prints what it did as JSON. A
folder that breaks a promise is kept, and named. Exit code 1 for one, and when nothing was checked.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cra
from tests.fault.power.checking import Violation, check
from tests.fault.power.disk import build
from tests.fault.power.recording import Beginning, Recording, record
from tests.fault.power.strace import NoTrace
from tests.fault.power.workload import STORES

STATES_EACH = 400
"""How many states of one recording are built: another recording has other moments."""
_MEMORY = Path("/dev/shm")


def cut_one_recording(store: str, seed: int, states: int) -> Counter[str]:
    """Record one history, check this many states of it, go on from one of them, and check half as many of what comes of that: a
    cut may come while what another one left is recovered. Raises `Violation`, which names the folder that is kept."""
    folder = Path(tempfile.mkdtemp(prefix="cra-power-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
    told: Counter[str] = Counter()
    try:
        choice = random.Random(seed)
        first = record(store, folder / "first", seed)
        _cut(first, folder, choice, states - states // 3, told)
        moment = choice.choice(first.disk.moments)
        beginning = Beginning(first.disk.cut(moment, choice), first.disk.acknowledged(moment))
        second = record(store, folder / "second", seed + 1, processes=2, steps=12, beginning=beginning)
        _cut(second, folder, choice, states // 3, told)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return told


def _cut(recording: Recording, folder: Path, choice: random.Random, states: int, told: Counter[str]) -> None:
    told["recordings"] += 1
    told["operations"] += len(recording.disk.history.operations)
    for number in range(states):
        moment = choice.choice(recording.disk.moments)
        root = folder / "cut"
        acknowledged = recording.disk.acknowledged(moment)
        tree = recording.disk.cut(moment, random.Random(choice.randrange(2**64)))
        build(tree, root)
        try:
            told["events there"] += check(recording, root, acknowledged, again=number % 4 == 0)
        except Exception as error:
            kept = Path(tempfile.mkdtemp(prefix=f"cra-power-{recording.store}-"))
            build(tree, kept / "left")
            shutil.move(root, kept / "opened")
            raise Violation(
                f"{recording.store}, recording {recording.seed}, state {number}, moment {moment}: {error}; see {kept}"
            ) from error
        shutil.rmtree(root)
        told["states"] += 1
        told[f"{recording.store} states"] += 1
        told["events acknowledged"] += sum(acknowledged.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--states", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--store", choices=STORES, action="append")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    choice = random.Random(options.seed)
    stores = options.store or list(STORES)
    print(f"seed: {options.seed}", file=sys.stderr)
    told: Counter[str] = Counter()
    begun = time.monotonic()
    failures = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        parts = max(len(stores), -(-options.states // STATES_EACH))
        sizes = [options.states // parts + (part < options.states % parts) for part in range(parts)]
        runs = {}
        for part, size in enumerate(sizes):
            store, seed = stores[part % len(stores)], choice.randrange(2**32)
            runs[pool.submit(cut_one_recording, store, seed, size)] = f"{store}, recording {seed}"
        for run in as_completed(runs):
            try:
                told += run.result()
            except NoTrace as error:
                print(error, file=sys.stderr)
                return 3
            except Violation as error:
                failures += 1
                print(error, file=sys.stderr)
            except Exception as error:  # of the harness: one recording less, and no success
                failures += 1
                print(f"{runs[run]}: {type(error).__name__}: {error}", file=sys.stderr)
    summary = {"implementation": cra.implementation(), "seed": options.seed, "violations": failures, **told}
    print(json.dumps(summary | {"seconds": round(time.monotonic() - begun)}))
    return 0 if told["states"] and told["events acknowledged"] and not failures else 1


if __name__ == "__main__":
    sys.exit(main())
