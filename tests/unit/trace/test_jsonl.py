"""Trace files as JSON lines: what is written, what is read, and what bad input gets. PROTOCOL: Event, Grammar before hash."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.errors import InvalidTraceEvent, StorageError
from cra.reference.canonical import canonical_json
from cra.reference.grammar import FIELDS
from cra.testing.traces import make_trace
from cra.trace.event import Event
from cra.trace.jsonl import MAX_LINE_BYTES, dump_line, parse_line, read_events, read_lines, write_events
from cra.trace.verify import verify_file

pytestmark = pytest.mark.usefixtures("twin")

FOREIGN = Path(__file__).parents[2] / "data" / "foreign-traces" / "cra-rust-session.trace.jsonl"
TRACE = make_trace(
    [("session.started", {"goal": "é😀\n", "agent_id": "bot"}), ("session.ended", {"b": 1.0, "a": [None]})]
)


def test_a_line_has_the_fields_in_schema_order_and_a_canonical_payload() -> None:
    """One line, no white space, newline at the end."""
    line = dump_line(TRACE[1])
    event = TRACE[1]
    expected = (
        f'{{"trace_version":"1.0","event_id":"{event.event_id}","trace_id":"{event.trace_id}","span_id":"{event.span_id}",'
        f'"parent_span_id":"{event.parent_span_id}","session_id":"{event.session_id}","sequence":1,'
        f'"timestamp":"{event.timestamp}","event_type":"session.ended","payload":{{"a":[null],"b":1}},'
        f'"event_hash":"{event.event_hash}","previous_event_hash":"{event.previous_event_hash}"}}\n'
    )
    assert expected.encode() == line
    assert list(FIELDS) == list(json.loads(line))


def test_no_parent_is_written_as_null() -> None:
    """All fields of the schema are there, in every line."""
    assert b'"parent_span_id":null' in dump_line(TRACE[0])


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-5, 5) | st.text('é\n\\"\u2028')))
def test_a_line_is_one_line_and_reads_back_as_the_event(payload: dict[str, Any]) -> None:
    """Whatever is in the payload, the only newline is the last byte."""
    event = make_trace([("a.b", payload)])[0]
    line = dump_line(event)
    assert len(line) - 1 == line.index(b"\n")
    assert [event] == list(read_events(io.BytesIO(line)))


def test_an_event_too_long_to_be_read_again_is_not_written() -> None:
    """The writer keeps to the reader's limit."""
    with pytest.raises(InvalidTraceEvent, match="bytes as a line"):
        dump_line(make_trace([("a.b", {"x": "x" * MAX_LINE_BYTES})])[0])


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """By path as str or Path, or as an open file."""
    path = tmp_path / "t.trace.jsonl"
    write_events(path, TRACE)
    assert b"".join(map(dump_line, TRACE)) == path.read_bytes()
    assert TRACE == list(read_events(path))
    assert TRACE == list(read_events(str(path)))
    with open(path, "rb") as file:
        assert TRACE == list(read_events(file))


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    """No line, no event, no error."""
    (tmp_path / "empty").touch()
    assert [] == list(read_events(tmp_path / "empty"))


def test_the_last_line_needs_no_newline() -> None:
    """What is a complete object is not torn."""
    assert TRACE == list(read_events(io.BytesIO(b"".join(map(dump_line, TRACE)).rstrip())))


def test_a_foreign_trace_is_read() -> None:
    """Reading takes the timestamps of every dialect, and an absent parent is none."""
    events = list(read_events(FOREIGN))
    assert 12 == len(events)
    assert {None} == {event.parent_span_id for event in events}


def with_field(name: str, text: str) -> bytes:
    """The second line with the JSON text of one field replaced."""
    fields = {key: canonical_json(value).decode() for key, value in TRACE[1].to_dict().items()} | {name: text}
    return ("{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}\n").encode()


BAD_LINES = {
    "torn": (dump_line(TRACE[1])[:-20], "torn off"),
    "blank": (b"\n", "blank"),
    "white space": (b" \t \r\n", "blank"),
    "not UTF-8": (dump_line(TRACE[1]).replace(b"session.ended", b"session.\xff\xfe"), "UTF-8"),
    "not JSON": (b"hello\n", "JSON"),
    "no object": (b"[1]\n", "object"),
    "two objects": (dump_line(TRACE[1])[:-1] * 2 + b"\n", "JSON"),
    "1e400": (with_field("payload", '{"x":1e400}'), "double"),
    "NaN": (with_field("payload", '{"x":NaN}'), "NaN"),
    "Infinity": (with_field("sequence", "Infinity"), "Infinity"),
    "duplicate key": (with_field("payload", '{"x":1,"x":1}'), "twice"),
    "duplicate field": (dump_line(TRACE[1]).replace(b"{", b'{"sequence":1,', 1), "twice"),
    "surrogate": (with_field("payload", '{"x":"\\ud800"}'), "surrogate"),
    "unknown field": (dump_line(TRACE[1]).replace(b"{", b'{"x":1,', 1), "unknown"),
    "ill-typed field": (with_field("sequence", "1.0"), "sequence"),
    "deep": (with_field("payload", '{"x":' + "[" * 100_000 + "]" * 100_000 + "}"), "nested"),
    "many digits": (with_field("sequence", "9" * 100_000), "double"),
    "50 MB": (b'{"x":"' + b"x" * 50_000_000 + b'"}\n', "longer than"),
}


