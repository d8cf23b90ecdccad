"""What the storage tests share: sealed events of several sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cra.hotpath import canonical_json
from cra.ids import format_uuid
from cra.testing import SeededIds, VirtualClock
from cra.trace.event import Event
from cra.trace.record import EventsRecord, SessionHeader
from tests.support.chains import Chainer


class Sessions:
    """Sessions 0, 1, 2 …, each with a chain that goes on with every call."""

    def __init__(self) -> None:
        self._ids = SeededIds(5)
        self._clock = VirtualClock()
        self._chainer = Chainer()
        self._headers: dict[int, SessionHeader] = {}

    def id(self, session: int) -> str:
        """The session's id; sessions that are mentioned later sort later."""
        return self._header(session).session_id

    def events(self, session: int, count: int = 1, **payload: Any) -> list[Event]:
        """The session's next `count` events."""
        made: list[Event] = []
        for _ in range(count):
            self._clock.advance(0.001)
            made += self._record(session, "action.requested", payload)
        return made

    def end(self, session: int) -> list[Event]:
        """The session's `session.ended`."""
        return self._record(session, "session.ended", {"reason": "completed"})

    def _record(self, session: int, event_type: str, payload: dict[str, Any]) -> list[Event]:
        now = self._clock.now_ns()
        record = EventsRecord(
            self._header(session), self._ids.draw(now // 10**6), now, ((event_type, canonical_json(payload)),)
        )
        return self._chainer.events(record)

    def _header(self, session: int) -> SessionHeader:
        if session not in self._headers:
            self._clock.advance(1)
            base = self._ids.draw(self._clock.now_ns() // 10**6)
            self._headers[session] = SessionHeader(format_uuid(base), format_uuid(base + 1), format_uuid(base + 2))
        return self._headers[session]


@pytest.fixture
def sessions() -> Sessions:
    """Events to store."""
    return Sessions()


@pytest.fixture
def new_sessions() -> Callable[[], Sessions]:
    """For tests that begin again, such as every example of a property."""
    return Sessions
