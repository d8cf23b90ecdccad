"""No difference between the twins over trace files, right, nearly right, forged and broken: the whole verdict is compared."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cra.reference import lines
from cra.reference.grammar import DIALECTS, TRACE_1_0, Dialect
from cra.strictjson import JSONProblem, parse
from cra.testing.traces import make_trace
from cra.trace.event import Event
from cra.trace.jsonl import dump_line
from cra.trace.verify import FileVerification, FileVerifier
from tests.support.tampering import CONTENTS, damage, forge, sealed, trace_file
from tests.support.twins import BUILT

if not BUILT:
    pytest.skip("this installation has no compiled half", allow_module_level=True)

from cra import _speedups as compiled

FOREIGN = (Path(__file__).parents[1] / "data/foreign-traces/cra-rust-session.trace.jsonl").read_bytes()
# What stands in a payload may have many forms, and only one of them is what was hashed. A `~` is a space.
FORMS = r"""
    0 -0 1 -1 01 +1 1. .5 0.5 -0.5 -0.0 0.0 1.0 1e3 1E3 1e-7 0.1e1 0.5e0 1e400 NaN Infinity 9999999999999999999
    -9999999999999999999 18446744073709551615 18446744073709551616 -18446744073709551615 99999999999999999999 123456789.123456
    1234567890.123456 0.30000000000000004 0.3000000000000000 0.1000000000000001 5e-324
    0.00000000000001 0.000000000000001 999999999999999.5
    99999999999999.5 9007199254740993.5 true false null tru nulls True
    "" "a "\n" "\u000a" "\u0001" "\u001F" "\u001f" "\u0020" "\/" "\x" "\u00" "\ud83d\ude00" "\ud800" "\u0008" "\u00e9"
    "\b\f\r\t\"\\" "é" "€" "😀" [] {} [1,2] [1,] [,] [1~,2] [~] [[[]]] [{}] [} {] [1}
    {"a":1,"b":2} {"b":1,"a":2} {"a":1,"a":1} {"a":1,"a":2} {"":0} {"":0,"":1} {"a":1,} {"a"} {"a":} {a:1} {"a":1~} {"\n":1}
    {"a":0,"aa":0,"b":0} {"aa":0,"a":0} {"é":0,"😀":0} {"😀":0,"ｚ":0} {"ｚ":0,"😀":0} {"a":{"b":{"c":[{"d":1}]}}}
    {"a":{"b":1,"a":2}} [{"a":1,"a":2}] {"a":{"z":1},"b":0}
"""
BYTES = [
    b'"\x7f"', b'"\x1f"', b'"\t"',
    b'"\xc0\xaf"', b'"\xe0\x80\xaf"', b'"\xed\x9f\xbf"', b'"\xed\xa0\x80"', b'"\xf0\x80\x80\xaf"', b'"\xf4\x8f\xbf\xbf"',
    b'"\xf4\x90\x80\x80"', b'"\x80"', b'"\xe2\x82"', b'"\xff"', b'"\xf5\x80\x80\x80"', b'"\xc1\xbf"', b'"\xf0\x9f\x98"',
]  # fmt: skip
DEPTHS = [b"[" * levels + b"]" * levels for levels in (30, 31, 32, 33, 126, 127, 200)]


def verify(path: Path, dialect: Dialect, feed: Callable[[Any, FileVerifier], None]) -> FileVerification:
    verifier = FileVerifier(dialect)
    with open(path, "rb") as file:
        feed(file, verifier)
    return verifier.result()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to write to again and again."""
    return tmp_path_factory.mktemp("twins") / "t.trace.jsonl"


def compare_files(path: Path, data: bytes, choose: random.Random) -> None:
    path.write_bytes(data)
    threads, chunk = choose.randint(1, 3), choose.choice([1, 7, 64, 500, 4096, 2**20])
    for dialect in DIALECTS.values():
        expected = verify(path, dialect, lines.feed_lines)
        found = verify(path, dialect, lambda *given: compiled._feed_lines(*given, threads, chunk))
        assert expected == found, (threads, chunk)
        assert list(expected.sessions) == list(found.sessions)


def forge_some(data: bytes, choose: random.Random) -> bytes:
    return b"".join(forge(line) if choose.random() < 0.5 else line for line in data.splitlines(keepends=True))


@given(st.randoms(use_true_random=False))
def test_verify_file(path: Path, choose: random.Random) -> None:
    """Every field of the verdict and of every session's, in their order; on one thread and several, whatever the chunks."""
    data = trace_file(choose)
    for _ in range(choose.choice([0, 1, 1, 1, 2, 3])):
        data = damage(data, choose)
    compare_files(path, forge_some(data, choose) if choose.random() < 0.3 else data, choose)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_verify_a_foreign_file(path: Path, choose: random.Random) -> None:
    """The same for what another implementation wrote."""
    compare_files(path, damage(FOREIGN, choose) if choose.random() < 0.9 else FOREIGN, choose)


