"""Records as bytes: one form for each, and nothing else is taken for one. docs/formats/records.md."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cra
from cra.reference.expander import Expander
from cra.reference.records import (
    MAX_PAYLOAD_BYTES,
    EventsRecord,
    ForgetRecord,
    Record,
    ResolveRecord,
    TemplateRecord,
    decode,
    encode_events,
    encode_forget,
    encode_resolve,
    encode_template,
)
from tests.support.records import DIGEST, RECORDS, broken_records, definition, events, resolve, template

PAGE = Path(__file__).parents[3] / "docs" / "formats" / "records.md"


def encode(record: Record) -> bytes:
    """A decoded record as bytes again."""
    match record:
        case EventsRecord():
            return encode_events(
                record.session, record.base, record.time_ns, record.events, span=record.span, define=record.define
            )
        case ResolveRecord():
            return encode_resolve(
                *(record.session, record.base, record.time_ns, record.template, record.text),
                payload=record.payload,
                request_id=record.request_id,
                injected=record.injected,
                cut=record.cut,
            )
        case TemplateRecord():
            return encode_template(*(getattr(record, name) for name in record.__struct_fields__))
        case ForgetRecord():
            return encode_forget(record.number)


@given(RECORDS)
def test_a_record_has_one_form(record: bytes) -> None:
    """Decoding and encoding again gives the same bytes."""
    assert record == encode(decode(record))


@given(broken_records() | st.binary(max_size=80) | st.binary(max_size=80).map(lambda data: b"\2\0" + data))
def test_whatever_the_bytes_they_are_a_record_or_refused(data: bytes) -> None:
    """`InvalidTraceEvent` and nothing else; and what is taken is what an encoder writes."""
    with suppress(cra.InvalidTraceEvent):
        assert data == encode(decode(data))


@pytest.mark.parametrize("record", [events(), resolve(injected=[1], cut=[2]), template(), encode_forget(1)])
def test_a_record_that_is_cut_or_goes_on_is_refused(record: bytes) -> None:
    """At every byte."""
    for data in [*(record[:end] for end in range(len(record))), record + b"\0"]:
        with pytest.raises(cra.InvalidTraceEvent):
            decode(data)


def edited(record: bytes, at: int, new: bytes) -> bytes:
    """The record with other bytes at an offset."""
    return record[:at] + new + record[at + len(new) :]


ONE_EVENT = events(define=None)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b"", "no record of its kind"),
        (b"\0" * 100, "no record of its kind"),
        (b"\5" * 100, "no record of its kind"),
        (b"\1", "ends early"),
        (encode_forget(1) + b"\0", "bytes follow"),
        (edited(ONE_EVENT, 1, b"\4"), "unknown flags"),
        (edited(resolve(), 1, b"\4"), "unknown flags"),
        (edited(resolve(), 6, b"\1"), "reserved"),
        (edited(resolve(), 7, b"\1"), "reserved"),
        (edited(template(), 1, b"\1"), "reserved"),
        (edited(encode_forget(1), 3, b"\1"), "reserved"),
        (edited(ONE_EVENT, 38, b"\xff\xff\xff\xff"), "too long"),
        (edited(ONE_EVENT, 38, b"\0\0\0\1"), "too long"),
        (edited(ONE_EVENT, 38, b"\3\0\0\0"), "ends early"),
        (edited(ONE_EVENT, 42, b"A"), "event type"),
        (edited(ONE_EVENT, 44, b"."), "event type"),
        (edited(ONE_EVENT, 45, b"["), "canonical JSON object"),
        (edited(ONE_EVENT, 46, b"]"), "canonical JSON object"),
        (events(("a.b", {"x": "y"}), define=None).replace(b"y", b"\n"), "canonical JSON object"),
        (events(("a.b", {"x": "y"}), define=None).replace(b"y", b"\x80"), "canonical JSON object"),
        (resolve("y")[:-1] + b"\x80", "UTF-8"),
        (resolve("abc")[:-3] + b"\xed\xa0\x80", "UTF-8"),
        (resolve("{}", payload=True)[:-1] + b"]", "canonical JSON object"),
        (edited(template(), 60, b"P"), "decision type"),
        (template().replace(b"\7\0\0\0partial", b"\0\0\0\0"), "decision type"),
        (edited(template(), 8, b"\xff\xff\xff\xff"), "ends early"),
    ],
)
def test_what_is_wrong_is_said(record: bytes, said: str) -> None:
    """Each check has its sentence."""
    with pytest.raises(cra.InvalidTraceEvent, match=said) as caught:
        decode(record)
    assert "INVALID_TRACE_EVENT" == caught.value.code


NIL = "0" * 8 + "-0000-0000-0000-" + "0" * 12


@pytest.mark.parametrize(
    "call",
    [
        lambda: encode_events(-1, 0, 0, []),
        lambda: encode_events(2**64, 0, 0, []),
        lambda: encode_events(0, 2**128, 0, []),
        lambda: encode_events(0, -1, 0, []),
        lambda: encode_events(0, 0, 2**63, []),
        lambda: encode_events(0, 0, 0, [], span=2**128),
        lambda: encode_events(0, 0, 0, [], define=(NIL, NIL, NIL.replace("0", "A"))),
        lambda: encode_events(0, 0, 0, [("a.b", "{}")] * 65_536),
        lambda: encode_events(0, 0, 0, [("a", "{}")]),
        lambda: encode_events(0, 0, 0, [("A.b", "{}")]),
        lambda: encode_events(0, 0, 0, [("a." + "b" * 65_534, "{}")]),
        lambda: encode_events(0, 0, 0, [("a.b", "[]")]),
        lambda: encode_events(0, 0, 0, [("a.b", "{")]),
        lambda: encode_events(0, 0, 0, [("a.b", '{"\ud800":1}')]),
        lambda: encode_events(0, 0, 0, [("a.b", b"{" + b" " * MAX_PAYLOAD_BYTES + b"}")]),
        lambda: encode_resolve(0, 0, 0, 2**32, ""),
        lambda: encode_resolve(0, 0, 0, 1, "\ud800"),
        lambda: encode_resolve(0, 0, 0, 1, "[]", payload=True),
        lambda: encode_resolve(0, 0, 0, 1, "x", request_id="x"),
        lambda: encode_resolve(0, 0, 0, 1, "x", injected=[65_536]),
        lambda: encode_resolve(0, 0, 0, 1, "x", cut=[-1]),
        lambda: encode_resolve(0, 0, 0, 1, "x", cut=[0] * 65_536),
        lambda: encode_resolve(0, 0, 0, 1, "x" * MAX_PAYLOAD_BYTES),
        lambda: encode_resolve(0, 0, 0, 1, "\1" * (MAX_PAYLOAD_BYTES // 6)),
        lambda: encode_template(1, "Allow", 0, 0, 0, DIGEST, [], []),
        lambda: encode_template(1, "allöw", 0, 0, 0, DIGEST, [], []),
        lambda: encode_template(1, "", 0, 0, 0, DIGEST, [], []),
        lambda: encode_template(1, "allow", 0, 0, 0, DIGEST.upper(), [], []),
        lambda: encode_template(1, "allow", -1, 0, 0, DIGEST, [], []),
        lambda: encode_template(1, "allow", 0, 0, 0, DIGEST, ["x"], []),
        lambda: encode_template(1, "allow", 0, 0, 0, DIGEST, [], [("{}", "x")]),
        lambda: encode_forget(2**32),
        lambda: encode_forget(-1),
    ],
)
def test_what_has_no_place_in_a_record_is_refused_by_the_encoder(call: Any) -> None:
    """With the same error, before anything is written."""
    with pytest.raises(cra.InvalidTraceEvent):
        call()


def test_the_longest_texts_have_their_place() -> None:
    """Encoders and decoder agree on the bounds, to the byte."""
    payload = "{" + "x" * (MAX_PAYLOAD_BYTES - 2) + "}"
    decode(encode_events(1, 0, 0, [("a." + "b" * 65_533, payload)]))
    room = MAX_PAYLOAD_BYTES - 128 - 2  # what the rest of the payload may take, and quotes
    for text in ("x" * room, "\1" * (room // 6) + "x" * (room % 6)):
        decode(encode_resolve(1, 0, 0, 1, text))
        for data in (text + "x", text + "é"):
            with pytest.raises(cra.InvalidTraceEvent):
                encode_resolve(1, 0, 0, 1, data)
        longer = bytearray(encode_resolve(1, 0, 0, 1, text) + b"x")
        longer[44:48] = (len(text) + 1).to_bytes(4, "little")
        with pytest.raises(cra.InvalidTraceEvent, match="goal is too long"):
            decode(bytes(longer))


def test_text_is_taken_as_str_and_as_utf_8() -> None:
    """The same bytes either way."""
    assert resolve("é") == encode_resolve(1, decode(resolve()).base, decode(resolve()).time_ns, 1, "é".encode())  # type: ignore[union-attr]
    assert events(("a.b", {"é": 1})).count("é".encode()) == 1


# The page of the format

BLOCKS = re.compile(r"```text\n(.*?)```", re.DOTALL)


def hexdumps() -> list[bytes]:
    """The records that the page shows."""
    blocks = BLOCKS.findall(PAGE.read_text(encoding="utf-8"))
    return [
        b"".join(bytes.fromhex(line[10:58]) for line in block.splitlines())
        for block in blocks
        if re.match(r"00000000  ", block)
    ]


def test_the_records_of_the_page_are_what_the_encoders_write() -> None:
    """These bytes must never change: rings and journals of older versions hold them."""
    session, request = definition(1), "01234567-89ab-7cde-8123-456789abcdef"
    expected = [
        events(("session.started", {"agent_id": "bot", "goal": "work"}), n=1),
        encode_template(7, "partial", 1, 1, 3600, DIGEST, ['{"action_id":"a.b"}'], [('{"block_id":"x"}', '{"y":1}')]),
        resolve("read ünits", n=2, number=7, request_id=request, injected=[0]),
        encode_forget(7),
    ]
    assert session[0] in PAGE.read_text(encoding="utf-8")
    assert expected == hexdumps()


def test_the_lines_of_the_page_are_what_its_records_expand_to() -> None:
    """To the byte, hashes included."""
    expander = Expander()
    for record in hexdumps():
        expander.feed(record)
    (lines,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    batch = expander.take(0)
    assert batch is not None
    assert lines == batch.data.decode()
