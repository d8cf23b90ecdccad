"""The hash of an event, its grammar, and the verification of a chain. PROTOCOL: Event hash, Grammar before hash, Verification."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import UserDict
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cra.errors import InvalidTraceEvent
from cra.reference.canonical import canonical_json
from cra.reference.chain import TAIL_NOTICE, ChainVerification, event_hash, hash_input, hash_value, seal, verify_chain
from cra.reference.grammar import CRA_RUST, FIELDS, TRACE_1_0, find_fault
from cra.strictjson import MAX_DEPTH, MAX_INTEGER, parse
from cra.testing.traces import make_trace
from cra.trace.event import GENESIS_HASH, Event

pytestmark = pytest.mark.usefixtures("twin")

Fields = dict[str, Any]

CONTENTS = [
    ("session.started", {"agent_id": "bot", "goal": "close stale issues"}),
    ("carp.request.received", {"request_id": "0190a3d4-1111-7000-8000-000000000001", "goal": "x", "n": [1, 2.5, None]}),
    ("policy.evaluated", {"policy_id": "p", "result": "allow", "action_id": "ticket.get"}),
    ("session.ended", {"reason": "completed", "duration_ms": 12, "action_count": 0}),
]


def chain(length: int = 4, session: int = 1) -> list[Fields]:
    """A valid chain as mappings, to tamper with."""
    contents = [CONTENTS[index % len(CONTENTS)] for index in range(length)]
    return [event.to_dict() for event in make_trace(contents, session=session)]


def rehashed(fields: Fields, **changes: Any) -> Fields:
    """The event with other fields and the hash that they have: a forger can compute hashes too."""
    changed = {**fields, **changes}
    return {**changed, "event_hash": event_hash(changed)}


def verdict(result: ChainVerification) -> tuple[bool, int, str | None, int | None, str | None]:
    return result.valid, result.event_count, result.error_type, result.error_index, result.last_hash


# --- hashes ---------------------------------------------------------------------------------------------------------


def test_the_event_hash_is_sha_256_over_the_fields_in_order() -> None:
    """The formula of the protocol, written out once by hand."""
    event = chain()[1]
    text = (
        "1.0" + event["event_id"] + event["trace_id"] + event["span_id"] + event["parent_span_id"] + event["session_id"]
        + "1" + event["timestamp"] + event["event_type"]
        + '{"goal":"x","n":[1,2.5,null],"request_id":"0190a3d4-1111-7000-8000-000000000001"}'
        + event["previous_event_hash"]
    )  # fmt: skip
    assert hashlib.sha256(text.encode()).hexdigest() == event_hash(event)


def test_the_hash_of_a_known_event_never_changes() -> None:
    """A golden digest: if this fails, every trace ever written fails with it."""
    event = make_trace([("session.started", {"agent_id": "é😀", "n": -0.0, "big": 1e21})])[0]
    assert "d2c0f8e80904a2fbe1468e450ba59f2bac26896577701584011a8e072a40f769" == event_hash(event)


@pytest.mark.parametrize("absent", [False, True])
def test_no_parent_is_hashed_as_nothing(absent: bool) -> None:
    """A parent that is null and one that is absent are the same event."""
    event = chain()[0]
    assert event["parent_span_id"] is None
    if absent:
        del event["parent_span_id"]
    assert event["event_hash"] == event_hash(event)


def test_an_event_and_its_mapping_have_the_same_hash() -> None:
    """An Event, a dict and any other mapping are alike, and what `event_hash` says in it does not count."""
    event = make_trace(CONTENTS)[2]
    mapping = event.to_dict()
    del mapping["event_hash"]
    assert event.event_hash == event_hash(event)
    assert event.event_hash == event_hash(mapping)
    assert event.event_hash == event_hash(UserDict(mapping))


@pytest.mark.parametrize(
    ("field", "value"),
    [(name, 7) for name in FIELDS if name not in ("event_hash", "sequence")]
    + [("sequence", value) for value in (None, "0", 1.0, True, -1, MAX_INTEGER + 1)]
    + [("payload", value) for value in (None, [], "{}")]
    + [("payload", {"x": float("nan")}), ("event_type", "\ud800")],
)
def test_an_ill_typed_field_has_no_hash(field: str, value: Any) -> None:
    """`event_hash` refuses what the formula is not made for, naming the field where one is to blame."""
    with pytest.raises(InvalidTraceEvent):
        event_hash({**chain()[1], field: value})


def test_a_sequence_too_long_to_print_is_refused() -> None:
    """Python itself raises over integers of more than 4,300 digits; here they are just no sequence."""
    event = {**chain()[0], "sequence": 10**5000}
    with pytest.raises(InvalidTraceEvent, match=r"^/sequence: "):
        event_hash(event)
    assert "malformed_event" == verify_chain([event]).error_type


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in ("event_hash", "parent_span_id")])
def test_a_missing_field_has_no_hash(field: str) -> None:
    """Every hashed field has to be there; the message says which is not."""
    event = chain()[1]
    del event[field]
    with pytest.raises(InvalidTraceEvent, match=f"^/{field}: ") as caught:
        event_hash(event)
    assert f"/{field}" == caught.value.path


@pytest.mark.parametrize("value", [None, 3, "{}", [], object()])
def test_what_is_no_event_has_no_hash(value: Any) -> None:
    """Neither an Event nor a mapping: refused by type."""
    with pytest.raises(InvalidTraceEvent, match="mapping"):
        event_hash(value)


def test_seal_gives_the_event_with_its_hash() -> None:
    """What `seal` returns verifies, and holds the fields it was given."""
    fields = {name: value for name, value in chain()[0].items() if name not in ("trace_version", "event_hash")}
    event = seal(**fields)
    assert Event(trace_version="1.0", event_hash=event_hash(event), **fields) == event
    assert verify_chain([event]).valid


def test_seal_refuses_a_payload_that_has_no_canonical_form() -> None:
    """The error names the place in the payload."""
    fields = {name: value for name, value in chain()[0].items() if name not in ("trace_version", "event_hash")}
    with pytest.raises(InvalidTraceEvent) as caught:
        seal(**{**fields, "payload": {"a": [{1}]}})
    assert "/payload/a/0" == caught.value.path


def test_a_sealed_payload_can_be_read_back_from_a_line() -> None:
    """The event is itself a level of nesting: a payload is bounded so that the line around it stays readable."""

    def payload(levels: int) -> Any:
        return {"a": payload(levels - 1)} if levels else 1

    event = make_trace([("a.b", payload(MAX_DEPTH - 1))])[0]
    assert event.to_dict() == parse(canonical_json(event.to_dict()))
    with pytest.raises(InvalidTraceEvent, match="deeper"):
        make_trace([("a.b", payload(MAX_DEPTH))])


def test_values_are_hashed_plain_or_keyed() -> None:
    """SHA-256 of the canonical JSON, HMAC-SHA-256 with a key; an empty key is a key."""
    value = {"b": 1, "a": 2}
    data = b'{"a":2,"b":1}'
    assert hashlib.sha256(data).hexdigest() == hash_value(value)
    for key in (b"secret", b""):
        assert hmac.new(key, data, "sha256").hexdigest() == hash_value(value, key)


# --- grammar --------------------------------------------------------------------------------------------------------

HEX = st.integers(0, 2**256 - 1).map("{:064x}".format)
UUIDS = st.uuids(version=None).map(str)
TIMESTAMPS = st.from_regex(re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII), fullmatch=True)
EVENT_TYPES = st.from_regex(re.compile(r"[a-z][a-z0-9_]{0,5}(\.[a-z][a-z0-9_]{0,5}){1,3}", re.ASCII), fullmatch=True)
JSON_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
    | JSON_TEXT | HEX | UUIDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(JSON_TEXT, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def events_of(timestamps: st.SearchStrategy[str]) -> st.SearchStrategy[Fields]:
    return st.fixed_dictionaries(
        {
            "trace_version": st.just("1.0"),
            "event_id": UUIDS,
            "trace_id": UUIDS,
            "span_id": UUIDS,
            "parent_span_id": st.none() | UUIDS,
            "session_id": UUIDS,
            "sequence": st.integers(0, 20) | st.integers(0, MAX_INTEGER),
            "timestamp": timestamps,
            "event_type": EVENT_TYPES,
            "payload": st.dictionaries(JSON_TEXT, JSON, max_size=3),
            "event_hash": HEX,
            "previous_event_hash": HEX,
        }
    )


EVENTS = events_of(TIMESTAMPS)
RUST_EVENTS = events_of(st.from_regex(re.compile(r"20\d{2}-01-01T00:00:00\.\d{1,9}Z", re.ASCII), fullmatch=True))

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
DECODER = re.compile(
    rf"1\.0(?P<event_id>{_UUID})(?P<trace_id>{_UUID})(?P<span_id>{_UUID})(?P<parent_span_id>{_UUID})??"
    rf"(?P<session_id>{_UUID})(?P<sequence>0|[1-9][0-9]*)(?P<timestamp>[0-9]{{4}}-[0-9-]{{5}}T[0-9:]{{8}}\.[0-9]{{1,9}}(?:Z|\+00:00))"
    r"(?P<event_type>[a-z0-9_.]+)(?P<payload>\{.*\})(?P<previous_event_hash>[0-9a-f]{64})",
    re.DOTALL,
)


def decode(data: bytes) -> Fields:
    """The fields that a hash input was made of: the left inverse of `hash_input` on grammatical events."""
    found = DECODER.fullmatch(data.decode())
    assert found is not None
    fields = found.groupdict()
    return {**fields, "sequence": int(fields["sequence"]), "payload": parse(fields["payload"])}


@given(EVENTS)
def test_the_hash_input_of_a_grammatical_event_is_uniquely_decodable(event: Fields) -> None:
    """From the concatenation alone every hashed field is recovered, so that two different events never share one."""
    assert find_fault(event, TRACE_1_0) is None
    decoded = decode(hash_input(event))
    assert canonical_json(event.pop("payload")) == canonical_json(decoded.pop("payload"))
    del event["trace_version"], event["event_hash"]
    assert event == decoded


@given(RUST_EVENTS)
def test_the_foreign_hash_input_is_uniquely_decodable(event: Fields) -> None:
    """The same in the dialect with 1-9 fractional digits and `+00:00`."""
    assert find_fault(event, CRA_RUST) is None
    decoded = decode(hash_input(event, CRA_RUST))
    assert event["timestamp"][:-1] + "+00:00" == decoded["timestamp"]
    for name in ("event_id", "trace_id", "span_id", "parent_span_id", "session_id", "sequence", "event_type"):
        assert event[name] == decoded[name]


@given(EVENTS, EVENTS)
def test_different_grammatical_events_have_different_hash_inputs(a: Fields, b: Fields) -> None:
    """Stated directly, over pairs that differ in one field only."""
    for name in FIELDS:
        mixed = {**a, name: b[name]}
        same = canonical_json(a[name]) == canonical_json(b[name]) or name == "event_hash"
        assert same == (hash_input(a) == hash_input(mixed))


SHIFTS = [
    ("trace_version", "event_id"), ("event_id", "trace_id"), ("trace_id", "span_id"), ("span_id", "parent_span_id"),
    ("parent_span_id", "session_id"), ("timestamp", "event_type"),
]  # fmt: skip


@given(
    EVENTS.filter(lambda event: event["parent_span_id"] is not None),
    st.sampled_from(SHIFTS),
    st.integers(1, 40),
    st.booleans(),
)
def test_bytes_shifted_between_fields_are_malformed(
    event: Fields, pair: tuple[str, str], count: int, forward: bool
) -> None:
    """Moving bytes over a border leaves the concatenation and its hash as they were: the grammar alone sees it."""
    left, right = pair
    together = event[left] + event[right]
    cut = len(event[left]) + (count if forward else -count)
    assume(0 <= cut <= len(together))
    shifted = {**event, left: together[:cut], right: together[cut:]}
    assert hash_input(event) == hash_input(shifted)
    assert "malformed_event" == verify_chain([shifted]).error_type


@given(EVENTS, st.integers(1, 4))
def test_digits_shifted_between_sequence_and_timestamp_are_malformed(event: Fields, count: int) -> None:
    """`1` + `2026-…` and `12` + `026-…` read the same; the year has four digits."""
    moved = str(event["sequence"]) + event["timestamp"][:count]
    assume(moved.isdigit() and int(moved) <= MAX_INTEGER and str(int(moved)) == moved)
    shifted = {**event, "sequence": int(moved), "timestamp": event["timestamp"][count:]}
    assert hash_input(event) == hash_input(shifted)
    assert "malformed_event" == verify_chain([shifted]).error_type


UUID_FIELDS = ("event_id", "trace_id", "span_id", "parent_span_id", "session_id")
BAD_UUIDS = (
    "", "x", 1,
    "0190A3D4-1111-7000-8000-000000000001", "0190a3d4111170008000000000000001", "{0190a3d4-1111-7000-8000-000000000001}",
    "0190a3d4-1111-7000-8000-000000000001\n", "٠190a3d4-1111-7000-8000-000000000001", "0190a3d4-1111-7000-8000-00000000000g",
)  # fmt: skip
MALFORMED = [
    *((name, value) for name in UUID_FIELDS for value in BAD_UUIDS),
    *((name, value) for name in ("event_hash", "previous_event_hash")
      for value in ("", None, "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", "٠" * 64)),
    *(("trace_version", value) for value in ("1.1", "1x0", "", None, 1.0, "1.0\n")),
    *(("event_type", value) for value in ("session", "Session.started", "a..b", ".a", "a.", "a.1b", "a.b\n", "a-b.c", "é.b", 7)),
    *(("sequence", value) for value in (-1, True, 0.0, "0", None, MAX_INTEGER + 1)),
    *(("timestamp", value) for value in (
        "2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000000", "2026-01-01 12:00:00.000000Z", "2026-01-01T12:00:00.000000+00:00",
        "2026-01-01T12:00:00.000000z",
        "٢٠٢٦-01-01T12:00:00.000000Z", "2026-01-01T12:00:00.000000Z\n", "2026-01-01T12:00:00.00000Z",
        None, 0)),
    *(("payload", value) for value in (None, [], "{}", {"x": float("nan")}, {"x": 2**64}, {1: 2}, {"x": (1,)}, {"x": "\ud800"})),
    ("surprise", None), ("trace_version ", "1.0"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), MALFORMED)
@pytest.mark.parametrize("dialect", ["trace-1.0", "cra-rust"])
def test_a_field_outside_the_grammar_is_malformed(field: str, value: Any, dialect: str) -> None:
    """Each field has one form; digits are ASCII digits, nothing follows the last character, no key is unknown."""
    if dialect == "cra-rust" and value == "2026-01-01T12:00:00.00000Z":
        value = "2026-01-01T12:00:00.0000000000Z"  # ten digits: too many even there
    result = verify_chain([{**chain()[1], field: value}], dialect=dialect)
    assert (False, 1, "malformed_event", 0, None) == verdict(result)
    assert result.message


def test_an_unknown_field_in_place_of_the_parent_is_malformed() -> None:
    """Counting fields is not enough: twelve of them may hold an unknown one where `parent_span_id` is absent."""
    event = chain()[0]
    del event["parent_span_id"]
    assert verify_chain([event]).valid
    assert "malformed_event" == verify_chain([{**event, "surprise": None}]).error_type


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "parent_span_id"])
def test_a_missing_field_is_malformed_and_named(field: str) -> None:
    """All fields of the schema are required, the parent aside."""
    event = chain()[0]
    del event[field]
    result = verify_chain([event])
    assert "malformed_event" == result.error_type
    assert f"`{field}` is missing" == result.message


@pytest.mark.parametrize("fields", [None, 0, "x", [], ["x"], {}, object(), {1: 2}])
def test_what_is_no_event_is_malformed(fields: Any) -> None:
    """Anything at all can be given; nothing but an object of the right form is an event."""
    assert "malformed_event" == verify_chain([fields]).error_type


@given(
    st.lists(JSON | st.dictionaries(st.sampled_from(FIELDS), JSON | st.binary() | st.floats(), max_size=12), max_size=4)
)
def test_verification_never_raises_over_content(values: list[Any]) -> None:
    """Wild values in the place of events: a verdict, and the number of them."""
    result = verify_chain(values)
    assert len(values) == result.event_count
    assert (not values) == result.valid


@given(st.integers(0, 3), st.sampled_from(FIELDS), JSON | st.binary() | st.floats() | st.text())
def test_verification_never_raises_over_a_field(index: int, field: str, value: Any) -> None:
    """One field of a good trace replaced by anything: the verdict is never an exception, and never "valid" for another value."""
    events = chain()
    same = type(value) is type(events[index][field]) and value == events[index][field]
    events[index][field] = value
    assert same == verify_chain(events).valid


# --- verification ---------------------------------------------------------------------------------------------------


def test_an_untouched_chain_is_valid() -> None:
    """Valid, with its length and last hash; Events and mappings alike; the report says what it cannot show."""
    events = make_trace(CONTENTS)
    for given_events in (events, [event.to_dict() for event in events], iter(events)):
        result = verify_chain(given_events)
        assert (True, 4, None, None, events[-1].event_hash) == verdict(result)
        assert () == result.warnings
        assert TAIL_NOTICE == result.message


def test_an_empty_trace_is_valid() -> None:
    """Zero events, no last hash."""
    assert (True, 0, None, None, None) == verdict(verify_chain([]))


def changed(value: Any) -> Any:
    """Another value of the same form."""
    if isinstance(value, dict):
        return {**value, "extra": 1}
    if isinstance(value, int):
        return value + 1
    if value is None:
        return "0190a3d4-1111-7000-8000-00000000000f"
    if value == "1.0":
        return "1.1"
    if "T" in value:
        return value.replace("2026", "2027")
    position = len(value) - 1
    return value[:position] + ("0" if value[position] != "0" else "1")


@given(st.integers(1, 8), st.data())
def test_a_change_to_any_field_at_any_position_is_found(length: int, data: st.DataObject) -> None:
    """A field replaced by another well-formed value: found at that event or, where the link breaks, no later than the next."""
    events = chain(length)
    index = data.draw(st.integers(0, length - 1))
    field = data.draw(st.sampled_from(FIELDS))
    events[index] = {**events[index], field: changed(events[index][field])}
    result = verify_chain(events)
    assert not result.valid
    assert index == result.error_index
    assert length == result.event_count
    assert (events[index - 1]["event_hash"] if index else None) == result.last_hash


@given(st.integers(2, 8), st.data())
def test_a_change_with_a_recomputed_hash_is_found(length: int, data: st.DataObject) -> None:
    """A forger who computes the hash of the changed event breaks the link to the next one."""
    events = chain(length)
    index = data.draw(st.integers(0, length - 2))
    field = data.draw(
        st.sampled_from(("event_id", "trace_id", "span_id", "parent_span_id", "timestamp", "event_type", "payload"))
    )
    events[index] = rehashed(events[index], **{field: changed(events[index][field])})
    result = verify_chain(events)
    assert ("chain_broken", index + 1) == (result.error_type, result.error_index)


@given(st.integers(2, 8), st.data())
def test_a_payload_key_value_or_structure_changed_anywhere_is_found(length: int, data: st.DataObject) -> None:
    """Any other payload, that is any other canonical JSON, is a hash mismatch."""
    events = chain(length)
    index = data.draw(st.integers(0, length - 1))
    payload = data.draw(st.dictionaries(JSON_TEXT, JSON, max_size=3))
    assume(canonical_json(payload) != canonical_json(events[index]["payload"]))
    events[index]["payload"] = payload
    result = verify_chain(events)
    assert ("hash_mismatch", index) == (result.error_type, result.error_index)


@given(st.integers(2, 8), st.data())
def test_removing_an_event_is_found(length: int, data: st.DataObject) -> None:
    """Any but the last: a cut tail is what a chain alone cannot show."""
    events = chain(length)
    index = data.draw(st.integers(0, length - 2))
    del events[index]
    result = verify_chain(events)
    assert ("sequence_gap", index) == (result.error_type, result.error_index)


@given(st.integers(1, 8), st.data())
def test_inserting_an_event_is_found(length: int, data: st.DataObject) -> None:
    """A copy of any event at any place."""
    events = chain(length)
    index = data.draw(st.integers(0, length))
    events.insert(index, dict(data.draw(st.sampled_from(events))))
    assert not verify_chain(events).valid


@given(st.permutations(range(5)))
def test_reordering_is_found(order: list[int]) -> None:
    """Only the order of the sequence numbers is valid."""
    events = chain(5)
    assert (order == sorted(order)) == verify_chain([events[index] for index in order]).valid


FAULTS = ["malformed_event", "session_mismatch", "sequence_gap", "invalid_genesis", "chain_broken", "hash_mismatch"]


def with_fault(event: Fields, fault: str) -> Fields:
    if fault == "malformed_event":
        return {**event, "surprise": 1}
    if fault == "session_mismatch":
        return {**event, "session_id": chain(session=2)[0]["session_id"]}
    if fault == "sequence_gap":
        return {**event, "sequence": event["sequence"] + 5}
    if fault in ("invalid_genesis", "chain_broken"):
        return {**event, "previous_event_hash": "f" * 64}
    return {**event, "event_hash": "e" * 64}


@pytest.mark.parametrize("index", [0, 2])
@given(faults=st.sets(st.sampled_from(FAULTS), min_size=1))
def test_of_several_faults_in_one_event_the_first_in_order_is_named(index: int, faults: set[str]) -> None:
    """The order of `FAULTS`, whichever of them an event has at once."""
    # A first event has no session to differ from, and 64 zeros are its link.
    faults = faults - ({"session_mismatch", "chain_broken"} if index == 0 else {"invalid_genesis"})
    assume(faults)
    events = chain()
    for fault in faults:
        events[index] = with_fault(events[index], fault)
    result = verify_chain(events)
    expected = (False, 4, min(faults, key=FAULTS.index), index, events[1]["event_hash"] if index else None)
    assert expected == verdict(result)


def test_the_first_bad_event_wins() -> None:
    """A later, graver fault does not hide an earlier one."""
    events = chain()
    events[1]["payload"] = {}
    events[2] = {"nonsense": True}
    assert (False, 4, "hash_mismatch", 1, events[0]["event_hash"]) == verdict(verify_chain(events))


def test_events_of_another_session_are_a_session_mismatch() -> None:
    """A chain is one session's; `verify_file` groups those of several."""
    events = chain(2) + chain(2, session=2)
    assert ("session_mismatch", 2) == (verify_chain(events).error_type, verify_chain(events).error_index)


