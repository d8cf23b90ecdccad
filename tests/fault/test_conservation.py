"""What goes in comes out, or is counted. `python -m tests.fault.conservation` is the long run: 100 million records."""

from __future__ import annotations

from pathlib import Path

import pytest

from cra.errors import StorageError
from tests.fault.conservation import Counting, Mode, Run, Wrong, run

SHORT = (
    Mode("full ring", ("none",), "drop", 4),
    Mode("full ring", ("none",), "fail", 4),
    Mode("several", ("none", "slow", "dying"), "block", 4),
    Mode("dying", ("dying",), "drop", 1),
    Mode("dies", ("none", "dies"), "block", 2),
    Mode("away", ("none", "away"), "block", 4),
)


@pytest.mark.parametrize("mode", SHORT, ids=lambda mode: f"{mode.key}/{'+'.join(mode.faults)}")
def test_recorded_is_stored_waiting_and_lost_in_every_mode(mode: Mode) -> None:
    """Exactly, at every flush and at the end, by every count there is; and the fault of the mode did come."""
    _, records, *_ = run(mode, 60_000)
    assert records > 30_000


def test_a_store_that_loses_events_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums can be wrong: a batch that is dropped in silence is a gap in its session."""
    append = Counting.append

    def losing(self: Counting, batch: object) -> None:
        if self.calls != 3:
            append(self, batch)  # type: ignore[arg-type]
        else:
            self.calls += 1

    monkeypatch.setattr(Counting, "append", losing)
    this = Run(Mode("losing", ("none",)), tmp_path)
    with pytest.raises(Wrong, match=r"goes on with|has counted"):
        this.round(6_000)
    with pytest.raises(StorageError, match="closed with losses"):
        this.resolver._runtime.recorder.close(timeout=0.1)


def test_a_mode_whose_fault_never_comes_fails(tmp_path: Path) -> None:
    """Nothing is proved by a ring that was never full."""
    with pytest.raises(Wrong, match="the fault never came: the ring was never full"):
        run(Mode("full ring", ("none",), "fail"), 40)
