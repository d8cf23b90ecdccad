"""The ledger of losses: one per session and reason, counted until it is chained."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cra.testing import SeededIds, VirtualClock
from cra.trace.loss import Loss, LossLedger
from cra.trace.record import EventsRecord, SessionHeader

MakeRecord = Callable[..., EventsRecord]


@pytest.fixture
def ledger(header: Callable[[int], SessionHeader]) -> LossLedger:
    """A ledger whose runtime is session 9."""
    return LossLedger(VirtualClock(), SeededIds(1), header(9))


def payload(ledger: LossLedger, loss: Loss) -> dict[str, Any]:
    """What would be chained for a loss."""
    ((event_type, content),) = ledger.settle(loss).events
    assert event_type == "runtime.lost"
    said: dict[str, Any] = json.loads(content)
    return said


def test_a_loss_is_opened_once_and_grows_until_it_is_settled(ledger: LossLedger, record: MakeRecord) -> None:
    """In the session and in the runtime's; a runtime's own record is lost in one."""
    first, of_runtime = ledger.note(record(), "full")
    assert [] == ledger.note(record(event_type="a.b"), "full")
    assert [] == ledger.note(record(session=9), "full")
    (other,) = ledger.note(record(session=9), "slow")
    assert {"count": 2, "records": {"a.b": 1, "action.requested": 1}, "reason": "full"} == payload(ledger, first)
    assert 3 == payload(ledger, of_runtime)["count"]
    assert 1 == payload(ledger, other)["count"]
    assert 2 == len(ledger.note(record(), "full")), "what was settled is complete"


def test_a_loss_that_could_not_be_chained_goes_on(ledger: LossLedger, record: MakeRecord) -> None:
    """As it was, or, where another was opened meanwhile, as a part of that: nothing is counted twice, and nothing forgotten."""
    first, of_runtime = ledger.note(record(), "full")
    ledger.settle(first)
    assert [first] == ledger.reopen(first)
    assert [] == ledger.note(record(), "full")
    assert 2 == payload(ledger, first)["count"]
    (second,) = ledger.note(record(event_type="a.b"), "full")
    assert [] == ledger.reopen(first), "the second is queued already"
    assert {"count": 3, "records": {"a.b": 1, "action.requested": 2}, "reason": "full"} == payload(ledger, second)
    assert 3 == payload(ledger, of_runtime)["count"]