def test_a_chain_that_does_not_begin_at_genesis_is_a_gap() -> None:
    """Without an anchor a trace begins at sequence 0."""
    assert (False, 3, "sequence_gap", 0, None) == verdict(verify_chain(chain()[1:]))


def relinked(events: list[Fields]) -> list[Fields]:
    """The events with their links and hashes computed anew."""
    previous = GENESIS_HASH
    linked = []
    for event in events:
        linked.append(rehashed(event, previous_event_hash=previous))
        previous = linked[-1]["event_hash"]
    return linked


@pytest.mark.parametrize("dialect", ["trace-1.0", "cra-rust"])
def test_timestamps_that_run_backwards_are_a_warning(dialect: str) -> None:
    """The trace stays valid; one warning says how often and where first, so that it stays small."""
    events = chain(6)
    for index, second in enumerate((5, 5, 3, 9, 1, 1)):
        events[index]["timestamp"] = f"2026-01-01T12:00:0{second}.500000Z"
    events = relinked(events)
    if dialect == "cra-rust":
        events = foreign(events)
    result = verify_chain(events, dialect=dialect)
    assert result.valid
    assert ("timestamps run backwards 2 time(s), first at index 2",) == result.warnings


def test_foreign_timestamps_are_compared_as_times() -> None:
    """`.80` and `.8` are the same time: what is shorter is not earlier."""
    events = chain()
    for event, fraction in zip(events, ("8", "80", "8", "800000001")):
        event["timestamp"] = f"2026-01-01T12:00:00.{fraction}Z"
    assert () == verify_chain(foreign(events), dialect="cra-rust").warnings
    events[3]["timestamp"] = "2026-01-01T12:00:00.7999Z"
    assert 1 == len(verify_chain(foreign(events), dialect="cra-rust").warnings)


