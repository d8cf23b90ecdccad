"""Lint findings for people: many that say the same are one row.

Used by `cra atlas validate`; programs get every finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cra.atlas.manifest import Finding

MOST_ALIKE = 3
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_VALUE = "…"


def group_findings(findings: Iterable[Finding]) -> list[tuple[str, str, str, str]]:
    """Rows of code, count, path and message, kinds in the order in which they first occur.

    Findings are of a kind when they have one code and one message, quoted values aside. More than `MOST_ALIKE` of them become
    one row: the count, the first path, and the message without the values in which they differ.
    """
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.code, _QUOTED.sub(_VALUE, finding.message)), []).append(finding)
    rows: list[tuple[str, str, str, str]] = []
    for (code, _), alike in kinds.items():
        if len(alike) > MOST_ALIKE:
            rows.append((code, f"{len(alike)} ×", f"{alike[0].path} …", _common(alike)))
        else:
            rows += ((code, "", finding.path, finding.message) for finding in alike)
    return rows


def _common(alike: list[Finding]) -> str:
    values = zip(*(_QUOTED.findall(finding.message) for finding in alike))
    shown = iter([each[0] if len(set(each)) == 1 else _VALUE for each in values])
    return _QUOTED.sub(lambda _: next(shown), alike[0].message)
