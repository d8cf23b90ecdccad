"""The cases themselves: enough of them, each from a sentence that is there, written by the tables, and passed by our adapter."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.tables.__main__ import documents
from conformance.tables.quotes import unquoted
from conformance.tables.unasked import UNASKED
from cra.conformance.cases import FOLDER, LEVELS, load_cases, select
from cra.conformance.runner import run

ROOT = Path(__file__).parents[2]
CASES = load_cases()
GROUPS = sorted({case.group for case in CASES})


def protocol_sections() -> dict[str, str]:
    """The text under each heading of docs/protocol.md, on one line."""
    parts = re.split(r"^## ", (ROOT / "docs/protocol.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {heading: " ".join(body.split()) for heading, _, body in (part.partition("\n") for part in parts)}


def schema_place(section: str) -> Any:
    """What a published schema says at `<file>#<pointer>`; of a list of schemas the first."""
    name, _, pointer = section.partition("#")
    place: Any = json.loads((ROOT / "cra/schemas" / name).read_text(encoding="utf-8"))
    for part in pointer.split("/")[1:]:
        place = place[part]
    return place[0] if isinstance(place, list) else place


def test_there_are_enough() -> None:
    """At least 400 cases, each with an id of its own, and some for every level."""
    assert len(CASES) >= 400
    assert len(CASES) == len({case.id for case in CASES})
    for level in LEVELS:
        assert any(case.level == level for case in CASES), level


def test_ids_begin_with_their_group() -> None:
    """An id is `<group>/<name>`, the group that of its file, the name in plain characters."""
    for case in CASES:
        group, _, name = case.id.partition("/")
        assert case.group == group
        assert name.isascii()
        assert name.isprintable()


def test_every_sentence_is_there() -> None:
    """A quote has at most 20 words and stands in the section that the case names, or is a keyword of that place in a schema."""
    sections = protocol_sections()
    for case in CASES:
        assert len(case.sentence.split()) <= 20, case.id
        said = schema_place(case.section) if ".schema.json" in case.section else sections[case.section]
        assert case.sentence in said, case.id


def test_every_clause_is_asked() -> None:
    """Each clause of the protocol is quoted by a case, or listed with the reason why none can, in the order of the text."""
    assert unquoted(case.sentence for case in CASES) == list(UNASKED)


def test_files_are_what_the_tables_say() -> None:
    """The committed files are those that `python -m conformance.tables` writes."""
    present = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert documents() == present, "run: python -m conformance.tables"


def test_tables_know_no_implementation() -> None:
    """Expectations come from the text and the schemas: no table, and nothing of the runner, imports the implementation."""
    own = [
        path
        for path in (ROOT / "cra/conformance").glob("*.py")
        if path.stem not in ("adapter", "errors", "operations", "script")
    ]
    for path in [*own, *(ROOT / "conformance/tables").glob("*.py")]:
        imported = re.findall(r"^\s*(?:from|import) (cra\b\S*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert not [
            name for name in imported if not name.startswith(("cra.conformance.", "cra.errors", "cra.schemas"))
        ], path


def test_levels_include_each_other() -> None:
    """CRA-Full has every case, CRA-Minimal those of the three cores and its own, a core nothing but its own."""
    assert CASES == select(CASES, "CRA-Full")
    minimal = {case.level for case in select(CASES, "CRA-Minimal")}
    assert {"CARP-Core", "TRACE-Core", "Atlas-Core", "CRA-Minimal"} == minimal
    assert {"TRACE-Core"} == {case.level for case in select(CASES, "TRACE-Core")}


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    """Case files say their format first; another one is not read."""
    (tmp_path / "x.json").write_text('{"format": "cra-conformance-cases/9", "group": "x", "cases": []}')
    with pytest.raises(ValueError, match="not in the format"):
        load_cases(tmp_path)


@pytest.mark.parametrize("group", GROUPS)
def test_our_adapter_passes(group: str) -> None:
    """Every case of the group is answered as the protocol says."""
    report = run(select(CASES, groups=[group]), [sys.executable, "-m", "cra.conformance.adapter"], timeout=30)
    assert [] == [result for result in report.results if result.status != "passed"]
    assert report.passed