# --- anchors --------------------------------------------------------------------------------------------------------


@dataclass
class Anchored:
    events: list[Fields]
    anchor: tuple[str, int, str]


def anchored(index: int, length: int = 6) -> Anchored:
    events = chain(length)
    return Anchored(events, (events[index]["session_id"], index, events[index]["event_hash"]))


@pytest.mark.parametrize("index", [0, 3, 5])
def test_a_trace_from_genesis_has_to_reach_its_anchor(index: int) -> None:
    """With the anchor reached the chain is valid and nothing is left to say; cut before it, it is broken at its end."""
    case = anchored(index)
    result = verify_chain(case.events, anchor=case.anchor)
    assert (True, 6, None, None, case.events[-1]["event_hash"]) == verdict(result)
    assert result.message is None
    cut = verify_chain(case.events[:index], anchor=case.anchor)
    last_hash = case.events[index - 1]["event_hash"] if index else None
    assert (False, index, "chain_broken", index, last_hash) == verdict(cut)


@pytest.mark.parametrize("start", [3, 4])
def test_a_trace_may_start_at_its_anchor_or_directly_after_it(start: int) -> None:
    """A rotated file goes on where the anchor was taken; anywhere later is a gap."""
    case = anchored(3)
    assert verify_chain(case.events[start:], anchor=case.anchor).valid
    assert "sequence_gap" == verify_chain(case.events[5:], anchor=case.anchor).error_type
    assert "sequence_gap" == verify_chain(case.events[2:], anchor=case.anchor).error_type


