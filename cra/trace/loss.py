"""What was lost, counted until it can be chained as `runtime.lost`.

The record queue notes here every record it had to give up, under its lock, and puts the losses into the ring before the next
record: so each gap has a place in the order of its session, and in the runtime's own. Nothing is dropped silently.
"""

from __future__ import annotations

from collections import Counter

from cra.ids import IdSource
from cra.reference.canonical import canonical_json
from cra.timing.clock import Clock
from cra.trace.record import EventsRecord, Record, SessionHeader

RUNTIME_LOST = "runtime.lost"
_NS_PER_MS = 1_000_000


class Loss:
    """A gap in one session: how many records of which kind, for one reason. Grows until it is settled."""

    __slots__ = ("base", "kinds", "reason", "session", "time_ns")

    def __init__(self, session: SessionHeader, reason: str, base: int, time_ns: int) -> None:
        self.session = session
        self.reason = reason
        self.base = base
        self.time_ns = time_ns
        self.kinds: Counter[str] = Counter()


class LossLedger:
    """The losses that are not chained yet, one per session and reason.

    `runtime` is the header of the runtime's own session, where every loss is chained as well; None where there is none. `ids`
    is the stream of that session: a loss never draws from the agents' ids.
    """

    def __init__(self, clock: Clock, ids: IdSource, runtime: SessionHeader | None) -> None:
        self._clock = clock
        self._ids = ids
        self._runtime = runtime
        self._open: dict[tuple[str, str], Loss] = {}

    def note(self, record: Record, reason: str) -> list[Loss]:
        """Count `record` as lost. Returns the losses that this opened, to be queued now; later records only add to them."""
        opened = []
        for session in dict.fromkeys((record.session, self._runtime or record.session)):
            loss = self._open.get((session.session_id, reason))
            if loss is None:
                loss = self._open[session.session_id, reason] = self._new(session, reason)
                opened.append(loss)
            loss.kinds[record.kind] += 1
        return opened

    def settle(self, loss: Loss) -> EventsRecord:
        """The record to chain for a loss that is open, which is complete with this: the next lost record opens another."""
        del self._open[loss.session.session_id, loss.reason]
        payload = {"count": loss.kinds.total(), "records": dict(sorted(loss.kinds.items())), "reason": loss.reason}
        return EventsRecord(loss.session, loss.base, loss.time_ns, ((RUNTIME_LOST, canonical_json(payload)),))

    def reopen(self, loss: Loss) -> list[Loss]:
        """The loss could not be recorded after all. Returns what is to be queued for it: nothing, where another was opened."""
        held = self._open.setdefault((loss.session.session_id, loss.reason), loss)
        if held is loss:
            return [loss]
        held.kinds.update(loss.kinds)
        return []

    def _new(self, session: SessionHeader, reason: str) -> Loss:
        now = self._clock.now_ns()
        return Loss(session, reason, self._ids.draw(now // _NS_PER_MS), now)
