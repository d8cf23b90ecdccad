"""The cases: read from `cases/*.json`, one file a group, and selected by level and group. Called by the runner and by tests.

PROTOCOL sections and sentences are quoted in each case; docs/conformance.md has the format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = "cra-conformance-cases/1"
FOLDER = Path(__file__).parent / "cases"

CORES = ("CARP-Core", "TRACE-Core", "Atlas-Core")
LEVELS: dict[str, tuple[str, ...]] = {
    "CARP-Core": ("CARP-Core",),
    "TRACE-Core": ("TRACE-Core",),
    "Atlas-Core": ("Atlas-Core",),
    "CRA-Minimal": (*CORES, "CRA-Minimal"),
    "CRA-Full": (*CORES, "CRA-Minimal", "CRA-Full"),
}
"""What has to pass for each level: the cases of these levels."""


@dataclass(frozen=True)
class Case:
    """One question to an implementation, the answer that the protocol asks for, and the sentence it follows from."""

    id: str
    group: str
    level: str
    section: str
    sentence: str
    operation: str
    input: Any
    expected: Any


def load_cases(folder: Path = FOLDER) -> list[Case]:
    """All cases, by group and in the order of their files. Raises `ValueError` for a file of another format."""
    found = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("format") != FORMAT:
            raise ValueError(f"{path} is not in the format {FORMAT}")
        found += [Case(group=document["group"], **case) for case in document["cases"]]
    return found


def select(
    cases: Iterable[Case], level: str = "CRA-Full", groups: Iterable[str] = (), ids: Iterable[str] = ()
) -> list[Case]:
    """The cases that `level` requires, of these groups and with these ids (none given: all)."""
    wanted, names, known = LEVELS[level], set(groups), set(ids)
    return [
        case
        for case in cases
        if case.level in wanted and (not names or case.group in names) and (not known or case.id in known)
    ]