@pytest.mark.parametrize("start", [0, 3, 4])
def test_a_trace_with_another_event_at_its_anchor_is_broken(start: int) -> None:
    """A history that was rewritten and hashed anew is consistent in itself; the anchor shows it."""
    case = anchored(3)
    rewritten = relinked([{**event, "payload": {"forged": True}} for event in case.events])
    assert verify_chain(rewritten).valid
    result = verify_chain(rewritten[start:], anchor=case.anchor)
    assert (False, "chain_broken", max(0, 3 - start)) == (result.valid, result.error_type, result.error_index)


def test_the_anchor_names_the_session() -> None:
    """A trace of another session does not pass under it."""
    case = anchored(0)
    assert "session_mismatch" == verify_chain(chain(session=2), anchor=case.anchor).error_type


def test_the_event_at_the_anchor_is_hashed_too() -> None:
    """Starting at the anchored event, its link cannot be followed, but its hash covers the link."""
    case = anchored(3)
    events = case.events[3:]
    events[0] = {**events[0], "previous_event_hash": "a" * 64}
    assert "hash_mismatch" == verify_chain(events, anchor=case.anchor).error_type


# --- dialects -------------------------------------------------------------------------------------------------------


def foreign(events: list[Fields]) -> list[Fields]:
    """The trace as the foreign dialect hashes it."""
    previous = GENESIS_HASH
    linked = []
    for event in events:
        fields = {**event, "previous_event_hash": previous}
        previous = hashlib.sha256(hash_input(fields, CRA_RUST)).hexdigest()
        linked.append({**fields, "event_hash": previous})
    return linked


