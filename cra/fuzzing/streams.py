"""Streams of records to begin with, for the targets that read what the hot path writes: rings, journals, the expander."""

from __future__ import annotations

from typing import Any, Final

from cra.hotpath import canonical_json, encode_events, format_uuid
from cra.reference.records import Definition, encode_forget, encode_resolve, encode_template
from cra.testing import SeededIds

NOON_NS: Final = 1_767_268_800 * 10**9
_DIGEST: Final = bytes(range(32)).hex()
_EVALUATION: Final = '{"action_id":"a.b","policy_id":"some","result":"allow"}'
_BLOCKS: Final = [
    (f'{{"block_id":"{name}","priority":1}}', f'{{"block_id":"{name}","reason":"token_budget"}}') for name in "xy"
]
TOKENS: Final = (
    b"\x01\x01\x01\x00", b"\x01\x03\x02\x00", b"\x02\x00\x00\x00", b"\x02\x03\x01\x00\x01\x00", b"\x03\x00\x00\x00",
    b"\x04\x00\x00\x00",
    b"\xff\xff\xff\xff", b"\x00" * 8, b"\x0f\x00\x0d\x00\x00\x00session.started", b"session.ended", b'{"a":1}',
    b"partial", b"allow",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x80\x00\x00\x00\x00\x00\x00\x00", b"\xed\xa0\x80", b"\x1f",
)  # fmt: skip


def draw(n: int) -> int:
    """The n-th identifier."""
    return SeededIds(n).draw(NOON_NS // 10**6)


def definition(session: int) -> Definition:
    """The ids of session number n."""
    base = draw(10**6 + session)
    return format_uuid(base), format_uuid(base + 1), format_uuid(base + 2)


def events(*drafts: Any, session: int = 1, n: int = 0, **options: Any) -> bytes:
    """An EVENTS record of type and payload pairs."""
    return encode_events(
        session, draw(n), NOON_NS, [(kind, canonical_json(payload)) for kind, payload in drafts], **options
    )


def a_session(session: int = 1, number: int = 1) -> list[bytes]:
    """The records of a session that resolves twice, with a template, and ends."""
    started = ("session.started", {"agent_id": "bot", "goal": "wörk"})
    first, last = session * 10, session * 10 + 9
    return [
        events(started, session=session, n=first, define=definition(session)),
        encode_template(number, "partial", 1, 2, 3600, _DIGEST, [_EVALUATION], _BLOCKS),
        encode_resolve(session, draw(first + 1), NOON_NS, number, "close", injected=[0], cut=[1]),
        encode_resolve(
            *(session, draw(first + 2), NOON_NS + 1, number, '{"goal":"x"}'), payload=True, request_id=format_uuid(7)
        ),
        events(("a.b", {"n": 1.5}), ("a.c", {}), session=session, n=first + 3, span=draw(first + 1)),
        encode_forget(number),
        events(("session.ended", {"reason": "completed"}), session=session, n=last),
    ]
