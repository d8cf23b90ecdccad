"""The two ends of `ci/mutation.sh`: the tree that mutmut works in, and what it found.

`prepare TREE [MODULE…]` copies what has changed and writes mutmut's configuration. `report TREE SURVIVORS [MODULE…]` prints the
score of each module and every survivor that the file does not explain; exit code 1 where there is one. A line of that file is the
name of a mutant (or a glob for names), a colon, and why no test can or should catch it.
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


def report(tree: Path, explained: Path, modules: list[str]) -> int:
    """The number of survivors that nobody has explained."""
    reasons = dict(
        line.split(":", 1) for line in explained.read_text().splitlines() if line and not line.startswith("#")
    )
    total: Counter[str] = Counter()
    open_ones: list[str] = []
    for module in modules:
        found = _results(tree / "mutants" / f"{module}.meta")
        counts = Counter(found.values())
        total += counts
        left = [
            name for name, status in found.items() if status in (SURVIVED, "no test") and not _explained(name, reasons)
        ]
        open_ones += left
        others = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()) if status != KILLED)
        print(f"{module:36} {_score(counts)}{f'; {others}' if others else ''}; {len(left)} not explained")
    for name in open_ones:
        print(f"\nnot explained: {name}\n{_shown(tree, name)}")
    print(
        f"== {_score(total)} in {len(modules)} modules, {total[SURVIVED]} survivors, {len(open_ones)} not explained",
        flush=True,
    )
    return len(open_ones)


def _results(meta: Path) -> dict[str, str]:
    if not meta.exists():
        return {}
    codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    return {name: _STATUS.get(code, KILLED) for name, code in codes.items()}


def _explained(name: str, reasons: dict[str, str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern.strip()) for pattern in reasons)


def _score(counts: Counter[str]) -> str:
    """Of the mutants that were run; one that makes the tests hang is caught."""
    run = sum(counts.values()) - counts["not run"] - counts["skipped"]
    caught = counts[KILLED] + counts["timeout"]
    return f"{caught} of {run} mutants caught ({100 * caught / run:.1f} %)" if run else "no mutant was run"


def _shown(tree: Path, name: str) -> str:
    """What the mutant changes."""
    mutmut = tree.parent / "venv" / "bin" / "mutmut"
    done = subprocess.run([str(mutmut), "show", name], cwd=tree, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


if __name__ == "__main__":
    command, tree, *rest = sys.argv[1:]
    if command == "prepare":
        prepare(Path(tree), rest or list(MODULES))
    else:
        sys.exit(report(Path(tree), Path(rest[0]), rest[1:] or list(MODULES)) > 0)
