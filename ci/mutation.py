"""The two ends of `ci/mutation.sh`: the tree that mutmut works in, and what it found.

`prepare TREE [MODULE…]` copies what has changed and writes mutmut's configuration. `survivors TREE FILE [MODULE…]` names the
mutants that were not caught and that the file does not explain. `report TREE FILE [MODULE…]` prints the score of each module and
what every such mutant changes; exit code 1 where there is one. A line of the file is the name of a mutant (or a glob for names),
a colon, and why no test can or should catch it.
"""

from __future__ import annotations

import fnmatch
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = (
    "cra/carp/conditions.py",
    "cra/carp/policy.py",
    "cra/carp/policy_set.py",
    "cra/carp/plan.py",
    "cra/trace/verify.py",
    "cra/trace/diff.py",
    "cra/trace/loss.py",
    "cra/execution/idempotency.py",
    "cra/execution/limits.py",
    "cra/execution/clearance.py",
)
TESTS = ("tests/unit/carp", "tests/unit/execution", "tests/unit/trace", "tests/unit/reference")
COPIED = (
    "cra",
    "tests",
    "docs",
    "examples",
    "perf",
    "conformance",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
)
KILLED, SURVIVED = "killed", "survived"
_STATUS: dict[int | None, str] = {
    None: "not run",
    0: SURVIVED,
    2: "not run",  # interrupted
    5: "no test",
    33: "no test",
    34: "skipped",
    **dict.fromkeys((-24, 24, 36, 152, 255), "timeout"),
}
"""mutmut's exit codes; every other one is a test that failed, or a process that died of the mutant."""


def prepare(tree: Path, modules: list[str]) -> None:
    """Files are copied only where they differ: what mutmut knows of the others stays."""
    for name in COPIED:
        source = ROOT / name
        paths = [source] if source.is_file() else [path for path in source.rglob("*") if _is_source(path)]
        for path in paths:
            target = tree / path.relative_to(ROOT)
            if not target.exists() or target.read_bytes() != path.read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        for old in [target for target in (tree / name).rglob("*") if _is_source(target)]:
            if not (ROOT / old.relative_to(tree)).exists():
                old.unlink()
    settings = {
        "source_paths": ("cra",),
        "only_mutate": modules,
        "pytest_add_cli_args_test_selection": TESTS,
        "also_copy": [name for name in COPIED if name != "cra"],
    }
    lines = [f"{key}=\n" + "".join(f"    {value}\n" for value in values) for key, values in settings.items()]
    (tree / "setup.cfg").write_text("[mutmut]\n" + "".join(lines))


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".so", ".pyc")


def survivors(tree: Path, explained: Path, modules: list[str]) -> list[str]:
    """The names of the mutants that no test has caught so far, and nobody has explained."""
    lines = explained.read_text().splitlines()
    reasons = [line.split(":", 1)[0].strip() for line in lines if line and not line.startswith("#")]
    return [
        name
        for module in modules
        for name, status in _results(tree, module).items()
        if status in (SURVIVED, "no test") and not any(fnmatch.fnmatchcase(name, reason) for reason in reasons)
    ]


def report(tree: Path, explained: Path, modules: list[str]) -> int:
    """The number of survivors that nobody has explained; and at least one where no mutant was run."""
    total: Counter[str] = Counter()
    for module in modules:
        counts = Counter(_results(tree, module).values())
        total += counts
        others = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()) if status != KILLED)
        print(f"{module:36} {_score(counts)}{f'; {others}' if others else ''}")
    left = survivors(tree, explained, modules)
    for name in left:
        print(f"\nnot explained: {name}\n{_shown(tree, name)}")
    numbers = f"{total[SURVIVED]} survivors, {len(left)} not explained, {total['not run']} not run"
    print(f"== {_score(total)} in {len(modules)} modules, {numbers}", flush=True)
    return len(left) or int(total.total() == total["not run"] + total["skipped"])


def _results(tree: Path, module: str) -> dict[str, str]:
    meta = tree / "mutants" / f"{module}.meta"
    if not meta.exists():
        return {}
    codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    return {name: _STATUS.get(code, KILLED) for name, code in codes.items()}


def _score(counts: Counter[str]) -> str:
    """Of the mutants that were run; one that makes the tests hang is caught."""
    run = sum(counts.values()) - counts["not run"] - counts["skipped"]
    caught = counts[KILLED] + counts["timeout"]
    return f"{caught} of {run} mutants caught ({100 * caught / run:.1f} %)" if run else "no mutant was run"


def _shown(tree: Path, name: str) -> str:
    """What the mutant changes."""
    mutmut = tree.resolve().parent / "venv" / "bin" / "mutmut"
    done = subprocess.run([str(mutmut), "show", name], cwd=tree, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


if __name__ == "__main__":
    command, folder, *rest = sys.argv[1:]
    if command == "prepare":
        prepare(Path(folder), rest or list(MODULES))
    elif command == "survivors":
        print(*survivors(Path(folder), Path(rest[0]), rest[1:] or list(MODULES)), sep="\n")
    else:
        sys.exit(report(Path(folder), Path(rest[0]), rest[1:] or list(MODULES)) > 0)
