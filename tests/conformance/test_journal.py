"""The second reader of journals against the library: it knows the format page alone, and both come to the same."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cra
from conformance import journal
from cra.hotpath import Expander
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.retention import Retention
from cra.storage.journal.series import Rotation
from cra.storage.journal.verify import verify_journal
from cra.trace.jsonl import dump_line
from tests.support.journals import NAME, frames, write_golden
from tests.support.records import RECORDS, definition, events, resolve, template

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "conformance/journal.py"


def by_the_library(folder: Path) -> dict[str, list[str]]:
    """What `read` has to come to."""
    store = JournalStorage(folder)
    try:
        return {name: [dump_line(event).decode() for event in store.events(name)] for name in store.sessions()}
    finally:
        store.close()


def test_it_is_short_and_knows_nothing_of_the_library() -> None:
    """Under 150 lines, blank ones aside; the standard library alone."""
    text = SOURCE.read_text()
    assert 150 > sum(1 for line in text.splitlines() if line.strip())
    nodes = list(ast.walk(ast.parse(text)))
    named = {alias.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module.partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    assert named <= set(sys.stdlib_module_names)


def test_it_reads_the_golden_journal(tmp_path: Path) -> None:
    """As a program: the golden lines."""
    write_golden(tmp_path)
    done = subprocess.run([sys.executable, "-I", SOURCE, tmp_path], capture_output=True, check=True, timeout=60)
    assert (ROOT / "tests/data/journal/version-1.trace.jsonl").read_bytes() == done.stdout


@given(st.lists(st.lists(RECORDS, max_size=8), max_size=6), st.integers(1, 2_000))
@settings(max_examples=60)
def test_both_read_the_same(tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]], size: int) -> None:
    """Whatever the records, wherever segments end, while it is written and when it is complete."""
    folder = tmp_path_factory.mktemp("journal")
    store = JournalStorage(folder, rotation=Rotation(max_bytes=size))
    expander = Expander(frames=True)
    for batch in batches:
        for record in batch:
            try:
                expander.feed(record)
            except cra.InvalidTraceEvent:
                continue
        taken = expander.take(0)
        if taken is not None:
            store.append_records(taken.frames)
    written = journal.read(folder)
    store.close()
    expected = by_the_library(folder)
    assert expected == written
    assert expected == journal.read(folder)


def retained(folder: Path) -> JournalStorage:
    """A closed journal of which retention took the beginning, with a session that came as events."""
    store = JournalStorage(folder, rotation=Rotation(max_bytes=1_200), retention=Retention(max_bytes=2_000))
    store._keeper = None
    store.append_records(frames(events(("session.started", {})), template()))
    other = Expander()
    other.feed(events(("session.started", {}), ("a.b", {"ü": "\n"}), session=2, n=70, define=definition(2)))
    lines = other.take(0)
    assert lines is not None
    store.append(list(lines)[:1])
    for n in range(1, 20):
        store.append_records(frames(resolve(f'goal "{n}" \x7f\u2028', n=n, injected=[0, 2], cut=[1])))
    store.append(list(lines)[1:])
    assert store.apply_retention() > 2
    store.close()
    return store


def test_both_read_what_retention_left(tmp_path: Path) -> None:
    """From the heads in the tombstone."""
    store = retained(tmp_path)
    expected = by_the_library(tmp_path)
    assert store.anchor(definition(1)[0]) is not None
    assert {definition(1)[0], definition(2)[0]} == expected.keys()
    assert expected == journal.read(tmp_path)


def test_both_find_every_changed_byte_and_missing_file(tmp_path: Path) -> None:
    """In segments and tombstones."""
    retained(tmp_path)
    assert verify_journal(tmp_path).valid
    paths = sorted([*tmp_path.glob("*.segment"), *tmp_path.glob("*.gone")])
    assert 3 <= len(paths)
    for path in paths:
        data = path.read_bytes()
        for at in range(0, len(data), 3):
            path.write_bytes(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])
            assert not verify_journal(tmp_path).valid
            with pytest.raises(journal.Fault):
                journal.read(tmp_path)
        path.unlink()
        if path is not paths[-1]:  # that a series was cut at its end, nobody can see
            assert not verify_journal(tmp_path).valid
            with pytest.raises(journal.Fault):
                journal.read(tmp_path)
        path.write_bytes(data)
    (tmp_path / f"{NAME}.00000000.segment").write_bytes(b"cra-jrnl")
    with pytest.raises(journal.Fault, match=f"{NAME}.00000000.segment: "):
        journal.read(tmp_path)
