"""Verification of trace files, line by line and session by session. PROTOCOL: Verification."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.errors import InvalidTraceEvent, StorageError
from cra.reference.chain import TAIL_NOTICE, event_hash, verify_chain
from cra.reference.grammar import find_dialect
from cra.testing.traces import make_trace
from cra.trace.event import Event
from cra.trace.jsonl import MAX_LINE_BYTES, dump_line
from cra.trace.verify import FileVerification, FileVerifier, verify_file

pytestmark = pytest.mark.usefixtures("twin")

FOREIGN = Path(__file__).parents[2] / "data" / "foreign-traces" / "cra-rust-session.trace.jsonl"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to write to; module-wide, so that Hypothesis may use it again and again."""
    return tmp_path_factory.mktemp("verify") / "t.trace.jsonl"


def trace(length: int, session: int = 1) -> list[Event]:
    return make_trace(
        [("policy.evaluated", {"policy_id": f"p{index}", "n": index / 2}) for index in range(length)], session=session
    )


def lines(*traces: list[Event]) -> list[bytes]:
    """The lines of several sessions, interleaved."""
    return [dump_line(event) for row in itertools.zip_longest(*traces) for event in row if event is not None]


def verify(path: Path, content: list[bytes], **options: Any) -> FileVerification:
    path.write_bytes(b"".join(content))
    return verify_file(path, **options)


def verdict(result: Any) -> tuple[bool, int, str | None, int | None, str | None]:
    return result.valid, result.event_count, result.error_type, result.error_index, result.last_hash


def test_a_file_of_one_session_is_verified_as_its_chain(path: Path) -> None:
    """The same fields over the file, and the session's own; as str or Path."""
    events = trace(5)
    result = verify(path, lines(events))
    assert (True, 5, None, None, events[-1].event_hash) == verdict(result)
    assert {events[0].session_id: verify_chain(events)} == result.sessions
    assert TAIL_NOTICE == result.message
    assert result == verify_file(str(path))


def test_an_empty_file_is_valid(path: Path) -> None:
    """Zero lines, zero sessions."""
    result = verify(path, [])
    assert (True, 0, None, None, None) == verdict(result)
    assert {} == result.sessions


def test_sessions_may_be_interleaved(path: Path) -> None:
    """Every session has a chain of its own; the file's last hash is its last line's."""
    traces = [trace(2, 1), trace(5, 2), trace(3, 3)]
    result = verify(path, lines(*traces))
    assert (True, 10, None, None, traces[1][-1].event_hash) == verdict(result)
    assert {events[0].session_id: verify_chain(events) for events in traces} == result.sessions


def test_the_first_bad_line_of_the_file_is_named(path: Path) -> None:
    """By its line, with the hash of the line before; the session by its own index; the other session is sound."""
    a, b = trace(3, 1), trace(3, 2)
    content = lines(a, b)
    content[3] = content[3].replace(b'"p1"', b'"px"')
    content[4] = content[4].replace(b'"p2"', b'"px"')
    result = verify(path, content)
    assert (False, 6, "hash_mismatch", 3, a[1].event_hash) == verdict(result)
    assert (False, 3, "hash_mismatch", 2, a[1].event_hash) == verdict(result.sessions[a[0].session_id])
    assert (False, 3, "hash_mismatch", 1, b[0].event_hash) == verdict(result.sessions[b[0].session_id])
    assert result.sessions[b[0].session_id].message == result.message


GOOD = dump_line(trace(3)[1])
MALFORMED = {
    "torn": GOOD[:100],
    "torn before the brace": GOOD[:-2],
    "blank": b"\n",
    "not UTF-8": GOOD.replace(b"p1", b"\xc3\x28"),
    "BOM": b"\xef\xbb\xbf" + GOOD,
    "NUL": b"\0" * 10 + b"\n",
    "1e400": GOOD.replace(b'"n":0.5', b'"n":1e400'),
    "NaN": GOOD.replace(b'"n":0.5', b'"n":NaN'),
    "duplicate key": GOOD.replace(b'"n":0.5', b'"n":0.5,"n":0.5'),
    "escaped duplicate key": GOOD.replace(b'"n":0.5', b'"n":0.5,"\\u006e":0.5'),
    "surrogate": GOOD.replace(b'"p1"', b'"\\ud800"'),
    "unknown field": GOOD.replace(b"{", b'{"x":1,', 1),
    "array": b"[" + GOOD[:-1] + b"]\n",
    "scalar": b"1\n",
    "two in a line": GOOD[:-1] + GOOD,
    "deep": b"[" * 100_000 + b"\n",
    "50 MB": b'{"session_id":"' + b"x" * 50_000_000 + b'"}\n',
}


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("last", [False, True])
def test_a_line_that_is_no_event_is_malformed(path: Path, line: bytes, last: bool) -> None:
    """Its line index, the number of lines, the hash before it: never an exception, wherever the line is."""
    events = trace(3)
    content = lines(events)
    content[1:] = [line] if last else [line if line.endswith(b"\n") else line + b"\n", content[2]]
    result = verify(path, content)
    assert (False, 2 if last else 3, "malformed_event", 1, events[0].event_hash) == verdict(result)
    assert result.message