@pytest.mark.parametrize("fraction", ["1", "123", "123456", "123456789"])
def test_the_foreign_dialect_has_one_to_nine_fractional_digits(fraction: str) -> None:
    """Valid there; in the plain dialect the message says which option helps, whichever check is the one that fails."""
    events = foreign([{**event, "timestamp": f"2026-01-01T12:00:00.{fraction}Z"} for event in chain()])
    assert verify_chain(events, dialect="cra-rust").valid
    assert () == verify_chain(events, dialect="cra-rust").warnings
    result = verify_chain(events)
    assert ("hash_mismatch" if len(fraction) == 6 else "malformed_event") == result.error_type
    assert "--dialect cra-rust" in str(result.message)


def test_a_plain_trace_in_the_foreign_dialect_names_the_plain_one() -> None:
    """The hint works in both directions."""
    result = verify_chain(chain(), dialect="cra-rust")
    assert "hash_mismatch" == result.error_type
    assert "--dialect trace-1.0" in str(result.message)


def test_a_tampered_event_gets_no_advice_on_dialects() -> None:
    """The hint is given only where the other dialect would verify."""
    events = chain()
    events[0]["payload"] = {}
    assert "dialect" not in str(verify_chain(events).message)


def test_an_unknown_dialect_is_an_error_of_the_caller() -> None:
    """The message lists those that exist."""
    with pytest.raises(InvalidTraceEvent, match=r"trace-1\.0 or cra-rust"):
        verify_chain([], dialect="cobol")


def test_a_verification_can_be_written_as_json() -> None:
    """For `--json`: the fields of the interface, by name."""
    plain = msgspec.to_builtins(verify_chain(chain()))
    assert ["valid", "event_count", "error_type", "error_index", "last_hash", "warnings", "message"] == list(plain)
    json.dumps(plain)