@pytest.mark.parametrize(("line", "said"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named_by_its_number(line: bytes, said: str) -> None:
    """`InvalidTraceEvent` with the line, from 1, and the reason; the events before it have been given."""
    reader = read_events(io.BytesIO(dump_line(TRACE[0]) + line))
    assert TRACE[0] == next(reader)
    with pytest.raises(InvalidTraceEvent, match=r"^line 2: ") as caught:
        next(reader)
    assert said in caught.value.message


def test_of_a_path_the_file_is_named_too(tmp_path: Path) -> None:
    """Who reads several files has to know which one is wrong."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(dump_line(TRACE[0]) + b"hello\n")
    with pytest.raises(InvalidTraceEvent) as caught:
        list(read_events(path))
    assert caught.value.message.startswith(f"{path}, line 2: ")


@pytest.mark.parametrize("line", [b'{"x": "', b"{", b"", b"{}x", b'{"x": "\t"}'])
def test_a_column_is_given_once(line: bytes) -> None:
    """A sentence of the parser that ends in `at` gets no second one."""
    with pytest.raises(InvalidTraceEvent) as caught:
        parse_line(line + b" ")
    assert " at at " not in caught.value.message


class CountingFile(io.RawIOBase):
    """A file of one endless kind of line that counts what is asked of it at once."""

    def __init__(self, lines: list[bytes]) -> None:
        self.stream = io.BytesIO(b"".join(lines))
        self.largest = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = self.stream.readline(size)
        self.largest = max(self.largest, len(line))
        return line


def test_a_long_line_is_never_held_as_a_whole() -> None:
    """At most the limit and a byte is read of it, the rest is skipped in pieces, and the next line is a line again."""
    file = CountingFile([b"x" * (3 * MAX_LINE_BYTES) + b"\n", b"{}\n", b"y" * (MAX_LINE_BYTES + 1)])
    lengths = [len(line) for line in read_lines(cast("BinaryIO", file))]
    assert [MAX_LINE_BYTES + 1, 3, MAX_LINE_BYTES + 1] == lengths
    assert MAX_LINE_BYTES + 1 == file.largest


def test_a_line_of_the_limit_is_a_line() -> None:
    """The newline counts; one byte more is refused, and the line after it is still found."""
    lines = [b" " * (MAX_LINE_BYTES - 1) + b"\n", b" " * MAX_LINE_BYTES + b"\n", b"{}\n"]
    assert [len(line) for line in lines] == [len(line) for line in read_lines(io.BytesIO(b"".join(lines)))]


@pytest.mark.parametrize("name", ["missing.jsonl", ".", "missing/x.jsonl"])
def test_a_file_that_cannot_be_read_is_a_storage_error(tmp_path: Path, name: str) -> None:
    """A missing file or a folder: one sentence with the path and the system's reason."""
    with pytest.raises(StorageError, match="cannot read the trace") as caught:
        list(read_events(tmp_path / name))
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize(
    ("kind", "what"), [("pipe", "a pipe or a device"), ("/dev/zero", "a pipe or a device"), ("folder", "a folder")]
)
@pytest.mark.parametrize("read", [lambda path: list(read_events(path)), verify_file], ids=["read", "verify"])
def test_only_regular_files_are_read(kind: str, what: str, read: Any, tmp_path: Path) -> None:
    """What may have no end or no writer is refused at once, also behind a link, with what to do instead."""
    path = tmp_path / "trace.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(kind)
    with pytest.raises(StorageError, match=f"it is {what}; write the trace to a file") as caught:
        read(path)
    assert str(path) in caught.value.message


def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is looked at before it is opened, and what was opened is looked at again."""
    path = tmp_path / "trace.jsonl"
    os.mkfifo(path)
    regular, look = os.stat(__file__), os.stat
    monkeypatch.setattr(os, "stat", lambda name, **how: regular if name == str(path) else look(name, **how))
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    with pytest.raises(StorageError, match="a pipe or a device"):
        list(read_events(str(path)))
    assert before == (set(os.listdir("/proc/self/fd")) if before else set())


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """An event that cannot be written leaves the old file and nothing beside it."""
    path = tmp_path / "t.jsonl"
    write_events(path, TRACE)
    before = path.read_bytes()

    def failing() -> Any:
        yield TRACE[0]
        assert [path.name] != os.listdir(tmp_path)  # the new one is in the making
        yield Event(**{**TRACE[1].to_dict(), "payload": {"x": float("nan")}})

    with pytest.raises(InvalidTraceEvent):
        write_events(path, failing())
    assert before == path.read_bytes()
    write_events(path, TRACE[:1])
    assert TRACE[:1] == list(read_events(path))
    assert [path.name] == os.listdir(tmp_path)


def test_a_file_is_on_disk_before_it_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash right after the rename must not leave an empty file under the name."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("replace"), replace(old, new)))
    write_events(tmp_path / "t.jsonl", TRACE)
    assert ["fsync", "replace"] == calls


def test_a_link_is_followed(tmp_path: Path) -> None:
    """Writing to a link writes the file that it leads to, and leaves the link."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_events(tmp_path / "link", TRACE)
    assert (tmp_path / "link").is_symlink()
    assert TRACE == list(read_events(tmp_path / "real"))


def test_a_pipe_is_written_to_as_it_stands(tmp_path: Path) -> None:
    """`/dev/stdout` and the like are never replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[Event] = []

    def read() -> None:
        with open(pipe, "rb") as file:
            received.extend(read_events(file))

    reader = threading.Thread(target=read)
    reader.start()
    write_events(pipe, TRACE)
    reader.join()
    assert TRACE == received
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", [".", "missing/t.jsonl"])
def test_a_file_that_cannot_be_written_is_a_storage_error(tmp_path: Path, name: str) -> None:
    """A folder that is not there, or a folder in the place of the file."""
    with pytest.raises(StorageError, match="cannot write the trace") as caught:
        write_events(tmp_path / name, TRACE)
    assert str(tmp_path) in caught.value.message
