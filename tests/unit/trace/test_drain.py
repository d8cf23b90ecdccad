"""The side that stores: what it does of what was expanded while nobody looked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from cra.errors import StorageError
from cra.hotpath import Ring
from cra.storage.null import NullStorage
from cra.trace.record import EventsRecord
from cra.trace.recorder import Recorder

SECONDS = 60.0


class Late:
    """Before an expander that works for nobody: it comes back when the test says so."""

    def __init__(self, expander: Any) -> None:
        self._expander = expander
        self.running, self.go_on = threading.Event(), threading.Event()

    def run(self, ring: Ring, timeout_s: float) -> bool:
        done = bool(self._expander.run(ring, timeout_s))
        self.running.set()
        assert self.go_on.wait(SECONDS)
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._expander, name)


def test_what_is_expanded_for_nobody_after_close_gave_up_stays_lost(
    make_recorder: Callable[..., Recorder], record: Callable[..., EventsRecord]
) -> None:
    """Its records were counted as lost, once, and no round of the worker counts them again."""
    recorder = make_recorder(NullStorage())
    late = Late(recorder._drain._expander)
    recorder._drain._expander = late  # type: ignore[assignment]
    recorder.record(record(1))
    assert late.running.wait(SECONDS)
    with pytest.raises(StorageError, match="1 records were never chained"):
        recorder.close(timeout=0.01)
    late.go_on.set()
    assert recorder._worker is not None
    assert recorder._worker.join(SECONDS)
    stats = recorder.stats()
    assert (1, 0, 1, 0) == (
        stats.records_recorded,
        stats.records_waiting,
        stats.records_lost,
        stats.events_recorded,
    )
