"""The command line: any arguments over files with any content. Docs: cli.md.

An argument a line up to an empty one; then the files `a`, `b` and `c`, empty lines between them. Whatever is asked: an exit
code from 0 to 3, no traceback, no internal error, and with `--json` one JSON document or none. Arguments that would lead out of
the folder of the answer, and commands that run for long, are not asked.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from cra.cli import main
from cra.fuzzing.atlases import manifest
from cra.fuzzing.scratch import scratch
from cra.fuzzing.target import Target, expect
from cra.fuzzing.traces import trace

_FILES: Final = ("a", "b", "c")
_BETWEEN: Final = b"\n\n\n"
_LONG: Final = frozenset({"fuzz", "bench", "conformance", "serve"})
_VARIES: Final = frozenset({"doctor", "--version"})
"""What tells of the implementation, the machine or the moment: judged, and not compared."""
_STAYS_INSIDE: Final = re.compile(
    r"(?:--[\w-]+=)?(?:(?:jsonl|sqlite|journal):///[\w.-]+(?:\?[\w.&=-]*)?|[^/]*)"
).fullmatch
_MOST_ARGUMENTS: Final = 16
_CODES: Final = (0, 1, 2, 3)
_COLUMNS: Final = "200"
_IDENTITIES: Final = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{64}|[0-9a-f]{12}\xe2\x80\xa6"
)
_MOMENTS: Final = re.compile(rb"\d{4}-\d\d-\d\d(?:T[0-9:.]+Z)?|\d\d:\d\d:\d\d(?:\.\d+)?")


def answer(data: bytes) -> object:
    """The exit code, and what went to stdout and stderr, ids, hashes and times aside."""
    head, _, tail = data.partition(b"\n\n")
    arguments = head.decode(errors="replace").replace("\0", "").split("\n") if head else []
    if not _may_run(arguments):
        return None
    with scratch() as folder:
        for name, content in zip(_FILES, tail.split(_BETWEEN)):
            (folder / name).write_bytes(content)
        with _inside(folder), _captured() as (out, err):
            code = main(arguments)
        shown, said = _written(out), _written(err)
    expect(code in _CODES, f"exit code {code}")
    for text in (shown, said):
        expect(
            b"Traceback (most recent call last)" not in text and b"internal error" not in text,
            text.decode(errors="replace"),
        )
    if "--json" in arguments and shown and "--help" not in arguments and "-h" not in arguments:
        json.loads(shown)
    if _VARIES & set(arguments):
        return code
    return code, _steady(shown), _steady(said)


def _may_run(arguments: list[str]) -> bool:
    if len(arguments) > _MOST_ARGUMENTS or _LONG & set(arguments):
        return False
    return all(".." not in each and _STAYS_INSIDE(each) for each in arguments)


@contextmanager
def _inside(folder: os.PathLike[str]) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        with patch.dict(os.environ, {"COLUMNS": _COLUMNS, "NO_COLOR": "1", "TERM": "dumb"}):
            os.environ.pop("CRA_DEBUG", None)
            yield
    finally:
        os.chdir(before)


@contextmanager
def _captured() -> Iterator[tuple[io.TextIOWrapper, io.TextIOWrapper]]:
    streams = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with patch.multiple(sys, stdout=streams[0], stderr=streams[1], stdin=io.TextIOWrapper(io.BytesIO())):
        yield streams


def _written(stream: io.TextIOWrapper) -> bytes:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue()


def _steady(text: bytes) -> bytes:
    return _MOMENTS.sub(b"<time>", _IDENTITIES.sub(b"<id>", text))


def seeds() -> list[bytes]:
    """Every command, asked well and badly."""
    atlas, events = json.dumps(manifest(), separators=(",", ":")).encode(), trace()
    tools = b'{"tools":[{"name":"x","inputSchema":{}}]}'
    request = (
        b'{"carp_version":"1.0","request_id":"00000000-0000-4000-8000-000000000001","timestamp":"2026-01-01T12:00:00Z","operation":'
        b'"resolve","requester":{"agent_id":"bot","session_id":"00000000-0000-4000-8000-000000000002"},"task":{"goal":"x"}}'
    )
    api = b'{"openapi":"3.1.0","info":{"title":"t","version":"1"},"paths":{"/a":{"get":{"responses":{}}}}}'
    asked = (
        (("resolve", "--atlas", "a", "--goal", "Close stale tickets", "--json"), (atlas,)),
        (
            ("resolve", "--atlas=a", "--request", "b", "--trace-out", "t", "--default-decision", "allow"),
            (atlas, request),
        ),
        (
            (
                "resolve",
                "--atlas",
                "a",
                "--goal",
                "x",
                "--risk-tier",
                "high",
                "--capability",
                "desk.read",
                "--hint",
                "h",
            ),
            (atlas,),
        ),
        (("atlas", "validate", "a", "--strict", "--json"), (atlas,)),
        (("atlas", "show", "a"), (atlas,)),
        (("atlas", "import", "mcp", "a", "--id", "com.example.x", "--out", "d"), (tools,)),
        (("atlas", "import", "openapi", "a", "--id", "com.example.x", "--out", "d"), (api,)),
        (("trace", "verify", "a", "b", "--json"), (events, events[:-9])),
        (("trace", "show", "a"), (events,)),
        (("trace", "diff", "a", "b", "--json"), (events, trace(session=2))),
        (("trace", "replay", "a", "--atlas", "b"), (events, atlas)),
        (("trace", "export", "--storage", "sqlite:///a", "--session", "0190a3d4-1111-7000-8000-000000000001"), (b"x",)),
        (("trace", "recover", "d", "--store", "jsonl", "--json"), ()),
        (("doctor", "--data", "a", "--json"), (events,)),
        (("trace", "--help"), ()),
        (("--version",), ()),
        (("nothing",), ()),
    )
    return [
        b"\n".join(argument.encode() for argument in arguments) + b"\n\n" + _BETWEEN.join(files)
        for arguments, files in asked
    ]


TARGET = Target(
    "command-line",
    "arguments and files of the command line",
    answer,
    seeds,
    tokens=(
        b"\n--json", b"\n--help", b"\n--strict", b"\n--atlas\na", b"\n--goal\nx", b"\n--agent\n", b"\n--risk-tier\n",
        b"\n--hint\n",
        b"\n--request\nb", b"\n--trace-out\nt", b"\n--dialect\ncra-rust", b"\n--anchor\n", b"\n--storage\njsonl:///d",
        b"\n--session\n",
        b"\n--out\nd", b"\n--id\na.b", b"\n--ring\nd", b"\n--store\njournal", b"\n--end-sessions", b"\n--data\na",
        b"resolve\n", b"atlas\n",
        b"trace\n", b"doctor\n", b"validate\n", b"show\n", b"import\nmcp\n", b"verify\n", b"diff\n", b"replay\n",
        b"export\n", b"recover\n",
        b"\n\n", _BETWEEN, b"\n--", b"-", b"=", b"\xff", b"\x1b[31m", "\u202e".encode(),
    ),
    notation="json lines",
    max_bytes=12000,
    seconds=30,
)  # fmt: skip