def test_every_byte_of_a_line(path: Path, seed: int) -> None:
    """A byte changed at each place of a line in the middle of a file, with the hash that was, and with that of the text."""
    choose = random.Random(seed)
    before, line, after = (dump_line(event) for event in make_trace([CONTENTS[0], CONTENTS[3], CONTENTS[4]]))
    for at in range(len(line)):
        changed = bytearray(line)
        changed[at] ^= choose.randint(1, 255)
        compare_files(path, before + bytes(changed) + after, choose)
        compare_files(path, before + forge(bytes(changed)) + after, choose)


@pytest.mark.parametrize(
    "form", [*(form.replace("~", " ").encode() for form in FORMS.split()), *BYTES, *DEPTHS], ids=repr
)
def test_payloads_of_any_form(path: Path, form: bytes, seed: int) -> None:
    """With the hash of the value, where it is one, and with the hash of the text."""
    choose = random.Random(seed)
    event = make_trace([("a.b", {"x": 0})])[0].to_dict()
    payload = b'{"x":' + form + b"}"
    try:
        fields = sealed({**event, "payload": parse(payload)})
    except JSONProblem:
        fields = event
    line = dump_line(Event(**{**fields, "payload": {}})).replace(b'"payload":{}', b'"payload":' + payload)
    for data in (line, forge(line), line + line, forge(line) + line):
        compare_files(path, data, choose)


@pytest.mark.parametrize("name", ["trace_version", "span_id", "parent_span_id", "sequence", "timestamp", "event_type"])
def test_every_character_of_a_field(path: Path, name: str, seed: int) -> None:
    """Each replaced by whatever a careless grammar might take, left out or doubled, with the hash of the text."""
    choose = random.Random(seed)
    event = make_trace([("a1.b_2.c", {})])[0].to_dict()
    event["parent_span_id"] = event["trace_id"]
    text = str(event[name])
    forms = [text[:at] + character + text[at + 1 :] for at in range(len(text)) for character in "09agfzAFZ:/-._ @`{+é"]
    forms += [text[:at] + text[at + kept :] for at in range(len(text)) for kept in (-1, 1)]
    written = dump_line(Event(**event)).decode()
    for form in {*forms, "", text + text, text + "\\n", text + "\\u0000"}:
        quoted = form if name == "sequence" else f'"{form}"'
        line = re.sub(rf'"{name}":("[^"]*"|\d+)', lambda found: f'"{name}":{quoted}', written)  # noqa: B023
        compare_files(path, forge(line.encode()), choose)


def test_members_of_any_number_and_order(path: Path, seed: int) -> None:
    """Each field left out, given twice, moved to the front, null or unknown; and anything before and behind the object."""
    choose = random.Random(seed)
    event = make_trace([("a.b", {"x": 0})])[0].to_dict()
    members = [json.dumps(name) + ":" + json.dumps(value, separators=(",", ":")) for name, value in event.items()]
    written = [members, members[::-1]]
    for index, member in enumerate(members):
        others = members[:index] + members[index + 1 :]
        name = member.partition(":")[0]
        written += [
            others,
            [*members, member],
            [member, *others],
            [*others, name + ":null"],
            [*others, '"x":' + member],
        ]
    objects = ["{" + ",".join(each) + "}" for each in written]
    intact = objects[0]
    around = ["x", "}", ",", "{}", " ", "\t", "\r", "\r\r", "\0", "\ufeff", "null"]
    for text in [
        *objects,
        *(intact + more for more in around),
        *(more + intact for more in around),
        intact[1:],
        intact[:-1],
    ]:
        compare_files(path, text.encode() + b"\n", choose)
        compare_files(path, text.encode(), choose)


def test_lines_longer_than_any_event(path: Path, seed: int) -> None:
    """A line over the limit is cut where the reference cuts it, and what follows it is read; so is one of exactly the limit."""
    threads = random.Random(seed).randint(1, 3)
    limit = lines.MAX_LINE_BYTES
    events = [dump_line(event) for event in make_trace(CONTENTS)]
    for extra in (-1, 0, 1, 5000):
        padding = b'"' + b"x" * (limit + extra - 3) + b'"\n'
        assert limit + extra == len(padding)
        path.write_bytes(events[0] + padding + events[1] + padding[:-1])
        expected = verify(path, TRACE_1_0, lines.feed_lines)
        assert expected == verify(path, TRACE_1_0, lambda *given: compiled._feed_lines(*given, threads, 2**20))
        assert expected == verify(path, TRACE_1_0, lambda *given: compiled._feed_lines(*given, threads, 2**25))


def test_many_sessions_at_once(path: Path, seed: int) -> None:
    """Thousands of sessions, a line of each in turn, with faults in some of them."""
    choose = random.Random(seed)
    sessions = [[dump_line(event) for event in make_trace(CONTENTS[:3], session=number)] for number in range(1, 1500)]
    written = [session[row] for row in range(3) for session in sessions]
    for _ in range(20):
        at = choose.randrange(len(written))
        written[at] = damage(written[at], choose)
    compare_files(path, b"".join(written), choose)
