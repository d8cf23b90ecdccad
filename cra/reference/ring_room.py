"""Room in the ring for one record, taken before something happens that has to be recorded.

Made by the record queue and by `RuntimeCore.reserve`; the `id` of every one that is held is among `RecordQueue.rooms`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cra.trace.record import Record
    from cra.trace.record_queue import RecordQueue

CLOSING_BYTES: Final = 2_048
"""Room for a record of one event that closes something; `Runtime.closing_record` keeps to it."""


class RingRoom:
    """Room for one record (`Recorder.reserve`): use it with `record` or give it back with `release`; `held` until then.

    `room` is for the record; `spare` for the loss that may have to come before it.
    """

    __slots__ = ("_queue", "_use", "held", "room", "spare")

    def __init__(self, queue: RecordQueue, use: Callable[[RingRoom, Record], None], room: int, spare: int) -> None:
        self._queue = queue
        self._use = use
        self.room = room
        self.spare = spare
        self.held = True

    def record(self, record: Record) -> None:
        """Take the record; it is not refused for want of room or of storage. `InternalError` if used before, or too late."""
        self._use(self, record)

    def release(self) -> None:
        """Give the room back. Harmless when it was used or given back before."""
        if self.held:
            self._queue.give_back(self)
