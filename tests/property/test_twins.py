"""No difference between the twins: generated values, events and chains, right and wrong, and the whole answer compared.

Three kinds of input: anything at all, what is nearly right, and what is right but for one thing. `test_twin_files` does the same
for files.
"""

from __future__ import annotations

import enum
import random
import struct
from collections import OrderedDict, UserDict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.reference import canonical, chain, records
from cra.reference.grammar import DIALECTS, FIELDS
from cra.strictjson import MAX_INTEGER
from cra.testing.traces import make_trace
from cra.trace.event import Event
from tests.support.tampering import CONTENTS, EVENT, objects, rust, sealed, tamper
from tests.support.twins import BUILT, both

if not BUILT:
    pytest.skip("this installation has no compiled half", allow_module_level=True)

from cra import _speedups as compiled

SEALED_FIELDS = [name for name in FIELDS if name not in ("trace_version", "event_hash")]
EDGES = [MAX_INTEGER, MAX_INTEGER + 1, 2**63, 2**63 - 1]

# --- values -----------------------------------------------------------------------------------------------------------


class Text(str):
    def __str__(self) -> str:
        return "lies"


class Number(enum.IntEnum):
    ONE = 1


class Real(float):
    def __repr__(self) -> str:
        return "lies"


class Items(list[Any]):
    pass


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([*EDGES, *(-edge for edge in EDGES), -(2**63) - 1])
    | st.floats()
    | st.text(st.characters())
    | st.text('"\\/\b\f\n\r\t\x00\x1f\x7f é€😀\ud800', max_size=20)
    | st.sampled_from([Text("text"), Number.ONE, Real(1.5), b"bytes", 1j, (1,), frozenset(), object])
)
KEYS = st.text(max_size=3) | st.sampled_from(["a", "b", "é", "\ud800", "~/", "ｚ", "😀", Text("a"), 1, None])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.lists(inner, max_size=2).map(Items)
        | st.dictionaries(KEYS, inner, max_size=2).map(OrderedDict)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_canonical_json(value: Any) -> None:
    """The same bytes, or the same refusal at the same place."""
    both(canonical.canonical_json, compiled.canonical_json, value)


@given(VALUES, st.integers(0, 4), st.text(max_size=3))
def test_canonical_text(value: Any, levels: int, root: str) -> None:
    """The same with any bound on nesting and any root."""
    both(canonical.canonical_text, compiled.canonical_text, value, levels, root)


@given(st.integers(0, 2**64 - 1))
def test_every_double_is_written_alike(bits: int) -> None:
    """Doubles by their bits, so that every exponent is as likely."""
    value = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
    both(canonical.canonical_json, compiled.canonical_json, value)


@pytest.mark.parametrize("levels", [126, 127, 128, 129, 400])
@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_nesting_is_bounded_alike(wrap: Callable[[Any], Any], levels: int) -> None:
    """The deepest value that has a form, and the first that has none."""
    value: Any = 0
    for _ in range(levels):
        value = wrap(value)
    both(canonical.canonical_json, compiled.canonical_json, value)
    both(chain.event_hash, compiled.event_hash, {**EVENT, "payload": {"a": value}})


@given(VALUES, st.none() | st.binary(max_size=70) | st.sampled_from(["text", 1]))
def test_hash_value(value: Any, key: Any) -> None:
    """Keyed or not."""
    both(chain.hash_value, compiled.hash_value, value, key)


def test_long_texts_are_written_alike() -> None:
    """Longer than any buffer begins, with escapes and wide characters on every seam."""
    for size in (1, 1023, 1024, 4095, 4096, 4097, 20_000):
        for text in ("x" * size, "\n" * size, "é" * size, "x" * (size - 1) + "\x01"):
            both(canonical.canonical_json, compiled.canonical_json, {text: [text]})


# --- events -----------------------------------------------------------------------------------------------------------

ODD = SCALARS | st.sampled_from(
    [{}, [], "", "1.0", EVENT["event_id"], EVENT["event_hash"], EVENT["timestamp"], "a.b", 0, True]
)


@given(st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=2), st.sets(st.sampled_from(FIELDS), max_size=1), VALUES)
def test_event_hash(changes: dict[str, Any], absent: set[str], payload: Any) -> None:
    """Fields of other types, fields that are missing, payloads of any kind; as a dict, a mapping and an Event."""
    fields = {name: value for name, value in {**EVENT, "payload": payload, **changes}.items() if name not in absent}
    for event in (fields, OrderedDict(fields), UserDict(fields), Event(**{**EVENT, "payload": payload, **changes})):
        both(chain.event_hash, compiled.event_hash, event)


@given(st.dictionaries(st.sampled_from(SEALED_FIELDS), ODD, max_size=2))
def test_seal(changes: dict[str, Any]) -> None:
    """The same event, or the same error, whatever a caller passes."""
    fields = {**EVENT, **changes}
    del fields["trace_version"], fields["event_hash"]
    both(chain.seal, compiled.seal, **fields)