def test_a_long_line_is_not_held_in_memory(path: Path) -> None:
    """A line of 200 MB costs no more than the limit for a line, give or take a copy of it."""
    with open(path, "wb") as file:
        for _ in range(200):
            file.write(b"x" * 1_000_000)
    tracemalloc.start()
    try:
        result = verify_file(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (False, 1, "malformed_event", 0, None) == verdict(result)
    assert peak < 3 * MAX_LINE_BYTES


def test_a_line_that_names_no_session_counts_for_the_file_alone(path: Path) -> None:
    """Nobody knows whose it was: the file is not valid, and the session verifies on its own lines."""
    events = trace(2)
    result = verify(path, [*lines(events), b"torn"])
    assert (False, 3, "malformed_event", 2, events[-1].event_hash) == verdict(result)
    assert {events[0].session_id: verify_chain(events)} == result.sessions


def test_lines_after_the_first_bad_one_change_nothing(path: Path) -> None:
    """The file's verdict stands; the session goes on and is sound."""
    events = trace(3)
    content = lines(events)
    result = verify(path, [content[0], b"torn\n", *content[1:], b"torn"])
    assert (False, 5, "malformed_event", 1, events[0].event_hash) == verdict(result)
    assert {events[0].session_id: verify_chain(events)} == result.sessions


def test_a_malformed_event_that_names_its_session_counts_there_too(path: Path) -> None:
    """The session's own verification has the fault at the session's own index."""
    a, b = trace(2, 1), trace(2, 2)
    content = lines(a, b)
    content[3] = content[3].replace(b"2026-", b"2026/")
    result = verify(path, content)
    assert (False, 4, "malformed_event", 3, a[1].event_hash) == verdict(result)
    assert (False, 2, "malformed_event", 1, b[0].event_hash) == verdict(result.sessions[b[0].session_id])


@pytest.mark.parametrize("session_id", ["null", "7", "[]", '"x"', '"019B796D-D600-7000-8000-000100000000"'])
def test_a_session_id_that_is_none_makes_no_session(path: Path, session_id: str) -> None:
    """Sessions in the result are named by UUIDs, and by nothing a file may hold instead."""
    line = dump_line(trace(1)[0]).replace(
        f'"session_id":"{trace(1)[0].session_id}"'.encode(), f'"session_id":{session_id}'.encode()
    )
    result = verify(path, [line])
    assert (False, 1, "malformed_event", 0, None) == verdict(result)
    assert {} == result.sessions
    assert "session_id" in str(result.message)


def test_timestamps_are_compared_within_a_session(path: Path) -> None:
    """A session that began earlier may follow one that began later."""
    assert () == verify(path, [*lines(trace(3, 1)), *lines(trace(3, 2))]).warnings


def test_backward_timestamps_are_a_warning_of_the_file(path: Path) -> None:
    """The file stays valid; the warning is the session's with its name before it."""
    fields = trace(2)[0].to_dict(), trace(2)[1].to_dict()
    first = {**fields[0], "timestamp": "2027-01-01T00:00:00.000000Z"}
    first["event_hash"] = event_hash(first)
    second = {**fields[1], "previous_event_hash": first["event_hash"]}
    second["event_hash"] = event_hash(second)
    result = verify(path, [dump_line(Event(**first)), dump_line(Event(**second))])
    assert result.valid
    (warning,) = result.sessions[first["session_id"]].warnings
    assert (f"session {first['session_id']}: {warning}",) == result.warnings


def test_the_foreign_trace_verifies_in_its_dialect() -> None:
    """The trace written by the Rust implementation: valid with the dialect, refused without it, with advice."""
    result = verify_file(FOREIGN, dialect="cra-rust")
    last_hash = json.loads(FOREIGN.read_bytes().splitlines()[-1])["event_hash"]
    assert (True, 12, None, None, last_hash) == verdict(result)
    plain = verify_file(FOREIGN)
    assert (False, 12, "malformed_event", 0, None) == verdict(plain)
    assert "--dialect cra-rust" in str(plain.message)


def leaves(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every scalar."""
    if isinstance(value, dict):
        return [place for key, member in value.items() for place in leaves(member, (*at, key))]
    return [at]


@given(st.integers(0, 11), st.data())
def test_any_change_to_the_foreign_trace_is_found(path: Path, index: int, data: st.DataObject) -> None:
    """A key renamed, a value changed, a member removed or added, in any event."""
    content = FOREIGN.read_bytes().splitlines(keepends=True)
    event = json.loads(content[index])
    *way, key = data.draw(st.sampled_from(leaves(event)))
    parent = event
    for step in way:
        parent = parent[step]
    change = data.draw(st.sampled_from(["rename", "change", "remove", "add"]))
    if change == "rename":
        parent[f"{key}_"] = parent.pop(key)
    elif change == "change":
        parent[key] = [parent[key]]
    elif change == "remove":
        del parent[key]
    else:
        parent["added"] = 1
    content[index] = json.dumps(event).encode() + b"\n"
    assert not verify(path, content, dialect="cra-rust").valid


@given(st.integers(0, 2**32), st.integers(0, 7))
def test_a_flipped_bit_changes_the_verdict_or_nothing(path: Path, position: int, bit: int) -> None:
    """One bit of a file flipped anywhere is found, or the events in the file are the same as before."""
    content = bytearray(b"".join(lines(trace(3))))
    content[position % len(content)] ^= 1 << bit
    if verify(path, [bytes(content)]).valid:
        kept = [json.loads(line) for line in content.splitlines()]
        assert [event.to_dict() for event in trace(3)] == kept


@given(st.integers(0, 3), st.integers(1, 400))
def test_a_file_cut_anywhere_is_valid_only_between_lines(path: Path, whole: int, part: int) -> None:
    """A torn tail is malformed; a tail cut at the end of a line is what a chain cannot show."""
    content = lines(trace(4))
    torn = content[whole][:part]
    result = verify(path, [*content[:whole], torn])
    assert (whole + 1, None if torn == content[whole].rstrip() else whole) == (result.event_count, result.error_index)


@given(st.binary() | st.lists(st.binary() | st.sampled_from(lines(trace(3))), max_size=5).map(b"".join))
def test_verification_never_raises_over_bytes(path: Path, data: bytes) -> None:
    """Any bytes get a verdict; the number of events is the number of lines."""
    result = verify(path, [data])
    assert data.count(b"\n") + (not data.endswith(b"\n") and data != b"") == result.event_count
    assert (result.error_index is None) == result.valid


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=8)


@given(st.lists(JSON, max_size=4))
def test_verification_never_raises_over_json(path: Path, values: list[Any]) -> None:
    """Any JSON gets a verdict, and no value that is not an event gets "valid"."""
    result = verify(path, [json.dumps(value).encode() + b"\n" for value in values])
    assert (len(values), not values) == (result.event_count, result.valid)


def test_a_file_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    """A missing path is the caller's mistake, not a verdict."""
    with pytest.raises(StorageError, match="No such file"):
        verify_file(tmp_path / "missing.jsonl")


def test_an_unknown_dialect_is_refused_before_reading(tmp_path: Path) -> None:
    """The message lists the dialects."""
    with pytest.raises(InvalidTraceEvent, match=r"trace-1\.0 or cra-rust"):
        verify_file(tmp_path / "missing.jsonl", dialect="cobol")


def test_a_verification_can_be_written_as_json(path: Path) -> None:
    """For `--json`, sessions included."""
    plain = msgspec.to_builtins(verify(path, lines(trace(1))))
    expected = ["valid", "event_count", "error_type", "error_index", "last_hash", "warnings", "message", "sessions"]
    assert expected == list(plain)
    json.dumps(plain)


def test_lines_that_are_passed_over_are_counted() -> None:
    """The hash of the last one is the file's last, unless none of them has one or a fault came before."""
    verifier = FileVerifier(find_dialect("trace-1.0"))
    first, second = trace(2)
    verifier.feed(dump_line(first))
    verifier.pass_over(2, None)
    assert (3, first.event_hash) == (verifier.result().event_count, verifier.result().last_hash)
    verifier.pass_over(3, second.event_hash)
    assert (6, second.event_hash) == (verifier.result().event_count, verifier.result().last_hash)
    verifier.feed(b"{}\n")
    verifier.pass_over(1, first.event_hash)
    assert (8, 6, second.event_hash) == (
        verifier.result().event_count,
        verifier.result().error_index,
        verifier.result().last_hash,
    )
