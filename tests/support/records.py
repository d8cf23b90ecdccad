"""Records for tests: a session's definition, plain records, and strategies for whole streams of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from cra.ids import format_uuid
from cra.reference.canonical import canonical_json
from cra.reference.records import Definition, encode_events, encode_forget, encode_resolve, encode_template
from cra.testing import SeededIds

NOON = 1_767_268_800 * 10**9
DIGEST = bytes(range(32)).hex()
EVALUATION = '{"action_id":"a.b","policy_id":"some","result":"allow"}'
BLOCKS = [
    (f'{{"block_id":"{name}","priority":1}}', f'{{"block_id":"{name}","reason":"token_budget"}}') for name in "xyz"
]


def draw(n: int) -> int:
    """The n-th identifier."""
    return SeededIds(n).draw(NOON // 10**6)


def definition(session: int) -> Definition:
    """The ids of session number n."""
    base = draw(10**6 + session)
    return format_uuid(base), format_uuid(base + 1), format_uuid(base + 2)


def events(*drafts: Any, session: int = 1, n: int = 0, time_ns: int = NOON, **options: Any) -> bytes:
    """An EVENTS record of type and payload pairs, `a.b` by default, that defines its session unless told not to."""
    pairs = [(kind, canonical_json(payload)) for kind, payload in drafts or [("a.b", {})]]
    options.setdefault("define", definition(session))
    return encode_events(session, draw(n), time_ns, pairs, **options)


def template(number: int = 1, evaluations: int = 2, blocks: int = 3) -> bytes:
    """A TEMPLATE record."""
    return encode_template(number, "partial", 1, 2, 3600, DIGEST, [EVALUATION] * evaluations, BLOCKS[:blocks])


def resolve(
    text: str = "goal", *, session: int = 1, n: int = 0, number: int = 1, time_ns: int = NOON, **more: Any
) -> bytes:
    """A RESOLVE record."""
    return encode_resolve(session, draw(n), time_ns, number, text, **more)


# Anything that can be in a stream of records.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = st.dictionaries(TEXT, _VALUES, max_size=4).map(lambda value: canonical_json(value).decode())
TYPES = st.sampled_from(["session.started", "session.ended", "a.b", "x1_.y_2.z"]) | st.from_regex(
    r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", fullmatch=True
)
SESSIONS = st.integers(1, 3) | st.just(2**64 - 1)
NUMBERS = st.integers(1, 2) | st.just(2**32 - 1)
BASES = st.integers(0, 10**6).map(draw) | st.integers(0, 2**128 - 1) | st.integers(2**128 - 5, 2**128 - 1)
TIMES = st.integers(NOON - 10**9, NOON + 10**9) | st.integers(-(2**63), 2**63 - 1)
IDS = st.integers(0, 2**128 - 1).map(format_uuid)
SMALL = st.integers(0, 2**32 - 1)
INDEXES = st.lists(st.integers(0, 3), max_size=4)


@st.composite
def event_records(draw: st.DrawFn) -> bytes:
    """An EVENTS record; most of those that define a session define the same one by the same number."""
    session = draw(SESSIONS)
    define = draw(
        st.none() | st.just(definition(session % 5)) | st.just(definition(session % 5)) | st.tuples(IDS, IDS, IDS)
    )
    return encode_events(
        session,
        draw(BASES),
        draw(TIMES),
        draw(st.lists(st.tuples(TYPES, PAYLOADS), max_size=4)),
        span=draw(st.none() | BASES),
        define=define,
    )


@st.composite
def resolve_records(draw: st.DrawFn) -> bytes:
    """A RESOLVE record."""
    payload = draw(st.booleans())
    return encode_resolve(
        draw(SESSIONS),
        draw(BASES),
        draw(TIMES),
        draw(NUMBERS),
        draw(PAYLOADS if payload else TEXT),
        payload=payload,
        request_id=draw(st.none() | IDS),
        injected=draw(INDEXES),
        cut=draw(INDEXES),
    )


@st.composite
def template_records(draw: st.DrawFn) -> bytes:
    """A TEMPLATE record."""
    return encode_template(
        draw(NUMBERS),
        draw(st.sampled_from(["allow", "deny", "partial", "requires_approval"])),
        *(draw(SMALL), draw(SMALL), draw(SMALL)),
        draw(st.binary(min_size=32, max_size=32)).hex(),
        draw(st.lists(PAYLOADS, max_size=3)),
        draw(st.lists(st.tuples(PAYLOADS, PAYLOADS), max_size=4)),
    )


RECORDS = event_records() | resolve_records() | template_records() | NUMBERS.map(encode_forget)


@st.composite
def broken_records(draw: st.DrawFn) -> bytes:
    """A record with some of its bytes changed, cut off, or more of them."""
    record = bytearray(draw(RECORDS))
    for _ in range(draw(st.integers(0, 3))):
        record[draw(st.integers(0, len(record) - 1))] = draw(st.integers(0, 255))
    return bytes(record[: draw(st.integers(0, len(record)))] if draw(st.booleans()) else record) + draw(
        st.binary(max_size=2)
    )