@pytest.mark.parametrize("event", [None, 1, "event", b"", [], (), object()])
def test_no_event(event: Any) -> None:
    """What is no event at all."""
    both(chain.event_hash, compiled.event_hash, event)
    both(chain.verify_chain, compiled.verify_chain, [event])


# --- chains -----------------------------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False))
def test_verify_chain(choose: random.Random) -> None:
    """Every field of the verdict; events as dicts and as Events, with and without an anchor, in both dialects."""
    dialect = choose.choice(list(DIALECTS))
    intact = [event.to_dict() for event in make_trace(CONTENTS[: choose.randint(1, 5)] * choose.randint(1, 3))]
    if choose.random() < 0.3:
        intact = rust(intact, choose)
    marked = choose.choice(intact)
    session_id, sequence, digest = marked["session_id"], marked["sequence"], marked["event_hash"]
    anchors = [
        None, (session_id, sequence, digest), (session_id, sequence, "0" * 64), (session_id, 2**64 - 1, digest), ("", 1, ""),
        [session_id, 1, ""], (1, 2), (session_id, None, digest),
    ]  # fmt: skip
    anchor: Any = choose.choice(anchors) if choose.random() < 0.6 else None
    events = tamper(intact, choose)
    start = choose.choice([0, 0, 0, 1, sequence, sequence + 1])
    for given_events in (events[start:], objects(events[start:])):
        both(chain.verify_chain, compiled.verify_chain, given_events, anchor, dialect)


@pytest.mark.parametrize("form", [list, objects])
def test_every_anchor_of_a_chain(form: Callable[[Any], Any]) -> None:
    """Each event as the anchor, with its hash and another, of a chain that starts anywhere."""
    intact = [event.to_dict() for event in make_trace(CONTENTS)]
    for start in range(len(intact) + 1):
        for event in intact:
            for digest in (event["event_hash"], "0" * 64):
                anchor = event["session_id"], event["sequence"], digest
                both(chain.verify_chain, compiled.verify_chain, form(intact[start:]), anchor)


def test_every_key_of_an_event() -> None:
    """Left out, or one more than there are, with a hash that is right."""
    intact = make_trace(CONTENTS[:1])[0].to_dict()
    for name in FIELDS:
        fields = {key: value for key, value in intact.items() if key != name}
        for changed in (fields, {**fields, "x": 0}, {**intact, "x": 0}, {**fields, name.upper(): intact[name]}):
            both(chain.verify_chain, compiled.verify_chain, [changed])


def test_a_chain_at_the_end_of_the_integers() -> None:
    """Sequences up to 2^64 − 1, behind an anchor."""
    event = make_trace([("a.b", {})])[0].to_dict()
    for last in (2**62, 2**63 - 1, 2**63, 2**64 - 1):
        first = sealed({**event, "sequence": last - 1})
        second = sealed({**event, "sequence": last, "previous_event_hash": first["event_hash"]})
        third = sealed({**event, "sequence": 0, "previous_event_hash": second["event_hash"]})
        for anchor in ((event["session_id"], last - 1, first["event_hash"]), (event["session_id"], last - 2, "0" * 64)):
            both(chain.verify_chain, compiled.verify_chain, [first, second, third], anchor)


# --- records ----------------------------------------------------------------------------------------------------------

NUMBERS = st.integers(-1, 2**64) | st.integers(2**127, 2**128 + 1) | st.just("1") | st.none() | st.booleans()
TYPES = st.sampled_from(["session.started", "a.b", "A.b", "a", "", "a." + "b" * 65_540, "\ud800.a", 1])
PAYLOADS = st.sampled_from(
    [b"{}", b'{"a":1}', "{}", '{"\u00e9":1}', b"{", b"", "{\ud800}", b"[1]", 1, bytearray(b"{}")]
)
DEFINITIONS = st.none() | st.tuples(
    *[st.sampled_from([EVENT["session_id"], EVENT["session_id"].upper(), "", "\ud800", 1])] * 3
)


@given(
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.lists(st.tuples(TYPES, PAYLOADS) | st.just(("a.b",)), max_size=3),
    st.sampled_from([tuple, list]),
    NUMBERS,
    DEFINITIONS,
)
def test_encode_events(
    session: Any, base: Any, time_ns: Any, events: list[Any], form: Any, span: Any, define: Any
) -> None:
    """The same bytes, or the same error."""
    both(records.encode_events, compiled.encode_events, session, base, time_ns, form(events), span=span, define=define)


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**128 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.lists(st.tuples(st.just("a.b"), st.sampled_from([b"{}", b'{"a":1}', b"{" + b" " * 70_000 + b"}"])), max_size=5),
    st.none() | st.integers(0, 2**128 - 1),
    st.none() | st.just((EVENT["session_id"],) * 3),
)
def test_encode_events_that_are_right(
    session: int, base: int, time_ns: int, events: list[Any], span: Any, define: Any
) -> None:
    """The way that the runtime takes, which the one above seldom finds."""
    both(records.encode_events, compiled.encode_events, session, base, time_ns, tuple(events), span=span, define=define)
