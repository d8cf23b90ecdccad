"""Room in the ring, in both implementations: used once or given back once, by way of whoever gave it out."""

from __future__ import annotations

from typing import Any

import pytest

from cra.reference import ring_room
from tests.support.twins import twins


class Queue:
    """Notes what is given back, as the record queue does."""

    def __init__(self) -> None:
        self.given_back: list[Any] = []

    def give_back(self, room: Any) -> None:
        self.given_back.append(room)
        room.held = False


@pytest.fixture(params=twins(ring_room))
def make(request: pytest.FixtureRequest) -> Any:
    return request.param.RingRoom


def test_record_is_for_whoever_gave_the_room(make: Any) -> None:
    """With the room itself, which says how much it is and is held until he says otherwise."""
    used: list[Any] = []
    room = make(Queue(), lambda *what: used.append(what), 2_048, 512)
    room.record("a record")
    assert [(room, "a record")] == used
    assert (2_048, 512, True) == (room.room, room.spare, room.held)


def test_room_is_given_back_once(make: Any) -> None:
    """And not at all once it was used."""
    queue = Queue()
    room = make(queue, print, 2_048, 0)
    room.release()
    room.release()
    assert [room] == queue.given_back
    used = make(queue, print, 2_048, 0)
    used.held = False
    used.release()
    assert [room] == queue.given_back
