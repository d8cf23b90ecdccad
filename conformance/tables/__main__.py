"""Writes the case files: `python -m conformance.tables`; with `--check` it only says whether they are up to date."""

from __future__ import annotations

import json
import sys
from importlib import import_module

from conformance.tables.table import Group
from cra.conformance.cases import FOLDER, FORMAT

MODULES = (
    "canonical",
    "hashes",
    "chains",
    "files",
    "globs",
    "manifests",
    "policies_in_manifests",
    "schemas",
    "order",
    "combinations",
    "conditions",
    "windows",
    "selection",
    "limits",
    "approvals",
    "execution",
    "requests",
    "errors",
    "context",
    "events",
    "replays",
)


def documents() -> dict[str, str]:
    """The text of each case file by its name."""
    texts = {}
    for module in MODULES:
        groups: list[Group] = import_module(f"conformance.tables.{module}").groups()
        for group in groups:
            lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in group.cases)
            head = json.dumps({"format": FORMAT, "group": group.name})[:-1]
            texts[f"{group.name}.json"] = f'{head}, "cases": [\n{lines}\n]}}\n'
    return texts


def main() -> int:
    texts = documents()
    if "--check" in sys.argv[1:]:
        present = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
        return 0 if present == texts else 1
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{sum(text.count(chr(10)) - 2 for text in texts.values())} cases in {len(texts)} groups")
    return 0


if __name__ == "__main__":
    sys.exit(main())
